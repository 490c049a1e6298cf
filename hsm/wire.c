/* The packets between signerd and its workers. Promises that a packet is read whole or not at all;
 * knows nothing of keys. */
#include "hsm/wire.h"
#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include "base/err.h"

static void put_be(uint8_t *at, int bytes, uint64_t n)
{
    while (bytes--) {
        at[bytes] = (uint8_t)n;
        n >>= 8;
    }
}

static uint64_t get_be(const uint8_t *at, int bytes)
{
    uint64_t n = 0;

    while (bytes--)
        n = n << 8 | *at++;
    return n;
}

static int gone(int errnum, struct err *e)
{
    if (errnum == EAGAIN)
        return err_set(e, ERR_TIMEOUT, "the token worker is not ready");
    return err_set_code(e, ERR_UNAVAILABLE, errnum, "the token worker has gone");
}

int wire_send(int fd, const struct wire_packet *p, struct err *e)
{
    uint8_t header[WIRE_HEADER];
    struct iovec parts[2] = {{header, sizeof header}, {(void *)(uintptr_t)p->body, p->len}};
    struct msghdr m = {.msg_iov = parts, .msg_iovlen = 2};
    ssize_t n;

    if (p->len > WIRE_BODY_MAX)
        return err_set(e, ERR_LIMIT, "%zu bytes are too many for the token worker", p->len);
    header[0] = p->op;
    header[1] = p->alg;
    put_be(header + 2, 2, p->error);
    put_be(header + 4, 4, p->sequence);
    put_be(header + 8, 8, p->code);
    do
        n = sendmsg(fd, &m, MSG_NOSIGNAL);
    while (n < 0 && errno == EINTR);
    return n < 0 ? gone(errno, e) : 0;
}

int wire_receive(int fd, struct wire_packet *ret, struct err *e)
{
    uint8_t header[WIRE_HEADER];
    struct iovec parts[2] = {{header, sizeof header}, {ret->body, sizeof ret->body}};
    struct msghdr m = {.msg_iov = parts, .msg_iovlen = 2};
    ssize_t n;

    do
        n = recvmsg(fd, &m, 0);
    while (n < 0 && errno == EINTR);
    if (n <= 0)
        return gone(n < 0 ? errno : ECONNRESET, e);
    if (n < WIRE_HEADER || m.msg_flags & MSG_TRUNC)
        return err_set(e, ERR_PROTOCOL, "the token worker's packet has a wrong size");
    ret->op = header[0];
    ret->alg = header[1];
    ret->error = (uint16_t)get_be(header + 2, 2);
    ret->sequence = (uint32_t)get_be(header + 4, 4);
    ret->code = get_be(header + 8, 8);
    ret->len = (size_t)n - WIRE_HEADER;
    return 0;
}
