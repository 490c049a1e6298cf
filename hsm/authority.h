/* Who may approve: the trust anchors in the signer's own configuration, and the tickets already verified under them. */
#pragma once

struct authority;
struct err;
struct order;
struct ticket;

/* path: PEM certificates. A missing file is no anchors: every ticket is then ERR_TICKET_UNTRUSTED. */
int authority_open(const char *path, struct authority **ret, struct err *e);
/* From now on an approver whose own certificate is no anchor counts only when its certificate, and each CA between, has this
 * certificate policy (RFC 5280, 6.1): below a CA that certifies others as well, not everybody may approve. policy: an
 * object identifier in digits; ERR_CONFIG. */
int authority_require(struct authority *a, const char *policy, struct err *e);
void authority_close(struct authority **a);
/* ticket_verify() with a memory: a signature is checked again only after ten minutes, or when the anchors' file changed.
 * *ret is borrowed until the next call. Times and station are ticket_check()'s. */
int authority_ticket(
        struct authority *a, const char *jws, const struct ticket **ret, struct err *e);
/* order_verify() under the anchors that are in the file now. */
int authority_order(struct authority *a, const char *jws, struct order *ret, struct err *e);
