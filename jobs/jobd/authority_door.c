/* The part of people's door that the signer answers: orders of an approver, CRLs, the ledger. jobd has no
 * say in any of it; it carries the call, and keeps what came of an order. */
#include <stdio.h>
#include <string.h>

#include "base/uuid.h"
#include "hsm/signer_client.h"
#include "jobs/device.h"
#include "jobs/jobd/commit.h"
#include "jobs/jobd/doors.h"
#include "jobs/jobd/signer_link.h"
#include "jobs/json.h"
#include "jobs/revocation.h"

static int parse_answer(const uint8_t *text, size_t len, json_t **ret, struct err *e)
{
    *ret = json_loadb((const char *)text, len, JSON_REJECT_DUPLICATES, NULL);
    if (json_is_object(*ret))
        return 0;
    json_decref(*ret);
    *ret = NULL;
    return err_set(e, ERR_PROTOCOL, "the signer's answer is not a JSON object");
}

/* ---- orders */

/* What the signer did is done, whatever becomes of it here: a registry that fails now gets the same
 * order again from the person who reads the error. */
static void on_ordered(
        void *ctx, const uint8_t *text, size_t len, unsigned marks, const struct err *failed)
{
    struct pending *p = ctx;
    struct jobd *j = p->jobd;
    struct err e = failed ? *failed : (struct err){0};
    char actor[ACTOR_MAX];
    json_t *facts = NULL, *o = NULL;
    (void)marks;
    if (e.id || parse_answer(text, len, &facts, &e) || commit_begin(j->commit, &e)) {
        commit_answer(j->commit, p->call, NULL, &e);
    } else {
        actor_of(p->call, actor);
        (void)revocation_record(j->registry, &j->site, actor, facts, &o, &e);
        commit_end(j->commit, p->call, json_reply(p->call, o, &e), &e);
    }
    json_decref(facts);
    pending_free(p);
}

int authority_on_order(sd_bus_message *m, void *userdata, sd_bus_error *be)
{
    struct jobd *j = userdata;
    struct pending *p = NULL;
    struct err e = {0};
    const char *order;
    sd_bus *signer;
    (void)be;
    if (read_args(m, &e, "s", &order) == 0 && signer_link_bus(j->signer, &signer, &e) == 0 &&
            (p = pending_new(j, m, NULL, 0, &e)) &&
            signer_order_async(signer, order, on_ordered, p, &e) == 0)
        return 1;
    if (p)
        pending_free(p);
    return commit_answer(j->commit, m, NULL, &e);
}

/* ---- answers that are passed on */

static void on_answer(
        void *ctx, const uint8_t *text, size_t len, unsigned marks, const struct err *failed)
{
    struct pending *p = ctx;
    struct err e = failed ? *failed : (struct err){0};
    json_t *o = NULL;
    (void)marks;
    if (!e.id)
        (void)parse_answer(text, len, &o, &e);
    commit_answer(p->jobd->commit, p->call, json_reply(p->call, o, &e), &e);
    pending_free(p);
}

/* Devices have names here, and IDs there. */
static int device_id(struct jobd *j, const char *device, char out[UUID_TEXT_MAX], struct err *e)
{
    json_t *o;
    int64_t id;
    snprintf(out, UUID_TEXT_MAX, "%s", device);
    if (!*device || uuid_valid(device))
        return 0; /* the ledger may know one that the registry does not */
    if (device_find(j->registry, device, &id, e) || device_json(j->registry, id, &o, e))
        return -1;
    snprintf(out, UUID_TEXT_MAX, "%s", json_string_value(json_object_get(o, "id")));
    json_decref(o);
    return 0;
}

int authority_on_ledger(sd_bus_message *m, void *userdata, sd_bus_error *be)
{
    struct jobd *j = userdata;
    struct pending *p = NULL;
    struct err e = {0};
    const char *device;
    char id[UUID_TEXT_MAX];
    uint64_t before;
    uint32_t limit;
    sd_bus *signer;
    (void)be;
    if (read_args(m, &e, "stu", &device, &before, &limit) == 0 &&
            device_id(j, device, id, &e) == 0 && signer_link_bus(j->signer, &signer, &e) == 0 &&
            (p = pending_new(j, m, NULL, 0, &e)) &&
            signer_ledger_async(signer, id, before, limit, on_answer, p, &e) == 0)
        return 1;
    if (p)
        pending_free(p);
    return commit_answer(j->commit, m, NULL, &e);
}

int authority_on_renew_crls(sd_bus_message *m, void *userdata, sd_bus_error *be)
{
    struct jobd *j = userdata;
    struct pending *p = NULL;
    struct err e = {0};
    sd_bus *signer;
    (void)be;
    if (signer_link_bus(j->signer, &signer, &e) == 0 && (p = pending_new(j, m, NULL, 0, &e)) &&
            signer_renew_crls_async(signer, on_answer, p, &e) == 0)
        return 1;
    if (p)
        pending_free(p);
    return commit_answer(j->commit, m, NULL, &e);
}
