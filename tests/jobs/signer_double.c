/* The signer's door, doubled. */
#include "signer_double.h"

#include <stdlib.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include <openssl/rand.h>
#include <openssl/x509.h>

#include "base/bus.h"
#include "base/file.h"
#include "base/limits.h"
#include "base/merkle.h"
#include "base/paths.h"
#include "jobs_test.h"

#define ISSUED_MAX 64

static struct {
    struct paths paths;
    struct test_ca ca;
    struct {
        uint64_t row;
        struct buf spki, cert;
    } issued[ISSUED_MAX];
    size_t count;
    int key_made; /* MakeKey was called: what is issued from then on is flagged */
} double_;

static int wanted_error(struct err *e)
{
    char path[PATH_MAX + 32];
    struct buf name = BUF_INIT;
    struct err ignored = {0};
    snprintf(path, sizeof path, "%s/../signer.error", double_.paths.run);
    if (file_read(path, 64, &name, &ignored) == 0)
        err_set(e, err_from_name(buf_str(&name)), "as the test wants");
    buf_done(&name);
    return e->id ? -1 : 0;
}

static int reply_bytes(sd_bus_message *m, const struct buf *b, int with_fresh)
{
    sd_bus_message *reply = NULL;
    if (sd_bus_message_new_method_return(m, &reply) < 0 ||
            sd_bus_message_append_array(reply, 'y', b->data, b->len) < 0 ||
            (with_fresh && sd_bus_message_append(reply, "bb", 1, double_.key_made) < 0))
        abort();
    int r = sd_bus_send(NULL, reply, NULL);
    sd_bus_message_unref(reply);
    return r < 0 ? r : 1;
}

static int on_nonce(sd_bus_message *m, void *userdata, sd_bus_error *be)
{
    struct buf nonce = BUF_INIT;
    uint8_t bytes[NONCE_BYTES];
    (void)userdata;
    (void)be;
    if (RAND_bytes(bytes, sizeof bytes) != 1 || buf_append(&nonce, bytes, sizeof bytes, NULL))
        abort();
    int r = reply_bytes(m, &nonce, 0);
    buf_done(&nonce);
    return r;
}

/* The root and the number of rows are the ticket's, as in the real one. */
static int check_proof(const char *ticket, uint64_t index, const void *row, size_t row_len,
        const uint8_t *proof, size_t proof_len, struct err *e)
{
    struct merkle_hash leaf, root, nodes[MERKLE_PROOF_MAX];
    json_t *facts = json_loads(ticket, 0, NULL);
    const char *hex = json_string_value(json_object_get(facts, "root"));
    int r = -1;
    if (!hex || proof_len > sizeof nodes)
        err_set(e, ERR_TICKET, "no root");
    else {
        for (size_t i = 0; i < sizeof root; i++)
            root.bytes[i] = (uint8_t)strtoul((char[]){hex[2 * i], hex[2 * i + 1], 0}, NULL, 16);
        memcpy(nodes, proof, proof_len);
        merkle_leaf(row, row_len, &leaf);
        r = merkle_verify(&leaf, index,
                (uint64_t)json_integer_value(json_object_get(facts, "rows")), nodes,
                proof_len / sizeof leaf, &root, e);
    }
    json_decref(facts);
    return r;
}

static int on_issue(sd_bus_message *m, void *userdata, sd_bus_error *be)
{
    struct err e = {0};
    const char *ticket;
    const uint8_t *row, *proof, *csr, *nonce;
    size_t row_len, proof_len, csr_len, nonce_len;
    uint64_t index;
    uint8_t *spki = NULL;
    (void)userdata;
    (void)be;
    if (sd_bus_message_read(m, "st", &ticket, &index) <= 0)
        return -EINVAL;
    if (wanted_error(&e) || bus_read_bytes(m, ROW_BYTES_MAX, &row, &row_len, &e) ||
            bus_read_bytes(m, BUS_MESSAGE_MAX, &proof, &proof_len, &e) ||
            bus_read_bytes(m, CSR_BYTES_MAX, &csr, &csr_len, &e) ||
            bus_read_bytes(m, NONCE_BYTES, &nonce, &nonce_len, &e) ||
            check_proof(ticket, index, row, row_len, proof, proof_len, &e))
        return bus_reply_err(m, &e);
    EVP_PKEY *key = test_csr_key(csr, csr_len);
    int spki_len = key ? i2d_PUBKEY(key, &spki) : -1;
    if (spki_len <= 0) {
        err_set(&e, ERR_CSR, "not a request");
        return bus_reply_err(m, &e);
    }
    size_t i = 0;
    while (i < double_.count && double_.issued[i].row != index)
        i++;
    if (i == double_.count) {
        double_.issued[i].row = index;
        if (++double_.count == ISSUED_MAX ||
                buf_append(&double_.issued[i].spki, spki, (size_t)spki_len, NULL))
            abort();
        test_ca_issue(&double_.ca, key, &double_.issued[i].cert);
    } else if (double_.issued[i].spki.len != (size_t)spki_len ||
               memcmp(double_.issued[i].spki.data, spki, (size_t)spki_len) != 0) {
        err_set(&e, ERR_KEY_CHANGED, "another key");
    }
    OPENSSL_free(spki);
    EVP_PKEY_free(key);
    return e.id ? bus_reply_err(m, &e) : reply_bytes(m, &double_.issued[i].cert, 1);
}

static int on_make_key(sd_bus_message *m, void *userdata, sd_bus_error *be)
{
    struct buf jwe = BUF_INIT;
    struct err e = {0};
    const char *ticket, *key_type;
    const uint8_t *row, *proof, *transport, *nonce;
    size_t row_len, proof_len, transport_len, nonce_len;
    uint64_t index;
    (void)userdata;
    (void)be;
    if (sd_bus_message_read(m, "st", &ticket, &index) <= 0)
        return -EINVAL;
    if (wanted_error(&e) || bus_read_bytes(m, ROW_BYTES_MAX, &row, &row_len, &e) ||
            bus_read_bytes(m, BUS_MESSAGE_MAX, &proof, &proof_len, &e) ||
            check_proof(ticket, index, row, row_len, proof, proof_len, &e))
        return bus_reply_err(m, &e);
    if (sd_bus_message_read(m, "s", &key_type) <= 0 || strcmp(key_type, "P-256") != 0)
        return -EINVAL;
    if (bus_read_bytes(m, BUS_MESSAGE_MAX, &transport, &transport_len, &e) ||
            bus_read_bytes(m, NONCE_BYTES, &nonce, &nonce_len, &e) ||
            buf_append(&jwe, "for ", 4, &e) || buf_append(&jwe, transport, transport_len, &e))
        return bus_reply_err(m, &e);
    double_.key_made = 1;
    int r = reply_bytes(m, &jwe, 0);
    buf_done(&jwe);
    return r;
}

static int on_check_ticket(sd_bus_message *m, void *userdata, sd_bus_error *be)
{
    struct err e = {0};
    const char *ticket;
    (void)userdata;
    (void)be;
    if (sd_bus_message_read(m, "s", &ticket) <= 0)
        return -EINVAL;
    if (*ticket == '{')
        return sd_bus_reply_method_return(m, "s", ticket);
    err_set(&e, ERR_TICKET_UNTRUSTED, "this approver is not trusted");
    return bus_reply_err(m, &e);
}

static int on_chain(sd_bus_message *m, void *userdata, sd_bus_error *be)
{
    (void)userdata;
    (void)be;
    return reply_bytes(m, &double_.ca.cert, 0);
}

static int on_status(sd_bus_message *m, void *userdata, sd_bus_error *be)
{
    (void)userdata;
    (void)be;
    return sd_bus_reply_method_return(m, "s", "{\"issued\":7}");
}

static const sd_bus_vtable vtable[] = {
        SD_BUS_VTABLE_START(0),
        SD_BUS_METHOD("Nonce", "st", "ay", on_nonce, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD("Issue", "stayayayay", "aybb", on_issue, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD("MakeKey", "stayaysayay", "ay", on_make_key, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD("CheckTicket", "s", "s", on_check_ticket, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD("Chain", "", "ay", on_chain, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD("Status", "", "s", on_status, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_VTABLE_END,
};

int signer_double_run(void)
{
    struct err e = {0};
    struct bus_server *server;
    sd_event *event;
    char path[PATH_MAX];
    if (paths_init(&double_.paths, &e) || sd_event_new(&event) < 0)
        return 1;
    test_ca_init(&double_.ca);
    paths_get(&double_.paths, PATH_SIGNER_SOCKET, path);
    const struct bus_door door = {.path = path,
            .object = "/org/keyline/Signer1",
            .interface = "org.keyline.Signer1",
            .vtable = vtable};
    if (bus_server_open(event, &door, &server, &e))
        return 1;
    return sd_event_loop(event) < 0;
}
