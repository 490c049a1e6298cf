/* Files of the CA's later life. Promises that chain.pem is at every instant the whole old or the
 * whole new chain, and that the old one is kept before it is replaced. Must never touch a key. */
#include "hsm/ceremony/ceremony_store.h"
#include <errno.h>
#include <fcntl.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>
#include "base/buf.h"
#include "base/err.h"
#include "base/file.h"
#include "base/limits.h"
#include "base/text.h"
#include "hsm/ca.h"

#define KEY_LABEL     "issuing-ca"
#define KEY_ID_RANDOM 8 /* among the keys of one token, chance does not meet itself */

int ceremony_store_lock(const struct paths *p, int *ret_fd, struct err *e)
{
    char dir[PATH_MAX];
    int fd;

    paths_get(p, PATH_CA_CHAIN, dir);
    *strrchr(dir, '/') = '\0';
    fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return err_set_errno(e, errno, "open %s", dir);
    if (flock(fd, LOCK_EX | LOCK_NB) < 0) {
        int cause = errno;

        close(fd);
        return cause == EWOULDBLOCK
                       ? err_set(e, ERR_BAD_STATE, "another ceremony is being held on this station")
                       : err_set_errno(e, cause, "lock %s", dir);
    }
    *ret_fd = fd;
    return 0;
}

/* ---- the request */

int ceremony_store_key(const struct paths *p, struct module_key_name *ret, struct err *e)
{
    char path[PATH_MAX], digits[2 * MODULE_KEY_ID_MAX + 1];
    struct buf text = BUF_INIT;
    int r = -1;

    paths_get(p, PATH_CA_KEY, path);
    if (file_read(path, sizeof digits, &text, e) < 0)
        goto out;
    while (text.len && text.data[text.len - 1] == '\n')
        text.len--;
    if (text.len >= sizeof digits) {
        err_set(e, ERR_CONFIG, "%s is not what Keyline wrote", path);
        goto out;
    }
    memcpy(digits, text.data, text.len);
    digits[text.len] = '\0';
    r = module_key_name_parse(KEY_LABEL, digits, ret, e);
out:
    buf_done(&text);
    return r;
}

int ceremony_store_new_key(const struct paths *p, struct module_key_name *ret, struct err *e)
{
    char path[PATH_MAX], line[2 * KEY_ID_RANDOM + 2];
    uint8_t id[KEY_ID_RANDOM];

    if (RAND_bytes(id, sizeof id) != 1)
        return err_set(e, ERR_IO, "the system gives no random bytes");
    hex_format(id, sizeof id, line);
    if (module_key_name_parse(KEY_LABEL, line, ret, e) < 0)
        return -1;
    strcat(line, "\n");
    paths_get(p, PATH_CA_KEY, path);
    return file_write(path, line, strlen(line), 0644, e);
}

int ceremony_store_request(const struct paths *p, struct buf *ret_pem, struct err *e)
{
    char path[PATH_MAX];

    paths_get(p, PATH_CA_REQUEST, path);
    return file_read(path, CHAIN_BYTES_MAX, ret_pem, e);
}

int ceremony_store_put_request(const struct paths *p, const struct buf *pem, struct err *e)
{
    char path[PATH_MAX];

    paths_get(p, PATH_CA_REQUEST, path);
    return file_write(path, pem->data, pem->len, 0644, e);
}

int ceremony_store_clear_request(const struct paths *p, struct err *e)
{
    char request[PATH_MAX], key[PATH_MAX];

    paths_get(p, PATH_CA_REQUEST, request);
    paths_get(p, PATH_CA_KEY, key);
    return file_remove(request, e) < 0 ? -1 : file_remove(key, e);
}

/* ---- the chains */

enum chain_part { WHOLE_CHAIN, ROOT_ONLY };

static int write_chain(const char *path, const struct ca *ca, enum chain_part part, struct err *e)
{
    const uint8_t *at = ca->chain.data, *end = at + ca->chain.len;
    BIO *bio = BIO_new(BIO_s_mem());
    bool ok = bio;
    char *text = NULL;
    long len;
    int r;

    while (ok && at < end) {
        X509 *x = d2i_X509(NULL, &at, end - at);

        ok = x && (part == WHOLE_CHAIN || at == end ? PEM_write_bio_X509(bio, x) == 1 : 1);
        X509_free(x);
    }
    len = ok ? BIO_get_mem_data(bio, &text) : 0;
    r = ok ? file_write(path, text, (size_t)len, 0644, e)
           : err_set(e, ERR_NOMEM, "no memory for the CA chain");
    BIO_free(bio);
    return r;
}

static int retire(const struct paths *p, const struct ca *ca, struct err *e)
{
    char path[PATH_MAX];

    paths_get(p, PATH_CA_RETIRED, path);
    return file_mkdirs(path, 0755, e) < 0 || ca_retired_path(p, ca, path, e) < 0
                   ? -1
                   : write_chain(path, ca, WHOLE_CHAIN, e);
}

int ceremony_store_install(
        const struct paths *p, const struct ca_set *now, const struct ca *next, struct err *e)
{
    char chain[PATH_MAX], root[PATH_MAX];

    paths_get(p, PATH_CA_CHAIN, chain);
    paths_get(p, PATH_CA_ROOT, root);
    /* a new certificate for the same key retires nobody */
    if (now->active &&
            (now->active->key_id.len != next->key_id.len ||
                    memcmp(now->active->key_id.bytes, next->key_id.bytes, next->key_id.len) != 0) &&
            retire(p, now->active, e) < 0)
        return -1;
    /* from here on the new one is in force */
    if (write_chain(chain, next, WHOLE_CHAIN, e) < 0 || write_chain(root, next, ROOT_ONLY, e) < 0)
        return -1;
    return ceremony_store_clear_request(p, e);
}
