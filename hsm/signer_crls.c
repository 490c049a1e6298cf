/* signerd's CRLs: what the keeper (crl_keeper.h) needs of the signer's other parts. The active CA's are
 * signed by the pool that signs certificates; a retired CA's by a pool of one worker that is opened
 * for it and closed when nothing is left to be done. */
#include <string.h>
#include "base/config.h"
#include "base/err.h"
#include "base/paths.h"
#include "base/text.h"
#include "hsm/crl_keeper.h"
#include "hsm/issuer.h"
#include "hsm/signer.h"
#include "hsm/workers/workers.h"

#define DAY_MS INT64_C(86400000)

static int sign(void *ctx, const struct ca *ca, const void *bytes, size_t len, workers_done_fn done,
        void *done_ctx, struct err *e)
{
    struct signer *s = ctx;
    char program[PATH_MAX];
    const struct workers_options o = {.event = s->event,
            .program = program,
            .ca = ca,
            .config = s->config,
            .workers_max = 1,
            .first = s->workers};

    if (ca == s->ca)
        return workers_sign(s->workers, bytes, len, done, done_ctx, e);
    if (s->crl_ca != ca)
        workers_close(&s->crl_workers);
    if (!s->crl_workers) {
        paths_program("signerd-token", program);
        if (workers_open(&o, &s->crl_workers, e) < 0)
            return -1;
        s->crl_ca = ca;
    }
    return workers_sign(s->crl_workers, bytes, len, done, done_ctx, e);
}

static int record(void *ctx, const struct ledger_entry *entry, struct err *e)
{
    const struct signer *s = ctx;

    return issuer_record(s->issuer, entry, e);
}

static void rest(void *ctx)
{
    struct signer *s = ctx;

    workers_close(&s->crl_workers);
}

int signer_crls_open(struct signer *s, struct err *e)
{
    const struct crl_keeper_parts parts = {
            .event = s->event,
            .cas = &s->cas,
            .ledger = s->ledger,
            .dir = s->crl_dir,
            .valid_ms = config_num(s->config, "signer", "crl_days") * DAY_MS,
            .ctx = s,
            .now_ms = time_now_ms,
            .up_ms = time_monotonic_ms,
            .sign = sign,
            .record = record,
            .rest = rest,
    };

    paths_get(&s->paths, PATH_CRLS, s->crl_dir);
    return crl_keeper_open(&parts, &s->crls, e);
}
