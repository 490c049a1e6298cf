/* What is printed: for scripts the very answer, for people tables that nobody's names can break. */
#include "cli_test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "station/cli/screen.h"

/* Moves the cursor, sets the title, turns the reading order, breaks lines and columns: as JSON. */
#define HOSTILE "a\\u001b[2J\\u001b]0;x\\u0007\\n\\t\\r\\u009b\\u202e\\u200b\\u007fb"

static int start(void **state)
{
    if (test_root_make(state))
        return -1;
    fake_start();
    return 0;
}

static int stop(void **state)
{
    fake_stop();
    return test_root_remove(state);
}

static void json_is_what_the_appliance_said(void **state)
{
    static const char odd[] = "{ \"jobs\" : [ ],\"later\":1.50, \"u\":\"\\u001b\"}";
    (void)state;
    fake_answer("JobList", "%s", odd);
    const struct outcome *o = keyline("job", "list", "--json", NULL);
    assert_int_equal(o->status, 0);
    assert_int_equal(strncmp(o->out, odd, strlen(odd)), 0);
    assert_string_equal(o->out + strlen(odd), "\n");
    fake_refuse("JobShow", "NotFound", "no job is called \"x\"");
    o = keyline("--json", "job", "show", "x", NULL);
    assert_int_equal(o->status, 1);
    assert_string_equal(o->out,
            "{\"error\":{\"name\":\"NotFound\",\"class\":\"OPERATOR\",\"message\":"
            "\"no job is called \\\"x\\\"\",\"hint\":\"Check the name; the list "
            "commands show what there is.\"}}\n");
    assert_string_equal(o->err, "");
}

static void errors_say_what_to_do(void **state)
{
    (void)state;
    fake_refuse("JobShow", "NotFound", "no job is called \"x\"");
    const struct outcome *o = keyline("job", "show", "x", NULL);
    assert_int_equal(o->status, 1);
    assert_string_equal(o->out, "");
    assert_string_equal(o->err, "keyline: no job is called \"x\" [NotFound]\n"
                                "  Check the name; the list commands show what there is.\n");
    fake_answer("JobList", "this is no JSON");
    o = keyline("job", "list", NULL);
    assert_int_equal(o->status, 1);
    assert_says(o->err, "[Protocol]");
}

static void hostile_names_stay_in_their_cell(void **state)
{
    (void)state;
    fake_answer("DeviceList",
            "{\"devices\":[{\"name\":\"" HOSTILE "\",\"hwid\":\"h\",\"state\":\"Enrolled\"},"
            "{\"name\":\"M\u00fcller \u6771\u4eac\",\"hwid\":null,\"state\":7}],\"next\":null}");
    const struct outcome *o = keyline("device", "list", NULL);
    assert_int_equal(o->status, 0);
    test_assert_tame(o->out, false);
    assert_int_equal(strncmp(o->out, "DEVICE", 6), 0);
    assert_says(o->out, "a?[2J?]0;x??????");
    assert_says(o->out, "M\u00fcller \u6771\u4eac");
    o = keyline("device", "list", "--columns", "name,hwid,state", NULL);
    test_assert_tame(o->out, true);
    assert_says(o->out, "M\u00fcller \u6771\u4eac\t\t7\n");
    unsigned tabs = 0, lines = 0;
    for (const char *s = o->out; *s; s++) {
        tabs += *s == '\t';
        lines += *s == '\n';
    }
    assert_int_equal(tabs, 4);
    assert_int_equal(lines, 2);
    fake_answer("DeviceShow",
            "{\"device\":{\"name\":\"" HOSTILE "\",\"serial\":\"\"},\"row\":{\"" HOSTILE
            "\":\"" HOSTILE "\"},\"certificates\":[{\"pem\":\"" HOSTILE "\"}],"
            "\"runs\":[{\"message\":\"" HOSTILE "\"}]}");
    o = keyline("device", "show", "x", NULL);
    assert_int_equal(o->status, 0);
    test_assert_tame(o->out, false);
    fake_refuse("DeviceShow", "NotFound", "\033[2Jgone");
    test_assert_tame(keyline("device", "show", "x", NULL)->err, false);
}

static void columns_must_exist(void **state)
{
    (void)state;
    const struct outcome *o = keyline("device", "list", "--columns", "name,nosuch", NULL);
    assert_int_equal(o->status, 2);
    assert_says(o->err, "no column \"nosuch\"; there are name, group");
}

static void pages_are_read_to_the_end(void **state)
{
    (void)state;
    fake_answer("DeviceList", "{\"devices\":[{\"name\":\"a\"}],\"total\":3,\"next\":\"p2\"}");
    fake_answer("DeviceList.p2", "{\"devices\":[{\"name\":\"b\"}],\"next\":\"p3\"}");
    fake_answer("DeviceList.p3", "{\"devices\":[{\"name\":\"c\"}],\"next\":null}");
    fake_calls();
    const struct outcome *o =
            keyline("device", "list", "--job", "j", "--name", "S", "--columns", "name", NULL);
    assert_string_equal(o->out, "a\nb\nc\n");
    assert_string_equal(fake_calls(),
            "DeviceList job=j name=S - 500\nDeviceList job=j name=S p2 500\n"
            "DeviceList job=j name=S p3 500\n");
    o = keyline("device", "list", "--json", NULL);
    assert_string_equal(o->out, "{\"total\":3,\"devices\":[{\"name\":\"a\"},{\"name\":\"b\"},{"
                                "\"name\":\"c\"}],\"next\":null}\n");
    fake_answer("DeviceList.p3", "{\"devices\":[],\"next\":\"p3\"}");
    o = keyline("device", "list", NULL);
    assert_int_equal(o->status, 1);
    assert_says(o->err, "same page");
}

static void import_errors_are_named_like_a_compilers(void **state)
{
    (void)state;
    test_write("m.csv", "device_name\na\n");
    fake_answer("JobImport",
            "{\"imported\":false,\"errors_total\":1002,\"errors\":["
            "{\"row\":4,\"column\":\"device_name\",\"reason\":\"\\\"a\\\" stands twice\"},"
            "{\"row\":0,\"column\":\"\",\"reason\":\"" HOSTILE "\"}]}");
    fake_calls();
    const struct outcome *o = keyline("job", "import", test_path("m.csv"), "--group", "g",
            "--station", "s1,s2", "--add-groups", NULL);
    char expected[160];
    assert_int_equal(o->status, 1);
    snprintf(expected, sizeof expected, "%s:4: device_name: \"a\" stands twice\n",
            test_path("m.csv"));
    assert_says(o->err, expected);
    assert_says(o->err, "... and 1,000 more\nNothing was imported: 1,002 errors.");
    test_assert_tame(o->err, false);
    assert_says(fake_calls(),
            "JobImport [device_name\na\n] group=g station=s1,s2 add_groups=yes name=m.csv\n");
    o = keyline("job", "import", test_path("m.csv"), "--json", NULL);
    assert_int_equal(o->status, 1);
    assert_says(o->out, "{\"imported\":false");
}

static void imports_from_a_pipe(void **state)
{
    (void)state;
    fake_answer("JobImport", "{\"imported\":true,\"job\":{\"name\":\"order "
                             "4711\",\"rows\":1234,\"state\":\"Pending approval\"}}");
    fake_calls();
    const struct outcome *o =
            keyline_input("device_name\nx\n", "job", "import", "-", "--name", "order 4711", NULL);
    assert_int_equal(o->status, 0);
    assert_string_equal(o->out,
            "Job \"order 4711\": 1,234 devices imported, waiting for approval.\n"
            "Next: keyline job approve \"order 4711\"\n");
    assert_says(fake_calls(), "JobImport [device_name\nx\n] name=order 4711\n");
    assert_says(keyline("job", "import", test_path("nosuch.csv"), NULL)->err, "there is no file");
    assert_says(keyline("job", "import", test_root, NULL)->err, "is not a file");
    assert_string_equal(fake_calls(), "");
}

static void a_file_imported_twice_says_how_to_go_on(void **state)
{
    (void)state;
    test_write("twice.csv", "device_name\na\n");
    fake_refuse("JobImport", "Exists", "this very file was imported already, as job 'a'");
    assert_says(keyline("job", "import", test_path("twice.csv"), NULL)->err,
            "as job 'a' [Exists]\n  Go on with that job, ");
    assert_says(keyline("job", "import", test_path("twice.csv"), "--reissue", NULL)->err,
            "[Exists]\n  It is there already: ");
}

#define SUMMARY                                                                                    \
    "\"job\":{\"name\":\"demo\",\"state\":\"Completed\"},\"summary\":{\"rows\":2,\"passed\":1,"    \
    "\"failed\":1,"                                                                                \
    "\"untouched\":0,\"first_pass_yield\":0.5,\"cycle_ms_p50\":1800,\"cycle_ms_p95\":2400,"        \
    "\"devices_per_hour\":28800.4,\"failures\":[{\"error\":\"DeviceSilent\",\"hint\":\"Check "     \
    "it.\","                                                                                       \
    "\"count\":3,\"example\":\"S-2\"}],\"synced\":1}"

static void report_pages_and_summary(void **state)
{
    (void)state;
    fake_answer("JobReport",
            "{" SUMMARY
            ",\"rows\":[{\"row\":1,\"device_name\":\"S-1\",\"verdict\":\"PASS\"}],\"next\":1}");
    fake_answer("JobReport.1",
            "{" SUMMARY ",\"rows\":[{\"row\":2,\"device_name\":\"S-2\",\"verdict\":\"FAIL\","
            "\"error\":\"DeviceSilent\",\"message\":\"no answer\"}],\"next\":null}");
    fake_answer("SyncStatus",
            "{\"state\":\"offline\",\"url\":\"https://"
            "up.example\",\"retry_at\":\"2026-11-23T10:00:00.000Z\",\"refused\":0}");
    const struct outcome *o = keyline("job", "report", "demo", NULL);
    assert_int_equal(o->status, 0);
    static const char *const parts[] = {"S-1", "S-2", "no answer", "Job \"demo\": Completed",
            "1 of 2", "50.0 %", "1.8 s (median), 2.4 s (95th percentile)", "28,800",
            "1 of 1: upstream is offline, the rest waits here; next try 2026-11-23 10:00:00",
            "DeviceSilent", "Check it.", "e.g. S-2", "https://up.example",
            "keyline device show S-2"};
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
        assert_says(o->out, parts[i]);
    o = keyline("job", "report", "demo", "--json", NULL);
    assert_says(o->out, "\"rows\":[{\"row\":1,");
    assert_says(o->out, "},{\"row\":2,");
    assert_says(o->out, "],\"next\":null}\n");
    assert_string_equal(
            keyline("job", "report", "demo", "--columns", "device_name,verdict", NULL)->out,
            "S-1\tPASS\nS-2\tFAIL\n");
}

static char *slurp(const char *path)
{
    static char text[8192];
    FILE *f = fopen(path, "r");
    assert_non_null(f);
    text[fread(text, 1, sizeof text - 1, f)] = '\0';
    fclose(f);
    return text;
}

static void csv_is_whole_quoted_and_no_formula(void **state)
{
    char command[200];
    (void)state;
    fake_answer("JobReport",
            "{" SUMMARY ",\"rows\":[{\"row\":1,\"device_name\":\"=cmd|' /C calc'!A0\","
            "\"message\":\"says \\\"no\\\", "
            "twice\\nreally\",\"error\":null,\"attempts\":2}],\"next\":1}");
    fake_answer("JobReport.1",
            "{" SUMMARY ",\"rows\":[{\"row\":2,\"device_name\":\"-1\"}],\"next\":null}");
    const struct outcome *o = keyline("job", "report", "demo", "--csv", test_path("r.csv"), NULL);
    assert_int_equal(o->status, 0);
    assert_says(o->out, "Job \"demo\"");
    assert_not_says(o->out, "cmd|");
    const char *csv = slurp(test_path("r.csv"));
    assert_int_equal(
            strncmp(csv,
                    "\"row\",\"device_id\",\"device_name\",\"device_group\",\"hwid\",\"state\","
                    "\"verdict\","
                    "\"attempts\",\"slot\",\"finished\",\"serial\",\"error\",\"message\"\r\n",
                    60),
            0);
    assert_says(csv, "\r\n\"1\",\"\",\"'=cmd|' /C calc'!A0\",");
    assert_says(csv, "\"says \"\"no\"\", twice\nreally\"\r\n");
    assert_says(csv, "\"'-1\"");
    /* A failure in the middle leaves the report of before, and nothing beside it. */
    fake_refuse("JobReport.1", "Store", "the disk");
    fake_answer("JobReport.1", "no JSON");
    assert_int_equal(
            keyline("job", "report", "demo", "--csv", test_path("r.csv"), NULL)->status, 1);
    assert_says(slurp(test_path("r.csv")), "\"'-1\"");
    snprintf(command, sizeof command, "test $(ls %s | grep -c '^r.csv') = 1", test_root);
    assert_int_equal(system(command), 0);
    assert_int_equal(
            keyline("job", "report", "demo", "--csv", "/nonexistent/r.csv", NULL)->status, 1);
}

static void shows_certificates(void **state)
{
    char command[512], *pem, escaped[4096] = "";
    (void)state;
    snprintf(command, sizeof command,
            "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30 -subj "
            "'/O=Example/CN=%s' "
            "-set_serial 0x5f01 -keyout /dev/null -out %s 2>/dev/null",
            "Test CA", test_path("etc/ca/chain.pem"));
    const struct outcome *o = keyline("ca", "show", NULL);
    assert_int_equal(o->status, 1);
    assert_says(o->err, "keyline init");
    assert_int_equal(system(command), 0);
    o = keyline("ca", "show", NULL);
    assert_int_equal(o->status, 0);
    assert_says(o->out, "CN=Test CA,O=Example");
    assert_says(o->out, "5f01");
    assert_says(o->out, "P-256");
    assert_says(keyline("ca", "show", "--json", NULL)->out,
            "{\"chain\":[{\"subject\":\"CN=Test CA,O=Example\",");
    pem = slurp(test_path("etc/ca/chain.pem"));
    assert_string_equal(keyline("ca", "show", "--pem", NULL)->out, pem);
    for (char *s = pem; *s; s++)
        snprintf(escaped + strlen(escaped), sizeof escaped - strlen(escaped),
                *s == '\n' ? "\\n" : "%c", *s);
    fake_answer("DeviceShow",
            "{\"device\":{\"name\":\"d\",\"job\":\"3f2a\",\"job_name\":\"order "
            "4711\",\"serial\":\"5f01\","
            "\"synced\":true},\"row\":{},\"certificates\":[{\"pem\":\"%s\",\"state\":\"revoked\","
            "\"revoked\":\"2026-11-23T10:20:30.123Z\",\"reason\":\"superseded\"}],\"runs\":[]}",
            escaped);
    o = keyline("device", "show", "d", NULL);
    assert_says(o->out, "CN=Test CA");
    assert_says(o->out, "yes, acknowledged");
    assert_says(o->out, "  Job                 order 4711\n");
    assert_says(o->out,
            "  Revoked             2026-11-23 10:20:30\n  Reason              superseded\n");
    test_write(
            "etc/ca/chain.pem", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
    assert_int_equal(keyline("ca", "show", NULL)->status, 1);
}

#define DEVICE_ID "ac9d78ce-bfa3-5e70-a2a3-bb0613d587cc"
#define JOB_ID    "b178806d-9b41-4541-97e6-2c97f329491c"
#define AT        "\"time\":\"2026-11-26T04:41:5"

static void answer_ledger(void)
{
    fake_answer("JobShow", "{\"job\":{\"name\":\"order 4711\"}}");
    fake_answer("DeviceShow", "{\"device\":{\"name\":\"sensor-000001\"}}");
    fake_answer("Ledger",
            "{\"entries\":["
            "{\"type\":\"withdrawn\"," AT "8.1Z\",\"job\":\"" JOB_ID "\"},"
            "{\"type\":\"checkpoint\"," AT "7.1Z\",\"bytes\":7,\"accepted\":true},"
            "{\"type\":\"crl\"," AT "7.1Z\",\"number\":3,\"revoked\":1},"
            "{\"type\":\"checkpoint\"," AT "6.1Z\",\"bytes\":706,\"accepted\":false},"
            "{\"type\":\"revoked\"," AT "5.1Z\",\"device\":\"" DEVICE_ID
            "\",\"serial\":\"5aab0f65fc6f4f957b9eb59e4156e616\",\"reason\":\"superseded\"}],"
            "\"next\":9}");
    fake_answer("Ledger.9",
            "{\"entries\":["
            "{\"type\":\"refused\"," AT "4.1Z\",\"device\":\"" DEVICE_ID
            "\",\"error\":\"KeyReused\",\"message\":\"the device has a key that another device was "
            "certified with before\"},"
            "{\"type\":\"issued\"," AT "3.1Z\",\"device\":\"" DEVICE_ID "\",\"job\":\"" JOB_ID
            "\",\"serial\":\"5aab0f65fc6f4f957b9eb59e4156e616\"}],\"next\":null}");
}

/* Whole times, whole serial numbers, names: at the width of a small terminal, too. */
static void the_ledger_fits_the_terminal(void **state)
{
    static const char narrow[] =
            "TIME                 WHAT        DEVICE         SERIAL NUMBER, REASON\n"
            "2026-11-26 04:41:58  withdrawn                  job \"order 4711\"\n"
            "2026-11-26 04:41:57  checkpoint                 a person vouched for what is\n"
            "                                                before it\n"
            "2026-11-26 04:41:57  crl                        number 3, 1 revoked\n"
            "2026-11-26 04:41:55  revoked     sensor-000001  5aab0f65fc6f4f957b9eb59e4156e616\n"
            "                                                superseded\n"
            "2026-11-26 04:41:54  refused     sensor-000001  KeyReused: the device has a key\n"
            "                                                that another device was\n"
            "                                                certified with before\n"
            "2026-11-26 04:41:53  issued      sensor-000001  5aab0f65fc6f4f957b9eb59e4156e616\n";
    const char *const args[] = {"keyline", "ca", "ledger", NULL};
    struct tty t;
    (void)state;
    answer_ledger();
    for (unsigned columns = 80; columns <= 120; columns += 40) {
        tty_start(&t, columns, 20, args);
        assert_int_equal(tty_end(&t), 0);
        char *picture = tty_picture(t.seen, t.len, columns, 20);
        if (columns == 80 && strncmp(picture, narrow, sizeof narrow - 1) != 0)
            fail_msg("this is not\n%sbut\n%s", narrow, picture);
        assert_says(picture, "2026-11-26 04:41:53  issued      sensor-000001  5aab0f65fc6f4f957b");
        if (columns == 120)
            assert_says(picture, "5aab0f65fc6f4f957b9eb59e4156e616 superseded\n");
        assert_not_says(picture, "706");
        assert_not_says(picture, "\u2026");
        free(picture);
        tty_done(&t);
    }
    assert_says(keyline("ca", "ledger", "--all", NULL)->out, "signed up to byte 706\n");
    fake_calls();
    assert_string_equal(keyline("ca", "ledger", "--columns", "type,job", "--limit", "4", NULL)->out,
            "withdrawn\t" JOB_ID "\ncheckpoint\t\ncrl\t\nrevoked\t\n");
    assert_string_equal(fake_calls(), "Ledger - 0 4\n"); /* no names, no questions */
    assert_says(keyline("ca", "ledger", "--json", NULL)->out, "\"bytes\":706");
    fake_refuse("DeviceShow", "NotFound", "the registry is another one");
    assert_says(keyline("ca", "ledger", NULL)->out, "  issued      " DEVICE_ID "  5aab");
    /* a later page has a longer word than the first one */
    fake_answer("Ledger", "{\"entries\":[{\"type\":\"crl\"," AT
                          "9.1Z\",\"number\":3,\"revoked\":1}],\"next\":9}");
    fake_answer("Ledger.9", "{\"entries\":[{\"type\":\"withdrawn\"," AT "8.1Z\",\"job\":\"" JOB_ID
                            "\"}],\"next\":null}");
    assert_says(keyline("ca", "ledger", NULL)->out,
            "9  crl                number 3, 1 revoked\n"
            "2026-11-26 04:41:58  withdrawn          job \"order 4711\"\n");
}

/* Up, not yet up, and away: what a person sees just after a start is no alarm. */
static void status_says_how_the_signer_is(void **state)
{
#define TOKEN(label, state, p99, why)                                                              \
    "{\"label\":\"" label "\",\"state\":\"" state "\",\"sign_ms_p99\":" p99 ",\"last_error\":" why \
    "}"
    (void)state;
    fake_answer("Status", "{\"signer\":{\"up\":true,\"tokens\":[" TOKEN(
                                  "a", "starting", "0", "null") "],\"error\":null}}");
    const struct outcome *o = keyline("status", NULL);
    assert_says(o->out, "  HSM                 starting, which takes some seconds: 0 of 1 token\n");
    assert_not_says(o->out, "Error");
    fake_answer("Status",
            "{\"signer\":{\"up\":true,\"tokens\":[" TOKEN("a", "up", "12.25", "null") "," TOKEN(
                    "b", "starting", "0", "null") "," TOKEN("c", "down", "0",
                    "{\"message\":\"gone\",\"hint\":\"Plug it in.\"}") "]}}");
    o = keyline("status", NULL);
    assert_says(o->out, "up: 1 of 3 tokens, p99 12.2 ms\n");
    assert_says(o->out, "token \"b\" is starting\n");
    assert_says(o->out, "token \"c\" is down: gone\n  What to do          Plug it in.\n");
    fake_answer("Status", "{\"signer\":{\"up\":false,\"error\":{\"name\":\"Unavailable\","
                          "\"message\":\"the signer is "
                          "away\",\"hint\":\"start it with 'keyline run'\"}}}");
    o = keyline("status", NULL);
    assert_says(o->out, "What to do          Just after a start: ask again in a moment.");
    assert_not_says(o->out, "keyline run");
}

static void verbs_make_the_right_calls(void **state)
{
    (void)state;
    fake_calls();
    fake_answer("GroupAdd", "{\"group\":{\"name\":\"g\"}}");
    fake_answer("JobReject", "{\"job\":{\"name\":\"j\"}}");
    fake_answer("DeviceRegister", "{\"imported\":true,\"job\":{\"name\":\"d\",\"rows\":1}}");
    assert_says(keyline("group", "add", "g", "--description", "what for", NULL)->out, "\"g\"");
    assert_int_equal(keyline("job", "reject", "j", NULL)->status, 0);
    assert_int_equal(keyline("device", "register", "device_name=d", "attr.x=a=b", NULL)->status, 0);
    assert_int_equal(keyline("device", "register", "device_name", NULL)->status, 2);
    assert_string_equal(fake_calls(),
            "GroupAdd g what for\nJobReject j -\nDeviceRegister device_name=d attr.x=a=b\n");
}

static void waits_for_the_appliance(void **state)
{
    (void)state;
    fake_stop();
    const struct outcome *o = keyline("status", NULL);
    assert_int_equal(o->status, 1);
    assert_says(o->err, "keyline run");
    const char *const args[] = {"keyline", "--wait", "5", "status", NULL};
    struct tty t;
    tty_start(&t, 80, 24, args);
    usleep(500000);
    fake_start();
    assert_int_equal(tty_end(&t), 0);
    tty_done(&t);
}

static void measures_and_cuts_text(void **state)
{
    char *text = NULL;
    size_t len;
    (void)state;
    struct screen s = {.utf8 = true};
    screen_init(&s, stdout);
    s.file = open_memstream(&text, &len);
    s.utf8 = true;
    assert_int_equal(screen_measure(&s, "\u6771\u4eac"), 4);
    assert_int_equal(screen_put(&s, "abcdef", 4), 4);
    assert_int_equal(screen_put(&s, "\u6771\u4eac\u6771", 4), 3);
    screen_cell(&s, "e\u0301", 3);
    screen_cell_right(&s, "7", 3);
    fclose(s.file);
    assert_string_equal(text, "abc\u2026\u6771\u2026e\u0301    7");
    free(text);
    char n[NUMBER_TEXT_MAX];
    assert_string_equal(number_format(-1234567, n), "-1,234,567");
    assert_string_equal(number_format(999, n), "999");
    assert_string_equal(duration_format(61000, n), "1 min 01 s");
    assert_string_equal(duration_format(850, n), "850 ms");
    assert_string_equal(clock_format("2026-11-23T10:20:30.123Z", n), "2026-11-23 10:20:30");
    assert_string_equal(clock_format("never", n), "never");
}

/* What hangs is not what does not run. */
static void doctor_names_a_jobd_that_hangs(void **state)
{
    (void)state;
    fake_refuse("Status", "Timeout", "no answer");
    assert_says(keyline("doctor", NULL)->out,
            "FAIL  appliance      it runs, but jobd does not answer: no answer -> Its log");
    const char *const args[] = {"keyline", "doctor", NULL};
    struct tty t;
    tty_start(&t, 60, 100, args);
    (void)tty_end(&t);
    char *picture = tty_picture(t.seen, t.len, 60, 100);
    assert_says(picture, "FAIL  appliance      it runs, but jobd does not answer: no\n"
                         "                     answer\n"
                         "                     -> Its log says what it did last;\n"
                         "                        restart it if it stays so.\n");
    free(picture);
    tty_done(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
            cmocka_unit_test(json_is_what_the_appliance_said),
            cmocka_unit_test(errors_say_what_to_do),
            cmocka_unit_test(hostile_names_stay_in_their_cell),
            cmocka_unit_test(columns_must_exist),
            cmocka_unit_test(pages_are_read_to_the_end),
            cmocka_unit_test(import_errors_are_named_like_a_compilers),
            cmocka_unit_test(imports_from_a_pipe),
            cmocka_unit_test(a_file_imported_twice_says_how_to_go_on),
            cmocka_unit_test(report_pages_and_summary),
            cmocka_unit_test(csv_is_whole_quoted_and_no_formula),
            cmocka_unit_test(shows_certificates),
            cmocka_unit_test(the_ledger_fits_the_terminal),
            cmocka_unit_test(status_says_how_the_signer_is),
            cmocka_unit_test(verbs_make_the_right_calls),
            cmocka_unit_test(waits_for_the_appliance),
            cmocka_unit_test(measures_and_cuts_text),
            cmocka_unit_test(doctor_names_a_jobd_that_hangs),
    };
    return cmocka_run_group_tests(tests, start, stop);
}
