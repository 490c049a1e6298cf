/* The approval: what it shows, what it refuses, and that the ticket it makes is one the signer
 * takes. */
#include "cli_test.h"

#include <fcntl.h>
#include <openssl/pem.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/err.h"
#include "base/text.h"
#include "hsm/approval/ticket.h"
#include "jobs/manifest.h"

#define JOB "3f2a1f0e-7c53-4c1e-9a63-0123456789ab"

static char root_hex[65];

static void compute_root(void)
{
    struct manifest m = {0};
    struct manifest_options o = {.default_group = "sensors"};
    struct err e = {0};
    int fd = open(test_path("m.csv"), O_RDONLY);
    assert_int_equal(manifest_read(fd, &o, &m, &e), 0);
    hex_format(m.root.bytes, sizeof m.root.bytes, root_hex);
    manifest_done(&m);
    close(fd);
}

static const char *request(unsigned rows)
{
    static char text[512];
    snprintf(text, sizeof text,
            "{\"v\":1,\"job\":\"" JOB
            "\",\"account\":\"acc\",\"division\":\"div\",\"profile\":\"idevid\","
            "\"binding\":\"identity\",\"keys\":\"device\",\"reissue\":false,\"rows\":%u,\"root\":"
            "\"%s\",\"quota\":%u,\"stations\":["
            "\"line-1\",\"line-2\"]}",
            rows, root_hex, rows);
    return text;
}

static int start(void **state)
{
    char command[600];
    if (test_root_make(state))
        return -1;
    test_write("pass.txt", "correct horse\n");
    chmod(test_path("pass.txt"), 0600);
    test_write("wrong.txt", "battery staple\n");
    chmod(test_path("wrong.txt"), 0600);
    snprintf(command, sizeof command,
            "cd %s/etc && openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -days 2 "
            "-subj '/CN=Ada Approver' "
            "-passout file:../pass.txt -keyout approver.key -out approver.pem 2>/dev/null",
            test_root);
    if (system(command))
        return -1;
    mkdir(test_path("etc/profiles"), 0755);
    test_write("m.csv", "device_name,hwid\nSENSOR-1,h1\nSENSOR-2,h2\nSENSOR-3,h3\n");
    compute_root();
    fake_start();
    fake_answer("JobRequest", "%s", request(3));
    fake_answer("JobReport",
            "{\"job\":{\"name\":\"order "
            "4711\"},\"rows\":[{\"device_name\":\"SENSOR-1\"},{\"device_name\":\"SENSOR-2\"}]}");
    fake_answer("JobApprove", "{\"job\":{\"name\":\"order 4711\"}}");
    return 0;
}

static int stop(void **state)
{
    fake_stop();
    return test_root_remove(state);
}

/* The ticket verifies under the approver's certificate as the signer's only anchor. */
static void check_ticket(const char *jws, uint64_t quota, int days)
{
    FILE *f = fopen(test_path("etc/approver.pem"), "r");
    X509 *x = PEM_read_X509(f, NULL, NULL, NULL);
    X509_STORE *anchors = X509_STORE_new();
    struct ticket t;
    struct err e = {0};
    char found[65];
    fclose(f);
    X509_STORE_add_cert(anchors, x);
    int64_t now = time(NULL);
    if (ticket_verify(jws, anchors, &t, &e))
        fail_msg("%s", e.msg);
    assert_int_equal(ticket_check(&t, "line-2", now, &e), 0);
    assert_int_equal(ticket_check(&t, "line-3", now, &e), -1);
    assert_string_equal(t.job, JOB);
    assert_string_equal(t.approver, "Ada Approver");
    assert_int_equal(t.rows, 3);
    assert_int_equal(t.quota, quota);
    assert_in_range(t.not_after, now + days * INT64_C(86400) - 60, now + days * INT64_C(86400));
    hex_format(t.root.bytes, sizeof t.root.bytes, found);
    assert_string_equal(found, root_hex);
    X509_free(x);
    X509_STORE_free(anchors);
}

static char *approved_with(void)
{
    const char *at = strstr(fake_calls(), "JobApprove ");
    assert_non_null(at);
    char *ticket = strdup(strchr(at + 11, ' ') + 1);
    ticket[strcspn(ticket, "\n")] = '\0';
    return ticket;
}

static void signs_what_it_shows(void **state)
{
    (void)state;
    fake_calls();
    const struct outcome *o = keyline(
            "job", "approve", "order", "--yes", "--passphrase-file", test_path("pass.txt"), NULL);
    assert_int_equal(o->status, 0);
    static const char *const parts[] = {"order 4711", "3: SENSOR-1, SENSOR-2", "at most 3",
            "idevid", "line-1, line-2", "Ada Approver", "Approved."};
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
        assert_says(o->out, parts[i]);
    assert_says(o->out, root_hex);
    char *ticket = approved_with();
    check_ticket(ticket, 3, 30);
    free(ticket);
    o = keyline("job", "approve", "order", "--yes", "--passphrase-file", test_path("pass.txt"),
            "--quota", "2", "--days", "7", "--json", NULL);
    assert_string_equal(o->out, "{\"job\":{\"name\":\"order 4711\"}}\n");
    ticket = approved_with();
    check_ticket(ticket, 2, 7);
    free(ticket);
}

/* A station that hides one more behind many, with the longest names there are. */
static void shows_every_station(void **state)
{
    char text[TICKET_STATIONS_MAX * (NAME_BYTES_MAX + 3) + 512];
    int len = snprintf(text, sizeof text, "%.*s[", (int)strcspn(request(3), "["), request(3));
    (void)state;
    for (unsigned i = 1; i < TICKET_STATIONS_MAX; i++)
        len += snprintf(text + len, sizeof text - (size_t)len, "\"%0*u\",", (int)NAME_BYTES_MAX, i);
    snprintf(text + len, sizeof text - (size_t)len, "\"elsewhere\"]}");
    fake_answer("JobRequest", "%s", text);
    const struct outcome *o = keyline(
            "job", "approve", "order", "--yes", "--passphrase-file", test_path("pass.txt"), NULL);
    assert_int_equal(o->status, 0);
    assert_says(o->out, ", elsewhere\n");
    fake_answer("JobRequest", "%s", request(3));
}

static void nothing_without_a_yes(void **state)
{
    (void)state;
    fake_calls();
    const struct outcome *o =
            keyline("job", "approve", "order", "--passphrase-file", test_path("pass.txt"), NULL);
    assert_int_equal(o->status, 2);
    assert_says(o->err, "--yes");
    o = keyline(
            "job", "approve", "order", "--yes", "--passphrase-file", test_path("wrong.txt"), NULL);
    assert_int_equal(o->status, 1);
    assert_says(o->err, "the passphrase is wrong");
    o = keyline("job", "approve", "order", "--yes", "--quota", "4", NULL);
    assert_int_equal(o->status, 2);
    assert_says(o->err, "only 3 rows");
    o = keyline("job", "approve", "order", "--yes", "--key", "/nonexistent", NULL);
    assert_says(o->err, "the approver's key: /nonexistent does not exist");
    o = keyline("job", "approve", "order", "--yes", "--key", test_path("m.csv"), NULL);
    assert_says(o->err, "is not a private key in PEM form");
    fake_answer("JobRequest", "{\"v\":1,\"surprise\":true}");
    assert_int_equal(keyline("job", "approve", "order", "--yes", "--passphrase-file",
                             test_path("pass.txt"), NULL)
                             ->status,
            1);
    fake_answer("JobRequest", "%s", request(3));
    assert_not_says(fake_calls(), "JobApprove");
}

/* What can be known before is said before, and says what to do in this very case. */
static void faults_come_before_the_decision(void **state)
{
    static const struct {
        const char *option, *file, *says, *advises;
    } faults[] = {
            {"--key", "nosuch", "the approver's key: ", "--key: a file in PEM form"},
            {"--key", "m.csv", "is not a private key in PEM form", "--key: a file in PEM form"},
            {"--key", "etc/approver.pem", "is not a private key", "--key: a file in PEM form"},
            {"--passphrase-file", "nosuch", "the passphrase: ", "that only you can read"},
            {"--passphrase-file", "open.txt", "chmod 600", "nobody else has read the secret"},
            {"--passphrase-file", "empty", "is empty", "on the first line of its file"},
            {"--cert", "nosuch", "the approver's certificate: ", "docs/approving.md"},
            {"--cert", "m.csv", "the approver's certificate: ", "docs/approving.md"},
            {"--cert", "other.pem", "certificate is not for the approver's key", "--cert"},
    };
    char command[400];
    (void)state;
    test_write("open.txt", "correct horse\n");
    chmod(test_path("open.txt"), 0644);
    test_write("empty", "%s", "");
    chmod(test_path("empty"), 0600);
    snprintf(command, sizeof command,
            "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=Eve "
            "-keyout /dev/null -out %s 2>/dev/null",
            test_path("other.pem"));
    assert_int_equal(system(command), 0);
    for (size_t i = 0; i < sizeof faults / sizeof *faults; i++) {
        bool own = strcmp(faults[i].option, "--passphrase-file") == 0;
        const struct outcome *o = keyline("job", "approve", "order", "--yes", faults[i].option,
                test_path(faults[i].file), own ? NULL : "--passphrase-file", test_path("pass.txt"),
                NULL);
        assert_int_equal(o->status, 1);
        assert_says(o->err, faults[i].says);
        assert_says(o->err, faults[i].advises);
        if (strcmp(faults[i].file, "other.pem") != 0) /* that one shows when the key is unlocked */
            assert_string_equal(o->out, "");
    }
    const struct outcome *o = keyline("job", "approve", "--request", test_path("empty"),
            "--manifest", test_path("m.csv"), "--ticket-out", test_path("t"), NULL);
    assert_says(o->err, "empty is empty [BadTicket]");
    assert_says(o->err, "have it made again");
    o = keyline("job", "approve", "--request", "nosuch", "--manifest", test_path("m.csv"),
            "--ticket-out", test_path("t"), NULL);
    assert_says(o->err, "keyline: nosuch does not exist");
    o = keyline("job", "approve", "order", "--ticket", test_path("empty"), NULL);
    assert_says(o->err, "is empty");
    assert_says(o->err, "--ticket-out");
}

static void asks_on_a_terminal(void **state)
{
    const char *const args[] = {"keyline", "job", "approve", "order", NULL};
    struct tty t;
    (void)state;
    fake_calls();
    tty_start(&t, 100, 40, args);
    assert_true(tty_expect(&t, "Approve? [y/N] ", 5000));
    tty_type(&t, "\n");
    assert_int_equal(tty_end(&t), 1);
    assert_says(t.seen, "Nothing was signed");
    tty_done(&t);
    assert_not_says(fake_calls(), "JobApprove");

    tty_start(&t, 100, 40, args);
    assert_true(tty_expect(&t, "Approve? [y/N] ", 5000));
    tty_type(&t, "y\n");
    assert_true(tty_expect(&t, "Passphrase for ", 5000));
    usleep(100000);
    tty_type(&t, "correct horse\n");
    assert_int_equal(tty_end(&t), 0);
    assert_not_says(t.seen, "correct horse");
    tty_done(&t);
    char *ticket = approved_with();
    check_ticket(ticket, 3, 30);
    free(ticket);
}

static void far_from_the_station(void **state)
{
    char ticket[TICKET_BYTES_MAX];
    (void)state;
    snprintf(ticket, sizeof ticket, "%s\n", request(3));
    assert_string_equal(keyline("job", "request", "order", NULL)->out, ticket);
    test_write("request.json", "%s", request(3));
    fake_calls();
#define AWAY                                                                                       \
    "job", "approve", "--request", test_path("request.json"), "--manifest", test_path("m.csv"),    \
            "--yes", "--passphrase-file", test_path("pass.txt"), "--ticket-out",                   \
            test_path("order.ticket")
    const struct outcome *o = keyline(AWAY, "--group", "sensors", NULL);
    if (o->status)
        print_error("%s", o->err);
    assert_int_equal(o->status, 0);
    assert_says(o->out, "(computed from the manifest)");
    assert_says(o->out, "SENSOR-1, SENSOR-2, SENSOR-3");
    FILE *f = fopen(test_path("order.ticket"), "r");
    assert_non_null(fgets(ticket, sizeof ticket, f));
    fclose(f);
    ticket[strcspn(ticket, "\n")] = '\0';
    check_ticket(ticket, 3, 30);
    assert_string_equal(fake_calls(), "");

    assert_int_equal(
            keyline("job", "approve", "order", "--ticket", test_path("order.ticket"), NULL)->status,
            0);
    char *given = approved_with();
    assert_string_equal(given, ticket);
    free(given);

    /* Rows without a group are faults of the file, and each is named. */
    unlink(test_path("order.ticket"));
    o = keyline(AWAY, NULL);
    assert_int_equal(o->status, 1);
    assert_says(o->err,
            "m.csv:2: device_group: no group: fill the column device_group, or name one "
            "with --group\n");
    assert_says(o->err, "m.csv:4: device_group: ");
    assert_says(o->err, "3 faults in the manifest [Manifest]");
    o = keyline(AWAY, "--json", NULL);
    assert_says(o->err, "m.csv:4: device_group: ");
    assert_says(o->out, "{\"error\":{\"name\":\"Manifest\"");

    /* Another group than at import, another row, another count: not what is asked for. */
    assert_says(keyline(AWAY, "--group", "others", NULL)->err, "another --group than at import");
    test_write("m.csv", "device_name,hwid\nSENSOR-1,h1\nSENSOR-2,h2\nSENSOR-3,h4\n");
    assert_says(keyline(AWAY, "--group", "sensors", NULL)->err, "[NotAuthorised]");
    assert_says(
            keyline(AWAY, "--group", "sensors", NULL)->err, "Find out which of the two is right");
    test_write("m.csv", "device_name,hwid\nSENSOR-1,h1\n");
    assert_says(
            keyline(AWAY, "--group", "sensors", NULL)->err, "has 1 rows, the request asks for 3");
    assert_int_equal(access(test_path("order.ticket"), F_OK), -1);
    assert_int_equal(keyline("job", "approve", "--request", "x", NULL)->status, 2);
    assert_int_equal(
            keyline("job", "approve", "x", "--ticket", "t", "--days", "3", NULL)->status, 2);
}

#define OURS                                                                                       \
    "{\"description\":\"ours\",\"keys\":[\"P-256\"],\"subject\":[{\"attribute\":\"CN\",\"value\":" \
    "\"{"                                                                                          \
    "device_name}\"}],\"validity\":{\"years\":%d,\"beyond_ca\":false},\"key_usage\":["             \
    "\"digitalSignature\"]}"

static void digest_of(const char *jws, char out[65])
{
    FILE *f = fopen(test_path("etc/approver.pem"), "r");
    X509 *x = PEM_read_X509(f, NULL, NULL, NULL);
    X509_STORE *anchors = X509_STORE_new();
    struct ticket t;
    struct err e = {0};
    fclose(f);
    X509_STORE_add_cert(anchors, x);
    if (ticket_verify(jws, anchors, &t, &e))
        fail_msg("%s", e.msg);
    assert_string_equal(t.profile, "ours");
    memcpy(out, t.profile_sha256, 65);
    X509_free(x);
    X509_STORE_free(anchors);
}

/* The ticket is for what the profile says, so the profile must be there to be seen. */
static void profiles_are_seen(void **state)
{
    char text[600], *at, first[65], second[65];
    (void)state;
    snprintf(text, sizeof text, "%s", request(3));
    at = strstr(text, "idevid");
    memmove(at + 4, at + 6, strlen(at + 6) + 1);
    memcpy(at, "ours", 4);
    fake_answer("JobRequest", "%s", text);
    fake_calls();
#define APPROVE "job", "approve", "order", "--yes", "--passphrase-file", test_path("pass.txt")
    const struct outcome *o = keyline(APPROVE, NULL);
    assert_int_equal(o->status, 1);
    assert_says(o->err, "--profile-file");
    test_write("etc/profiles/ours.json", OURS, 0);
    o = keyline(APPROVE, NULL);
    assert_int_equal(o->status, 1);
    assert_says(o->err, "validity.years");
    test_write("theirs.json", OURS, 5);
    o = keyline(APPROVE, "--profile-file", test_path("theirs.json"), NULL);
    assert_int_equal(o->status, 1);
    assert_says(o->err, "the job is for profile ours");
    assert_not_says(fake_calls(), "JobApprove");

    test_write("etc/profiles/ours.json", OURS, 5);
    o = keyline(APPROVE, NULL);
    assert_int_equal(o->status, 0);
    assert_says(o->out, "5 years but not longer than the CA");
    char *ticket = approved_with();
    digest_of(ticket, first);
    assert_says(o->out, first);
    free(ticket);
    test_write("ours.json", OURS, 6);
    o = keyline(APPROVE, "--profile-file", test_path("ours.json"), NULL);
    assert_int_equal(o->status, 0);
    assert_says(o->out, "6 years");
    ticket = approved_with();
    digest_of(ticket, second);
    assert_string_not_equal(first, second);
    free(ticket);
    fake_answer("JobRequest", "%s", request(3));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
            cmocka_unit_test(signs_what_it_shows),
            cmocka_unit_test(shows_every_station),
            cmocka_unit_test(nothing_without_a_yes),
            cmocka_unit_test(faults_come_before_the_decision),
            cmocka_unit_test(asks_on_a_terminal),
            cmocka_unit_test(far_from_the_station),
            cmocka_unit_test(profiles_are_seen),
    };
    return cmocka_run_group_tests(tests, start, stop);
}
