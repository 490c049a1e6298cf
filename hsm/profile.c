/* Profiles and the subject of a certificate. Promises that every name it builds keeps to the bounds
 * of RFC 5280, appendix A, and comes from the authorised row; a column it does not know is refused,
 * never dropped. */
#include "hsm/profile.h"
#include <string.h>
#include "base/err.h"
#include "base/row.h"
#include "base/text.h"
#include "hsm/csr.h"

static const struct profile profiles[] = {
        {
                .name = "idevid",
                .reference = "IEEE 802.1AR-2018, clause 8",
                .keys = 1u << CSR_KEY_P256 | 1u << CSR_KEY_P384 | 1u << CSR_KEY_RSA_2048 |
                        1u << CSR_KEY_RSA_3072 | 1u << CSR_KEY_RSA_4096 | 1u << CSR_KEY_ED25519,
                .key_usage = CERT_KU_DIGITAL_SIGNATURE,
                .client_auth = true,
                .hardware_module_name = true,
                .not_after = CERT_NEVER,
        },
};

/* In the order they stand in the Name. Bounds in characters: RFC 5280, appendix A.1, "ub-". */
static const struct {
    const char *column;
    struct der_oid type;
    size_t max;
    uint8_t tag;
} attributes[] = {
        {"subject.country", {3, {0x55, 0x04, 0x06}}, 2, DER_PRINTABLE_STRING},
        {"subject.state", {3, {0x55, 0x04, 0x08}}, 128, DER_UTF8_STRING},
        {"subject.locality", {3, {0x55, 0x04, 0x07}}, 128, DER_UTF8_STRING},
        {"subject.organization_name", {3, {0x55, 0x04, 0x0a}}, 64, DER_UTF8_STRING},
        {"subject.organization_unit", {3, {0x55, 0x04, 0x0b}}, 64, DER_UTF8_STRING},
        {"subject.common_name", {3, {0x55, 0x04, 0x03}}, 64, DER_UTF8_STRING},
};
#define ATTRIBUTE_COUNT (sizeof attributes / sizeof *attributes)
static const struct der_oid oid_serial_number = {3, {0x55, 0x04, 0x05}};
#define SERIAL_NUMBER_MAX 64 /* ub-serial-number */

int profile_find(const char *name, const struct profile **ret, struct err *e)
{
    for (size_t i = 0; i < sizeof profiles / sizeof *profiles; i++)
        if (strcmp(profiles[i].name, name) == 0) {
            *ret = &profiles[i];
            return 0;
        }
    return err_set(e, ERR_PROFILE, "there is no certificate profile '%.40s'", name);
}

/* X.680, 41.4 */
static bool printable(const char *s, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        char c = s[i];
        bool letter = (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');

        if (c == '\0' || (!letter && !strchr(" '()+,-./:=?", c)))
            return false;
    }
    return true;
}

static size_t characters(const char *s, size_t len)
{
    size_t n = 0;

    for (size_t i = 0; i < len; i++)
        n += ((uint8_t)s[i] & 0xc0) != 0x80;
    return n;
}

static int check_text(const char *column, const struct row_field *f, size_t max, struct err *e)
{
    if (!utf8_valid(f->value, f->value_len))
        return err_set(e, ERR_PROFILE, "column %s: it is not valid UTF-8", column);
    for (size_t i = 0; i < f->value_len; i++)
        if ((uint8_t)f->value[i] < 0x20 || f->value[i] == 0x7f)
            return err_set(e, ERR_PROFILE,
                    "column %s: control characters cannot stand in a certificate", column);
    if (characters(f->value, f->value_len) > max)
        return err_set(e, ERR_PROFILE,
                "column %s: at most %zu characters can stand in a certificate", column, max);
    return 0;
}

static int check_country(const struct row_field *f, struct err *e)
{
    const char *v = f->value;

    if (f->value_len == 2 && v[0] >= 'A' && v[0] <= 'Z' && v[1] >= 'A' && v[1] <= 'Z')
        return 0;
    return err_set(e, ERR_PROFILE,
            "column subject.country: it takes two capital letters (ISO 3166), as in DE");
}

/* A subject column that went into no certificate would be a promise to the approver that was not
 * kept. */
static int refuse_unknown(const struct row *row, struct err *e)
{
    static const char prefix[] = "subject.";

    for (size_t i = 0; i < row->count; i++) {
        const struct row_field *f = &row->fields[i];
        bool known =
                f->key_len < sizeof prefix - 1 || memcmp(f->key, prefix, sizeof prefix - 1) != 0;

        for (size_t a = 0; a < ATTRIBUTE_COUNT && !known; a++)
            known = strlen(attributes[a].column) == f->key_len &&
                    memcmp(attributes[a].column, f->key, f->key_len) == 0;
        if (!known)
            return err_set(e, ERR_PROFILE, "column %.*s: the profile has no place for it",
                    (int)(f->key_len < 64 ? f->key_len : 64), f->key);
    }
    return 0;
}

static int serial_number(
        const struct row *row, const char *device_id, struct cert_attr *ret, struct err *e)
{
    const struct row_field *hwid = row_get(row, "hwid"), *name = row_get(row, "device_name");

    *ret = (struct cert_attr){.type = oid_serial_number, .string_tag = DER_PRINTABLE_STRING};
    if (hwid) {
        if (hwid->value_len > SERIAL_NUMBER_MAX || !printable(hwid->value, hwid->value_len))
            return err_set(e, ERR_PROFILE,
                    "column hwid: a certificate's serialNumber takes at most %d of A-Z a-z 0-9 "
                    "space '()+,-./:=?",
                    SERIAL_NUMBER_MAX);
        ret->value = hwid->value, ret->len = hwid->value_len;
    } else if (name && name->value_len <= SERIAL_NUMBER_MAX &&
               printable(name->value, name->value_len)) {
        ret->value = name->value, ret->len = name->value_len;
    } else {
        ret->value = device_id, ret->len = strlen(device_id);
    }
    return 0;
}

int profile_subject(const struct row *row, const char *device_id, struct buf *out, struct err *e)
{
    struct cert_attr attrs[ATTRIBUTE_COUNT + 1];
    size_t count = 0;

    if (refuse_unknown(row, e) < 0)
        return -1;
    for (size_t i = 0; i < ATTRIBUTE_COUNT; i++) {
        const struct row_field *f = row_get(row, attributes[i].column);

        if (!f)
            continue;
        if (attributes[i].tag == DER_PRINTABLE_STRING
                        ? check_country(f, e) < 0
                        : check_text(attributes[i].column, f, attributes[i].max, e) < 0)
            return -1;
        attrs[count++] =
                (struct cert_attr){attributes[i].type, attributes[i].tag, f->value, f->value_len};
    }
    if (serial_number(row, device_id, &attrs[count++], e) < 0)
        return -1;
    return cert_name(attrs, count, out, e);
}

int profile_hw_serial(const struct row *row, struct cert_bytes *ret, struct err *e)
{
    const struct row_field *f = row_get(row, "hwid");

    if (!f)
        f = row_get(row, "device_name");
    if (!f)
        return err_set(e, ERR_PROFILE, "the row has neither hwid nor device_name");
    *ret = (struct cert_bytes){(const uint8_t *)f->value, f->value_len};
    return 0;
}
