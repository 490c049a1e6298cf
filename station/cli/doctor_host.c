/* Checks of the station around the CA: configuration, users, clock, disk, books, slots, upstream. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/config.h"
#include "base/err.h"
#include "base/limits.h"
#include "base/text.h"
#include "station/cli/cli.h"
#include "station/cli/doctor.h"

void doctor_check_config(const struct doctor *d, struct doctor_finding *f)
{
    char path[PATH_MAX];
    paths_get(&d->paths, PATH_CONFIG, path);
    if (d->config_error.id)
        doctor_find(f, DOCTOR_FAIL,
                "Correct it; keyline.conf(5) has every key. The checks below took the defaults.",
                "%s", d->config_error.msg);
    else if (access(path, F_OK) < 0)
        doctor_find(f, DOCTOR_OK, NULL, "no %s: the defaults are used", path);
    else
        doctor_find(f, DOCTOR_OK, NULL, "%s", path);
}

void doctor_check_users(const struct doctor *d, struct doctor_finding *f)
{
    static const char *const keys[] = {"admin_user", "slot_user", "sync_user", "jobs_user"};
    uid_t uids[sizeof keys / sizeof *keys];
    size_t count = 0;
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        struct err e = {0};
        if (config_user(d->config, keys[i], uids, &count, &e))
            doctor_find(f, DOCTOR_FAIL, "Make that user, or correct [access].", "%s", e.msg);
    }
    doctor_find(f, DOCTOR_OK, NULL, "%zu users of [access] are there", count);
}

/* ---- secrets */

static void check_rights(const char *path, struct doctor_finding *f, size_t *count)
{
    struct stat st;
    char next[PATH_MAX];
    if (!*path || stat(path, &st) < 0)
        return;
    ++*count;
    snprintf(next, sizeof next, "chmod %s '%.200s'", S_ISDIR(st.st_mode) ? "700" : "600", path);
    if (st.st_mode & (S_IRWXO | S_IWGRP))
        doctor_find(
                f, DOCTOR_FAIL, next, "%s is open to others (mode %03o)", path, st.st_mode & 0777u);
}

void doctor_check_secrets(const struct doctor *d, struct doctor_finding *f)
{
    static const char *const names[] = {"token.pin", "token.so-pin", "approver.key"};
    static const char *const keys[][2] = {
            {"token", "pin_file"}, {"upstream", "key_file"}, {"upstream", "password_file"}};
    char path[2 * PATH_MAX];
    size_t count = 0;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        snprintf(path, sizeof path, "%s/%s", d->paths.etc, names[i]);
        check_rights(path, f, &count);
    }
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
        check_rights(config_get(d->config, keys[i][0], keys[i][1]), f, &count);
    paths_get(&d->paths, PATH_TOKENS, path);
    check_rights(path, f, &count);
    snprintf(path + strlen(path), sizeof path - strlen(path), ".backup");
    check_rights(path, f, &count);
    doctor_find(f, DOCTOR_OK, NULL, "%zu files and directories, none open to others", count);
}

/* ---- clock, disk, books */

/* A file that was written later than now: the clock went back since. */
static void check_not_later(
        const struct doctor *d, enum path_id id, const char *what, struct doctor_finding *f)
{
    char path[PATH_MAX], date[TIME_TEXT_MAX];
    struct stat st;
    paths_get(&d->paths, id, path);
    if (stat(path, &st) < 0 || st.st_mtime <= d->now + CLOCK_SLACK_S)
        return;
    time_format((int64_t)st.st_mtime * 1000, date);
    doctor_find(f, DOCTOR_FAIL, "Set the clock before anything is issued.",
            "%s was written to at %s, later than now", what, date);
}

void doctor_check_clock(const struct doctor *d, struct doctor_finding *f)
{
    char now[TIME_TEXT_MAX];
    time_format(d->now * 1000, now);
    check_not_later(d, PATH_LEDGER, "the ledger", f);
    check_not_later(d, PATH_REGISTRY, "the registry", f);
    check_not_later(d, PATH_CA_CHAIN, "the CA's chain", f);
    doctor_find(f, DOCTOR_OK, NULL, "%s", now);
}

void doctor_check_disk(const struct doctor *d, struct doctor_finding *f)
{
    struct statvfs v;
    if (statvfs(d->paths.state, &v) < 0) {
        doctor_find(f, errno == ENOENT ? DOCTOR_OK : DOCTOR_FAIL, NULL, "%s: %s", d->paths.state,
                errno == ENOENT ? "nothing is there yet" : strerror(errno));
        return;
    }
    unsigned long long mib = (unsigned long long)v.f_bavail * v.f_frsize >> 20;
    doctor_find(f,
            mib < DISK_FREE_URGENT_MIB   ? DOCTOR_FAIL
            : mib < DISK_FREE_NOTICE_MIB ? DOCTOR_WARN
                                         : DOCTOR_OK,
            mib < DISK_FREE_NOTICE_MIB ? "Make room: a full disk stops the line." : NULL,
            "%llu MiB are free in %s", mib, d->paths.state);
}

static bool there_is(const struct doctor *d, enum path_id id, struct doctor_finding *f)
{
    char path[PATH_MAX];
    struct stat st;
    paths_get(&d->paths, id, path);
    if (stat(path, &st) == 0)
        return true;
    if (errno == EACCES)
        doctor_unseen(f, path);
    return errno == EACCES; /* then it is not missed */
}

/* Ledger and registry are made together on the first day, and neither is ever deleted. */
void doctor_check_books(const struct doctor *d, struct doctor_finding *f)
{
    bool ledger = there_is(d, PATH_LEDGER, f), registry = there_is(d, PATH_REGISTRY, f);
    const json_t *error = json_object_get(json_object_get(d->status, "signer"), "error");
    if (strcmp(json_text(error, "name"), err_name(ERR_LEDGER)) == 0) /* the signer looks inside */
        doctor_find(f, DOCTOR_FAIL, json_text(error, "hint"), "%s", json_text(error, "message"));
    else if (ledger && registry)
        doctor_find(f, DOCTOR_OK, NULL, "the ledger and the registry are there");
    else if (!ledger && !registry)
        doctor_find(f, DOCTOR_OK, NULL, "neither ledger nor registry: nothing was done here yet");
    else if (ledger)
        doctor_find(f, DOCTOR_WARN, "If the appliance has run before: restore it.",
                "there is a ledger, and no registry");
    else
        doctor_find(f, DOCTOR_FAIL, "Restore it: without it the signer would count from zero.",
                "there is a registry, and no ledger");
}

/* ---- slots, and what runs */

void doctor_check_slots(const struct doctor *d, struct doctor_finding *f)
{
    const struct config_slot *slots;
    size_t n = config_slots(d->config, &slots);
    for (size_t i = 0; i < n; i++)
        if (access(slots[i].port, F_OK) < 0)
            doctor_find(f, DOCTOR_WARN,
                    "Plug something in; if it stays away, correct the port in keyline.conf.",
                    "slot %s: %s is not there now", slots[i].name, slots[i].port);
    if (n == 0)
        doctor_find(f, DOCTOR_OK, NULL,
                "none in keyline.conf: they come from udev, or from run --slots");
    else
        doctor_find(f, DOCTOR_OK, NULL, "%zu, every port is there", n);
}

void doctor_check_running(const struct doctor *d, struct doctor_finding *f)
{
    if (d->status)
        doctor_find(f, DOCTOR_OK, NULL, "it runs, version %s", json_text(d->status, "version"));
    else if (d->status_error.id == ERR_TIMEOUT)
        doctor_find(f, DOCTOR_FAIL, "Its log says what it did last; restart it if it stays so.",
                "it runs, but jobd does not answer: %s", d->status_error.msg);
    else
        doctor_find(f, DOCTOR_OK, NULL,
                "it does not run, or not for us to ask: what only it knows was left out");
}

void doctor_check_sync(const struct doctor *d, struct doctor_finding *f)
{
    const json_t *sync = json_object_get(d->status, "sync");
    const json_t *error = json_object_get(sync, "error");
    if (!sync || strcmp(json_text(sync, "state"), "off") == 0)
        return;
    if (json_number(sync, "refused") > 0)
        doctor_find(f, DOCTOR_FAIL, "See 'keyline sync status'; then 'keyline sync retry'.",
                "upstream refused %lld records", (long long)json_number(sync, "refused"));
    else if (json_is_object(error))
        doctor_find(f, DOCTOR_WARN, json_text(error, "hint"), "%s", json_text(error, "message"));
    else
        doctor_find(f, DOCTOR_OK, NULL, "%lld records wait for upstream",
                (long long)json_number(sync, "waiting"));
}
