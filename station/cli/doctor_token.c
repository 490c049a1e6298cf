/* Checks of the token from outside: files, rights, and what the running signer says of it. Must never
 * load the module or use the PIN: a check that locks a token is worse than none. */
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/config.h"
#include "base/err.h"
#include "base/file.h"
#include "base/limits.h"
#include "station/cli/cli.h"
#include "station/cli/doctor.h"
#include "station/cli/plain.h"

void doctor_check_module(const struct doctor *d, struct doctor_finding *f)
{
    const char *const *sections;
    size_t n = config_tokens(d->config, &sections);
    for (size_t i = 0; i < n; i++) {
        const char *module = config_get(d->config, sections[i], "module");
        if (access(module, R_OK) < 0)
            doctor_find(f, DOCTOR_FAIL, "Install the HSM's module, or correct its path.",
                    "[%s] %s: %s", sections[i], module, strerror(errno));
    }
    doctor_find(f, DOCTOR_OK, NULL, "%zu: every module is there", n);
}

void doctor_check_signer(const struct doctor *d, struct doctor_finding *f)
{
    const json_t *signer = json_object_get(d->status, "signer"), *w, *t;
    const json_t *error = json_object_get(signer, "error");
    size_t i, ready = 0;
    if (!d->status)
        return;
    if (!json_is_true(json_object_get(signer, "up")) || json_is_object(error)) {
        doctor_find(f, DOCTOR_FAIL, plain_signer_hint(error), "%s", json_text(error, "message"));
        return;
    }
    json_array_foreach(json_object_get(signer, "tokens"), i, t)
    {
        const json_t *last = json_object_get(t, "last_error");
        if (strcmp(json_text(t, "state"), "up") != 0 &&
                strcmp(json_text(t, "state"), "starting") != 0)
            doctor_find(f, DOCTOR_WARN, json_text(last, "hint"), "[%s] is %s: %s",
                    json_text(t, "section"), json_text(t, "state"), json_text(last, "message"));
    }
    json_array_foreach(json_object_get(signer, "workers"), i, w)
    {
        const char *state = json_text(w, "state");
        ready += strcmp(state, "ready") == 0 || strcmp(state, "busy") == 0;
    }
    doctor_find(f, ready ? DOCTOR_OK : DOCTOR_WARN, ready ? NULL : "Look at the signer's log.",
            "%zu workers are logged in to the token", ready);
}

/* ---- PINs and keys that lie about */

/* What systemd hands over is out of sight; its source is this file. */
void doctor_pin_path(const struct doctor *d, const char *section, char out[PATH_MAX])
{
    const char *set = config_get(d->config, section, "pin_file"), *own = strchr(section, ' ');
    paths_get(&d->paths, PATH_TOKEN_PIN, out);
    if (*set)
        snprintf(out, PATH_MAX, "%s", set);
    else if (own)
        snprintf(strrchr(out, '/') + 1, CONF_NAME_MAX + 16, "token.%s.pin", own + 1);
}

void doctor_check_pin(const struct doctor *d, struct doctor_finding *f)
{
    const char *const *sections;
    size_t n = config_tokens(d->config, &sections);
    for (size_t i = 0; i < n; i++) {
        struct buf pin = BUF_INIT_SECRET;
        struct err e = {0};
        char path[PATH_MAX];
        doctor_pin_path(d, sections[i], path);
        if (access(path, R_OK) < 0 && errno == EACCES)
            doctor_unseen(f, path);
        else if (file_read_secret(path, &pin, &e))
            doctor_find(f, DOCTOR_FAIL,
                    d->ca_error.id == ERR_NO_CA && e.id == ERR_NOT_FOUND
                            ? "'keyline init' makes it; with an HSM of your own put its PIN on "
                              "the first line, for its owner alone."
                            : "Put the PIN on the first line of that file, for its owner alone.",
                    "%s", e.msg);
        buf_done(&pin);
    }
    doctor_find(f, DOCTOR_OK, NULL, "%zu PIN files, for their owner alone", n);
}

void doctor_check_put_away(const struct doctor *d, struct doctor_finding *f)
{
    static const char *const names[] = {"token.so-pin", "approver.key"};
    char path[2 * PATH_MAX];
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        snprintf(path, sizeof path, "%s/%s", d->paths.etc, names[i]);
        if (access(path, F_OK) == 0)
            doctor_find(f, DOCTOR_WARN,
                    i == 0 ? "Take it to where the security officer keeps it, remove it here."
                           : "If jobs are approved on another computer, remove it here.",
                    "%s lies on the station", path);
    }
    doctor_find(f, DOCTOR_OK, NULL, "no security officer's PIN, no approver's key on the station");
}

/* ---- the embedded token's files */

/* Which of them: SoftHSM's own and only when we made it. */
static bool is_embedded(const struct doctor *d, char tokens[PATH_MAX])
{
    char conf[PATH_MAX];
    paths_get(&d->paths, PATH_SOFTHSM_CONF, conf);
    paths_get(&d->paths, PATH_TOKENS, tokens);
    return access(conf, F_OK) == 0;
}

typedef void (*object_fn)(const char *token, const char *name, off_t size, void *ctx);

/* Every .object file of every token below dir; -1: it cannot be looked into. */
static int each_object(const char *dir, object_fn fn, void *ctx)
{
    char path[PATH_MAX], file[2 * PATH_MAX];
    DIR *top = opendir(dir);
    if (!top)
        return -1;
    for (struct dirent *t, *o; (t = readdir(top));) {
        if (t->d_name[0] == '.' ||
                snprintf(path, sizeof path, "%s/%s", dir, t->d_name) >= (int)sizeof path)
            continue;
        DIR *token = opendir(path);
        while (token && (o = readdir(token))) {
            const char *dot = strrchr(o->d_name, '.');
            struct stat st;
            snprintf(file, sizeof file, "%s/%s", path, o->d_name);
            if (dot && strcmp(dot, ".object") == 0 && stat(file, &st) == 0)
                fn(t->d_name, o->d_name, st.st_size, ctx);
        }
        if (token)
            closedir(token);
    }
    closedir(top);
    return 0;
}

struct tally {
    const char *beside; /* directory in which each should be as well */
    size_t count, empty, missing;
};

static void count_object(const char *token, const char *name, off_t size, void *ctx)
{
    struct tally *t = ctx;
    char path[3 * PATH_MAX];
    t->count++;
    t->empty += size == 0;
    if (!t->beside)
        return;
    snprintf(path, sizeof path, "%s/%s/%s", t->beside, token, name);
    t->missing += access(path, F_OK) < 0;
}

void doctor_check_objects(const struct doctor *d, struct doctor_finding *f)
{
    struct tally t = {0};
    char tokens[PATH_MAX];
    if (!is_embedded(d, tokens))
        return;
    if (each_object(tokens, count_object, &t) < 0) {
        if (errno == EACCES)
            doctor_unseen(f, tokens);
        else
            doctor_find(f, DOCTOR_FAIL, "Restore the token's directory from your backup.", "%s: %s",
                    tokens, strerror(errno));
    } else if (t.count == 0)
        doctor_find(f, DOCTOR_FAIL, "Restore the token's directory from your backup.",
                "%s holds no token", tokens);
    else if (t.empty)
        doctor_find(f, DOCTOR_FAIL,
                "Start the signer: it puts them back from the copy. If not, restore your backup.",
                "%zu of %zu files in %s are empty", t.empty, t.count, tokens);
    else
        doctor_find(f, DOCTOR_OK, NULL, "%zu files, none empty", t.count);
}

/* The signer adds marks of its own to the token, so the token may have more than the copy. */
void doctor_check_copy(const struct doctor *d, struct doctor_finding *f)
{
    char tokens[PATH_MAX], copy[2 * PATH_MAX];
    struct tally t = {.beside = tokens};
    if (!is_embedded(d, tokens))
        return;
    snprintf(copy, sizeof copy, "%s.backup", tokens);
    if (each_object(copy, count_object, &t) < 0 && errno == EACCES)
        doctor_unseen(f, copy);
    else if (t.count == 0 || t.empty)
        doctor_find(f, DOCTOR_FAIL,
                "With the signer stopped: cp -a lib/signer/tokens lib/signer/tokens.backup",
                "%s is %s: a kill during a login could cost the CA", copy,
                t.count ? "damaged" : "not there");
    else if (t.missing)
        doctor_find(f, DOCTOR_WARN, "Find out who changed the token; restore it if in doubt.",
                "%zu of %zu objects of the copy are not in the token", t.missing, t.count);
    else
        doctor_find(f, DOCTOR_OK, NULL,
                "%zu objects; keep another copy away from the station as well", t.count);
}
