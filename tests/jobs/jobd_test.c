/* Starting and ending processes, and the doors in few words. */
#include "jobd_test.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/file.h"
#include "base/text.h"
#include "signer_double.h"

#define PATIENCE_MS 20000

static pid_t spawn(const char *program)
{
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid)
        return pid;
    prctl(PR_SET_PDEATHSIG, SIGKILL); /* a test that dies leaves nobody behind */
    if (!program)
        _exit(signer_double_run());
    execl(program, program, (char *)NULL);
    _exit(127);
}

static void reap(pid_t *pid, int signal)
{
    int status;
    if (*pid <= 0)
        return;
    kill(*pid, signal);
    assert_int_equal(waitpid(*pid, &status, 0), *pid);
    if (signal == SIGTERM) /* it ends in order, sanitizers included */
        assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    *pid = 0;
}

/* Until jobd answers and says of the signer what it shall. */
static void wait_for(struct jobd_test *t, bool signer)
{
    int64_t end = time_monotonic_ms() + PATIENCE_MS;
    for (;;) {
        struct err e = {0};
        struct buf text = BUF_INIT;
        bool ready = false;
        if (t->people || jobs_open(&t->paths, &t->people, &e) == 0) {
            sd_bus *slot = NULL;
            struct slot_claim c = {0};
            if (slot_open(&t->paths, &slot, &e) == 0) {
                /* The chain is there when a claim gets as far as the device. */
                (void)slot_claim(slot, "probe", "none", "no-such-device", "", &c, &e);
                ready = (e.id == ERR_DEVICE_UNKNOWN) == signer && e.id != ERR_PROTOCOL;
                sd_bus_flush_close_unref(slot);
            }
        }
        buf_done(&text);
        if (ready)
            return;
        if (time_monotonic_ms() > end)
            fail_msg("gave up waiting for jobd: %s %s", err_name(e.id), e.msg);
        usleep(10000);
    }
}

void jobd_start(struct jobd_test *t)
{
    t->jobd = spawn(JOBD);
    wait_for(t, t->signer > 0);
}

void jobd_end(struct jobd_test *t, int signal)
{
    if (t->people)
        sd_bus_close_unref(t->people);
    t->people = NULL;
    reap(&t->jobd, signal);
}

void signer_start(struct jobd_test *t)
{
    t->signer = spawn(NULL);
    if (t->jobd)
        wait_for(t, true);
}

void signer_kill(struct jobd_test *t)
{
    reap(&t->signer, SIGKILL);
    wait_for(t, false);
}

void signer_error(struct jobd_test *t, const char *name)
{
    char path[128];
    struct err e = {0};
    snprintf(path, sizeof path, "%s/signer.error", t->dir);
    if (name)
        must(file_write(path, name, strlen(name), 0600, &e), &e);
    else
        unlink(path);
}

int jobd_setup(void **state)
{
    struct jobd_test *t = calloc(1, sizeof *t);
    struct err e = {0};
    assert_non_null(t);
    strcpy(t->dir, "/tmp/keyline-jobd.XXXXXX");
    assert_non_null(mkdtemp(t->dir));
    setenv("KEYLINE_ROOT", t->dir, 1);
    setenv("KEYLINE_LOG", "error", 1);
    must(paths_init(&t->paths, &e), &e);
    must(file_mkdirs(t->paths.run, 0755, &e), &e);
    signer_start(t);
    jobd_start(t);
    json_decref(ask(t, "GroupAdd", "sensors", "", NULL));
    *state = t;
    return 0;
}

int jobd_teardown(void **state)
{
    struct jobd_test *t = *state;
    char command[128];
    jobd_end(t, SIGTERM);
    reap(&t->signer, SIGKILL);
    snprintf(command, sizeof command, "rm -rf '%s'", t->dir);
    assert_int_equal(system(command), 0);
    free(t);
    return 0;
}

/* ---- people's door */

static int call(struct jobd_test *t, struct buf *ret, struct err *e, const char *method, va_list ap)
{
    const char *args[8];
    size_t count = 0;
    while ((args[count] = va_arg(ap, const char *)))
        count++;
    return jobs_call(t->people, method, args, count, ret, e);
}

static json_t *parse(struct buf *text)
{
    json_t *o = json_loadb((char *)text->data, text->len, 0, NULL);
    assert_non_null(o);
    buf_done(text);
    return o;
}

json_t *ask(struct jobd_test *t, const char *method, ...)
{
    struct buf text = BUF_INIT;
    struct err e = {0};
    va_list ap;
    va_start(ap, method);
    must(call(t, &text, &e, method, ap), &e);
    va_end(ap);
    return parse(&text);
}

int ask_error(struct jobd_test *t, struct err *e, const char *method, ...)
{
    struct buf text = BUF_INIT;
    va_list ap;
    va_start(ap, method);
    int r = call(t, &text, e, method, ap);
    va_end(ap);
    buf_done(&text);
    return r;
}

const char *member(json_t *answer, const char *path)
{
    static char text[512];
    char copy[128], *at;
    json_t *v = answer;
    snprintf(copy, sizeof copy, "%s", path);
    for (char *name = strtok_r(copy, ".", &at); name; name = strtok_r(NULL, ".", &at))
        v = json_is_array(v) ? json_array_get(v, strtoul(name, NULL, 10))
                             : json_object_get(v, name);
    if (json_is_string(v)) {
        snprintf(text, sizeof text, "%s", json_string_value(v));
    } else {
        char *dump = v ? json_dumps(v, JSON_ENCODE_ANY) : NULL;
        snprintf(text, sizeof text, "%s", dump ? dump : "absent");
        free(dump);
    }
    json_decref(answer);
    return text;
}

static json_t *import_keys(struct jobd_test *t, const char *name, const char *csv, const char *keys)
{
    const struct jobs_option options[] = {{"name", name}, {"group", "sensors"}, {"keys", keys}};
    struct buf text = BUF_INIT;
    struct err e = {0};
    int fd = memfd_create("m", 0);
    assert_true(write(fd, csv, strlen(csv)) == (ssize_t)strlen(csv));
    assert_int_equal(lseek(fd, 0, SEEK_SET), 0);
    must(jobs_import(t->people, fd, options, 3, &text, &e), &e);
    close(fd);
    return parse(&text);
}

json_t *import_csv(struct jobd_test *t, const char *name, const char *csv)
{
    return import_keys(t, name, csv, "device");
}

void import_approved(struct jobd_test *t, const char *name, const char *csv)
{
    import_approved_keys(t, name, csv, "device");
}

void import_approved_keys(struct jobd_test *t, const char *name, const char *csv, const char *keys)
{
    json_t *facts;
    assert_string_equal(member(import_keys(t, name, csv, keys), "job.state"), "Pending approval");
    facts = ask(t, "JobRequest", name, NULL);
    json_object_set_new(facts, "approver", json_string("Alice"));
    json_object_set_new(facts, "exp", json_integer(4102444800));
    json_object_set_new(facts, "key_type", json_string("P-256"));
    char *ticket = json_dumps(facts, JSON_COMPACT);
    assert_string_equal(
            member(ask(t, "JobApprove", name, ticket, NULL), "job.state"), "In progress");
    free(ticket);
    json_decref(facts);
}

/* ---- the slots' door */

sd_bus *slot_connect(struct jobd_test *t)
{
    struct err e = {0};
    sd_bus *bus;
    must(slot_open(&t->paths, &bus, &e), &e);
    return bus;
}

int certify(sd_bus *slot, const char *run, EVP_PKEY *key, struct buf *ret_cert, struct err *e)
{
    struct buf csr = BUF_INIT, chain = BUF_INIT;
    uint8_t nonce[NONCE_BYTES];
    test_csr(key, &csr);
    int r = slot_nonce(slot, run, nonce, e);
    if (r == 0)
        r = slot_certify(slot, run, &csr, nonce, ret_cert, &chain, e);
    if (r == 0) /* the double's CA is one self-signed certificate */
        assert_true(chain.len > 0 && chain.len < CERT_BYTES_MAX);
    buf_done(&csr);
    buf_done(&chain);
    return r;
}

void pass(sd_bus *slot, const char *name, const char *hwid, EVP_PKEY *key)
{
    static const uint8_t challenge[NONCE_BYTES] = {9};
    struct slot_claim c;
    struct buf cert = BUF_INIT, sig = BUF_INIT;
    struct err e = {0};
    must(slot_claim(slot, name, "keyline", hwid, "", &c, &e), &e);
    must(certify(slot, c.run, key, &cert, &e), &e);
    must(slot_advance(slot, c.run, "installed", &e), &e);
    test_sign_challenge(key, challenge, &sig);
    must(slot_complete(slot, c.run, challenge, &sig, &e), &e);
    slot_claim_done(&c);
    buf_done(&cert);
    buf_done(&sig);
}
