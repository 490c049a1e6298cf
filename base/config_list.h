/* clang-format off */ /* a table: one row a line */
/* Every key of keyline.conf: what the program accepts and what keyline.conf(5) says are both made from this table.
 * KEY(section, key, kind, default, min, max, meaning), CHOICE_KEY(section, key, choices, default, meaning) with choices
 * "one|two", and SLOT_KEY(key, kind, default, min, max, meaning), which stand in the sections "slot NAME"; the keys of
 * "token" stand in the sections "token NAME" as well. Kind: STR or NUM. Whoever includes it defines those it wants. */
#include "base/limits.h"
#ifndef KEY
#define KEY(section, key, kind, default_value, min, max, meaning)
#endif
#ifndef CHOICE_KEY
#define CHOICE_KEY(section, key, choices, default_value, meaning)
#endif
#ifndef SLOT_KEY
#define SLOT_KEY(key, kind, default_value, min, max, meaning)
#endif
KEY("station", "name", STR, "", 0, 0, "This station's name, unique in the account: part of every record sent upstream. Default: the host's name.")
KEY("station", "account_id", STR, "00000000-0000-0000-0000-000000000000", 0, 0, "Device Trust Manager account.")
KEY("station", "division_id", STR, "00000000-0000-0000-0000-000000000000", 0, 0, "Division in the account.")
KEY("token", "module", STR, "/usr/lib/softhsm/libsofthsm2.so", 0, 0, "PKCS#11 module of the HSM that holds the CA key.")
KEY("token", "init_args", STR, "", 0, 0, "Library parameters for the module's C_Initialize, where it wants some (NSS, YubiHSM: docs/tokens.md).")
KEY("token", "label", STR, "keyline", 0, 0, "Label of the token.")
KEY("token", "key_label", STR, "issuing-ca", 0, 0, "CKA_LABEL of the issuing CA's private key.")
KEY("token", "key_id", STR, "02", 0, 0, "CKA_ID of that key, hexadecimal.")
KEY("token", "pin_file", STR, "", 0, 0, "File with the user PIN on its first line. Default: the credential token.pin from systemd, else token.pin beside this file; for [token NAME] both are called token.NAME.pin.")
KEY("token", "workers", NUM, "2", 1, 16, "Worker processes, one PKCS#11 session each.")
KEY("token", "mark_every_s", NUM, "10", 0, 86400, "How often the ledger's mark in the token is renewed at most (docs/ca.md). Less often spares an HSM whose memory wears.")
KEY("token", "keepalive_s", NUM, "60", 0, 3600, "After so long without a signature a worker looks whether its session is still good, before a device finds out. 0: never.")
CHOICE_KEY("signer", "tokens", "failover|spread", "failover", "With several tokens: failover signs with the first that works, in the order of this file; spread shares the work among all.")
KEY("signer", "approver_policy", STR, "", 0, 0, "Certificate policy (an object identifier, as in 1.3.6.1.4.1.32473.1) that an approver's certificate below a CA of approvers.pem must have, and each CA between. Empty: every certificate for signatures below such a CA may approve. Approvers whose own certificate stands in approvers.pem need none.")
CHOICE_KEY("signer", "born_keys", "no|yes", "no", "May the signer make keys for devices that cannot make their own? A job's ticket must allow it, too.")
KEY("signer", "nonce_valid_s", NUM, "300", 10, 3600, "How long a certification nonce may be answered.")
KEY("signer", "crl_days", NUM, "7", 1, CRL_DAYS_MAX, "How long a CRL is valid (nextUpdate); a new one is published when half of that is over, and at every revocation.")
KEY("bootstrap", "mqtt_primary", STR, "mqtts://rendezvous.invalid:8883", 0, 0, "Rendezvous endpoint put into each device.")
KEY("bootstrap", "mqtt_secondary", STR, "", 0, 0, "Second endpoint.")
KEY("upstream", "url", STR, "", 0, 0, "Base URL that records are PUT to (https://). Empty: this station works without an upstream.")
KEY("upstream", "ca_file", STR, "", 0, 0, "PEM file with the CA of the upstream server. Default: the system's CAs.")
KEY("upstream", "cert_file", STR, "", 0, 0, "PEM file with this station's client certificate, if upstream asks for one.")
KEY("upstream", "key_file", STR, "", 0, 0, "PEM file with its key.")
KEY("upstream", "user", STR, "", 0, 0, "User name, if upstream asks for one.")
KEY("upstream", "password_file", STR, "", 0, 0, "File with the password on its first line.")
KEY("upstream", "interval_s", NUM, "5", 1, 3600, "How long records may wait before they are sent.")
KEY("upstream", "timeout_s", NUM, "60", 1, 600, "How long upstream may stay silent before a try is given up and made again later.")
KEY("access", "admin_user", STR, "", 0, 0, "A further user who may use the administrative door. Default: only the appliance's own user and root.")
KEY("access", "slot_user", STR, "keyline-slot", 0, 0, "The user slotd runs as, if another than jobd's. The default counts where that user exists.")
KEY("access", "sync_user", STR, "keyline-sync", 0, 0, "The user syncd runs as, if another than jobd's. The default counts where that user exists.")
KEY("access", "jobs_user", STR, "keyline-jobs", 0, 0, "The user jobd runs as, if another than signerd's. The default counts where that user exists.")

SLOT_KEY("port", STR, "", 0, 0, "Path of the serial device; it may be absent until something is plugged in. Required.")
SLOT_KEY("driver", STR, "keyline", 0, 0, "The driver that talks to the devices of this slot.")
SLOT_KEY("baud", NUM, LIMIT_TEXT(SLOT_BAUD_DEFAULT), SLOT_BAUD_MIN, SLOT_BAUD_MAX, "Speed of the line.")
#undef KEY
#undef CHOICE_KEY
#undef SLOT_KEY
