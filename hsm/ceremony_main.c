/* keyline-ceremony: makes the CA of a station, once. With the embedded SoftHSM it makes the token
 * as well; with a real HSM it uses the token that is there. It never shows a PIN or a key, never
 * overwrites, and can be run again after a power cut. */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <termios.h>
#include <unistd.h>
#include "base/buf.h"
#include "base/config.h"
#include "base/err.h"
#include "base/file.h"
#include "base/log.h"
#include "base/paths.h"
#include "hsm/ca.h"
#include "hsm/ceremony_certs.h"
#include "hsm/ceremony_files.h"
#include "hsm/ceremony_token.h"
#include "hsm/embedded.h"

#define PASSPHRASE_MIN 8
#define PASSPHRASE_MAX 512
#define ROOT_LABEL     "root-ca"
#define ROOT_ID        "01"

static const char usage[] =
        "Usage: keyline-ceremony init [OPTION]...\n"
        "Make this station's certificate authority: token, root CA, issuing CA and an approver's "
        "key.\n"
        "It is done once; 'keyline init' does the same.\n\n"
        "  -k, --key-type TYPE                p256 (default), p384 or rsa3072\n"
        "  -o, --organization NAME            stands in the certificates (default: Keyline)\n"
        "  -p, --approver-passphrase-file F   first line: the passphrase for the approver's key\n"
        "                                     (default: it is asked for at the terminal)\n"
        "  -h, --help, -V, --version\n\n"
        "Examples:\n"
        "  keyline-ceremony init --organization 'Example Devices GmbH'\n"
        "  KEYLINE_ROOT=/tmp/try keyline-ceremony init --approver-passphrase-file pass.txt\n";

struct options {
    enum ceremony_key_type key_type;
    const char *organization;
    const char *passphrase_file;
};

/* ---- the passphrase */

static int read_line_hidden(const char *prompt, struct buf *ret, struct err *e)
{
    FILE *tty = fopen("/dev/tty", "r+e");
    struct termios shown, hidden;
    char line[PASSPHRASE_MAX + 2];
    int r = -1;

    if (!tty || tcgetattr(fileno(tty), &shown) < 0) {
        err_set(e, ERR_ARGUMENT,
                "there is no terminal to ask for the approver's passphrase: give "
                "--approver-passphrase-file");
        goto out;
    }
    setvbuf(tty, NULL, _IONBF, 0); /* no copy of the passphrase in a buffer nobody wipes */
    hidden = shown;
    hidden.c_lflag &= ~(tcflag_t)ECHO;
    fputs(prompt, tty);
    tcsetattr(fileno(tty), TCSAFLUSH, &hidden);
    if (fgets(line, sizeof line, tty))
        r = buf_append(ret, line, strcspn(line, "\n"), e);
    else
        err_set(e, ERR_ARGUMENT, "no passphrase was given");
    tcsetattr(fileno(tty), TCSAFLUSH, &shown);
    fputs("\n", tty);
    explicit_bzero(line, sizeof line);
out:
    if (tty)
        fclose(tty);
    return r;
}

static int ask_passphrase(struct buf *ret, struct err *e)
{
    struct buf again = BUF_INIT_SECRET;
    int r = -1;

    if (read_line_hidden("Passphrase for the approver's key: ", ret, e) == 0 &&
            read_line_hidden("The same again: ", &again, e) == 0) {
        if (again.len == ret->len && (!ret->len || memcmp(again.data, ret->data, ret->len) == 0))
            r = 0;
        else
            err_set(e, ERR_ARGUMENT, "the two passphrases differ");
    }
    buf_done(&again);
    return r;
}

static int get_passphrase(const struct options *o, struct buf *ret, struct err *e)
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

static int make_ca(struct ceremony_token *t, const struct ceremony_files *f, const struct config *c,
        const struct options *o, struct err *e)
{
    struct ceremony_key root = {0}, issuing = {0};
    struct buf root_pem = BUF_INIT, chain_pem = BUF_INIT;
    int r = -1;

    if (module_key_name_parse(ROOT_LABEL, ROOT_ID, &root.name, e) < 0 ||
            module_key_name_parse(config_get(c, "token", "key_label"),
                    config_get(c, "token", "key_id"), &issuing.name, e) < 0)
        goto out;
    if (root.name.id_len == issuing.name.id_len &&
            memcmp(root.name.id, issuing.name.id, root.name.id_len) == 0) {
        err_set(e, ERR_CONFIG, "[token] key_id must not be %s: that is the root CA's key", ROOT_ID);
        goto out;
    }
    if (ceremony_token_keygen(t, o->key_type, &root, e) < 0 ||
            ceremony_token_keygen(t, o->key_type, &issuing, e) < 0 ||
            ceremony_root(t, &root, o->organization, &root_pem, e) < 0 ||
            ceremony_issuing(t, &root, &issuing, o->organization, &chain_pem, e) < 0)
        goto out;
    r = write_chain(f, &root_pem, &chain_pem, e);
out:
    buf_done(&root_pem);
    buf_done(&chain_pem);
    return r;
}

static int make_approver(const struct ceremony_files *f, const struct options *o,
        struct buf *passphrase, struct err *e)
{
    struct buf key = BUF_INIT_SECRET, cert = BUF_INIT;
    int r = -1;

    if (ceremony_approver(o->organization, buf_str(passphrase), &key, &cert, e) == 0 &&
            file_write(f->at[CEREMONY_APPROVER_KEY], key.data, key.len, 0600, e) == 0 &&
            file_write(f->at[CEREMONY_APPROVER_CERT], cert.data, cert.len, 0644, e) == 0)
        r = ceremony_files_finish(f, cert.data, cert.len, e);
    buf_done(&key);
    buf_done(&cert);
    return r;
}

static int hold_ceremony(const struct options *o, struct err *e)
{
    struct ceremony_token token = CEREMONY_TOKEN_INIT;
    struct buf passphrase = BUF_INIT_SECRET;
    struct config *config = NULL;
    struct ceremony_files f;
    struct paths paths;
    char path[PATH_MAX];
    int r = -1;

    if (paths_init(&paths, e) < 0)
        return -1;
    paths_get(&paths, PATH_CONFIG, path);
    if (config_load(path, &config, e) < 0 || ceremony_files_init(&f, &paths, config, e) < 0 ||
            get_passphrase(o, &passphrase, e) < 0 || ceremony_files_begin(&f, e) < 0 ||
            ceremony_files_config(&f, e) < 0 || open_token(&token, &f, config, e) < 0 ||
            make_ca(&token, &f, config, o, e) < 0)
        goto out;
    ceremony_token_close(&token); /* SoftHSM's files are complete only now */
    if ((f.kind == CEREMONY_EMBEDDED && embedded_backup(&paths, e) < 0) ||
            make_approver(&f, o, &passphrase, e) < 0)
        goto out;
    printf("root        %s\nchain       %s\napprover    %s (key: %s)\nanchors     %s\n",
            f.at[CEREMONY_ROOT], f.at[CEREMONY_CHAIN], f.at[CEREMONY_APPROVER_CERT],
            f.at[CEREMONY_APPROVER_KEY], f.approvers);
    if (f.kind == CEREMONY_EMBEDDED)
        printf("token       %s (PIN: %s)\n\nPut %s and %s away from this station, and keep a copy "
               "of the token.\n",
                f.at[CEREMONY_TOKENS], f.at[CEREMONY_PIN], f.at[CEREMONY_SO_PIN],
                f.at[CEREMONY_APPROVER_KEY]);
    r = 0;
out:
    ceremony_token_close(&token);
    buf_done(&passphrase);
    config_free(&config);
    return r;
}

/* 0: go on; 1: answered; 2: wrong usage. */
static int parse_options(int argc, char **argv, struct options *o)
{
    static const struct option longs[] = {
            {"key-type", required_argument, NULL, 'k'},
            {"organization", required_argument, NULL, 'o'},
            {"approver-passphrase-file", required_argument, NULL, 'p'},
            {"help", no_argument, NULL, 'h'},
            {"version", no_argument, NULL, 'V'},
            {0},
    };
    struct err e = {0};
    int c;

    while ((c = getopt_long(argc, argv, "k:o:p:hV", longs, NULL)) != -1)
        switch (c) {
        case 'k':
            if (ceremony_key_type_parse(optarg, &o->key_type, &e) < 0) {
                fprintf(stderr, "keyline-ceremony: %s\n", e.msg);
                return 2;
            }
            break;
        case 'o':
            o->organization = optarg;
            break;
        case 'p':
            o->passphrase_file = optarg;
            break;
        case 'h':
            fputs(usage, stdout);
            return 1;
        case 'V':
            printf("keyline-ceremony %s\n", KEYLINE_VERSION);
            return 1;
        default:
            return 2;
        }
    if (argc - optind != 1 || strcmp(argv[optind], "init") != 0) {
        fputs(usage, stderr);
        return 2;
    }
    return 0;
}

int main(int argc, char **argv)
{
    struct options o = {.key_type = CEREMONY_P256, .organization = "Keyline"};
    struct err e = {0};
    int r = parse_options(argc, argv, &o);

    if (r)
        return r == 1 ? EXIT_SUCCESS : r;
    log_open("keyline-ceremony");
    umask(027);
    setrlimit(RLIMIT_CORE, &(struct rlimit){0, 0});
    if (hold_ceremony(&o, &e) == 0)
        return EXIT_SUCCESS;
    fprintf(stderr, "keyline-ceremony: %s\n%s\n", e.msg, err_hint(e.id));
    return EXIT_FAILURE;
}
