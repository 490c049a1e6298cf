/* The table of verbs: all the command line can do, in the order of the help. A verb, an option or
 * an example exists by standing here; keyline.1 is checked against it. */
#include "station/cli/verbs.h"

#include "base/limits.h"

#define NUMBER_MAX 1000000000
#define WAIT_MAX_S 86400
#define DAYS_MAX   3650 /* an approval longer than ten years is a mistake in typing */

#define EXAMPLES(...)                                                                              \
    (const char *const[])                                                                          \
    {                                                                                              \
        __VA_ARGS__, NULL                                                                          \
    }
#define OPTIONS(...)                                                                               \
    (const struct verb_option[])                                                                   \
    {                                                                                              \
        __VA_ARGS__,                                                                               \
        {                                                                                          \
            0                                                                                      \
        }                                                                                          \
    }
#define SWITCH(name, help)                                                                         \
    {                                                                                              \
        name, VALUE_NONE, "", help, 0, 0                                                           \
    }
#define TEXT(name, value, help)                                                                    \
    {                                                                                              \
        name, VALUE_TEXT, value, help, 0, 0                                                        \
    }
#define FILE_(name, value, help)                                                                   \
    {                                                                                              \
        name, VALUE_FILE, value, help, 0, 0                                                        \
    }
#define DIR_(name, value, help)                                                                    \
    {                                                                                              \
        name, VALUE_DIR, value, help, 0, 0                                                         \
    }
#define NUMBER(name, value, min, max, help)                                                        \
    {                                                                                              \
        name, VALUE_NUMBER, value, help, min, max                                                  \
    }
#define COLUMNS                                                                                    \
    TEXT("columns", "A,B,..", "only these members, tab-separated, no header: for scripts")
#define ORGANIZATION TEXT("organization", "NAME", "stands in the certificates")
#define KEY_TYPE                                                                                   \
    TEXT("key-type", "TYPE",                                                                       \
            "of the CA's keys: p256 (default), p384, rsa2048, rsa3072, rsa4096 or ed25519")
/* What approver.c reads: every verb that signs has all of them. */
#define APPROVER_KEY                                                                               \
    FILE_("key", "KEY",                                                                            \
            "the approver's key, or 'pkcs11:...' for one on a card; default: etc/approver.key"),   \
            FILE_("cert", "FILE",                                                                  \
                    "its certificate and chain; default: etc/approver.pem, or the card's"),        \
            FILE_("passphrase-file", "FILE", "the key's passphrase, on the first line"),           \
            FILE_("module", "FILE", "the card's PKCS#11 module; default: all that p11-kit knows"), \
            SWITCH("last-try", "try the PIN even when a wrong one would lock the card")
#define REASON TEXT("reason", "TEXT", "why, for the record")

const struct verb_option verb_globals[] = {
        SWITCH("json", "print the appliance's answer, or its error, as one line of JSON"),
        NUMBER("wait", "SECONDS", 0, WAIT_MAX_S, "wait that long for the appliance to be up"),
        SWITCH("help", "show this help"),
        {0},
};

const struct verb verb_table[] = {
        {
                .name = "init",
                .args = "",
                .help = "Make the token, the CA, the approver's key and the configuration",
                .options = OPTIONS(ORGANIZATION, KEY_TYPE,
                        FILE_("approver-passphrase-file", "FILE",
                                "its first line protects the approver's key; else it is asked "
                                "for")),
                .examples = EXAMPLES("keyline init --organization \"Example GmbH\"",
                        "KEYLINE_ROOT=/tmp/try keyline init"),
                .program = "keyline-ceremony",
        },
        {
                .name = "run",
                .args = "",
                .help = "Run the appliance in the foreground, where there is no systemd",
                .options = OPTIONS(NUMBER("slots", "N", 1, SLOT_AUTO_MAX,
                                           "slots 01 to N besides those of keyline.conf"),
                        DIR_("ports", "DIR", "their ports: DIR/slot01, DIR/slot02, .."),
                        TEXT("driver", "NAME", "their driver; default: keyline"),
                        NUMBER("baud", "N", SLOT_BAUD_MIN, SLOT_BAUD_MAX,
                                "their speed; default: " LIMIT_TEXT(SLOT_BAUD_DEFAULT)),
                        DIR_("log-dir", "DIR", "a log file for each process in DIR")),
                .examples = EXAMPLES(
                        "keyline run", "keyline run --slots 16 --ports /run/keyline/ports"),
                .run = run_appliance,
        },
        {
                .name = "status",
                .args = "",
                .help = "Show how the appliance is: registry, signer, sync, slots",
                .examples = EXAMPLES("keyline status", "keyline --wait 30 status --json"),
                .method = "Status",
                .show = status_show,
        },
        {
                .name = "doctor",
                .args = "",
                .help = "Check the station and say what to do; exit status 1 or 2 if there is "
                        "something",
                .examples = EXAMPLES("keyline doctor", "keyline doctor --json"),
                .run = doctor_run,
        },
        {
                .name = "group add",
                .args = "NAME",
                .args_min = 1,
                .args_max = 1,
                .help = "Make a device group",
                .options = OPTIONS(TEXT("description", "TEXT", "what the group is for")),
                .examples =
                        EXAMPLES("keyline group add sensors --description \"Greenhouse sensors\""),
                .method = "GroupAdd",
                .last = "description",
                .show = group_show,
        },
        {
                .name = "group list",
                .args = "",
                .help = "List the device groups",
                .options = OPTIONS(COLUMNS),
                .examples =
                        EXAMPLES("keyline group list", "keyline group list --columns name,devices"),
                .method = "GroupList",
                .show = group_list,
        },
        {
                .name = "job import",
                .args = "FILE",
                .args_min = 1,
                .args_max = 1,
                .help = "Import a manifest as a job that waits for approval",
                .options = OPTIONS(TEXT("name", "NAME", "the job's name; default: the file's"),
                        TEXT("group", "GROUP", "for rows that name no device_group"),
                        SWITCH("add-groups", "make the groups that are missing"),
                        SWITCH("reissue",
                                "the devices get new certificates, the ones they have are revoked"),
                        TEXT("profile", "NAME", "its certificate profile; default: idevid"),
                        TEXT("keys", "WHERE",
                                "where keys are born: device (default), or signer where a device "
                                "cannot make its own"),
                        TEXT("station", "S,..", "the stations that may work on it; default: all")),
                .examples = EXAMPLES("keyline job import order-4711.csv --group sensors",
                        "keyline job import order-4711.csv --name \"order 4711\" --station "
                        "line-1,line-2",
                        "zcat order.csv.gz | keyline job import - --name order"),
                .run = job_import,
        },
        {
                .name = "job request",
                .args = "JOB",
                .args_min = 1,
                .args_max = 1,
                .help = "Print what the approver signs, to take it to another computer",
                .examples = EXAMPLES("keyline job request \"order 4711\" >request.json"),
                .method = "JobRequest",
                .show = job_request_show,
        },
        {
                .name = "job approve",
                .args = "[JOB]",
                .args_max = 1,
                .help = "Sign what may be certified, with the approver's key",
                .options = OPTIONS(APPROVER_KEY,
                        NUMBER("quota", "N", 1, MANIFEST_ROWS_MAX,
                                "at most N certificates; default: one a row"),
                        NUMBER("days", "N", 1, DAYS_MAX,
                                "how long the approval is valid; default: 30"),
                        SWITCH("yes", "do not ask"),
                        FILE_("ticket", "FILE", "hand in a ticket that was signed elsewhere"),
                        FILE_("ticket-out", "FILE",
                                "write the ticket there instead of handing it in"),
                        FILE_("request", "FILE",
                                "away from the station: what 'job request' printed"),
                        FILE_("manifest", "FILE", "with --request: the manifest it must be for"),
                        TEXT("group", "GROUP", "with --manifest: the --group it was imported with"),
                        FILE_("profile-file", "FILE",
                                "the job's profile, where etc/profiles does not have it")),
                .examples = EXAMPLES("keyline job approve \"order 4711\"",
                        "keyline job approve \"order 4711\" --yes --passphrase-file pass.txt "
                        "--days 7",
                        "keyline job approve --request request.json --manifest order-4711.csv "
                        "--ticket-out order.ticket",
                        "keyline job approve --key 'pkcs11:token=Ada;id=%01' --request "
                        "request.json --manifest order-4711.csv --ticket-out order.ticket",
                        "keyline job approve \"order 4711\" --ticket order.ticket"),
                .run = job_approve,
        },
        {
                .name = "job reject",
                .args = "JOB",
                .args_min = 1,
                .args_max = 1,
                .help = "Refuse a job that waits for approval",
                .options = OPTIONS(REASON),
                .examples =
                        EXAMPLES("keyline job reject \"order 4711\" --reason \"wrong customer\""),
                .method = "JobReject",
                .last = "reason",
                .show = job_show,
        },
        {
                .name = "job terminate",
                .args = "JOB",
                .args_min = 1,
                .args_max = 1,
                .help = "End an approved job: no further device of it is worked on",
                .options = OPTIONS(REASON),
                .examples = EXAMPLES(
                        "keyline job terminate \"order 4711\" --reason \"order cancelled\""),
                .method = "JobTerminate",
                .last = "reason",
                .show = job_show,
        },
        {
                .name = "job withdraw",
                .args = "[JOB]",
                .args_max = 1,
                .help = "Order the signer, as an approver, to certify nothing more for a job",
                .options = OPTIONS(APPROVER_KEY, SWITCH("yes", "do not ask"),
                        FILE_("order", "FILE", "hand in an order that was signed elsewhere"),
                        FILE_("order-out", "FILE",
                                "write the order there instead of handing it in")),
                .examples = EXAMPLES("keyline job withdraw \"order 4711\"",
                        "keyline job withdraw 3f2a8c1e-5b7d-4e0a-9c41-2d6b8f7a1e05 --order-out "
                        "withdraw.order",
                        "keyline job withdraw --order withdraw.order"),
                .run = job_withdraw,
        },
        {
                .name = "job list",
                .args = "",
                .help = "List the jobs",
                .options = OPTIONS(COLUMNS),
                .examples = EXAMPLES("keyline job list", "keyline job list --columns name,state"),
                .method = "JobList",
                .show = job_list,
        },
        {
                .name = "job show",
                .args = "JOB",
                .args_min = 1,
                .args_max = 1,
                .help = "Show a job",
                .examples =
                        EXAMPLES("keyline job show \"order 4711\"", "keyline job show 3f2a --json"),
                .method = "JobShow",
                .show = job_show,
        },
        {
                .name = "job watch",
                .args = "JOB",
                .args_min = 1,
                .args_max = 1,
                .help = "Follow a job live until it is done, slot by slot",
                .options = OPTIONS(NUMBER("until-idle", "SECONDS", 1, WAIT_MAX_S,
                        "end as well when nothing has moved for that long; then exit status 3")),
                .examples = EXAMPLES("keyline job watch \"order 4711\"",
                        "keyline job watch \"order 4711\" --until-idle 60"),
                .run = job_watch,
        },
        {
                .name = "job report",
                .args = "JOB",
                .args_min = 1,
                .args_max = 1,
                .help = "Report every device of a job, and the summary",
                .options = OPTIONS(
                        FILE_("csv", "FILE", "write the rows there as CSV; show the summary only"),
                        COLUMNS),
                .examples = EXAMPLES("keyline job report \"order 4711\"",
                        "keyline job report \"order 4711\" --csv report.csv",
                        "keyline job report \"order 4711\" --columns device_name,verdict,error"),
                .run = job_report,
        },
        {
                .name = "device list",
                .args = "",
                .help = "List devices",
                .options = OPTIONS(TEXT("job", "JOB", "only those of this job"),
                        TEXT("group", "GROUP", "only those of this group"),
                        TEXT("state", "STATE", "only those in this state, e.g. Registered"),
                        TEXT("name", "PREFIX", "only those whose name begins so"), COLUMNS),
                .examples = EXAMPLES("keyline device list --job \"order 4711\" --state Enrolled",
                        "keyline device list --name SENSOR-0001 --columns name,hwid"),
                .run = device_list,
        },
        {
                .name = "device show",
                .args = "DEVICE",
                .args_min = 1,
                .args_max = 1,
                .help = "Show a device: certificate, runs, and whether upstream has it",
                .examples = EXAMPLES("keyline device show SENSOR-000017",
                        "keyline device show sensors/SENSOR-000017 --json"),
                .method = "DeviceShow",
                .show = device_show,
        },
        {
                .name = "device register",
                .args = "COLUMN=VALUE..",
                .args_min = 1,
                .args_max = ROW_FIELDS_MAX,
                .help = "Register one device: a manifest of one row, to be approved",
                .examples = EXAMPLES("keyline device register device_name=SENSOR-9 "
                                     "device_group=sensors hwid=KLS-9"),
                .run = device_register,
        },
        {
                .name = "device reissue",
                .args = "DEVICE..",
                .args_min = 1,
                .args_max = REISSUE_DEVICES_MAX,
                .help = "Make a job that gives devices new certificates, to be approved",
                .options = OPTIONS(TEXT("name", "NAME", "the job's name; default: made up")),
                .examples = EXAMPLES("keyline device reissue SENSOR-000017",
                        "keyline device reissue SENSOR-000017 SENSOR-000018 --name \"returned "
                        "boards\""),
                .run = device_reissue,
        },
        {
                .name = "device revoke",
                .args = "[DEVICE]",
                .args_max = 1,
                .help = "Order the signer, as an approver, to revoke a device's certificate",
                .options = OPTIONS(TEXT("reason", "REASON",
                                           "keyCompromise, cessationOfOperation, superseded, "
                                           "affiliationChanged, privilegeWithdrawn or unspecified"),
                        APPROVER_KEY, SWITCH("yes", "do not ask"),
                        FILE_("order", "FILE", "hand in an order that was signed elsewhere"),
                        FILE_("order-out", "FILE",
                                "write the order there instead of handing it in"),
                        TEXT("serial", "HEX",
                                "which certificate; with --order-out nothing is asked at the "
                                "station, and DEVICE is its ID")),
                .examples = EXAMPLES("keyline device revoke SENSOR-000017 --reason keyCompromise",
                        "keyline device revoke 4d36e96e-e325-511c-bfc1-08002be10318 --serial "
                        "52f0c1d2e3f4a5b6c7d8e9fa0b1c2d3e --reason superseded --order-out "
                        "revoke.order",
                        "keyline device revoke --order revoke.order"),
                .run = device_revoke,
        },
        {
                .name = "slot list",
                .args = "",
                .help = "List the slots and what they are doing",
                .options = OPTIONS(COLUMNS),
                .examples = EXAMPLES("keyline slot list", "keyline slot list --columns name,state"),
                .method = "SlotList",
                .show = slot_list,
        },
        {
                .name = "sync status",
                .args = "",
                .help = "Show what has reached upstream and what waits",
                .examples = EXAMPLES("keyline sync status"),
                .method = "SyncStatus",
                .show = sync_show,
        },
        {
                .name = "sync retry",
                .args = "",
                .help = "Send again what upstream refused",
                .examples = EXAMPLES("keyline sync retry"),
                .method = "SyncRetry",
                .show = sync_show,
        },
        {
                .name = "ca init",
                .args = "",
                .help = "Make the token, the CA and the configuration, without an approver",
                .options = OPTIONS(ORGANIZATION, KEY_TYPE),
                .examples = EXAMPLES("keyline ca init --organization \"Example GmbH\""),
                .program = "keyline-ceremony",
        },
        {
                .name = "ca request",
                .args = "",
                .help = "Make a new issuing CA's key, and the request that an offline root signs",
                .options = OPTIONS(ORGANIZATION, KEY_TYPE,
                        FILE_("out", "FILE", "write it there; default: standard output"),
                        SWITCH("give-up", "destroy the key of the request that waits")),
                .examples = EXAMPLES("keyline ca request --out issuing.csr",
                        "keyline ca request --key-type p384 --out /media/usb/issuing.csr",
                        "keyline ca request --give-up"),
                .program = "keyline-ceremony",
        },
        {
                .name = "ca import",
                .args = "FILE",
                .args_min = 1,
                .args_max = 1,
                .help = "Put the chain that the root answered in force: issuing CA first, root "
                        "last",
                .options = OPTIONS(
                        TEXT("fingerprint", "SHA256", "of the root: do not ask, refuse any other"),
                        SWITCH("yes", "do not ask whether the root is the right one"),
                        SWITCH("reinstate", "also a retired CA's chain: it takes its place again")),
                .examples = EXAMPLES("keyline ca import /media/usb/chain.pem",
                        "keyline ca import chain.pem --fingerprint 3f:d2:..:91"),
                .program = "keyline-ceremony",
        },
        {
                .name = "ca rollover",
                .args = "",
                .help = "Put a new issuing CA in force, below the root in this station's token",
                .options = OPTIONS(ORGANIZATION, KEY_TYPE),
                .examples = EXAMPLES("keyline ca rollover", "keyline ca rollover --key-type p384"),
                .program = "keyline-ceremony",
        },
        {
                .name = "ca show",
                .args = "",
                .help = "Show the CA's certificates; needs no running appliance",
                .options = OPTIONS(SWITCH("pem", "print them as PEM, issuing CA first")),
                .examples = EXAMPLES("keyline ca show", "keyline ca show --pem >chain.pem"),
                .run = ca_show,
        },
        {
                .name = "ca crl",
                .args = "",
                .help = "Show the certificate revocation lists, or give one out",
                .options = OPTIONS(FILE_("out", "FILE", "write the list there, as DER"),
                        SWITCH("pem", "as PEM; without --out to standard output"),
                        TEXT("ca", "KEYID", "of this CA only; default: all, or the active one's"),
                        SWITCH("now", "have new ones made first")),
                .examples = EXAMPLES("keyline ca crl", "keyline ca crl --now --out /srv/crl/ca.crl",
                        "keyline ca crl --pem | openssl crl -noout -text"),
                .run = ca_crl,
        },
        {
                .name = "ca ledger",
                .args = "",
                .help = "List what the signer issued, refused and revoked, newest first",
                .options = OPTIONS(TEXT("device", "DEVICE", "only what is about this device"),
                        NUMBER("limit", "N", 1, NUMBER_MAX, "at most N entries; default: 20"),
                        SWITCH("all", "the HSM's checkpoints, too; --json has them always"),
                        COLUMNS),
                .examples = EXAMPLES("keyline ca ledger",
                        "keyline ca ledger --device "
                        "SENSOR-000017 --limit 100",
                        "keyline ca ledger --columns time,type,error --limit 1000"),
                .run = ca_ledger,
        },
        {
                .name = "profile list",
                .args = "",
                .help = "List the certificate profiles and their faults; needs no running "
                        "appliance",
                .options = OPTIONS(COLUMNS),
                .examples = EXAMPLES("keyline profile list"),
                .run = profile_list,
        },
        {
                .name = "profile show",
                .args = "PROFILE",
                .args_min = 1,
                .args_max = 1,
                .help = "Show a profile, by its name or its file",
                .options =
                        OPTIONS(SWITCH("document", "print its JSON, as a start for another one")),
                .examples = EXAMPLES("keyline profile show idevid",
                        "keyline profile show idevid --document >etc/profiles/ours.json"),
                .run = profile_show,
        },
        {
                .name = "profile check",
                .args = "PROFILE",
                .args_min = 1,
                .args_max = 1,
                .help = "Check a profile, and with a manifest whether every row fits it",
                .options = OPTIONS(
                        FILE_("manifest", "FILE", "try it on every row of this manifest"),
                        TEXT("group", "GROUP", "with --manifest: for rows that name no group"),
                        FILE_("example", "FILE",
                                "with --manifest: write a certificate for its first row there")),
                .examples = EXAMPLES("keyline profile check ours.json",
                        "keyline profile check ours.json --manifest order-4711.csv --group sensors "
                        "--example example.pem"),
                .run = profile_check,
        },
        {
                .name = "version",
                .args = "",
                .help = "Print the version",
                .examples = EXAMPLES("keyline version"),
                .run = version_print,
        },
        {
                .name = "help",
                .args = "[VERB]",
                .args_max = 2,
                .help = "Show the help of a verb, or of all",
                .examples = EXAMPLES("keyline help", "keyline help job approve"),
                .run = help_print,
        },
        {
                .name = "completion",
                .args = "SHELL",
                .args_min = 1,
                .args_max = 1,
                .help = "Print the completion script for bash, zsh or fish",
                .examples = EXAMPLES("source <(keyline completion bash)",
                        "keyline completion fish >~/.config/fish/completions/keyline.fish"),
                .run = completion_run,
        },
};
const size_t verb_count = sizeof verb_table / sizeof *verb_table;
