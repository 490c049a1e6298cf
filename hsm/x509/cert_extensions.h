/* The extensions of a certificate (RFC 5280, 4.2), written from the same facts as the rest of it. */
#pragma once
#include <stddef.h>
#include "hsm/x509/cert.h"
#include "hsm/x509/der.h"

/* All that the fields ask for, as the [3] of a TBSCertificate. */
void cert_extensions(struct der *d, const struct cert_fields *f);

/* One GeneralName (4.2.1.6) each; together they become cert_fields.alt_names. Values are the callers' to check. */
enum cert_name_kind {
    CERT_NAME_EMAIL = 1, /* the numbers are GeneralName's tags */
    CERT_NAME_DNS = 2,
    CERT_NAME_URI = 6,
    CERT_NAME_IP = 7, /* 4 or 16 octets */
};
void cert_general_name(struct der *d, enum cert_name_kind kind, const void *bytes, size_t len);
void cert_registered_id(struct der *d, const struct der_oid *oid);
/* RFC 4108, section 5. */
void cert_hardware_module_name(
        struct der *d, const struct der_oid *hw_type, const void *serial, size_t len);
