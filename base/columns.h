/* The columns a manifest may have: Device Trust Manager's registration template and our extensions,
 * one table. docs/manifest.md lists the same columns; a test compares them. */
#pragma once
#include <stdbool.h>
#include <stddef.h>

enum column_kind {
    COLUMN_TEXT,    /* any UTF-8 text without control characters but tab and line breaks */
    COLUMN_SUBJECT, /* of a certificate's subject: no control characters at all */
    COLUMN_SERIAL, /* ASN.1 PrintableString (X.680, 41.4): it becomes the certificate's serialNumber */
    COLUMN_NAME,          /* name_valid() */
    COLUMN_COUNTRY,       /* two letters, ISO 3166 */
    COLUMN_TRANSPORT_KEY, /* base64 of a P-256 SubjectPublicKeyInfo */
    COLUMN_REFUSED,       /* known, but this version has no use for a value */
};
struct column {
    const char *name;
    enum column_kind kind;
    size_t max; /* bytes (for subject.*: the upper bounds of RFC 5280, appendix A) */
    const char *meaning;
};

#define COLUMN_ATTRIBUTE_PREFIX "attr."

size_t column_count(void);
const struct column *column_at(size_t i);
/* The column of that name; "attr.<key>" gives the attribute column. NULL when there is none. */
const struct column *column_find(const char *name, size_t len);
/* The known name nearest to a mistyped one, or NULL when none is near. */
const char *column_nearest(const char *name, size_t len);
/* NULL when the value suits the column, else what is wrong and what to write instead. */
const char *column_check(const struct column *c, const char *value, size_t len);
