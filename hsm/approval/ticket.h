/* A ticket: who approved which manifest, how many certificates, until when, where. It is a JWS (jws.h) signed with the
 * approver's key, "typ":"keyline-ticket+jws". Payload (JSON, all members required, unknown ones refused):
 *   {"v":1,"job":"<uuid>","account":"..","division":"..","profile":"idevid",
 *    "profile_sha256":"<64 hex: of the profile as canonical JSON>","binding":"identity",
 *    "keys":"device" or "signer","reissue":false,"rows":N,
 *    "root":"<64 hex: merkle root over the canonical rows>","quota":N,"nbf":unix s,"exp":unix s,
 *    "stations":["*"] or names,"approver":"free text","iat":unix s}
 * This library needs no token and no registry, so a ticket can be made on another computer. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <openssl/evp.h>
#include <openssl/x509.h>
#include "base/limits.h"
#include "base/merkle.h"
#include "base/uuid.h"

struct buf;
struct err;
struct jws_signer;

/* Where the devices' keys are born. */
enum ticket_keys {
    TICKET_KEYS_DEVICE, /* in the device, which proves that it holds its key */
    TICKET_KEYS_SIGNER, /* in the signer, for devices that cannot make one; flagged for ever */
    TICKET_KEYS_COUNT
};

struct ticket {
    char job[UUID_TEXT_MAX];
    char account[NAME_BYTES_MAX + 1];
    char division[NAME_BYTES_MAX + 1];
    char profile[32];
    char profile_sha256[65]; /* hex: what the profile said when it was approved */
    char binding[16];        /* "identity": the device's hwid or name selects the row */
    enum ticket_keys keys;
    bool reissue; /* the rows' devices may get a new certificate in place of the one they have, which is then revoked */
    uint64_t rows;
    struct merkle_hash root;
    uint64_t quota;
    int64_t not_before, not_after, issued_at; /* Unix seconds */
    char stations[TICKET_STATIONS_MAX][NAME_BYTES_MAX + 1];
    size_t station_count;
    char approver[NAME_BYTES_MAX + 1];
};

/* The unsigned request jobd gives for a pending job, as JSON text: the payload without profile_sha256, nbf, exp, iat,
 * approver: what the approver adds, the digest from the profile as the approver reads it. */
int ticket_request_parse(const char *json, struct ticket *ret, struct err *e);
/* The JWS is malloc'd. */
int ticket_sign_by(
        const struct ticket *t, const struct jws_signer *by, char **ret_jws, struct err *e);
/* The same with a key of this process. chain: the approver's certificate first. */
int ticket_sign(const struct ticket *t, EVP_PKEY *key, STACK_OF(X509) * chain, char **ret_jws,
        struct err *e);
/* Signature, chain to the anchors, form; ERR_TICKET, ERR_TICKET_UNTRUSTED. Times and station are ticket_check's. */
int ticket_verify(const char *jws, X509_STORE *anchors, struct ticket *ret, struct err *e);
/* ERR_TICKET_EXPIRED, ERR_TICKET_STATION. */
int ticket_check(const struct ticket *t, const char *station, int64_t now_s, struct err *e);
/* The payload as JSON text, appended: the facts for people and for CheckTicket. */
int ticket_format(const struct ticket *t, struct buf *out, struct err *e);
