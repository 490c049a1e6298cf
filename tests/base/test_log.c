/* The log: one event is one line, whatever its values hold. */
#include "base_test.h"

#include <fcntl.h>
#include <pty.h>
#include <sys/stat.h>

#include "base/buf.h"
#include "base/file.h"
#include "base/limits.h"
#include "base/log.h"
#include "base/text.h"

static int saved_stderr = -1;

/* From here on stderr goes into a file of the scratch directory. */
static void capture(void **state)
{
    int fd = open(scratch_path(state, "log"), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    saved_stderr = dup(STDERR_FILENO);
    assert_true(fd >= 0 && saved_stderr >= 0);
    dup2(fd, STDERR_FILENO);
    close(fd);
}

static const char *captured(void **state)
{
    static char text[65536];
    struct buf b = BUF_INIT;
    struct err e = {0};
    dup2(saved_stderr, STDERR_FILENO);
    close(saved_stderr);
    assert_ok(file_read(scratch_path(state, "log"), sizeof text - 1, &b, &e), &e);
    memcpy(text, buf_str(&b), b.len + 1);
    buf_done(&b);
    return text;
}

static void plain_event(void **state)
{
    capture(state);
    log_open("jobd");
    log_info("started");
    log_info("issued", LOG_STR("device", "sensor-0001"), LOG_NUM("ms", -3),
            LOG_MEM("raw", "abc", 2));
    log_warning("odd", LOG_STR("none", (char *)NULL), LOG_STR("empty", ""), LOG_STR("q", "\""));
    assert_string_equal(captured(state), "<6>jobd: started\n"
                                         "<6>jobd: issued device=sensor-0001 ms=-3 raw=ab\n"
                                         "<4>jobd: odd none=- empty=\"\" q=\"\\\"\"\n");
}

static void values_cannot_forge_a_line(void **state)
{
    capture(state);
    log_open("slotd");
    log_error("refused", LOG_STR("name", "x\n<0>slotd: issued device=evil"),
            LOG_STR("esc", "\x1b[2J\x1b]0;pwned\a"), LOG_STR("quote", "a\" b=\"c"),
            LOG_STR("slash", "a\\"), LOG_STR("equals", "a=b"), LOG_MEM("nul", "a\0b", 3),
            LOG_STR("c1", "\xc2\x9b"
                          "2J"),
            LOG_STR("tabs", "\t\r"));
    assert_string_equal(captured(state),
            "<3>slotd: refused name=\"x\\n<0>slotd: issued device=evil\""
            " esc=\"\\x1b[2J\\x1b]0;pwned\\x07\" quote=\"a\\\" b=\\\"c\" slash=\"a\\\\\""
            " equals=\"a=b\" nul=\"a\\x00b\" c1=\"\\xc2\\x9b2J\" tabs=\"\\t\\r\"\n");
}

/* Every byte there is, alone and among others: the line stays one line of printable ASCII. */
static void no_byte_gets_through(void **state)
{
    capture(state);
    log_open("x");
    for (unsigned c = 0; c < 256; c++) {
        char value[3] = {'a', (char)c, 'b'};
        log_info("e", LOG_MEM("v", value, 3));
    }
    const char *text = captured(state);
    unsigned lines = 0;
    for (const char *p = text; *p != '\0'; p++) {
        lines += *p == '\n';
        if (*p != '\n' && (*p < ' ' || *p > '~'))
            fail_msg("byte %02x in the log", (unsigned char)*p);
    }
    assert_int_equal(lines, 256);
}

static void long_values_are_cut(void **state)
{
    static char value[100000];
    memset(value, '\n', sizeof value - 1);
    capture(state);
    log_open("x");
    log_info("one", LOG_STR("v", value));
    log_info("many", LOG_STR("a", value), LOG_STR("b", value), LOG_STR("c", value),
            LOG_STR("d", value));
    log_info("after");
    const char *text = captured(state);
    const char *end = strchr(text, '\n');
    assert_int_equal(strncmp(end - 4, "...\"", 4), 0);
    const char *second = end + 1;
    end = strchr(second, '\n');
    assert_int_equal(strncmp(end - 6, " cut=1", 6), 0);
    assert_true((size_t)(end + 1 - second) <= LOG_LINE_MAX);
    assert_string_equal(end + 1, "<6>x: after\n");
}

static void levels(void **state)
{
    capture(state);
    setenv("KEYLINE_LOG", "warning", 1);
    log_open("x");
    log_info("hidden");
    log_warning("shown");
    setenv("KEYLINE_LOG", "debug", 1);
    log_open("x");
    log_debug("detail");
    setenv("KEYLINE_LOG", "nonsense", 1);
    log_open("x");
    log_debug("hidden");
    log_info("usual");
    unsetenv("KEYLINE_LOG");
    assert_string_equal(captured(state), "<4>x: shown\n<7>x: detail\n<6>x: usual\n");
}

static void errors(void **state)
{
    struct err e = {0};
    err_set_code(&e, ERR_TOKEN_PIN, 160, "PIN \"refused\"");
    capture(state);
    log_open("signerd");
    log_err(LOG_ERR, "token-failed", &e);
    assert_string_equal(captured(state), "<3>signerd: token-failed error=TokenPin class=HSM "
                                         "code=160 msg=\"PIN \\\"refused\\\"\"\n");
}

static void journal_gets_no_name(void **state)
{
    struct stat st;
    char id[64];
    capture(state);
    assert_int_equal(fstat(STDERR_FILENO, &st), 0);
    snprintf(id, sizeof id, "%llu:%llu", (unsigned long long)st.st_dev,
            (unsigned long long)st.st_ino);
    setenv("JOURNAL_STREAM", id, 1);
    log_open("jobd");
    log_info("a");
    snprintf(id, sizeof id, "%llu:%llu", (unsigned long long)st.st_dev,
            (unsigned long long)st.st_ino + 1);
    setenv("JOURNAL_STREAM", id, 1); /* inherited, but stderr goes elsewhere now */
    log_open("jobd");
    log_info("b");
    unsetenv("JOURNAL_STREAM");
    assert_string_equal(captured(state), "<6>a\n<6>jobd: b\n");
}

static void terminals_get_no_priority(void **state)
{
    int controller, terminal;
    char text[100] = "";
    (void)state;
    assert_int_equal(openpty(&controller, &terminal, NULL, NULL, NULL), 0);
    saved_stderr = dup(STDERR_FILENO);
    dup2(terminal, STDERR_FILENO);
    log_open("keyline");
    log_error("bad", LOG_NUM("n", 1));
    dup2(saved_stderr, STDERR_FILENO);
    close(saved_stderr);
    /* A terminal may hand over a line in pieces. */
    for (size_t len = 0; strchr(text, '\n') == NULL && len < sizeof text - 1;) {
        ssize_t n = read(controller, text + len, sizeof text - 1 - len);
        assert_true(n > 0);
        len += (size_t)n;
    }
    assert_string_equal(text, "keyline: bad n=1\r\n");
    close(controller);
    close(terminal);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
            scratch_test(plain_event),
            scratch_test(values_cannot_forge_a_line),
            scratch_test(no_byte_gets_through),
            scratch_test(long_values_are_cut),
            scratch_test(levels),
            scratch_test(errors),
            scratch_test(journal_gets_no_name),
            scratch_test(terminals_get_no_priority),
    };
    unsetenv("KEYLINE_LOG");
    unsetenv("JOURNAL_STREAM");
    return cmocka_run_group_tests(tests, NULL, NULL);
}
