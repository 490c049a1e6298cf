/* Certificate profiles: what a certificate of a job looks like, as data (docs/profiles.md). One is built in, the IDevID of IEEE
 * 802.1AR; the others are files of JSON. */
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include "base/buf.h"
#include "hsm/x509/cert.h"
#include "hsm/x509/csr.h"
#include "hsm/profile/value.h"

struct err;
struct json_t;

#define PROFILE_BUILTIN          "idevid"
#define PROFILE_NAME_MAX         31 /* bytes */
#define PROFILE_SHA256_TEXT      65
#define PROFILE_ITEMS_MAX        16 /* attributes, names */
#define PROFILE_ALTERNATIVES_MAX 4
#define PROFILE_LIST_MAX         8   /* key usages, policies */
#define PROFILE_ALT_NAME_MAX     255 /* characters of a name or an address */

/* Templates (template.h), the first that can be filled counts. */
struct profile_value {
    const char *templates[PROFILE_ALTERNATIVES_MAX];
    size_t count;
};
struct profile_attribute {
    const char *name;
    struct der_oid type;
    uint8_t string_tag;
    enum value_form form;
    size_t max; /* characters */
    struct profile_value value;
};
enum profile_name_kind {
    PROFILE_NAME_DNS,
    PROFILE_NAME_EMAIL,
    PROFILE_NAME_URI,
    PROFILE_NAME_IP,
    PROFILE_NAME_REGISTERED_ID,
    PROFILE_NAME_HARDWARE,
};
struct profile_alt_name {
    enum profile_name_kind kind;
    struct der_oid hw_type;
    struct profile_value value;
};
struct profile_urls {
    const char *templates[CERT_URLS_MAX];
    size_t count;
};

struct profile {
    char name[PROFILE_NAME_MAX + 1];
    char sha256[PROFILE_SHA256_TEXT]; /* of the canonical JSON: what an approver approves */
    const char *description;          /* "" when there is none */
    unsigned keys;                    /* device keys allowed, 1u << enum csr_key */
    struct profile_attribute subject[PROFILE_ITEMS_MAX];
    struct profile_alt_name alt_names[PROFILE_ITEMS_MAX];
    size_t subject_count, alt_name_count;
    int years, days; /* both 0: never ends */
    bool beyond_ca;
    int backdate_minutes;
    unsigned key_usage[CSR_KEY_COUNT]; /* CERT_KU_*, by the device's key */
    struct der_oid ext_key_usage[PROFILE_LIST_MAX];
    struct cert_policy policies[PROFILE_LIST_MAX];
    size_t ext_key_usage_count, policy_count;
    struct profile_urls crl_urls, ca_issuers_urls, ocsp_urls;
    bool basic_constraints;
    unsigned critical; /* CERT_EXT_* */
    /* the texts above are parts of it: members sorted, no white space, when printed as profile_json() does */
    struct json_t *document;
};

/* A name that may stand in a ticket and be a file's: letters, digits, '.', '_', '-', not '.' first, PROFILE_NAME_MAX bytes. */
bool profile_name_valid(const char *name);
/* ERR_PROFILE names the member and the first thing that is wrong with it, and how many more there are; problems, when not
 * NULL, gets all of them, a line each. */
int profile_parse(const char *name, const char *json, size_t len, struct profile **ret,
        struct buf *problems, struct err *e);
/* Of the kinds of device key that it allows, the one that costs the device least. */
enum csr_key profile_first_key(const struct profile *p);
/* A file NAME.json; ERR_NOT_FOUND when it is not there. */
int profile_read(const char *path, struct profile **ret, struct buf *problems, struct err *e);
int profile_builtin(struct profile **ret, struct err *e);
/* Appends the canonical JSON. */
int profile_json(const struct profile *p, struct buf *out, struct err *e);
void profile_free(struct profile **p);
