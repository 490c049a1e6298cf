/* The ledger seen from outside. Must not write anything, nor need the token. */
#include "hsm/signer_verify.h"
#include <stdio.h>
#include "base/err.h"
#include "base/paths.h"
#include "base/text.h"
#include "hsm/ca.h"
#include "hsm/ledger/checkpoint.h"
#include "hsm/ledger/ledger_scrub.h"

struct seen {
    struct ca_set cas;
    uint64_t signed_bytes; /* before the newest checkpoint */
    int64_t signed_ms;
    uint64_t accepted;
};

static int see(void *ctx, const uint8_t id[32], const struct ledger_entry *entry, struct err *e)
{
    struct seen *s = ctx;

    if (checkpoint_verify(entry, id, &s->cas, e) < 0)
        return -1;
    if (entry->row > s->signed_bytes) {
        s->signed_bytes = entry->row;
        s->signed_ms = entry->time_ms;
    }
    s->accepted += (entry->flags & LEDGER_ACCEPTED) != 0;
    return 0;
}

static void print(const char *path, const struct ledger_verified *v, const struct seen *s)
{
    char time[TIME_TEXT_MAX];

    printf("ledger       %s: whole, %llu bytes\n", path, (unsigned long long)v->bytes);
    printf("entries      %llu issued, %llu refused, %llu revoked\n",
            (unsigned long long)v->counts.issued, (unsigned long long)v->counts.refused,
            (unsigned long long)v->counts.revoked);
    if (v->checkpoints) {
        time_format(s->signed_ms, time);
        printf("checkpoints  %llu, each signed by the CA key; the newest %s, %llu bytes follow "
               "it\n",
                (unsigned long long)v->checkpoints, time,
                (unsigned long long)(v->bytes - s->signed_bytes));
    } else {
        puts("checkpoints  none: the CA key never vouched for it");
    }
    if (v->counts.groups)
        printf("groups       %llu, each written by the signer that the checkpoint before it "
               "names%s\n",
                (unsigned long long)v->counts.groups, s->accepted ? ", or accepted" : "");
    if (s->accepted)
        printf("accepted     %llu times by a person (signerd --accept-ledger)\n",
                (unsigned long long)s->accepted);
    if (v->torn)
        printf("at its end   %llu bytes of an append that is being made, or was cut off\n",
                (unsigned long long)v->torn);
}

int signer_verify(const struct paths *p, struct err *e)
{
    char path[PATH_MAX];
    struct ledger_verified v;
    struct seen s = {0};
    int r = -1;

    paths_get(p, PATH_LEDGER, path);
    if (ca_set_load(p, &s.cas, e) < 0 || ledger_verify(path, see, &s, &v, e) < 0)
        goto out;
    if (v.foreign) {
        err_set(e, ERR_LEDGER, "%s: not the signer's own from byte %llu on (docs/ca.md): %.300s",
                path, (unsigned long long)v.foreign, v.why.msg);
        goto out;
    }
    print(path, &v, &s);
    r = 0;
out:
    ca_set_done(&s.cas);
    return r;
}
