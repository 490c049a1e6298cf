/* A writer's key. Promises that its private half is in locked memory alone, and never leaves here. */
#include "hsm/ledger/ledger_writer.h"
#include <openssl/err.h>
#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>
#include "base/err.h"
#include "base/secret.h"

static const char context[] = "keyline-ledger-group-v1\n";

enum { TEXT_BYTES = sizeof context - 1 + LEDGER_DIGEST_BYTES };

struct ledger_writer {
    EVP_PKEY *key; /* OpenSSL keeps the private half in the secure heap */
    uint8_t public[LEDGER_WRITER_BYTES];
};

int ledger_writer_new(struct ledger_writer **ret, struct err *e)
{
    struct ledger_writer *w;
    size_t len = LEDGER_WRITER_BYTES;

    if (secret_open(e) < 0)
        return -1;
    w = calloc(1, sizeof *w);
    if (!w)
        return err_set(e, ERR_NOMEM, "no memory for the ledger's key");
    w->key = EVP_PKEY_Q_keygen(NULL, NULL, "ED25519");
    if (!w->key || EVP_PKEY_get_raw_public_key(w->key, w->public, &len) != 1) {
        ERR_clear_error();
        ledger_writer_free(&w);
        return err_set(e, ERR_NOMEM, "no key can be made for the ledger");
    }
    *ret = w;
    return 0;
}

void ledger_writer_free(struct ledger_writer **pw)
{
    struct ledger_writer *w = *pw;

    if (!w)
        return;
    EVP_PKEY_free(w->key);
    free(w);
    *pw = NULL;
}

const uint8_t *ledger_writer_public(const struct ledger_writer *w)
{
    return w->public;
}

/* What is signed can be nothing else that anybody signs with such a key. */
static void put_text(const uint8_t digest[LEDGER_DIGEST_BYTES], uint8_t ret[TEXT_BYTES])
{
    memcpy(ret, context, sizeof context - 1);
    memcpy(ret + sizeof context - 1, digest, LEDGER_DIGEST_BYTES);
}

int ledger_writer_sign(const struct ledger_writer *w, const uint8_t digest[LEDGER_DIGEST_BYTES],
        uint8_t ret[LEDGER_SIGNATURE_BYTES], struct err *e)
{
    EVP_MD_CTX *c = EVP_MD_CTX_new();
    uint8_t text[TEXT_BYTES];
    size_t len = LEDGER_SIGNATURE_BYTES;
    int r = 0;

    put_text(digest, text);
    if (!c || EVP_DigestSignInit(c, NULL, NULL, NULL, w->key) != 1 ||
            EVP_DigestSign(c, ret, &len, text, sizeof text) != 1 || len != LEDGER_SIGNATURE_BYTES)
        r = err_set(e, ERR_NOMEM, "a group of the ledger cannot be signed");
    ERR_clear_error();
    EVP_MD_CTX_free(c);
    return r;
}

int ledger_writer_check(const uint8_t writer[LEDGER_WRITER_BYTES],
        const uint8_t digest[LEDGER_DIGEST_BYTES], const uint8_t sig[LEDGER_SIGNATURE_BYTES],
        struct err *e)
{
    EVP_PKEY *key =
            EVP_PKEY_new_raw_public_key(EVP_PKEY_ED25519, NULL, writer, LEDGER_WRITER_BYTES);
    EVP_MD_CTX *c = EVP_MD_CTX_new();
    uint8_t text[TEXT_BYTES];
    int r = 0;

    put_text(digest, text);
    if (!key || !c || EVP_DigestVerifyInit(c, NULL, NULL, NULL, key) != 1)
        r = err_set(e, ERR_NOMEM, "no signature check can be set up");
    else if (EVP_DigestVerify(c, sig, LEDGER_SIGNATURE_BYTES, text, sizeof text) != 1)
        r = err_set(e, ERR_SIGNATURE,
                "the group was not written by the process that the newest checkpoint names");
    ERR_clear_error();
    EVP_MD_CTX_free(c);
    EVP_PKEY_free(key);
    return r;
}
