/* What a text may be where a certificate takes it: the forms of RFC 5280. */
#pragma once
#include <stddef.h>
#include <stdint.h>

enum value_form {
    VALUE_UTF8,      /* UTF8String without control characters */
    VALUE_PRINTABLE, /* PrintableString */
    VALUE_IA5,       /* IA5String without control characters */
    VALUE_COUNTRY,   /* two capital letters */
    VALUE_DNS,   /* preferred name syntax (RFC 1034, 3.5; RFC 1123, 2.1) of two labels or more */
    VALUE_LABEL, /* one label of a DNS name, for domainComponent (RFC 4519, 2.4) */
    VALUE_EMAIL, /* Mailbox, RFC 5321: a dot-atom, "@", a DNS name */
    VALUE_URI,   /* absolute, RFC 3986; with an authority, its host is a DNS name or an address */
    VALUE_IP,    /* an IPv4 or IPv6 address, as text */
    VALUE_OID,   /* dotted decimal */
};

/* NULL when the text has the form and at most max characters, else what is wrong. An empty text has no form. */
const char *value_check(enum value_form form, const char *s, size_t len, size_t max);
/* 4 or 16 octets of an address that passed VALUE_IP; their number. */
size_t value_address(const char *s, size_t len, uint8_t ret[16]);
