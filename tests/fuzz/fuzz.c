/* What fuzz targets share. The key below opens nothing: it is public, and no product file names it. */
#include "tests/fuzz/fuzz.h"
#include <fcntl.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include "base/buf.h"
#include "base/err.h"
#include "base/log.h"
#include "base/text.h"
#include "tests/hsm/help.h"

static const char key_pem[] = "-----BEGIN PRIVATE KEY-----\n"
                              "MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQg6KmjcEsSx5hcj2xl\n"
                              "vup11cD2fuyyiATwARqRY22e+DmhRANCAARHiWFOdckvrsomwbOyWS16kuzWlE3h\n"
                              "id/3wEiRhZxxms4zAUq/0BxETmV/uOpSiAQFwMSFKTKAnf1DesGukXN/\n"
                              "-----END PRIVATE KEY-----\n";
/* CN=Fuzz Approver, 2020 to 2199, digitalSignature */
static const char approver_pem[] =
        "-----BEGIN CERTIFICATE-----\n"
        "MIIBYDCCAQagAwIBAgIBATAKBggqhkjOPQQDAjAYMRYwFAYDVQQDDA1GdXp6IEFw\n"
        "cHJvdmVyMCAXDTIwMDEwMTAwMDAwMFoYDzIxOTkxMjMxMjM1OTU5WjAYMRYwFAYD\n"
        "VQQDDA1GdXp6IEFwcHJvdmVyMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAER4lh\n"
        "TnXJL67KJsGzslktepLs1pRN4Ynf98BIkYWccZrOMwFKv9AcRE5lf7jqUogEBcDE\n"
        "hSkygJ39Q3rBrpFzf6M/MD0wDgYDVR0PAQH/BAQDAgeAMAwGA1UdEwEB/wQCMAAw\n"
        "HQYDVR0OBBYEFJD7T+oMIUQjL3/ZI5y+kYvxL1uzMAoGCCqGSM49BAMCA0gAMEUC\n"
        "IQDGf6BqySR/VKpd6l7LY/62WllMe20GjNY32pycbnVSZAIgWi7Yigce0TyWqD/s\n"
        "eJmwblY23aAyfyKt19uCFCWBOW0=\n"
        "-----END CERTIFICATE-----\n";

/* In sanitizers' runtimes; absent without them. */
void __sanitizer_set_report_fd(void *fd) __attribute__((weak));

static int report_fd = 2;

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    uint8_t random[1];

    (void)argc, (void)argv;
    /* OpenSSL's generators: made later they lie in the secure heap, where the leak sanitizer does not look, and what they hold
     * would be a leak of the first input */
    must(RAND_bytes(random, 1) == 1 && RAND_priv_bytes(random, 1) == 1);
    report_fd = dup(2); /* libFuzzer may close the other (-close_fd_mask=2) */
    must(report_fd >= 0);
    setenv("KEYLINE_LOG", "error", 0);
    log_open("fuzz");
    return 0;
}

void fuzz_silence(void)
{
    int null = open("/dev/null", O_WRONLY | O_CLOEXEC);

    must(null >= 0 && dup2(null, 2) == 2);
    close(null);
    if (__sanitizer_set_report_fd)
        __sanitizer_set_report_fd((void *)(intptr_t)report_fd);
}

void fuzz_broken(const char *what, const char *file, int line)
{
    dprintf(report_fd, "%s:%d: a promise is broken: %s\n", file, line, what);
    abort();
}

void fuzz_outcome(int r, const struct err *e)
{
    if (r >= 0) {
        promise(e->id == ERR_NONE);
        return;
    }
    promise(e->id > ERR_NONE && e->id < ERR_COUNT);
    promise(err_class(e->id) != ERR_CLASS_BUG);
    promise(e->msg[0] && text_is_printable(e->msg, strlen(e->msg)));
}

const char *fuzz_file(const uint8_t *data, size_t size)
{
    static char path[32];
    static int fd = -1;

    if (fd < 0) {
        fd = memfd_create("fuzz", MFD_CLOEXEC);
        must(fd >= 0);
        snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    }
    must(ftruncate(fd, 0) == 0 && pwrite(fd, data, size, 0) == (ssize_t)size);
    return path;
}

static char dir[128];

static void remove_dir(void)
{
    help_rmdir(dir);
}

const char *fuzz_dir(void)
{
    const char *where = getenv("TMPDIR");

    if (*dir)
        return dir;
    if (!where)
        where = access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp";
    snprintf(dir, sizeof dir, "%s/keyline-fuzz-XXXXXX", where);
    must(mkdtemp(dir));
    atexit(remove_dir);
    return dir;
}

EVP_PKEY *fuzz_key(void)
{
    static EVP_PKEY *key;

    if (!key) {
        BIO *bio = BIO_new_mem_buf(key_pem, -1);

        key = PEM_read_bio_PrivateKey(bio, NULL, NULL, NULL);
        must(key);
        BIO_free(bio);
    }
    return key;
}

X509 *fuzz_approver(void)
{
    static X509 *x;

    if (!x) {
        BIO *bio = BIO_new_mem_buf(approver_pem, -1);

        x = PEM_read_bio_X509(bio, NULL, NULL, NULL);
        must(x);
        BIO_free(bio);
    }
    return x;
}

size_t fuzz_sign(const void *bytes, size_t len, uint8_t *ret)
{
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    size_t n = FUZZ_SIGNATURE_MAX;

    must(EVP_DigestSignInit(ctx, NULL, EVP_sha256(), NULL, fuzz_key()) == 1 &&
            EVP_DigestSign(ctx, ret, &n, bytes, len) == 1);
    EVP_MD_CTX_free(ctx);
    return n;
}

const struct buf *fuzz_chain(void)
{
    static struct buf pem;

    if (!pem.len)
        help_chain(fuzz_key(), &pem);
    return &pem;
}
