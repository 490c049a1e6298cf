/* The issuance ledger: every certificate this signer ever gave and every request it refused, append-only and chained.
 *
 * File: 32-byte header "KEYLINE-LEDGER\n\2" + 16 random bytes; then groups. A group is what was written and synced in one go:
 *   magic "KLG2" | u32 payload length | u32 entries | u32 0 | 8-byte check | payload | 64-byte signature | 32-byte chain
 *   check = first 8 bytes of SHA-256(previous chain || the 16 bytes before it): the length can be trusted
 *   digest = SHA-256(previous chain || header with check || payload); before the first group: SHA-256(file header)
 *   signature = Ed25519 of the process that wrote it, over "keyline-ledger-group-v1\n" || digest (ledger_writer.h)
 *   chain = SHA-256(digest || signature)
 * An entry in the payload:
 *   u32 tail length | u8 type | u8 flags | u8 reason | zero byte | job 16 | device 16 | u64 row | u64 Unix ms | SPKI SHA-256 32 | serial 16 | tail
 *   The types and their tails: enum ledger_type. All numbers big-endian.
 *
 * A group that a kill or a power cut left incomplete is the last one, was never acknowledged, and is cut off when the
 * ledger is opened (logged). Anything else that does not fit together is damage: ERR_LEDGER, and nothing is repaired. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "hsm/x509/cert.h"
#include "hsm/ledger/ledger_writer.h"

struct buf;
struct err;
struct ledger;

#define LEDGER_ID_BYTES 16 /* a UUID */

enum ledger_type {
    LEDGER_ISSUED = 1,  /* tail: the DER certificate */
    LEDGER_REFUSED = 2, /* tail: "Name: message" of the error, see ledger_refusal() */
    LEDGER_REVOKED = 3, /* serial, device, job and key of the revoked certificate; reason; tail: its
                           CA's subjectKeyIdentifier. A second one of a serial number makes its
                           reason keyCompromise, or says nothing new */
    LEDGER_CRL =
            4, /* row: its number; time: thisUpdate; spki_sha256: of the DER CRL; tail: its CA's
                       subjectKeyIdentifier | u64 nextUpdate, Unix ms | u64 entries in it | u64 of
                       them for keyCompromise */
    LEDGER_WITHDRAWN = 5, /* job: nothing more is issued for it; no tail */
    LEDGER_CHECKPOINT =
            6, /* row: bytes of the ledger that it vouches for; spki_sha256: the chain there; tail: checkpoint.h */
    LEDGER_KEY_MADE = 7, /* a key made by the signer; tail: SHA-256 of the key it was wrapped for */
};
#define LEDGER_KEY_FROM_SIGNER                                                                     \
    0x01 /* flag of an issued entry: the key was not born in the device */
#define LEDGER_INDEX_DIGEST 32
/* then the signature */
#define LEDGER_CHECKPOINT_FIXED (CERT_KEY_ID_BYTES + LEDGER_INDEX_DIGEST + LEDGER_WRITER_BYTES)
#define LEDGER_MARK_KEPT        0x02 /* of a checkpoint: the token has a mark of this ledger */
#define LEDGER_ACCEPTED         0x04 /* of a checkpoint: a person vouched for what was there before it */

struct ledger_entry {
    enum ledger_type type;
    uint8_t flags;
    uint8_t reason; /* of a revocation: CRLReason, RFC 5280, 5.3.1 */
    uint8_t job[LEDGER_ID_BYTES], device[LEDGER_ID_BYTES]; /* device: zeros when it is not known */
    uint64_t row;
    int64_t time_ms;
    uint8_t spki_sha256[32]; /* zeros when it is not known */
    uint8_t serial[CERT_SERIAL_BYTES];
    struct cert_bytes tail;
};
struct ledger_counts {
    uint64_t issued, refused, revoked, groups;
    uint64_t compromised; /* revoked for keyCompromise */
};
/* A certificate that is on its CA's CRL. */
struct ledger_revoked {
    uint8_t ca[CERT_KEY_ID_BYTES]; /* the issuing CA's subjectKeyIdentifier */
    uint8_t job[LEDGER_ID_BYTES], device[LEDGER_ID_BYTES]; /* what it was issued for */
    uint8_t serial[CERT_SERIAL_BYTES];
    uint8_t spki_sha256[32];
    uint8_t reason;  /* the worst it was revoked for */
    int64_t time_ms; /* when it was revoked first */
};
/* Which ledger, and how far: the word that a checkpoint and a token's mark are about. */
struct ledger_state {
    uint8_t id[32]; /* SHA-256 of the file's header */
    uint64_t size;
    uint8_t chain[32];
};
/* The longest tail of a refusal. */
#define LEDGER_REFUSAL_MAX 200
/* before: the newest entry is the first. */
#define LEDGER_NEWEST UINT64_MAX
/* The last CRL of a CA. */
struct ledger_crl {
    uint8_t ca[CERT_KEY_ID_BYTES];
    uint64_t number;
    int64_t this_update_ms, next_update_ms;
    uint64_t entries;     /* revoked certificates in it */
    uint64_t compromised; /* of them for keyCompromise */
    uint8_t sha256[32];
};
#define LEDGER_CRL_TAIL      (CERT_KEY_ID_BYTES + 24)
#define LEDGER_KEY_MADE_TAIL 32
enum ledger_found { LEDGER_ABSENT = 0, LEDGER_PRESENT = 1 };

/* Creates the file when there is none. One process at a time: ERR_BAD_STATE when another has it. */
int ledger_open(const char *path, struct ledger **ret, struct err *e);
/* The same, but one that is damaged is opened all the same, as one that is refused (ledger_fault()), with nothing in it. */
int ledger_open_or_refuse(const char *path, struct ledger **ret, struct err *e);
/* The same as ledger_open(), but no index is believed: every byte is read. */
int ledger_open_whole(const char *path, struct ledger **ret, struct err *e);
void ledger_close(struct ledger **l);
/* Puts an entry into the group to come; nothing is durable and nothing is found by the look-ups before ledger_commit(). */
int ledger_add(struct ledger *l, const struct ledger_entry *entry, struct err *e);
/* The same for several that belong together: all of them come into the same group, or none. */
int ledger_add_all(
        struct ledger *l, const struct ledger_entry *entries, size_t count, struct err *e);
size_t ledger_waiting(const struct ledger *l);
/* The key of this process. */
const uint8_t *ledger_writer(const struct ledger *l);
/* A checkpoint that names it is in the ledger or in the group to come. A group that is committed before is one that no later
 * start believes (checkpoint_check()). */
bool ledger_introduced(const struct ledger *l);
/* Writes and syncs the group: all of it is durable, or none of it counts. ERR_DISK_FULL, ERR_IO: the ledger is as before.
 * When a sync failed the disk's state is unknown: then every later commit is ERR_LEDGER until the signer is restarted. */
int ledger_commit(struct ledger *l, struct err *e);
/* false: such a sync failed, or the index was lost; close it and open it again. */
bool ledger_usable(const struct ledger *l);
/* The device's newest certificate, revoked or not. LEDGER_PRESENT, LEDGER_ABSENT or -1. ret: its tail is empty; ret_cert (may be NULL) gets the certificate appended. */
int ledger_find_device(struct ledger *l, const uint8_t device[LEDGER_ID_BYTES],
        struct ledger_entry *ret, struct buf *ret_cert, struct err *e);
int ledger_find_key(
        struct ledger *l, const uint8_t spki_sha256[32], struct ledger_entry *ret, struct err *e);
/* The same for a key that this signer made, certified or not. */
int ledger_find_made_key(
        struct ledger *l, const uint8_t spki_sha256[32], struct ledger_entry *ret, struct err *e);
/* Certificates issued for this job. */
uint64_t ledger_job_count(const struct ledger *l, const uint8_t job[LEDGER_ID_BYTES]);
/* Keys made for this job. */
uint64_t ledger_job_keys(const struct ledger *l, const uint8_t job[LEDGER_ID_BYTES]);
/* An approver has withdrawn the job. */
bool ledger_job_withdrawn(const struct ledger *l, const uint8_t job[LEDGER_ID_BYTES]);
struct ledger_counts ledger_counts(const struct ledger *l);
/* In the order they were revoked; the pointer holds until the next commit. */
const struct ledger_revoked *ledger_revoked(const struct ledger *l, size_t *ret_count);
/* NULL: it is not revoked. Holds until the next commit, too. */
const struct ledger_revoked *ledger_find_revoked(
        const struct ledger *l, const uint8_t serial[CERT_SERIAL_BYTES]);
/* A certificate for this key is revoked for keyCompromise. */
bool ledger_key_compromised(const struct ledger *l, const uint8_t spki_sha256[32]);
/* The device had a certificate from this job that is revoked. */
bool ledger_had(const struct ledger *l, const uint8_t device[LEDGER_ID_BYTES],
        const uint8_t job[LEDGER_ID_BYTES]);
/* The highest number of a CRL so far, of whichever CA; 0: none. */
uint64_t ledger_crl_number(const struct ledger *l);
/* The tail of a refused entry: the error's name and message, printable, cut off at LEDGER_REFUSAL_MAX. */
void ledger_refusal(const struct err *why, char out[LEDGER_REFUSAL_MAX + 1]);
/* place: of the entry, for `before`. The entry and its tail are borrowed for the call; a tail is what the file holds, so
 * check that it is text before it is shown as text. 0: go on; anything else ends the listing. */
typedef int (*ledger_read_fn)(void *ctx, uint64_t place, const struct ledger_entry *entry);
/* What is durable, newest first: at most `limit` entries from places below `before` (LEDGER_NEWEST, or the last place that fn
 * was given, to go on). Reads about a megabyte of the file for each step back, whatever the limit. ERR_LEDGER when it was
 * damaged at the start. */
int ledger_read(struct ledger *l, uint64_t before, size_t limit, ledger_read_fn fn, void *ctx,
        struct err *e);
/* NULL: there is none yet. Holds until the next commit. */
const struct ledger_crl *ledger_last_crl(
        const struct ledger *l, const uint8_t ca[CERT_KEY_ID_BYTES]);
/* A list of this CA says all that its next one would: as many certificates are revoked, and as many of them for keyCompromise.
 * Both numbers only grow. */
bool ledger_crl_complete(const struct ledger *l, const struct ledger_crl *crl);
/* The two numbers of a list that is made now. */
void ledger_crl_count(const struct ledger *l, struct ledger_crl *crl);
/* What an entry of type LEDGER_CHECKPOINT names: the index in use, and the process that writes the groups behind it. */
const uint8_t *ledger_checkpoint_index(const struct ledger_entry *entry);
const uint8_t *ledger_checkpoint_writer(const struct ledger_entry *entry);
/* The tail of an entry of type LEDGER_CRL; and what such an entry says. */
void ledger_crl_tail(const struct ledger_crl *crl, uint8_t ret[LEDGER_CRL_TAIL]);
void ledger_crl_read(const struct ledger_entry *entry, struct ledger_crl *ret);
/* Why this ledger is not to be used: damage found since it was opened, or what ledger_refuse() was given. Then nothing is
 * found and nothing written but this error. Its id is ERR_NONE while all is well. */
const struct err *ledger_fault(const struct ledger *l);
/* Ends the use of this ledger, logged; the first reason stays. */
void ledger_refuse(struct ledger *l, const struct err *why);

/* Of what is durable. */
void ledger_state(const struct ledger *l, struct ledger_state *ret);
/* LEDGER_PRESENT: this ledger has been in that state, or is. */
int ledger_contains(struct ledger *l, const struct ledger_state *state, struct err *e);
/* The newest checkpoint, which is the one that vouches for most: a copy of an older one stands behind it in vain. ret->tail is
 * appended to tail and borrowed from it. LEDGER_PRESENT, LEDGER_ABSENT or -1. */
int ledger_last_checkpoint(
        struct ledger *l, struct ledger_entry *ret, struct buf *tail, struct err *e);
/* LEDGER_PRESENT: each group from there on was written by the process with this key. LEDGER_ABSENT: the one at *ret_at was not. */
int ledger_written_by(struct ledger *l, uint64_t from, const uint8_t writer[LEDGER_WRITER_BYTES],
        uint64_t *ret_at, struct err *e);
/* Whether the ledger is known to be whole and the newest (checkpoint.h); nobody may get a first certificate before. */
void ledger_vouch(struct ledger *l);
bool ledger_vouched(const struct ledger *l);

/* The index: a start without it reads the whole ledger. Certificates that are not in it yet: */
uint64_t ledger_unsaved(const struct ledger *l);
/* Writes an index of what is durable to a new file, and syncs it. Takes its time and changes nothing in l: made for a child
 * process. When it is there, ledger_saved() puts it to use, and ledger_settle() lets it take the place of the last one, which
 * is to be done after a checkpoint names it (checkpoint.h). */
int ledger_save(const struct ledger *l, struct err *e);
int ledger_saved(struct ledger *l, struct err *e);
int ledger_settle(struct ledger *l, struct err *e);
/* In the child: closes the ledger's file, so that its lock does not outlive the signer, and wipes its copy of the key. */
void ledger_disown(struct ledger *l);
/* Something of it is looked up in an index that is not in memory. */
bool ledger_indexed(const struct ledger *l);
/* SHA-256 over the index in use; zeros when there is no file of it. */
const uint8_t *ledger_index_digest(const struct ledger *l);
