/* The later life of a station's CA: the request to an offline root, its answer, the roll-over.
 * Promises that wherever a run is cut off, the old CA or the new one is in force, and that running
 * the same again ends it; a key is destroyed only when no CA of this station has it. */
#include <errno.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <stdio.h>
#include <string.h>
#include "base/buf.h"
#include "base/err.h"
#include "base/file.h"
#include "base/log.h"
#include "base/text.h"
#include "hsm/ca_check.h"
#include "hsm/ceremony/ceremony.h"
#include "hsm/ceremony/ceremony_certs.h"
#include "hsm/ceremony/ceremony_station.h"
#include "hsm/ceremony/ceremony_store.h"

#define ORGANIZATION "Keyline"
#define SHA256_BYTES 32

/* ---- what an earlier run left */

/* Whether a CA of this station has this key; -1 when that cannot be found out. */
static int key_in_use(struct ceremony_station *s, const struct module_key_name *name, struct err *e)
{
    for (size_t i = 0; i <= s->cas.retired_count; i++) {
        const struct ca *ca = i ? s->cas.retired[i - 1] : s->cas.active;
        struct ceremony_key key;
        struct err why = {0};

        if (!ca)
            continue;
        if (ceremony_token_find(&s->token, ca->cert, &s->configured, &key, &why) == 0) {
            if (key.name.id_len == name->id_len && memcmp(key.name.id, name->id, name->id_len) == 0)
                return 1;
        } else if (why.id != ERR_TOKEN_ABSENT && why.id != ERR_SIGNATURE) {
            *e = why;
            return -1;
        }
    }
    return 0;
}

/* The token is logged in. Afterwards no request waits, and no key without a CA is left of one. 1: its key has become a
 * CA's, only the last step was missing. */
static int settle(struct ceremony_station *s, struct err *e)
{
    struct module_key_name name;
    struct err why = {0};
    int used;

    if (ceremony_store_key(&s->paths, &name, &why) < 0) {
        if (why.id == ERR_NOT_FOUND)
            return ceremony_store_clear_request(&s->paths, e);
        *e = why;
        return -1;
    }
    used = key_in_use(s, &name, e);
    s->destroyed = used == 0;
    if (used < 0 || (!used && ceremony_token_destroy(&s->token, &name, e) < 0) ||
            ceremony_store_clear_request(&s->paths, e) < 0)
        return -1;
    return used;
}

static int read_request(const struct buf *pem, X509_REQ **ret, struct err *e)
{
    BIO *bio = BIO_new_mem_buf(pem->data, (int)pem->len);

    *ret = bio ? PEM_read_bio_X509_REQ(bio, NULL, NULL, NULL) : NULL;
    BIO_free(bio);
    ERR_clear_error();
    if (*ret)
        return 0;
    err_set(e, ERR_CONFIG, "the request that waits cannot be read");
    return err_advise(e, "Give it up: keyline ca request --give-up");
}

/* 1: a request waits, *ret_pem gets it; 0: none does. One whose answer is installed already, by a run
 * that was cut off, waits no more. */
static int pending(struct ceremony_station *s, struct buf *ret_pem, struct err *e)
{
    struct err why = {0};
    X509_REQ *req = NULL;
    int r = -1;

    if (ceremony_store_request(&s->paths, ret_pem, &why) < 0) {
        if (why.id == ERR_NOT_FOUND)
            return 0;
        *e = why;
        return -1;
    }
    if (read_request(ret_pem, &req, e) < 0)
        return -1;
    if (s->cas.active && EVP_PKEY_eq(X509_REQ_get0_pubkey(req), s->cas.active->key) == 1) {
        buf_reset(ret_pem);
        r = ceremony_store_clear_request(&s->paths, e);
    } else
        r = 1;
    X509_REQ_free(req);
    return r;
}

/* ---- a new key */

static int make_key(struct ceremony_station *s, const struct ceremony_options *o,
        struct ceremony_key *ret, struct err *e)
{
    enum ceremony_key_type type;

    *ret = (struct ceremony_key){0};
    if (ceremony_key_type(o, &type, e) < 0 || ceremony_store_new_key(&s->paths, &ret->name, e) < 0)
        return -1;
    return ceremony_token_keygen(&s->token, type, ret, e);
}

/* What this name (NULL: none) says, else Keyline; buf_str(ret) is its text. */
static int organization_of(const X509_NAME *name, struct buf *ret, struct err *e)
{
    int at = name ? X509_NAME_get_index_by_NID(name, NID_organizationName, -1) : -1;
    uint8_t *text = NULL;
    int len, r;

    if (at < 0)
        r = buf_append(ret, ORGANIZATION, sizeof ORGANIZATION - 1, e);
    else {
        len = ASN1_STRING_to_UTF8(&text, X509_NAME_ENTRY_get_data(X509_NAME_get_entry(name, at)));
        r = len < 0 ? err_set(e, ERR_CONFIG, "the CA's organization cannot be read")
                    : buf_append(ret, text, (size_t)len, e);
        OPENSSL_free(text);
    }
    return r < 0 ? -1 : buf_str(ret) ? 0 : err_set(e, ERR_NOMEM, "no memory for a name");
}

/* The option, else what the active CA is called by. */
static int find_organization(const struct ceremony_station *s, const struct ceremony_options *o,
        struct buf *ret, struct err *e)
{
    if (!o->organization)
        return organization_of(
                s->cas.active ? X509_get_subject_name(s->cas.active->cert) : NULL, ret, e);
    if (buf_append(ret, o->organization, strlen(o->organization), e) < 0)
        return -1;
    return buf_str(ret) ? 0 : err_set(e, ERR_NOMEM, "no memory for a name");
}

/* ---- request */

static int make_request(struct ceremony_station *s, const struct ceremony_options *o,
        struct buf *ret_pem, struct err *e)
{
    struct buf organization = BUF_INIT;
    struct ceremony_key key;
    int r = -1;

    if (!s->cas.active && ceremony_files_token_missing(&s->files) &&
            ceremony_make_token(&s->files, s->config, e) < 0)
        return -1;
    if (find_organization(s, o, &organization, e) == 0 &&
            ceremony_station_login(s, s->sections[0], e) == 0 && settle(s, e) >= 0 &&
            make_key(s, o, &key, e) == 0 &&
            ceremony_request_pem(&s->token, &key, buf_str(&organization), ret_pem, e) == 0 &&
            ceremony_station_logout(s, e) == 0)
        r = ceremony_store_put_request(&s->paths, ret_pem, e);
    buf_done(&organization);
    return r;
}

/* The request that waits is shown again to whoever asks for the same: what the options leave out is as it is. */
static int check_wishes(const struct ceremony_options *o, const struct buf *pem, struct err *e)
{
    struct buf organization = BUF_INIT;
    enum ceremony_key_type type;
    X509_REQ *req = NULL;
    int r = -1;

    if (read_request(pem, &req, e) < 0 || ceremony_key_type(o, &type, e) < 0 ||
            organization_of(X509_REQ_get_subject_name(req), &organization, e) < 0)
        goto out;
    if (o->organization && strcmp(o->organization, buf_str(&organization)) != 0)
        err_set(e, ERR_BAD_STATE, "a request waits already, and its organization is '%s'",
                buf_str(&organization));
    else if (o->key_type && !ceremony_key_type_fits(type, X509_REQ_get0_pubkey(req)))
        err_set(e, ERR_BAD_STATE, "a request waits already, and its key is not %s", o->key_type);
    else
        r = 0;
out:
    err_advise(e, "Without these options the one that waits is shown again; 'keyline ca request "
                  "--give-up' ends it.");
    X509_REQ_free(req);
    buf_done(&organization);
    return r;
}

static int hand_out(
        const struct ceremony_station *s, const char *file, const struct buf *pem, struct err *e)
{
    char path[PATH_MAX];

    paths_get(&s->paths, PATH_CA_REQUEST, path);
    if (file && file_write(file, pem->data, pem->len, 0644, e) < 0)
        return -1;
    if (!file && (fwrite(pem->data, 1, pem->len, stdout) != pem->len || fflush(stdout) != 0))
        return err_set_errno(e, errno, "write the request");
    fprintf(stderr,
            "The request (also in %s) waits for the root. When it is signed: keyline ca import "
            "CHAIN.pem\n",
            path);
    if (s->section_count > 1)
        fprintf(stderr,
                "The key is in [%s] alone: bring it to the other tokens with their maker's tool "
                "before.\n",
                s->sections[0]);
    return 0;
}

static bool is_waiting(const struct ceremony_station *s)
{
    struct module_key_name name;
    struct buf pem = BUF_INIT;
    struct err why = {0};
    bool waits = ceremony_store_key(&s->paths, &name, &why) == 0 ||
                 ceremony_store_request(&s->paths, &pem, &why) == 0;

    buf_done(&pem);
    return waits;
}

/* Takes back what the request has made: its key, and on a station without a CA the token as well, so that 'init' can begin
 * where nothing was begun. */
static int give_up(struct ceremony_station *s, struct err *e)
{
    bool fresh = !s->cas.active && !s->cas.retired_count, empty = false, gone = false;
    bool waits = is_waiting(s);
    int r = -1;

    if (!waits && (!fresh || ceremony_files_token_missing(&s->files)))
        err_set(e, ERR_NOT_FOUND, "no request waits");
    else if (ceremony_station_login(s, s->sections[0], e) == 0 && settle(s, e) >= 0 &&
             ceremony_token_is_empty(&s->token, &empty, e) == 0)
        r = ceremony_station_logout(s, e);
    if (r == 0 && fresh && empty)
        r = ceremony_files_unmake_token(&s->files, &gone, e);
    if (r == 0 && !waits && !gone)
        r = err_set(e, ERR_NOT_FOUND, "no request waits");
    if (r == 0)
        printf("The request is given up; a certificate for it is of no use any more.\n%s",
                gone ? "The token that was made for it is gone, too.\n" : "");
    return r;
}

static int request(struct ceremony_station *s, const struct ceremony_options *o, struct err *e)
{
    struct buf pem = BUF_INIT;
    int r = pending(s, &pem, e);

    if (r == 1)
        r = check_wishes(o, &pem, e);
    else if (r == 0)
        r = make_request(s, o, &pem, e);
    if (r >= 0)
        r = hand_out(s, o->out, &pem, e);
    buf_done(&pem);
    return r;
}

int ceremony_request(const struct ceremony_options *o, struct err *e)
{
    struct ceremony_station s;
    int r = ceremony_station_open(&s, e);

    if (r == 0)
        r = o->give_up ? give_up(&s, e) : request(&s, o, e);
    ceremony_station_close(&s);
    return r;
}

/* ---- import */

/* An old file that is imported by mistake must not undo a roll-over. */
static int check_return(const struct ca *next, const struct ceremony_options *o, struct err *e)
{
    if (o->reinstate)
        return 0;
    err_set(e, ERR_BAD_STATE, "this chain is of a retired CA, %s: another has taken its place",
            next->subject_text);
    return err_advise(e, "If it really is to issue again in place of the one in force: keyline ca "
                         "import --reinstate CHAIN.pem");
}

/* Names and key identifiers tell CAs apart, on CRLs and in chains: two CAs of one station share
 * neither. */
static int check_place(const struct ceremony_station *s, const struct ca *next,
        const struct ceremony_options *o, struct err *e)
{
    for (size_t i = 0; i <= s->cas.retired_count; i++) {
        const struct ca *ca = i ? s->cas.retired[i - 1] : s->cas.active;
        bool same_key, same_id, same_name;

        if (!ca)
            continue;
        same_key = EVP_PKEY_eq(ca->key, next->key) == 1;
        same_id = ca->key_id.len == next->key_id.len &&
                  memcmp(ca->key_id.bytes, next->key_id.bytes, ca->key_id.len) == 0;
        same_name = X509_NAME_cmp(X509_get_subject_name(ca->cert),
                            X509_get_subject_name(next->cert)) == 0;
        if (same_key != same_id || same_key != same_name)
            return err_set(e, ERR_CA_CHAIN,
                    same_key ? "this CA's key has another %s in the chain that is here already"
                             : "another CA of this station has the same %s",
                    same_id != same_key ? "subjectKeyIdentifier" : "subject name");
        if (same_key)
            return i == 0 ? 0 : check_return(next, o, e);
    }
    if (s->cas.active && s->cas.retired_count == CA_RETIRED_MAX)
        return err_set(e, ERR_LIMIT,
                "%u CAs are retired already: put away the files of those that are over",
                CA_RETIRED_MAX);
    return 0;
}

static X509 *root_of(const struct ca *ca)
{
    const uint8_t *at = ca->chain.data, *end = at + ca->chain.len;
    X509 *x = NULL;

    while (at < end) {
        X509_free(x);
        x = d2i_X509(NULL, &at, end - at);
        if (!x)
            break;
    }
    return x;
}

static int root_digest(
        const struct ca *ca, uint8_t ret[SHA256_BYTES], char name[256], struct err *e)
{
    X509 *root = root_of(ca);
    int r = root && X509_digest(root, EVP_sha256(), ret, NULL) == 1
                    ? 0
                    : err_set(e, ERR_NOMEM, "no memory for the root's certificate");

    if (r == 0) {
        X509_NAME_oneline(X509_get_subject_name(root), name, 256);
        text_make_printable(name);
    }
    X509_free(root);
    return r;
}

/* 64 digits, with or without colons. */
static int parse_digest(const char *typed, uint8_t ret[SHA256_BYTES], struct err *e)
{
    char digits[2 * SHA256_BYTES + 1];
    size_t n = 0;

    for (; *typed && n < sizeof digits; typed++)
        if (*typed != ':' && *typed != ' ')
            digits[n++] = *typed;
    if (n != 2 * SHA256_BYTES || hex_parse(digits, n, ret, SHA256_BYTES) < 0)
        return err_set(e, ERR_ARGUMENT, "a SHA-256 fingerprint has 64 hexadecimal digits");
    return 0;
}

static void print_digest(const char *name, const uint8_t digest[SHA256_BYTES])
{
    printf("root        %s\nSHA-256     ", name);
    for (int i = 0; i < SHA256_BYTES; i++)
        printf("%02X%s", digest[i], i + 1 < SHA256_BYTES ? ":" : "\n");
    fflush(stdout);
}

/* A root cannot be checked by anything in the file it came in: people compare it with what was
 * written down where it was made. */
static int confirm_root(const struct ca *ca, const struct ceremony_options *o, struct err *e)
{
    uint8_t digest[SHA256_BYTES], wanted[SHA256_BYTES];
    struct buf answer = BUF_INIT;
    char name[256];
    int r = -1;

    if (root_digest(ca, digest, name, e) < 0)
        return -1;
    print_digest(name, digest);
    if (o->fingerprint) {
        if (parse_digest(o->fingerprint, wanted, e) < 0)
            return -1;
        return memcmp(digest, wanted, sizeof digest) == 0
                       ? 0
                       : err_set(e, ERR_CA_CHAIN,
                                 "the root is not the one whose fingerprint was given");
    }
    if (o->yes)
        return 0;
    if (ceremony_ask("Is this the fingerprint that was written down at the root? Type yes: ",
                CEREMONY_SHOWN, "give --fingerprint", &answer, e) == 0)
        r = answer.len == 3 && memcmp(answer.data, "yes", 3) == 0
                    ? 0
                    : err_set(e, ERR_BAD_STATE, "not confirmed: nothing was changed");
    buf_done(&answer);
    return r;
}

static int prove_key_in(
        struct ceremony_station *s, const char *section, const struct ca *next, struct err *e)
{
    struct module_key_name guess;
    struct ceremony_key key;

    if (ceremony_station_login(s, section, e) < 0)
        return -1;
    if (ceremony_store_key(&s->paths, &guess, NULL) < 0)
        guess = s->configured;
    if (ceremony_token_find(&s->token, next->cert, &guess, &key, e) < 0) {
        if (e->id == ERR_TOKEN_ABSENT || e->id == ERR_SIGNATURE)
            err_context(e, "the chain is not for a key of this station's token");
        err_advise(e, "Have the root sign the request that waits: 'keyline ca request' shows it.");
        return -1;
    }
    return ceremony_station_logout(s, e);
}

/* In every token of the station: one that lacks the key could not take over. */
static int prove_key(struct ceremony_station *s, const struct ca *next, struct err *e)
{
    for (size_t i = 0; i < s->section_count; i++)
        if (prove_key_in(s, s->sections[i], next, e) < 0)
            return s->section_count > 1 ? err_context(e, "[%s]", s->sections[i]) : -1;
    return 0;
}

static void say_active(const struct ca *ca)
{
    char date[TIME_TEXT_MAX];

    time_format(ca->not_after * 1000, date);
    printf("issuing CA  %s\nvalid until %.10s\n\nIt is in force. A signer that runs starts anew by "
           "itself.\n",
            ca->subject_text, date);
}

/* What is wrong with this file is not keyline.conf's fault. */
static int load_answer(const char *path, struct ca **ret, struct err *e)
{
    if (ca_load(path, ret, e) == 0)
        return 0;
    if (e->id == ERR_CONFIG)
        e->id = ERR_CA_CHAIN;
    if (e->id == ERR_CA_CHAIN || e->id == ERR_NOT_FOUND)
        err_advise(e, "The file holds the issuing CA's certificate first, then each one's issuer, "
                      "the root last: cat issuing.pem root.pem >chain.pem");
    return -1;
}

int ceremony_import(const struct ceremony_options *o, struct err *e)
{
    struct ceremony_station s;
    struct ca *next = NULL;
    int r = -1;

    if (ceremony_station_open(&s, e) == 0 && load_answer(o->argument, &next, e) == 0 &&
            ca_check(next, time_now_ms() / 1000, e) == 0 && check_place(&s, next, o, e) == 0 &&
            prove_key(&s, next, e) == 0 && confirm_root(next, o, e) == 0)
        r = ceremony_store_install(&s.paths, &s.cas, next, e);
    if (r == 0)
        say_active(next);
    ca_free(&next);
    ceremony_station_close(&s);
    return r;
}

/* ---- roll-over */

/* The CA above the active one, and its key in the token. */
static int find_above(
        struct ceremony_station *s, X509 **ret, struct ceremony_key *ret_key, struct err *e)
{
    const uint8_t *at = s->cas.active->chain.data, *end = at + s->cas.active->chain.len;
    X509 *issuing = d2i_X509(NULL, &at, end - at);

    *ret = at < end ? d2i_X509(NULL, &at, end - at) : NULL;
    X509_free(issuing);
    if (!*ret)
        return err_set(e, ERR_BAD_STATE,
                "the active CA is its own root: ask for one below a root "
                "(ca request)");
    if (ceremony_token_find(&s->token, *ret, &s->configured, ret_key, e) < 0) {
        if (e->id == ERR_TOKEN_ABSENT || e->id == ERR_SIGNATURE) {
            err_clear(e);
            return err_set(e, ERR_BAD_STATE,
                    "the root's key is not in this token: 'keyline ca request' makes a request to "
                    "take to it");
        }
        return -1;
    }
    return 0;
}

static int append_rest(const struct ca *ca, struct buf *pem, struct err *e)
{
    const uint8_t *at = ca->chain.data, *end = at + ca->chain.len;
    BIO *bio = BIO_new(BIO_s_mem());
    bool ok = bio, first = true;
    char *text = NULL;
    long len;
    int r;

    for (; ok && at < end; first = false) {
        X509 *x = d2i_X509(NULL, &at, end - at);

        ok = x && (first || PEM_write_bio_X509(bio, x) == 1);
        X509_free(x);
    }
    len = ok ? BIO_get_mem_data(bio, &text) : 0;
    r = ok ? buf_append(pem, text, (size_t)len, e)
           : err_set(e, ERR_NOMEM, "no memory for the CA chain");
    BIO_free(bio);
    return r;
}

/* The token is logged in, and is logged out on success. */
static int certify_next(struct ceremony_station *s, const struct ceremony_options *o,
        struct ca **ret, struct err *e)
{
    struct buf organization = BUF_INIT, pem = BUF_INIT;
    struct ceremony_key above_key, key;
    X509 *above = NULL;
    int r = -1;

    if (find_organization(s, o, &organization, e) == 0 &&
            find_above(s, &above, &above_key, e) == 0 && make_key(s, o, &key, e) == 0 &&
            ceremony_issuing(&s->token, &above_key, above, &key, buf_str(&organization), &pem, e) ==
                    0 &&
            append_rest(s->cas.active, &pem, e) == 0 && ceremony_station_logout(s, e) == 0 &&
            ca_parse("the new chain", &pem, ret, e) == 0)
        r = ca_check(*ret, time_now_ms() / 1000, e);
    X509_free(above);
    buf_done(&organization);
    buf_done(&pem);
    return r;
}

static int roll_over(struct ceremony_station *s, const struct ceremony_options *o, struct err *e)
{
    struct ca *next = NULL;
    int done, r = -1;

    if (ceremony_station_login(s, s->sections[0], e) < 0)
        return -1;
    done = settle(s, e);
    if (done == 1) {
        /* an earlier run was cut off behind its decisive step: to make yet another CA is not what
         * was asked for */
        printf("The roll-over that was cut off is complete.\n");
        if (ceremony_store_install(&s->paths, &s->cas, s->cas.active, e) == 0)
            r = ceremony_station_logout(s, e);
    } else if (done == 0 && certify_next(s, o, &next, e) == 0 && check_place(s, next, o, e) == 0)
        r = ceremony_store_install(&s->paths, &s->cas, next, e);
    if (r == 0)
        say_active(next ? next : s->cas.active);
    ca_free(&next);
    return r;
}

int ceremony_rollover(const struct ceremony_options *o, struct err *e)
{
    struct ceremony_station s;
    struct buf waiting = BUF_INIT;
    int r = ceremony_station_open(&s, e);

    if (r == 0 && !s.cas.active)
        r = err_set(e, ERR_NO_CA, "there is no CA here yet");
    if (r == 0 && s.section_count > 1)
        r = err_set(e, ERR_BAD_STATE,
                "the new key would be in one of %zu tokens only: 'keyline ca request', then bring "
                "it to the others, then 'ca import'",
                s.section_count);
    if (r == 0)
        r = pending(&s, &waiting, e);
    if (r == 1)
        r = err_set(e, ERR_BAD_STATE,
                "a request waits for the root's answer: import it, or give it up "
                "(ca request --give-up)");
    if (r == 0)
        r = roll_over(&s, o, e);
    buf_done(&waiting);
    ceremony_station_close(&s);
    return r;
}
