/* bench-signer PASSPHRASE CLIENTS COUNT SIGNERD-PID: certificates through the signer's door in
 * $KEYLINE_ROOT. A ticket of its own, COUNT rows, keys, nonces and calls are made first; then each
 * client asks for one certificate after the other over a connection of its own, with as little work
 * as it can. Every answer must be a fresh certificate: a rate of anything else would say nothing. */
#include <jansson.h>
#include <openssl/pem.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/paths.h"
#include "base/row.h"
#include "base/text.h"
#include "base/uuid.h"
#include "hsm/profile/profile.h"
#include "hsm/signer_client.h"
#include "hsm/approval/ticket.h"
#include "tests/bench/load.h"
#include "tests/bench/raw_bus.h"
#include "tests/hsm/help.h"

#define CLIENTS_MAX 128

struct device {
    struct buf row, proof, csr, call;
    uint8_t nonce[NONCE_BYTES];
};
struct bench {
    struct paths paths;
    char job[UUID_TEXT_MAX];
    char *ticket;
    struct device *devices;
    struct merkle_hash *tree[MERKLE_PROOF_MAX]; /* level by level */
    size_t count, next;
    struct load load;
};
struct client {
    struct raw_peer peer;
    int64_t begun_us;
};

static void must(int r, const struct err *e)
{
    if (r < 0)
        load_fail("%s: %s", err_name(e->id), e->msg);
}

/* ---- what is approved */

static void make_row(const struct bench *b, size_t i, struct buf *out)
{
    struct row r = {0};
    struct err e = {0};
    char name[64];
    const char *fields[][2] = {{"device_name", name}, {"device_group", "bench"}, {"hwid", name},
            {"subject.organization_name", "Example Devices"}, {"subject.country", "DE"}};

    /* new names in every run: a device gets one certificate in the ledger's life */
    snprintf(name, sizeof name, "%.8s-%zu", b->job, i);
    for (size_t f = 0; f < sizeof fields / sizeof *fields; f++)
        must(row_add(&r, fields[f][0], strlen(fields[f][0]), fields[f][1], strlen(fields[f][1]),
                     &e),
                &e);
    must(row_encode(&r, out, &e), &e);
}

static int read_node(
        void *ctx, unsigned level, uint64_t index, struct merkle_hash *ret, struct err *e)
{
    struct bench *b = ctx;

    (void)e;
    *ret = b->tree[level][index];
    return 0;
}

static void make_rows(struct bench *b, struct merkle_hash *ret_root)
{
    struct merkle_range range = {0};
    struct merkle_hash proof[MERKLE_PROOF_MAX];
    struct err e = {0};
    size_t proof_count;

    b->tree[0] = calloc(b->count, sizeof **b->tree);
    for (size_t i = 0; i < b->count; i++) {
        make_row(b, i, &b->devices[i].row);
        merkle_leaf(b->devices[i].row.data, b->devices[i].row.len, &b->tree[0][i]);
        merkle_range_add(&range, &b->tree[0][i]);
    }
    merkle_range_root(&range, ret_root);
    for (unsigned level = 1; b->count >> level; level++) {
        b->tree[level] = calloc(b->count >> level, sizeof **b->tree);
        for (size_t i = 0; i < b->count >> level; i++)
            merkle_node(
                    &b->tree[level - 1][2 * i], &b->tree[level - 1][2 * i + 1], &b->tree[level][i]);
    }
    for (size_t i = 0; i < b->count; i++) {
        must(merkle_prove(i, b->count, read_node, b, proof, &proof_count, &e), &e);
        must(buf_append(&b->devices[i].proof, proof, proof_count * sizeof *proof, &e), &e);
    }
}

static FILE *open_etc(const struct bench *b, const char *name)
{
    char path[PATH_MAX + 32];
    FILE *f;

    snprintf(path, sizeof path, "%s/%s", b->paths.etc, name);
    f = fopen(path, "re");
    if (!f)
        load_fail("%s cannot be read", path);
    return f;
}

static void approve(struct bench *b, char *passphrase)
{
    struct err e = {0};
    int64_t now = time_now_ms() / 1000;
    struct ticket t = {.account = "acc",
            .division = "div",
            .profile = PROFILE_BUILTIN,
            .binding = "identity",
            .rows = b->count,
            .quota = b->count,
            .not_before = now - 60,
            .not_after = now + 3600,
            .issued_at = now,
            .stations = {"*"},
            .station_count = 1,
            .approver = "bench"};
    struct profile *profile;
    STACK_OF(X509) *chain = sk_X509_new_null();
    FILE *key_file = open_etc(b, "approver.key"), *cert_file = open_etc(b, "approver.pem");
    EVP_PKEY *key = PEM_read_PrivateKey(key_file, NULL, NULL, passphrase);
    X509 *cert = PEM_read_X509(cert_file, NULL, NULL, NULL);

    if (!key || !cert || !chain || !sk_X509_push(chain, cert))
        load_fail("the approver's key and certificate cannot be read");
    must(profile_builtin(&profile, &e), &e);
    memcpy(t.profile_sha256, profile->sha256, sizeof t.profile_sha256);
    profile_free(&profile);
    memcpy(t.job, b->job, sizeof t.job);
    make_rows(b, &t.root);
    must(ticket_sign(&t, key, chain, &b->ticket, &e), &e);
    sk_X509_pop_free(chain, X509_free);
    EVP_PKEY_free(key);
    fclose(key_file);
    fclose(cert_file);
}

static void make_requests(struct bench *b, sd_bus *bus)
{
    struct err e = {0};

    for (size_t i = 0; i < b->count; i++) {
        struct device *d = &b->devices[i];
        EVP_PKEY *key = help_key("P-256");

        must(signer_nonce(bus, b->job, i, d->nonce, &e), &e);
        help_csr(key, d->nonce, "SHA256", &d->csr);
        EVP_PKEY_free(key);
        raw_issue_call(&(struct signer_issue){.ticket = b->ticket,
                               .row_index = i,
                               .row = d->row.data,
                               .row_len = d->row.len,
                               .proof = d->proof.data,
                               .proof_len = d->proof.len,
                               .csr = d->csr.data,
                               .csr_len = d->csr.len,
                               .nonce = d->nonce},
                &d->call);
    }
}

/* ---- the load */

static void ask(struct bench *b, struct client *c)
{
    if (b->next == b->count)
        return;
    c->begun_us = load_now_us();
    raw_send(&c->peer, &b->devices[b->next++].call);
}

static void find_workers(struct bench *b, sd_bus *bus)
{
    struct buf json = BUF_INIT;
    struct err e = {0};
    json_t *status, *worker;
    size_t i;

    must(signer_status(bus, &json, &e), &e);
    status = json_loadb((const char *)json.data, json.len, 0, NULL);
    json_array_foreach(json_object_get(status, "workers"), i, worker)
            load_add_pid(&b->load, (pid_t)json_integer_value(json_object_get(worker, "pid")));
    json_decref(status);
    buf_done(&json);
}

static void run(struct bench *b, size_t client_count)
{
    static struct client clients[CLIENTS_MAX];
    struct pollfd polls[CLIENTS_MAX];
    char path[PATH_MAX];

    paths_get(&b->paths, PATH_SIGNER_SOCKET, path);
    for (size_t i = 0; i < client_count; i++) {
        raw_connect(&clients[i].peer, path);
        polls[i] = (struct pollfd){clients[i].peer.fd, POLLIN, 0};
    }
    load_start(&b->load, b->count);
    for (size_t i = 0; i < client_count; i++)
        ask(b, &clients[i]);
    while (b->load.done < b->count) {
        if (poll(polls, client_count, BUS_TIMEOUT_MS) <= 0)
            load_fail("the signer does not answer");
        for (size_t i = 0; i < client_count; i++)
            if (polls[i].revents && raw_receive(&clients[i].peer)) {
                load_done(&b->load, clients[i].begun_us);
                ask(b, &clients[i]);
            }
    }
}

int main(int argc, char **argv)
{
    struct bench b = {0};
    struct err e = {0};
    sd_bus *bus = NULL;
    int clients = argc == 5 ? atoi(argv[2]) : 0, count = argc == 5 ? atoi(argv[3]) : 0;

    if (clients < 1 || clients > CLIENTS_MAX || count < clients || count > 100000)
        load_fail("usage: bench-signer PASSPHRASE CLIENTS(1-128) COUNT(to 100000) SIGNERD-PID");
    b.count = (size_t)count;
    b.devices = calloc(b.count, sizeof *b.devices);
    uuid_v4(b.job);
    must(paths_init(&b.paths, &e), &e);
    must(signer_open(&b.paths, NULL, &bus, &e), &e);
    approve(&b, argv[1]);
    make_requests(&b, bus);
    load_add_pid(&b.load, (pid_t)atoi(argv[4]));
    find_workers(&b, bus);
    sd_bus_close_unref(bus);
    run(&b, (size_t)clients);
    load_print(&b.load);
    return 0;
}
