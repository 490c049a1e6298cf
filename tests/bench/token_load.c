/* bench-token COUNT: what a certificate costs at least, in one process without a socket or a disk:
 * C_SignInit and C_Sign on the token of $KEYLINE_ROOT, and a P-256 verification (two are needed:
 * the device's request, the token's signature). CPU, so that a busy machine blurs it little. */
#include <openssl/ec.h>
#include <openssl/evp.h>
#include <openssl/rand.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "base/buf.h"
#include "base/config.h"
#include "base/err.h"
#include "base/file.h"
#include "base/paths.h"
#include "hsm/token/embedded.h"
#include "hsm/token/module.h"
#include "tests/bench/load.h"

struct token {
    struct module module;
    CK_SESSION_HANDLE session;
    CK_OBJECT_HANDLE key;
    struct module_mechanism how;
};

static void must(int r, const struct err *e)
{
    if (r < 0)
        load_fail("%s: %s", err_name(e->id), e->msg);
}

static void must_ckr(CK_RV rv, const char *what)
{
    if (rv != CKR_OK)
        load_fail("%s: CKR 0x%lx", what, rv);
}

static void open_token(struct token *t)
{
    struct paths paths;
    struct config *config = NULL;
    struct module_key_name name;
    struct buf pin = BUF_INIT_SECRET;
    struct err e = {0};
    char path[PATH_MAX];
    CK_SLOT_ID slot;
    int lock;

    must(paths_init(&paths, &e), &e);
    paths_get(&paths, PATH_CONFIG, path);
    must(config_load(path, &config, &e), &e);
    paths_get(&paths, PATH_TOKEN_PIN, path);
    must(file_read_secret(path, &pin, &e), &e);
    embedded_env(&paths);
    must(embedded_lock(&paths, &lock, &e), &e);
    must(module_key_name_parse(config_get(config, "token", "key_label"),
                 config_get(config, "token", "key_id"), &name, &e),
            &e);
    must(module_open(config_get(config, "token", "module"), &t->module, &e), &e);
    must_ckr(t->module.f->C_Initialize(NULL), "C_Initialize");
    must(module_find_token(&t->module, config_get(config, "token", "label"), &slot, &e), &e);
    must_ckr(t->module.f->C_OpenSession(slot, CKF_SERIAL_SESSION, NULL, NULL, &t->session),
            "C_OpenSession");
    must_ckr(t->module.f->C_Login(t->session, CKU_USER, pin.data, pin.len), "C_Login");
    close(lock);
    must(module_find_key(&t->module, t->session, &name, &t->key, &e), &e);
    must(module_mechanism(&t->module, slot, t->session, t->key, &t->how, &e), &e);
    buf_done(&pin);
    config_free(&config);
}

static void bench_sign(struct token *t, size_t count)
{
    struct load l = {0};
    uint8_t sig[SIGNATURE_BYTES_MAX];
    char message[64];
    struct err e = {0};

    load_add_pid(&l, getpid());
    load_start(&l, count);
    for (size_t i = 0; i < count; i++) {
        CK_MECHANISM m = {t->how.type, NULL, 0};
        CK_ULONG sig_len = sizeof sig;
        struct buf input = BUF_INIT;
        int64_t begun = load_now_us();

        snprintf(message, sizeof message, "certificate %zu", i);
        must(module_sign_input(&t->how, message, strlen(message), &input, &e), &e);
        must_ckr(t->module.f->C_SignInit(t->session, &m, t->key), "C_SignInit");
        must_ckr(t->module.f->C_Sign(t->session, input.data, input.len, sig, &sig_len), "C_Sign");
        buf_done(&input);
        load_done(&l, begun);
    }
    fputs("sign ", stdout);
    load_print(&l);
}

static void bench_verify(size_t count)
{
    EVP_PKEY *key = EVP_EC_gen("P-256");
    EVP_PKEY_CTX *ctx = key ? EVP_PKEY_CTX_new(key, NULL) : NULL;
    struct load l = {0};
    uint8_t digest[32], sig[80];
    size_t sig_len = sizeof sig;

    if (!ctx || RAND_bytes(digest, sizeof digest) != 1 || EVP_PKEY_sign_init(ctx) != 1 ||
            EVP_PKEY_sign(ctx, sig, &sig_len, digest, sizeof digest) != 1 ||
            EVP_PKEY_verify_init(ctx) != 1)
        load_fail("no signature can be made");
    load_add_pid(&l, getpid());
    load_start(&l, count);
    for (size_t i = 0; i < count; i++) {
        int64_t begun = load_now_us();

        if (EVP_PKEY_verify(ctx, sig, sig_len, digest, sizeof digest) != 1)
            load_fail("a right signature does not verify");
        load_done(&l, begun);
    }
    fputs("verify ", stdout);
    load_print(&l);
    EVP_PKEY_CTX_free(ctx);
    EVP_PKEY_free(key);
}

int main(int argc, char **argv)
{
    struct token t = {0};
    int count = argc == 2 ? atoi(argv[1]) : 0;

    if (count < 1 || count > 1000000)
        load_fail("usage: bench-token COUNT");
    open_token(&t);
    bench_sign(&t, (size_t)count);
    bench_verify((size_t)count);
    t.module.f->C_Finalize(NULL);
    return 0;
}
