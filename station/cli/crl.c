/* keyline ca crl: the CRLs as they are published, read from their files and checked under their CA's
 * key, so that what is copied from here to a web server is good. Needs a running appliance only to
 * have new ones made. */
#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/file.h"
#include "base/limits.h"
#include "base/buf.h"
#include "base/text.h"
#include "hsm/x509/pem.h"
#include "jobs/jobs_client.h"
#include "station/cli/ca_files.h"
#include "station/cli/cli.h"
#include "station/cli/verbs.h"

#define KEY_ID_BYTES 20 /* of a CA's name in hsm/ca.h */

struct list {
    char ca[2 * KEY_ID_BYTES + 1], path[PATH_MAX], subject[256];
    struct buf der;
    X509_CRL *crl; /* NULL: why says what is wrong */
    struct err why;
    int64_t number, this_update_ms, next_update_ms;
    int revoked;
};

static int64_t unix_ms(const ASN1_TIME *t)
{
    struct tm tm;
    return t && ASN1_TIME_to_tm(t, &tm) == 1 ? (int64_t)timegm(&tm) * 1000 : 0;
}

static void name_ca(X509 *ca, const struct paths *p, struct list *ret)
{
    const ASN1_OCTET_STRING *id = X509_get0_subject_key_id(ca);
    uint8_t bytes[KEY_ID_BYTES] = {0};
    char dir[PATH_MAX];
    int len = id ? ASN1_STRING_length(id) : 0;
    if (len > 0)
        memcpy(bytes, ASN1_STRING_get0_data(id), len < KEY_ID_BYTES ? (size_t)len : sizeof bytes);
    hex_format(bytes, sizeof bytes, ret->ca);
    paths_get(p, PATH_CRLS, dir);
    if (snprintf(ret->path, sizeof ret->path, "%s/%s.crl", dir, ret->ca) >= PATH_MAX)
        ret->path[0] = '\0';
    X509_NAME_oneline(X509_get_subject_name(ca), ret->subject, sizeof ret->subject);
}

static void read_facts(struct list *l)
{
    ASN1_INTEGER *number = X509_CRL_get_ext_d2i(l->crl, NID_crl_number, NULL, NULL);
    STACK_OF(X509_REVOKED) *entries = X509_CRL_get_REVOKED(l->crl);
    l->number = number ? ASN1_INTEGER_get(number) : 0;
    l->this_update_ms = unix_ms(X509_CRL_get0_lastUpdate(l->crl));
    l->next_update_ms = unix_ms(X509_CRL_get0_nextUpdate(l->crl));
    l->revoked = entries ? sk_X509_REVOKED_num(entries) : 0;
    ASN1_INTEGER_free(number);
}

static void load(X509 *ca, const struct paths *p, struct list *ret)
{
    const uint8_t *at;
    *ret = (struct list){0};
    name_ca(ca, p, ret);
    if (file_read(ret->path, CRL_BYTES_MAX, &ret->der, &ret->why)) {
        if (ret->why.id == ERR_NOT_FOUND)
            err_context(&ret->why, "the appliance has not published a CRL of this CA yet");
        return;
    }
    at = ret->der.data;
    ret->crl = d2i_X509_CRL(NULL, &at, (long)ret->der.len);
    if (!ret->crl || at != ret->der.data + ret->der.len ||
            X509_CRL_verify(ret->crl, X509_get0_pubkey(ca)) != 1) {
        X509_CRL_free(ret->crl);
        ret->crl = NULL;
        err_set(&ret->why, ERR_CONFIG, "%s is not a CRL of this CA: restart the signer", ret->path);
    } else {
        read_facts(ret);
    }
    ERR_clear_error();
}

static void list_done(struct list *l)
{
    X509_CRL_free(l->crl);
    buf_done(&l->der);
}

static bool is_overdue(const struct list *l)
{
    return l->next_update_ms <= time_now_ms();
}

/* ---- shown */

static json_t *list_json(const struct list *l)
{
    char begin[TIME_TEXT_MAX], end[TIME_TEXT_MAX];
    json_t *o =
            json_pack("{s:s, s:s, s:s}", "ca", l->ca, "ca_subject", l->subject, "file", l->path);
    if (!l->crl) {
        (void)json_object_set_new(o, "error",
                json_pack("{s:s, s:s}", "name", err_name(l->why.id), "message", l->why.msg));
        return o;
    }
    time_format(l->this_update_ms, begin);
    time_format(l->next_update_ms, end);
    (void)json_object_update_new(
            o, json_pack("{s:I, s:s, s:s, s:i, s:b, s:n}", "number", (json_int_t)l->number,
                       "this_update", begin, "next_update", end, "revoked", l->revoked, "overdue",
                       (int)is_overdue(l), "error"));
    return o;
}

static void show(struct cli *c, const struct list *l, bool first)
{
    char text[TIME_TEXT_MAX], when[NUMBER_TEXT_MAX];
    screen_style(&c->out, STYLE_BOLD);
    screen_printf(&c->out, "%sCRL\n", first ? "" : "\n");
    screen_style(&c->out, STYLE_PLAIN);
    screen_fact(&c->out, "CA", l->subject);
    screen_fact(&c->out, "Key ID", l->ca);
    if (!l->crl) {
        screen_style(&c->out, STYLE_BAD);
        screen_fact(&c->out, "Error", l->why.msg);
        screen_style(&c->out, STYLE_PLAIN);
        return;
    }
    screen_factf(&c->out, "Number", "%lld", (long long)l->number);
    screen_factf(&c->out, "Revoked", "%d", l->revoked);
    time_format(l->this_update_ms, text);
    screen_fact(&c->out, "Issued", clock_format(text, when));
    time_format(l->next_update_ms, text);
    screen_style(&c->out, is_overdue(l) ? STYLE_BAD : STYLE_PLAIN);
    screen_factf(&c->out, "Next update", "%s%s", clock_format(text, when),
            is_overdue(l) ? ": overdue, verifiers refuse every device" : "");
    screen_style(&c->out, STYLE_PLAIN);
    screen_fact(&c->out, "File", l->path);
}

/* ---- given out */

static int give_out(struct cli *c, const struct list *l, struct err *e)
{
    const char *path = cli_option(c, "out");
    struct buf bytes = BUF_INIT;
    int r;
    if (!l->crl)
        return err_set(e, l->why.id, "%s", l->why.msg);
    r = cli_has(c, "pem") ? pem_format(PEM_STRING_X509_CRL, l->der.data, l->der.len, &bytes, e)
                          : buf_append(&bytes, l->der.data, l->der.len, e);
    if (r == 0 && path)
        r = file_write(path, bytes.data, bytes.len, 0644, e);
    else if (r == 0 && fwrite(bytes.data, 1, bytes.len, stdout) != bytes.len)
        r = err_set(e, ERR_IO, "the CRL could not be written out");
    buf_done(&bytes);
    return r;
}

/* ---- which */

static int renew(struct cli *c, struct err *e)
{
    struct buf answer = BUF_INIT;
    int r = cli_connect(c, e);
    if (r == 0)
        r = jobs_call(c->bus, "RenewCrls", NULL, 0, &answer, e);
    buf_done(&answer);
    return r;
}

static X509 *ca_at(const struct ca_files *f, int i)
{
    return i ? sk_X509_value(f->retired, i - 1) : sk_X509_value(f->chain, 0);
}

/* The number of a CA's list as it lies there, 0: there is none. */
static int64_t number_of(const struct cli *c, X509 *ca)
{
    struct list l;
    load(ca, &c->paths, &l);
    int64_t number = l.number;
    list_done(&l);
    return number;
}

static int each_ca(struct cli *c, const struct ca_files *f, struct err *e)
{
    const char *wanted = cli_option(c, "ca");
    bool out = cli_has(c, "pem") || cli_has(c, "out");
    int count = 1 + sk_X509_num(f->retired), shown = 0, r = 0;
    json_t *all = json_array();
    for (int i = 0; i < count && r == 0; i++) {
        struct list l;
        load(ca_at(f, i), &c->paths, &l);
        /* files hold one list: the active CA's, unless another is named */
        if (wanted ? strncmp(l.ca, wanted, strlen(wanted)) == 0 : !out || i == 0) {
            if (out)
                r = give_out(c, &l, e);
            else if (c->json)
                (void)json_array_append_new(all, list_json(&l));
            else
                show(c, &l, shown == 0);
            shown++;
        }
        list_done(&l);
    }
    if (r == 0 && shown == 0)
        r = err_set(e, ERR_NOT_FOUND, "no CA's key ID begins with \"%.60s\"", wanted);
    if (r == 0 && c->json && !out)
        return cli_print_json(json_pack("{s:o}", "crls", all), e);
    json_decref(all);
    return r;
}

/* A list of a moment ago that lacks nothing is not made again: who asked for a new one is told. */
static int renew_and_tell(struct cli *c, const struct ca_files *f, struct err *e)
{
    int count = 1 + sk_X509_num(f->retired), same = 0, r;
    int64_t *before = calloc((size_t)count, sizeof *before);
    if (!before)
        return err_set(e, ERR_NOMEM, "no memory for %d CRLs", count);
    for (int i = 0; i < count; i++)
        before[i] = number_of(c, ca_at(f, i));
    r = renew(c, e);
    for (int i = 0; i < count && r == 0; i++)
        same += before[i] && number_of(c, ca_at(f, i)) == before[i];
    if (same)
        fprintf(stderr,
                "keyline: %s made anew: what was made within the last %d s and lacks no revocation "
                "is given out again\n",
                same == count ? "no CRL was" : "not every CRL was", CRL_FRESH_MS / 1000);
    free(before);
    return r;
}

int ca_crl(struct cli *c, struct err *e)
{
    struct ca_files f = {0};
    if (ca_files_read(&c->paths, &f, e))
        return -1;
    int r = cli_has(c, "now") ? renew_and_tell(c, &f, e) : 0;
    if (r == 0)
        r = each_ca(c, &f, e);
    ca_files_done(&f);
    return r;
}
