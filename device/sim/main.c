/* keyline-sim: simulated devices that speak the reference link on pseudo-terminals, and manifests
 * for them. It is the portable device library with a directory as its flash and OpenSSL as its
 * cryptography; nothing of the host is in it. */
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "fleet.h"
#include "unit.h"

#define PATIENCE_MS 30000u
#define SWAP_MS     20u
#define TRIES       3u
#define DEVICES_MAX 2000000u

static void help(FILE *out)
{
    fputs("usage: keyline-sim device --port LINK --flash DIR --hwid H [--name N] [--faults SPEC] "
          "[--seed S] [--fsync]\n"
          "                          [--no-keygen [--transport-key]]\n"
          "         one device in one port, until SIGTERM; LINK appears and leads to its "
          "pseudo-terminal\n"
          "       keyline-sim fleet --slots N --ports DIR --flash DIR [--list FILE] [--tries N] "
          "[--swap-ms N]\n"
          "                         [--look-ms N] [--patience-s N] [--faults SPEC] [--seed S] "
          "[--fsync]\n"
          "                         [--no-keygen [--transport-key]]\n"
          "         HWID<TAB>NAME lines of FILE or stdin go through DIR/slot01 .. slotNN; exits 0 "
          "when all passed;\n"
          "         --look-ms: each stays in its slot so long after the verdict, for a person to "
          "see it\n"
          "         --no-keygen: the devices cannot make keys, they take them from outside; with "
          "--transport-key only\n"
          "         wrapped for a key of their own, which is in their flash\n"
          "       keyline-sim manifest --devices N [--group G] [--seed S]\n"
          "         a registration manifest (CSV) on stdout\n"
          "\n"
          "Example:\n"
          "  keyline-sim manifest --devices 100 --group sensors > m.csv\n"
          "  printf 'SN-1\\tsensor-1\\n' | keyline-sim fleet --slots 1 --ports /tmp/ports --flash "
          "/tmp/flash\n\n",
            out);
    fault_help(out);
}

static int usage(const char *what)
{
    fprintf(stderr, "keyline-sim: %s; see keyline-sim --help\n", what);
    return 2;
}

struct arguments {
    const char *port, *flash, *hwid, *name, *ports, *list, *faults, *group;
    uint64_t slots, seed, tries, swap_ms, look_ms, patience_s, devices;
    bool durable, no_keygen, transport;
};

static int parse_number(const char *text, uint64_t max, uint64_t *ret)
{
    char *end;

    errno = 0;
    *ret = strtoull(text, &end, 10);
    return errno || end == text || *end || text[0] == '-' || *ret > max ? -1 : 0;
}

static int parse_arguments(int argc, char **argv, struct arguments *a)
{
    enum {
        PORT,
        FLASH,
        HWID,
        NAME,
        PORTS,
        LIST,
        FAULTS,
        GROUP,
        SLOTS,
        SEED,
        TRIES_,
        SWAP,
        LOOK,
        PATIENCE,
        DEVICES,
        FSYNC,
        NO_KEYGEN,
        TRANSPORT_KEY,
        HELP
    };
    static const struct option options[] = {{"port", 1, 0, PORT}, {"flash", 1, 0, FLASH},
            {"hwid", 1, 0, HWID}, {"name", 1, 0, NAME}, {"ports", 1, 0, PORTS},
            {"list", 1, 0, LIST}, {"faults", 1, 0, FAULTS}, {"group", 1, 0, GROUP},
            {"slots", 1, 0, SLOTS}, {"seed", 1, 0, SEED}, {"tries", 1, 0, TRIES_},
            {"swap-ms", 1, 0, SWAP}, {"look-ms", 1, 0, LOOK}, {"patience-s", 1, 0, PATIENCE},
            {"devices", 1, 0, DEVICES}, {"fsync", 0, 0, FSYNC}, {"no-keygen", 0, 0, NO_KEYGEN},
            {"transport-key", 0, 0, TRANSPORT_KEY}, {"help", 0, 0, HELP}, {0}};
    const char **texts[] = {
            &a->port, &a->flash, &a->hwid, &a->name, &a->ports, &a->list, &a->faults, &a->group};
    struct {
        uint64_t *at, max;
    } numbers[] = {{&a->slots, 256}, {&a->seed, UINT64_MAX}, {&a->tries, 1000},
            {&a->swap_ms, 3600000}, {&a->look_ms, 3600000}, {&a->patience_s, 86400},
            {&a->devices, DEVICES_MAX}};

    for (int c; (c = getopt_long(argc, argv, "h", options, NULL)) != -1;) {
        if (c == HELP || c == 'h') {
            help(stdout);
            exit(0);
        }
        if (c == '?')
            return -1;
        if (c == FSYNC)
            a->durable = true;
        else if (c == NO_KEYGEN)
            a->no_keygen = true;
        else if (c == TRANSPORT_KEY)
            a->transport = true;
        else if (c <= GROUP)
            *texts[c] = optarg;
        else if (parse_number(optarg, numbers[c - SLOTS].max, numbers[c - SLOTS].at) < 0)
            return -1;
    }
    return optind == argc ? 0 : -1;
}

static int run_device(const struct arguments *a, const struct fault_spec *faults)
{
    struct unit_options o = {.port = a->port,
            .flash = a->flash,
            .hwid = a->hwid,
            .name = a->name,
            .stay = true,
            .durable = a->durable,
            .no_keygen = a->no_keygen,
            .transport = a->transport,
            .noise_seed = fault_hash(a->seed, a->hwid)};
    sigset_t set;

    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigprocmask(SIG_BLOCK, &set, NULL);
    o.signals = signalfd(-1, &set, SFD_CLOEXEC);
    /* A device that its own fault pulled is put in again. */
    for (unsigned plug = 1;; plug++) {
        fault_plan(faults, a->hwid, plug, &o.faults);
        enum unit_end end = unit_run(&o);
        if (end == UNIT_STOPPED)
            return 0;
        if (end != UNIT_PULLED) {
            fprintf(stderr, "keyline-sim: %s: %s\n", a->port, strerror(errno));
            return 1;
        }
        usleep((useconds_t)a->swap_ms * 1000);
    }
}

/* Values a customer's file would hold; each device's are its own, and the same for the same seed.
 */
static int write_manifest(const struct arguments *a)
{
    static const char *const kinds[] = {"Temperature and humidity sensor", "Vibration sensor",
            "Pressure transmitter", "Flow meter, 2 inch", "Gas detector"};
    static const char *const places[] = {"Hall 1", "Hall 2", "Hall 3", "Test field"};

    puts("device_name,device_description,subject.common_name,subject.organization_name,device_"
         "group,hwid,"
         "attr.mac,attr.model,attr.location");
    for (uint64_t i = 1; i <= a->devices; i++) {
        char number[24];
        snprintf(number, sizeof number, "%06" PRIu64, i);
        uint64_t h = fault_hash(a->seed, number);
        printf("sensor-%s,\"%s\",sensor-%s.example.com,\"Example Instruments, "
               "Inc.\",%s,SN%08" PRIX64 "%s,"
               "02:%02X:%02X:%02X:%02X:%02X,EX-%" PRIu64 "00,%s\n",
                number, kinds[h % 5], number, a->group, h >> 32, number, (unsigned)(h >> 8 & 255),
                (unsigned)(h >> 16 & 255), (unsigned)(i >> 16 & 255), (unsigned)(i >> 8 & 255),
                (unsigned)(i & 255), 1 + h % 5, places[(h >> 5) % 4]);
    }
    return fflush(stdout) == 0 ? 0 : 1;
}

int main(int argc, char **argv)
{
    struct arguments a = {.name = "",
            .faults = "",
            .group = "sensors",
            .seed = 1,
            .tries = TRIES,
            .swap_ms = SWAP_MS,
            .patience_s = PATIENCE_MS / 1000};
    struct fault_spec faults;
    char error[256];

    if (argc > 1 && (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0)) {
        help(stdout);
        return 0;
    }
    if (argc < 2)
        return usage("say device, fleet or manifest");
    if (parse_arguments(argc - 1, argv + 1, &a) < 0)
        return usage("an option is unknown or its value is out of range");
    if (fault_parse(a.faults, &faults, error, sizeof error) < 0)
        return usage(error);
    faults.seed = a.seed;
    if (strcmp(argv[1], "manifest") == 0)
        return a.devices ? write_manifest(&a) : usage("manifest needs --devices");
    if (strcmp(argv[1], "device") == 0)
        return a.port && a.flash && a.hwid && a.hwid[0] && strlen(a.hwid) <= KL_TEXT_MAX &&
                               strlen(a.name) <= KL_TEXT_MAX
                       ? run_device(&a, &faults)
                       : usage("device needs --port, --flash and --hwid (names of at most 128 "
                               "bytes)");
    if (strcmp(argv[1], "fleet") != 0)
        return usage("say device, fleet or manifest");
    if (!a.slots || !a.ports || !a.flash)
        return usage("fleet needs --slots, --ports and --flash");
    struct fleet_options o = {.slots = (unsigned)a.slots,
            .ports = a.ports,
            .flash = a.flash,
            .list = a.list,
            .tries = (unsigned)a.tries,
            .swap_ms = (unsigned)a.swap_ms,
            .look_ms = (unsigned)a.look_ms,
            .patience_ms = (unsigned)a.patience_s * 1000,
            .durable = a.durable,
            .no_keygen = a.no_keygen,
            .transport = a.transport,
            .faults = faults};
    return fleet_run(&o);
}
