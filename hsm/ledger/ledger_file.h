/* The file under the ledger: header, groups, their chain, and the one place where it grows (ledger.h has the format). */
#pragma once
#include <openssl/evp.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "hsm/ledger/ledger_entry.h"

#define LEDGER_HASH_BYTES   32
#define LEDGER_FILE_HEADER  32
#define LEDGER_GROUP_HEADER 24 /* its facts and the check over them */
#define LEDGER_GROUP_END    (LEDGER_SIGNATURE_BYTES + LEDGER_HASH_BYTES)
/* far above what one round of the event loop collects; bounds memory when reading */
#define LEDGER_GROUP_BYTES_MAX (4u << 20)

/* A place between two groups, and the chain up to it. */
struct ledger_head {
    uint64_t at;
    uint8_t chain[LEDGER_HASH_BYTES];
};
struct ledger_file {
    char *path;
    int fd;
    struct ledger_head start; /* behind the header */
    struct ledger_head end;   /* of what is durable */
    EVP_MD_CTX *md;
    struct ledger_writer *writer; /* NULL: for reading only */
    bool broken;                  /* a sync failed: nothing more is written */
};
enum ledger_group_state {
    LEDGER_GROUP_GOOD,
    LEDGER_GROUP_TORN, /* an append that a kill or a power cut left unfinished */
    LEDGER_GROUP_BAD,
};

/* Opens or creates it, locks it, and makes the key of this process; `end` stands behind the header. ERR_BAD_STATE, ERR_LEDGER.
 * Close it also after a failure. */
int ledger_file_open(struct ledger_file *f, const char *path, struct err *e);
/* The same without lock and for reading only. ERR_NOT_FOUND; ERR_LEDGER when it has no header yet. */
int ledger_file_open_read(struct ledger_file *f, const char *path, struct err *e);
void ledger_file_close(struct ledger_file *f);
int ledger_file_size(const struct ledger_file *f, uint64_t *ret, struct err *e);
/* ERR_LEDGER when the file ends before. */
int ledger_file_read(
        const struct ledger_file *f, uint64_t at, void *bytes, size_t len, struct err *e);
/* ERR_LEDGER with the place. */
int ledger_file_damaged(const struct ledger_file *f, uint64_t at, const char *what, struct err *e);
/* The head that stands at this place, which must be a group's begin or end. */
int ledger_file_head(
        const struct ledger_file *f, uint64_t at, struct ledger_head *ret, struct err *e);
/* Reads the group at `head` of a file that ends at `size` (behind head). GOOD: head is moved behind it, and ret has its
 * payload, borrowed from g. Else head stays. */
int ledger_file_group(const struct ledger_file *f, struct ledger_head *head, uint64_t size,
        struct buf *g, struct ledger_group *ret, enum ledger_group_state *ret_state, struct err *e);
/* Cuts the file off at f->end, logged; `size` is what it had. */
int ledger_file_cut(struct ledger_file *f, uint64_t size, struct err *e);
/* fdatasync: a signer that was killed between write and sync left a group that is only in the kernel's memory. */
int ledger_file_sync(struct ledger_file *f, struct err *e);
/* group: LEDGER_GROUP_HEADER bytes of room, then the payload with so many entries. Makes it a group, writes and syncs it,
 * moves f->end. A failed write is undone; after a failed sync the file is broken. */
int ledger_file_append(struct ledger_file *f, struct buf *group, size_t entries, struct err *e);
