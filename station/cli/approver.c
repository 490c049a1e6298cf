/* The approver's certificate, key and consent. Promises that the key is unlocked only when a person, or
 * --yes, has agreed to what was shown; it decides nothing about what that is. */
#include "station/cli/approver.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "base/err.h"
#include "base/file.h"
#include "base/limits.h"
#include "base/text.h"
#include "station/cli/cli.h"
#include "station/cli/pem.h"

static void common_name(X509 *x, char out[NAME_BYTES_MAX + 1])
{
    snprintf(out, NAME_BYTES_MAX + 1, "approver");
    int at = X509_NAME_get_index_by_NID(X509_get_subject_name(x), NID_commonName, -1);
    uint8_t *text = NULL;
    if (at >= 0 && ASN1_STRING_to_UTF8(&text, X509_NAME_ENTRY_get_data(X509_NAME_get_entry(
                                                      X509_get_subject_name(x), at))) > 0)
        snprintf(out, NAME_BYTES_MAX + 1, "%s", (char *)text);
    OPENSSL_free(text);
    text_make_printable(out);
}

/* An option, or the file that keyline init has made. */
static void find_file(const struct cli *c, const char *option, const char *file, char out[PATH_MAX])
{
    const char *given = cli_option(c, option);
    int n = given ? snprintf(out, PATH_MAX, "%s", given)
                  : snprintf(out, PATH_MAX, "%s/%s", c->paths.etc, file);
    if (n >= PATH_MAX)
        out[0] = '\0'; /* opening it fails with the name's absence, which is the truth */
}

static int read_certificate(const char *path, struct approver *a, struct err *e)
{
    if (pem_read_chain(path, &a->chain, e) == 0)
        return 0;
    err_context(e, "the approver's certificate");
    return err_advise(e, "Name the approver's certificate with --cert and the key with --key; "
                         "'keyline init' makes both beside keyline.conf, other approvers bring "
                         "their own (docs/approving.md).");
}

/* The certificate and chain of a card: --cert, else the card's own. The appliance's approver.pem is another key's. */
static int open_card(const struct cli *c, struct approver *a, struct err *e)
{
    X509 *x = NULL;
    if (cli_has(c, "passphrase-file"))
        return cli_usage(e, "a card has a PIN and no passphrase: it is asked for, or "
                            "pin-source=file:/FILE in the URI names a file");
    a->card = (struct card_client){.uri = cli_option(c, "key"),
            .module = cli_option(c, "module"),
            .last_try = cli_has(c, "last-try")};
    if (cli_has(c, "cert")) {
        if (card_client_check(&a->card, e))
            return err_context(e, "the approver's card");
        return read_certificate(cli_option(c, "cert"), a, e);
    }
    if (card_client_certificate(&a->card, &x, e))
        return err_context(e, "the approver's certificate");
    if (!x)
        return err_set(e, ERR_CARD_ABSENT,
                "the card has no certificate that fits: give it with --cert FILE");
    a->chain = sk_X509_new_null();
    if (!a->chain || !sk_X509_push(a->chain, x)) {
        X509_free(x);
        return err_set(e, ERR_NOMEM, "no memory for a certificate");
    }
    return 0;
}

int approver_open(const struct cli *c, struct approver *ret, struct err *e)
{
    const char *key = cli_option(c, "key");
    char path[PATH_MAX];
    *ret = (struct approver){0};
    if (key && strncmp(key, CARD_URI_PREFIX, sizeof CARD_URI_PREFIX - 1) == 0) {
        int r = open_card(c, ret, e);
        if (r)
            return r;
    } else {
        if (cli_has(c, "module") || cli_has(c, "last-try"))
            return cli_usage(e, "--module and --last-try go with --key " CARD_URI_PREFIX "...");
        find_file(c, "cert", "approver.pem", path);
        if (read_certificate(path, ret, e))
            return -1;
        find_file(c, "key", "approver.key", path);
        if (pem_check_key(path, cli_option(c, "passphrase-file"), e))
            return -1;
    }
    common_name(sk_X509_value(ret->chain, 0), ret->name);
    return 0;
}

int approver_confirm(struct cli *c, const char *question, const char *look, struct err *e)
{
    char line[16] = "";
    if (cli_has(c, "yes"))
        return 0;
    if (!isatty(0) || !c->out.tty)
        return cli_usage(e, "there is no terminal to ask: look at '%s', then give --yes", look);
    screen_printf(&c->out, "\n%s [y/N] ", question);
    fflush(stdout);
    if (fgets(line, sizeof line, stdin) &&
            (strcasecmp(line, "y\n") == 0 || strcasecmp(line, "yes\n") == 0))
        return 0;
    screen_printf(&c->out, "Nothing was signed, nothing has changed.\n");
    return CLI_FAILED;
}

int approver_unlock(const struct cli *c, struct approver *a, struct err *e)
{
    char path[PATH_MAX];
    if (a->card.uri) {
        a->signer = (struct jws_signer){a->chain, card_client_sign, &a->card};
        return 0;
    }
    find_file(c, "key", "approver.key", path);
    if (pem_read_key(path, cli_option(c, "passphrase-file"), &a->key, e))
        return -1;
    a->signer = jws_key_signer(a->key, a->chain);
    return 0;
}

void approver_done(struct approver *a)
{
    EVP_PKEY_free(a->key);
    sk_X509_pop_free(a->chain, X509_free);
    *a = (struct approver){0};
}

int approver_read_jws(const char *path, struct buf *ret, struct err *e)
{
    static const char advice[] =
            "Bring the file that --ticket-out or --order-out has written at the approver's.";
    if (file_read(path, TICKET_BYTES_MAX, ret, e))
        return err_advise(e, advice);
    while (ret->len > 0 && strchr(" \r\n", ret->data[ret->len - 1]))
        ret->len--;
    if (ret->len == 0) {
        err_set(e, ERR_ARGUMENT, "%s is empty", path);
        return err_advise(e, advice);
    }
    return buf_str(ret) ? 0 : err_set(e, ERR_NOMEM, "no memory for %s", path);
}

int approver_write_jws(const char *path, const char *jws, struct err *e)
{
    struct buf text = BUF_INIT;
    int r = buf_printf(&text, e, "%s\n", jws);
    if (r == 0)
        r = file_write(path, text.data, text.len, 0644, e);
    buf_done(&text);
    return r;
}
