/* PEM files. Passphrases and keys pass only through buffers that are wiped; none is ever shown,
 * logged or put into an error's message. */
#include "station/cli/pem.h"

#include <limits.h>
#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <stdio.h>
#include <string.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/file.h"
#include "base/limits.h"
#include "base/prompt.h"

int pem_read_chain(const char *path, STACK_OF(X509) * *ret, struct err *e)
{
    struct buf text = BUF_INIT;
    STACK_OF(X509) *chain = sk_X509_new_null();
    BIO *bio = NULL;
    X509 *x;
    int r = -1;
    if (file_read(path, CHAIN_BYTES_MAX, &text, e))
        goto out;
    bio = BIO_new_mem_buf(text.data, (int)text.len);
    while (bio && chain && (x = PEM_read_bio_X509(bio, NULL, NULL, NULL)))
        sk_X509_push(chain, x);
    bool at_end = ERR_GET_REASON(ERR_peek_last_error()) == PEM_R_NO_START_LINE;
    if (sk_X509_num(chain) < 1 || !at_end)
        err_set(e, ERR_CONFIG, "%s: certificate %d is not one in PEM form", path,
                sk_X509_num(chain) + 1);
    else
        r = 0;
out:
    ERR_clear_error();
    BIO_free(bio);
    buf_done(&text);
    if (r == 0)
        *ret = chain;
    else
        sk_X509_pop_free(chain, X509_free);
    return r;
}

struct asking {
    const char *path, *passphrase_file;
    struct buf passphrase;
    bool asked;
    struct err *e;
};

static int ask_terminal(const char *path, struct buf *ret, struct err *e)
{
    char question[PATH_MAX + 32];
    snprintf(question, sizeof question, "Passphrase for %s: ", path);
    if (prompt_secret(question, ret, e))
        return err_context(e, "the passphrase of %s (--passphrase-file names a file)", path);
    return 0;
}

/* OpenSSL calls it only for an encrypted key. */
static int give_passphrase(char *out, int cap, int rwflag, void *ctx)
{
    struct asking *a = ctx;
    (void)rwflag;
    a->asked = true;
    if (a->passphrase_file ? file_read_secret(a->passphrase_file, &a->passphrase, a->e)
                           : ask_terminal(a->path, &a->passphrase, a->e))
        return -1;
    if (a->passphrase.len > (size_t)cap)
        return -1;
    memcpy(out, a->passphrase.data, a->passphrase.len);
    return (int)a->passphrase.len;
}

#define KEY_ADVICE "Name the key with --key: a file in PEM form, or 'pkcs11:...' for one on a card."

static int read_key_file(const char *path, struct buf *ret, struct err *e)
{
    if (file_read(path, CHAIN_BYTES_MAX, ret, e) == 0)
        return 0;
    err_context(e, "the approver's key");
    return err_advise(e, KEY_ADVICE);
}

static int refuse_key(const char *path, struct err *e)
{
    err_set(e, ERR_ARGUMENT, "%s is not a private key in PEM form", path);
    return err_advise(e, KEY_ADVICE);
}

static int check_passphrase_file(const char *path, struct err *e)
{
    struct buf passphrase = BUF_INIT_SECRET;
    int r = file_read_secret(path, &passphrase, e);
    buf_done(&passphrase);
    if (r == 0)
        return 0;
    err_context(e, "the passphrase");
    return err_advise(e, "--passphrase-file names a file that only you can read, with the "
                         "passphrase on its first line.");
}

int pem_check_key(const char *path, const char *passphrase_file, struct err *e)
{
    struct buf text = BUF_INIT_SECRET;
    char *name = NULL, *header = NULL;
    uint8_t *bytes = NULL;
    long len = 0;
    int r = read_key_file(path, &text, e);
    if (r == 0) {
        BIO *bio = BIO_new_mem_buf(text.data, (int)text.len);
        bool found = false; /* of whatever sort; a curve's parameters may stand before it */
        while (bio && !found && PEM_read_bio(bio, &name, &header, &bytes, &len) == 1) {
            found = strstr(name, PEM_STRING_PKCS8INF) != NULL;
            OPENSSL_free(name);
            OPENSSL_free(header);
            OPENSSL_clear_free(bytes, (size_t)len);
        }
        r = found ? 0 : refuse_key(path, e);
        BIO_free(bio);
        ERR_clear_error();
    }
    if (r == 0 && passphrase_file)
        r = check_passphrase_file(passphrase_file, e);
    buf_done(&text);
    return r;
}

int pem_read_key(const char *path, const char *passphrase_file, EVP_PKEY **ret, struct err *e)
{
    struct buf text = BUF_INIT_SECRET;
    struct asking a = {path, passphrase_file, BUF_INIT_SECRET, false, e};
    EVP_PKEY *key = NULL;
    BIO *bio = NULL;
    int r = -1;
    if (read_key_file(path, &text, e))
        goto out;
    bio = BIO_new_mem_buf(text.data, (int)text.len);
    key = bio ? PEM_read_bio_PrivateKey(bio, NULL, give_passphrase, &a) : NULL;
    if (key)
        r = 0;
    else if (!a.asked)
        refuse_key(path, e);
    else if (e->id == ERR_NONE) { /* what the callback has set stands */
        err_set(e, ERR_ARGUMENT, "%s: the passphrase is wrong", path);
        err_advise(e, "It was mistyped, or is another key's; nothing was signed.");
    }
out:
    ERR_clear_error();
    BIO_free(bio);
    buf_done(&text);
    buf_done(&a.passphrase);
    *ret = key;
    return r;
}
