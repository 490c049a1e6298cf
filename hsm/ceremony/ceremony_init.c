/* The beginning of a station's CA: token, keys, certificates, approver. Promises never to show a PIN
 * or a key, never to overwrite, and that a run that was cut off can be begun again. */
#include "hsm/ceremony/ceremony.h"
#include <openssl/err.h>
#include <openssl/pem.h>
#include <stdio.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>
#include "base/buf.h"
#include "base/config.h"
#include "base/err.h"
#include "base/file.h"
#include "base/paths.h"
#include "hsm/ca.h"
#include "hsm/ceremony/ceremony_certs.h"
#include "hsm/ceremony/ceremony_files.h"
#include "hsm/token/embedded.h"

#define PASSPHRASE_MIN 8
#define PASSPHRASE_MAX 512
#define ROOT_LABEL     "root-ca"
#define ROOT_ID        "01"
#define ORGANIZATION   "Keyline"

int ceremony_key_type(const struct ceremony_options *o, enum ceremony_key_type *ret, struct err *e)
{
    *ret = CEREMONY_P256;
    return o->key_type ? ceremony_key_type_parse(o->key_type, ret, e) : 0;
}

static const char *organization(const struct ceremony_options *o)
{
    return o->organization ? o->organization : ORGANIZATION;
}

/* ---- the passphrase */

int ceremony_ask(const char *prompt, enum ceremony_echo echo, const char *instead, struct buf *ret,
        struct err *e)
{
    FILE *tty = fopen("/dev/tty", "r+e");
    struct termios shown, hidden;
    char line[PASSPHRASE_MAX + 2];
    int r = -1;

    if (!tty || tcgetattr(fileno(tty), &shown) < 0) {
        err_set(e, ERR_ARGUMENT, "there is no terminal to ask at: %s", instead);
        goto out;
    }
    setvbuf(tty, NULL, _IONBF, 0); /* no copy of the passphrase in a buffer nobody wipes */
    hidden = shown;
    if (echo == CEREMONY_HIDDEN)
        hidden.c_lflag &= ~(tcflag_t)ECHO;
    fputs(prompt, tty);
    tcsetattr(fileno(tty), TCSAFLUSH, &hidden);
    if (fgets(line, sizeof line, tty))
        r = buf_append(ret, line, strcspn(line, "\n"), e);
    else
        err_set(e, ERR_ARGUMENT, "nothing was typed");
    tcsetattr(fileno(tty), TCSAFLUSH, &shown);
    if (echo == CEREMONY_HIDDEN)
        fputs("\n", tty);
    explicit_bzero(line, sizeof line);
out:
    if (tty)
        fclose(tty);
    return r;
}

static int ask_passphrase(struct buf *ret, struct err *e)
{
    static const char instead[] = "give --approver-passphrase-file";
    struct buf again = BUF_INIT_SECRET;
    int r = -1;

    if (ceremony_ask("Passphrase for the approver's key: ", CEREMONY_HIDDEN, instead, ret, e) ==
                    0 &&
            ceremony_ask("The same again: ", CEREMONY_HIDDEN, instead, &again, e) == 0) {
        if (again.len == ret->len && (!ret->len || memcmp(again.data, ret->data, ret->len) == 0))
            r = 0;
        else
            err_set(e, ERR_ARGUMENT, "the two passphrases differ");
    }
    buf_done(&again);
    return r;
}

static int get_passphrase(const struct ceremony_options *o, struct buf *ret, struct err *e)
{
    if (o->passphrase_file ? file_read_secret(o->passphrase_file, ret, e) < 0
                           : ask_passphrase(ret, e) < 0)
        return -1;
    if (ret->len < PASSPHRASE_MIN || ret->len > PASSPHRASE_MAX || memchr(ret->data, '\0', ret->len))
        return err_set(e, ERR_ARGUMENT, "the passphrase must have %d to %d bytes", PASSPHRASE_MIN,
                PASSPHRASE_MAX);
    return buf_str(ret) ? 0 : err_set(e, ERR_NOMEM, "no memory for the passphrase");
}

/* ---- the steps */

static int open_token(struct ceremony_token *t, const struct ceremony_files *f,
        const struct config *c, struct err *e)
{
    const char *module = config_get(c, "token", "module"), *label = config_get(c, "token", "label");
    struct buf pin = BUF_INIT_SECRET, so_pin = BUF_INIT_SECRET;
    int r = -1;

    t->init_args = config_get(c, "token", "init_args");
    if (f->kind == CEREMONY_EMBEDDED && ceremony_files_embedded(f, e) < 0)
        goto out;
    if (file_read_secret(f->at[CEREMONY_PIN], &pin, e) < 0) {
        err_context(e, "the PIN of the token");
        goto out;
    }
    if (f->kind == CEREMONY_EMBEDDED && (file_read_secret(f->at[CEREMONY_SO_PIN], &so_pin, e) < 0 ||
                                                ceremony_token_create(t, module, label,
                                                        buf_str(&so_pin), buf_str(&pin), e) < 0))
        goto out;
    r = ceremony_token_open(t, module, label, buf_str(&pin), e);
out:
    buf_done(&pin);
    buf_done(&so_pin);
    return r;
}

/* The chain is read back the way signerd reads it: what would not serve is noticed now. */
static int write_chain(
        const struct ceremony_files *f, const struct buf *root, struct buf *chain, struct err *e)
{
    struct ca *ca = NULL;
    int r = -1;

    if (buf_append(chain, root->data, root->len, e) == 0 &&
            file_write(f->at[CEREMONY_ROOT], root->data, root->len, 0644, e) == 0 &&
            file_write(f->at[CEREMONY_CHAIN], chain->data, chain->len, 0644, e) == 0 &&
            ca_load(f->at[CEREMONY_CHAIN], &ca, e) == 0) {
        printf("issuing CA  %s\n", ca->subject_text);
        r = 0;
    }
    ca_free(&ca);
    return r;
}

static X509 *read_pem(const struct buf *pem)
{
    BIO *bio = BIO_new_mem_buf(pem->data, (int)pem->len);
    X509 *x = bio ? PEM_read_bio_X509(bio, NULL, NULL, NULL) : NULL;

    BIO_free(bio);
    return x;
}

static int name_keys(const struct config *c, struct ceremony_key *root,
        struct ceremony_key *issuing, struct err *e)
{
    if (module_key_name_parse(ROOT_LABEL, ROOT_ID, &root->name, e) < 0 ||
            module_key_name_parse(config_get(c, "token", "key_label"),
                    config_get(c, "token", "key_id"), &issuing->name, e) < 0)
        return -1;
    if (root->name.id_len == issuing->name.id_len &&
            memcmp(root->name.id, issuing->name.id, root->name.id_len) == 0)
        return err_set(
                e, ERR_CONFIG, "[token] key_id must not be %s: that is the root CA's key", ROOT_ID);
    return 0;
}

static int make_ca(struct ceremony_token *t, const struct ceremony_files *f, const struct config *c,
        const struct ceremony_options *o, struct err *e)
{
    struct ceremony_key root = {0}, issuing = {0};
    struct buf root_pem = BUF_INIT, chain_pem = BUF_INIT;
    enum ceremony_key_type type;
    X509 *root_cert = NULL;
    int r = -1;

    if (name_keys(c, &root, &issuing, e) < 0 || ceremony_key_type(o, &type, e) < 0 ||
            ceremony_token_keygen(t, type, &root, e) < 0 ||
            ceremony_token_keygen(t, type, &issuing, e) < 0 ||
            ceremony_root(t, &root, organization(o), &root_pem, e) < 0)
        goto out;
    root_cert = read_pem(&root_pem);
    if (!root_cert)
        err_set(e, ERR_NOMEM, "no memory for the root's certificate");
    else if (ceremony_issuing(t, &root, root_cert, &issuing, organization(o), &chain_pem, e) == 0)
        r = write_chain(f, &root_pem, &chain_pem, e);
out:
    X509_free(root_cert);
    buf_done(&root_pem);
    buf_done(&chain_pem);
    return r;
}

static int make_approver(const struct ceremony_files *f, const struct ceremony_options *o,
        struct buf *passphrase, struct buf *ret_cert, struct err *e)
{
    struct buf key = BUF_INIT_SECRET;
    int r = -1;

    if (ceremony_approver(organization(o), buf_str(passphrase), &key, ret_cert, e) == 0 &&
            file_write(f->at[CEREMONY_APPROVER_KEY], key.data, key.len, 0600, e) == 0)
        r = file_write(f->at[CEREMONY_APPROVER_CERT], ret_cert->data, ret_cert->len, 0644, e);
    buf_done(&key);
    return r;
}

static void say_what_was_made(const struct ceremony_files *f)
{
    bool approver = f->scope == CEREMONY_STATION, token = f->kind == CEREMONY_EMBEDDED;

    printf("root        %s\nchain       %s\n", f->at[CEREMONY_ROOT], f->at[CEREMONY_CHAIN]);
    if (approver)
        printf("approver    %s (key: %s)\n", f->at[CEREMONY_APPROVER_CERT],
                f->at[CEREMONY_APPROVER_KEY]);
    printf("anchors     %s%s\n", f->approvers,
            access(f->approvers, F_OK) == 0
                    ? ""
                    : " (not there yet: approvers' certificates go into it)");
    if (!token)
        return;
    printf("token       %s (PIN: %s)\n\nPut %s%s%s away from this station, and keep a copy of the "
           "token.\n",
            f->at[CEREMONY_TOKENS], f->at[CEREMONY_PIN], f->at[CEREMONY_SO_PIN],
            approver ? " and " : "", approver ? f->at[CEREMONY_APPROVER_KEY] : "");
}

/* SoftHSM's files are complete only when it is closed. */
static int close_token(struct ceremony_token *t, const struct ceremony_files *f, struct err *e)
{
    ceremony_token_close(t);
    return f->kind == CEREMONY_EMBEDDED ? embedded_backup(&f->paths, e) : 0;
}

/* Its token and its key would be found to be in the way one after the other: this says it in one. */
static int refuse_waiting(const struct paths *p, const struct ceremony_files *f, struct err *e)
{
    char request[PATH_MAX], key[PATH_MAX];

    paths_get(p, PATH_CA_REQUEST, request);
    paths_get(p, PATH_CA_KEY, key);
    if (access(f->at[CEREMONY_CHAIN], F_OK) == 0 ||
            (access(request, F_OK) < 0 && access(key, F_OK) < 0))
        return 0;
    err_set(e, ERR_BAD_STATE, "a request for this station's CA waits for a root's answer");
    return err_advise(e, "Import the answer (keyline ca import), or give the request up first "
                         "(keyline ca request --give-up).");
}

static int hold_ceremony(const struct ceremony_options *o, enum ceremony_scope scope, struct err *e)
{
    struct ceremony_token token = CEREMONY_TOKEN_INIT;
    struct buf passphrase = BUF_INIT_SECRET, approver = BUF_INIT;
    bool with_approver = scope == CEREMONY_STATION;
    struct config *config = NULL;
    struct ceremony_files f;
    struct paths paths;
    char path[PATH_MAX];
    int r = -1;

    if (paths_init(&paths, e) < 0)
        return -1;
    paths_get(&paths, PATH_CONFIG, path);
    if (config_load(path, &config, e) < 0 || ceremony_files_init(&f, &paths, config, e) < 0 ||
            refuse_waiting(&paths, &f, e) < 0 ||
            (with_approver && get_passphrase(o, &passphrase, e) < 0) ||
            ceremony_files_begin(&f, scope, e) < 0 || ceremony_files_config(&f, e) < 0 ||
            open_token(&token, &f, config, e) < 0 || make_ca(&token, &f, config, o, e) < 0 ||
            close_token(&token, &f, e) < 0 ||
            (with_approver && make_approver(&f, o, &passphrase, &approver, e) < 0) ||
            ceremony_files_finish(&f, with_approver ? &approver : NULL, e) < 0)
        goto out;
    say_what_was_made(&f);
    r = 0;
out:
    ceremony_token_close(&token);
    buf_done(&passphrase);
    buf_done(&approver);
    config_free(&config);
    return r;
}

int ceremony_init(const struct ceremony_options *o, struct err *e)
{
    return hold_ceremony(o, CEREMONY_STATION, e);
}

int ceremony_ca_init(const struct ceremony_options *o, struct err *e)
{
    return hold_ceremony(o, CEREMONY_CA, e);
}

int ceremony_make_token(struct ceremony_files *f, const struct config *c, struct err *e)
{
    struct ceremony_token token = CEREMONY_TOKEN_INIT;
    int r = -1;

    if (ceremony_files_begin(f, CEREMONY_TOKEN_ONLY, e) == 0 && ceremony_files_config(f, e) == 0 &&
            open_token(&token, f, c, e) == 0 && close_token(&token, f, e) == 0)
        r = ceremony_files_finish(f, NULL, e);
    ceremony_token_close(&token);
    return r;
}
