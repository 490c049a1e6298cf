/* signerd: what may be signed. The parts of it (signer.h) and their order of opening; the door to
 * them is signer_door.c. It has no network, no device and no registry; the token's module and PIN
 * are in its workers, never here. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "base/buf.h"
#include "base/bus.h"
#include "base/config.h"
#include "base/daemon.h"
#include "base/err.h"
#include "base/file.h"
#include "base/limits.h"
#include "base/log.h"
#include "base/paths.h"
#include "base/text.h"
#include "hsm/authority.h"
#include "hsm/ca.h"
#include "hsm/ca_watch.h"
#include "hsm/crl_keeper.h"
#include "hsm/issuer.h"
#include "hsm/ledger.h"
#include "hsm/nonce.h"
#include "hsm/signer.h"
#include "hsm/workers.h"

static int find_station(struct signer *s, struct err *e)
{
    const char *name = config_get(s->config, "station", "name");

    if (*name)
        snprintf(s->station, sizeof s->station, "%s", name);
    else if (gethostname(s->station, sizeof s->station) < 0)
        return err_set_errno(e, errno, "find the host's name");
    s->station[sizeof s->station - 1] = '\0';
    if (!name_valid(s->station, strlen(s->station)) || strcmp(s->station, "*") == 0)
        return err_set(
                e, ERR_CONFIG, "[station] name is not a name: letters, digits, '.', '_' and '-'");
    return 0;
}

static int open_parts(struct signer *s, struct err *e)
{
    char approvers[PATH_MAX], ledger[PATH_MAX], program[PATH_MAX], dir[PATH_MAX];

    paths_get(&s->paths, PATH_APPROVERS, approvers);
    paths_get(&s->paths, PATH_LEDGER, ledger);
    paths_program("signerd-token", program);
    if (ca_set_load(&s->paths, &s->cas, e) < 0)
        return e->id == ERR_NOT_FOUND
                       ? err_context(e, "there is no CA here yet: run 'keyline init'")
                       : -1;
    s->ca = s->cas.active;
    snprintf(dir, sizeof dir, "%s", ledger);
    *strrchr(dir, '/') = '\0';
    if (file_mkdirs(dir, 0750, e) < 0 || file_mkdirs(s->paths.run, 0750, e) < 0 ||
            ledger_open(ledger, &s->ledger, e) < 0 ||
            authority_open(approvers, &s->authority, e) < 0 || nonce_key_new(&s->nonce_key, e) < 0)
        return -1;
    return workers_open(
            &(struct workers_options){
                    .event = s->event, .program = program, .ca = s->ca, .config = s->config},
            &s->workers, e);
}

static void on_revoked(void *ctx)
{
    const struct signer *s = ctx;

    if (s->crls)
        crl_keeper_revoked(s->crls);
}

static int signer_start(struct signer *s, struct err *e)
{
    struct issuer_parts parts;
    char path[PATH_MAX];

    paths_get(&s->paths, PATH_CONFIG, path);
    if (config_load(path, &s->config, e) < 0 || find_station(s, e) < 0 || open_parts(s, e) < 0)
        return -1;
    parts = (struct issuer_parts){
            .event = s->event,
            .ca = s->ca,
            .ledger = s->ledger,
            .workers = s->workers,
            .rules = {.authority = s->authority,
                    .nonce_key = s->nonce_key,
                    .station = s->station,
                    .nonce_valid_s = config_num(s->config, "signer", "nonce_valid_s")},
            .on_revoked = on_revoked,
            .on_revoked_ctx = s,
    };
    if (issuer_open(&parts, &s->issuer, e) < 0 || signer_crls_open(s, e) < 0 ||
            ca_watch_open(s->event, &s->paths, s->ca, &s->ca_watch, e) < 0)
        return -1;
    return signer_door_open(s, e);
}

static void signer_stop(struct signer *s)
{
    ca_watch_close(&s->ca_watch);
    workers_close(&s->workers);
    workers_close(&s->crl_workers);
    issuer_close(&s->issuer);
    crl_keeper_close(&s->crls);
    bus_server_close(&s->door);
    nonce_key_free(&s->nonce_key);
    authority_close(&s->authority);
    ledger_close(&s->ledger);
    ca_set_done(&s->cas);
    config_free(&s->config);
    sd_event_unref(s->event);
}

int main(int argc, char **argv)
{
    struct signer s = {0};
    struct err e = {0};
    sigset_t child;
    int status = EXIT_FAILURE;

    if (argc > 1) {
        if (strcmp(argv[1], "--version") != 0) {
            fprintf(stderr, "signerd takes no arguments; its settings are in keyline.conf.\n");
            return 2;
        }
        printf("signerd %s\n", KEYLINE_VERSION);
        return EXIT_SUCCESS;
    }
    if (daemon_init("signerd", &s.event, &e) == 0 && paths_init(&s.paths, &e) == 0) {
        /* workers follow this process, not its supervisor, and are waited for through the event
         * loop */
        unsetenv("KEYLINE_SUPERVISED");
        sigemptyset(&child);
        sigaddset(&child, SIGCHLD);
        sigprocmask(SIG_BLOCK, &child, NULL);
        if (signer_start(&s, &e) == 0)
            status = daemon_run(s.event);
    }
    if (e.id)
        log_err(LOG_ERR, "signerd-failed", &e);
    signer_stop(&s);
    return status;
}
