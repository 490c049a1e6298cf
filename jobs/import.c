/* Import of a manifest: one savepoint, prepared statements, rows in their order. The uniqueness of
 * names is the indexes' to decide, so a row costs no look-up unless it is refused. */
#include "jobs/job.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/row.h"
#include "base/text.h"
#include "base/uuid.h"
#include "hsm/profile/profile.h"
#include "hsm/profile/profile_apply.h"
#include "jobs/bootstrap.h"
#include "jobs/event.h"
#include "jobs/group.h"
#include "jobs/json.h"
#include "jobs/manifest.h"
#include "jobs/registry.h"
#include "jobs/reissue.h"
#include "jobs/site.h"

#define PROGRESS_ROWS 4096 /* a tenth of a second */
#define GROUPS_CACHED 64   /* a manifest of more groups looks some up again */

struct import {
    struct registry *registry;
    const struct site *site;
    struct manifest *m;
    const struct profile *profile;
    struct profile_space space;
    const char *actor;
    bool add_groups, reissue;
    int64_t job, now;
    struct group {
        char name[NAME_BYTES_MAX + 1];
        int64_t id; /* 0: there is no such group, which was said once */
    } groups[GROUPS_CACHED];
    size_t group_count;
};

int job_import_errors(const struct manifest *m, json_t **ret, struct err *e)
{
    json_t *errors = json_array();
    for (size_t i = 0; i < m->error_count; i++)
        (void)json_array_append_new(
                errors, json_pack("{s:I, s:s, s:s}", "row", (json_int_t)m->errors[i].row, "column",
                                m->errors[i].column, "reason", m->errors[i].reason));
    return json_made(json_pack("{s:b, s:I, s:o}", "imported", 0, "errors_total",
                             (json_int_t)m->errors_total, "errors", errors),
            ret, e);
}

/* ---- the job */

static int check_stations(const char *stations, struct err *e)
{
    size_t count = 0;
    for (const char *at = stations; *at; count++) {
        size_t len = strcspn(at, ",");
        if (!name_valid(at, len))
            return err_set(e, ERR_ARGUMENT, "station: '%.*s' is not a station's name",
                    (int)(len < 60 ? len : 60), at);
        at += len;
        if (*at == ',' && !*++at)
            return err_set(e, ERR_ARGUMENT, "station: the list ends with a comma");
    }
    return count <= TICKET_STATIONS_MAX
                   ? 0
                   : err_set(e, ERR_ARGUMENT, "station: at most %u names", TICKET_STATIONS_MAX);
}

static int check_options(const struct job_options *o, struct err *e)
{
    if (!name_valid(o->name, strlen(o->name)))
        return err_set(e, ERR_ARGUMENT, "'%.60s' is not a name a job can have", o->name);
    if (strcmp(o->binding, "identity") != 0)
        return err_set(e, ERR_ARGUMENT, "binding: only 'identity' is known");
    if (strcmp(o->keys, "device") != 0 && strcmp(o->keys, "signer") != 0)
        return err_set(e, ERR_ARGUMENT, "keys: 'device' or 'signer', not '%.20s'", o->keys);
    return check_stations(o->stations, e);
}

static int refuse_repetition(
        struct registry *r, const struct manifest *m, const struct job_options *o, struct err *e)
{
    struct query q;
    if (query_open(&q, r, e,
                "SELECT name, created FROM job WHERE manifest_sha256 = ?1 AND reissue = 0 AND ?2 = "
                "0"
                " AND state NOT IN ('Terminated', 'Rejected', 'Failed')",
                BIND_TEXT(m->sha256), BIND_INT(o->reissue)))
        return -1;
    int n = query_next(&q, e);
    if (n > 0) {
        char time[TIME_TEXT_MAX];
        time_format(query_int(&q, 1), time);
        n = err_set(e, ERR_EXISTS, "this very file was imported already, as job '%s' at %s",
                query_text(&q, 0), time);
    }
    query_done(&q);
    if (n < 0)
        return -1;
    int64_t id;
    struct err none = {0};
    if (registry_number(r, &none, &id, "SELECT id FROM job WHERE name = ?1", BIND_TEXT(o->name)) ==
            0)
        return err_set(e, ERR_EXISTS, "there is a job '%s' already", o->name);
    return none.id == ERR_NOT_FOUND ? 0 : err_set(e, none.id, "%s", none.msg);
}

static int insert_job(
        struct import *im, const char *uuid, const struct job_options *o, struct err *e)
{
    const struct manifest *m = im->m;
    if (registry_run(im->registry, e,
                "INSERT INTO job (uuid, name, state, rows, root, profile, binding, stations,"
                " manifest_sha256, quota, created, reissue, keys)"
                " VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?4, ?10, ?11, ?12)",
                BIND_TEXT(uuid), BIND_TEXT(o->name),
                BIND_TEXT(job_state_name(JOB_PENDING_APPROVAL)), BIND_INT(m->rows),
                BIND_BLOB(m->root.bytes, sizeof m->root.bytes), BIND_TEXT(o->profile->name),
                BIND_TEXT(o->binding), BIND_TEXT(o->stations), BIND_TEXT(m->sha256),
                BIND_INT(im->now), BIND_INT(o->reissue), BIND_TEXT(o->keys)))
        return -1;
    im->job = registry_last_id(im->registry);
    return 0;
}

/* ---- its rows */

static int make_group(struct import *im, const char *name, int64_t *ret_id, struct err *e)
{
    json_t *ignored = NULL;
    if (group_add(im->registry, im->actor, name, "", &ignored, e))
        return -1;
    json_decref(ignored);
    return group_find(im->registry, name, ret_id, e);
}

/* *ret_id 0: there is none; said once, at the first row that names it. */
static int group_id(
        struct import *im, const char *name, uint32_t line, int64_t *ret_id, struct err *e)
{
    struct err cause = {0};
    for (size_t i = 0; i < im->group_count; i++)
        if (strcmp(im->groups[i].name, name) == 0) {
            *ret_id = im->groups[i].id;
            return 0;
        }
    *ret_id = 0;
    if (group_find(im->registry, name, ret_id, &cause)) {
        if (cause.id != ERR_NOT_FOUND)
            return err_set_code(e, cause.id, cause.code, "%s", cause.msg);
        if (im->add_groups && make_group(im, name, ret_id, e))
            return -1;
    }
    if (!*ret_id)
        manifest_complain(im->m, line, "device_group", "%s", cause.msg);
    struct group *g =
            &im->groups[im->group_count < GROUPS_CACHED ? im->group_count++ : GROUPS_CACHED - 1];
    snprintf(g->name, sizeof g->name, "%s", name);
    g->id = *ret_id;
    return 0;
}

/* The insert was refused by an index: says by which device. */
static int explain_conflict(struct import *im, const char *name, const char *hwid, int64_t group,
        uint32_t line, struct err *e)
{
    struct query q;
    if (query_open(&q, im->registry, e,
                "SELECT d.name, d.hwid, j.name, d.name = ?1 AND d.device_group = ?2,"
                " j.state NOT IN ('Pending approval', 'Pending', 'In progress') FROM device d"
                " JOIN job j ON j.id = d.job WHERE d.state <> 'Deleted'"
                " AND ((d.name = ?1 AND d.device_group = ?2) OR d.hwid = ?3) LIMIT 1",
                BIND_TEXT(name), BIND_INT(group), BIND_TEXT(*hwid ? hwid : NULL)))
        return -1;
    int n = query_next(&q, e);
    if (n > 0 && query_int(&q, 3))
        manifest_complain(im->m, line, "device_name",
                "device '%s' is in the registry already, by job '%s'%s", name, query_text(&q, 2),
                query_int(&q, 4) && !im->reissue
                        ? ": for a new certificate, import the file with --reissue"
                        : "");
    else if (n > 0)
        manifest_complain(im->m, line, "hwid",
                "hwid '%s' is in the registry already, as device '%s' of job '%s'", hwid,
                query_text(&q, 0), query_text(&q, 2));
    else if (n == 0)
        n = err_set(e, ERR_STORE, "the registry refuses device '%s' for no known reason", name);
    query_done(&q);
    return n < 0 ? -1 : 0;
}

/* A configuration that no device takes must not be found out on the line. Small rows cannot be at
 * fault: JSON makes a byte at most six. */
static int check_config(struct import *im, const char *uuid, const struct row *row, size_t row_len,
        uint32_t line, struct err *e)
{
    struct buf config = BUF_INIT;
    struct err cause = {0};
    if (row_len < CONFIG_BYTES_MAX / 8)
        return 0;
    int r = bootstrap_format(im->site, uuid, row, &config, &cause);
    buf_done(&config);
    if (r && cause.id != ERR_LIMIT)
        return err_set(e, cause.id, "%s", cause.msg);
    if (r)
        manifest_complain(im->m, line, "", "%s", cause.msg);
    return 0;
}

/* What the signer would refuse device by device, with the line standing still, is refused here. */
static int check_profile(struct import *im, const struct row *row, uint32_t line, struct err *e)
{
    struct err cause = {0};
    if (profile_fits(im->profile, row, &im->space, &cause) == 0)
        return 0;
    if (cause.id != ERR_PROFILE && cause.id != ERR_LIMIT)
        return err_set(e, cause.id, "%s", cause.msg);
    manifest_complain(im->m, line, "", "does not fit profile %s: %s", im->profile->name, cause.msg);
    return 0;
}

static int insert_row(struct import *im, uint64_t index, struct err *e)
{
    const uint8_t *bytes = im->m->encoded.data + im->m->offsets[index];
    size_t len = im->m->offsets[index + 1] - im->m->offsets[index];
    uint32_t line = im->m->lines[index];
    char name[NAME_BYTES_MAX + 1], group[NAME_BYTES_MAX + 1], hwid[HWID_BYTES_MAX + 1];
    char uuid[UUID_TEXT_MAX];
    struct row row;
    int64_t group_row;
    int changes;
    if (row_decode(bytes, len, &row, e) || row_copy(&row, "device_name", name, sizeof name, e) ||
            row_copy(&row, "device_group", group, sizeof group, e) ||
            row_copy(&row, "hwid", hwid, sizeof hwid, e) || check_profile(im, &row, line, e) ||
            group_id(im, group, line, &group_row, e))
        return -1;
    if (!group_row)
        return 0;
    if (im->reissue) {
        const struct reissue_row known = {im->job, index, group_row, name, hwid, bytes, len};
        char why[ERR_MSG_MAX];
        int taken = reissue_add(im->registry, &known, why, e);
        if (taken == REISSUE_REFUSED)
            manifest_complain(im->m, line, "device_name", "%s", why);
        if (taken != REISSUE_UNKNOWN)
            return taken < 0 ? -1 : 0;
    }
    uuid_device(im->site->account, im->site->division, group, name, uuid);
    if (check_config(im, uuid, &row, len, line, e) ||
            registry_run_counted(im->registry, e, &changes,
                    "INSERT INTO device (uuid, device_group, name, hwid, state, job, row_index,"
                    " updated) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8) ON CONFLICT DO NOTHING",
                    BIND_TEXT(uuid), BIND_INT(group_row), BIND_TEXT(name),
                    BIND_TEXT(*hwid ? hwid : NULL), BIND_TEXT(device_state_name(DEVICE_ENROLLED)),
                    BIND_INT(im->job), BIND_INT(index), BIND_INT(im->now)))
        return -1;
    if (!changes)
        return explain_conflict(im, name, hwid, group_row, line, e);
    int64_t device = registry_last_id(im->registry);
    if (registry_run(im->registry, e, "INSERT INTO job_row (device, row) VALUES (?1, ?2)",
                BIND_INT(device), BIND_BLOB(bytes, len)))
        return -1;
    return reissue_attributes(im->registry, device, &row, e);
}

static int insert_tile(struct import *im, unsigned level, uint64_t index,
        const struct merkle_hash *hashes, size_t count, struct err *e)
{
    return registry_run(im->registry, e,
            "INSERT INTO job_tile (job, tile_level, tile_index, hashes) VALUES (?1, ?2, ?3, ?4)",
            BIND_INT(im->job), BIND_INT(level), BIND_INT(index),
            BIND_BLOB(hashes, count * sizeof *hashes));
}

/* The root of a full tile, which is one hash of the level above. */
static void tile_root(const struct merkle_hash *hashes, struct merkle_hash *ret)
{
    struct merkle_range range = {0};
    for (size_t i = 0; i < MERKLE_TILE_WIDTH; i++)
        merkle_range_add(&range, &hashes[i]);
    merkle_range_root(&range, ret);
}

/* Level by level; each has a 256th of the hashes below, and only complete subtrees. */
static int insert_tiles(struct import *im, struct err *e)
{
    struct merkle_hash *hashes = im->m->leaves, *owned = NULL;
    uint64_t count = im->m->rows;
    int result = -1;
    for (unsigned level = 0; count > 0; level++) {
        uint64_t full = count / MERKLE_TILE_WIDTH;
        struct merkle_hash *above = calloc(full + 1, sizeof *above);
        if (!above) {
            err_set(e, ERR_NOMEM, "no memory for a job's tree");
            goto out;
        }
        for (uint64_t i = 0; i * MERKLE_TILE_WIDTH < count; i++) {
            uint64_t first = i * MERKLE_TILE_WIDTH, left = count - first;
            size_t width = left < MERKLE_TILE_WIDTH ? (size_t)left : MERKLE_TILE_WIDTH;
            if (insert_tile(im, level, i, hashes + first, width, e)) {
                free(above);
                goto out;
            }
            if (width == MERKLE_TILE_WIDTH)
                tile_root(hashes + first, &above[i]);
        }
        free(owned);
        owned = hashes = above;
        count = full;
    }
    result = 0;
out:
    free(owned);
    return result;
}

/* ---- all of it */

static int add_event(struct import *im, const char *uuid, const char *name, struct err *e)
{
    const struct manifest *m = im->m;
    const struct event ev = {
            .actor = im->actor, .type = "job.imported", .subject = uuid, .time = im->now};
    char root[2 * MERKLE_HASH_BYTES + 1];
    json_t *data;
    hex_format(m->root.bytes, sizeof m->root.bytes, root);
    if (json_made(json_pack("{s:s, s:s, s:I, s:s, s:s}", "job", uuid, "job_name", name, "rows",
                          (json_int_t)m->rows, "root", root, "manifest_sha256", m->sha256),
                &data, e))
        return -1;
    int result = event_add_record(im->registry, im->site, &ev, data, 0, e);
    json_decref(data);
    return result;
}

static int import_all(struct import *im, const struct job_options *o, struct err *e)
{
    char uuid[UUID_TEXT_MAX];
    uuid_v4(uuid);
    if (insert_job(im, uuid, o, e))
        return -1;
    for (uint64_t i = 0; i < im->m->rows; i++) {
        if (o->progress && i % PROGRESS_ROWS == 0)
            o->progress();
        if (insert_row(im, i, e))
            return err_context(e, "line %u", im->m->lines[i]);
        if (im->m->error_count == MANIFEST_ERRORS_MAX)
            return 0; /* enough to correct; the rest shows at the next try */
    }
    if (im->m->errors_total)
        return 0;
    return insert_tiles(im, e) || add_event(im, uuid, o->name, e) ? -1 : 0;
}

static void set_defaults(struct job_options *o, char name[NAME_BYTES_MAX + 1], int64_t now)
{
    if (!*o->name) {
        char time[TIME_TEXT_MAX];
        time_format(now, time);
        snprintf(name, NAME_BYTES_MAX + 1, "job %s", time);
        o->name = name;
    }
    if (!*o->binding)
        o->binding = "identity";
    if (!o->keys)
        o->keys = "device";
    if (!*o->stations)
        o->stations = "*";
}

int job_import(struct registry *r, const struct site *s, const char *actor, struct manifest *m,
        const struct job_options *options, json_t **ret, struct err *e)
{
    struct import im = {.registry = r,
            .site = s,
            .m = m,
            .profile = options->profile,
            .actor = actor,
            .add_groups = options->add_groups,
            .reissue = options->reissue,
            .now = time_now_ms()};
    struct job_options o = *options;
    char name[NAME_BYTES_MAX + 1];
    json_t *job;
    set_defaults(&o, name, im.now);
    if (check_options(&o, e) || refuse_repetition(r, m, &o, e) || registry_save(r, e))
        return -1;
    int failed = import_all(&im, &o, e);
    profile_space_done(&im.space);
    if (failed || m->errors_total) {
        registry_undo(r);
        manifest_sort_errors(m);
        return failed ? -1 : job_import_errors(m, ret, e);
    }
    if (registry_keep(r, e) || job_json(r, im.job, &job, e))
        return -1;
    return json_made(json_pack("{s:b, s:o}", "imported", 1, "job", job), ret, e);
}
