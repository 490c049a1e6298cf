/* keyline device revoke, keyline job withdraw: an approver's orders to the signer. Shows what will happen,
 * asks, signs, and hands the order in, or writes it to a file to be handed in elsewhere. Never signs
 * what it has not shown. */
#include "hsm/approval/order.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/text.h"
#include "jobs/jobs_client.h"
#include "station/cli/approver.h"
#include "station/cli/cli.h"
#include "station/cli/verbs.h"

/* What an order is about, for the eye; the order itself has the IDs. */
struct subject {
    char name[2 * NAME_BYTES_MAX +
              2]; /* "group/name" or the job's name; "" away from the station */
    char issued[40];
    char state[32];
    bool revoked; /* the certificate is, already */
};

/* ---- handing in */

static int show_revoked(struct cli *c, const json_t *answer)
{
    const json_t *order = json_object_get(answer, "order"),
                 *device = json_object_get(answer, "device");
    char when[NUMBER_TEXT_MAX];
    if (json_is_true(json_object_get(order, "fresh"))) {
        screen_style(&c->out, STYLE_GOOD);
        if (json_is_string(json_object_get(order, "reason_before")))
            screen_printf(&c->out, "Its reason was %s and is %s now.",
                    json_text(order, "reason_before"), json_text(order, "reason"));
        else
            screen_printf(&c->out, "Revoked.");
        screen_style(&c->out, STYLE_PLAIN);
        screen_printf(&c->out, " The next CRL says so in a moment: keyline ca crl\n");
    } else {
        screen_printf(&c->out, "It was revoked before, nothing has changed.\n");
    }
    screen_fact(&c->out, "Device", json_text(device, "name"));
    screen_fact(&c->out, "Status", json_text(device, "status"));
    screen_fact(&c->out, "Serial number", json_text(order, "serial"));
    screen_fact(&c->out, "Reason", json_text(order, "reason"));
    screen_fact(&c->out, "Revoked", clock_format(json_text(order, "revoked"), when));
    return 0;
}

static int show_withdrawn(struct cli *c, const json_t *answer)
{
    const json_t *job = json_object_get(answer, "job");
    screen_printf(&c->out,
            json_is_true(json_object_get(json_object_get(answer, "order"), "fresh"))
                    ? "Withdrawn. Nothing more is certified for this job, on whatever station.\n"
                    : "It was withdrawn before, nothing has changed.\n");
    screen_fact(&c->out, "Job", json_text(job, "name"));
    screen_fact(&c->out, "State", json_text(job, "state"));
    return 0;
}

static int hand_in(struct cli *c, const char *order, struct err *e)
{
    json_t *answer = NULL;
    if (cli_call(c, "Order", &order, 1, &answer, e))
        return -1;
    if (answer)
        json_object_get(answer, "job") ? show_withdrawn(c, answer) : show_revoked(c, answer);
    json_decref(answer);
    return 0;
}

static int hand_in_file(struct cli *c, const char *path, struct err *e)
{
    struct buf text = BUF_INIT;
    int r = approver_read_jws(path, &text, e);
    if (r == 0)
        r = hand_in(c, buf_str(&text), e);
    buf_done(&text);
    return r;
}

static int write_order(struct cli *c, const char *path, const char *order, struct err *e)
{
    if (approver_write_jws(path, order, e))
        return -1;
    if (c->json)
        return cli_print_json(json_pack("{s:s}", "order", order), e);
    screen_printf(&c->out, "The order is in %s. On the station: keyline %s --order FILE\n", path,
            c->verb->name);
    return 0;
}

/* ---- signing */

static void show(struct cli *c, const struct order *o, const struct subject *s)
{
    char serial[2 * CERT_SERIAL_BYTES + 1], when[NUMBER_TEXT_MAX];
    bool revoke = o->kind == ORDER_REVOKE;
    hex_format(o->serial, sizeof o->serial, serial);
    screen_style(&c->out, STYLE_BOLD);
    screen_printf(&c->out, revoke ? "To be revoked\n" : "To be withdrawn\n");
    screen_style(&c->out, STYLE_PLAIN);
    screen_fact(&c->out, revoke ? "Device" : "Job", s->name);
    screen_fact(&c->out, "ID", revoke ? o->device : o->job);
    screen_fact(&c->out, "State", s->state);
    if (revoke) {
        screen_fact(&c->out, "Serial number", serial);
        screen_fact(&c->out, "Issued", clock_format(s->issued, when));
        screen_fact(&c->out, "Reason", order_reason_name(o->reason));
        screen_fact(&c->out, "What happens",
                s->revoked ? "it is on the CRL already, and gets this reason there"
                           : "its certificate goes onto the CRL for ever; the device is disabled");
        if (o->reason == ORDER_KEY_COMPROMISE)
            screen_fact(&c->out, "", "its key is never certified again");
    } else {
        screen_fact(&c->out, "What happens",
                "nothing more is certified for it, for ever; what was certified stays valid");
    }
    screen_fact(&c->out, "Approver", o->approver);
}

/* Shows, asks, signs. The key is touched only after the yes. */
static int sign(
        struct cli *c, struct order *o, const struct subject *s, char **ret_order, struct err *e)
{
    struct approver by = {0};
    int r = approver_open(c, &by, e);
    if (r == 0) {
        o->issued_at = time_now_ms() / 1000;
        snprintf(o->approver, sizeof o->approver, "%s", by.name);
        if (!c->json)
            show(c, o, s);
        r = approver_confirm(c, o->kind == ORDER_REVOKE ? "Revoke?" : "Withdraw?",
                o->kind == ORDER_REVOKE ? "keyline device show" : "keyline job show", e);
    }
    fflush(stdout);
    if (r == 0)
        r = approver_unlock(c, &by, e);
    if (r == 0)
        r = order_sign_by(o, &by.signer, ret_order, e);
    approver_done(&by);
    return r;
}

static int sign_and_deliver(struct cli *c, struct order *o, const struct subject *s, struct err *e)
{
    char *order = NULL;
    int r = sign(c, o, s, &order, e);
    if (r == 0)
        r = cli_has(c, "order-out") ? write_order(c, cli_option(c, "order-out"), order, e)
                                    : hand_in(c, order, e);
    free(order);
    return r;
}

/* Both verbs: an order from a file needs nothing else. */
static int check_options(const struct cli *c, const char *what, struct err *e)
{
    static const char *const others[] = {"key", "cert", "order-out", "yes"};
    if (!cli_has(c, "order"))
        return c->arg_count ? 0 : cli_usage(e, "%s needs a %s, or --order", c->verb->name, what);
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        if (cli_has(c, others[i]))
            return cli_usage(e,
                    "--order hands in a finished order: nothing is signed, so --%s does not fit",
                    others[i]);
    return c->arg_count ? cli_usage(e, "--order says itself which %s it is about", what) : 0;
}

/* ---- device revoke */

static int parse_serial(const char *hex, struct order *o, struct err *e)
{
    if (hex_parse(hex, strlen(hex), o->serial, sizeof o->serial) == 0)
        return 0;
    return err_set(
            e, ERR_ARGUMENT, "\"%.60s\" is not the serial number of one of our certificates", hex);
}

/* The one whose serial number was given; else the valid one. A revoked one can only be given the worst reason: then the
 * newest. NULL: there is none. */
static const json_t *choose(const struct cli *c, const json_t *certificates, enum order_reason why)
{
    const char *serial = cli_option(c, "serial");
    const json_t *each, *newest = json_array_get(certificates, 0);
    size_t i;
    json_array_foreach(certificates, i, each)
    {
        if (serial ? strcasecmp(json_text(each, "serial"), serial) == 0
                   : strcmp(json_text(each, "state"), "valid") == 0)
            return each;
    }
    return !serial && why == ORDER_KEY_COMPROMISE ? newest : NULL;
}

/* There is nothing to choose. */
static int refuse_device(
        const struct cli *c, const json_t *certificates, const struct subject *s, struct err *e)
{
    const json_t *newest = json_array_get(certificates, 0);
    char when[NUMBER_TEXT_MAX];
    if (cli_has(c, "serial")) {
        err_set(e, ERR_NOT_FOUND, "device %s has no such certificate", s->name);
        return err_advise(e, "'keyline device show' lists its certificates, each with its number.");
    }
    if (!newest) {
        err_set(e, ERR_BAD_STATE, "device %s has no certificate yet", s->name);
        return err_advise(
                e, "There is nothing to revoke: 'keyline device show' says how far it is.");
    }
    err_set(e, ERR_BAD_STATE,
            "device %s has no valid certificate: the newest was revoked at %s, %s", s->name,
            clock_format(json_text(newest, "revoked"), when), json_text(newest, "reason"));
    return err_advise(e, "It is on the CRL already. If its key has leaked, say so: --reason "
                         "keyCompromise takes the reason's place.");
}

/* No approver is asked for what changes nothing: there is no worse reason. */
static int refuse_known_leak(
        const struct order *o, const json_t *certificate, const struct subject *s, struct err *e)
{
    char when[NUMBER_TEXT_MAX];
    if (o->reason != ORDER_KEY_COMPROMISE ||
            strcmp(json_text(certificate, "reason"), order_reason_name(o->reason)) != 0)
        return 0;
    err_set(e, ERR_BAD_STATE,
            "the certificate %.40s of device %s was revoked at %s, keyCompromise, already",
            json_text(certificate, "serial"), s->name,
            clock_format(json_text(certificate, "revoked"), when));
    return err_advise(
            e, "Nothing is left to do: it is on the CRL, and its key is never certified again.");
}

static int ask_device(struct cli *c, struct order *o, struct subject *s, struct err *e)
{
    const json_t *certificate;
    json_t *answer = NULL;
    struct buf text = BUF_INIT;
    int r = cli_connect(c, e);
    if (r == 0)
        r = jobs_call(c->bus, "DeviceShow", c->args, 1, &text, e);
    if (r == 0)
        r = cli_parse(&text, &answer, e);
    if (r == 0) {
        const json_t *device = json_object_get(answer, "device");
        snprintf(s->name, sizeof s->name, "%s/%s", json_text(device, "group"),
                json_text(device, "name"));
        snprintf(s->state, sizeof s->state, "%s", json_text(device, "state"));
        snprintf(o->device, sizeof o->device, "%s", json_text(device, "id"));
        certificate = choose(c, json_object_get(answer, "certificates"), o->reason);
        if (certificate) {
            s->revoked = strcmp(json_text(certificate, "state"), "revoked") == 0;
            snprintf(s->issued, sizeof s->issued, "%s", json_text(certificate, "issued"));
            r = refuse_known_leak(o, certificate, s, e);
            if (r == 0)
                r = parse_serial(json_text(certificate, "serial"), o, e);
        } else {
            r = refuse_device(c, json_object_get(answer, "certificates"), s, e);
        }
    }
    json_decref(answer);
    buf_done(&text);
    return r;
}

/* Away from the station only what stands in the order is needed. */
static int take_device(struct cli *c, struct order *o, struct err *e)
{
    if (!uuid_valid(c->args[0]))
        return cli_usage(e, "with --serial and --order-out nothing is asked at the station: give "
                            "the DEVICE by its ID, as device show has it");
    snprintf(o->device, sizeof o->device, "%s", c->args[0]);
    return parse_serial(cli_option(c, "serial"), o, e);
}

int device_revoke(struct cli *c, struct err *e)
{
    struct order o = {.kind = ORDER_REVOKE};
    struct subject s = {0};
    int r = check_options(c, "DEVICE", e);
    if (r)
        return r;
    if (cli_has(c, "order"))
        return hand_in_file(c, cli_option(c, "order"), e);
    if (!cli_has(c, "reason"))
        return cli_usage(e, "device revoke needs a --reason, e.g. keyCompromise");
    if (order_reason_parse(cli_option(c, "reason"), &o.reason, e))
        return CLI_USAGE;
    r = cli_has(c, "serial") && cli_has(c, "order-out") ? take_device(c, &o, e)
                                                        : ask_device(c, &o, &s, e);
    return r ? r : sign_and_deliver(c, &o, &s, e);
}

/* ---- job withdraw */

static int ask_job(struct cli *c, struct order *o, struct subject *s, struct err *e)
{
    json_t *answer = NULL;
    struct buf text = BUF_INIT;
    int r = cli_connect(c, e);
    if (r == 0)
        r = jobs_call(c->bus, "JobShow", c->args, 1, &text, e);
    if (r == 0)
        r = cli_parse(&text, &answer, e);
    if (r == 0) {
        const json_t *job = json_object_get(answer, "job");
        snprintf(s->name, sizeof s->name, "%s", json_text(job, "name"));
        snprintf(s->state, sizeof s->state, "%s", json_text(job, "state"));
        snprintf(o->job, sizeof o->job, "%s", json_text(job, "id"));
    }
    json_decref(answer);
    buf_done(&text);
    return r;
}

int job_withdraw(struct cli *c, struct err *e)
{
    struct order o = {.kind = ORDER_WITHDRAW};
    struct subject s = {0};
    int r = check_options(c, "JOB", e);
    if (r)
        return r;
    if (cli_has(c, "order"))
        return hand_in_file(c, cli_option(c, "order"), e);
    /* a job's whole ID needs no station when the order goes into a file */
    if (uuid_valid(c->args[0]) && cli_has(c, "order-out"))
        snprintf(o.job, sizeof o.job, "%s", c->args[0]);
    else
        r = ask_job(c, &o, &s, e);
    return r ? r : sign_and_deliver(c, &o, &s, e);
}
