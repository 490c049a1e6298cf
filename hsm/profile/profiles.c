/* Profiles by name. Promises that what is found is what the file says now, read whole and checked,
 * and that a fault in one file touches no other profile. */
#include "hsm/profile/profiles.h"
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/err.h"
#include "base/file.h"
#include "base/log.h"
#include "hsm/profile/profile.h"

#define KEPT_MAX 16 /* profiles in use at one station at a time, with room; others are read again */

struct kept {
    char name[PROFILE_NAME_MAX + 1]; /* "": free */
    struct file_stamp seen;
    struct profile *profile; /* NULL: fault says why */
    struct err fault;
};
struct profiles {
    char *dir;
    struct profile *builtin;
    struct kept kept[KEPT_MAX];
    size_t next; /* to be overwritten */
};

int profiles_open(const char *dir, struct profiles **ret, struct err *e)
{
    struct profiles *p = calloc(1, sizeof *p);

    if (p)
        p->dir = strdup(dir);
    if (!p || !p->dir)
        err_set(e, ERR_NOMEM, "no memory for the profiles");
    else if (profile_builtin(&p->builtin, e) == 0) {
        *ret = p;
        return 0;
    }
    profiles_close(&p);
    return -1;
}

void profiles_close(struct profiles **p)
{
    if (!*p)
        return;
    for (size_t i = 0; i < KEPT_MAX; i++)
        profile_free(&(*p)->kept[i].profile);
    profile_free(&(*p)->builtin);
    free((*p)->dir);
    free(*p);
    *p = NULL;
}

static void load(struct kept *k, const char *path)
{
    profile_free(&k->profile);
    err_clear(&k->fault);
    if (profile_read(path, &k->profile, NULL, &k->fault) == 0)
        log_info("profile", LOG_STR("name", k->name), LOG_STR("sha256", k->profile->sha256));
    else if (k->fault.id != ERR_NOT_FOUND)
        log_err(LOG_WARNING, "profile-faulty", &k->fault);
}

static struct kept *find_kept(struct profiles *p, const char *name)
{
    struct kept *k;

    for (k = p->kept; k < p->kept + KEPT_MAX; k++)
        if (strcmp(k->name, name) == 0)
            return k;
    k = &p->kept[p->next++ % KEPT_MAX];
    profile_free(&k->profile);
    *k = (struct kept){0};
    snprintf(k->name, sizeof k->name, "%s", name);
    return k;
}

int profiles_find(struct profiles *p, const char *name, const struct profile **ret, struct err *e)
{
    char path[PATH_MAX];
    struct kept *k;

    if (strcmp(name, PROFILE_BUILTIN) == 0) {
        *ret = p->builtin;
        return 0;
    }
    if (!profile_name_valid(name))
        return err_set(e, ERR_PROFILE, "'%.40s' is not a profile's name", name);
    snprintf(path, sizeof path, "%s/%s.json", p->dir, name);
    k = find_kept(p, name);
    if (file_changed(path, &k->seen) || (!k->profile && !k->fault.id))
        load(k, path);
    if (k->fault.id == ERR_NOT_FOUND)
        return err_set(
                e, ERR_PROFILE, "there is no certificate profile '%s': %s is missing", name, path);
    if (k->fault.id)
        return err_set(e, k->fault.id, "%s", k->fault.msg);
    *ret = k->profile;
    return 0;
}

int profiles_find_approved(struct profiles *p, const char *name, const char *sha256,
        const struct profile **ret, struct err *e)
{
    const struct profile *found;

    if (profiles_find(p, name, &found, e) < 0)
        return -1;
    if (strcmp(found->sha256, sha256) != 0)
        return err_set(e, ERR_PROFILE,
                "profile %s is not the one that was approved: it has SHA-256 %.16s.., the approval "
                "is for %.16s..",
                name, found->sha256, sha256);
    *ret = found;
    return 0;
}
