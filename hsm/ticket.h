/* A ticket: who approved which manifest, how many certificates, until when, where. It is a compact JWS (RFC 7515)
 * signed with the approver's key: ES256, ES384 or RS256, "x5c" with the approver's certificate chain,
 * "typ":"keyline-ticket+jws". Payload (JSON, all members required, unknown ones refused):
 *   {"v":1,"job":"<uuid>","account":"..","division":"..","profile":"idevid","binding":"identity","rows":N,
 *    "root":"<64 hex: merkle root over the canonical rows>","quota":N,"nbf":unix s,"exp":unix s,
 *    "stations":["*"] or names,"approver":"free text","iat":unix s}
 * This library needs no token and no registry, so a ticket can be made on another computer. */
#pragma once
#include <stddef.h>
#include <stdint.h>
#include <openssl/evp.h>
#include <openssl/x509.h>
#include "base/limits.h"
#include "base/merkle.h"
#include "base/uuid.h"

struct buf;
struct err;

struct ticket {
    char job[UUID_TEXT_MAX];
    char account[NAME_BYTES_MAX + 1];
    char division[NAME_BYTES_MAX + 1];
    char profile[32];
    char binding[16]; /* "identity": the device's hwid or name selects the row */
    uint64_t rows;
    struct merkle_hash root;
    uint64_t quota;
    int64_t not_before, not_after, issued_at; /* Unix seconds */
    char stations[TICKET_STATIONS_MAX][NAME_BYTES_MAX + 1];
    size_t station_count;
    char approver[NAME_BYTES_MAX + 1];
};

/* The unsigned request jobd gives for a pending job, as JSON text: the payload without nbf, exp, iat, approver. */
int ticket_request_parse(const char *json, struct ticket *ret, struct err *e);
/* chain: the approver's certificate first. The JWS is malloc'd. */
int ticket_sign(const struct ticket *t, EVP_PKEY *key, STACK_OF(X509) * chain, char **ret_jws,
        struct err *e);
/* Signature, chain to the anchors, form; ERR_TICKET, ERR_TICKET_UNTRUSTED. Times and station are ticket_check's. */
int ticket_verify(const char *jws, X509_STORE *anchors, struct ticket *ret, struct err *e);
/* ERR_TICKET_EXPIRED, ERR_TICKET_STATION. */
int ticket_check(const struct ticket *t, const char *station, int64_t now_s, struct err *e);
/* The payload as JSON text, appended: the facts for people and for CheckTicket. */
int ticket_format(const struct ticket *t, struct buf *out, struct err *e);
