/* keyline-ceremony: makes the CA of a station, and holds the ceremonies of its later life. It alone
 * makes keys. It never shows a PIN or a key, never overwrites, and can be run again after a power
 * cut. */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include "base/err.h"
#include "base/log.h"
#include "hsm/ceremony/ceremony.h"
#include "hsm/ceremony/ceremony_certs.h"

static const char usage[] =
        "Usage: keyline-ceremony VERB [OPTION]...\n"
        "Make this station's certificate authority, and renew it. 'keyline VERB' does the same.\n\n"
        "  init           token, root CA, issuing CA, approver's key and configuration; once\n"
        "  ca init        the same without an approver\n"
        "  ca request     a new issuing CA's key, and the request for its certificate\n"
        "  ca import F    install the chain that the root answered: issuing CA first, root last\n"
        "  ca rollover    a new issuing CA below the root in this token\n\n"
        "  -k, --key-type TYPE                of new CA keys: p256 (default), p384, rsa2048, "
        "rsa3072, rsa4096 or ed25519\n"
        "  -o, --organization NAME            stands in the certificates (default: the CA's, or "
        "Keyline)\n"
        "  -p, --approver-passphrase-file F   init: the passphrase for the approver's key; else it "
        "is\n"
        "                                     asked for\n"
        "  -O, --out F                        request: write it to F, not to standard output\n"
        "      --give-up                      request: destroy the key of the request that waits\n"
        "  -f, --fingerprint SHA256           import: the root's; refuse any other, do not ask\n"
        "      --reinstate                    import: also the chain of a retired CA\n"
        "  -y, --yes                          import: do not ask\n"
        "  -h, --help, -V, --version\n\n"
        "Examples:\n"
        "  keyline-ceremony init --organization 'Example Devices GmbH'\n"
        "  KEYLINE_ROOT=/tmp/try keyline-ceremony init --approver-passphrase-file pass.txt\n"
        "  keyline-ceremony ca request --out issuing.csr\n"
        "  keyline-ceremony ca import chain.pem --fingerprint 3fd2..\n";

/* which of the options' letters each verb takes */
static const struct verb {
    const char *noun, *name, *options;
    int arguments;
    int (*hold)(const struct ceremony_options *o, struct err *e);
} verbs[] = {
        {NULL, "init", "kop", 0, ceremony_init},
        {"ca", "init", "ko", 0, ceremony_ca_init},
        {"ca", "request", "koOG", 0, ceremony_request},
        {"ca", "import", "fyR", 1, ceremony_import},
        {"ca", "rollover", "ko", 0, ceremony_rollover},
};

static const struct verb *find_verb(int count, char **words, int *ret_used)
{
    for (size_t i = 0; i < sizeof verbs / sizeof *verbs; i++) {
        int at = verbs[i].noun ? 1 : 0;

        *ret_used = at + 1;
        if (count > at && (!at || strcmp(words[0], verbs[i].noun) == 0) &&
                strcmp(words[at], verbs[i].name) == 0)
            return &verbs[i];
    }
    return NULL;
}

static int complain(const char *what, const char *which)
{
    fprintf(stderr, "keyline-ceremony: %s%s\n\n%s", what, which, usage);
    return 2;
}

static void note_option(int c, struct ceremony_options *o)
{
    switch (c) {
    case 'k':
        o->key_type = optarg;
        break;
    case 'o':
        o->organization = optarg;
        break;
    case 'p':
        o->passphrase_file = optarg;
        break;
    case 'O':
        o->out = optarg;
        break;
    case 'f':
        o->fingerprint = optarg;
        break;
    case 'y':
        o->yes = true;
        break;
    case 'G':
        o->give_up = true;
        break;
    case 'R':
        o->reinstate = true;
        break;
    }
}

/* 0: go on; 1: answered; 2: wrong usage. */
static int parse_options(int argc, char **argv, struct ceremony_options *o, const struct verb **ret)
{
    static const struct option longs[] = {
            {"key-type", required_argument, NULL, 'k'},
            {"organization", required_argument, NULL, 'o'},
            {"approver-passphrase-file", required_argument, NULL, 'p'},
            {"out", required_argument, NULL, 'O'},
            {"give-up", no_argument, NULL, 'G'},
            {"fingerprint", required_argument, NULL, 'f'},
            {"reinstate", no_argument, NULL, 'R'},
            {"yes", no_argument, NULL, 'y'},
            {"help", no_argument, NULL, 'h'},
            {"version", no_argument, NULL, 'V'},
            {0},
    };
    char given[sizeof longs / sizeof *longs] = "";
    enum ceremony_key_type type;
    struct err e = {0};
    int c, used;

    while ((c = getopt_long(argc, argv, "k:o:p:O:f:yhV", longs, NULL)) != -1) {
        if (c == 'h') {
            fputs(usage, stdout);
            return 1;
        }
        if (c == 'V') {
            printf("keyline-ceremony %s\n", KEYLINE_VERSION);
            return 1;
        }
        if (c == '?')
            return 2;
        if (!strchr(given, c))
            given[strlen(given)] = (char)c;
        note_option(c, o);
    }
    *ret = find_verb(argc - optind, argv + optind, &used);
    if (!*ret)
        return complain("there is no such verb", "");
    if (argc - optind - used != (*ret)->arguments)
        return complain("wrong number of arguments for ", (*ret)->name);
    if (given[strspn(given, (*ret)->options)])
        return complain("that option is not for ", (*ret)->name);
    if (ceremony_key_type(o, &type, &e) < 0) {
        fprintf(stderr, "keyline-ceremony: %s\n", e.msg);
        return 2;
    }
    o->argument = argv[argc - 1];
    return 0;
}

int main(int argc, char **argv)
{
    struct ceremony_options o = {0};
    const struct verb *verb;
    struct err e = {0};
    int r = parse_options(argc, argv, &o, &verb);

    if (r)
        return r == 1 ? EXIT_SUCCESS : r;
    log_open("keyline-ceremony");
    umask(027);
    setrlimit(RLIMIT_CORE, &(struct rlimit){0, 0});
    if ((!o.organization || ceremony_organization_check(o.organization, &e) == 0) &&
            verb->hold(&o, &e) == 0)
        return EXIT_SUCCESS;
    fprintf(stderr, "keyline-ceremony: %s [%s]\n  %s\n", e.msg, err_name(e.id), err_next(&e));
    return EXIT_FAILURE;
}
