/* The operator's list of keys to refuse. Promises that what the file says now is what counts, and
 * that a file it cannot read whole refuses all rather than some. */
#include "hsm/blocked_keys.h"
#include <stdlib.h>
#include <string.h>
#include "base/buf.h"
#include "base/err.h"
#include "base/file.h"
#include "base/limits.h"
#include "base/log.h"
#include "base/text.h"

#define DIGEST_BYTES 32

struct blocked_keys {
    char *path;
    struct file_stamp seen;
    struct buf digests; /* sorted, one after the other */
    struct err fault;   /* of the file as it was read last */
};

static int compare(const void *a, const void *b)
{
    return memcmp(a, b, DIGEST_BYTES);
}

static int add_line(struct blocked_keys *b, const char *line, size_t len, unsigned number)
{
    uint8_t digest[DIGEST_BYTES];
    const char *comment = memchr(line, '#', len);

    if (comment)
        len = (size_t)(comment - line);
    while (len && memchr(" \t\r", line[len - 1], 3)) /* not strchr(): it finds a zero byte, too */
        len--;
    if (!len)
        return 0;
    if (len != 2 * DIGEST_BYTES || hex_parse(line, len, digest, DIGEST_BYTES) < 0)
        return err_set(&b->fault, ERR_CONFIG,
                "%s: line %u is not a SHA-256 digest of 64 hexadecimal digits", b->path, number);
    if (b->digests.len >= BLOCKED_KEYS_MAX * DIGEST_BYTES)
        return err_set(&b->fault, ERR_CONFIG, "%s: at most %u keys can be blocked", b->path,
                BLOCKED_KEYS_MAX);
    return buf_append(&b->digests, digest, DIGEST_BYTES, &b->fault);
}

static void load(struct blocked_keys *b)
{
    struct buf text = BUF_INIT;
    struct err missing = {0};
    unsigned number = 0;

    err_clear(&b->fault);
    buf_reset(&b->digests);
    if (file_read(b->path, BLOCKED_FILE_MAX, &text, &missing) < 0 && missing.id != ERR_NOT_FOUND)
        b->fault = missing;
    for (size_t at = 0; at < text.len && !b->fault.id;) {
        const char *line = (const char *)text.data + at;
        const char *end = memchr(line, '\n', text.len - at);
        size_t len = end ? (size_t)(end - line) : text.len - at;

        add_line(b, line, len, ++number);
        at += len + 1;
    }
    if (b->digests.len)
        qsort(b->digests.data, b->digests.len / DIGEST_BYTES, DIGEST_BYTES, compare);
    if (b->fault.id)
        log_err(LOG_ERR, "blocked-keys", &b->fault);
    else
        log_info("blocked-keys", LOG_STR("file", b->path),
                LOG_NUM("keys", b->digests.len / DIGEST_BYTES));
    buf_done(&text);
}

int blocked_keys_open(const char *path, struct blocked_keys **ret, struct err *e)
{
    struct blocked_keys *b = calloc(1, sizeof *b);

    if (b)
        b->path = strdup(path);
    if (!b || !b->path) {
        blocked_keys_close(&b);
        return err_set(e, ERR_NOMEM, "no memory for the blocked keys");
    }
    file_changed(b->path, &b->seen);
    load(b);
    *ret = b;
    return 0;
}

void blocked_keys_close(struct blocked_keys **b)
{
    if (!*b)
        return;
    buf_done(&(*b)->digests);
    free((*b)->path);
    free(*b);
    *b = NULL;
}

int blocked_keys_check(struct blocked_keys *b, const uint8_t spki_sha256[32], struct err *e)
{
    if (file_changed(b->path, &b->seen))
        load(b);
    if (b->fault.id)
        return err_set(e, b->fault.id, "%s", b->fault.msg);
    if (b->digests.len && bsearch(spki_sha256, b->digests.data, b->digests.len / DIGEST_BYTES,
                                  DIGEST_BYTES, compare))
        return err_set(e, ERR_KEY_WEAK, "the key is one that blocked-keys.txt refuses");
    return 0;
}
