/* UUIDs. Version 5 names things that two stations must name alike while neither sees the other;
 * version 4 the rest. */
#include "base/uuid.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include <openssl/evp.h>

#include "base/text.h"

/* Keyline's namespace for device IDs. It can never change: the IDs upstream are derived from it. */
static const uint8_t device_namespace[16] = {0x6f, 0x1c, 0x0e, 0x6a, 0x93, 0x5b, 0x4b, 0x3e, 0x8d,
        0x57, 0x2a, 0xc4, 0x71, 0xe9, 0x05, 0xbd};

/* RFC 9562, 4.1 and 4.2: version into the high bits of octet 6, variant 10 into those of octet 8.
 */
static void format(uint8_t id[16], unsigned version, char out[UUID_TEXT_MAX])
{
    id[6] = (uint8_t)((id[6] & 0x0f) | version << 4);
    id[8] = (uint8_t)((id[8] & 0x3f) | 0x80);
    snprintf(out, UUID_TEXT_MAX,
            "%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x", id[0], id[1],
            id[2], id[3], id[4], id[5], id[6], id[7], id[8], id[9], id[10], id[11], id[12], id[13],
            id[14], id[15]);
}

void uuid_v4(char out[UUID_TEXT_MAX])
{
    uint8_t id[16];
    if (getrandom(id, sizeof id, 0) != (ssize_t)sizeof id)
        abort(); /* a kernel without random numbers: nothing we make would be safe */
    format(id, 4, out);
}

void uuid_device(const char *account, const char *division, const char *group, const char *name,
        char out[UUID_TEXT_MAX])
{
    const char *const parts[] = {account, division, group, name};
    uint8_t digest[EVP_MAX_MD_SIZE];
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    /* SHA-1 is what version 5 is defined with; it names here, it does not protect. */
    int ok = ctx != NULL && EVP_DigestInit_ex(ctx, EVP_sha1(), NULL) == 1 &&
             EVP_DigestUpdate(ctx, device_namespace, sizeof device_namespace) == 1;
    for (size_t i = 0; ok && i < sizeof parts / sizeof parts[0]; i++)
        ok = EVP_DigestUpdate(ctx, parts[i], strlen(parts[i])) == 1 &&
             EVP_DigestUpdate(ctx, "\x1f", 1) == 1;
    if (!ok || EVP_DigestFinal_ex(ctx, digest, NULL) != 1)
        abort(); /* out of memory, or a libcrypto without SHA-1: a wrong ID must never leave */
    EVP_MD_CTX_free(ctx);
    format(digest, 5, out);
}

int uuid_valid(const char *text)
{
    static const char form[] = "hhhhhhhh-hhhh-hhhh-hhhh-hhhhhhhhhhhh";
    for (size_t i = 0; i < sizeof form; i++) {
        char c = text[i];
        int is_hex = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f');
        if (form[i] == 'h' ? !is_hex : c != form[i])
            return 0;
    }
    return 1;
}

void uuid_bytes(const char *text, uint8_t out[16])
{
    char digits[2 * 16 + 1];
    size_t n = 0;
    assert(uuid_valid(text));
    for (; *text; text++)
        if (*text != '-')
            digits[n++] = *text;
    (void)hex_parse(digits, n, out, 16); /* only digits are left */
}
