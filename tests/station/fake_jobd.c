#include "fake_jobd.h"
#include "station_test.h"

#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include <openssl/x509.h>

#include "base/buf.h"
#include "base/bus.h"
#include "base/jwe.h"
#include "base/secret.h"

#define RUN_ID    "6d1c3c4e-0000-4000-8000-000000000001"
#define DEVICE_ID "6d1c3c4e-0000-5000-8000-000000000002"
#define JOB_ID    "6d1c3c4e-0000-4000-8000-000000000003"

static sd_event *loop;

/* Notes the call. 1: the script has refused it, *ret_r is what the handler returns. */
static int enter(struct fake_jobd *j, enum method method, sd_bus_message *m, int *ret_r)
{
    size_t n = strlen(j->order);
    if (n + 1 < sizeof j->order)
        j->order[n] = "CNMZAKF"[method];
    j->calls[method]++;
    if (j->die_times && j->die_in == method) {
        j->die_times--;
        if (j->die_after_commit)
            j->registered = true;
        _exit(0);
    }
    if (!j->refusals[method])
        return 0;
    j->refusals[method]--;
    struct err e = {0};
    err_set(&e, j->refuse[method], "as the script says");
    *ret_r = bus_reply_err(m, &e);
    return 1;
}

static const char chain[] = "the chain"; /* it goes where a certificate goes */

static int on_claim(sd_bus_message *m, void *userdata, sd_bus_error *be)
{
    static const char config[] = "{\"configuration\":{}}";
    struct fake_jobd *j = userdata;
    const char *slot, *driver, *hwid, *name;
    sd_bus_message *reply = NULL;
    int r;
    (void)be;
    if (enter(j, M_CLAIM, m, &r))
        return r;
    if (sd_bus_message_read(m, "ssss", &slot, &driver, &hwid, &name) < 0)
        abort();
    snprintf(j->claimed_hwid, sizeof j->claimed_hwid, "%s", hwid);
    snprintf(j->claimed_name, sizeof j->claimed_name, "%s", name);
    if (sd_bus_message_new_method_return(m, &reply) < 0 ||
            sd_bus_message_append(reply, "ssssssu", j->registered ? "" : RUN_ID, DEVICE_ID,
                    "sensor-0001", JOB_ID, j->key_type, j->keys_from_signer ? "signer" : "device",
                    1u) < 0 ||
            sd_bus_message_append_array(reply, 'y', j->cert,
                    j->certified_before || j->registered ? j->cert_len : 0) < 0 ||
            sd_bus_message_append_array(reply, 'y', chain,
                    j->certified_before && !j->registered ? strlen(chain) : 0) < 0 ||
            sd_bus_message_append_array(reply, 'y', config, j->registered ? 0 : strlen(config)) < 0)
        abort();
    r = sd_bus_send(NULL, reply, NULL);
    sd_bus_message_unref(reply);
    return r;
}

static int reply_bytes(sd_bus_message *m, const void *bytes, size_t len)
{
    sd_bus_message *reply = NULL;
    if (sd_bus_message_new_method_return(m, &reply) < 0 ||
            sd_bus_message_append_array(reply, 'y', bytes, len) < 0)
        abort();
    int r = sd_bus_send(NULL, reply, NULL);
    sd_bus_message_unref(reply);
    return r;
}

static int on_nonce(sd_bus_message *m, void *userdata, sd_bus_error *be)
{
    struct fake_jobd *j = userdata;
    uint8_t nonce[NONCE_BYTES];
    int r;
    (void)be;
    if (enter(j, M_NONCE, m, &r))
        return r;
    memset(nonce, (int)j->calls[M_NONCE], sizeof nonce);
    return reply_bytes(m, nonce, sizeof nonce);
}

/* As a signer would, for real devices: the request proves its key and carries the nonce. */
static int make_cert(struct fake_jobd *j, const uint8_t *csr, size_t csr_len, const uint8_t *nonce)
{
    char hex[2 * NONCE_BYTES + 1];
    X509_REQ *req = d2i_X509_REQ(NULL, &csr, (long)csr_len);
    if (!req || X509_REQ_verify(req, X509_REQ_get0_pubkey(req)) != 1)
        return -1;
    int at = X509_REQ_get_attr_by_NID(req, NID_pkcs9_challengePassword, -1);
    ASN1_TYPE *password = at < 0 ? NULL : X509_ATTRIBUTE_get0_type(X509_REQ_get_attr(req, at), 0);
    hex_format(nonce, NONCE_BYTES, hex);
    if (!password || password->value.asn1_string->length != 2 * NONCE_BYTES ||
            memcmp(password->value.asn1_string->data, hex, 2 * NONCE_BYTES) != 0)
        return -1;
    EVP_PKEY *ca = EVP_EC_gen("P-256");
    X509 *x = X509_new();
    uint8_t *out = j->cert;
    X509_set_version(x, X509_VERSION_3);
    ASN1_INTEGER_set(X509_get_serialNumber(x), 1);
    X509_gmtime_adj(X509_getm_notBefore(x), 0);
    X509_gmtime_adj(X509_getm_notAfter(x), 3600);
    X509_set_subject_name(x, X509_REQ_get_subject_name(req));
    X509_set_pubkey(x, X509_REQ_get0_pubkey(req));
    X509_sign(x, ca, EVP_sha256());
    j->cert_len = (size_t)i2d_X509(x, &out);
    X509_free(x);
    X509_REQ_free(req);
    EVP_PKEY_free(ca);
    return 0;
}

static int on_certify(sd_bus_message *m, void *userdata, sd_bus_error *be)
{
    struct fake_jobd *j = userdata;
    const char *run;
    const void *csr, *nonce;
    size_t csr_len, nonce_len;
    int r;
    (void)be;
    if (enter(j, M_CERTIFY, m, &r))
        return r;
    if (sd_bus_message_read(m, "s", &run) < 0 ||
            sd_bus_message_read_array(m, 'y', &csr, &csr_len) < 0 ||
            sd_bus_message_read_array(m, 'y', &nonce, &nonce_len) < 0 || strcmp(run, RUN_ID) != 0)
        abort();
    struct err e = {0}; /* it must answer the nonce given last; the fake driver's requests are the
                           nonce itself */
    bool answers =
            nonce_len == NONCE_BYTES && *(const uint8_t *)nonce == (uint8_t)j->calls[M_NONCE];
    if (j->cert_len)
        answers = answers && csr_len == NONCE_BYTES && memcmp(csr, nonce, NONCE_BYTES) == 0;
    else
        answers = answers && make_cert(j, csr, csr_len, nonce) == 0;
    if (!answers) {
        err_set(&e, ERR_CSR, "the request answers another nonce");
        return bus_reply_err(m, &e);
    }
    sd_bus_message *reply = NULL;
    if (sd_bus_message_new_method_return(m, &reply) < 0 ||
            sd_bus_message_append_array(reply, 'y', j->cert, j->cert_len) < 0 ||
            sd_bus_message_append_array(reply, 'y', chain, strlen(chain)) < 0)
        abort();
    r = sd_bus_send(NULL, reply, NULL);
    sd_bus_message_unref(reply);
    return r;
}

/* As a signer would: a key for the transport key's holder alone. Its private half is noted, so that a
 * test can look for it. */
static int on_make_key(sd_bus_message *m, void *userdata, sd_bus_error *be)
{
    struct fake_jobd *j = userdata;
    struct secret private = SECRET_INIT;
    struct buf jwe = BUF_INIT;
    struct err e = {0};
    const char *run;
    const void *transport, *nonce;
    size_t transport_len, nonce_len;
    int r;
    (void)be;
    if (enter(j, M_MAKE_KEY, m, &r))
        return r;
    if (sd_bus_message_read(m, "s", &run) < 0 ||
            sd_bus_message_read_array(m, 'y', &transport, &transport_len) < 0 ||
            sd_bus_message_read_array(m, 'y', &nonce, &nonce_len) < 0 || strcmp(run, RUN_ID) != 0 ||
            nonce_len != NONCE_BYTES || *(const uint8_t *)nonce != (uint8_t)j->calls[M_NONCE] ||
            secret_open(&e))
        abort();
    EVP_PKEY *key = EVP_EC_gen("P-256");
    PKCS8_PRIV_KEY_INFO *p8 = EVP_PKEY2PKCS8(key);
    uint8_t *at = j->made;
    j->made_len = (size_t)i2d_PKCS8_PRIV_KEY_INFO(p8, &at);
    PKCS8_PRIV_KEY_INFO_free(p8);
    EVP_PKEY_free(key);
    if (secret_new(j->made_len, &private, &e))
        abort();
    memcpy(private.bytes, j->made, j->made_len);
    if (jwe_seal(transport, transport_len, JWE_TYPE_KEY, &private, &jwe, &e))
        abort();
    secret_done(&private);
    if (j->damage_jwe)
        jwe.data[jwe.len - 1] = jwe.data[jwe.len - 1] == 'A' ? 'Q' : 'A';
    r = reply_bytes(m, jwe.data, jwe.len);
    buf_done(&jwe);
    return r;
}

static int on_advance(sd_bus_message *m, void *userdata, sd_bus_error *be)
{
    const char *run, *step;
    int r;
    (void)be;
    if (enter(userdata, M_ADVANCE, m, &r))
        return r;
    if (sd_bus_message_read(m, "ss", &run, &step) < 0 || strcmp(step, "installed") != 0)
        abort();
    return sd_bus_reply_method_return(m, "");
}

static struct fake_jobd *late_jobd;
static int on_late(sd_event_source *source, uint64_t usec, void *userdata)
{
    (void)source, (void)usec;
    late_jobd->registered = true;
    int r = sd_bus_reply_method_return(userdata, "");
    sd_bus_message_unref(userdata);
    return r;
}

static int on_complete(sd_bus_message *m, void *userdata, sd_bus_error *be)
{
    struct fake_jobd *j = userdata;
    const char *run;
    const void *challenge;
    size_t len;
    int r;
    (void)be;
    if (sd_bus_message_read(m, "s", &run) < 0 ||
            sd_bus_message_read_array(m, 'y', &challenge, &len) < 0 || len != NONCE_BYTES)
        abort();
    memcpy(j->challenge, challenge, len);
    if (enter(j, M_COMPLETE, m, &r))
        return r;
    late_jobd = j;
    if (sd_event_add_time_relative(loop, NULL, CLOCK_MONOTONIC, j->complete_delay_ms * 1000ull, 1,
                on_late, sd_bus_message_ref(m)) < 0)
        abort();
    return 1; /* answered later */
}

static int on_fail(sd_bus_message *m, void *userdata, sd_bus_error *be)
{
    struct fake_jobd *j = userdata;
    const char *run, *error, *message;
    int quarantine, r;
    (void)be;
    if (enter(j, M_FAIL, m, &r))
        return r;
    if (sd_bus_message_read(m, "sssb", &run, &error, &message, &quarantine) < 0)
        abort();
    snprintf(j->failed_with, sizeof j->failed_with, "%s", error);
    j->quarantined = quarantine;
    return sd_bus_reply_method_return(m, "");
}

static int on_slot_state(sd_bus_message *m, void *userdata, sd_bus_error *be)
{
    struct fake_jobd *j = userdata;
    const char *slot, *port, *state, *device, *text;
    (void)be;
    if (sd_bus_message_read(m, "sssss", &slot, &port, &state, &device, &text) < 0)
        abort();
    if (strcmp(state, "pass") == 0 && !j->registered)
        j->pass_too_early = true;
    if (j->tile_count < TILES_MAX)
        snprintf(j->tiles[j->tile_count], sizeof j->tiles[0], "%s %s: %s", state, device, text);
    j->tile_count++;
    return sd_bus_message_get_expect_reply(m) > 0 ? sd_bus_reply_method_return(m, "") : 1;
}

static void on_gone(void *userdata, sd_bus *peer)
{
    (void)peer;
    ((struct fake_jobd *)userdata)->connections_lost++;
}

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

static _Noreturn void serve(struct fake_jobd *j, int ready_fd)
{
    char path[PATH_MAX];
    struct bus_server *server = NULL;
    struct err e = {0};
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    paths_get(&j->paths, PATH_SLOT_SOCKET, path);
    if (sd_event_new(&loop) < 0 || bus_server_open(loop,
                                           &(struct bus_door){.path = path,
                                                   .object = "/org/keyline/Slot1",
                                                   .interface = "org.keyline.Slot1",
                                                   .vtable = vtable,
                                                   .userdata = j,
                                                   .on_gone = on_gone},
                                           &server, &e))
        dprintf(STDERR_FILENO, "fake jobd: %s\n", e.msg);
    else if (write(ready_fd, "r", 1) == 1)
        sd_event_loop(loop);
    _exit(1);
}

void fake_jobd_start(struct fake_jobd *j)
{
    int ready[2];
    char byte;
    if (j->pid && waitpid(j->pid, NULL, WNOHANG) == 0)
        return; /* it lives */
    assert_return_code(pipe(ready), errno);
    pid_t pid = fork(); /* not into shared memory, where the child would write its 0 */
    if (pid == 0)
        serve(j, ready[1]);
    assert_true(pid > 0);
    j->pid = pid;
    close(ready[1]);
    assert_int_equal(read(ready[0], &byte, 1), 1);
    close(ready[0]);
}

void fake_jobd_kill(struct fake_jobd *j)
{
    if (!j->pid)
        return;
    kill(j->pid, SIGKILL);
    waitpid(j->pid, NULL, 0);
    j->pid = 0;
}

struct fake_jobd *fake_jobd_new(void)
{
    struct err e = {0};
    struct fake_jobd *j =
            mmap(NULL, sizeof *j, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_true(j != MAP_FAILED);
    strcpy(j->root, "/tmp/keyline-flow-XXXXXX");
    strcpy(j->key_type, "P-256");
    assert_non_null(mkdtemp(j->root));
    setenv("KEYLINE_ROOT", j->root, 1);
    assert_ok(paths_init(&j->paths, &e), &e);
    assert_return_code(mkdir(j->paths.run, 0700), errno);
    return j;
}

void fake_jobd_free(struct fake_jobd *j)
{
    char command[128];
    fake_jobd_kill(j);
    snprintf(command, sizeof command, "rm -r '%s'", j->root);
    assert_int_equal(system(command), 0);
    munmap(j, sizeof *j);
}

bool fake_jobd_saw(const struct fake_jobd *j, const char *prefix)
{
    for (unsigned i = 0; i < j->tile_count && i < TILES_MAX; i++)
        if (strncmp(j->tiles[i], prefix, strlen(prefix)) == 0)
            return true;
    return false;
}
