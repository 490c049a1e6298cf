/* signerd's parts, and the door to them. The door only carries: it reads a call, hands it to the part that decides, and
 * answers with what that part said. */
#pragma once
#include <systemd/sd-event.h>
#include "base/limits.h"
#include "base/paths.h"
#include "hsm/ca.h"

struct authority;
struct blocked_keys;
struct bus_server;
struct ca_watch;
struct config;
struct crl_keeper;
struct err;
struct issuer;
struct keeper;
struct key_maker;
struct ledger;
struct nonce_key;
struct scrubber;
struct profiles;
struct workers;

struct signer {
    sd_event *event;
    struct paths paths;
    struct config *config;
    struct ca_set cas;
    const struct ca *ca; /* the active one of them */
    struct ca_watch *ca_watch;
    struct authority *authority;
    struct profiles *profiles;
    struct blocked_keys *blocked_keys;
    struct ledger *ledger;
    struct workers *workers;
    struct nonce_key *nonce_key;
    struct key_maker *key_maker; /* NULL: [signer] born_keys is no */
    struct issuer *issuer;
    struct keeper *keeper;
    struct scrubber *scrubber;
    struct crl_keeper *crls;
    char crl_dir[PATH_MAX];
    struct workers *crl_workers; /* of a retired CA, while its CRL is made */
    const struct ca *crl_ca;
    struct bus_server *door;
    char station[NAME_BYTES_MAX + 1];
};

/* Opens org.keyline.Signer1 (signer_client.h) for the users of [access] jobs_user. Closed with bus_server_close(&s->door). */
int signer_door_open(struct signer *s, struct err *e);
/* s->crls (signer_crls.c). After all other parts; closed with crl_keeper_close() behind workers and issuer. */
int signer_crls_open(struct signer *s, struct err *e);
