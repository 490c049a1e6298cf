/* signerd: what may be signed. The parts of it (signer.h) and their order of opening; the door to
 * them is signer_door.c. It has no network, no device and no registry; the token's module and PIN
 * are in its workers, never here. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
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
#include "hsm/blocked_keys.h"
#include "hsm/ca.h"
#include "hsm/ca_watch.h"
#include "hsm/ledger/checkpoint.h"
#include "hsm/crl_keeper.h"
#include "hsm/issuer.h"
#include "hsm/keeper.h"
#include "hsm/born/key_maker.h"
#include "hsm/ledger/ledger.h"
#include "hsm/nonce.h"
#include "hsm/profile/profiles.h"
#include "hsm/scrubber.h"
#include "hsm/signer.h"
#include "hsm/signer_verify.h"
#include "hsm/workers/workers.h"

static const char usage[] =
        "usage: signerd [--verify-ledger | --accept-ledger | --help | --version]\n"
        "Keyline's signer: it certifies what an approver's ticket allows, and nothing else.\n"
        "keyline.conf(5) configures it; systemd or 'keyline run' starts it, without options.\n\n"
        "  --verify-ledger  read all of the ledger and check every checkpoint, needs no token and\n"
        "                   may be done while it is in use; exit status 0 or 1\n"
        "  --accept-ledger  vouch, as a person who has looked, for a ledger that was set back,\n"
        "                   lost or changed; signerd must be stopped (docs/ca.md)\n";

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

static int open_key_maker(struct signer *s, struct err *e)
{
    char program[PATH_MAX];

    if (strcmp(config_get(s->config, "signer", "born_keys"), "yes") != 0)
        return 0;
    paths_program("signerd-key", program);
    log_warning("makes-keys-for-devices", LOG_STR("allowed-by", "[signer] born_keys"));
    return key_maker_open(s->event, program, &s->key_maker, e);
}

/* What the program was started for. */
enum purpose { SERVE, ACCEPT_LEDGER };

/* By hand: what root writes here the service could not read. */
static int check_owner(const char *ledger, struct err *e)
{
    char dir[PATH_MAX];
    struct stat st;

    snprintf(dir, sizeof dir, "%s", ledger);
    *strrchr(dir, '/') = '\0';
    if (stat(dir, &st) < 0)
        return err_set_errno(e, errno, "look at %s", dir);
    return st.st_uid == geteuid()
                   ? 0
                   : err_set(e, ERR_DENIED, "%s belongs to another user: run this as that user",
                             dir);
}

/* A ledger that is not to be used keeps nobody from asking what is wrong: nothing is given out, and that is the reason. */
static int open_ledger(struct signer *s, enum purpose why, bool *ret_mark_kept, struct err *e)
{
    struct err wrong = {0};
    char path[PATH_MAX];

    paths_get(&s->paths, PATH_LEDGER, path);
    if (why == ACCEPT_LEDGER)
        return check_owner(path, e) < 0 ? -1 : ledger_open_whole(path, &s->ledger, e);
    if (ledger_open_or_refuse(path, &s->ledger, e) < 0)
        return -1;
    if (ledger_fault(s->ledger)->id ||
            checkpoint_check(s->ledger, &s->cas, ret_mark_kept, &wrong) == 0)
        return 0;
    if (wrong.id == ERR_LEDGER) {
        ledger_refuse(s->ledger, &wrong);
        return 0;
    }
    *e = wrong;
    return -1;
}

static int open_parts(struct signer *s, enum purpose why, bool *ret_mark_kept, struct err *e)
{
    const char *policy;
    char approvers[PATH_MAX], profiles[PATH_MAX], blocked[PATH_MAX], ledger[PATH_MAX],
            program[PATH_MAX], dir[PATH_MAX];

    paths_get(&s->paths, PATH_APPROVERS, approvers);
    paths_get(&s->paths, PATH_PROFILES, profiles);
    paths_get(&s->paths, PATH_BLOCKED_KEYS, blocked);
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
            open_ledger(s, why, ret_mark_kept, e) < 0 ||
            authority_open(approvers, &s->authority, e) < 0 ||
            profiles_open(profiles, &s->profiles, e) < 0 ||
            blocked_keys_open(blocked, &s->blocked_keys, e) < 0 ||
            nonce_key_new(&s->nonce_key, e) < 0 || open_key_maker(s, e) < 0)
        return -1;
    policy = config_get(s->config, "signer", "approver_policy");
    if (*policy && authority_require(s->authority, policy, e) < 0)
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

static int record(void *ctx, const struct ledger_entry *entry, struct err *e)
{
    const struct signer *s = ctx;

    return issuer_record(s->issuer, entry, e);
}

static void on_vouched(void *ctx, const struct err *why)
{
    struct signer *s = ctx;

    if (!why && s->crls)
        crl_keeper_resume(s->crls);
    issuer_resume(s->issuer, why);
}

static int open_issuer(struct signer *s, struct err *e)
{
    const struct issuer_parts parts = {
            .event = s->event,
            .ca = s->ca,
            .ledger = s->ledger,
            .workers = s->workers,
            .key_maker = s->key_maker,
            .rules = {.authority = s->authority,
                    .profiles = s->profiles,
                    .blocked_keys = s->blocked_keys,
                    .nonce_key = s->nonce_key,
                    .station = s->station,
                    .nonce_valid_s = config_num(s->config, "signer", "nonce_valid_s")},
            .on_revoked = on_revoked,
            .on_revoked_ctx = s,
    };

    return issuer_open(&parts, &s->issuer, e);
}

/* In order: what the ledger has gets its checkpoint and its mark, and nothing new begins. */
static void finish(void *ctx)
{
    struct signer *s = ctx;

    issuer_finish(s->issuer);
    keeper_finish(s->keeper);
}

static int on_end(sd_event_source *source, const struct signalfd_siginfo *info, void *ctx)
{
    (void)source, (void)info;
    finish(ctx);
    return 0;
}

static int watch_ca(struct signer *s, struct err *e)
{
    const struct ca_watch_parts parts = {
            .event = s->event, .paths = &s->paths, .active = s->ca, .on_changed = finish, .ctx = s};

    return ca_watch_open(&parts, &s->ca_watch, e);
}

static int signer_start(struct signer *s, enum purpose why, struct err *e)
{
    struct keeper_parts keeper = {.event = s->event,
            .station = s->station,
            .record = record,
            .on_vouched = on_vouched,
            .ctx = s};
    char path[PATH_MAX];

    paths_get(&s->paths, PATH_CONFIG, path);
    if (config_load(path, &s->config, e) < 0 || find_station(s, e) < 0 ||
            open_parts(s, why, &keeper.mark_kept, e) < 0)
        return -1;
    keeper.ca = s->ca;
    keeper.ledger = s->ledger;
    keeper.workers = s->workers;
    keeper.mark_every_ms = config_num(s->config, "token", "mark_every_s") * 1000;
    keeper.accept = why == ACCEPT_LEDGER;
    if (open_issuer(s, e) < 0 || keeper_open(&keeper, &s->keeper, e) < 0)
        return -1;
    if (why == ACCEPT_LEDGER)
        return 0;
    if (scrubber_open(s->event, s->ledger, &s->scrubber, e) < 0 || signer_crls_open(s, e) < 0 ||
            watch_ca(s, e) < 0)
        return -1;
    return signer_door_open(s, e);
}

static void signer_stop(struct signer *s)
{
    ca_watch_close(&s->ca_watch);
    workers_close(&s->crl_workers); /* borrows from the next */
    workers_close(&s->workers);
    key_maker_close(&s->key_maker);
    issuer_close(&s->issuer);
    crl_keeper_close(&s->crls);
    keeper_close(&s->keeper);
    scrubber_close(&s->scrubber);
    bus_server_close(&s->door);
    nonce_key_free(&s->nonce_key);
    blocked_keys_close(&s->blocked_keys);
    profiles_close(&s->profiles);
    authority_close(&s->authority);
    ledger_close(&s->ledger);
    ca_set_done(&s->cas);
    config_free(&s->config);
    sd_event_unref(s->event);
}

static int tell_accepted(const struct signer *s)
{
    struct ledger_counts counts = ledger_counts(s->ledger);
    struct keeper_info info;

    keeper_info(s->keeper, &info);
    if (!info.accepted)
        return EXIT_FAILURE;
    printf("accepted: a ledger of %llu issued, %llu revoked; bound by: %s\n",
            (unsigned long long)counts.issued, (unsigned long long)counts.revoked,
            keeper_binding_name(info.binding));
    return EXIT_SUCCESS;
}

static int verify_ledger(void)
{
    struct paths paths;
    struct err e = {0};

    if (paths_init(&paths, &e) == 0 && signer_verify(&paths, &e) == 0)
        return EXIT_SUCCESS;
    fprintf(stderr, "signerd: %s\n%s\n", e.msg, err_hint(e.id));
    return EXIT_FAILURE;
}

int main(int argc, char **argv)
{
    struct signer s = {0};
    struct err e = {0};
    sigset_t child;
    int status = EXIT_FAILURE;
    enum purpose why = SERVE;

    if (argc == 2 && strcmp(argv[1], "--version") == 0) {
        printf("signerd %s\n", KEYLINE_VERSION);
        return EXIT_SUCCESS;
    }
    if (argc == 2 && strcmp(argv[1], "--verify-ledger") == 0)
        return verify_ledger();
    if (argc == 2 && strcmp(argv[1], "--accept-ledger") == 0) {
        why = ACCEPT_LEDGER;
    } else if (argc > 1) {
        bool help = strcmp(argv[1], "--help") == 0;

        fputs(usage, help ? stdout : stderr);
        return help ? EXIT_SUCCESS : 2;
    }
    if (daemon_init_ending("signerd", on_end, &s, &s.event, &e) == 0 &&
            paths_init(&s.paths, &e) == 0) {
        /* workers follow this process, not its supervisor, and are waited for through the event
         * loop */
        unsetenv("KEYLINE_SUPERVISED");
        sigemptyset(&child);
        sigaddset(&child, SIGCHLD);
        sigprocmask(SIG_BLOCK, &child, NULL);
        if (signer_start(&s, why, &e) == 0)
            status = daemon_run(s.event);
        if (why == ACCEPT_LEDGER && s.keeper)
            status = tell_accepted(&s);
    }
    if (e.id)
        log_err(LOG_ERR, "signerd-failed", &e);
    signer_stop(&s);
    return status;
}
