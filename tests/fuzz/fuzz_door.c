/* The signer's door: a peer that says anything, to the real handlers with the real issuer, authority and ledger behind
 * them; only the token is a double (token_double.c). Promises that no peer takes the process down, that each call is
 * answered at most once, and that whatever was said there are never more certificates than the quota.
 *
 * The input: one byte chooses what is sent before the rest: nothing (0), a good authentication (1), or (2 and above) the
 * rest is calls, each made well-formed here:
 *   method (1) | for each argument: how (1), 0: the true one; 1: own bytes, u16 length and they; 2: the true one with one
 *   byte changed, u16 place, u8 exclusive or; 3: the true one cut off, u16 length; 4: a number, 8 bytes */
#include <openssl/pem.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
#include "base/buf.h"
#include "base/bus.h"
#include "base/config.h"
#include "base/err.h"
#include "base/file.h"
#include "base/text.h"
#include "base/uuid.h"
#include "hsm/authority.h"
#include "hsm/blocked_keys.h"
#include "hsm/ca.h"
#include "hsm/crl_keeper.h"
#include "hsm/issuer.h"
#include "hsm/keeper.h"
#include "hsm/ledger/ledger.h"
#include "hsm/nonce.h"
#include "hsm/approval/order.h"
#include "hsm/scrubber.h"
#include "hsm/profile/profiles.h"
#include "hsm/signer.h"
#include "hsm/workers/workers.h"
#include "tests/fuzz/approved.h"
#include "tests/fuzz/fuzz.h"

static const char auth[] = "\0AUTH EXTERNAL\r\nDATA\r\nNEGOTIATE_UNIX_FD\r\nBEGIN\r\n";

static struct signer signer;

/* ---- the signer */

static void write_at(enum path_id id, const void *bytes, size_t len)
{
    char path[PATH_MAX], dir[PATH_MAX];
    struct err e = {0};

    paths_get(&signer.paths, id, path);
    snprintf(dir, sizeof dir, "%s", path);
    *strrchr(dir, '/') = '\0';
    must(file_mkdirs(dir, 0700, &e) == 0 && file_write(path, bytes, len, 0600, &e) == 0);
}

static int record(void *ctx, const struct ledger_entry *entry, struct err *e)
{
    (void)ctx;
    return issuer_record(signer.issuer, entry, e);
}

static void on_vouched(void *ctx, const struct err *why)
{
    (void)ctx;
    must(!why);
    crl_keeper_resume(signer.crls);
}

/* as signer_main.c */
static void on_revoked(void *ctx)
{
    (void)ctx;
    crl_keeper_revoked(signer.crls);
}

/* In LeakSanitizer; absent without it. */
void __lsan_register_root_region(const void *begin, size_t size) __attribute__((weak));

/* The nonce key has pages of its own, locked: what they point to would be taken for lost. */
static void show_nonce_key(void)
{
    if (__lsan_register_root_region)
        __lsan_register_root_region(signer.nonce_key, 64);
}

static void open_signer(void)
{
    struct keeper_parts keeper;
    struct issuer_parts parts;
    char path[PATH_MAX];
    struct err e = {0};
    BIO *bio = BIO_new(BIO_s_mem());
    char *text;
    long n;

    setenv("KEYLINE_ROOT", fuzz_dir(), 1);
    must(paths_init(&signer.paths, &e) == 0 && sd_event_new(&signer.event) >= 0);
    must(config_load("/nonexistent", &signer.config, &e) == 0);
    must(file_mkdirs(signer.paths.run, 0700, &e) == 0);
    write_at(PATH_CA_CHAIN, fuzz_chain()->data, fuzz_chain()->len);
    must(ca_set_load(&signer.paths, &signer.cas, &e) == 0);
    signer.ca = signer.cas.active;
    PEM_write_bio_X509(bio, fuzz_approver());
    n = BIO_get_mem_data(bio, &text);
    write_at(PATH_APPROVERS, text, (size_t)n);
    BIO_free(bio);
    paths_get(&signer.paths, PATH_APPROVERS, path);
    must(authority_open(path, &signer.authority, &e) == 0 &&
            nonce_key_new(&signer.nonce_key, &e) == 0);
    show_nonce_key();
    paths_get(&signer.paths, PATH_PROFILES, path);
    must(profiles_open(path, &signer.profiles, &e) == 0);
    paths_get(&signer.paths, PATH_BLOCKED_KEYS, path);
    must(blocked_keys_open(path, &signer.blocked_keys, &e) == 0);
    snprintf(path, sizeof path, "%s/ledger", fuzz_dir());
    must(ledger_open(path, &signer.ledger, &e) == 0);
    must(workers_open(&(struct workers_options){.event = signer.event}, &signer.workers, &e) == 0);
    strcpy(signer.station, APPROVED_STATION);
    parts = (struct issuer_parts){.event = signer.event,
            .ca = signer.ca,
            .ledger = signer.ledger,
            .workers = signer.workers,
            .rules = {.authority = signer.authority,
                    .profiles = signer.profiles,
                    .blocked_keys = signer.blocked_keys,
                    .nonce_key = signer.nonce_key,
                    .station = signer.station,
                    .nonce_valid_s = 3600},
            .on_revoked = on_revoked};
    must(issuer_open(&parts, &signer.issuer, &e) == 0 && signer_crls_open(&signer, &e) == 0 &&
            signer_door_open(&signer, &e) == 0);
    keeper = (struct keeper_parts){.event = signer.event,
            .ca = signer.ca,
            .ledger = signer.ledger,
            .workers = signer.workers,
            .station = signer.station,
            .record = record,
            .on_vouched = on_vouched};
    must(scrubber_open(signer.event, signer.ledger, &signer.scrubber, &e) == 0);
    must(keeper_open(&keeper, &signer.keeper, &e) == 0);
    while (!ledger_vouched(signer.ledger))
        must(sd_event_run(signer.event, UINT64_MAX) >= 0);
}

/* Until nothing is left to be done. */
static void settle(void)
{
    int r;

    do
        r = sd_event_run(signer.event, 0);
    while (r > 0);
    promise(r == 0 && sd_event_get_state(signer.event) != SD_EVENT_FINISHED);
}

/* ---- the peer */

static int connect_peer(void)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    char path[PATH_MAX];
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

    paths_get(&signer.paths, PATH_SIGNER_SOCKET, path);
    must(strlen(path) < sizeof a.sun_path);
    strcpy(a.sun_path, path);
    must(fd >= 0 && connect(fd, (const struct sockaddr *)&a, sizeof a) == 0);
    settle();
    return fd;
}

/* What is left when the peer was dropped is of no interest. */
static void say(int fd, const void *bytes, size_t len)
{
    const uint8_t *at = bytes;

    while (len) {
        ssize_t n = send(fd, at, len, MSG_NOSIGNAL);

        if (n <= 0)
            break;
        at += n, len -= (size_t)n;
        settle();
    }
    settle();
}

/* ---- calls */

static void align(struct buf *b, size_t to)
{
    while (b->len % to)
        must(buf_append(b, "", 1, NULL) == 0);
}

static void put_u32(struct buf *b, size_t n)
{
    uint32_t v = (uint32_t)n; /* the byte order we name in the header */

    align(b, 4);
    must(buf_append(b, &v, 4, NULL) == 0);
}

static void put_string(struct buf *b, const void *s, size_t len)
{
    put_u32(b, len);
    must(buf_append(b, s, len, NULL) == 0 && buf_append(b, "", 1, NULL) == 0);
}

static void put_field(struct buf *b, uint8_t code, const char *type, const char *value)
{
    align(b, 8);
    must(buf_append(b, &code, 1, NULL) == 0 && buf_append(b, "\1", 1, NULL) == 0 &&
            buf_append(b, type, 2, NULL) == 0);
    if (*type != 'g') {
        put_string(b, value, strlen(value));
        return;
    }
    must(buf_append(b, &(uint8_t){(uint8_t)strlen(value)}, 1, NULL) == 0 &&
            buf_append(b, value, strlen(value) + 1, NULL) == 0);
}

static void put_message(
        struct buf *out, const char *member, const char *signature, const struct buf *body)
{
    static uint32_t serial;
    struct buf fields = BUF_INIT, head = BUF_INIT;

    put_field(&fields, 1, "o", "/org/keyline/Signer1");
    put_field(&fields, 2, "s", "org.keyline.Signer1");
    put_field(&fields, 3, "s", member);
    if (*signature)
        put_field(&fields, 8, "g", signature);
    must(buf_append(&head, "l\1\0\1", 4, NULL) == 0);
    put_u32(&head, body->len);
    put_u32(&head, ++serial ? serial : ++serial);
    put_u32(&head, fields.len);
    must(buf_append(&head, fields.data, fields.len, NULL) == 0);
    align(&head, 8);
    must(buf_append(out, head.data, head.len, NULL) == 0 &&
            (!body->len || buf_append(out, body->data, body->len, NULL) == 0));
    buf_done(&fields);
    buf_done(&head);
}

/* The input, read from its front. */
struct plan {
    const uint8_t *at;
    size_t left;
};

static size_t take(struct plan *p, size_t bytes)
{
    size_t n = 0;

    while (bytes-- && p->left) {
        n = n << 8 | *p->at++;
        p->left--;
    }
    return n;
}

/* One argument of text or bytes into ret. */
static void argument(struct plan *p, const void *honest, size_t len, struct buf *ret)
{
    size_t how = take(p, 1), n;

    buf_reset(ret);
    switch (how) {
    case 1:
        n = take(p, 2);
        n = n < p->left ? n : p->left;
        must(buf_append(ret, p->at, n, NULL) == 0);
        p->at += n, p->left -= n;
        return;
    case 2:
        must(buf_append(ret, honest, len, NULL) == 0);
        n = take(p, 2);
        if (len)
            ret->data[n % len] ^= (uint8_t)take(p, 1);
        return;
    case 3:
        n = take(p, 2);
        must(buf_append(ret, honest, n < len ? n : len, NULL) == 0);
        return;
    default:
        must(buf_append(ret, honest, len, NULL) == 0);
    }
}

static void put_argument(
        struct plan *p, char type, const void *honest, size_t len, struct buf *body)
{
    struct buf value = BUF_INIT;

    argument(p, honest, len, &value);
    if (type == 's') {
        put_string(body, value.data, value.len);
    } else {
        put_u32(body, value.len);
        must(!value.len || buf_append(body, value.data, value.len, NULL) == 0);
    }
    buf_done(&value);
}

static uint64_t put_number(struct plan *p, uint64_t honest, struct buf *body)
{
    uint64_t n = take(p, 1) == 4 ? take(p, 8) : honest;

    align(body, 8);
    must(buf_append(body, &n, sizeof n, NULL) == 0);
    return n;
}

static void issue(struct plan *p, struct buf *out)
{
    const struct approved *a = approved();
    size_t row = take(p, 1) % APPROVED_ROWS;
    struct buf body = BUF_INIT, csr = BUF_INIT, proof = BUF_INIT;
    static EVP_PKEY *keys[APPROVED_ROWS]; /* one more than devices: a key that is shown twice */
    uint8_t nonce[NONCE_BYTES];
    size_t key = take(p, 1) % 4 ? row : 0;

    if (!keys[key])
        keys[key] = help_key("P-256");
    must(nonce_make(signer.nonce_key, time_now_ms(), a->ticket.job, row, nonce, NULL) == 0);
    help_csr(keys[key], nonce, "SHA256", &csr);
    help_rows_proof(&a->rows, row, &proof);
    put_argument(p, 's', a->jws, strlen(a->jws), &body);
    put_number(p, row, &body);
    put_argument(p, 'y', a->rows.rows[row].data, a->rows.rows[row].len, &body);
    put_argument(p, 'y', proof.data, proof.len, &body);
    put_argument(p, 'y', csr.data, csr.len, &body);
    put_argument(p, 'y', nonce, sizeof nonce, &body);
    put_message(out, "Issue", "stayayayay", &body);
    buf_done(&body);
    buf_done(&csr);
    buf_done(&proof);
}

/* The ID of the device in this row, which help_rows_make() named; and its certificate, if it has one. */
static bool device_of(size_t row, char ret_id[UUID_TEXT_MAX], struct ledger_entry *ret)
{
    const struct ticket *t = &approved()->ticket;
    uint8_t id[LEDGER_ID_BYTES];
    char name[32];

    snprintf(name, sizeof name, "dev-%zu", row);
    uuid_device(t->account, t->division, "g", name, ret_id);
    uuid_bytes(ret_id, id);
    return ledger_find_device(signer.ledger, id, ret, NULL, NULL) == LEDGER_PRESENT;
}

/* A revocation of the device in this row; or a withdrawal, of another job, or nothing more would be issued. A ticket, which
 * is no order, when the first byte says so. */
static void order(struct plan *p, struct buf *body)
{
    struct order o = {.kind = ORDER_REVOKE,
            .job = "22222222-2222-4222-8222-222222222222",
            .issued_at = 1577836800,
            .approver = "fuzz"};
    struct ledger_entry entry;
    STACK_OF(X509) *chain = sk_X509_new_null();
    size_t kind = take(p, 1), row = take(p, 1) % APPROVED_ROWS, reason = take(p, 1) % 10;
    char *jws = NULL;
    struct err e = {0};

    if (device_of(row, o.device, &entry))
        memcpy(o.serial, entry.serial, sizeof o.serial);
    o.kind = kind % 8 == 1 ? ORDER_WITHDRAW : ORDER_REVOKE;
    o.reason = order_reason_name((unsigned)reason) ? (enum order_reason)reason : ORDER_UNSPECIFIED;
    sk_X509_push(chain, fuzz_approver());
    must(order_sign(&o, fuzz_key(), chain, &jws, &e) == 0);
    if (kind % 8 == 0)
        put_argument(p, 's', approved()->jws, strlen(approved()->jws), body);
    else
        put_argument(p, 's', jws, strlen(jws), body);
    sk_X509_free(chain);
    free(jws);
}

/* No key is made here (there is no maker), but everything before that is decided. */
static void make_key(struct plan *p, struct buf *out)
{
    const struct approved *a = approved();
    size_t row = take(p, 1) % APPROVED_ROWS;
    struct buf body = BUF_INIT, proof = BUF_INIT;
    uint8_t nonce[NONCE_BYTES], *spki = NULL;
    int len = i2d_PUBKEY(fuzz_key(), &spki);

    must(len > 0 &&
            nonce_make(signer.nonce_key, time_now_ms(), a->ticket.job, row, nonce, NULL) == 0);
    help_rows_proof(&a->rows, row, &proof);
    put_argument(p, 's', a->jws, strlen(a->jws), &body);
    put_number(p, row, &body);
    put_argument(p, 'y', a->rows.rows[row].data, a->rows.rows[row].len, &body);
    put_argument(p, 'y', proof.data, proof.len, &body);
    put_argument(p, 's', "P-256", 5, &body);
    put_argument(p, 'y', spki, (size_t)len, &body);
    put_argument(p, 'y', nonce, sizeof nonce, &body);
    put_message(out, "MakeKey", "stayaysayay", &body);
    OPENSSL_free(spki);
    buf_done(&body);
    buf_done(&proof);
}

static void list_ledger(struct plan *p, struct buf *body)
{
    uint32_t limit = (uint32_t)take(p, 2);

    put_argument(p, 's', "", 0, body);
    put_number(p, 0, body);
    align(body, 4);
    must(buf_append(body, &limit, sizeof limit, NULL) == 0);
}

static void call(struct plan *p, struct buf *out)
{
    const struct approved *a = approved();
    struct buf body = BUF_INIT;

    switch (take(p, 1) % 10) {
    case 0:
        put_argument(p, 's', a->ticket.job, strlen(a->ticket.job), &body);
        put_number(p, 1, &body);
        put_message(out, "Nonce", "st", &body);
        break;
    case 1:
        put_argument(p, 's', a->jws, strlen(a->jws), &body);
        put_message(out, "CheckTicket", "s", &body);
        break;
    case 2:
        put_message(out, "Chain", "", &body);
        break;
    case 3:
        put_message(out, "Status", "", &body);
        break;
    case 6:
        order(p, &body);
        put_message(out, "Order", "s", &body);
        break;
    case 7:
        put_message(out, "RenewCrls", "", &body);
        break;
    case 8:
        make_key(p, out);
        break;
    case 9:
        list_ledger(p, &body);
        put_message(out, "Ledger", "stu", &body);
        break;
    default:
        issue(p, out);
    }
    buf_done(&body);
}

/* ---- promises */

/* Messages that came back, as far as they came: each call has one answer at most. */
static size_t count_answers(int fd)
{
    static uint8_t bytes[1 << 20];
    size_t have = 0, at, count = 0;
    ssize_t n;

    while (have < sizeof bytes && (n = recv(fd, bytes + have, sizeof bytes - have, 0)) > 0)
        have += (size_t)n;
    for (at = 0; at < have && bytes[at] != 'l'; at++) /* behind the authentication's last line */
        ;
    while (have - at >= 16) {
        uint32_t body, fields;

        memcpy(&body, bytes + at + 4, 4);
        memcpy(&fields, bytes + at + 12, 4);
        promise(bytes[at] == 'l' && (bytes[at + 1] == 2 || bytes[at + 1] == 3));
        at += 16 + (fields + 7) / 8 * 8 + body;
        count++;
        if (at > have)
            break;
    }
    return count;
}

/* Certificates are for approved devices alone, for no more of them than were approved, and no two for one key. */
static void check_ledger(void)
{
    static uint64_t seen;
    uint64_t issued = ledger_counts(signer.ledger).issued, found = 0;
    uint8_t keys[APPROVED_ROWS][32];

    promise(issued <= APPROVED_QUOTA);
    for (size_t i = 0; i < APPROVED_ROWS && issued != seen; i++) {
        char id[UUID_TEXT_MAX];
        struct ledger_entry entry;

        if (!device_of(i, id, &entry))
            continue;
        memcpy(keys[found], entry.spki_sha256, sizeof keys[found]);
        for (size_t k = 0; k < found; k++)
            promise(memcmp(keys[k], keys[found], sizeof keys[k]) != 0);
        found++;
    }
    promise(issued == seen || found == issued);
    seen = issued;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct plan p = {data, size};
    struct buf said = BUF_INIT;
    size_t kind = take(&p, 1), calls = 0;
    int fd;

    if (!signer.door)
        open_signer();
    fd = connect_peer();
    if (kind >= 1)
        say(fd, auth, sizeof auth - 1);
    if (kind >= 2)
        for (; p.left && calls < 8; calls++)
            call(&p, &said);
    else
        must(!p.left || buf_append(&said, p.at, p.left, NULL) == 0);
    say(fd, said.data, said.len);
    if (kind >= 2)
        promise(count_answers(fd) <= calls);
    close(fd);
    settle();
    check_ledger();
    buf_done(&said);
    return 0;
}

void fuzz_seeds(fuzz_seed_fn add)
{
    static const uint8_t all[] = {2, 0, 0, 0, 1, 0, 2, 3};
    struct buf body = BUF_INIT, call_bytes = BUF_INIT;
    uint8_t one[16] = {2, 4}, place;
    const uint8_t *name_at;

    add("silence", "", 0);
    add("auth-alone", "\1", 1);
    add("auth-raw", auth, sizeof auth - 1); /* its first byte is the 0 that chooses */
    add("every-method", all, sizeof all);
    /* while there is quota left: dev-12 becomes dev-r2 */
    must(approved()->rows.rows[12].len < 256);
    name_at = memmem(approved()->rows.rows[12].data, approved()->rows.rows[12].len, "dev-12", 6);
    must(name_at);
    place = (uint8_t)(name_at + 4 - approved()->rows.rows[12].data);
    add("changed-row", (const uint8_t[]){2, 4, 12, 1, 0, 0, 2, 0, place, 'r' ^ '1', 0, 0, 0}, 13);
    add("key-twice", (const uint8_t[]){2, 4, 0, 1, 0, 0, 0, 0, 0, 0, 4, 3, 0, 0, 0, 0, 0, 0, 0},
            19);
    for (uint8_t row = 0; row < APPROVED_ROWS; row++) {
        char name[16];

        one[2] = row, one[3] = 1;
        snprintf(name, sizeof name, "issue-%u", row);
        add(name, one, sizeof one);
    }
    add("own-ticket", (const uint8_t[]){2, 4, 3, 1, 1, 0, 2, 'a', 'b', 0, 0, 0, 0, 0}, 14);
    add("revoke", (const uint8_t[]){2, 4, 1, 1, 0, 0, 0, 0, 0, 0, 6, 2, 1, 1, 0, 6, 2, 1, 1, 0, 7},
            21);
    add("withdraw", (const uint8_t[]){2, 6, 1, 1, 1, 0, 6, 0, 0, 0, 0}, 11);
    add("make-key", (const uint8_t[]){2, 8, 1, 1, 1, 1, 1, 1, 1, 1, 1}, 11);
    add("ledger", (const uint8_t[]){2, 4, 1, 1, 0, 0, 0, 0, 0, 0, 9, 20, 0, 1, 1}, 15);
    must(buf_append(&call_bytes, "\1", 1, NULL) == 0);
    put_message(&call_bytes, "Chain", "", &body);
    put_message(&call_bytes, "Introspect", "", &body);
    add("raw-calls", call_bytes.data, call_bytes.len);
    buf_done(&call_bytes);
}
