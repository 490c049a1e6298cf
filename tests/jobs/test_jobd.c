/* jobd as its clients meet it: its real process and sockets, and what strangers do to them. */
#include "jobd_test.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <openssl/evp.h>

#include "base/file.h"
#include "base/text.h"
#include "hsm/profile/profile.h"
#include "jobs/outbox_client.h"

static const char two[] = "device_name,hwid,attr.mac\na,1,02:00\nb,2,02:01\n";

static void sync_all(struct jobd_test *t)
{
    struct outbox_batch b;
    struct err e = {0};
    uint8_t sha256[32];
    sd_bus *bus;
    must(outbox_open(&t->paths, NULL, &bus, &e), &e);
    must(outbox_next(bus, &b, &e), &e);
    assert_true(b.last > 0);
    assert_int_equal(EVP_Digest(b.ndjson.data, b.ndjson.len, sha256, NULL, EVP_sha256(), NULL), 1);
    must(outbox_ack(bus, &b, sha256, "201", &e), &e);
    buf_done(&b.ndjson);
    must(outbox_next(bus, &b, &e), &e);
    assert_int_equal(b.last, 0);
    buf_done(&b.ndjson);
    sd_bus_flush_close_unref(bus);
}

static void the_whole_way(void **state)
{
    struct jobd_test *t = *state;
    EVP_PKEY *key = test_key("EC");
    sd_bus *slot = slot_connect(t);
    import_approved(t, "line", two);
    slot_report(slot, "01", "/dev/ttyUSB0", SLOT_WORKING, "a", "making its key");
    pass(slot, "01", "1", key);
    assert_string_equal(member(ask(t, "SlotList", NULL), "slots.0.text"), "making its key");
    assert_string_equal(member(ask(t, "DeviceShow", "a", NULL), "device.state"), "Registered");
    assert_string_equal(member(ask(t, "DeviceShow", "a", NULL), "device.synced"), "false");
    sync_all(t);
    assert_string_equal(member(ask(t, "DeviceShow", "1", NULL), "device.synced"), "true");
    assert_string_equal(member(ask(t, "JobShow", "line", NULL), "job.registered"), "1");
    pass(slot, "02", "2", key);
    assert_string_equal(member(ask(t, "JobShow", "line", NULL), "job.state"), "Completed");
    assert_string_equal(member(ask(t, "SyncStatus", NULL), "waiting"), "2");
    assert_string_equal(member(ask(t, "Status", NULL), "signer.issued"), "7");
    assert_string_equal(member(ask(t, "Status", NULL), "signer.up"), "true");
    assert_string_equal(member(ask(t, "Status", NULL), "signer.error"), "null");
    sd_bus_flush_close_unref(slot);
    EVP_PKEY_free(key);
}

static void a_key_made_by_the_signer(void **state)
{
    static const uint8_t transport[91] = "a transport key", nonce[NONCE_BYTES],
                         challenge[NONCE_BYTES];
    struct jobd_test *t = *state;
    EVP_PKEY *key = test_key("EC");
    sd_bus *slot = slot_connect(t), *other = slot_connect(t);
    struct buf jwe = BUF_INIT, cert = BUF_INIT, sig = BUF_INIT;
    struct slot_claim c;
    struct err e = {0};
    import_approved(t, "line", "device_name,hwid\nz,26\n");
    import_approved_keys(t, "bare", two, "signer");
    assert_string_equal(member(ask(t, "JobShow", "bare", NULL), "job.keys"), "signer");
    assert_string_equal(member(ask(t, "JobRequest", "bare", NULL), "keys"), "signer");
    must(slot_claim(slot, "01", "d", "26", "", &c, &e), &e);
    assert_false(c.keys_from_signer);
    slot_claim_done(&c);
    must(slot_claim(slot, "01", "d", "1", "", &c, &e), &e);
    assert_true(c.keys_from_signer);
    must_fail(slot_make_key(other, c.run, transport, sizeof transport, nonce, &jwe, &e), &e,
            ERR_NOT_FOUND, "claim"); /* another slot's run */
    signer_error(t, "KeyOrigin");
    must_fail(slot_make_key(slot, c.run, transport, sizeof transport, nonce, &jwe, &e), &e,
            ERR_KEY_ORIGIN, "as the test wants");
    signer_error(t, NULL);
    must(slot_make_key(slot, c.run, transport, sizeof transport, nonce, &jwe, &e), &e);
    assert_int_equal(jwe.len, 4 + sizeof transport); /* what the double wraps */
    assert_memory_equal(jwe.data + 4, transport, sizeof transport);
    must(certify(slot, c.run, key, &cert, &e), &e);
    assert_string_equal(
            member(ask(t, "DeviceShow", "1", NULL), "certificates.0.key_origin"), "signer");
    must(slot_advance(slot, c.run, "installed", &e), &e);
    test_sign_challenge(key, challenge, &sig);
    must(slot_complete(slot, c.run, challenge, &sig, &e), &e);
    slot_claim_done(&c);
    buf_done(&jwe);
    buf_done(&cert);
    buf_done(&sig);
    sd_bus_flush_close_unref(slot);
    sd_bus_flush_close_unref(other);
    EVP_PKEY_free(key);
}

static void one_row_by_hand(void **state)
{
    struct jobd_test *t = *state;
    const struct jobs_option row[] = {
            {"device_name", "by \"hand\", really"}, {"device_group", "sensors"}, {"hwid", "H"}};
    struct buf text = BUF_INIT;
    struct err e = {0};
    must(jobs_device_register(t->people, row, 3, &text, &e), &e);
    buf_done(&text);
    assert_string_equal(
            member(ask(t, "DeviceShow", "H", NULL), "device.name"), "by \"hand\", really");
    must(jobs_device_register(t->people, row, 1, &text, &e), &e); /* no group */
    json_t *o = json_loadb((char *)text.data, text.len, 0, NULL);
    assert_string_equal(member(o, "imported"), "false");
    buf_done(&text);
    must_fail(jobs_device_register(t->people, row, 0, &text, &e), &e, ERR_ARGUMENT, "device_name");
}

static void manifests_that_are_none(void **state)
{
    struct jobd_test *t = *state;
    struct buf text = BUF_INIT;
    struct err e = {0};
    int fds[2];
    json_t *o = import_csv(t, "bad", "device_name,hwdi\na,1\na,2\n");
    assert_string_equal(member(json_incref(o), "imported"), "false");
    assert_string_equal(member(json_incref(o), "errors.0.column"), "hwdi");
    assert_string_equal(member(o, "errors.1.row"), "3");
    /* Nobody's pipe holds jobd up. */
    assert_int_equal(pipe(fds), 0);
    must_fail(jobs_import(t->people, fds[0], NULL, 0, &text, &e), &e, ERR_ARGUMENT, "regular file");
    close(fds[0]);
    close(fds[1]);
    char path[128];
    snprintf(path, sizeof path, "%s/sparse.csv", t->dir);
    int fd = open(path, O_RDWR | O_CREAT | O_EXCL, 0600);
    assert_int_equal(ftruncate(fd, 300 * 1000 * 1000), 0);
    int64_t start = time_monotonic_ms();
    must_fail(jobs_import(t->people, fd, NULL, 0, &text, &e), &e, ERR_LIMIT, "200 MB");
    assert_true(time_monotonic_ms() - start < 2000);
    close(fd);
    fd = open(path, O_WRONLY);
    assert_int_equal(ftruncate(fd, 10), 0);
    assert_int_equal(jobs_import(t->people, fd, NULL, 0, &text, &e), -1);
    err_clear(&e);
    close(fd);
    const struct jobs_option unknown = {"colour", "red"};
    fd = open("/dev/null", O_RDONLY);
    assert_int_equal(jobs_import(t->people, fd, &unknown, 1, &text, &e), -1);
    close(fd);
    assert_string_equal(member(ask(t, "JobList", NULL), "jobs"), "[]");
}

/* Before the manifest is read, and as the file is at this moment. */
static void a_job_needs_its_profile(void **state)
{
    static const char faulty[] = "{\"keys\":[\"P-1\"]}";
    struct jobd_test *t = *state;
    const struct jobs_option options[] = {
            {"name", "line"}, {"profile", "ours"}, {"group", "sensors"}};
    const struct jobs_option climbing = {"profile", "../keyline"};
    struct buf text = BUF_INIT;
    struct err e = {0};
    struct profile *builtin = NULL;
    char dir[PATH_MAX], file[PATH_MAX + 16], csv[128];
    snprintf(csv, sizeof csv, "%s/m.csv", t->dir);
    must(file_write(csv, "device_name\na\n", 14, 0644, &e), &e);
    int fd = open(csv, O_RDONLY);
    must_fail(jobs_import(t->people, fd, &climbing, 1, &text, &e), &e, ERR_PROFILE, "name");
    must_fail(jobs_import(t->people, fd, options, 3, &text, &e), &e, ERR_PROFILE,
            "there is no certificate profile 'ours'");
    paths_get(&t->paths, PATH_PROFILES, dir);
    snprintf(file, sizeof file, "%s/ours.json", dir);
    must(file_mkdirs(dir, 0755, &e), &e);
    must(file_write(file, faulty, sizeof faulty - 1, 0644, &e), &e);
    must_fail(jobs_import(t->people, fd, options, 3, &text, &e), &e, ERR_PROFILE,
            "\"subject\" is missing");
    assert_string_equal(member(ask(t, "JobList", NULL), "jobs"), "[]");
    must(profile_builtin(&builtin, &e), &e);
    must(profile_json(builtin, &text, &e), &e);
    profile_free(&builtin);
    must(file_write(file, text.data, text.len, 0644, &e), &e);
    buf_reset(&text);
    must(jobs_import(t->people, fd, options, 3, &text, &e), &e);
    assert_string_equal(member(ask(t, "JobShow", "line", NULL), "job.profile"), "ours");
    buf_done(&text);
    close(fd);
}

static void approval_needs_the_signer(void **state)
{
    struct jobd_test *t = *state;
    struct err e = {0};
    json_decref(import_csv(t, "line", two));
    must_fail(ask_error(t, &e, "JobApprove", "line", "forged", NULL), &e, ERR_TICKET_UNTRUSTED,
            "not trusted");
    char *large = malloc(TICKET_BYTES_MAX + 2);
    memset(large, 'x', TICKET_BYTES_MAX + 1);
    large[TICKET_BYTES_MAX + 1] = '\0';
    must_fail(ask_error(t, &e, "JobApprove", "line", large, NULL), &e, ERR_TICKET, "larger");
    free(large);
    must_fail(ask_error(t, &e, "JobApprove", "nosuch", "x", NULL), &e, ERR_NOT_FOUND, "nosuch");
    assert_string_equal(member(ask(t, "JobShow", "line", NULL), "job.state"), "Pending approval");
    assert_string_equal(
            member(ask(t, "JobReject", "line", "wrong batch", NULL), "job.state"), "Rejected");
    must_fail(ask_error(t, &e, "JobApprove", "line", "{}", NULL), &e, ERR_BAD_STATE, "Rejected");
}

/* A run is its connection's: another one cannot touch it, and its end ends it. */
static void a_run_belongs_to_its_connection(void **state)
{
    struct jobd_test *t = *state;
    EVP_PKEY *key = test_key("EC");
    sd_bus *one = slot_connect(t), *other = slot_connect(t);
    struct slot_claim c, d;
    struct buf cert = BUF_INIT, sig = BUF_INIT;
    uint8_t nonce[NONCE_BYTES] = {0};
    struct err e = {0}, why = {0};
    import_approved(t, "line", two);
    must(slot_claim(one, "01", "keyline", "1", "", &c, &e), &e);
    must_fail(slot_claim(other, "02", "keyline", "1", "", &d, &e), &e, ERR_DEVICE_BUSY, "01");
    must_fail(slot_nonce(other, c.run, nonce, &e), &e, ERR_NOT_FOUND, "no such run");
    must_fail(slot_certify(other, c.run, &c.config, nonce, &cert, &sig, &e), &e, ERR_NOT_FOUND, "");
    must_fail(slot_advance(other, c.run, "installed", &e), &e, ERR_NOT_FOUND, "");
    must_fail(slot_complete(other, c.run, nonce, &c.config, &e), &e, ERR_NOT_FOUND, "");
    err_set(&why, ERR_DEVICE_GONE, "x");
    must_fail(slot_fail(other, c.run, &why, false, &e), &e, ERR_NOT_FOUND, "");
    must_fail(slot_advance(other, "", "installed", &e), &e, ERR_NOT_FOUND, "");
    must_fail(slot_advance(one, c.run, "recorded", &e), &e, ERR_ARGUMENT, "recorded");
    must_fail(slot_advance(one, c.run, "installed", &e), &e, ERR_BAD_STATE, "identified");
    must(certify(one, c.run, key, &cert, &e), &e);
    must(slot_advance(one, c.run, "installed", &e), &e);
    must_fail(slot_complete(one, c.run, nonce, &cert, &e), &e, ERR_DEVICE_CHALLENGE, "");
    slot_claim_done(&c);
    sd_bus_flush_close_unref(one);
    /* What the lost connection had goes on where the certificate was. */
    int64_t end = time_monotonic_ms() + 5000;
    while (slot_claim(other, "02", "keyline", "1", "", &d, &e) && e.id == ERR_DEVICE_BUSY &&
            time_monotonic_ms() < end)
        err_clear(&e);
    must(e.id ? -1 : 0, &e);
    assert_int_equal(d.attempt, 2);
    assert_int_equal(d.cert.len, cert.len);
    assert_memory_equal(d.cert.data, cert.data, cert.len);
    must(slot_advance(other, d.run, "installed", &e), &e);
    test_sign_challenge(key, nonce, &sig);
    must(slot_complete(other, d.run, nonce, &sig, &e), &e);
    assert_string_equal(member(ask(t, "DeviceShow", "a", NULL), "runs.1.error"), "Interrupted");
    slot_claim_done(&d);
    buf_done(&cert);
    buf_done(&sig);
    sd_bus_flush_close_unref(other);
    EVP_PKEY_free(key);
}

static void killed_in_the_middle(void **state)
{
    struct jobd_test *t = *state;
    EVP_PKEY *key = test_key("EC");
    sd_bus *slot = slot_connect(t);
    struct slot_claim c, again;
    struct buf cert = BUF_INIT;
    struct err e = {0};
    import_approved(t, "line", two);
    must(slot_claim(slot, "01", "keyline", "1", "", &c, &e), &e);
    must(certify(slot, c.run, key, &cert, &e), &e);
    jobd_end(t, SIGKILL);
    must_fail(slot_advance(slot, c.run, "installed", &e), &e, ERR_UNAVAILABLE, "");
    sd_bus_close_unref(slot);
    jobd_start(t);
    assert_string_equal(member(ask(t, "DeviceShow", "a", NULL), "runs.0.error"), "Interrupted");
    slot = slot_connect(t);
    must(slot_claim(slot, "01", "keyline", "1", "", &again, &e), &e);
    assert_memory_equal(again.cert.data, cert.data, cert.len);
    assert_int_equal(again.config.len, c.config.len);
    assert_memory_equal(again.config.data, c.config.data, c.config.len);
    slot_claim_done(&c);
    slot_claim_done(&again);
    pass(slot, "01", "1", key); /* the same key gets the same certificate */
    assert_string_equal(member(ask(t, "DeviceShow", "a", NULL), "certificates.1"), "absent");
    buf_done(&cert);
    sd_bus_flush_close_unref(slot);
    EVP_PKEY_free(key);
}

static void the_signer_comes_and_goes(void **state)
{
    static const char *const names[] = {"WeakKey", "TokenAbsent", "StaleNonce", "Quota"};
    struct jobd_test *t = *state;
    EVP_PKEY *key = test_key("EC"), *second = test_key("EC");
    sd_bus *slot = slot_connect(t);
    struct slot_claim c;
    struct buf cert = BUF_INIT;
    struct err e = {0};
    import_approved(t, "line", two);
    must(slot_claim(slot, "01", "keyline", "1", "", &c, &e), &e);
    for (size_t i = 0; i < 4; i++) {
        signer_error(t, names[i]);
        must_fail(certify(slot, c.run, key, &cert, &e), &e, err_from_name(names[i]), "wants");
    }
    signer_error(t, NULL);
    signer_kill(t);
    must_fail(certify(slot, c.run, key, &cert, &e), &e, ERR_UNAVAILABLE, "signer");
    assert_string_equal(member(ask(t, "Status", NULL), "signer.error.name"), "Unavailable");
    assert_string_equal(member(ask(t, "Status", NULL), "signer.up"), "false");
    struct slot_claim none;
    sd_bus *late = slot_connect(t);
    must_fail(slot_claim(late, "02", "keyline", "2", "", &none, &e), &e, ERR_UNAVAILABLE, "signer");
    signer_start(t);
    /* The run is still there: the signer's absence cost it nothing. */
    must(certify(slot, c.run, key, &cert, &e), &e);
    must_fail(certify(slot, c.run, second, &cert, &e), &e, ERR_KEY_CHANGED, "");
    slot_claim_done(&c);
    buf_done(&cert);
    sd_bus_flush_close_unref(slot);
    sd_bus_flush_close_unref(late);
    EVP_PKEY_free(key);
    EVP_PKEY_free(second);
}

static void quarantine_holds(void **state)
{
    struct jobd_test *t = *state;
    sd_bus *slot = slot_connect(t);
    struct slot_claim c;
    struct err e = {0}, why = {0};
    import_approved(t, "line", two);
    must(slot_claim(slot, "01", "keyline", "1", "", &c, &e), &e);
    err_set(&why, ERR_POSSESSION, "it lied");
    must(slot_fail(slot, c.run, &why, true, &e), &e);
    slot_claim_done(&c);
    must_fail(slot_claim(slot, "01", "keyline", "1", "", &c, &e), &e, ERR_DEVICE_QUARANTINED, "a");
    assert_string_equal(member(ask(t, "JobShow", "line", NULL), "job.failed"), "1");
    sd_bus_flush_close_unref(slot);
}

static void strangers_and_garbage(void **state)
{
    struct jobd_test *t = *state;
    static const enum path_id doors[] = {PATH_JOBS_SOCKET, PATH_SLOT_SOCKET, PATH_OUTBOX_SOCKET};
    struct err e = {0};
    for (unsigned i = 0; i < 60; i++) {
        struct sockaddr_un a = {.sun_family = AF_UNIX};
        char path[PATH_MAX], garbage[4096];
        paths_get(&t->paths, doors[i % 3], path);
        snprintf(a.sun_path, sizeof a.sun_path, "%.100s", path);
        for (size_t k = 0; k < sizeof garbage; k++)
            garbage[k] = (char)(k * (i + 1) * 7 >> 3);
        if (i % 2)
            memcpy(garbage, "\0AUTH EXTERNAL\r\nDATA\r\nBEGIN\r\n", 30);
        int fd = socket(AF_UNIX, SOCK_STREAM, 0);
        assert_int_equal(connect(fd, (struct sockaddr *)&a, sizeof a), 0);
        (void)!write(fd, garbage, i * 60);
        if (i % 4 == 0)
            shutdown(fd, SHUT_WR);
        close(fd);
    }
    sd_bus *slot = slot_connect(t);
    struct slot_claim c;
    char large[1000];
    memset(large, 'x', sizeof large - 1);
    large[sizeof large - 1] = '\0';
    must_fail(slot_claim(slot, large, "d", "1", "", &c, &e), &e, ERR_ARGUMENT, "slot");
    must_fail(slot_claim(slot, "01", "d", "x'; DROP TABLE device; --", "", &c, &e), &e,
            ERR_DEVICE_UNKNOWN, "DROP");
    slot_report(slot, large, "p", SLOT_PASS, "d", "t");
    slot_report(slot, "01", large, SLOT_PASS, large, large);
    assert_string_equal(member(ask(t, "SlotList", NULL), "slots.1"), "absent");
    sd_bus_error be = SD_BUS_ERROR_NULL;
    assert_true(sd_bus_call_method(slot, NULL, "/org/keyline/Slot1", "org.keyline.Slot1", "Claim",
                        &be, NULL, "u", 7u) < 0);
    sd_bus_error_free(&be);
    assert_true(sd_bus_call_method(slot, NULL, "/org/keyline/Jobs1", "org.keyline.Jobs1", "JobList",
                        &be, NULL, "") < 0);
    sd_bus_error_free(&be);
    must_fail(ask_error(t, &e, "DeviceShow", large, NULL), &e, ERR_NOT_FOUND, "");
    must_fail(ask_error(t, &e, "GroupAdd", "a/b", "", NULL), &e, ERR_ARGUMENT, "name");
    must_fail(ask_error(t, &e, "GroupAdd", "sensors", "", NULL), &e, ERR_EXISTS, "sensors");
    must_fail(ask_error(t, &e, "GroupAdd", "\xff", "", NULL), &e, ERR_ARGUMENT, "UTF-8");
    sd_bus_flush_close_unref(slot);
    assert_string_equal(member(ask(t, "GroupList", NULL), "groups.0.name"), "sensors");
}

/* A slotd that made names up must leave no trace that keeps others off the screen. */
static void a_full_board_forgets_who_is_gone(void **state)
{
    struct jobd_test *t = *state;
    struct err e = {0};
    sd_bus *liar = slot_connect(t), *honest;
    struct slot_claim c;
    char name[16];
    for (unsigned i = 0; i < CONF_SLOTS_MAX; i++) {
        snprintf(name, sizeof name, "liar%03u", i);
        slot_report(liar, name, "p", SLOT_EMPTY, "", "");
    }
    /* an answered call: all reports are in */
    must_fail(slot_claim(liar, "liar000", "d", "1", "", &c, &e), &e, ERR_DEVICE_UNKNOWN, "");
    sd_bus_flush_close_unref(liar);
    honest = slot_connect(t);
    for (int i = 0; i < 50; i++) { /* until jobd has heard that the other is gone */
        slot_report(honest, "01", "p", SLOT_EMPTY, "", "");
        must_fail(slot_claim(honest, "01", "d", "1", "", &c, &e), &e, ERR_DEVICE_UNKNOWN, "");
        err_clear(&e);
        if (strcmp(member(ask(t, "SlotList", NULL), "slots.0.name"), "01") == 0)
            break;
        usleep(20000);
    }
    assert_string_equal(member(ask(t, "SlotList", NULL), "slots.0.name"), "01");
    sd_bus_flush_close_unref(honest);
}

static void only_one_jobd(void **state)
{
    struct jobd_test *t = *state;
    int status;
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        int null = open("/dev/null", O_WRONLY);
        dup2(null, 2);
        execl(JOBD, JOBD, (char *)NULL);
        _exit(127);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 1);
    assert_string_equal(member(ask(t, "GroupList", NULL), "groups.0.name"), "sensors");
}

static int on_retry(sd_bus_message *m, void *userdata, sd_bus_error *be)
{
    (void)m, (void)be;
    ++*(int *)userdata;
    return 0;
}

static void what_syncd_says(void **state)
{
    struct jobd_test *t = *state;
    struct err e = {0}, why = {0};
    int heard = 0;
    struct outbox_batch b;
    sd_bus *bus;
    assert_string_equal(member(ask(t, "SyncStatus", NULL), "state"), "off"); /* no url */
    jobd_end(t, SIGTERM);
    char path[PATH_MAX];
    static const char conf[] = "[upstream]\nurl = https://upstream.example\n";
    paths_get(&t->paths, PATH_CONFIG, path);
    must(file_mkdirs(t->paths.etc, 0755, &e), &e);
    must(file_write(path, conf, sizeof conf - 1, 0644, &e), &e);
    jobd_start(t);
    assert_string_equal(
            member(ask(t, "SyncStatus", NULL), "error.message"), "syncd is not running");
    must(outbox_open(&t->paths, NULL, &bus, &e), &e);
    err_set(&why, ERR_UPSTREAM_DOWN, "no route");
    must(outbox_report(bus, "offline", &why, 1000, &e), &e);
    assert_string_equal(member(ask(t, "SyncStatus", NULL), "error.name"), "UpstreamDown");
    assert_string_equal(member(ask(t, "SyncStatus", NULL), "retry_at"), "1970-01-01T00:00:01.000Z");
    must_fail(outbox_report(bus, "dreaming", NULL, 0, &e), &e, ERR_ARGUMENT, "dreaming");
    must(outbox_report(bus, "online", NULL, 0, &e), &e);
    assert_string_equal(member(ask(t, "SyncStatus", NULL), "error"), "null");
    json_decref(import_csv(t, "line", two));
    must(outbox_next(bus, &b, &e), &e);
    err_clear(&why);
    err_set(&why, ERR_UPSTREAM_CONFLICT, "412");
    must(outbox_refuse(bus, &b, &why, &e), &e);
    buf_done(&b.ndjson);
    assert_string_equal(member(ask(t, "SyncStatus", NULL), "error.name"), "UpstreamConflict");
    must(outbox_on_retry(bus, on_retry, &heard, &e), &e);
    assert_string_equal(member(ask(t, "SyncRetry", NULL), "refused"), "0");
    for (int i = 0; i < 50 && heard == 0; i++)
        if (sd_bus_process(bus, NULL) == 0)
            (void)sd_bus_wait(bus, 100000);
    assert_int_equal(heard, 1);
    sd_bus_flush_close_unref(bus);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define TEST(f) cmocka_unit_test_setup_teardown(f, jobd_setup, jobd_teardown)
            TEST(the_whole_way),
            TEST(a_key_made_by_the_signer),
            TEST(one_row_by_hand),
            TEST(manifests_that_are_none),
            TEST(a_job_needs_its_profile),
            TEST(approval_needs_the_signer),
            TEST(a_run_belongs_to_its_connection),
            TEST(killed_in_the_middle),
            TEST(the_signer_comes_and_goes),
            TEST(quarantine_holds),
            TEST(strangers_and_garbage),
            TEST(a_full_board_forgets_who_is_gone),
            TEST(only_one_jobd),
            TEST(what_syncd_says),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
