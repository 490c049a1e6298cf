/* Checks of what the trust rests on: the CA's certificates, its CRLs, the approvers. Time is looked at
 * far ahead: a new certificate from an offline root takes people, rooms and travel. */
#include <dirent.h>
#include <errno.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/file.h"
#include "base/limits.h"
#include "base/text.h"
#include "station/cli/doctor.h"
#include "station/cli/pem.h"

#define DAY_S 86400
#define RENEW                                                                                      \
    "Roll the CA over: 'keyline ca rollover', or 'keyline ca request' with a root elsewhere."

static int64_t time_of(const ASN1_TIME *t)
{
    struct tm tm;
    return ASN1_TIME_to_tm(t, &tm) == 1 ? timegm(&tm) : 0;
}

static void date_of(int64_t unix_s, char out[TIME_TEXT_MAX])
{
    time_format(unix_s * 1000, out);
    out[10] = '\0';
}

/* ---- certificates */

static void check_links(STACK_OF(X509) * chain, struct doctor_finding *f)
{
    static const char next[] = "Restore etc/ca/chain.pem, or import the chain again.";
    int n = sk_X509_num(chain);
    for (int i = 0; i < n; i++) {
        X509 *x = sk_X509_value(chain, i), *by = sk_X509_value(chain, i + 1 < n ? i + 1 : i);
        if (X509_check_issued(by, x) != X509_V_OK || X509_verify(x, X509_get0_pubkey(by)) != 1)
            doctor_find(f, DOCTOR_FAIL, next, "certificate %d is not signed by %s", i + 1,
                    by == x ? "itself: the root is missing" : "the next one");
    }
    ERR_clear_error();
}

/* What relying parties are given must be the root of what devices are given. */
static void check_root_file(const struct doctor *d, struct doctor_finding *f)
{
    static const char next[] = "Import the chain again: keyline ca import etc/ca/chain.pem";
    STACK_OF(X509) *alone = NULL;
    struct err e = {0};
    char path[PATH_MAX];
    paths_get(&d->paths, PATH_CA_ROOT, path);
    if (pem_read_chain(path, &alone, &e))
        doctor_find(f, DOCTOR_WARN, next, "%s", e.msg);
    else if (X509_cmp(sk_X509_value(alone, 0),
                     sk_X509_value(d->ca.chain, sk_X509_num(d->ca.chain) - 1)) != 0)
        doctor_find(f, DOCTOR_WARN, next, "%s is not the root of the chain in force", path);
    sk_X509_pop_free(alone, X509_free);
}

void doctor_check_chain(const struct doctor *d, struct doctor_finding *f)
{
    int retired = sk_X509_num(d->ca.retired);
    if (!d->ca.chain) {
        doctor_find(f, DOCTOR_FAIL,
                d->ca_error.id == ERR_NO_CA ? err_hint(ERR_NO_CA)
                                            : "Restore etc/ca from your backup.",
                "%s", d->ca_error.msg);
        return;
    }
    check_links(d->ca.chain, f);
    check_root_file(d, f);
    doctor_find(f, DOCTOR_OK, NULL, "whole: %d certificates, %d retired", sk_X509_num(d->ca.chain),
            retired);
}

static void check_expiry(const struct doctor *d, X509 *x, int notice_days, const char *next,
        struct doctor_finding *f)
{
    int64_t from = time_of(X509_get0_notBefore(x)), to = time_of(X509_get0_notAfter(x));
    int64_t days = (to - d->now) / DAY_S;
    char date[TIME_TEXT_MAX];
    date_of(to, date);
    if (from > d->now)
        doctor_find(f, DOCTOR_FAIL, "Set the clock.", "it is not valid yet, says the clock");
    else if (to <= d->now)
        doctor_find(f, DOCTOR_FAIL, next, "it was valid until %s", date);
    else
        doctor_find(f,
                days < CA_EXPIRY_URGENT_DAYS ? DOCTOR_FAIL
                : days < notice_days         ? DOCTOR_WARN
                                             : DOCTOR_OK,
                days < notice_days ? next : NULL, "valid until %s, for %lld more days", date,
                (long long)days);
}

void doctor_check_issuing(const struct doctor *d, struct doctor_finding *f)
{
    if (d->ca.chain)
        check_expiry(d, sk_X509_value(d->ca.chain, 0), CA_EXPIRY_NOTICE_DAYS, RENEW, f);
}

void doctor_check_root(const struct doctor *d, struct doctor_finding *f)
{
    if (d->ca.chain)
        check_expiry(d, sk_X509_value(d->ca.chain, sk_X509_num(d->ca.chain) - 1),
                ROOT_EXPIRY_NOTICE_DAYS,
                "Bring a new root to all who trust this one, then an issuing CA below it "
                "(docs/ceremony.md).",
                f);
}

void doctor_check_request(const struct doctor *d, struct doctor_finding *f)
{
    struct stat st;
    char path[PATH_MAX], date[TIME_TEXT_MAX];
    paths_get(&d->paths, PATH_CA_REQUEST, path);
    if (stat(path, &st) == 0) {
        date_of(st.st_mtime, date);
        doctor_find(f, DOCTOR_WARN,
                "Import the answer (keyline ca import), or give it up (ca request --give-up).",
                "a request waits since %s for the root's answer", date);
    }
    paths_get(&d->paths, PATH_CA_KEY, path);
    if (stat(path, &st) == 0)
        doctor_find(f, DOCTOR_WARN, "Run the same ceremony again: it goes on.",
                "a ceremony was cut off");
}

/* ---- CRLs */

static void check_crl(
        const struct doctor *d, const char *path, int *count, struct doctor_finding *f)
{
    struct buf der = BUF_INIT;
    struct err e = {0};
    const uint8_t *at;
    X509_CRL *crl = NULL;
    char date[TIME_TEXT_MAX];
    if (file_read(path, CRL_BYTES_MAX, &der, &e) == 0) {
        at = der.data;
        crl = d2i_X509_CRL(NULL, &at, (long)der.len);
    }
    if (!crl || !X509_CRL_get0_nextUpdate(crl))
        doctor_find(f, DOCTOR_FAIL, "Have it made anew: keyline ca crl", "%s cannot be read", path);
    else {
        int64_t next = time_of(X509_CRL_get0_nextUpdate(crl));
        date_of(next, date);
        if (next <= d->now)
            doctor_find(f, DOCTOR_FAIL,
                    "Start the signer: it makes a new one. Then publish that one.",
                    "%s was to be renewed by %s", path, date);
        else
            doctor_find(f, DOCTOR_OK, NULL, "the next is due by %s", date);
        ++*count;
    }
    X509_CRL_free(crl);
    buf_done(&der);
    ERR_clear_error();
}

void doctor_check_crls(const struct doctor *d, struct doctor_finding *f)
{
    char dir_path[PATH_MAX], path[2 * PATH_MAX];
    int count = 0;
    paths_get(&d->paths, PATH_CRLS, dir_path);
    DIR *dir = opendir(dir_path);
    if (!dir && errno == EACCES)
        doctor_unseen(f, dir_path);
    for (struct dirent *x; dir && (x = readdir(dir));) {
        const char *dot = strrchr(x->d_name, '.');
        if (!dot || strcmp(dot, ".crl") != 0)
            continue;
        snprintf(path, sizeof path, "%s/%s", dir_path, x->d_name);
        check_crl(d, path, &count, f);
    }
    if (dir)
        closedir(dir);
    if (count && count < 1 + sk_X509_num(d->ca.retired))
        doctor_find(f, DOCTOR_WARN,
                "'keyline ca crl --now' makes what is missing, and so does a start of the signer.",
                "%d CRLs for %d CAs", count, 1 + sk_X509_num(d->ca.retired));
}

/* ---- approvers */

void doctor_check_approvers(const struct doctor *d, struct doctor_finding *f)
{
    static const char next[] =
            "Add an approver's certificate to etc/approvers.pem (docs/ceremony.md).";
    STACK_OF(X509) *anchors = NULL;
    struct err e = {0};
    char path[PATH_MAX], date[TIME_TEXT_MAX];
    int valid = 0;
    int64_t first = INT64_MAX;
    paths_get(&d->paths, PATH_APPROVERS, path);
    if (pem_read_chain(path, &anchors, &e)) {
        doctor_find(f, DOCTOR_FAIL, next, "no job can be approved: %s", e.msg);
        return;
    }
    for (int i = 0; i < sk_X509_num(anchors); i++) {
        int64_t to = time_of(X509_get0_notAfter(sk_X509_value(anchors, i)));
        valid += to > d->now;
        first = to < first ? to : first;
    }
    date_of(first, date);
    if (!valid)
        doctor_find(f, DOCTOR_FAIL, next, "every approver's certificate is over");
    else if ((first - d->now) / DAY_S < APPROVER_EXPIRY_NOTICE_DAYS)
        doctor_find(f, DOCTOR_WARN, next, "%d of %d valid; the first ends on %s", valid,
                sk_X509_num(anchors), date);
    else
        doctor_find(f, DOCTOR_OK, NULL, "%d, the first ends on %s", valid, date);
    sk_X509_pop_free(anchors, X509_free);
}
