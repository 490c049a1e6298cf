/* Open addressing, half full at most. The hash is keyed: a hostile file cannot make look-ups slow.
 */
#include "jobs/seen.h"

#include <stdlib.h>
#include <string.h>

#include <openssl/rand.h>

/* 64-bit FNV-1a over the bytes, keyed at both ends and mixed (the finaliser of MurmurHash3). */
static uint64_t hash_bytes(uint64_t key, const unsigned char *bytes, size_t len)
{
    uint64_t h = 0xcbf29ce484222325u ^ key;

    for (size_t i = 0; i < len; i++)
        h = (h ^ bytes[i]) * 0x100000001b3u;
    h ^= key >> 7;
    h = (h ^ (h >> 33)) * 0xff51afd7ed558ccdu;
    h = (h ^ (h >> 33)) * 0xc4ceb9fe1a85ec53u;
    return h ^ (h >> 33);
}

static void put(struct seen_slot *slots, size_t capacity, const struct seen_slot *entry)
{
    size_t i = entry->hash & (capacity - 1);

    while (slots[i].tag)
        i = (i + 1) & (capacity - 1);
    slots[i] = *entry;
}

static int grow(struct seen *s, struct err *e)
{
    size_t capacity = s->capacity ? 2 * s->capacity : 1024;
    struct seen_slot *slots = calloc(capacity, sizeof *slots);

    if (!slots)
        return err_set(e, ERR_NOMEM, "no memory to look for duplicates");
    if (!s->capacity && RAND_bytes((unsigned char *)&s->key, sizeof s->key) != 1) {
        free(slots);
        return err_set(e, ERR_BUG, "no random numbers");
    }
    for (size_t i = 0; i < s->capacity; i++)
        if (s->slots[i].tag)
            put(slots, capacity, &s->slots[i]);
    free(s->slots);
    s->slots = slots;
    s->capacity = capacity;
    return 0;
}

int seen_add(struct seen *s, const void *bytes, size_t len, uint64_t tag, uint64_t *ret_first,
        struct err *e)
{
    struct seen_slot entry = {.tag = tag, .len = len};

    if (2 * s->count >= s->capacity && grow(s, e) < 0)
        return -1;
    entry.hash = hash_bytes(s->key, bytes, len);
    for (size_t i = entry.hash & (s->capacity - 1); s->slots[i].tag;
            i = (i + 1) & (s->capacity - 1)) {
        const struct seen_slot *old = &s->slots[i];
        if (old->hash == entry.hash && old->len == len &&
                memcmp(s->bytes.data + old->at, bytes, len) == 0) {
            *ret_first = old->tag;
            return 0;
        }
    }
    entry.at = s->bytes.len;
    if (buf_append(&s->bytes, bytes, len, e) < 0)
        return -1;
    put(s->slots, s->capacity, &entry);
    s->count++;
    *ret_first = 0;
    return 0;
}

void seen_done(struct seen *s)
{
    free(s->slots);
    buf_done(&s->bytes);
    *s = (struct seen){0};
}
