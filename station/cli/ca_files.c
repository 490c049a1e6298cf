/* Reading the CA's files. Promises nothing about them but that they hold certificates. */
#include "station/cli/ca_files.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/err.h"
#include "station/cli/pem.h"

/* A roll-over that was cut off may leave the CA in force among the retired ones. */
static bool is_known(const struct ca_files *f, X509 *x)
{
    bool known =
            EVP_PKEY_eq(X509_get0_pubkey(x), X509_get0_pubkey(sk_X509_value(f->chain, 0))) == 1;
    for (int i = 0; i < sk_X509_num(f->retired) && !known; i++)
        known = X509_cmp(x, sk_X509_value(f->retired, i)) == 0;
    return known;
}

static int add_retired(struct ca_files *f, const char *path, struct err *e)
{
    STACK_OF(X509) *chain = NULL;
    if (pem_read_chain(path, &chain, e))
        return -1;
    X509 *x = sk_X509_value(chain, 0);
    int at = 0;
    while (at < sk_X509_num(f->retired) &&
            ASN1_TIME_compare(X509_get0_notBefore(sk_X509_value(f->retired, at)),
                    X509_get0_notBefore(x)) >= 0)
        at++;
    if (!is_known(f, x) && sk_X509_insert(f->retired, x, at))
        sk_X509_shift(chain); /* handed over */
    sk_X509_pop_free(chain, X509_free);
    return 0;
}

static int read_retired(const char *dir_path, struct ca_files *f, struct err *e)
{
    char path[PATH_MAX];
    DIR *dir = opendir(dir_path);
    int r = 0;
    if (!dir)
        return errno == ENOENT ? 0 : err_set_errno(e, errno, "look into %s", dir_path);
    for (struct dirent *d; r == 0 && (d = readdir(dir));) {
        const char *dot = strrchr(d->d_name, '.');
        if (d->d_name[0] != '.' && dot && strcmp(dot, ".pem") == 0 &&
                snprintf(path, sizeof path, "%s/%s", dir_path, d->d_name) < (int)sizeof path)
            r = add_retired(f, path, e);
    }
    closedir(dir);
    return r;
}

int ca_files_read(const struct paths *p, struct ca_files *ret, struct err *e)
{
    char path[PATH_MAX];
    *ret = (struct ca_files){.retired = sk_X509_new_null()};
    paths_get(p, PATH_CA_CHAIN, path);
    int r = ret->retired ? pem_read_chain(path, &ret->chain, e)
                         : err_set(e, ERR_NOMEM, "no memory for the CA's certificates");
    if (r && e->id == ERR_NOT_FOUND) {
        e->id = ERR_NO_CA;
        err_context(e, "there is no CA yet");
    }
    paths_get(p, PATH_CA_RETIRED, path);
    if (r == 0)
        r = read_retired(path, ret, e);
    paths_get(p, PATH_CA_REQUEST, path);
    ret->request_waits = access(path, F_OK) == 0;
    if (r)
        ca_files_done(ret);
    return r;
}

void ca_files_done(struct ca_files *f)
{
    sk_X509_pop_free(f->chain, X509_free);
    sk_X509_pop_free(f->retired, X509_free);
    *f = (struct ca_files){0};
}
