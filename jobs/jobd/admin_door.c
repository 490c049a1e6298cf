/* People's door. Reads arguments, asks the registry, answers with one JSON text. What a person may
 * do is the socket's matter (its uid); what the registry allows is the nouns'. */
#include "jobs/jobd/doors.h"

#include <stdio.h>
#include <string.h>

#include <systemd/sd-daemon.h>

#include "base/bus.h"
#include "base/config.h"
#include "base/text.h"
#include "hsm/signer_client.h"
#include "jobs/device.h"
#include "jobs/group.h"
#include "jobs/job.h"
#include "jobs/jobd/commit.h"
#include "jobs/jobd/intake.h"
#include "jobs/jobd/signer_link.h"
#include "jobs/json.h"
#include "jobs/outbox.h"
#include "jobs/registry.h"
#include "jobs/report.h"

/* The answer of a call that only read. */
static int answer(struct jobd *j, sd_bus_message *m, json_t *o, struct err *e)
{
    return commit_answer(j->commit, m, json_reply(m, o, e), e);
}

/* ---- groups */

static int on_group_add(sd_bus_message *m, void *userdata, sd_bus_error *be)
{
    struct jobd *j = userdata;
    struct err e = {0};
    const char *name, *description;
    char actor[ACTOR_MAX];
    json_t *o = NULL;
    (void)be;
    if (read_args(m, &e, "ss", &name, &description) || commit_begin(j->commit, &e))
        return commit_answer(j->commit, m, NULL, &e);
    actor_of(m, actor);
    (void)group_add(j->registry, actor, name, description, &o, &e);
    return commit_end(j->commit, m, json_reply(m, o, &e), &e);
}

static int on_group_list(sd_bus_message *m, void *userdata, sd_bus_error *be)
{
    struct jobd *j = userdata;
    struct err e = {0};
    json_t *o = NULL;
    (void)be;
    (void)group_list(j->registry, &o, &e);
    return answer(j, m, o, &e);
}

/* ---- jobs */

/* The loop, which tells systemd that jobd is alive, stands still during an import. */
static void still_alive(void)
{
    (void)sd_notify(0, "WATCHDOG=1");
}

/* Import reads the file before it begins to write: a slow disk must not hold the others' commit. */
static int take_in(struct jobd *j, sd_bus_message *m, struct intake *in, struct err *e)
{
    char actor[ACTOR_MAX];
    json_t *o = NULL;
    if (intake_read(in, j->profiles, e)) {
        struct err none = {0};
        if (e->id != ERR_MANIFEST)
            return commit_answer(j->commit, m, NULL, e);
        (void)job_import_errors(&in->manifest, &o, &none);
        return answer(j, m, o, &none);
    }
    if (commit_begin(j->commit, e))
        return commit_answer(j->commit, m, NULL, e);
    actor_of(m, actor);
    in->options.progress = still_alive;
    (void)job_import(j->registry, &j->site, actor, &in->manifest, &in->options, &o, e);
    return commit_end(j->commit, m, json_reply(m, o, e), e);
}

static int on_job_import(sd_bus_message *m, void *userdata, sd_bus_error *be)
{
    struct intake in = INTAKE_INIT;
    struct err e = {0};
    (void)be;
    if (intake_from_file(m, &in, &e)) {
        intake_done(&in);
        return commit_answer(((struct jobd *)userdata)->commit, m, NULL, &e);
    }
    int r = take_in(userdata, m, &in, &e);
    intake_done(&in);
    return r;
}

static int on_device_register(sd_bus_message *m, void *userdata, sd_bus_error *be)
{
    struct intake in = INTAKE_INIT;
    struct err e = {0};
    (void)be;
    if (intake_from_row(m, &in, &e)) {
        intake_done(&in);
        return commit_answer(((struct jobd *)userdata)->commit, m, NULL, &e);
    }
    int r = take_in(userdata, m, &in, &e);
    intake_done(&in);
    return r;
}

static int on_device_reissue(sd_bus_message *m, void *userdata, sd_bus_error *be)
{
    struct jobd *j = userdata;
    struct intake in = INTAKE_INIT;
    struct err e = {0};
    (void)be;
    if (intake_from_devices(j->registry, m, &in, &e)) {
        intake_done(&in);
        return commit_answer(j->commit, m, NULL, &e);
    }
    int r = take_in(j, m, &in, &e);
    intake_done(&in);
    return r;
}

static int on_job_list(sd_bus_message *m, void *userdata, sd_bus_error *be)
{
    struct jobd *j = userdata;
    struct err e = {0};
    json_t *o = NULL;
    (void)be;
    (void)job_list(j->registry, &o, &e);
    return answer(j, m, o, &e);
}

static int on_job_show(sd_bus_message *m, void *userdata, sd_bus_error *be)
{
    struct jobd *j = userdata;
    struct err e = {0};
    const char *name;
    int64_t job;
    json_t *o = NULL;
    (void)be;
    if (read_args(m, &e, "s", &name) == 0 && job_find(j->registry, name, &job, &e) == 0)
        (void)job_show(j->registry, job, &o, &e);
    return answer(j, m, o, &e);
}

static int on_job_request(sd_bus_message *m, void *userdata, sd_bus_error *be)
{
    struct jobd *j = userdata;
    struct err e = {0};
    const char *name;
    int64_t job;
    json_t *o = NULL;
    (void)be;
    if (read_args(m, &e, "s", &name) == 0 && job_find(j->registry, name, &job, &e) == 0)
        (void)job_request(j->registry, &j->site, job, &o, &e);
    return answer(j, m, o, &e);
}

static int on_job_report(sd_bus_message *m, void *userdata, sd_bus_error *be)
{
    struct jobd *j = userdata;
    struct err e = {0};
    const char *name;
    uint64_t after_row;
    uint32_t limit;
    int64_t job;
    json_t *o = NULL;
    (void)be;
    if (read_args(m, &e, "stu", &name, &after_row, &limit) == 0 &&
            job_find(j->registry, name, &job, &e) == 0)
        (void)report_make(j->registry, job, after_row, limit, &o, &e);
    return answer(j, m, o, &e);
}

static int end_job(sd_bus_message *m, struct jobd *j, enum job_state end)
{
    struct err e = {0};
    const char *name, *reason;
    char actor[ACTOR_MAX];
    int64_t job;
    json_t *o = NULL;
    if (read_args(m, &e, "ss", &name, &reason) || commit_begin(j->commit, &e))
        return commit_answer(j->commit, m, NULL, &e);
    actor_of(m, actor);
    if (job_find(j->registry, name, &job, &e) == 0 &&
            job_end(j->registry, &j->site, actor, job, end, reason, &e) == 0)
        (void)job_show(j->registry, job, &o, &e);
    return commit_end(j->commit, m, json_reply(m, o, &e), &e);
}

static int on_job_reject(sd_bus_message *m, void *userdata, sd_bus_error *be)
{
    (void)be;
    return end_job(m, userdata, JOB_REJECTED);
}

static int on_job_terminate(sd_bus_message *m, void *userdata, sd_bus_error *be)
{
    (void)be;
    return end_job(m, userdata, JOB_TERMINATED);
}

/* ---- approval: the signer looks at the ticket first */

static void on_ticket_checked(
        void *ctx, const uint8_t *facts, size_t len, unsigned marks, const struct err *failed)
{
    struct pending *p = ctx;
    struct jobd *j = p->jobd;
    struct err e = failed ? *failed : (struct err){0};
    struct buf text = BUF_INIT;
    char actor[ACTOR_MAX];
    json_t *o = NULL;
    (void)marks;
    if (!e.id)
        (void)buf_append(&text, facts, len, &e);
    if (!e.id && !buf_str(&text))
        err_set(&e, ERR_NOMEM, "no memory for a ticket");
    if (e.id || commit_begin(j->commit, &e)) {
        commit_answer(j->commit, p->call, NULL, &e);
    } else {
        actor_of(p->call, actor);
        if (job_approve(j->registry, &j->site, actor, p->id, p->text, buf_str(&text), &e) == 0)
            (void)job_show(j->registry, p->id, &o, &e);
        commit_end(j->commit, p->call, json_reply(p->call, o, &e), &e);
    }
    buf_done(&text);
    pending_free(p);
}

static int on_job_approve(sd_bus_message *m, void *userdata, sd_bus_error *be)
{
    struct jobd *j = userdata;
    struct err e = {0};
    const char *name, *ticket;
    int64_t job;
    sd_bus *signer;
    (void)be;
    if (read_args(m, &e, "ss", &name, &ticket) || job_find(j->registry, name, &job, &e) ||
            (strlen(ticket) > TICKET_BYTES_MAX &&
                    err_set(&e, ERR_TICKET, "the ticket is larger than %u bytes",
                            TICKET_BYTES_MAX)) ||
            job_check_pending(j->registry, job, &e) || signer_link_bus(j->signer, &signer, &e))
        return commit_answer(j->commit, m, NULL, &e);
    struct pending *p = pending_new(j, m, ticket, job, &e);
    if (p && signer_check_ticket_async(signer, ticket, on_ticket_checked, p, &e) == 0)
        return 1;
    if (p)
        pending_free(p);
    return commit_answer(j->commit, m, NULL, &e);
}

/* ---- devices */

static int read_filter(struct jobd *j, sd_bus_message *m, struct device_filter *f, struct err *e)
{
    const char *key, *value;
    int r = sd_bus_message_enter_container(m, 'a', "{ss}");
    while (r >= 0 && (r = sd_bus_message_read(m, "{ss}", &key, &value)) > 0) {
        if (strlen(value) > NAME_BYTES_MAX)
            return err_set(e, ERR_ARGUMENT, "filter %.40s: the value is too long", key);
        if (strcmp(key, "job") == 0) {
            if (job_find(j->registry, value, &f->job, e))
                return -1;
        } else if (strcmp(key, "group") == 0) {
            f->group = value;
        } else if (strcmp(key, "state") == 0) {
            f->state = value;
        } else if (strcmp(key, "name") == 0) {
            f->name = value;
        } else {
            return err_set(e, ERR_ARGUMENT,
                    "filter '%.40s' is unknown: there are job, group, state, name", key);
        }
    }
    if (r < 0 || sd_bus_message_exit_container(m) < 0)
        return err_set(e, ERR_PROTOCOL, "the call's arguments do not fit its signature");
    return 0;
}

static int on_device_list(sd_bus_message *m, void *userdata, sd_bus_error *be)
{
    struct jobd *j = userdata;
    struct device_filter filter = {0};
    struct err e = {0};
    const char *cursor;
    uint32_t limit;
    json_t *o = NULL;
    (void)be;
    if (read_filter(j, m, &filter, &e) == 0 && read_args(m, &e, "su", &cursor, &limit) == 0)
        (void)device_list(j->registry, &filter, cursor, limit, &o, &e);
    return answer(j, m, o, &e);
}

static int on_device_show(sd_bus_message *m, void *userdata, sd_bus_error *be)
{
    struct jobd *j = userdata;
    struct err e = {0};
    const char *device;
    json_t *o = NULL;
    (void)be;
    if (read_args(m, &e, "s", &device) == 0)
        (void)device_show(j->registry, device, &o, &e);
    return answer(j, m, o, &e);
}

/* ---- the appliance */

static int on_slot_list(sd_bus_message *m, void *userdata, sd_bus_error *be)
{
    struct jobd *j = userdata;
    struct err e = {0};
    json_t *o = NULL;
    (void)be;
    (void)slot_door_list(j->slots, &o, &e);
    return answer(j, m, o, &e);
}

static int on_sync_status(sd_bus_message *m, void *userdata, sd_bus_error *be)
{
    struct jobd *j = userdata;
    struct err e = {0};
    json_t *o = NULL;
    (void)be;
    (void)outbox_door_status(j->outbox, &o, &e);
    return answer(j, m, o, &e);
}

static int on_sync_retry(sd_bus_message *m, void *userdata, sd_bus_error *be)
{
    struct jobd *j = userdata;
    struct err e = {0};
    json_t *o = NULL;
    int count;
    (void)be;
    if (commit_begin(j->commit, &e))
        return commit_answer(j->commit, m, NULL, &e);
    if (batch_retry(j->registry, &count, &e) == 0) {
        (void)outbox_door_status(j->outbox, &o, &e);
        outbox_door_retry(j->outbox);
    }
    return commit_end(j->commit, m, json_reply(m, o, &e), &e);
}

/* signer: what the signer said of itself, taken; NULL when it did not answer, for `why`. */
static int make_status(
        struct jobd *j, json_t *signer, const struct err *why, json_t **ret, struct err *e)
{
    json_t *sync = NULL;
    char registry[PATH_MAX];
    int64_t jobs, devices;
    bool up = signer != NULL;
    if (!signer)
        signer = json_object();
    if (!json_object_get(signer, "error"))
        (void)json_object_set_new(signer, "error", json_error(why));
    (void)json_object_set_new(signer, "up", json_boolean(up));
    if (registry_number(j->registry, e, &jobs, "SELECT count(*) FROM job") ||
            registry_number(j->registry, e, &devices,
                    "SELECT coalesce(sum(rows), 0) FROM job"
                    " WHERE state NOT IN ('Rejected', 'Terminated')") ||
            outbox_door_status(j->outbox, &sync, e)) {
        json_decref(signer);
        return -1;
    }
    paths_get(&j->paths, PATH_REGISTRY, registry);
    return json_made(json_pack("{s:s, s:s, s:I, s:I, s:s, s:o, s:o, s:i}", "version",
                             KEYLINE_VERSION, "station", j->site.station, "jobs", (json_int_t)jobs,
                             "devices", (json_int_t)devices, "registry", registry, "signer", signer,
                             "sync", sync, "slots", (int)slot_door_count(j->slots)),
            ret, e);
}

static void on_signer_status(
        void *ctx, const uint8_t *text, size_t len, unsigned marks, const struct err *failed)
{
    struct pending *p = ctx;
    struct err e = {0}, why = failed ? *failed : (struct err){0};
    json_t *o = NULL, *signer = NULL;
    (void)marks;
    if (!failed) {
        signer = json_loadb((const char *)text, len, JSON_REJECT_DUPLICATES, NULL);
        if (!json_is_object(signer)) {
            json_decref(signer);
            signer = NULL;
            err_set(&why, ERR_PROTOCOL, "the signer's status is not a JSON object");
        }
    }
    (void)make_status(p->jobd, signer, &why, &o, &e);
    (void)answer(p->jobd, p->call, o, &e);
    pending_free(p);
}

static int on_status(sd_bus_message *m, void *userdata, sd_bus_error *be)
{
    struct jobd *j = userdata;
    struct err e = {0}, why = {0};
    json_t *o = NULL;
    sd_bus *signer;
    (void)be;
    if (signer_link_bus(j->signer, &signer, &why) == 0) {
        struct pending *p = pending_new(j, m, NULL, 0, &why);
        if (p && signer_status_async(signer, on_signer_status, p, &why) == 0)
            return 1;
        if (p)
            pending_free(p);
    }
    (void)make_status(j, NULL, &why, &o, &e);
    return answer(j, m, o, &e);
}

/* ---- opening */

static const sd_bus_vtable vtable[] = {
        SD_BUS_VTABLE_START(0),
        SD_BUS_METHOD("GroupAdd", "ss", "s", on_group_add, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD("GroupList", "", "s", on_group_list, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD("JobImport", "ha{ss}", "s", on_job_import, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD("JobRequest", "s", "s", on_job_request, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD("JobApprove", "ss", "s", on_job_approve, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD("JobReject", "ss", "s", on_job_reject, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD("JobTerminate", "ss", "s", on_job_terminate, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD("JobList", "", "s", on_job_list, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD("JobShow", "s", "s", on_job_show, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD("JobReport", "stu", "s", on_job_report, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD("DeviceList", "a{ss}su", "s", on_device_list, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD("DeviceShow", "s", "s", on_device_show, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD(
                "DeviceRegister", "a{ss}", "s", on_device_register, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD("DeviceReissue", "ass", "s", on_device_reissue, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD("Order", "s", "s", authority_on_order, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD("Ledger", "stu", "s", authority_on_ledger, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD("RenewCrls", "", "s", authority_on_renew_crls, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD("SlotList", "", "s", on_slot_list, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD("SyncStatus", "", "s", on_sync_status, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD("SyncRetry", "", "s", on_sync_retry, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD("Status", "", "s", on_status, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_VTABLE_END,
};

int admin_door_open(struct jobd *j, struct err *e)
{
    char path[PATH_MAX];
    paths_get(&j->paths, PATH_JOBS_SOCKET, path);
    struct bus_door door = {.path = path,
            .object = "/org/keyline/Jobs1",
            .interface = "org.keyline.Jobs1",
            .vtable = vtable,
            .userdata = j,
            .takes_fds = true};
    if (config_user(j->config, "admin_user", door.uids, &door.uid_count, e))
        return -1;
    return bus_server_open(j->event, &door, &j->admin, e);
}
