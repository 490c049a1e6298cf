/* The words of profiles. Promises that each stands for one thing only, with the bounds and the uses
 * that the standards give it; nothing here is changed at run time. */
#include "hsm/profile/profile_words.h"
#include <string.h>

#define COUNT(table) (sizeof(table) / sizeof *(table))

static const char *const key_names[CSR_KEY_COUNT] = {
        [CSR_KEY_P256] = "P-256",
        [CSR_KEY_P384] = "P-384",
        [CSR_KEY_RSA_2048] = "RSA-2048",
        [CSR_KEY_RSA_3072] = "RSA-3072",
        [CSR_KEY_RSA_4096] = "RSA-4096",
        [CSR_KEY_ED25519] = "Ed25519",
};

/* Bounds in characters: RFC 5280, appendix A.1, "ub-"; RFC 4519 and 4524 for the others. */
static const struct word_attribute attributes[] = {
        {"C", {3, {0x55, 0x04, 0x06}}, DER_PRINTABLE_STRING, VALUE_COUNTRY, 2},
        {"ST", {3, {0x55, 0x04, 0x08}}, WORD_EITHER, VALUE_UTF8, 128},
        {"L", {3, {0x55, 0x04, 0x07}}, WORD_EITHER, VALUE_UTF8, 128},
        {"street", {3, {0x55, 0x04, 0x09}}, WORD_EITHER, VALUE_UTF8, 128},
        {"postalCode", {3, {0x55, 0x04, 0x11}}, WORD_EITHER, VALUE_UTF8, 40},
        {"O", {3, {0x55, 0x04, 0x0a}}, WORD_EITHER, VALUE_UTF8, 64},
        {"OU", {3, {0x55, 0x04, 0x0b}}, WORD_EITHER, VALUE_UTF8, 64},
        {"title", {3, {0x55, 0x04, 0x0c}}, WORD_EITHER, VALUE_UTF8, 64},
        {"CN", {3, {0x55, 0x04, 0x03}}, WORD_EITHER, VALUE_UTF8, 64},
        {"serialNumber", {3, {0x55, 0x04, 0x05}}, DER_PRINTABLE_STRING, VALUE_PRINTABLE, 64},
        {"dnQualifier", {3, {0x55, 0x04, 0x2e}}, DER_PRINTABLE_STRING, VALUE_PRINTABLE, 64},
        {"UID", {10, {0x09, 0x92, 0x26, 0x89, 0x93, 0xf2, 0x2c, 0x64, 0x01, 0x01}}, WORD_EITHER,
                VALUE_UTF8, 256},
        {"DC", {10, {0x09, 0x92, 0x26, 0x89, 0x93, 0xf2, 0x2c, 0x64, 0x01, 0x19}}, DER_IA5_STRING,
                VALUE_LABEL, 63},
};
#define OTHER_MAX 128 /* of an attribute given by its OID */

static const struct alt_name {
    const char *type;
    enum value_form form;
} alt_names[] = {
        [PROFILE_NAME_DNS] = {"dns", VALUE_DNS},
        [PROFILE_NAME_EMAIL] = {"email", VALUE_EMAIL},
        [PROFILE_NAME_URI] = {"uri", VALUE_URI},
        [PROFILE_NAME_IP] = {"ip", VALUE_IP},
        [PROFILE_NAME_REGISTERED_ID] = {"registeredID", VALUE_OID},
        [PROFILE_NAME_HARDWARE] = {"hardwareModuleName", VALUE_UTF8},
};

/* RFC 3279, 2.3.1; RFC 5480, 3; RFC 8410, 5 */
static const struct word_family families[FAMILY_COUNT] = {
        [FAMILY_RSA] = {"RSA",
                1u << CSR_KEY_RSA_2048 | 1u << CSR_KEY_RSA_3072 | 1u << CSR_KEY_RSA_4096,
                CERT_KU_DIGITAL_SIGNATURE | CERT_KU_NON_REPUDIATION | CERT_KU_KEY_ENCIPHERMENT |
                        CERT_KU_DATA_ENCIPHERMENT},
        [FAMILY_EC] = {"EC", 1u << CSR_KEY_P256 | 1u << CSR_KEY_P384,
                CERT_KU_DIGITAL_SIGNATURE | CERT_KU_NON_REPUDIATION | CERT_KU_KEY_AGREEMENT},
        [FAMILY_ED25519] = {"Ed25519", 1u << CSR_KEY_ED25519,
                CERT_KU_DIGITAL_SIGNATURE | CERT_KU_NON_REPUDIATION},
};
/* By bit, from the least one on. */
static const char *const usages[8] = {[7] = "digitalSignature",
        [6] = "nonRepudiation",
        [5] = "keyEncipherment",
        [4] = "dataEncipherment",
        [3] = "keyAgreement"};

/* RFC 5280, 4.2.1.12 */
static const struct word_purpose purposes[] = {
        {"serverAuth", {8, {0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x03, 0x01}},
                CERT_KU_DIGITAL_SIGNATURE | CERT_KU_KEY_ENCIPHERMENT | CERT_KU_KEY_AGREEMENT},
        {"clientAuth", {8, {0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x03, 0x02}},
                CERT_KU_DIGITAL_SIGNATURE | CERT_KU_KEY_AGREEMENT},
        {"codeSigning", {8, {0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x03, 0x03}},
                CERT_KU_DIGITAL_SIGNATURE},
        {"emailProtection", {8, {0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x03, 0x04}},
                CERT_KU_DIGITAL_SIGNATURE | CERT_KU_NON_REPUDIATION | CERT_KU_KEY_ENCIPHERMENT |
                        CERT_KU_KEY_AGREEMENT},
        {"timeStamping", {8, {0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x03, 0x08}},
                CERT_KU_DIGITAL_SIGNATURE | CERT_KU_NON_REPUDIATION},
        {"OCSPSigning", {8, {0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x03, 0x09}},
                CERT_KU_DIGITAL_SIGNATURE | CERT_KU_NON_REPUDIATION},
};
static const struct {
    const char *name;
    unsigned bit;
} extensions[] = {
        {"keyUsage", CERT_EXT_KEY_USAGE},
        {"extKeyUsage", CERT_EXT_EXT_KEY_USAGE},
        {"subjectAltName", CERT_EXT_ALT_NAMES},
        {"certificatePolicies", CERT_EXT_POLICIES},
        {"basicConstraints", CERT_EXT_BASIC_CONSTRAINTS},
};

bool word_key(const char *name, enum csr_key *ret)
{
    for (size_t i = 0; i < COUNT(key_names); i++)
        if (strcmp(key_names[i], name) == 0) {
            *ret = (enum csr_key)i;
            return true;
        }
    return false;
}

const char *word_key_name(enum csr_key key)
{
    return key_names[key];
}

bool word_attribute(const char *name, struct word_attribute *ret)
{
    for (size_t i = 0; i < COUNT(attributes); i++)
        if (strcmp(attributes[i].name, name) == 0) {
            *ret = attributes[i];
            return true;
        }
    *ret = (struct word_attribute){
            .name = name, .tag = WORD_EITHER, .form = VALUE_UTF8, .max = OTHER_MAX};
    if (der_oid_parse(name, strlen(name), &ret->type) < 0)
        return false;
    /* an OID that has a name must not get round its bounds */
    for (size_t i = 0; i < COUNT(attributes); i++)
        if (memcmp(&attributes[i].type, &ret->type, sizeof ret->type) == 0)
            return false;
    return true;
}

bool word_alt_name(const char *type, enum profile_name_kind *ret)
{
    for (size_t i = 0; i < COUNT(alt_names); i++)
        if (strcmp(alt_names[i].type, type) == 0) {
            *ret = (enum profile_name_kind)i;
            return true;
        }
    return false;
}

const char *word_alt_name_type(enum profile_name_kind kind)
{
    return alt_names[kind].type;
}

enum value_form word_alt_name_form(enum profile_name_kind kind)
{
    return alt_names[kind].form;
}

const struct word_family *word_family(enum key_family f)
{
    return &families[f];
}

bool word_usage(const char *name, unsigned *ret)
{
    for (size_t i = 0; i < COUNT(usages); i++)
        if (usages[i] && strcmp(usages[i], name) == 0) {
            *ret = 1u << i;
            return true;
        }
    return false;
}

const char *word_usage_name(unsigned bit)
{
    for (size_t i = 0; i < COUNT(usages); i++)
        if (bit == 1u << i)
            return usages[i];
    return NULL;
}

bool word_purpose(const char *name, struct word_purpose *ret)
{
    struct der_oid oid;
    bool dotted = der_oid_parse(name, strlen(name), &oid) == 0;

    for (size_t i = 0; i < COUNT(purposes); i++)
        if (dotted ? memcmp(&purposes[i].oid, &oid, sizeof oid) == 0
                   : strcmp(purposes[i].name, name) == 0) {
            *ret = purposes[i];
            return true;
        }
    *ret = (struct word_purpose){.oid = oid};
    return dotted;
}

bool word_extension(const char *name, unsigned *ret)
{
    for (size_t i = 0; i < COUNT(extensions); i++)
        if (strcmp(extensions[i].name, name) == 0) {
            *ret = extensions[i].bit;
            return true;
        }
    return false;
}
