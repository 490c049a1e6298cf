/* What a cell may hold. Values are checked here, before anything is imported, as strictly as the
 * signer will check them: a row that cannot be certified must not be found out on the line. */
#include "base/columns.h"

#include <string.h>

#include "base/limits.h"
#include "base/text.h"

#define ATTRIBUTE_KEY_MAX   64
#define ATTRIBUTE_VALUE_MAX 1024

static const struct column columns[] = {
        {"device_name", COLUMN_NAME, NAME_BYTES_MAX,
                "the device's name, unique in its group; required"},
        {"device_description", COLUMN_TEXT, 512, "free text"},
        {"device_group", COLUMN_NAME, NAME_BYTES_MAX,
                "its group; default: the one named at import"},
        {"hwid", COLUMN_SERIAL, 64 /* ub-serial-number */,
                "what the device calls itself: serial number, MAC ..."},
        {"unique_identifier", COLUMN_TEXT, 128, "the certificate batch template's identifier"},
        {"subject.common_name", COLUMN_SUBJECT, 64, "certificate subject CN"},
        {"subject.organization_name", COLUMN_SUBJECT, 64, "certificate subject O"},
        {"subject.organization_unit", COLUMN_SUBJECT, 64, "certificate subject OU"},
        {"subject.country", COLUMN_COUNTRY, 2, "certificate subject C"},
        {"subject.state", COLUMN_SUBJECT, 128, "certificate subject ST"},
        {"subject.locality", COLUMN_SUBJECT, 128, "certificate subject L"},
        {"transport_key", COLUMN_TRANSPORT_KEY, 124,
                "the only key that a key made for this device may be wrapped for "
                "(docs/born-keys.md)"},
        {"csr", COLUMN_REFUSED, MANIFEST_VALUE_MAX,
                "must be empty: devices make their request on the line"},
};
static const struct column attribute = {
        COLUMN_ATTRIBUTE_PREFIX, COLUMN_TEXT, ATTRIBUTE_VALUE_MAX, "device attribute of that key"};

size_t column_count(void)
{
    return sizeof columns / sizeof columns[0];
}

const struct column *column_at(size_t i)
{
    return &columns[i];
}

static bool attribute_key_valid(const char *key, size_t len)
{
    static const char allowed[] =
            "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-";

    if (len == 0 || len > ATTRIBUTE_KEY_MAX)
        return false;
    for (size_t i = 0; i < len; i++)
        if (!memchr(allowed, key[i], sizeof allowed - 1))
            return false;
    return true;
}

const struct column *column_find(const char *name, size_t len)
{
    const size_t prefix = strlen(COLUMN_ATTRIBUTE_PREFIX);

    for (size_t i = 0; i < column_count(); i++)
        if (strlen(columns[i].name) == len && memcmp(columns[i].name, name, len) == 0)
            return &columns[i];
    if (len > prefix && memcmp(name, COLUMN_ATTRIBUTE_PREFIX, prefix) == 0 &&
            attribute_key_valid(name + prefix, len - prefix))
        return &attribute;
    return NULL;
}

const char *column_nearest(const char *name, size_t len)
{
    const char *best = NULL;
    size_t best_distance = 4; /* further away it is no typing mistake */

    for (size_t i = 0; i < column_count(); i++) {
        size_t distance = text_distance(name, len, columns[i].name, strlen(columns[i].name));
        if (distance < best_distance) {
            best = columns[i].name;
            best_distance = distance;
        }
    }
    return best;
}

static bool has_control(const struct column *column, const char *value, size_t len)
{
    bool breaks = column->kind == COLUMN_TEXT; /* tabs and line breaks are fine */

    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)value[i];
        if ((c < 0x20 && !(breaks && (c == '\t' || c == '\n' || c == '\r'))) || c == 0x7f)
            return true;
    }
    return false;
}

/* RFC 5480: an uncompressed point on P-256 always begins so. Whether it is on the curve, the signer
 * says. */
static bool is_transport_key(const char *value, size_t len)
{
    static const char head[] = "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE";
    static const char allowed[] =
            "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

    if (len != 124 || memcmp(value, head, sizeof head - 1) != 0 ||
            memcmp(value + 122, "==", 2) != 0)
        return false;
    for (size_t i = 0; i < 122; i++)
        if (!memchr(allowed, value[i], sizeof allowed - 1))
            return false;
    return true;
}

const char *column_check(const struct column *c, const char *value, size_t len)
{
    if (memchr(value, '\0', len))
        return "contains a NUL byte: save the file as text (CSV, UTF-8)";
    if (!utf8_valid(value, len))
        return "is not UTF-8: save the file with the encoding UTF-8";
    if (len == 0)
        return NULL;
    if (has_control(c, value, len))
        return "contains a control character: remove it";
    if (len > c->max)
        return "is too long";
    switch (c->kind) {
    case COLUMN_NAME:
        return name_valid(value, len)
                       ? NULL
                       : "is not a name: no '/', no line break, no space at the ends";
    case COLUMN_COUNTRY:
        return len == 2 && value[0] >= 'A' && value[0] <= 'Z' && value[1] >= 'A' && value[1] <= 'Z'
                       ? NULL
                       : "is not a country: write two capital letters, e.g. DE";
    case COLUMN_REFUSED:
        return "must be empty: devices make their own request on the line";
    case COLUMN_TRANSPORT_KEY:
        return is_transport_key(value, len) ? NULL
                                            : "is not a transport key: write a P-256 "
                                              "SubjectPublicKeyInfo in base64, 124 "
                                              "characters";
    case COLUMN_SERIAL:
        return text_is_printable_string(value, len)
                       ? NULL
                       : "cannot stand in a certificate: use A-Z a-z 0-9 space '()+,-./:=?";
    case COLUMN_SUBJECT:
    case COLUMN_TEXT:
        break;
    }
    return NULL;
}
