/* A station whose ledger is looked at, exchanged and rewritten from outside. */
#include "tests/hsm/ledger_rig.h"
#include <signal.h>
#include <string.h>
#include "base/file.h"
#include "hsm/ledger/ledger.h"

char rig_path[PATH_MAX];

int rig_setup(void **state)
{
    (void)state;
    station_open(&st, NULL);
    station_config(&st, "mark_every_s = 0\n");
    paths_get(&st.paths, PATH_LEDGER, rig_path);
    return 0;
}

json_int_t rig_number(const char *name)
{
    json_t *status = station_status(&st);
    json_int_t n = json_integer_value(json_object_get(json_object_get(status, "ledger"), name));

    json_decref(status);
    return n;
}

void rig_read(struct buf *out)
{
    struct err e = {0};

    buf_reset(out);
    ok(file_read(rig_path, 16u << 20, out, &e));
}

void rig_issue_and_stop(size_t i, EVP_PKEY *key, struct buf *ledger)
{
    struct err e = {0};

    station_start(&st);
    ok(key ? station_issue_once(&st, i, key, &e) : station_issue_new(&st, i, &e));
    station_wait_marked(&st);
    station_stop(&st, SIGTERM);
    rig_read(ledger);
}

void rig_write(const struct buf *b)
{
    struct err e = {0};

    ok(file_write(rig_path, b->data, b->len, 0640, &e));
}

/* The signer runs and answers, but gives no certificate, and says why. */
void rig_refuses(const char *part)
{
    struct err e = {0};
    json_t *status, *error;

    refused(station_issue_new(&st, 40, &e), LEDGER);
    status = station_status(&st);
    error = json_object_get(status, "error");
    assert_string_equal(json_string_value(json_object_get(error, "name")), "Ledger");
    assert_non_null(strstr(json_string_value(json_object_get(error, "message")), part));
    json_decref(status);
}

void rig_start_refuses(const char *part)
{
    station_start(&st);
    rig_refuses(part);
    station_stop(&st, SIGTERM);
}

int rig_accept(void)
{
    return station_run((const char *[]){SIGNERD, "--accept-ledger", NULL});
}

uint32_t rig_be32(const uint8_t *at)
{
    return (uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 | (uint32_t)at[2] << 8 | at[3];
}

/* The first issued entry of a ledger. */
uint8_t *rig_first_issued(struct buf *b)
{
    size_t at = 32;

    while (b->data[at + 24 + 4] != LEDGER_ISSUED)
        at += RIG_GROUP_HEADER + rig_be32(b->data + at + 4) + RIG_GROUP_END;
    return b->data + at + 24;
}

/* The last group: a checkpoint alone, about all that is before it. */
bool rig_signed_to_the_end(void)
{
    struct buf b = BUF_INIT;
    size_t at = 32, last = 32;
    uint8_t *entry;
    bool yes;

    rig_read(&b);
    for (; at < b.len; at += RIG_GROUP_HEADER + rig_be32(b.data + at + 4) + RIG_GROUP_END)
        last = at;
    entry = b.data + last + 24;
    yes = at == b.len && rig_be32(b.data + last + 8) == 1 && entry[4] == LEDGER_CHECKPOINT &&
          rig_be32(entry + 8 + 32 + 4) == last;
    buf_done(&b);
    return yes;
}
