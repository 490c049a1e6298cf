/* The slots' door. A run belongs to the connection that claimed it and ends with it. What a slot
 * shows is kept in memory only; everything that counts is in the registry before the slot hears of
 * it. */
#include "jobs/jobd/doors.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/evp.h>

#include "base/bus.h"
#include "base/config.h"
#include "base/log.h"
#include "base/text.h"
#include "hsm/signer_client.h"
#include "jobs/jobd/commit.h"
#include "jobs/jobd/signer_link.h"
#include "jobs/jobd/slot_board.h"
#include "jobs/json.h"
#include "jobs/registry.h"
#include "jobs/run.h"
#include "jobs/run_facts.h"

struct peer {
    sd_bus *bus;
    char run[UUID_TEXT_MAX]; /* "" when it has none */
};

struct slot_door {
    struct jobd *jobd;
    struct bus_server *server;
    struct slot_board *board;
    struct peer peers[BUS_PEERS_MAX]; /* those that claimed or showed something */
    size_t peer_count;
};

/* ---- whose run is it */

static struct peer *find_peer(struct slot_door *d, sd_bus *bus)
{
    for (size_t i = 0; i < d->peer_count; i++)
        if (d->peers[i].bus == bus)
            return &d->peers[i];
    return NULL;
}

/* The door admits BUS_PEERS_MAX, and on_gone() removes each: there is always room. */
static struct peer *add_peer(struct slot_door *d, sd_bus *bus)
{
    struct peer *p = find_peer(d, bus);
    if (p || d->peer_count == BUS_PEERS_MAX)
        return p;
    p = &d->peers[d->peer_count++];
    *p = (struct peer){.bus = bus};
    return p;
}

static bool is_alive(void *ctx, const char *run)
{
    const struct slot_door *d = ctx;
    for (size_t i = 0; i < d->peer_count; i++)
        if (strcmp(d->peers[i].run, run) == 0)
            return true;
    return false;
}

static int check_owner(struct slot_door *d, sd_bus_message *m, const char *run, struct err *e)
{
    const struct peer *p = find_peer(d, sd_bus_message_get_bus(m));
    if (p && *run && strcmp(p->run, run) == 0)
        return 0;
    return err_set(e, ERR_NOT_FOUND, "this connection has no such run: claim the device again");
}

/* ---- Claim */

/* A certificate that is to be installed goes out with its own chain, and no chain goes without one. */
static sd_bus_message *claim_reply(
        sd_bus_message *m, const struct run_claim *c, const struct chains *chains, struct err *e)
{
    struct buf chain = BUF_INIT;
    sd_bus_message *reply = NULL;
    if (!*c->run || c->cert.len == 0 ||
            chains_append_for(chains, c->cert.data, c->cert.len, &chain, e) == 0)
        reply = empty_reply(m, e);
    if (reply &&
            (sd_bus_message_append(reply, "ssssssu", c->run, c->device_id, c->device_name, c->job,
                     c->key_type, c->keys, c->attempt) < 0 ||
                    sd_bus_message_append_array(reply, 'y', c->cert.data, c->cert.len) < 0 ||
                    sd_bus_message_append_array(reply, 'y', chain.data, chain.len) < 0 ||
                    sd_bus_message_append_array(reply, 'y', c->config.data, c->config.len) < 0)) {
        err_set(e, ERR_NOMEM, "no memory for an answer");
        reply = sd_bus_message_unref(reply);
    }
    buf_done(&chain);
    return reply;
}

static int on_claim(sd_bus_message *m, void *userdata, sd_bus_error *be)
{
    struct slot_door *d = userdata;
    struct jobd *j = d->jobd;
    struct err e = {0};
    struct run_claim claim = {0};
    struct peer *p = add_peer(d, sd_bus_message_get_bus(m));
    const char *slot, *driver, *hwid, *name;
    const struct chains *chains;
    sd_bus_message *reply = NULL;
    (void)be;
    if (read_args(m, &e, "ssss", &slot, &driver, &hwid, &name) ||
            signer_link_chains(j->signer, &chains, &e) ||
            (!p && err_set(&e, ERR_LIMIT, "too many connections")) || commit_begin(j->commit, &e))
        return commit_answer(j->commit, m, NULL, &e);
    /* One connection, one run: what it had before is over, whatever slot it names now. */
    if ((!*p->run || run_interrupt(j->registry, &j->site, p->run, "its slot began another run",
                             &e) == 0) &&
            run_claim(j->registry, &j->site, slot, driver, hwid, name, is_alive, d, &claim, &e) ==
                    0)
        reply = claim_reply(m, &claim, chains, &e);
    if (reply)
        memcpy(p->run, claim.run, sizeof p->run);
    run_claim_done(&claim);
    return commit_end(j->commit, m, reply, &e);
}

/* ---- Nonce */

static sd_bus_message *bytes_reply(
        sd_bus_message *m, const uint8_t *bytes, size_t len, struct err *e)
{
    sd_bus_message *reply = empty_reply(m, e);
    if (reply && sd_bus_message_append_array(reply, 'y', bytes, len) < 0) {
        err_set(e, ERR_NOMEM, "no memory for an answer");
        reply = sd_bus_message_unref(reply);
    }
    return reply;
}

/* The approved row, and why the signer should believe it. Borrows from the request. */
static void fill_authority(struct signer_issue *issue, const struct run_request *q)
{
    issue->ticket = q->ticket;
    issue->row_index = q->row_index;
    issue->row = q->row.data;
    issue->row_len = q->row.len;
    issue->proof = q->proof.data;
    issue->proof_len = q->proof.len;
}

static void on_nonce_done(
        void *ctx, const uint8_t *bytes, size_t len, unsigned marks, const struct err *failed)
{
    struct pending *p = ctx;
    struct err e = failed ? *failed : (struct err){0};
    (void)marks;
    if (!failed && len != NONCE_BYTES)
        err_set(&e, ERR_PROTOCOL, "the signer's nonce has %zu bytes", len);
    commit_answer(p->jobd->commit, p->call, bytes_reply(p->call, bytes, len, &e), &e);
    pending_free(p);
}

static int on_nonce(sd_bus_message *m, void *userdata, sd_bus_error *be)
{
    struct slot_door *d = userdata;
    struct jobd *j = d->jobd;
    struct err e = {0};
    struct run_facts f;
    const char *run;
    sd_bus *signer;
    (void)be;
    if (read_args(m, &e, "s", &run) || check_owner(d, m, run, &e) ||
            run_facts_load(j->registry, run, &f, &e) || signer_link_bus(j->signer, &signer, &e))
        return commit_answer(j->commit, m, NULL, &e);
    struct pending *p = pending_new(j, m, NULL, 0, &e);
    if (p && signer_nonce_async(signer, f.job_uuid, f.row_index, on_nonce_done, p, &e) == 0)
        return 1;
    if (p)
        pending_free(p);
    return commit_answer(j->commit, m, NULL, &e);
}

/* ---- MakeKey */

/* That a key was made is in the books before anybody has it. */
static void on_key_made(
        void *ctx, const uint8_t *jwe, size_t len, unsigned marks, const struct err *failed)
{
    struct pending *p = ctx;
    struct jobd *j = p->jobd;
    struct err e = failed ? *failed : (struct err){0};
    const char *run = p->text, *transport = strchr(p->text, ' ');
    char uuid[UUID_TEXT_MAX];
    sd_bus_message *reply = NULL;
    (void)marks;
    snprintf(uuid, sizeof uuid, "%.*s", (int)(transport - run), run);
    if (!failed && (len == 0 || len > SEALED_KEY_BYTES_MAX))
        err_set(&e, ERR_PROTOCOL, "the signer's key has %zu bytes", len);
    if (e.id || commit_begin(j->commit, &e)) {
        commit_answer(j->commit, p->call, NULL, &e);
        pending_free(p);
        return;
    }
    if (run_key_made(j->registry, uuid, transport + 1, &e) == 0)
        reply = bytes_reply(p->call, jwe, len, &e);
    commit_end(j->commit, p->call, reply, &e);
    pending_free(p);
}

static int ask_for_key(struct jobd *j, sd_bus_message *m, const char *run,
        const struct signer_make_key *shown, struct err *e)
{
    struct signer_make_key k = *shown;
    struct run_request q = {0};
    char context[UUID_TEXT_MAX + 1 + 65], sha256[65];
    uint8_t md[32];
    sd_bus *signer;
    int r = -1;
    if (EVP_Digest(k.transport_key, k.transport_key_len, md, NULL, EVP_sha256(), NULL) != 1)
        return err_set(e, ERR_NOMEM, "no memory for a digest");
    if (signer_link_bus(j->signer, &signer, e) || run_request(j->registry, run, &q, e))
        return -1;
    hex_format(md, sizeof md, sha256);
    snprintf(context, sizeof context, "%s %s", run, sha256);
    fill_authority(&k.q, &q);
    k.key_type = q.key_type;
    struct pending *p = pending_new(j, m, context, 0, e);
    if (p)
        r = signer_make_key_async(signer, &k, on_key_made, p, e);
    if (p && r)
        pending_free(p);
    run_request_done(&q);
    return r;
}

static int on_make_key(sd_bus_message *m, void *userdata, sd_bus_error *be)
{
    struct slot_door *d = userdata;
    struct err e = {0};
    struct signer_make_key k = {0};
    size_t nonce_len;
    const char *run;
    (void)be;
    if (read_args(m, &e, "s", &run) ||
            bus_read_bytes(
                    m, TRANSPORT_KEY_BYTES_MAX, &k.transport_key, &k.transport_key_len, &e) ||
            bus_read_bytes(m, NONCE_BYTES, &k.q.nonce, &nonce_len, &e) ||
            (nonce_len != NONCE_BYTES &&
                    err_set(&e, ERR_PROTOCOL, "a nonce of %zu bytes", nonce_len)) ||
            check_owner(d, m, run, &e) || ask_for_key(d->jobd, m, run, &k, &e))
        return commit_answer(d->jobd->commit, m, NULL, &e);
    return 1;
}

/* ---- Certify */

static sd_bus_message *certified_reply(
        sd_bus_message *m, struct jobd *j, const uint8_t *cert, size_t len, struct err *e)
{
    struct buf chain = BUF_INIT;
    const struct chains *chains;
    sd_bus_message *reply = NULL;
    if (signer_link_chains(j->signer, &chains, e) == 0 &&
            chains_append_for(chains, cert, len, &chain, e) == 0)
        reply = bytes_reply(m, cert, len, e);
    if (reply && sd_bus_message_append_array(reply, 'y', chain.data, chain.len) < 0) {
        err_set(e, ERR_NOMEM, "no memory for an answer");
        reply = sd_bus_message_unref(reply);
    }
    buf_done(&chain);
    return reply;
}

static void on_certified(
        void *ctx, const uint8_t *cert, size_t len, unsigned marks, const struct err *failed)
{
    struct pending *p = ctx;
    struct jobd *j = p->jobd;
    struct err e = failed ? *failed : (struct err){0};
    sd_bus_message *reply = NULL;
    if (!failed && (len == 0 || len > CERT_BYTES_MAX))
        err_set(&e, ERR_PROTOCOL, "the signer's certificate has %zu bytes", len);
    if (e.id || commit_begin(j->commit, &e)) {
        commit_answer(j->commit, p->call, NULL, &e);
        pending_free(p);
        return;
    }
    if (run_certified(j->registry, p->text, cert, len, (marks & SIGNER_KEY_MADE) != 0, &e) == 0)
        reply = certified_reply(p->call, j, cert, len, &e);
    commit_end(j->commit, p->call, reply, &e);
    pending_free(p);
}

static int ask_signer(struct jobd *j, sd_bus_message *m, const char *run, const uint8_t *csr,
        size_t csr_len, const uint8_t *nonce, struct err *e)
{
    struct run_request q = {0};
    sd_bus *signer;
    int r = -1;
    if (signer_link_bus(j->signer, &signer, e) || run_request(j->registry, run, &q, e))
        return -1;
    struct signer_issue issue = {.csr = csr, .csr_len = csr_len, .nonce = nonce};
    fill_authority(&issue, &q);
    struct pending *p = pending_new(j, m, run, 0, e);
    if (p)
        r = signer_issue_async(signer, &issue, on_certified, p, e);
    if (p && r)
        pending_free(p);
    run_request_done(&q);
    return r;
}

static int on_certify(sd_bus_message *m, void *userdata, sd_bus_error *be)
{
    struct slot_door *d = userdata;
    struct err e = {0};
    const uint8_t *csr, *nonce;
    size_t csr_len, nonce_len;
    const char *run;
    (void)be;
    if (read_args(m, &e, "s", &run) || bus_read_bytes(m, CSR_BYTES_MAX, &csr, &csr_len, &e) ||
            bus_read_bytes(m, NONCE_BYTES, &nonce, &nonce_len, &e) ||
            (nonce_len != NONCE_BYTES &&
                    err_set(&e, ERR_PROTOCOL, "a nonce of %zu bytes", nonce_len)) ||
            check_owner(d, m, run, &e) || ask_signer(d->jobd, m, run, csr, csr_len, nonce, &e))
        return commit_answer(d->jobd->commit, m, NULL, &e);
    return 1;
}

/* ---- Advance, Complete, Fail */

static int on_advance(sd_bus_message *m, void *userdata, sd_bus_error *be)
{
    struct slot_door *d = userdata;
    struct jobd *j = d->jobd;
    struct err e = {0};
    const char *run, *step;
    (void)be;
    if (read_args(m, &e, "ss", &run, &step) || check_owner(d, m, run, &e) ||
            (strcmp(step, run_step_info(RUN_INSTALLED)->name) != 0 &&
                    err_set(&e, ERR_ARGUMENT, "a slot cannot set the step '%.40s'", step)) ||
            commit_begin(j->commit, &e))
        return commit_answer(j->commit, m, NULL, &e);
    (void)run_installed(j->registry, run, &e);
    return commit_end(j->commit, m, empty_reply(m, &e), &e);
}

static void release(struct slot_door *d, sd_bus_message *m)
{
    struct peer *p = find_peer(d, sd_bus_message_get_bus(m));
    if (p)
        p->run[0] = '\0';
}

/* A run is let go of at once: should its commit fail, nobody owns the run, and the next claim ends
 * it. */
static int on_complete(sd_bus_message *m, void *userdata, sd_bus_error *be)
{
    struct slot_door *d = userdata;
    struct jobd *j = d->jobd;
    struct err e = {0};
    const uint8_t *challenge, *signature;
    size_t challenge_len, signature_len;
    const char *run;
    (void)be;
    if (read_args(m, &e, "s", &run) ||
            bus_read_bytes(m, NONCE_BYTES, &challenge, &challenge_len, &e) ||
            bus_read_bytes(m, SIGNATURE_BYTES_MAX, &signature, &signature_len, &e) ||
            (challenge_len != NONCE_BYTES &&
                    err_set(&e, ERR_PROTOCOL, "a challenge of %zu bytes", challenge_len)) ||
            check_owner(d, m, run, &e) || commit_begin(j->commit, &e))
        return commit_answer(j->commit, m, NULL, &e);
    if (run_complete(j->registry, &j->site, run, challenge, signature, signature_len, &e) == 0)
        release(d, m);
    return commit_end(j->commit, m, empty_reply(m, &e), &e);
}

static int on_fail(sd_bus_message *m, void *userdata, sd_bus_error *be)
{
    struct slot_door *d = userdata;
    struct jobd *j = d->jobd;
    struct err e = {0};
    const char *run, *error, *message;
    int quarantine;
    (void)be;
    if (read_args(m, &e, "sssb", &run, &error, &message, &quarantine) ||
            check_owner(d, m, run, &e) || commit_begin(j->commit, &e))
        return commit_answer(j->commit, m, NULL, &e);
    if (run_fail(j->registry, &j->site, run, quarantine ? RUN_QUARANTINED : RUN_FAILED, error,
                message, &e) == 0)
        release(d, m);
    return commit_end(j->commit, m, empty_reply(m, &e), &e);
}

/* ---- the screen */

static int on_slot_state(sd_bus_message *m, void *userdata, sd_bus_error *be)
{
    struct slot_door *d = userdata;
    struct err e = {0};
    const char *slot, *port, *state, *device, *text;
    (void)be;
    (void)add_peer(d, sd_bus_message_get_bus(m));
    if (read_args(m, &e, "sssss", &slot, &port, &state, &device, &text) == 0)
        (void)slot_board_show(
                d->board, sd_bus_message_get_bus(m), slot, port, state, device, text, &e);
    return commit_answer(d->jobd->commit, m, empty_reply(m, &e), &e);
}

static void on_gone(void *userdata, sd_bus *peer)
{
    struct slot_door *d = userdata;
    struct jobd *j = d->jobd;
    struct peer *p = find_peer(d, peer);
    struct err e = {0};
    slot_board_gone(d->board, peer);
    if (!p)
        return;
    if (*p->run) {
        if (commit_begin(j->commit, &e) == 0) {
            (void)run_interrupt(j->registry, &j->site, p->run, "its slot was lost", &e);
            (void)commit_end(j->commit, NULL, NULL, &e);
        }
        if (e.id) /* the next claim of the slot or the device ends it */
            log_err(LOG_ERR, "interrupt-failed", &e);
    }
    *p = d->peers[--d->peer_count];
}

static const char *run_of(void *ctx, sd_bus *peer)
{
    const struct peer *p = find_peer(ctx, peer);
    return p ? p->run : "";
}

int slot_door_list(const struct slot_door *d, json_t **ret, struct err *e)
{
    /* run_of() only looks; it takes the door as handlers do. */
    return slot_board_json(d->board, run_of, (void *)(uintptr_t)d, ret, e);
}

unsigned slot_door_count(const struct slot_door *d)
{
    return slot_board_count(d->board);
}

/* ---- opening */

static const sd_bus_vtable vtable[] = {
        SD_BUS_VTABLE_START(0),
        SD_BUS_METHOD("Claim", "ssss", "ssssssuayayay", on_claim, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD("Nonce", "s", "ay", on_nonce, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD("MakeKey", "sayay", "ay", on_make_key, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD("Certify", "sayay", "ayay", on_certify, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD("Advance", "ss", "", on_advance, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD("Complete", "sayay", "", on_complete, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD("Fail", "sssb", "", on_fail, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD("SlotState", "sssss", "", on_slot_state, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_VTABLE_END,
};

int slot_door_open(struct jobd *j, struct slot_door **ret, struct err *e)
{
    char path[PATH_MAX];
    struct slot_door *d = calloc(1, sizeof *d);
    if (!d)
        return err_set(e, ERR_NOMEM, "no memory for a door");
    d->jobd = j;
    paths_get(&j->paths, PATH_SLOT_SOCKET, path);
    struct bus_door door = {.path = path,
            .object = "/org/keyline/Slot1",
            .interface = "org.keyline.Slot1",
            .vtable = vtable,
            .userdata = d,
            .on_gone = on_gone};
    if (config_user(j->config, "slot_user", door.uids, &door.uid_count, e) ||
            slot_board_new(&d->board, e) || bus_server_open(j->event, &door, &d->server, e)) {
        slot_board_free(&d->board);
        free(d);
        return -1;
    }
    *ret = d;
    return 0;
}

void slot_door_close(struct slot_door **d)
{
    if (!*d)
        return;
    bus_server_close(&(*d)->server);
    slot_board_free(&(*d)->board);
    free(*d);
    *d = NULL;
}
