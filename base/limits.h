/* clang-format off */ /* a table: one row a line */
/* Every numeric limit of the product, with its reason. Nothing else may state one. */
#pragma once

/* A limit as text, for help and for defaults of a file. */
#define LIMIT_TEXT(limit)  LIMIT_TEXT_(limit)
#define LIMIT_TEXT_(limit) #limit

/* manifest */
#define MANIFEST_BYTES_MAX    200000000u            /* the template's documented limit is 200 MB */
#define MANIFEST_ROWS_MAX     2000000u             /* leaves of one job's tree; memory of an import stays under 1 GB */
#define MANIFEST_ERRORS_MAX   1000u                /* errors returned one by one; the rest is counted */
#define MANIFEST_VALUE_MAX    4096u                /* one field: a PEM CSR of RSA-4096 has 1,800 bytes */
#define REISSUE_DEVICES_MAX   100u                 /* named one by one; more come as a manifest */
#define NAME_BYTES_MAX        128u                 /* device, group, slot and station names */
#define HWID_BYTES_MAX        128u                 /* what a device calls itself */

/* rows and trees */
#define ROW_FIELDS_MAX        64u                  /* columns of a manifest */
#define ROW_BYTES_MAX         16384u               /* an encoded row; keeps an Issue message small */
#define MERKLE_PROOF_MAX      64u                  /* nodes of a proof: a tree of 2^64 leaves */

/* files and the log */
#define CONF_FILE_MAX         (256u << 10)         /* keyline.conf: 64 slots with a page of comments each */
#define CONF_NAME_MAX         48u                  /* section and key names: inih cuts longer ones without a word */
#define CONF_SLOTS_MAX        256u                 /* more than the USB ports one host can drive */
#define CONF_TOKENS_MAX       7u                   /* beside [token]: eight HSMs, 128 workers at most */
#define SECRET_FILE_MAX       4096u                /* a PIN or passphrase, and a comment below it */
#define LOG_LINE_MAX          4096u                /* PIPE_BUF: lines of several processes in one pipe stay whole */
#define LOG_VALUE_MAX         700u                 /* bytes of one value: an error's message fits; four bytes each when escaped */

/* bus */
#define BUS_MESSAGE_MAX       (1u << 20)           /* one call's byte array */
#define BUS_TIMEOUT_MS        15000u               /* a local call: covers an HSM of one signature a second with 8 waiting */
#define STATUS_TIMEOUT_MS     5000u                /* jobd asks the signer how it is while a person waits BUS_TIMEOUT_MS for jobd */
#define JOBS_IMPORT_TIMEOUT_MS 600000u            /* one import: 200 MB on a slow disk */
#define BUS_PEERS_MAX         256u                 /* 64 slots, their restarts, and the tools of a person */
#define BUS_ANSWERS_MAX       1024u                /* that a peer has not read: 16 for each of 64 slots; a deaf one must not fill the memory */

/* certification */
#define TICKET_BYTES_MAX      16384u               /* a JWS with a chain of three certificates */
#define TICKET_STATIONS_MAX   64u
#define CSR_BYTES_MAX         8192u                /* RSA-4096 with every attribute is under 2 KB */
#define CERT_BYTES_MAX        8192u
#define CRL_BYTES_MAX         (64 << 20)           /* over a million revocations; a device downloads it whole */
#define CRL_DAYS_MAX          365                  /* longer, a revocation is hardly one */
#define CRL_FRESH_MS          10000                /* a younger list is not made anew on demand */
#define CRL_PACE_MS           1000                 /* between two lists of a CA, at least ... */
#define CRL_PACE_TIMES        20                   /* ... or so many times what the last one took ... */
#define CRL_PACE_MAX_MS       10000                /* ... but no longer: a call that waits for one is answered in time */
#define CRL_LOOK_MS           600000               /* is a CRL due? the wall clock may have been set meanwhile */
#define CHAIN_BYTES_MAX       32768u
#define CA_RETIRED_MAX        16u                  /* 20 years each; all chains fit into one bus message */
#define CA_EXPIRY_NOTICE_DAYS 365                 /* a new certificate from an offline root takes people, rooms and travel */
#define CA_EXPIRY_URGENT_DAYS 90                  /* from then on doctor fails */
#define ROOT_EXPIRY_NOTICE_DAYS 730               /* a new root has to reach every relying party before the old one ends */
#define APPROVER_EXPIRY_NOTICE_DAYS 30            /* a new approver is a file in a directory */
#define NONCE_BYTES           32u
#define BLOCKED_KEYS_MAX      100000u              /* digests of blocked-keys.txt: 3 MB of the signer's memory */
#define BLOCKED_FILE_MAX      (16u << 20)          /* as many lines with a word of comment each */
#define PROFILE_BYTES_MAX     65536u               /* a profile file */
#define TRANSPORT_KEY_BYTES_MAX 128u               /* DER SubjectPublicKeyInfo: P-256 has 91 */
#define SEALED_KEY_BYTES_MAX  4096u                /* a JWE: RSA-3072 in PKCS #8 takes 2.6 KB */
#define NONCE_VALID_S         300                  /* RSA-4096 key generation on a small MCU takes minutes */

/* device link (docs/link-protocol.md states the wire's own limits) */
#define CONFIG_BYTES_MAX      16384u               /* bootstrap configuration put into a device */

/* upstream */
#define OUTBOX_BATCH_RECORDS  500u                 /* about 1 MB; one PUT on a slow line ends within a minute */
#define OUTBOX_BATCH_BYTES    (4u << 20)
#define UPSTREAM_CONNECT_S     15                  /* name, TCP and TLS; longer is not a line that carries records */
#define UPSTREAM_EXCHANGE_S    900                 /* one request in all: 4 MB at 56 kbit/s take 600 s */
#define UPSTREAM_BACKOFF_MIN_S 1                   /* the first pause is drawn from 0 to this, each next from twice as much */
#define UPSTREAM_BACKOFF_MAX_S 300                 /* a line that comes back is noticed within 5 minutes */
#define UPSTREAM_RETRY_AFTER_MAX_S 3600            /* a wrong Retry-After (or a wrong clock) stops us for an hour at most */
#define UPSTREAM_URL_MAX       2048u               /* address with a batch's path: every server takes that much */
#define UPSTREAM_HEADER_MAX    (32u << 10)         /* all headers of one answer */
#define UPSTREAM_ANSWER_MAX    (16u << 10)         /* a body nobody reads, taken so that the connection can be kept */
#define JOBD_BACKOFF_MAX_S     5                   /* jobd is on this machine and back within seconds */

/* slots */
#define SLOT_BAUD_MIN          9600                /* slower, one device takes minutes */
#define SLOT_BAUD_MAX          4000000             /* the highest that termios names */
#define SLOT_BAUD_DEFAULT      115200              /* what boot loaders and consoles speak */
#define STALE_NONCES_MAX       3u                  /* a fourth means that the signer restarts all the time: start over */
#define SIGNATURE_BYTES_MAX    1024u               /* a device's or a CA's: RSA-8192 */
#define SLOT_HELLO_MS          1000u               /* how long one hello waits; an open port is asked again at once */
#define SLOT_WATCH_MS          500u                /* how often a port without hang-up is pinged; a hang-up is seen at once */
#define SLOT_RETRY_FIRST_MS    100u                /* a jobd that was restarted is back by then */
#define SLOT_RETRY_MAX_MS      5000u               /* what is away is noticed when it is back, by 64 slots without a crowd */
#define SLOT_SIGNER_RETRY_MS   2000u               /* within a run, for a signer or a token that is away */
#define SLOT_PORT_MS           1000u               /* the longest that a change of the port, or of jobd, stays unnoticed */
#define SLOT_TROUBLE_MS        250u                /* between two tries at a port that others hold, or a device that talks nonsense or restarts */
#define SLOT_UNWATCHED_MS      50u                 /* the same without inotify: swap time counts */
#define USB_READ_BYTES         4096u               /* whole packets of every speed, so that none overflows */
#define SLOT_AUTO_MAX          64u                 /* slots of `keyline run --slots`: what two cores carry */

/* doctor */
#define CLOCK_SLACK_S          120                 /* a clock that is being adjusted jumps less */
#define DISK_FREE_NOTICE_MIB   1024u               /* a manifest of 200 MB and a week of records */
#define DISK_FREE_URGENT_MIB   100u

/* the supervisor */
#define SUPERVISE_FIRST_MS     20u                 /* a crash costs its slot no more than a blink */
#define SUPERVISE_BACKOFF_MS   5000u               /* what cannot start is tried often enough to need nobody */
#define SUPERVISE_HEALTHY_MS   5000u               /* READY for so long: the next restart is quick again */
#define LEDGER_FINISH_MS       3000u               /* a signer that stops lets the token sign for it; below the next */
#define SUPERVISE_STOP_MS      5000u               /* between SIGTERM and SIGKILL */
#define SUPERVISE_SIGNER_MS    5000u               /* then jobd starts without signerd, so that the screens say what is wrong */
