/* Plugs a device in, feeds the library what arrives, takes the device out when its time has come.
 * Faults sit around the library, never in it: in the crypto and flash tables, in what is sent, and
 * in the permission asked before each operation. It waits in poll() only. */
#include "unit.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "crypto.h"
#include "flash.h"
#include "keyline/device.h"
#include "port.h"
#include "transport.h"

#define NOISE_ONE_IN 4000u /* bytes */
/* After a fault that stopped the conversation: the host has said nothing for so long, its screen is
 * red ... */
#define GIVE_UP_MS 3000
/* ... or it goes on asking, but nobody waits longer; least of all for a device that never said
 * hello. */
#define GIVE_UP_LATEST_MS 12000
#define GIVE_UP_HELLO_MS  5000
#define LINGER_MS         300 /* the verdict's answer is to be read before the plug is drawn */
#define LINGER_LEAST_MS   5   /* what was just written is not counted as unread at once */

struct unit {
    const struct unit_options *o;
    struct kl_device device;
    struct kl_device_config config;
    struct flash flash;
    struct crypto crypto;
    uint8_t transport_spki[TRANSPORT_SPKI_MAX];
    struct port port;
    uint64_t random;
    int64_t heard_ms;  /* last bytes from the host; 0: none yet */
    int64_t struck_ms; /* a fault stopped the conversation; 0: none */
    int64_t verdict_ms;
    bool met;    /* the conversation came further than HELLO */
    bool mute;   /* says nothing more */
    bool half;   /* the next answer stops in its middle */
    bool babble; /* answers are random bytes */
    bool pulled;
    bool passed;
};

static int64_t now_ms(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static uint64_t next_random(struct unit *u)
{
    u->random ^= u->random << 13; /* xorshift64 */
    u->random ^= u->random >> 7;
    u->random ^= u->random << 17;
    return u->random;
}

static void add_noise(struct unit *u, uint8_t *bytes, size_t len)
{
    for (size_t i = 0; u->o->faults.on[FAULT_NOISE] && i < len; i++)
        if (next_random(u) % NOISE_ONE_IN == 0)
            bytes[i] ^= (uint8_t)(1u << next_random(u) % 8);
}

static void send_bytes(void *ctx, const uint8_t *bytes, size_t len)
{
    struct unit *u = ctx;
    uint8_t wire[KL_WIRE_BUFFER(KL_FRAME_MAX)];

    if (u->mute || len > sizeof wire)
        return;
    memcpy(wire, bytes, len);
    if (u->babble)
        for (size_t i = 0; i < len; i++)
            wire[i] = (uint8_t)next_random(u);
    add_noise(u, wire, len);
    if (u->half) {
        len /= 2;
        u->mute = true;
    }
    port_send(&u->port, wire, len);
}

static bool strikes(const struct unit *u, enum fault_id id, enum kl_op op)
{
    const struct fault_plan *f = &u->o->faults;

    return f->on[id] && (f->op[id] == 0 || f->op[id] == op);
}

/* The library asks before each new operation: here the faults with a point strike. */
static enum kl_error permit(void *ctx, enum kl_op op)
{
    struct unit *u = ctx;

    u->met |= op != KL_OP_HELLO;
    u->babble |= strikes(u, FAULT_GARBAGE, op);
    u->mute |= strikes(u, FAULT_SILENT, op);
    u->half |= strikes(u, FAULT_MIDFRAME, op);
    u->pulled |= strikes(u, FAULT_PULL, op);
    if (!u->struck_ms && (u->babble || u->mute || u->half))
        u->struck_ms = now_ms();
    return strikes(u, FAULT_REFUSE, op) ? KL_ERROR_REFUSED : KL_OK;
}

static void verdict(void *ctx, bool pass, const char *text, size_t len)
{
    struct unit *u = ctx;

    (void)text, (void)len;
    u->passed = pass;
    u->verdict_ms = now_ms();
}

static int unit_open(struct unit *u, const struct unit_options *o)
{
    *u = (struct unit){.o = o, .random = o->noise_seed | 1, .flash.dir = -1};
    u->port = (struct port){.master = -1, .slave = -1, .watch = -1};
    if (crypto_open(&u->crypto) < 0 || flash_open(&u->flash, o->flash, o->hwid, o->durable) < 0)
        return -1;
    u->crypto.wrong_challenge = o->faults.on[FAULT_WRONGKEY];
    u->crypto.wrong_csr = o->faults.on[FAULT_WRONGCSR];
    u->flash.forgets = o->faults.on[FAULT_FORGET];
    u->config = (struct kl_device_config){
            .hwid = o->hwid,
            .name = o->name[0] ? o->name : NULL,
            .model = "Keyline simulated device",
            .firmware = KEYLINE_VERSION,
            .object_max = {[KL_OBJECT_CERTIFICATE] = 8192,
                    [KL_OBJECT_CHAIN] = 32768,
                    [KL_OBJECT_CONFIGURATION] = 16384},
            .storage = &u->flash.storage,
            .crypto = &u->crypto.table,
            .ctx = u,
            .send = send_bytes,
            .permit = permit,
            .verdict = verdict,
    };
    if (o->no_keygen)
        crypto_take_keys(&u->crypto);
    if (o->transport) {
        if (transport_load(u->flash.dir, &u->crypto.transport, u->transport_spki,
                    &u->config.transport_key_len) < 0)
            return -1;
        u->config.transport_key = u->transport_spki;
    }
    kl_device_init(&u->device, &u->config);
    return port_plug(&u->port, o->port);
}

static void unit_close(struct unit *u)
{
    int saved = errno;

    port_unplug(&u->port);
    flash_close(&u->flash);
    crypto_close(&u->crypto);
    errno = saved;
}

/* When the person takes the device out, in ms from now; -1: not before something happens. */
static int64_t time_left(const struct unit *u, int64_t now)
{
    if (u->o->stay || !u->heard_ms)
        return -1;
    int64_t end = u->heard_ms + u->o->patience_ms;
    if (u->verdict_ms) {
        unsigned linger = port_unread(&u->port) ? LINGER_MS : LINGER_LEAST_MS;
        end = u->verdict_ms + (linger > u->o->look_ms ? linger : u->o->look_ms);
    } else if (u->struck_ms) {
        int64_t latest = u->struck_ms + (u->met ? GIVE_UP_LATEST_MS : GIVE_UP_HELLO_MS);
        end = u->heard_ms + GIVE_UP_MS < latest ? u->heard_ms + GIVE_UP_MS : latest;
    }
    return end > now ? end - now : 0;
}

static void listen_once(struct unit *u)
{
    uint8_t bytes[4096];
    ssize_t n = read(u->port.master, bytes, sizeof bytes);

    if (n <= 0)
        return;
    u->heard_ms = now_ms();
    add_noise(u, bytes, (size_t)n);
    /* Byte by byte: a pull must strike in the middle of what has arrived. */
    for (ssize_t i = 0; i < n && !u->pulled; i++)
        kl_device_input(&u->device, bytes + i, 1);
}

static enum unit_end unit_loop(struct unit *u)
{
    struct pollfd fds[] = {{.fd = u->port.master, .events = POLLIN},
            {.fd = u->port.watch, .events = POLLIN}, {.fd = u->o->signals, .events = POLLIN}};

    while (!u->pulled) {
        int64_t left = time_left(u, now_ms());
        if (left == 0)
            return !u->verdict_ms ? UNIT_ABANDONED : u->passed ? UNIT_PASSED : UNIT_FAILED;
        if (u->verdict_ms && left > 2)
            left = 2; /* no event tells that the host has read the answer */
        if (poll(fds, sizeof fds / sizeof *fds, (int)(left < 0 ? -1 : left)) < 0 && errno != EINTR)
            return UNIT_BROKEN;
        if (fds[2].revents)
            return UNIT_STOPPED;
        if (fds[1].revents)
            port_released(&u->port);
        if (fds[0].revents)
            listen_once(u);
    }
    return UNIT_PULLED;
}

enum unit_end unit_run(const struct unit_options *o)
{
    static struct unit u; /* 20 KB; a process has one device at a time */

    enum unit_end end = unit_open(&u, o) < 0 ? UNIT_BROKEN : unit_loop(&u);
    unit_close(&u);
    return end;
}
