/* A profile: any bytes into profile_parse(), and what passes onto a row. Promises that a refusal names every fault in a
 * printable line, that a profile printed and read again is the same one, that profile_fits() says of a row what comes of
 * it, and that whatever certificate it gives is one that OpenSSL reads whole. */
#include <openssl/x509v3.h>
#include <string.h>
#include "base/buf.h"
#include "base/err.h"
#include "base/row.h"
#include "base/text.h"
#include "hsm/profile/profile.h"
#include "hsm/profile/profile_apply.h"
#include "tests/fuzz/fuzz.h"
#include "tests/hsm/help.h"

static void check_again(const struct profile *p)
{
    struct buf json = BUF_INIT;
    struct profile *again;
    struct err e = {0};

    must(profile_json(p, &json, &e) == 0);
    promise(profile_parse("fuzz", (const char *)json.data, json.len, &again, NULL, &e) == 0);
    promise(strcmp(again->sha256, p->sha256) == 0);
    profile_free(&again);
    buf_done(&json);
}

static void check_certificate(struct cert_fields *f)
{
    static uint8_t *spki;
    static int spki_len;
    static const uint8_t sig[] = {0x30, 0x06, 0x02, 0x01, 0x01, 0x02, 0x01, 0x01};
    struct buf tbs = BUF_INIT, der = BUF_INIT;
    struct err e = {0};
    const uint8_t *at;
    X509 *x;

    if (!spki)
        spki_len = i2d_PUBKEY(fuzz_key(), &spki);
    f->spki = (struct cert_bytes){spki, (size_t)spki_len};
    f->serial[0] = 0x40;
    f->issuer = f->subject;
    /* ERR_LIMIT is the only way out: a profile may ask for more than a certificate takes */
    if (cert_tbs(f, &tbs, &e) == 0) {
        must(cert_assemble(&(struct cert_bytes){tbs.data, tbs.len}, SIGNATURE_ECDSA_P256,
                     &(struct cert_bytes){sig, sizeof sig}, &der, &e) == 0);
        at = der.data;
        x = d2i_X509(NULL, &at, (long)der.len);
        promise(x && at == der.data + der.len);
        promise(!(X509_get_extension_flags(x) & EXFLAG_INVALID));
        promise(X509_check_ca(x) == 0);
        X509_free(x);
    } else {
        promise(e.id == ERR_LIMIT);
    }
    buf_done(&tbs);
    buf_done(&der);
}

static void check_rows(const struct profile *p)
{
    static struct help_rows rows;
    static struct profile_space space;
    static const uint8_t ca_id[20] = {1};

    if (!rows.count)
        help_rows_make(&rows, 8);
    for (size_t i = 6; i < 8; i++) { /* with a subject, and without */
        struct row row;
        struct cert_fields f = {0};
        struct profile_case c = {.row = &row,
                .device_id = "11111111-1111-5111-8111-111111111111",
                .ca_key_id = {ca_id, sizeof ca_id},
                .ca_not_after = CERT_NEVER,
                .now_s = 1700000000};
        struct err e = {0};
        int r, fits;

        must(row_decode(rows.rows[i].data, rows.rows[i].len, &row, &e) == 0);
        promise(p->keys);
        c.key = profile_first_key(p);
        promise(c.key < CSR_KEY_COUNT);
        fits = profile_fits(p, &row, &space, NULL);
        r = profile_apply(p, &c, &space, &f, &e);
        promise(fits == r);
        fuzz_outcome(r, &e);
        if (r == 0)
            check_certificate(&f);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct buf problems = BUF_INIT;
    struct profile *p = NULL;
    struct err e = {0};
    int r = profile_parse("fuzz", (const char *)data, size, &p, &problems, &e);

    fuzz_outcome(r, &e);
    promise((r == 0) == (problems.len == 0));
    for (size_t i = 0; i < problems.len; i++)
        promise(problems.data[i] == '\n' || problems.data[i] >= 0x20);
    if (r == 0) {
        check_again(p);
        check_rows(p);
    }
    profile_free(&p);
    buf_done(&problems);
    return 0;
}

void fuzz_seeds(fuzz_seed_fn add)
{
    static const char all[] =
            "{\"description\":\"d\",\"keys\":[\"RSA-2048\",\"Ed25519\"],\"subject\":[{"
            "\"attribute\":"
            "\"O\",\"value\":\"{subject.organization_name?}\",\"string\":\"utf8\"},{\"attribute\":"
            "\"DC\",\"value\":\"example\"},{\"attribute\":\"1.3.6.1.4.1.32473.7\",\"value\":[\"{"
            "subject.country??}{subject.common_name?}\",\"x\"]}],\"alt_names\":[{\"type\":\"dns\","
            "\"value\":\"{device_name}.example.com\"},{\"type\":\"ip\",\"value\":\"::1\"},{"
            "\"type\":"
            "\"uri\",\"value\":\"urn:a:{hwid}\"},{\"type\":\"email\",\"value\":\"a@b.c\"},{"
            "\"type\":"
            "\"registeredID\",\"value\":\"1.2.3\"},{\"type\":\"hardwareModuleName\",\"value\":\"{"
            "hwid}\",\"hw_type\":\"1.2.3\"}],\"validity\":{\"years\":1,\"beyond_ca\":false,"
            "\"backdate_"
            "minutes\":5},\"key_usage\":{\"RSA\":[\"digitalSignature\",\"keyEncipherment\"],"
            "\"Ed25519\":[\"digitalSignature\"]},\"ext_key_usage\":[\"serverAuth\",\"1.2.3\"],"
            "\"basic_constraints\":true,\"policies\":[{\"oid\":\"1.2.3\",\"cps\":\"urn:a:b\"}],"
            "\"crl_urls\":[\"http://a.b/{ca_key_id}\"],\"ca_issuers_urls\":[\"ldap://a.b/\"],"
            "\"ocsp_urls\":[\"http://a.b/"
            "\"],\"critical\":[\"extKeyUsage\",\"certificatePolicies\"]}";
    static const char bad[] =
            "{\"keys\":[\"X\"],\"subject\":[{\"attribute\":\"Y\",\"value\":\"{z}\"}],"
            "\"validity\":{},\"key_usage\":[\"w\"],\"v\":1}";
    struct buf json = BUF_INIT;
    struct profile *p;

    must(profile_builtin(&p, NULL) == 0 && profile_json(p, &json, NULL) == 0);
    add("builtin", json.data, json.len);
    add("all", all, sizeof all - 1);
    add("bad", bad, sizeof bad - 1);
    profile_free(&p);
    buf_done(&json);
}
