/* Every answer upstream can give, at every step: what is delivered, what is set aside, what is
 * tried again. Above all: nothing but 201 and the very bytes seen there is a delivery. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/limits.h"
#include "jobs/sync/journal.h"

#define BODY "{\"record\":1}\n{\"record\":2}\n"
static const char url[] = "https://up.example/keyline";

static void begin(struct journal *j)
{
    struct err e = {0};
    if (journal_init(j, url, "line 1", 1, 2, (const uint8_t *)BODY, strlen(BODY), &e) < 0)
        fail_msg("%s", e.msg);
}

/* The answer with this status and body to j's request. */
static struct journal_verdict hear(struct journal *j, int status, const char *body)
{
    char bytes[128];
    struct journal_verdict v;
    struct http_answer a = {.status = status};
    snprintf(bytes, sizeof bytes, "%s", body);
    a.body.data = bytes[0] ? (uint8_t *)bytes : NULL;
    a.body.len = strlen(bytes);
    journal_answer(j, &a, NULL, &v);
    return v;
}

static void at_step(struct journal *j, enum journal_step step, int put_status)
{
    begin(j);
    j->step = step;
    j->put_status = put_status;
}

static void expect_wait(const struct journal *j, const struct journal_verdict *v, enum err_id id,
        enum journal_pause pause, int status)
{
    if (v->action != JOURNAL_WAIT || v->why.id != id || v->pause != pause ||
            j->step != JOURNAL_PUT || v->why.msg[0] == '\0')
        fail_msg("status %d: action %d error %s pause %d step %d", status, (int)v->action,
                err_name(v->why.id), (int)v->pause, (int)j->step);
}

/* ---- asking ---- */

static void the_put_is_as_the_contract_says(void **state)
{
    struct journal j;
    struct journal_sending s;
    (void)state;
    begin(&j);
    journal_request(&j, &s);
    assert_string_equal(s.request.method, "PUT");
    assert_string_equal(s.request.url, "https://up.example/keyline/stations/line%201/batches/"
                                       "000000000001-000000000002.ndjson");
    assert_int_equal(s.request.body_len, strlen(BODY));
    assert_string_equal(s.headers[0], "Content-Type: application/x-ndjson");
    assert_string_equal(s.headers[1], "If-None-Match: *");
    /* printf '{"record":1}\n{"record":2}\n' | openssl dgst -sha256 -binary | base64 */
    assert_string_equal(
            s.headers[2], "Content-Digest: sha-256=:3a5lqmlzaC3HgU57oS3wotjEyM7+WDtQtySPLLYPTPA=:");
    assert_null(s.headers[3]);
    assert_int_equal(s.request.answer_max, UPSTREAM_ANSWER_MAX);
}

static void names_are_escaped_and_slashes_trimmed(void **state)
{
    static const char station[] = "a%2f?#&\xc3\xa4~_.-";
    struct journal j;
    struct err e = {0};
    (void)state;
    assert_int_equal(
            journal_init(&j, "https://h//", station, 1, UINT64_MAX, (const uint8_t *)"x", 1, &e),
            0);
    assert_string_equal(j.path.url, "https://h/stations/a%252f%3F%23%26%C3%A4~_.-/batches/"
                                    "000000000001-18446744073709551615.ndjson");
}

static void an_address_too_long_is_refused(void **state)
{
    char longest[UPSTREAM_URL_MAX + 1] = "https://h/";
    struct journal j;
    struct err e = {0};
    (void)state;
    memset(longest + strlen(longest), 'a', sizeof longest - strlen(longest) - 1);
    longest[sizeof longest - 1] = '\0';
    assert_int_equal(journal_init(&j, longest, "s", 1, 2, (const uint8_t *)"x", 1, &e), -1);
    assert_int_equal(e.id, ERR_CONFIG);
}

static void addresses_that_are_no_upstream(void **state)
{
    static const char *const good[] = {"https://up.example", "https://up.example:8443/a/b/",
            "https://[2001:db8::1]/x", "http://127.0.0.1:8080/dav", "http://127.9.9.9",
            "http://[::1]:80/", "http://localhost/x", "HTTPS://UP.example/"};
    static const char *const bad[] = {"", "up.example", "//up.example", "/path", "https://",
            "http://up.example/", "http://127.0.0.1.evil.example/", "http://localhost.evil.example",
            "http://128.0.0.1/", "http://[::2]/", "http://10.0.0.1/", "https://user@up.example/",
            "https://user:hunter2@up.example/", "https://up.example/?a=b", "https://up.example/#x",
            "ftp://up.example/", "file:///etc/passwd", "https://up example/",
            "https://up.example\n", "gopher://127.0.0.1/"};
    (void)state;
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        struct err e = {0};
        if (http_url_check(good[i], &e) != 0)
            fail_msg("'%s' must be accepted: %s", good[i], e.msg);
    }
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct err e = {0};
        if (http_url_check(bad[i], &e) != -1 || e.id != ERR_CONFIG)
            fail_msg("'%s' must be refused", bad[i]);
        if (strstr(e.msg, "hunter2") != NULL)
            fail_msg("the password is in the message: %s", e.msg);
    }
}

/* ---- understanding: PUT ---- */

static void only_created_is_an_ack(void **state)
{
    (void)state;
    for (int status = 100; status < 1000; status++) {
        struct journal j;
        begin(&j);
        struct journal_verdict v = hear(&j, status, BODY);
        if ((v.action == JOURNAL_ACK) != (status == 201))
            fail_msg("PUT answered %d: action %d", status, (int)v.action);
        if (v.action == JOURNAL_WAIT || v.action == JOURNAL_REFUSE)
            if (v.why.id == ERR_NONE || v.why.msg[0] == '\0')
                fail_msg("PUT answered %d: no reason is given", status);
    }
}

static void what_a_put_may_hear(void **state)
{
    static const struct {
        int status;
        enum err_id id;
        enum journal_pause pause;
    } waits[] = {
            {301, ERR_UPSTREAM_NONSENSE, JOURNAL_PAUSE_BACKOFF},
            {302, ERR_UPSTREAM_NONSENSE, JOURNAL_PAUSE_BACKOFF},
            {307, ERR_UPSTREAM_NONSENSE, JOURNAL_PAUSE_BACKOFF},
            {401, ERR_UPSTREAM_REFUSED, JOURNAL_PAUSE_LONG},
            {403, ERR_UPSTREAM_REFUSED, JOURNAL_PAUSE_LONG},
            {404, ERR_UPSTREAM_REFUSED, JOURNAL_PAUSE_LONG},
            {405, ERR_UPSTREAM_REFUSED, JOURNAL_PAUSE_LONG},
            {407, ERR_UPSTREAM_REFUSED, JOURNAL_PAUSE_LONG},
            {408, ERR_UPSTREAM_DOWN, JOURNAL_PAUSE_BACKOFF},
            {411, ERR_UPSTREAM_REFUSED, JOURNAL_PAUSE_LONG},
            {423, ERR_UPSTREAM_DOWN, JOURNAL_PAUSE_BACKOFF},
            {429, ERR_UPSTREAM_DOWN, JOURNAL_PAUSE_BACKOFF},
            {451, ERR_UPSTREAM_REFUSED, JOURNAL_PAUSE_LONG},
            {500, ERR_UPSTREAM_DOWN, JOURNAL_PAUSE_BACKOFF},
            {502, ERR_UPSTREAM_DOWN, JOURNAL_PAUSE_BACKOFF},
            {503, ERR_UPSTREAM_DOWN, JOURNAL_PAUSE_BACKOFF},
            {504, ERR_UPSTREAM_DOWN, JOURNAL_PAUSE_BACKOFF},
            {507, ERR_UPSTREAM_DOWN, JOURNAL_PAUSE_BACKOFF},
    };
    (void)state;
    for (size_t i = 0; i < sizeof waits / sizeof waits[0]; i++) {
        struct journal j;
        begin(&j);
        struct journal_verdict v = hear(&j, waits[i].status, "");
        expect_wait(&j, &v, waits[i].id, waits[i].pause, waits[i].status);
    }
    static const int refusals[] = {400, 413, 422};
    for (size_t i = 0; i < sizeof refusals / sizeof refusals[0]; i++) {
        struct journal j;
        begin(&j);
        struct journal_verdict v = hear(&j, refusals[i], "");
        assert_int_equal(v.action, JOURNAL_REFUSE);
        assert_int_equal(v.why.id, ERR_UPSTREAM_REFUSED);
        assert_int_equal(v.why.code, refusals[i]);
    }
    static const int compares[] = {200, 202, 203, 204, 205, 206, 207, 226, 412};
    for (size_t i = 0; i < sizeof compares / sizeof compares[0]; i++) {
        struct journal j;
        struct journal_sending s;
        begin(&j);
        struct journal_verdict v = hear(&j, compares[i], "<html>welcome</html>");
        assert_int_equal(v.action, JOURNAL_SEND);
        assert_int_equal(j.step, JOURNAL_COMPARE);
        journal_request(&j, &s);
        assert_string_equal(s.request.method, "GET");
        assert_string_equal(s.request.url, j.path.url);
        assert_null(s.request.body);
        assert_int_equal(s.request.answer_max, strlen(BODY));
    }
}

static void a_line_that_fails_is_waited_for(void **state)
{
    static const enum err_id ids[] = {ERR_UPSTREAM_DOWN, ERR_UPSTREAM_UNTRUSTED, ERR_CONFIG};
    (void)state;
    for (int step = JOURNAL_PUT; step <= JOURNAL_MAKE_BATCHES; step++)
        for (size_t i = 0; i < sizeof ids / sizeof ids[0]; i++) {
            struct journal j;
            struct journal_verdict v;
            struct http_answer nothing = {0};
            struct err why = {0};
            at_step(&j, (enum journal_step)step, 412);
            err_set(&why, ids[i], "cause");
            journal_answer(&j, &nothing, &why, &v);
            expect_wait(&j, &v, ids[i], JOURNAL_PAUSE_BACKOFF, 0);
        }
}

static void retry_after_is_kept_and_capped(void **state)
{
    static const int64_t given[] = {
            0, 1, 120, UPSTREAM_RETRY_AFTER_MAX_S, UPSTREAM_RETRY_AFTER_MAX_S + 1, INT64_MAX};
    static const int statuses[] = {401, 429, 503, 302};
    (void)state;
    for (size_t i = 0; i < sizeof given / sizeof given[0]; i++)
        for (size_t k = 0; k < sizeof statuses / sizeof statuses[0]; k++) {
            struct journal j;
            struct journal_verdict v;
            const struct http_answer a = {.status = statuses[k], .retry_after_s = given[i]};
            begin(&j);
            journal_answer(&j, &a, NULL, &v);
            assert_int_equal(v.action, JOURNAL_WAIT);
            assert_int_equal(v.pause_min_s,
                    given[i] < UPSTREAM_RETRY_AFTER_MAX_S ? given[i] : UPSTREAM_RETRY_AFTER_MAX_S);
        }
}

/* ---- understanding: what upstream holds ---- */

static void the_same_bytes_are_a_delivery(void **state)
{
    static const int puts[] = {412, 200, 204};
    (void)state;
    for (size_t i = 0; i < sizeof puts / sizeof puts[0]; i++) {
        struct journal j;
        at_step(&j, JOURNAL_COMPARE, puts[i]);
        struct journal_verdict v = hear(&j, 200, BODY);
        assert_int_equal(v.action, JOURNAL_ACK);
        assert_non_null(v.detail);
    }
}

static void other_bytes_are_a_conflict_after_412_only(void **state)
{
    static const char *const others[] = {"", "{\"record\":1}\n", "<html>welcome</html>",
            "{\"record\":1}\n{\"record\":3}\n", BODY "{\"record\":3}\n"};
    (void)state;
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++) {
        struct journal j;
        at_step(&j, JOURNAL_COMPARE, 412);
        struct journal_verdict v = hear(&j, 200, others[i]);
        assert_int_equal(v.action, JOURNAL_REFUSE);
        assert_int_equal(v.why.id, ERR_UPSTREAM_CONFLICT);
        at_step(&j, JOURNAL_COMPARE, 200);
        v = hear(&j, 200, others[i]);
        expect_wait(&j, &v, ERR_UPSTREAM_NONSENSE, JOURNAL_PAUSE_BACKOFF, 200);
    }
}

/* http.c takes no more than was asked for: our bytes with more behind them must not pass for ours.
 */
static void a_longer_resource_is_another_one(void **state)
{
    struct journal j;
    struct journal_verdict v;
    uint8_t bytes[] = BODY;
    const struct http_answer a = {
            .status = 200, .cut = true, .body = {.data = bytes, .len = strlen(BODY)}};
    (void)state;
    at_step(&j, JOURNAL_COMPARE, 412);
    journal_answer(&j, &a, NULL, &v);
    assert_int_equal(v.action, JOURNAL_REFUSE);
    assert_int_equal(v.why.id, ERR_UPSTREAM_CONFLICT);
}

static void a_comparison_that_cannot_be_made(void **state)
{
    (void)state;
    for (int status = 100; status < 1000; status++) {
        struct journal j;
        if (status == 200)
            continue;
        at_step(&j, JOURNAL_COMPARE, 412);
        struct journal_verdict v = hear(&j, status, BODY);
        if (v.action != JOURNAL_WAIT)
            fail_msg("GET answered %d: action %d", status, (int)v.action);
    }
    struct journal j;
    at_step(&j, JOURNAL_COMPARE, 204);
    struct journal_verdict v = hear(&j, 404, "");
    expect_wait(&j, &v, ERR_UPSTREAM_NONSENSE, JOURNAL_PAUSE_BACKOFF, 404);
    at_step(&j, JOURNAL_COMPARE, 412);
    v = hear(&j, 403, "");
    expect_wait(&j, &v, ERR_UPSTREAM_REFUSED, JOURNAL_PAUSE_LONG, 403);
}

/* ---- understanding: collections ---- */

static void collections_are_made_outermost_first(void **state)
{
    static const char *const urls[] = {"https://up.example/keyline/stations/",
            "https://up.example/keyline/stations/line%201/",
            "https://up.example/keyline/stations/line%201/batches/"};
    static const int answers[] = {405, 201, 200};
    struct journal j;
    struct journal_sending s;
    (void)state;
    begin(&j);
    struct journal_verdict v = hear(&j, 409, "");
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(v.action, JOURNAL_SEND);
        journal_request(&j, &s);
        assert_string_equal(s.request.method, "MKCOL");
        assert_string_equal(s.request.url, urls[i]);
        assert_null(s.request.body);
        v = hear(&j, answers[i], "");
    }
    assert_int_equal(v.action, JOURNAL_SEND);
    assert_int_equal(j.step, JOURNAL_PUT);
    /* A second 409 is not answered by making them again and again. */
    v = hear(&j, 409, "");
    expect_wait(&j, &v, ERR_UPSTREAM_REFUSED, JOURNAL_PAUSE_LONG, 409);
}

static void collections_that_cannot_be_made(void **state)
{
    static const struct {
        int status;
        enum err_id id;
        enum journal_pause pause;
    } waits[] = {
            {403, ERR_UPSTREAM_REFUSED, JOURNAL_PAUSE_LONG},
            {409, ERR_UPSTREAM_REFUSED, JOURNAL_PAUSE_LONG},
            {415, ERR_UPSTREAM_REFUSED, JOURNAL_PAUSE_LONG},
            {301, ERR_UPSTREAM_NONSENSE, JOURNAL_PAUSE_BACKOFF},
            {503, ERR_UPSTREAM_DOWN, JOURNAL_PAUSE_BACKOFF},
    };
    (void)state;
    for (int step = JOURNAL_MAKE_STATIONS; step <= JOURNAL_MAKE_BATCHES; step++)
        for (size_t i = 0; i < sizeof waits / sizeof waits[0]; i++) {
            struct journal j;
            at_step(&j, (enum journal_step)step, 409);
            struct journal_verdict v = hear(&j, waits[i].status, "");
            expect_wait(&j, &v, waits[i].id, waits[i].pause, waits[i].status);
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
            cmocka_unit_test(the_put_is_as_the_contract_says),
            cmocka_unit_test(names_are_escaped_and_slashes_trimmed),
            cmocka_unit_test(an_address_too_long_is_refused),
            cmocka_unit_test(addresses_that_are_no_upstream),
            cmocka_unit_test(only_created_is_an_ack),
            cmocka_unit_test(what_a_put_may_hear),
            cmocka_unit_test(a_line_that_fails_is_waited_for),
            cmocka_unit_test(retry_after_is_kept_and_capped),
            cmocka_unit_test(the_same_bytes_are_a_delivery),
            cmocka_unit_test(other_bytes_are_a_conflict_after_412_only),
            cmocka_unit_test(a_longer_resource_is_another_one),
            cmocka_unit_test(a_comparison_that_cannot_be_made),
            cmocka_unit_test(collections_are_made_outermost_first),
            cmocka_unit_test(collections_that_cannot_be_made),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
