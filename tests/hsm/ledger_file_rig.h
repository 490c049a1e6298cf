/* A ledger file of a test's own, entries that are known by a number, and a disk that says when it was synced. */
#pragma once
#include <stdbool.h>
#include <sys/types.h>
#include "hsm/ledger/ledger.h"
#include "tests/hsm/help.h"

extern char rig_dir[64], rig_path[128], rig_index[160]; /* the last: of the index beside it */
int rig_setup(void **state);
int rig_teardown(void **state);
#define LEDGER_TEST(f) cmocka_unit_test_setup_teardown(f, rig_setup, rig_teardown)

/* With LINKER:--wrap=fdatasync: how far a file was synced last, and whether the next sync fails. */
extern off_t rig_synced_bytes;
extern bool rig_sync_fails;

/* The ledger as it is on the disk; must succeed. */
struct ledger *rig_open(void);
/* A file with these bytes alone. */
void rig_put(const char *name, const void *bytes, size_t len);

/* Certificate n, of one of three jobs, its tail in `tail`. */
struct ledger_entry rig_entry(unsigned n, char *tail, size_t len);
/* Waits for a commit; len: of its tail. */
void rig_add(struct ledger *l, unsigned n, size_t len);
/* [from, to), committed */
void rig_add_many(struct ledger *l, unsigned from, unsigned to);
/* 1 when certificate n is found, by device and by key, else 0. */
int rig_has(struct ledger *l, unsigned n);
/* It has [0, count) and nothing else. */
void rig_has_all(struct ledger *l, unsigned count);
/* Writes the index and takes it into use. */
void rig_save(struct ledger *l);
