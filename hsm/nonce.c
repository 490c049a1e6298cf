/* Nonces. Promises that none is accepted that this process did not make for this very row; keeps no
 * list of them. A nonce may be answered more than once while it is valid: what must not happen
 * twice is the ledger's business. */
#include "hsm/nonce.h"
#include <openssl/crypto.h>
#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/params.h>
#include <openssl/rand.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include "base/err.h"

enum { KEY_BYTES = 32, TIME_BYTES = 8, MAC_BYTES = NONCE_BYTES - TIME_BYTES };

struct nonce_key {
    uint8_t bytes[KEY_BYTES];
    size_t mapped;
    EVP_MAC_CTX *mac; /* with the key in it: setting one up costs five times what a MAC does */
};

static int keep_mac(struct nonce_key *k)
{
    char digest[] = "SHA256";
    const OSSL_PARAM how[] = {
            OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, digest, 0),
            OSSL_PARAM_construct_end(),
    };
    EVP_MAC *hmac = EVP_MAC_fetch(NULL, "HMAC", NULL);

    k->mac = hmac ? EVP_MAC_CTX_new(hmac) : NULL;
    EVP_MAC_free(hmac);
    return k->mac && EVP_MAC_init(k->mac, k->bytes, KEY_BYTES, how) == 1 ? 0 : -1;
}

int nonce_key_new(struct nonce_key **ret, struct err *e)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    struct nonce_key *k =
            mmap(NULL, page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    if (k == MAP_FAILED)
        return err_set(e, ERR_NOMEM, "no memory for the nonce key");
    /* best effort: where the limit forbids it, the key is worth no more than the next five minutes
     */
    mlock(k, page);
    madvise(k, page, MADV_DONTDUMP);
    k->mapped = page;
    if (RAND_priv_bytes(k->bytes, KEY_BYTES) != 1) {
        nonce_key_free(&k);
        return err_set(e, ERR_IO, "the system gives no random bytes");
    }
    if (keep_mac(k) < 0) {
        nonce_key_free(&k);
        return err_set(e, ERR_NOMEM, "no memory for the nonce key");
    }
    *ret = k;
    return 0;
}

void nonce_key_free(struct nonce_key **k)
{
    if (!*k)
        return;
    EVP_MAC_CTX_free((*k)->mac);
    OPENSSL_cleanse((*k)->bytes, KEY_BYTES);
    munmap(*k, (*k)->mapped);
    *k = NULL;
}

static void put_u64(uint8_t *at, uint64_t n)
{
    for (int i = 7; i >= 0; i--, n >>= 8)
        at[i] = (uint8_t)n;
}

static uint64_t get_u64(const uint8_t *at)
{
    uint64_t n = 0;

    for (int i = 0; i < 8; i++)
        n = n << 8 | at[i];
    return n;
}

int nonce_make(const struct nonce_key *k, int64_t now_ms, const char *job, uint64_t row,
        uint8_t ret[NONCE_BYTES], struct err *e)
{
    uint8_t input[2 * TIME_BYTES + NAME_BYTES_MAX], mac[EVP_MAX_MD_SIZE];
    size_t job_len = strlen(job), mac_len;

    if (job_len > NAME_BYTES_MAX)
        return err_set(e, ERR_LIMIT, "the job's identifier is too long");
    put_u64(input, (uint64_t)now_ms);
    put_u64(input + TIME_BYTES, row);
    memcpy(input + 2 * TIME_BYTES, job, job_len);
    /* no key: with the one it has */
    if (EVP_MAC_init(k->mac, NULL, 0, NULL) != 1 ||
            EVP_MAC_update(k->mac, input, 2 * TIME_BYTES + job_len) != 1 ||
            EVP_MAC_final(k->mac, mac, &mac_len, sizeof mac) != 1)
        return err_set(e, ERR_NOMEM, "no nonce can be made");
    put_u64(ret, (uint64_t)now_ms);
    memcpy(ret + TIME_BYTES, mac, MAC_BYTES);
    return 0;
}

int nonce_check(const struct nonce_key *k, int64_t now_ms, int64_t valid_s, const char *job,
        uint64_t row, const uint8_t nonce[NONCE_BYTES], struct err *e)
{
    uint64_t then_ms = get_u64(nonce);
    uint8_t expected[NONCE_BYTES];

    if (nonce_make(k, (int64_t)then_ms, job, row, expected, e) < 0)
        return -1;
    if (CRYPTO_memcmp(expected, nonce, NONCE_BYTES) != 0)
        return err_set(e, ERR_NONCE, "the nonce is not one this signer gave for this row");
    /* the MAC is right, so then_ms is a time of ours: only the clock can have gone back */
    if ((int64_t)then_ms > now_ms || now_ms - (int64_t)then_ms > valid_s * 1000)
        return err_set(e, ERR_NONCE, "the nonce is older than %lld s", (long long)valid_s);
    return 0;
}
