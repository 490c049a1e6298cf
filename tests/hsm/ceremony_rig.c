/* Ceremonies at a station of one's own, with the real keyline-ceremony. */
#include "tests/hsm/ceremony_rig.h"
#include <openssl/x509v3.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include "base/file.h"

#define FILE_MAX (1u << 20)

/* ---- programs */

int sh(const char *fmt, ...)
{
    char command[4096];
    size_t n = (size_t)snprintf(command, sizeof command, "cd %s && exec >said 2>&1; ", st.root);
    va_list args;

    va_start(args, fmt);
    vsnprintf(command + n, sizeof command - n, fmt, args);
    va_end(args);
    return station_run((const char *[]){"sh", "-c", command, NULL});
}

void said(const char *words)
{
    char path[PATH_MAX];
    struct buf text = BUF_INIT;
    struct err e = {0};

    snprintf(path, sizeof path, "%s/said", st.root);
    ok(file_read(path, FILE_MAX, &text, &e));
    if (!buf_str(&text) || !strstr(buf_str(&text), words))
        fail_msg("'%s' was not said, but: %s", words, buf_str(&text));
    buf_done(&text);
}

bool there_is(const char *name)
{
    char path[PATH_MAX];

    snprintf(path, sizeof path, "%s/%s", st.root, name);
    return access(path, F_OK) == 0;
}

/* ---- CAs and certificates */

void load_cas(struct ca_set *ret)
{
    struct err e = {0};

    ok(ca_set_load(&st.paths, ret, &e));
}

const struct ca *issuer_of(const struct ca_set *cas, const struct buf *cert)
{
    const uint8_t *at = cert->data;
    X509 *x = d2i_X509(NULL, &at, (long)cert->len);
    const ASN1_OCTET_STRING *id;
    const struct ca *ca;

    assert_non_null(x);
    id = X509_get0_authority_key_id(x);
    assert_non_null(id);
    ca = ca_set_find(cas, ASN1_STRING_get0_data(id), (size_t)ASN1_STRING_length(id));
    X509_free(x);
    return ca;
}

void issue_under_active(size_t row, EVP_PKEY *key, struct buf *ret_cert)
{
    char chain[PATH_MAX];
    struct ca_set cas;
    struct err e = {0};
    bool fresh = false;

    ok(station_issue(&st, row, key, ret_cert, &fresh, &e));
    assert_true(fresh);
    load_cas(&cas);
    assert_ptr_equal(issuer_of(&cas, ret_cert), cas.active);
    ca_set_done(&cas);
    paths_get(&st.paths, PATH_CA_CHAIN, chain);
    station_verify(&st, ret_cert, chain);
}

void serves(size_t row)
{
    EVP_PKEY *key = help_key("P-256");
    struct buf cert = BUF_INIT;

    station_start(&st);
    issue_under_active(row, key, &cert);
    station_stop(&st, SIGTERM);
    buf_done(&cert);
    EVP_PKEY_free(key);
}

void make_root(const char *options)
{
    did("openssl req -x509 %s -nodes -days 3650 -subj '/O=Maker/CN=Offline Root' "
        "-addext basicConstraints=critical,CA:TRUE,pathlen:1 "
        "-addext keyUsage=critical,keyCertSign,cRLSign -keyout root.key -out root.pem",
            options);
    did("openssl x509 -in root.pem -noout -fingerprint -sha256 | cut -d= -f2 >root.sha256");
}

void sign_request(const char *csr, const char *options)
{
    did("openssl x509 -req -in %s -CA root.pem -CAkey root.key -CAcreateserial "
        "-copy_extensions copyall -days 3000 %s -out issuing.pem && cat issuing.pem root.pem "
        ">chain.pem",
            csr, options);
}
