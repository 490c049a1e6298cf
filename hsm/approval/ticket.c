/* Tickets: a JWS (jws.h) whose payload has one form. Promises that ticket_verify() lets nothing pass
 * that an approver under the anchors did not sign; whatever is unknown, doubled or missing is
 * refused. Holds no state. */
#include "hsm/approval/ticket.h"
#include <jansson.h>
#include <string.h>
#include "base/err.h"
#include "base/text.h"
#include "hsm/approval/jws.h"
#include "hsm/approval/payload.h"
#include "hsm/approval/ticket_payload.h"
#include "hsm/json.h"

#define TICKET_TYPE    "keyline-ticket+jws"
#define TICKET_VERSION 1

static const char *const keys_names[TICKET_KEYS_COUNT] = {
        [TICKET_KEYS_DEVICE] = "device",
        [TICKET_KEYS_SIGNER] = "signer",
};

/* ---- the payload */

static int get_keys(json_t *o, enum ticket_keys *ret, struct err *e)
{
    const char *name = json_string_value(json_object_get(o, "keys"));

    for (*ret = 0; name && *ret < TICKET_KEYS_COUNT; ++*ret)
        if (strcmp(name, keys_names[*ret]) == 0)
            return 0;
    return err_set(e, ERR_TICKET, "member \"keys\" must be \"device\" or \"signer\"");
}

static int get_stations(json_t *o, struct ticket *t, struct err *e)
{
    json_t *list = json_object_get(o, "stations"), *v;
    size_t i;

    if (!json_is_array(list) || json_array_size(list) == 0 ||
            json_array_size(list) > TICKET_STATIONS_MAX)
        return err_set(e, ERR_TICKET, "member \"stations\" must be a list of 1 to %u names",
                TICKET_STATIONS_MAX);
    json_array_foreach(list, i, v)
    {
        size_t len = json_string_length(v);

        if (!json_is_string(v) || !name_valid(json_string_value(v), len))
            return err_set(
                    e, ERR_TICKET, "member \"stations\" holds something that is no station's name");
        memcpy(t->stations[i], json_string_value(v), len + 1);
    }
    t->station_count = json_array_size(list);
    return 0;
}

enum payload_kind { PAYLOAD_REQUEST, PAYLOAD_TICKET };

static int refuse_unknown(json_t *o, enum payload_kind kind, struct err *e)
{
    static const char *const members[] = {"v", "job", "account", "division", "profile", "binding",
            "keys", "reissue", "rows", "root", "quota", "stations", "profile_sha256", "nbf", "exp",
            "iat", "approver"};

    return payload_members(
            o, members, sizeof members / sizeof *members - (kind == PAYLOAD_REQUEST ? 5 : 0), e);
}

static int payload_parse(json_t *o, enum payload_kind kind, struct ticket *t, struct err *e)
{
    int64_t rows, quota;
    char root[2 * MERKLE_HASH_BYTES + 1];
    uint8_t digest[32];

    memset(t, 0, sizeof *t);
    if (payload_version(o, TICKET_VERSION, e) < 0 || refuse_unknown(o, kind, e) < 0 ||
            payload_text(o, "job", t->job, sizeof t->job, e) < 0 ||
            payload_text(o, "account", t->account, sizeof t->account, e) < 0 ||
            payload_text(o, "division", t->division, sizeof t->division, e) < 0 ||
            payload_text(o, "profile", t->profile, sizeof t->profile, e) < 0 ||
            payload_text(o, "binding", t->binding, sizeof t->binding, e) < 0 ||
            get_keys(o, &t->keys, e) < 0 || payload_flag(o, "reissue", &t->reissue, e) < 0 ||
            payload_number(o, "rows", 1, &rows, e) < 0 ||
            payload_text(o, "root", root, sizeof root, e) < 0 ||
            payload_number(o, "quota", 1, &quota, e) < 0 || get_stations(o, t, e) < 0)
        return -1;
    t->rows = (uint64_t)rows;
    t->quota = (uint64_t)quota;
    if (!uuid_valid(t->job))
        return err_set(e, ERR_TICKET, "member \"job\" must be a UUID");
    if (!name_valid(t->account, strlen(t->account)) ||
            !name_valid(t->division, strlen(t->division)))
        return err_set(e, ERR_TICKET, "members \"account\" and \"division\" must be names");
    if (strcmp(t->binding, "identity") != 0)
        return err_set(e, ERR_TICKET, "member \"binding\" must be \"identity\"");
    if (hex_parse(root, strlen(root), t->root.bytes, MERKLE_HASH_BYTES) < 0)
        return err_set(e, ERR_TICKET, "member \"root\" must be %d hexadecimal digits",
                2 * MERKLE_HASH_BYTES);
    if (t->quota > t->rows)
        return err_set(e, ERR_TICKET, "member \"quota\" is larger than \"rows\"");
    if (kind == PAYLOAD_REQUEST)
        return 0;
    if (payload_text(o, "profile_sha256", t->profile_sha256, sizeof t->profile_sha256, e) < 0)
        return -1;
    if (hex_parse(t->profile_sha256, strlen(t->profile_sha256), digest, sizeof digest) < 0)
        return err_set(e, ERR_TICKET, "member \"profile_sha256\" must be 64 hexadecimal digits");
    if (payload_number(o, "nbf", 0, &t->not_before, e) < 0 ||
            payload_number(o, "exp", 0, &t->not_after, e) < 0 ||
            payload_number(o, "iat", 0, &t->issued_at, e) < 0 ||
            payload_text(o, "approver", t->approver, sizeof t->approver, e) < 0)
        return -1;
    if (t->not_after <= t->not_before)
        return err_set(e, ERR_TICKET, "member \"exp\" is not after \"nbf\"");
    return 0;
}

static json_t *payload_format(const struct ticket *t)
{
    char root[2 * MERKLE_HASH_BYTES + 1];
    json_t *stations = json_array();

    hex_format(t->root.bytes, MERKLE_HASH_BYTES, root);
    for (size_t i = 0; i < t->station_count; i++)
        json_array_append_new(stations, json_string(t->stations[i]));
    return json_pack("{s:i,s:s,s:s,s:s,s:s,s:s,s:s,s:s,s:b,s:I,s:s,s:I,s:I,s:I,s:o,s:s,s:I}", "v",
            TICKET_VERSION, "job", t->job, "account", t->account, "division", t->division,
            "profile", t->profile, "profile_sha256", t->profile_sha256, "binding", t->binding,
            "keys", keys_names[t->keys], "reissue", (int)t->reissue, "rows", (json_int_t)t->rows,
            "root", root, "quota", (json_int_t)t->quota, "nbf", (json_int_t)t->not_before, "exp",
            (json_int_t)t->not_after, "stations", stations, "approver", t->approver, "iat",
            (json_int_t)t->issued_at);
}

int ticket_format(const struct ticket *t, struct buf *out, struct err *e)
{
    return json_append(payload_format(t), out, e);
}

static int text_parse(const char *json, enum payload_kind kind, struct ticket *ret, struct err *e)
{
    json_error_t why;
    json_t *o = json_loads(json, JSON_REJECT_DUPLICATES, &why);
    int r = -1;

    if (!o)
        err_set(e, ERR_TICKET, "it is not JSON: %.100s", why.text);
    else
        r = payload_parse(o, kind, ret, e);
    json_decref(o);
    return r;
}

int ticket_request_parse(const char *json, struct ticket *ret, struct err *e)
{
    return text_parse(json, PAYLOAD_REQUEST, ret, e) < 0 ? err_context(e, "ticket request") : 0;
}

int ticket_payload_parse(const char *json, struct ticket *ret, struct err *e)
{
    return text_parse(json, PAYLOAD_TICKET, ret, e) < 0 ? err_context(e, "ticket") : 0;
}

int ticket_sign_by(
        const struct ticket *t, const struct jws_signer *by, char **ret_jws, struct err *e)
{
    json_t *payload = payload_format(t);
    struct ticket again;
    int r = -1;

    /* what we would refuse to read we must not write */
    if (payload_parse(payload, PAYLOAD_TICKET, &again, e) == 0)
        r = jws_sign(TICKET_TYPE, payload, by, ret_jws, e);
    json_decref(payload);
    return r < 0 ? err_context(e, "ticket") : 0;
}

int ticket_sign(const struct ticket *t, EVP_PKEY *key, STACK_OF(X509) * chain, char **ret_jws,
        struct err *e)
{
    const struct jws_signer by = jws_key_signer(key, chain);

    return ticket_sign_by(t, &by, ret_jws, e);
}

int ticket_verify(const char *jws, X509_STORE *anchors, struct ticket *ret, struct err *e)
{
    json_t *payload;
    int r = jws_verify(jws, TICKET_TYPE, anchors, &payload, e);

    if (r == 0)
        r = payload_parse(payload, PAYLOAD_TICKET, ret, e);
    json_decref(payload);
    return r < 0 ? err_context(e, "ticket") : 0;
}

int ticket_check(const struct ticket *t, const char *station, int64_t now_s, struct err *e)
{
    if (now_s < t->not_before)
        return err_set(e, ERR_TICKET_EXPIRED, "the ticket is not valid yet");
    if (now_s >= t->not_after)
        return err_set(e, ERR_TICKET_EXPIRED, "the ticket has expired");
    for (size_t i = 0; i < t->station_count; i++)
        if (strcmp(t->stations[i], "*") == 0 || strcmp(t->stations[i], station) == 0)
            return 0;
    return err_set(e, ERR_TICKET_STATION, "the ticket is not for station %s", station);
}
