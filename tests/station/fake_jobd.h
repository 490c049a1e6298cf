/* A jobd of the tests' own: a real bus server behind the real slot door, in a process of its own,
 * that answers as its script says and writes down what it was told. The script is shared memory:
 * both sides may change it any time. */
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/err.h"
#include "base/limits.h"
#include "base/paths.h"

enum method { M_CLAIM, M_NONCE, M_MAKE_KEY, M_CERTIFY, M_ADVANCE, M_COMPLETE, M_FAIL, M_COUNT };

#define TILES_MAX 256
struct fake_jobd {
    /* the script */
    enum err_id refuse[M_COUNT]; /* this method answers with this error ... */
    unsigned refusals[M_COUNT];  /* ... so many times */
    enum method die_in; /* the process ends in this method, unanswered, if die_times is not 0 */
    unsigned die_times;
    bool die_after_commit; /* before that, what Complete does is done: later claims get no run
                            */
    unsigned
            complete_delay_ms; /* Complete is answered so much later; other calls go on meanwhile */
    uint8_t cert[CERT_BYTES_MAX];
    size_t cert_len;       /* 0: Certify makes one for the request's key, and keeps it here */
    bool certified_before; /* Claim gives the certificate */
    char key_type[16];
    bool keys_from_signer; /* Claim says so */
    bool damage_jwe;       /* MakeKey's answer was changed on its way */

    /* what happened */
    unsigned calls[M_COUNT];
    bool registered;     /* Complete was answered with yes, or durable when the process died */
    bool pass_too_early; /* a PASS tile came before that */
    uint8_t challenge[NONCE_BYTES];
    char order[512];   /* the calls, one letter each: C N M Z(certify) A K(complete) F */
    uint8_t made[512]; /* PKCS #8 of the key that MakeKey gave last */
    size_t made_len;
    char failed_with[64];
    bool quarantined;
    char claimed_hwid[HWID_BYTES_MAX + 1], claimed_name[NAME_BYTES_MAX + 1];
    unsigned tile_count;
    char tiles[TILES_MAX][320]; /* "state device: text" */
    unsigned connections_lost;

    pid_t pid; /* 0: not running */
    struct paths paths;
    char root[64];
};
struct fake_jobd *fake_jobd_new(void);
/* Unless it runs. */
void fake_jobd_start(struct fake_jobd *j);
/* kill -9 */
void fake_jobd_kill(struct fake_jobd *j);
void fake_jobd_free(struct fake_jobd *j);
/* Whether a tile that begins like this was shown. */
bool fake_jobd_saw(const struct fake_jobd *j, const char *prefix);
