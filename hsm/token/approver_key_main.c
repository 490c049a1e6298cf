/* keyline-approver-key: the one process of an approver that has a card's PKCS#11 module and PIN in it. hsm/approval/card_client.h
 * starts it and says how it talks. Promises to sign nothing but what Keyline has approvers sign, so that it is no oracle
 * for other things; to try a PIN once; and to show neither the PIN nor what is signed. */
#include <errno.h>
#include <getopt.h>
#include <openssl/crypto.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>
#include "base/buf.h"
#include "base/err.h"
#include "base/file.h"
#include "base/limits.h"
#include "base/prompt.h"
#include "hsm/token/card.h"
#include "hsm/approval/card_client.h"
#include "hsm/approval/jws.h"
#include "hsm/token/pkcs11_uri.h"

static const char usage[] =
        "Usage: keyline-approver-key [--module FILE] [--last-try | --check] pkcs11:...\n"
        "Sign a ticket with a key on a card. 'keyline job approve --key pkcs11:...' starts it;\n"
        "by hand it is of no use.\n\n"
        "  -m, --module FILE  the card's PKCS#11 module (default: " CARD_MODULE_DEFAULT ")\n"
        "  -l, --last-try     try the PIN even when a wrong one would lock the card\n"
        "  -c, --check        only see whether the URI, the module, the card and the PIN file are "
        "good\n"
        "  -h, --help, -V, --version\n";

struct options {
    const char *module, *uri;
    bool last_try, check;
};

/* ---- frames */

static int write_all(int fd, const uint8_t *bytes, size_t len)
{
    while (len) {
        ssize_t n = write(fd, bytes, len);

        if (n < 0 && errno != EINTR)
            return -1;
        if (n > 0)
            bytes += n, len -= (size_t)n;
    }
    return 0;
}

static int put_frame(int fd, char kind, const uint8_t *bytes, size_t len)
{
    const uint8_t header[CARD_FRAME_HEADER] = {(uint8_t)kind, (uint8_t)(len >> 24),
            (uint8_t)(len >> 16), (uint8_t)(len >> 8), (uint8_t)len};

    return write_all(fd, header, sizeof header) < 0 || write_all(fd, bytes, len) < 0 ? -1 : 0;
}

static void put_error(int fd, const struct err *e)
{
    uint8_t bytes[2 + ERR_MSG_MAX] = {(uint8_t)(e->id >> 8), (uint8_t)e->id};
    size_t len = strlen(e->msg);

    memcpy(bytes + 2, e->msg, len);
    put_frame(fd, 'E', bytes, 2 + len);
}

static int read_input(struct buf *ret, struct err *e)
{
    uint8_t *at;
    ssize_t n;

    do {
        if (buf_reserve(ret, 4096, &at, e) < 0)
            return -1;
        n = read(0, at, 4096);
        if (n > 0)
            ret->len += (size_t)n;
        if (ret->len > TICKET_BYTES_MAX)
            return err_set(e, ERR_LIMIT, "more than %u bytes are to be signed", TICKET_BYTES_MAX);
    } while (n > 0 || (n < 0 && errno == EINTR));
    return n < 0 ? err_set_errno(e, errno, "read what is to be signed") : 0;
}

/* ---- the PIN */

/* ret stays empty where the URI names no file. */
static int read_pin_file(const struct pkcs11_uri *uri, struct buf *ret, struct err *e)
{
    if (!*uri->pin_file || file_read_secret(uri->pin_file, ret, e) == 0)
        return 0;
    if (e->id == ERR_CONFIG) /* it was named in an argument */
        e->id = ERR_ARGUMENT;
    return err_context(e, "pin-source");
}

static int ask_pin(const struct card *card, struct buf *ret, struct err *e)
{
    char question[128];

    if (ret->len)
        return 0;
    snprintf(question, sizeof question, "PIN of the card '%s': ", card_label(card));
    if (prompt_secret(question, ret, e) < 0)
        return err_context(e, "the card's PIN (pin-source=file:/FILE in the URI names a file)");
    return 0;
}

static int unlock(struct card *card, const struct options *o, struct buf *pin, struct err *e)
{
    enum card_login kind = card_login_kind(card);

    if (kind == CARD_LOGIN_NONE)
        return 0;
    if (card_last_try(card) && !o->last_try)
        return err_set(e, ERR_CARD_PIN,
                "one more wrong PIN locks the card; with --last-try it is tried all the same");
    if (kind == CARD_LOGIN_AT_READER) {
        char line[128];

        snprintf(line, sizeof line, "Type the PIN of the card '%s' at its reader.\n",
                card_label(card));
        prompt_tell(line);
        return card_login(card, NULL, e);
    }
    if (ask_pin(card, pin, e) < 0)
        return -1;
    if (!buf_str(pin))
        return err_set(e, ERR_NOMEM, "no memory for a PIN");
    return card_login(card, buf_str(pin), e);
}

/* ---- the program */

static int serve(const struct options *o, int out, struct err *e)
{
    struct buf input = BUF_INIT, cert = BUF_INIT, sig = BUF_INIT, pin = BUF_INIT_SECRET;
    struct pkcs11_uri uri;
    struct card *card = NULL;
    int r = -1;

    if (pkcs11_uri_parse(o->uri, &uri, e) < 0 || read_pin_file(&uri, &pin, e) < 0 ||
            read_input(&input, e) < 0 ||
            (input.len && jws_check_input(input.data, input.len, e) < 0) ||
            card_open(&uri, o->module, &card, e) < 0)
        goto out;
    if (o->check) {
        r = 0;
        goto out;
    }
    if (!input.len) {
        if (card_certificate(card, &cert, e) == 0)
            r = cert.len ? put_frame(out, 'C', cert.data, cert.len) : 0;
        goto out;
    }
    if (unlock(card, o, &pin, e) == 0 && card_sign(card, input.data, input.len, &sig, e) == 0)
        r = put_frame(out, 'S', sig.data, sig.len);
out:
    card_close(&card);
    buf_done(&pin);
    buf_done(&input);
    buf_done(&cert);
    buf_done(&sig);
    return r;
}

static int parse_options(int argc, char **argv, struct options *o)
{
    static const struct option options[] = {{"module", required_argument, NULL, 'm'},
            {"last-try", no_argument, NULL, 'l'}, {"check", no_argument, NULL, 'c'},
            {"help", no_argument, NULL, 'h'}, {"version", no_argument, NULL, 'V'}, {0}};
    int c;

    while ((c = getopt_long(argc, argv, "m:lchV", options, NULL)) != -1)
        switch (c) {
        case 'm':
            o->module = optarg;
            break;
        case 'l':
            o->last_try = true;
            break;
        case 'c':
            o->check = true;
            break;
        case 'h':
            fputs(usage, stdout);
            exit(EXIT_SUCCESS);
        case 'V':
            printf("keyline-approver-key %s\n", KEYLINE_VERSION);
            exit(EXIT_SUCCESS);
        default:
            return -1;
        }
    if (optind + 1 != argc)
        return -1;
    o->uri = argv[optind];
    return 0;
}

int main(int argc, char **argv)
{
    const struct rlimit none = {0, 0};
    struct options o = {0};
    struct err e = {0};
    int out;

    if (parse_options(argc, argv, &o) < 0) {
        fputs(usage, stderr);
        return 2;
    }
    if (isatty(0)) {
        fputs("keyline-approver-key is started by 'keyline job approve --key pkcs11:...'.\n",
                stderr);
        return 2;
    }
    setrlimit(RLIMIT_CORE, &none); /* the PIN is in this process */
    prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
    /* a module that prints must not be taken for us */
    out = dup(1);
    if (out < 0 || dup2(2, 1) < 0)
        return EXIT_FAILURE;
    if (serve(&o, out, &e) == 0)
        return EXIT_SUCCESS;
    put_error(out, &e);
    return EXIT_FAILURE;
}
