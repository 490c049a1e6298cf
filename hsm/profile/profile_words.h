/* The words that a profile is written in, and what each stands for: kinds of keys, attributes, names, uses. */
#pragma once
#include <stdbool.h>
#include "hsm/profile/profile.h"

bool word_key(const char *name, enum csr_key *ret);
const char *word_key_name(enum csr_key key);

#define WORD_EITHER 0 /* UTF8String or PrintableString, as the profile says */
struct word_attribute {
    const char *name;
    struct der_oid type;
    uint8_t tag; /* DER_*_STRING, or WORD_EITHER */
    enum value_form form;
    size_t max; /* characters */
};
/* By a name, or by an OID that has none here; ret borrows the name. */
bool word_attribute(const char *name, struct word_attribute *ret);

bool word_alt_name(const char *type, enum profile_name_kind *ret);
const char *word_alt_name_type(enum profile_name_kind kind);
enum value_form word_alt_name_form(enum profile_name_kind kind);

enum key_family { FAMILY_RSA, FAMILY_EC, FAMILY_ED25519, FAMILY_COUNT };
struct word_family {
    const char *name;
    unsigned keys;  /* 1u << enum csr_key */
    unsigned usage; /* CERT_KU_* that such keys can be for */
};
const struct word_family *word_family(enum key_family f);

/* One bit of CERT_KU_*; those of CAs have no name here. */
bool word_usage(const char *name, unsigned *ret);
const char *word_usage_name(unsigned bit);

struct word_purpose {
    const char *name; /* NULL: it has none here */
    struct der_oid oid;
    unsigned usage; /* CERT_KU_* that are consistent with it; 0 when that is not known */
};
/* An extended key usage by its name or its OID. */
bool word_purpose(const char *name, struct word_purpose *ret);

/* An extension that may be critical or not, CERT_EXT_*. */
bool word_extension(const char *name, unsigned *ret);
