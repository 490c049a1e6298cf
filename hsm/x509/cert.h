/* Certificates (RFC 5280) built from plain facts, for devices and for the CA itself. The builder writes what it is
 * told and nothing else; who may be certified for what is decided by its callers. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/limits.h"
#include "hsm/x509/signature.h"

struct buf;
struct err;

#define CERT_SERIAL_BYTES 16 /* 127 random bits: RFC 5280 allows 20 octets, CA/B asks for 64 bits */
#define CERT_KEY_ID_BYTES 20
#define CERT_NEVER                                                                                 \
    253402300799 /* 99991231235959Z: RFC 5280, 4.1.2.5, "no well-defined expiration" */
#define CERT_END_ENTITY (-1)
#define CERT_NO_CA      (-2)

#define CERT_KU_DIGITAL_SIGNATURE 0x80 /* first octet of the KeyUsage BIT STRING */
#define CERT_KU_NON_REPUDIATION   0x40
#define CERT_KU_KEY_ENCIPHERMENT  0x20
#define CERT_KU_DATA_ENCIPHERMENT 0x10
#define CERT_KU_KEY_AGREEMENT     0x08
#define CERT_KU_KEY_CERT_SIGN     0x04
#define CERT_KU_CRL_SIGN          0x02

/* Extensions about whose criticality RFC 5280 leaves a choice. */
#define CERT_EXT_KEY_USAGE         0x01
#define CERT_EXT_EXT_KEY_USAGE     0x02
#define CERT_EXT_ALT_NAMES         0x04
#define CERT_EXT_POLICIES          0x08
#define CERT_EXT_BASIC_CONSTRAINTS 0x10

#define CERT_URLS_MAX 4 /* of one kind: a mirror or two */

struct cert_bytes {
    const uint8_t *bytes;
    size_t len;
};

/* One attribute of a Name, in the order of the array. */
struct cert_attr {
    struct der_oid type;
    uint8_t string_tag; /* DER_UTF8_STRING or DER_PRINTABLE_STRING; the caller checked the value */
    const char *value;  /* NOT NUL-terminated */
    size_t len;
};

struct cert_urls {
    struct cert_bytes urls[CERT_URLS_MAX];
    size_t count;
};

struct cert_policy {
    struct der_oid oid;
    const char *cps; /* an address, or NULL */
};

struct cert_fields {
    uint8_t serial[CERT_SERIAL_BYTES];
    enum signature_alg alg;
    struct cert_bytes issuer;      /* DER Name */
    struct cert_bytes subject;     /* DER Name */
    int64_t not_before, not_after; /* Unix seconds */
    struct cert_bytes spki;        /* DER SubjectPublicKeyInfo, carried as it is */
    uint8_t subject_key_id[CERT_KEY_ID_BYTES];
    struct cert_bytes authority_key_id;
    unsigned key_usage; /* CERT_KU_* */
    unsigned critical;  /* CERT_EXT_* */
    int path_len; /* of a CA; CERT_END_ENTITY: basicConstraints is left out; CERT_NO_CA: it says so */
    struct cert_bytes alt_names; /* GeneralNames, one behind the other; empty: no extension */
    const struct der_oid *ext_key_usage;
    const struct cert_policy *policies;
    size_t ext_key_usage_count, policy_count;
    struct cert_urls crl_urls, ca_issuers_urls, ocsp_urls;
};

/* 16 random bytes made positive and free of leading zeros. */
int cert_serial(uint8_t ret[CERT_SERIAL_BYTES], struct err *e);
/* RFC 7093, section 2, method 1: the leftmost 160 bits of the SHA-256 of the subjectPublicKey's bits. Chosen over RFC 5280's
 * SHA-1 because nothing in a new certificate should depend on SHA-1 being there. */
void cert_key_id(const uint8_t *key_bits, size_t len, uint8_t ret[CERT_KEY_ID_BYTES]);
/* Appends the DER Name. */
int cert_name(const struct cert_attr *attrs, size_t count, struct buf *out, struct err *e);
/* Appends the TBSCertificate. ERR_LIMIT when it would not fit into CERT_BYTES_MAX with its signature. */
int cert_tbs(const struct cert_fields *f, struct buf *out, struct err *e);
/* Appends the Certificate. sig: as signature_from_token() gives it. */
int cert_assemble(const struct cert_bytes *tbs, enum signature_alg alg,
        const struct cert_bytes *sig, struct buf *out, struct err *e);
