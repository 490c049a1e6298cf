/* keyline.conf: any text into config_load(). Promises that what passes gives every listed key a value of its kind and
 * range. */
#include <string.h>
#include "base/config.h"
#include "base/err.h"
#include "base/text.h"
#include "tests/fuzz/fuzz.h"

static const struct key {
    const char *section, *key;
    int64_t min, max;
    int number;
} keys[] = {
#define STR                                             0
#define NUM                                             1
#define KEY(s, k, kind, default_value, lo, hi, meaning) {s, k, lo, hi, kind},
#include "base/config_list.h"
};

static void check_accepted(const struct config *c)
{
    const struct config_slot *slots;
    size_t n = config_slots(c, &slots);
    char station[NAME_BYTES_MAX + 1];
    struct err e = {0};

    promise(n <= CONF_SLOTS_MAX);
    for (size_t i = 0; i < n; i++) {
        promise(name_valid(slots[i].name, strlen(slots[i].name)));
        promise(*slots[i].port && *slots[i].driver);
        promise(slots[i].baud >= SLOT_BAUD_MIN && slots[i].baud <= SLOT_BAUD_MAX);
    }
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        const struct key *k = &keys[i];

        promise(config_get(c, k->section, k->key));
        if (k->number)
            promise(config_num(c, k->section, k->key) >= k->min &&
                    config_num(c, k->section, k->key) <= k->max);
    }
    fuzz_outcome(config_station(c, station, &e), &e);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct config *c = NULL;
    struct err e = {0};
    int r = config_load(fuzz_file(data, size), &c, &e);

    fuzz_outcome(r, &e);
    if (r == 0)
        check_accepted(c);
    config_free(&c);
    return 0;
}

void fuzz_seeds(fuzz_seed_fn add)
{
    static const char plain[] = "[station]\nname = line-1\n; a comment\n[token]\nworkers = 2\n"
                                "[slot 01]\nport = /dev/ttyUSB0\nbaud = 115200\n";
    static const char slots[] = "[slot a]\nport=/dev/a\n[slot b]\nport=/dev/b\ndriver=keyline\n"
                                "[upstream]\nurl = https://example.com/\ninterval_s = 5\n";
    static const char wrong[] = "[station]\nname = *\n[nowhere]\nx = 1\n";

    add("plain", plain, sizeof plain - 1);
    add("slots", slots, sizeof slots - 1);
    add("wrong", wrong, sizeof wrong - 1);
}
