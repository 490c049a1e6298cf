/* keyline run: the supervisor in the foreground, for where there is no systemd. Adds nothing to it
 * but what a person wants to read. */
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#include "base/config.h"
#include "station/cli/cli.h"
#include "station/cli/verbs.h"
#include "station/supervise.h"

struct view {
    struct screen *screen;
    bool said_ready, no_slot;
};

/* One line when all is up. What happens to the children afterwards is in the supervisor's log. */
static void on_change(void *ctx, const struct supervise_child *child, size_t ready, size_t total)
{
    struct view *v = ctx;
    (void)child;
    if (ready == total && !v->said_ready) {
        screen_printf(v->screen, "Keyline is up: %zu processes. Ctrl-C ends it in order.\n", total);
        if (v->no_slot)
            screen_printf(v->screen,
                    "No slot is set: no device can be worked on. Set [slot NAME] in keyline.conf, "
                    "or use --slots N --ports DIR.\n");
        v->said_ready = true;
    }
    fflush(v->screen->file);
}

static int check(const struct cli *c, struct err *e)
{
    if (cli_has(c, "slots") != cli_has(c, "ports"))
        return cli_usage(e, "--slots and --ports go together: how many, and where their ports are");
    return 0;
}

int run_appliance(struct cli *c, struct err *e)
{
    char path[PATH_MAX];
    struct config *config = NULL;
    struct view view = {.screen = &c->out};
    int r = check(c, e);
    if (r)
        return r;
    /* Without it the signer would be started again and again. */
    paths_get(&c->paths, PATH_CA_CHAIN, path);
    if (access(path, F_OK) && errno == ENOENT)
        return err_set(e, ERR_NO_CA, "there is no CA yet: %s does not exist", path);
    paths_get(&c->paths, PATH_CONFIG, path);
    if (config_load(path, &config, e))
        return -1;
    signal(SIGPIPE, SIG_IGN); /* who read our one line may go; the appliance stays */
    struct supervise_options o = {
            .paths = &c->paths,
            .auto_slots = (unsigned)cli_number(c, "slots", 0),
            .auto_ports = cli_option(c, "ports"),
            .auto_driver = cli_option(c, "driver"),
            .auto_baud = (unsigned)cli_number(c, "baud", 0),
            .sync = *config_get(config, "upstream", "url") != '\0',
            .log_dir = cli_option(c, "log-dir"),
            .on_change = on_change,
            .ctx = &view,
    };
    o.slot_count = config_slots(config, &o.slots);
    view.no_slot = o.slot_count == 0 && o.auto_slots == 0;
    r = supervise_run(&o, e);
    config_free(&config);
    return r;
}
