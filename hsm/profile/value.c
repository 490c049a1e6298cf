/* Forms of values. Promises that what it lets pass can be written into a certificate as it is and
 * read back by a strict reader; it changes nothing. */
#include "hsm/profile/value.h"
#include <arpa/inet.h>
#include <stdbool.h>
#include <string.h>
#include "base/text.h"
#include "hsm/x509/der.h"

#define DNS_MAX   253 /* RFC 1035, 2.3.4: 255 octets with the lengths */
#define LABEL_MAX 63
#define LOCAL_MAX 64 /* RFC 5321, 4.5.3.1.1 */

static bool is_letter(char c)
{
    return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z');
}

static bool is_alnum(char c)
{
    return is_letter(c) || (c >= '0' && c <= '9');
}

/* ASCII without control characters. */
static bool is_visible(const char *s, size_t len)
{
    for (size_t i = 0; i < len; i++)
        if ((uint8_t)s[i] < 0x20 || (uint8_t)s[i] >= 0x7f)
            return false;
    return true;
}

static size_t characters(const char *s, size_t len)
{
    size_t n = 0;

    for (size_t i = 0; i < len; i++)
        n += ((uint8_t)s[i] & 0xc0) != 0x80;
    return n;
}

static bool is_label(const char *s, size_t len)
{
    for (size_t i = 0; i < len; i++)
        if (!is_alnum(s[i]) && s[i] != '-')
            return false;
    return len && len <= LABEL_MAX && s[0] != '-' && s[len - 1] != '-';
}

/* Two labels at least, and the last one is no number: a name of the global DNS, not one that a
 * resolver would complete or take for an address. */
static bool is_dns(const char *s, size_t len)
{
    const char *end = s + len, *dot;

    if (len > DNS_MAX)
        return false;
    dot = memchr(s, '.', len);
    if (!dot)
        return false;
    for (; dot; s = dot + 1, dot = memchr(s, '.', (size_t)(end - s)))
        if (!is_label(s, (size_t)(dot - s)))
            return false;
    for (dot = s; dot < end && !is_letter(*dot); dot++)
        ;
    return dot < end && is_label(s, (size_t)(end - s));
}

static bool is_email(const char *s, size_t len)
{
    const char *at = memchr(s, '@', len);
    size_t local = at ? (size_t)(at - s) : 0;

    if (local == 0 || local > LOCAL_MAX || s[0] == '.' || s[local - 1] == '.')
        return false;
    for (size_t i = 0; i < local; i++)
        if ((!is_alnum(s[i]) && !strchr("!#$%&'*+-/=?^_`{|}~.", s[i])) || s[i] == '\0' ||
                (s[i] == '.' && s[i + 1] == '.'))
            return false;
    return is_dns(at + 1, len - local - 1);
}

size_t value_address(const char *s, size_t len, uint8_t ret[16])
{
    char text[INET6_ADDRSTRLEN];

    if (len >= sizeof text || memchr(s, '\0', len))
        return 0;
    memcpy(text, s, len);
    text[len] = '\0';
    if (inet_pton(AF_INET, text, ret) == 1)
        return 4;
    return inet_pton(AF_INET6, text, ret) == 1 ? 16 : 0;
}

/* "//" [userinfo "@"] host [":" port], up to the path. */
static bool is_authority(const char *s, size_t len)
{
    uint8_t address[16];
    size_t host = 0, i;
    const char *user = memchr(s, '@', len), *bracket;

    if (user) {
        len -= (size_t)(user + 1 - s);
        s = user + 1;
    }
    if (len && s[0] == '[') {
        bracket = memchr(s, ']', len);
        if (!bracket || value_address(s + 1, (size_t)(bracket - s) - 1, address) != 16)
            return false;
        host = (size_t)(bracket - s) + 1;
    } else {
        while (host < len && s[host] != ':')
            host++;
        if (!is_dns(s, host) && value_address(s, host, address) != 4)
            return false;
    }
    if (host == len)
        return true;
    for (i = host + 1; i < len && s[i] >= '0' && s[i] <= '9'; i++)
        ;
    return s[host] == ':' && i == len && i > host + 1;
}

static bool is_uri(const char *s, size_t len)
{
    static const char marks[] = "-._~:/?#[]@!$&'()*+,;=%"; /* RFC 3986, 2.2 and 2.3 */
    size_t scheme = 0, end;

    for (size_t i = 0; i < len; i++)
        if (!is_alnum(s[i]) && !memchr(marks, s[i], sizeof marks - 1))
            return false;
    while (scheme < len && (is_alnum(s[scheme]) || memchr("+-.", s[scheme], 3)))
        scheme++;
    if (scheme == 0 || !is_letter(s[0]) || scheme + 1 >= len || s[scheme] != ':')
        return false;
    s += scheme + 1, len -= scheme + 1;
    if (len < 2 || memcmp(s, "//", 2) != 0)
        return true;
    for (end = 2; end < len && !memchr("/?#", s[end], 3); end++)
        ;
    return is_authority(s + 2, end - 2);
}

const char *value_check(enum value_form form, const char *s, size_t len, size_t max)
{
    struct der_oid oid;
    uint8_t address[16];

    if (len == 0)
        return "it is empty";
    if (!utf8_valid(s, len))
        return "it is not valid UTF-8";
    if (characters(s, len) > max)
        return "it has more characters than can stand there";
    for (size_t i = 0; i < len; i++)
        if ((uint8_t)s[i] < 0x20 || s[i] == 0x7f)
            return "control characters cannot stand in a certificate";
    switch (form) {
    case VALUE_UTF8:
        return NULL;
    case VALUE_PRINTABLE:
        return text_is_printable_string(s, len)
                       ? NULL
                       : "only A-Z a-z 0-9 space '()+,-./:=? can stand there";
    case VALUE_IA5:
        return is_visible(s, len) ? NULL : "only ASCII can stand there";
    case VALUE_COUNTRY:
        return len == 2 && s[0] >= 'A' && s[0] <= 'Z' && s[1] >= 'A' && s[1] <= 'Z'
                       ? NULL
                       : "it takes two capital letters (ISO 3166), as in DE";
    case VALUE_DNS:
        return is_dns(s, len) ? NULL : "it is not a DNS name, as in device-1.example.com";
    case VALUE_LABEL:
        return is_label(s, len) ? NULL : "it is not a DNS label of letters, digits and '-'";
    case VALUE_EMAIL:
        return is_email(s, len) ? NULL : "it is not a mail address, as in a@example.com";
    case VALUE_URI:
        return is_uri(s, len) ? NULL : "it is not an absolute URI, as in urn:x:y or https://host/x";
    case VALUE_IP:
        return value_address(s, len, address) ? NULL : "it is not an IPv4 or IPv6 address";
    case VALUE_OID:
        return der_oid_parse(s, len, &oid) == 0 ? NULL
                                                : "it is not an OID, as in 1.3.6.1.4.1.32473";
    }
    return "it is of no form we know";
}
