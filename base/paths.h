/* Where things lie. $KEYLINE_ROOT=DIR puts a whole appliance into one directory (DIR/etc, DIR/lib, DIR/run);
 * without it: /etc/keyline, /var/lib/keyline, /run/keyline. The socket and file names stand only here. state/signer/
 * belongs to signerd alone and state/jobs/ to jobd alone: each makes its own, and neither may rename the other's. */
#pragma once
#include <limits.h>

struct err;

struct paths {
    char etc[PATH_MAX];
    char state[PATH_MAX];
    char run[PATH_MAX];
};
enum path_id {
    PATH_CONFIG,       /* etc/keyline.conf */
    PATH_APPROVERS,    /* etc/approvers.pem: trust anchors for tickets, the signer's own */
    PATH_CA_CHAIN,     /* etc/ca/chain.pem: issuing CA first, then up to the root */
    PATH_CA_ROOT,      /* etc/ca/root.pem: the root of that chain, for those who trust it */
    PATH_CA_RETIRED,   /* etc/ca/retired/: chains of CAs that were active before, KEYID.pem */
    PATH_CA_REQUEST,   /* etc/ca/request.pem: the request that an offline root has yet to answer */
    PATH_CA_KEY,       /* etc/ca/request.key: the CKA_ID of the key that is being made for it */
    PATH_PROFILES,     /* etc/profiles/: certificate profiles, NAME.json each */
    PATH_BLOCKED_KEYS, /* etc/blocked-keys.txt: device keys to refuse */
    PATH_TOKEN_PIN,    /* etc/token.pin (0600) unless [token] pin_file says otherwise */
    PATH_SOFTHSM_CONF, /* etc/softhsm2.conf: of the embedded token */
    PATH_TOKENS,       /* state/signer/tokens/: the embedded token's directory */
    PATH_LEDGER,       /* state/signer/ledger: issuance ledger */
    PATH_CRLS, /* state/crl/: the CAs' CRLs, KEYID.crl and KEYID.crl.pem; signerd's, for all to read */
    PATH_REGISTRY,      /* state/jobs/registry.db */
    PATH_SIGNER_SOCKET, /* run/signer.sock: org.keyline.Signer1, for jobd */
    PATH_JOBS_SOCKET,   /* run/jobs.sock: org.keyline.Jobs1, for people's tools */
    PATH_SLOT_SOCKET,   /* run/slot.sock: org.keyline.Slot1, for slotd */
    PATH_OUTBOX_SOCKET, /* run/outbox.sock: org.keyline.Outbox1, for syncd */
    PATH_COUNT
};
int paths_init(struct paths *p, struct err *e); /* from the environment */
/* The whole path of one of the above into out. */
void paths_get(const struct paths *p, enum path_id id, char out[PATH_MAX]);
/* A program of ours: beside the running one when that is a build tree, else the libexec directory. */
void paths_program(const char *name, char out[PATH_MAX]);
