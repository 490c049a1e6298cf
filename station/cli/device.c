/* Devices: the list, one device with everything known about it, and the registration of a single
 * one. */
#include <inttypes.h>
#include <openssl/bio.h>
#include <openssl/pem.h>
#include <string.h>

#include "base/limits.h"
#include "jobs/jobs_client.h"
#include "jobs/states.h"
#include "station/cli/cli.h"
#include "station/cli/certificate.h"
#include "station/cli/job.h"
#include "station/cli/pages.h"
#include "station/cli/plain.h"
#include "station/cli/verbs.h"

#define PAGE_DEVICES 500u

/* ---- the list */

struct listing {
    struct cli *cli;
    struct jobs_option filter[4];
    size_t filters;
};

static int next_page(void *ctx, const json_t *next, struct buf *ret, struct err *e)
{
    struct listing *l = ctx;
    const char *cursor = json_is_string(next) ? json_string_value(next) : "";
    return jobs_devices(l->cli->bus, l->filter, l->filters, cursor, PAGE_DEVICES, ret, e);
}

int device_list(struct cli *c, struct err *e)
{
    static const struct table_column columns[] = {
            {"name", "DEVICE", CELL_TEXT},
            {"group", "GROUP", CELL_TEXT},
            {"state", "STATE", CELL_STATE},
            {"status", NULL, CELL_TEXT},
            {"hwid", "HWID", CELL_TEXT},
            {"synced", "SYNCED", CELL_YES},
            {"updated", "UPDATED", CELL_TIME},
            {"id", NULL, CELL_TEXT},
            {"job", NULL, CELL_TEXT},
            {"job_name", NULL, CELL_TEXT},
            {"serial", NULL, CELL_TEXT},
    };
    static const char *const keys[] = {"job", "group", "state", "name"};
    struct listing l = {.cli = c};
    struct table t;
    int r = table_init(
            &t, &c->out, columns, sizeof columns / sizeof *columns, cli_option(c, "columns"), e);
    if (r)
        return r;
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
        if (cli_has(c, keys[i]))
            l.filter[l.filters++] = (struct jobs_option){keys[i], cli_option(c, keys[i])};
    if (cli_connect(c, e))
        return -1;
    struct pages p = {.rows = "devices", .fetch = next_page, .ctx = &l};
    if (c->json)
        return pages_print(&p, stdout, e);
    r = pages_each(&p, pages_to_table, &t, e);
    if (r == 0 && !t.begun && !t.plain)
        screen_printf(&c->out, "No device matches.\n");
    return r;
}

/* ---- one device */

static void show_certificate(struct cli *c, const json_t *certificate)
{
    char when[NUMBER_TEXT_MAX];
    screen_style(&c->out, STYLE_BOLD);
    screen_printf(&c->out, "\nCertificate");
    screen_style(&c->out, STYLE_PLAIN);
    screen_printf(&c->out, "\n");
    if (certificate_show_pem(&c->out, json_text(certificate, "pem")))
        screen_fact(&c->out, "Serial number", json_text(certificate, "serial"));
    if (strcmp(json_text(certificate, "key_origin"), "signer") == 0)
        screen_fact(&c->out, "Key made by", "the signer, not the device (docs/born-keys.md)");
    screen_fact(&c->out, "State", json_text(certificate, "state"));
    screen_fact(&c->out, "Issued", clock_format(json_text(certificate, "issued"), when));
    screen_fact(&c->out, "Revoked", clock_format(json_text(certificate, "revoked"), when));
    screen_fact(&c->out, "Reason", json_text(certificate, "reason"));
}

static void show_runs(struct cli *c, const json_t *runs)
{
    static const struct table_column columns[] = {
            {"attempt", "RUN", CELL_NUMBER},
            {"slot", "SLOT", CELL_TEXT},
            {"step", "STEP", CELL_TEXT},
            {"started", "STARTED", CELL_TIME},
            {"error", "ERROR", CELL_TEXT},
            {"message", "MESSAGE", CELL_TEXT},
    };
    struct table t;
    struct err ignored = {0}; /* no --columns that could be wrong */
    screen_printf(&c->out, "\n");
    if (json_array_size(runs) == 0)
        screen_printf(&c->out, "  It was never plugged in.\n");
    else if (table_init(&t, &c->out, columns, sizeof columns / sizeof *columns, NULL, &ignored) ==
             0)
        table_rows(&t, runs);
}

static void show_upstream(struct cli *c, const json_t *device)
{
    bool registered = strcmp(json_text(device, "state"), device_state_name(DEVICE_ENROLLED)) != 0;
    screen_fact(&c->out, "Reached upstream",
            json_is_true(json_object_get(device, "synced")) ? "yes, acknowledged"
            : registered ? "not yet: keyline sync status says why"
                         : "no: it is not registered");
}

int device_show(struct cli *c, json_t *answer, struct err *e)
{
    const json_t *device = json_object_get(answer, "device"), *value;
    const char *key;
    char when[NUMBER_TEXT_MAX];
    size_t i;
    json_t *certificate;
    (void)e;
    screen_fact(&c->out, "Device", json_text(device, "name"));
    screen_fact(&c->out, "Group", json_text(device, "group"));
    screen_fact(&c->out, "ID", json_text(device, "id"));
    screen_fact(&c->out, "Hardware ID", json_text(device, "hwid"));
    screen_fact(&c->out, "State", json_text(device, "state"));
    screen_fact(&c->out, "Status", json_text(device, "status"));
    screen_fact(&c->out, "Job", json_text(device, "job_name"));
    screen_fact(&c->out, "Job's ID", json_text(device, "job"));
    screen_fact(&c->out, "Updated", clock_format(json_text(device, "updated"), when));
    show_upstream(c, device);
    json_object_foreach(json_object_get(answer, "row"), key, value)
    {
        if (strcmp(key, "device_name") != 0 && strcmp(key, "device_group") != 0 &&
                strcmp(key, "hwid") != 0 && json_is_string(value))
            screen_fact(&c->out, key, json_string_value(value));
    }
    json_array_foreach(json_object_get(answer, "certificates"), i, certificate)
            show_certificate(c, certificate);
    show_runs(c, json_object_get(answer, "runs"));
    return 0;
}

/* ---- a single one */

int device_register(struct cli *c, struct err *e)
{
    struct jobs_option row[ROW_FIELDS_MAX];
    char keys[ROW_FIELDS_MAX][NAME_BYTES_MAX];
    struct buf answer = BUF_INIT;
    for (size_t i = 0; i < c->arg_count; i++) {
        const char *equals = strchr(c->args[i], '=');
        size_t len = equals ? (size_t)(equals - c->args[i]) : 0;
        if (len == 0 || len >= NAME_BYTES_MAX)
            return cli_usage(
                    e, "\"%.60s\" is not COLUMN=VALUE, e.g. device_name=SENSOR-9", c->args[i]);
        snprintf(keys[i], sizeof keys[i], "%.*s", (int)len, c->args[i]);
        row[i] = (struct jobs_option){keys[i], equals + 1};
    }
    int r = cli_connect(c, e);
    if (r == 0)
        r = jobs_device_register(c->bus, row, c->arg_count, &answer, e);
    if (r == 0)
        r = job_import_answer(c, NULL, &answer, e);
    buf_done(&answer);
    return r;
}

int device_reissue(struct cli *c, struct err *e)
{
    const char *name = cli_option(c, "name");
    struct buf answer = BUF_INIT;
    int r = cli_connect(c, e);
    if (r == 0)
        r = jobs_device_reissue(c->bus, c->args, c->arg_count, name ? name : "", &answer, e);
    if (r == 0)
        r = job_import_answer(c, NULL, &answer, e);
    buf_done(&answer);
    return r;
}
