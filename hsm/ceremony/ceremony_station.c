/* Opening a station for a ceremony while its appliance may run. Promises that two ceremonies never
 * meet, that no login of a worker meets ours, and that what is made in the embedded token is in the
 * token's copy before anything depends on it. */
#include "hsm/ceremony/ceremony_station.h"
#include <errno.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/buf.h"
#include "base/config.h"
#include "base/err.h"
#include "base/file.h"
#include "hsm/ceremony/ceremony_store.h"
#include "hsm/token/embedded.h"
#include "hsm/token/pin_file.h"

static int load_cas(struct ceremony_station *s, struct err *e)
{
    struct err why = {0};

    if (ca_set_load(&s->paths, &s->cas, &why) == 0 || why.id == ERR_NOT_FOUND)
        return 0;
    *e = why;
    return -1;
}

int ceremony_station_open(struct ceremony_station *s, struct err *e)
{
    char path[PATH_MAX];

    *s = (struct ceremony_station){.lock = -1, .token_lock = -1};
    if (paths_init(&s->paths, e) < 0)
        return -1;
    paths_get(&s->paths, PATH_CONFIG, path);
    if (config_load(path, &s->config, e) < 0 ||
            ceremony_files_init(&s->files, &s->paths, s->config, e) < 0 ||
            ceremony_store_lock(&s->paths, &s->lock, e) < 0)
        return -1;
    s->section_count = config_tokens(s->config, &s->sections);
    return load_cas(s, e);
}

/* Root must not leave files in the embedded token that the signer's user cannot read. */
static int become_owner(const struct ceremony_station *s, struct err *e)
{
    char path[PATH_MAX];
    struct stat st;

    paths_get(&s->paths, PATH_TOKENS, path);
    if (geteuid() != 0 || stat(path, &st) < 0 || st.st_uid == 0)
        return 0;
    if (setegid(st.st_gid) < 0 || seteuid(st.st_uid) < 0)
        return err_set_errno(e, errno, "become the owner of %s", path);
    return 0;
}

static void become_self(void)
{
    if (geteuid() != getuid() && (seteuid(getuid()) < 0 || setegid(getgid()) < 0))
        abort(); /* the saved ids are our own: this cannot fail */
}

static void unlock_token(struct ceremony_station *s)
{
    if (s->token_lock >= 0)
        close(s->token_lock);
    s->token_lock = -1;
    become_self();
}

int ceremony_station_login(struct ceremony_station *s, const char *section, struct err *e)
{
    struct buf pin = BUF_INIT_SECRET;
    char path[PATH_MAX];
    int r = -1;

    pin_file_find(&s->paths, s->config, section, path);
    if (module_key_name_parse(config_get(s->config, section, "key_label"),
                config_get(s->config, section, "key_id"), &s->configured, e) < 0)
        goto out;
    if (file_read_secret(path, &pin, e) < 0 || !buf_str(&pin)) {
        err_context(e, "the PIN of the token");
        goto out;
    }
    if (embedded_env(&s->paths) &&
            (become_owner(s, e) < 0 || embedded_lock(&s->paths, &s->token_lock, e) < 0 ||
                    embedded_restore(&s->paths, e) < 0))
        goto out;
    s->token.init_args = config_get(s->config, section, "init_args");
    r = ceremony_token_open(&s->token, config_get(s->config, section, "module"),
            config_get(s->config, section, "label"), buf_str(&pin), e);
out:
    buf_done(&pin);
    if (r < 0) {
        ceremony_token_close(&s->token);
        unlock_token(s);
    }
    return r;
}

int ceremony_station_logout(struct ceremony_station *s, struct err *e)
{
    int r;

    ceremony_token_close(&s->token); /* SoftHSM's files are complete only now */
    r = s->token_lock >= 0 ? embedded_backup(&s->paths, e) : 0;
    if (r == 0 && s->token_lock >= 0 && s->destroyed)
        r = embedded_forget(&s->paths, e);
    unlock_token(s);
    return r;
}

void ceremony_station_close(struct ceremony_station *s)
{
    ceremony_token_close(&s->token);
    unlock_token(s);
    if (s->lock >= 0)
        close(s->lock);
    s->lock = -1;
    ca_set_done(&s->cas);
    config_free(&s->config);
}
