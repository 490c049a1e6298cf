/* The slots' door, org.keyline.Slot1 at /org/keyline/Slot1 on PATH_SLOT_SOCKET. slotd uses it, one connection a slot.
 * jobd answers only what is durable. A run belongs to the connection that claimed it: when that is lost the run ends
 * as Interrupted and the next Claim of the device goes on where the certificate was.
 *   Claim(s slot, s driver, s hwid, s name) -> (s run, s device_id, s device_name, s job, s key_type, s keys, u attempt, ay cert, ay chain, ay config)
 *        hwid, name: what the device reports ("" if it does not). Matched against the row's hwid, else its device_name.
 *        key_type "P-256" ..; keys: where the ticket lets keys be born: "device", or "signer" where a device cannot; cert: DER,
 *        empty unless a certificate was issued before; chain: its issuing CA first, root last, DER, empty when cert is; config:
 *        bootstrap_config.json. The run is at step "identified".
 *        run "": the device is registered. There is nothing to be done or recorded; cert is its valid certificate, under which
 *        it may prove itself again; chain and config are empty.
 *        Errors: DeviceUnknown NoJob Revoked DeviceBusy DeviceQuarantined.
 *   Nonce(s run) -> ay                       the signer's nonce for the CSR
 *   MakeKey(s run, ay transport_key, ay nonce) -> ay jwe   a key made by the signer, for the transport key's holder alone
 *        (base/jwe.h); each call makes another one. Certify follows as for any key.
 *   Certify(s run, ay csr, ay nonce) -> (ay cert, ay chain)   signer's errors as they are
 *   Advance(s run, s step) -> ()             "installed" only: the steps between are the calls' own
 *   Complete(s run, ay challenge, ay signature) -> ()   jobd verifies the signature under the certificate itself
 *   Fail(s run, s error, s message, b quarantine) -> ()
 *   SlotState(s slot, s port, s state, s device_name, s text) -> ()   for the screen, not stored; no reply is sent when
 *        none is asked for. state: one of slot_state_name(). */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <systemd/sd-bus.h>
#include "base/buf.h"
#include "base/limits.h"
#include "base/uuid.h"
#include "base/err.h"

struct paths;

enum slot_state {
    SLOT_EMPTY, /* nothing plugged in */
    SLOT_WORKING,
    SLOT_PASS,    /* sticky until the device is taken out */
    SLOT_FAIL,    /* the same; text says why and what to do */
    SLOT_WAITING, /* cannot work: registry, signer or token are away; text says which */
    SLOT_STATE_COUNT
};
const char *slot_state_name(enum slot_state s); /* "empty" ... */

struct slot_claim {
    char run[UUID_TEXT_MAX];
    bool registered; /* there is no run, only cert */
    char device_id[UUID_TEXT_MAX];
    char device_name[NAME_BYTES_MAX + 1];
    char job[UUID_TEXT_MAX];
    char key_type[16];
    bool keys_from_signer; /* allowed for a device that cannot make its own */
    unsigned attempt;
    struct buf cert, chain, config; /* slot_claim_done frees them */
};

int slot_open(const struct paths *p, sd_bus **ret, struct err *e);
int slot_claim(sd_bus *bus, const char *slot, const char *driver, const char *hwid,
        const char *name, struct slot_claim *ret, struct err *e);
void slot_claim_done(struct slot_claim *c);
int slot_nonce(sd_bus *bus, const char *run, uint8_t ret_nonce[NONCE_BYTES], struct err *e);
int slot_make_key(sd_bus *bus, const char *run, const uint8_t *transport_key, size_t len,
        const uint8_t nonce[NONCE_BYTES], struct buf *ret_jwe, struct err *e);
int slot_certify(sd_bus *bus, const char *run, const struct buf *csr,
        const uint8_t nonce[NONCE_BYTES], struct buf *ret_cert, struct buf *ret_chain,
        struct err *e);
int slot_advance(sd_bus *bus, const char *run, const char *step, struct err *e);
int slot_complete(sd_bus *bus, const char *run, const uint8_t challenge[NONCE_BYTES],
        const struct buf *signature, struct err *e);
int slot_fail(sd_bus *bus, const char *run, const struct err *why, bool quarantine, struct err *e);
/* Fire and forget. */
void slot_report(sd_bus *bus, const char *slot, const char *port, enum slot_state state,
        const char *device_name, const char *text);
