/* Reading calls and making replies; calls that wait for the signer. */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bus.h"
#include "jobs/jobd/jobd.h"
#include "jobs/jobd/signer_link.h"

void actor_of(sd_bus_message *m, char out[ACTOR_MAX])
{
    sd_bus_creds *creds = NULL;
    uid_t uid = 0;
    if (sd_bus_get_owner_creds(sd_bus_message_get_bus(m), SD_BUS_CREDS_EUID, &creds) >= 0 &&
            sd_bus_creds_get_euid(creds, &uid) >= 0)
        snprintf(out, ACTOR_MAX, "uid %" PRIu32, (uint32_t)uid);
    else
        snprintf(out, ACTOR_MAX, "uid unknown");
    sd_bus_creds_unref(creds);
}

int read_args(sd_bus_message *m, struct err *e, const char *types, ...)
{
    va_list args;
    va_start(args, types);
    int r = sd_bus_message_readv(m, types, args);
    va_end(args);
    return r > 0 ? 0 : err_set(e, ERR_PROTOCOL, "the call's arguments do not fit its signature");
}

sd_bus_message *empty_reply(sd_bus_message *m, struct err *e)
{
    sd_bus_message *reply = NULL;
    if (e->id)
        return NULL;
    int r = sd_bus_message_new_method_return(m, &reply);
    if (r < 0)
        bus_err(e, NULL, r);
    return reply;
}

sd_bus_message *json_reply(sd_bus_message *m, json_t *o, struct err *e)
{
    sd_bus_message *reply = empty_reply(m, e);
    char *text = reply && o ? json_dumps(o, JSON_COMPACT) : NULL;
    json_decref(o);
    if (reply && (!text || sd_bus_message_append(reply, "s", text) < 0)) {
        err_set(e, ERR_NOMEM, "no memory for an answer");
        reply = sd_bus_message_unref(reply);
    }
    free(text);
    return reply;
}

struct pending *pending_new(
        struct jobd *j, sd_bus_message *call, const char *text, int64_t id, struct err *e)
{
    struct pending *p = calloc(1, sizeof *p);
    if (p && text && !(p->text = strdup(text))) {
        free(p);
        p = NULL;
    }
    if (!p) {
        err_set(e, ERR_NOMEM, "no memory for a call");
        return NULL;
    }
    p->jobd = j;
    p->call = sd_bus_message_ref(call);
    p->id = id;
    p->at = signer_link_pending(j->signer);
    p->next = *p->at;
    if (p->next)
        p->next->at = &p->next;
    *p->at = p;
    return p;
}

void pending_free(struct pending *p)
{
    *p->at = p->next;
    if (p->next)
        p->next->at = p->at;
    sd_bus_message_unref(p->call);
    free(p->text);
    free(p);
}
