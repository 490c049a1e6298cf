/* jobd: the registry's process. Opens the registry, ends what a crash left open, and then its
 * doors; it has no device, no network and no PIN. */
#include <stdlib.h>
#include <stdio.h>
#include <string.h>

#include "base/bus.h"
#include "base/config.h"
#include "base/daemon.h"
#include "base/file.h"
#include "base/log.h"
#include "hsm/profile/profiles.h"
#include "jobs/jobd/commit.h"
#include "jobs/jobd/doors.h"
#include "jobs/jobd/signer_link.h"
#include "jobs/registry.h"
#include "jobs/run.h"

static int make_directory_of(const char *path, struct err *e)
{
    char dir[PATH_MAX];
    snprintf(dir, sizeof dir, "%.*s", (int)(strrchr(path, '/') - path), path);
    return file_mkdirs(dir, 0750, e);
}

static int open_registry(struct jobd *j, struct err *e)
{
    char path[PATH_MAX];
    unsigned interrupted;
    paths_get(&j->paths, PATH_REGISTRY, path);
    if (make_directory_of(path, e) || file_mkdirs(j->paths.run, 0755, e))
        return -1;
    /* Runs first, doors later: no slot may meet a run of a connection that died with the last
     * process. */
    if (registry_open(path, &j->registry, e) || registry_begin(j->registry, e) ||
            run_recover(j->registry, &j->site, &interrupted, e) || registry_commit(j->registry, e))
        return -1;
    if (interrupted)
        log_warning("runs-interrupted", LOG_NUM("count", interrupted));
    return 0;
}

static int open_profiles(struct jobd *j, struct err *e)
{
    char path[PATH_MAX];
    paths_get(&j->paths, PATH_PROFILES, path);
    return profiles_open(path, &j->profiles, e);
}

static int open_all(struct jobd *j, struct err *e)
{
    char path[PATH_MAX];
    if (paths_init(&j->paths, e))
        return -1;
    paths_get(&j->paths, PATH_CONFIG, path);
    if (config_load(path, &j->config, e) || site_init(&j->site, j->config, e) ||
            open_profiles(j, e) || open_registry(j, e) ||
            commit_new(j->event, j->registry, &j->commit, e) ||
            signer_link_open(j, &j->signer, e) || slot_door_open(j, &j->slots, e) ||
            outbox_door_open(j, &j->outbox, e))
        return -1;
    return admin_door_open(j, e);
}

/* The doors first: a connection's end may still interrupt a run, which the commit queue then
 * commits. */
static void close_all(struct jobd *j)
{
    bus_server_close(&j->admin);
    outbox_door_close(&j->outbox);
    slot_door_close(&j->slots);
    signer_link_close(&j->signer);
    commit_free(&j->commit);
    registry_close(&j->registry);
    profiles_close(&j->profiles);
    config_free(&j->config);
    sd_event_unref(j->event);
}

int main(int argc, char **argv)
{
    struct jobd j = {0};
    struct err e = {0};
    int status = EXIT_FAILURE;
    if (argc > 1) {
        int help = strcmp(argv[1], "--help") == 0;
        fputs("usage: jobd\nKeyline's registry. It takes no arguments: keyline.conf(5) configures "
              "it, keyline(1) talks to it.\n",
                help ? stdout : stderr);
        return help ? EXIT_SUCCESS : 2;
    }
    if (daemon_init("jobd", &j.event, &e) == 0 && open_all(&j, &e) == 0)
        status = daemon_run(j.event);
    else
        log_err(LOG_ERR, "start-failed", &e);
    close_all(&j);
    return status;
}
