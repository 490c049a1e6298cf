/* Certificates as facts for people and as members of ca show's answer. */
#pragma once
#include <jansson.h>
#include <openssl/x509.h>
#include "station/cli/screen.h"

/* -1 when it is no certificate: nothing is shown then. */
int certificate_show_pem(const struct screen *s, const char *pem);
void certificate_show(const struct screen *s, X509 *x);
/* {"subject","issuer","serial","not_before","not_after","key","sha256","pem"}; NULL without memory. */
json_t *certificate_json(X509 *x);
