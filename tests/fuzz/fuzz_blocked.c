/* blocked-keys.txt: any bytes as the list of keys to refuse. Promises that a key passes only when every line was understood
 * and none of them is this key. */
#include <ctype.h>
#include <string.h>
#include "base/err.h"
#include "base/text.h"
#include "hsm/blocked_keys.h"
#include "tests/fuzz/fuzz.h"

static const uint8_t ours[32] = {1, 2, 3}, other[32] = {9};

/* A second reading, slow and simple: whether each line is empty, a comment, or 64 digits; and whether one is the key. */
static int understood(const uint8_t *data, size_t size, const uint8_t key[32])
{
    char hex[65];
    size_t digits = 0, blanks = 0;
    int comment = 0, found = 0, bad = 0;
    char line[64];

    hex_format(key, 32, hex);
    for (size_t i = 0; i <= size; i++) {
        int c = i < size ? data[i] : '\n';

        if (c == '\n') {
            bad |= digits != 0 && digits != 64;
            found |= digits == 64 && strncasecmp(line, hex, 64) == 0;
            digits = blanks = 0, comment = 0;
        } else if (comment || c == '#') {
            comment = 1;
        } else if (c == ' ' || c == '\t' || c == '\r') {
            blanks++;
        } else if (!isxdigit(c) || blanks || digits == 64) {
            bad = 1;
        } else {
            line[digits++] = (char)c;
        }
    }
    return bad || found ? 0 : 1;
}

static void look_up(struct blocked_keys *b, const uint8_t *data, size_t size, const uint8_t key[32])
{
    struct err e = {0};
    int r = blocked_keys_check(b, key, &e);

    fuzz_outcome(r, &e);
    promise(r < 0 || understood(data, size, key));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct blocked_keys *b = NULL;
    struct err e = {0};

    promise(blocked_keys_open(fuzz_file(data, size), &b, &e) == 0);
    look_up(b, data, size, ours);
    look_up(b, data, size, other);
    blocked_keys_close(&b);
    return 0;
}

void fuzz_seeds(fuzz_seed_fn add)
{
    static const char two[] =
            "# two of them\n"
            "0102030000000000000000000000000000000000000000000000000000000000  # ours\r\n\n"
            "aa02030000000000000000000000000000000000000000000000000000000000\n";
    static const char cut[] = "01020300000000000000000000000000000000000000000000000000000000\n";
    static const char zero[] = "# a byte that is no text\n\0\n";

    add("two", two, sizeof two - 1);
    add("cut-off", cut, sizeof cut - 1);
    add("zero", zero, sizeof zero - 1);
    add("none", "", 0);
}
