/* The CRL builder. Promises: DER in the form of RFC 5280, section 5, and the same facts give the
 * same bytes. It never decides, signs or stores anything. */
#include "hsm/x509/crl.h"
#include <stdlib.h>
#include <string.h>
#include "base/buf.h"
#include "base/err.h"
#include "hsm/ledger/ledger.h"

#define DER_ENUMERATED 0x0a
/* One entry: serial 18, time 17, reason 14, header 2; and what stands around them all. */
#define ENTRY_BYTES  52
#define AROUND_BYTES (CERT_BYTES_MAX + SIGNATURE_BYTES_MAX)

/* id-ce, RFC 5280, 5.2 and 5.3 */
static const struct der_oid oid_crl_number = {3, {0x55, 0x1d, 0x14}};
static const struct der_oid oid_reason_code = {3, {0x55, 0x1d, 0x15}};
static const struct der_oid oid_authority_key_id = {3, {0x55, 0x1d, 0x23}};

/* Everything since the mark becomes the value of this extension; none of ours is critical. */
static void extension(struct der *d, const struct der_oid *oid, size_t mark)
{
    der_wrap(d, DER_OCTET_STRING, mark);
    der_oid(d, oid);
    der_wrap(d, DER_SEQUENCE, mark);
}

static void extensions(struct der *d, const struct crl_fields *f)
{
    size_t start = der_len(d), mark = start;
    uint8_t number[8];

    for (int i = 0; i < 8; i++)
        number[i] = (uint8_t)(f->number >> (56 - 8 * i));
    der_uint(d, number, sizeof number);
    extension(d, &oid_crl_number, mark);
    mark = der_len(d);
    der_tlv(d, DER_CONTEXT(0), f->authority_key_id.bytes, f->authority_key_id.len);
    der_wrap(d, DER_SEQUENCE, mark);
    extension(d, &oid_authority_key_id, mark);
    der_wrap(d, DER_SEQUENCE, start);
    der_wrap(d, DER_CONTEXT_OF(0), start);
}

/* The reason "unspecified" is said by saying nothing (5.3.1). */
static void entry(struct der *d, const struct ledger_revoked *v)
{
    size_t start = der_len(d);

    if (v->reason) {
        der_tlv(d, DER_ENUMERATED, &v->reason, 1);
        extension(d, &oid_reason_code, start);
        der_wrap(d, DER_SEQUENCE, start);
    }
    der_time(d, v->time_ms / 1000);
    der_uint(d, v->serial, sizeof v->serial);
    der_wrap(d, DER_SEQUENCE, start);
}

static void entries(struct der *d, const struct crl_fields *f)
{
    size_t mark = der_len(d);

    for (size_t i = f->revoked_count; i-- > 0;)
        if (memcmp(f->revoked[i].ca, f->ca, sizeof f->ca) == 0)
            entry(d, &f->revoked[i]);
    if (der_len(d) > mark) /* an empty list must not be there at all (5.1.2.6) */
        der_wrap(d, DER_SEQUENCE, mark);
}

/* Heap, for the list has no small bound. */
static int der_start(struct der *d, size_t cap, uint8_t **ret_space, struct err *e)
{
    *ret_space = malloc(cap);
    if (!*ret_space)
        return err_set(e, ERR_NOMEM, "no memory for a CRL of %zu bytes", cap);
    der_init(d, *ret_space, cap);
    return 0;
}

static int der_finish(const struct der *d, uint8_t *space, struct buf *out, struct err *e)
{
    const uint8_t *bytes;
    size_t len;
    int r = der_done(d, &bytes, &len, e) < 0 ? err_context(e, "CRL")
                                             : buf_append(out, bytes, len, e);

    free(space);
    return r;
}

int crl_tbs(const struct crl_fields *f, struct buf *out, struct err *e)
{
    size_t cap = f->revoked_count * ENTRY_BYTES + AROUND_BYTES;
    uint8_t *space;
    struct der d;

    if (cap > CRL_BYTES_MAX)
        return err_set(e, ERR_LIMIT, "%zu revoked certificates make a CRL of more than %d MB",
                f->revoked_count, CRL_BYTES_MAX >> 20);
    if (der_start(&d, cap, &space, e) < 0)
        return -1;
    extensions(&d, f);
    entries(&d, f);
    der_time(&d, f->next_update);
    der_time(&d, f->this_update);
    der_put(&d, f->issuer.bytes, f->issuer.len);
    signature_alg_encode(&d, f->alg);
    der_tlv(&d, DER_INTEGER, "\1", 1); /* v2 */
    der_wrap(&d, DER_SEQUENCE, 0);
    return der_finish(&d, space, out, e);
}

int crl_assemble(const struct cert_bytes *tbs, enum signature_alg alg, const struct cert_bytes *sig,
        struct buf *out, struct err *e)
{
    uint8_t *space;
    struct der d;

    if (der_start(&d, tbs->len + AROUND_BYTES, &space, e) < 0)
        return -1;
    der_put(&d, sig->bytes, sig->len);
    der_wrap_bits(&d, 0);
    signature_alg_encode(&d, alg);
    der_put(&d, tbs->bytes, tbs->len);
    der_wrap(&d, DER_SEQUENCE, 0);
    return der_finish(&d, space, out, e);
}
