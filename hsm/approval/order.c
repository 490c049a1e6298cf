/* Orders: a JWS (jws.h) whose payload has one form for each kind. Promises that order_verify() lets
 * nothing pass that an approver under the anchors did not sign as an order; a ticket is none.
 * Holds no state. */
#include "hsm/approval/order.h"
#include <jansson.h>
#include <string.h>
#include "base/err.h"
#include "base/text.h"
#include "hsm/approval/jws.h"
#include "hsm/approval/order_payload.h"
#include "hsm/approval/payload.h"
#include "hsm/json.h"

#define ORDER_TYPE    "keyline-order+jws"
#define ORDER_VERSION 1

static const char *const kind_names[ORDER_KIND_COUNT] = {
        [ORDER_REVOKE] = "revoke",
        [ORDER_WITHDRAW] = "withdraw",
};
static const char *const reason_names[] = {
        [ORDER_UNSPECIFIED] = "unspecified",
        [ORDER_KEY_COMPROMISE] = "keyCompromise",
        [ORDER_AFFILIATION_CHANGED] = "affiliationChanged",
        [ORDER_SUPERSEDED] = "superseded",
        [ORDER_CESSATION_OF_OPERATION] = "cessationOfOperation",
        [ORDER_PRIVILEGE_WITHDRAWN] = "privilegeWithdrawn",
};
#define REASONS (sizeof reason_names / sizeof *reason_names)

const char *order_reason_name(unsigned reason)
{
    return reason < REASONS ? reason_names[reason] : NULL;
}

int order_reason_parse(const char *name, enum order_reason *ret, struct err *e)
{
    for (size_t i = 0; i < REASONS; i++)
        if (reason_names[i] && strcmp(reason_names[i], name) == 0) {
            *ret = (enum order_reason)i;
            return 0;
        }
    if (strcmp(name, "certificateHold") == 0 || strcmp(name, "removeFromCRL") == 0)
        return err_set(e, ERR_ORDER, "reason %s is not supported: a revocation is final", name);
    return err_set(e, ERR_ORDER,
            "reason \"%.40s\" is none of unspecified, keyCompromise, affiliationChanged, "
            "superseded, cessationOfOperation, privilegeWithdrawn",
            name);
}

/* ---- the payload */

static int parse_kind(json_t *o, enum order_kind *ret, struct err *e)
{
    const char *name = json_string_value(json_object_get(o, "order"));

    for (*ret = 0; name && *ret < ORDER_KIND_COUNT; ++*ret)
        if (strcmp(name, kind_names[*ret]) == 0)
            return 0;
    return err_set(e, ERR_ORDER, "member \"order\" must be \"revoke\" or \"withdraw\"");
}

static int parse_id(json_t *o, const char *key, char out[UUID_TEXT_MAX], struct err *e)
{
    if (payload_text(o, key, out, UUID_TEXT_MAX, e) < 0)
        return -1;
    return uuid_valid(out) ? 0 : err_set(e, ERR_ORDER, "member \"%s\" must be a UUID", key);
}

static int parse_revoke(json_t *o, struct order *ret, struct err *e)
{
    static const char *const members[] = {
            "v", "order", "device", "serial", "reason", "iat", "approver"};
    char serial[2 * CERT_SERIAL_BYTES + 1], reason[32];

    if (payload_members(o, members, sizeof members / sizeof *members, e) < 0 ||
            parse_id(o, "device", ret->device, e) < 0 ||
            payload_text(o, "serial", serial, sizeof serial, e) < 0 ||
            payload_text(o, "reason", reason, sizeof reason, e) < 0)
        return -1;
    if (hex_parse(serial, strlen(serial), ret->serial, sizeof ret->serial) < 0)
        return err_set(e, ERR_ORDER, "member \"serial\" must be %d hexadecimal digits",
                2 * CERT_SERIAL_BYTES);
    return order_reason_parse(reason, &ret->reason, e);
}

static int parse_withdraw(json_t *o, struct order *ret, struct err *e)
{
    static const char *const members[] = {"v", "order", "job", "iat", "approver"};

    if (payload_members(o, members, sizeof members / sizeof *members, e) < 0)
        return -1;
    return parse_id(o, "job", ret->job, e);
}

static int payload_parse(json_t *o, struct order *ret, struct err *e)
{
    memset(ret, 0, sizeof *ret);
    if (payload_version(o, ORDER_VERSION, e) < 0 || parse_kind(o, &ret->kind, e) < 0 ||
            (ret->kind == ORDER_REVOKE ? parse_revoke(o, ret, e) : parse_withdraw(o, ret, e)) < 0)
        return -1;
    if (payload_number(o, "iat", 0, &ret->issued_at, e) < 0)
        return -1;
    return payload_text(o, "approver", ret->approver, sizeof ret->approver, e);
}

static json_t *payload_format(const struct order *o)
{
    char serial[2 * CERT_SERIAL_BYTES + 1];

    hex_format(o->serial, sizeof o->serial, serial);
    if (o->kind == ORDER_WITHDRAW)
        return json_pack("{s:i,s:s,s:s,s:I,s:s}", "v", ORDER_VERSION, "order", kind_names[o->kind],
                "job", o->job, "iat", (json_int_t)o->issued_at, "approver", o->approver);
    return json_pack("{s:i,s:s,s:s,s:s,s:s,s:I,s:s}", "v", ORDER_VERSION, "order",
            kind_names[o->kind], "device", o->device, "serial", serial, "reason",
            order_reason_name(o->reason), "iat", (json_int_t)o->issued_at, "approver", o->approver);
}

int order_payload_parse(const char *json, struct order *ret, struct err *e)
{
    json_error_t why;
    json_t *o = json_loads(json, JSON_REJECT_DUPLICATES, &why);
    int r = o ? payload_parse(o, ret, e)
              : err_set(e, ERR_ORDER, "it is not JSON: %.100s", why.text);

    json_decref(o);
    return r;
}

int order_payload_format(const struct order *o, struct buf *out, struct err *e)
{
    return json_append(payload_format(o), out, e);
}

/* ---- signed */

int order_sign_by(const struct order *o, const struct jws_signer *by, char **ret_jws, struct err *e)
{
    json_t *payload = payload_format(o);
    int r = payload ? jws_sign(ORDER_TYPE, payload, by, ret_jws, e)
                    : err_set(e, ERR_NOMEM, "no memory for an order");

    json_decref(payload);
    return r;
}

int order_sign(
        const struct order *o, EVP_PKEY *key, STACK_OF(X509) * chain, char **ret_jws, struct err *e)
{
    const struct jws_signer by = jws_key_signer(key, chain);

    return order_sign_by(o, &by, ret_jws, e);
}

int order_verify(const char *jws, X509_STORE *anchors, struct order *ret, struct err *e)
{
    json_t *payload = NULL;
    int r = jws_verify(jws, ORDER_TYPE, anchors, &payload, e);

    if (r == 0)
        r = payload_parse(payload, ret, e);
    json_decref(payload);
    if (r < 0 && e && e->id == ERR_TICKET)
        e->id = ERR_ORDER; /* what is wrong is the same; what to do about it is not */
    return r < 0 ? err_context(e, "order") : 0;
}
