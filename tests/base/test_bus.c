/* The bus, as well-behaved parties use it: errors arrive as they were set, and a call ends whatever
 * becomes of the other side. */
#include "bus_test.h"

static int client_calls(const char *path)
{
    static const size_t sizes[] = {0, 1, 400, 65536, BUS_MESSAGE_MAX};
    struct err e = {0};
    sd_bus *bus = NULL;
    CHECK(bus_client_open(path, NULL, &bus, &e) == 0);
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++)
        CHECK(echo(bus, sizes[i], &e) == 0);
    CHECK(echo(bus, BUS_MESSAGE_MAX + 1, &e) == -1 && e.id == ERR_PROTOCOL);
    for (unsigned id = ERR_NONE + 1; id < ERR_COUNT; id++) {
        sd_bus_error be = SD_BUS_ERROR_NULL;
        char want[200];
        snprintf(want, sizeof want, "told?%s caf\xc3\xa9 ?", err_name((enum err_id)id));
        int failed = sd_bus_call_method(
                bus, NULL, OBJECT, INTERFACE, "Fail", &be, NULL, "s", err_name((enum err_id)id));
        err_clear(&e);
        CHECK(failed < 0 && bus_err(&e, &be, failed) == -1);
        CHECK(e.id == id && strcmp(e.msg, want) == 0 && e.code == 0);
        sd_bus_error_free(&be);
    }
    /* A handler that forgot to say why must not look like success. */
    sd_bus_error silent = SD_BUS_ERROR_NULL;
    int r = sd_bus_call_method(bus, NULL, OBJECT, INTERFACE, "Fail", &silent, NULL, "s", "None");
    err_clear(&e);
    CHECK(r < 0 && bus_err(&e, &silent, r) == -1 && e.id == ERR_BUG);
    sd_bus_error_free(&silent);
    err_clear(&e);
    CHECK(call(bus, "NoSuchMethod", 0, &e) == -1 && e.id == ERR_PROTOCOL);
    err_clear(&e);
    CHECK(call(bus, "Echo", 0, &e) == -1 && e.id == ERR_PROTOCOL); /* no argument */
    err_clear(&e);
    CHECK(call(bus, "Errno", 0, &e) == -1 && e.id == ERR_PROTOCOL);
    err_clear(&e);
    CHECK(call(bus, "Later", 50000, &e) == -1 && e.id == ERR_TIMEOUT);
    CHECK(echo(bus, 5, &e) == 0); /* none of that cost the connection */
    sd_bus_flush_close_unref(bus);
    return 0;
}

static void calls_and_errors(void **state)
{
    struct server *s = server_new(state);
    serve(s, client_calls);
    server_free(s);
}

/* What is not one of our errors becomes one by what it says about the connection. */
static void foreign_errors_are_mapped(void **state)
{
    struct err e = {0};
    (void)state;
    const sd_bus_error bug = SD_BUS_ERROR_MAKE_CONST("org.keyline.Error.Bug", "");
    bus_err(&e, &bug, -EIO);
    assert_err(-1, &e, ERR_BUG);
    const sd_bus_error strange = SD_BUS_ERROR_MAKE_CONST("org.keyline.Error.New", "x\ny");
    assert_int_equal(bus_err(&e, &strange, -EIO), -1);
    assert_string_equal(e.msg, "unknown error org.keyline.Error.New: x?y");
    assert_err(-1, &e, ERR_PROTOCOL);
    assert_err(bus_err(&e, NULL, -ECONNRESET), &e, ERR_UNAVAILABLE);
    assert_err(bus_err(&e, NULL, -ENOTCONN), &e, ERR_UNAVAILABLE);
    assert_err(bus_err(&e, NULL, -ETIMEDOUT), &e, ERR_TIMEOUT);
    assert_err(bus_err(&e, NULL, -EBADMSG), &e, ERR_PROTOCOL);
    assert_err(bus_err(&e, NULL, 0), &e, ERR_PROTOCOL);
}

static int client_vanishes(const char *path)
{
    struct err e = {0};
    sd_bus *bus = NULL;
    sd_bus_message *m = NULL;
    CHECK(bus_client_open(path, NULL, &bus, &e) == 0);
    CHECK(sd_bus_message_new_method_call(bus, &m, NULL, OBJECT, INTERFACE, "Later") >= 0);
    CHECK(sd_bus_send(bus, m, NULL) >= 0);
    CHECK(sd_bus_flush(bus) >= 0);
    CHECK(echo(bus, 1, &e) == 0); /* the call before has arrived, too */
    return 0;                     /* _exit: no good-bye */
}

static void peer_vanishes_in_mid_call(void **state)
{
    struct server *s = server_new(state);
    serve(s, client_vanishes);
    assert_non_null(s->kept);
    sd_bus *peer = sd_bus_message_get_bus(s->kept);
    bus_server_close(&s->bus);
    assert_int_equal(s->gone, 1);
    assert_int_equal(
            sd_bus_is_open(peer), 0); /* the message keeps the object, not the connection */
    assert_true(sd_bus_reply_method_return(s->kept, "s", "too late") < 0);
    struct err e = {0};
    err_set(&e, ERR_QUOTA, "too late");
    assert_true(bus_reply_err(s->kept, &e) < 0);
    server_free(s);
}

static int client_left_alone(const char *path)
{
    struct err e = {0};
    sd_bus *bus = NULL;
    CHECK(bus_client_open(path, NULL, &bus, &e) == 0);
    CHECK(call(bus, "Close", 0, &e) == -1 && e.id == ERR_UNAVAILABLE);
    err_clear(&e);
    CHECK(echo(bus, 1, &e) == -1 && e.id == ERR_UNAVAILABLE);
    sd_bus_flush_close_unref(bus);
    err_clear(&e);
    CHECK(bus_client_open(path, NULL, &bus, &e) == -1 && e.id == ERR_UNAVAILABLE);
    return 0;
}

static enum err_id async_error;

static int on_reply(sd_bus_message *m, void *userdata, sd_bus_error *be)
{
    struct err e = {0};
    (void)be;
    bus_err(&e, sd_bus_message_get_error(m), -sd_bus_message_get_errno(m));
    async_error = e.id;
    return sd_event_exit(userdata, 0);
}

static int call_async(const char *path, const char *method, uint64_t timeout_us)
{
    struct err e = {0};
    sd_event *event = NULL;
    sd_bus *bus = NULL;
    sd_bus_message *m = NULL;
    CHECK(sd_event_new(&event) >= 0);
    CHECK(bus_client_open(path, event, &bus, &e) == 0);
    CHECK(sd_bus_message_new_method_call(bus, &m, NULL, OBJECT, INTERFACE, method) >= 0);
    CHECK(sd_bus_call_async(bus, NULL, m, on_reply, event, timeout_us) >= 0);
    CHECK(sd_event_loop(event) == 0);
    sd_bus_message_unref(m);
    sd_bus_flush_close_unref(bus);
    sd_event_unref(event);
    return 0;
}

static int client_async(const char *path)
{
    CHECK(call_async(path, "NoSuchMethod", 0) == 0 && async_error == ERR_PROTOCOL);
    CHECK(call_async(path, "Later", 50000) == 0 && async_error == ERR_TIMEOUT);
    CHECK(call_async(path, "Close", 0) == 0 && async_error == ERR_UNAVAILABLE);
    return 0;
}

static void server_goes_away(void **state)
{
    struct server *s = server_new(state);
    serve(s, client_left_alone);
    assert_int_equal(s->gone, 1);
    s = server_again(s, state);
    serve(s, client_async);
    server_free(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
            scratch_test(calls_and_errors),
            cmocka_unit_test(foreign_errors_are_mapped),
            scratch_test(peer_vanishes_in_mid_call),
            scratch_test(server_goes_away),
    };
    bus_test_init();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
