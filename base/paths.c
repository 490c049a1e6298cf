/* Where things lie: the one table of file and socket names. Paths are absolute, so that a process
 * may change its directory, and short enough that every socket fits into a sockaddr_un. */
#include "base/paths.h"

#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/err.h"

static const struct {
    size_t dir; /* offset in struct paths */
    const char *name;
} path_table[PATH_COUNT] = {
        [PATH_CONFIG] = {offsetof(struct paths, etc), "keyline.conf"},
        [PATH_APPROVERS] = {offsetof(struct paths, etc), "approvers.pem"},
        [PATH_CA_CHAIN] = {offsetof(struct paths, etc), "ca/chain.pem"},
        [PATH_CA_ROOT] = {offsetof(struct paths, etc), "ca/root.pem"},
        [PATH_CA_RETIRED] = {offsetof(struct paths, etc), "ca/retired"},
        [PATH_CA_REQUEST] = {offsetof(struct paths, etc), "ca/request.pem"},
        [PATH_CA_KEY] = {offsetof(struct paths, etc), "ca/request.key"},
        [PATH_PROFILES] = {offsetof(struct paths, etc), "profiles"},
        [PATH_BLOCKED_KEYS] = {offsetof(struct paths, etc), "blocked-keys.txt"},
        [PATH_TOKEN_PIN] = {offsetof(struct paths, etc), "token.pin"},
        [PATH_SOFTHSM_CONF] = {offsetof(struct paths, etc), "softhsm2.conf"},
        [PATH_TOKENS] = {offsetof(struct paths, state), "signer/tokens"},
        [PATH_LEDGER] = {offsetof(struct paths, state), "signer/ledger"},
        [PATH_CRLS] = {offsetof(struct paths, state), "crl"},
        [PATH_REGISTRY] = {offsetof(struct paths, state), "jobs/registry.db"},
        [PATH_SIGNER_SOCKET] = {offsetof(struct paths, run), "signer.sock"},
        [PATH_JOBS_SOCKET] = {offsetof(struct paths, run), "jobs.sock"},
        [PATH_SLOT_SOCKET] = {offsetof(struct paths, run), "slot.sock"},
        [PATH_OUTBOX_SOCKET] = {offsetof(struct paths, run), "outbox.sock"},
};

/* Room for "/run/" and the longest socket name, with some to spare for sockets yet to come. */
#define ROOT_MAX (sizeof((struct sockaddr_un *)0)->sun_path - 32)

int paths_init(struct paths *p, struct err *e)
{
    const char *root = getenv("KEYLINE_ROOT");
    if (root == NULL || root[0] == '\0') {
        *p = (struct paths){"/etc/keyline", "/var/lib/keyline", "/run/keyline"};
        return 0;
    }
    char cwd[PATH_MAX] = "";
    if (root[0] != '/' && getcwd(cwd, sizeof cwd) == NULL)
        return err_set_errno(e, errno, "find the current directory");
    char base[ROOT_MAX + 1];
    int len = snprintf(base, sizeof base, "%s%s%s", cwd, root[0] == '/' ? "" : "/", root);
    if (len > (int)ROOT_MAX)
        return err_set(e, ERR_CONFIG,
                "KEYLINE_ROOT is %d characters long as an absolute path: use one of at most %d, "
                "sockets need short paths",
                len, (int)ROOT_MAX);
    snprintf(p->etc, sizeof p->etc, "%s/etc", base);
    snprintf(p->state, sizeof p->state, "%s/lib", base);
    snprintf(p->run, sizeof p->run, "%s/run", base);
    return 0;
}

void paths_get(const struct paths *p, enum path_id id, char out[PATH_MAX])
{
    snprintf(out, PATH_MAX, "%s/%s", (const char *)p + path_table[id].dir, path_table[id].name);
}

void paths_program(const char *name, char out[PATH_MAX])
{
    char self[PATH_MAX];
    ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);
    if (n > 0) {
        self[n] = '\0';
        char *slash = strrchr(self, '/');
        if (slash != NULL) {
            *slash = '\0';
            int len = snprintf(out, PATH_MAX, "%s/%s", self, name);
            if (len < PATH_MAX && access(out, X_OK) == 0)
                return;
        }
    }
    snprintf(out, PATH_MAX, "%s/%s", KEYLINE_LIBEXEC_DIR, name);
}
