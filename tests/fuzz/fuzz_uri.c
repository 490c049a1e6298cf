/* A PKCS#11 URI, and the frames that come back from the card's program: the first byte chooses. Promises that what passes
 * is printable and within its room, and that frames lie within what was read. */
#include <stdlib.h>
#include <string.h>
#include "base/buf.h"
#include "base/err.h"
#include "base/text.h"
#include "hsm/approval/card_client.h"
#include "hsm/token/pkcs11_uri.h"
#include "tests/fuzz/fuzz.h"

static void uri(const char *text)
{
    struct pkcs11_uri u;
    struct err e = {0};
    int r = pkcs11_uri_parse(text, &u, &e);
    const char *const texts[] = {u.token, u.manufacturer, u.serial, u.model, u.object};

    fuzz_outcome(r, &e);
    if (r < 0)
        return;
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        promise(strlen(texts[i]) <= PKCS11_URI_TEXT_MAX &&
                text_is_printable(texts[i], strlen(texts[i])));
    promise(u.id_len <= sizeof u.id);
    promise(strlen(u.module_path) < sizeof u.module_path);
    promise(strlen(u.pin_file) < sizeof u.pin_file && *u.pin_file != '|');
}

static void frames(const uint8_t *data, size_t size)
{
    struct buf all = {.data = (uint8_t *)(uintptr_t)data, .len = size};
    struct err e = {0};
    size_t at = 0, sum = 0, len;
    const uint8_t *bytes;
    uint8_t kind;
    int r;

    while ((r = card_frame_next(&all, &at, &kind, &bytes, &len, &e)) > 0) {
        sum += CARD_FRAME_HEADER + len;
        promise(at == sum && sum <= size && bytes + len == data + sum);
    }
    promise(r < 0 || sum == size);
    fuzz_outcome(r, &e);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *text;

    if (!size)
        return 0;
    if (*data == 'F') {
        frames(data + 1, size - 1);
        return 0;
    }
    text = strndup((const char *)data + 1, size - 1);
    must(text);
    uri(text);
    free(text);
    return 0;
}

void fuzz_seeds(fuzz_seed_fn add)
{
    static const char whole[] =
            "Upkcs11:model=M%20v2;manufacturer=A;serial=1;token=T;id=%01;object=o;type=private"
            "?module-path=/m.so&pin-source=file:/p";
    static const uint8_t answer[] = {'F', 'C', 0, 0, 0, 2, 0x30, 0, 'S', 0, 0, 0, 1, 7};

    add("whole", whole, sizeof whole - 1);
    add("short", "Upkcs11:", 8);
    add("frames", answer, sizeof answer);
}
