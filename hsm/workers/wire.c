/* The packets between signerd and its workers. Promises that a packet is read whole or not at all;
 * knows nothing of keys. */
#include "hsm/workers/wire.h"
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/err.h"

/* A mapped file that shrinks would kill the worker; one that changes would be signed as something else. */
#define SEALS (F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE)

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

enum { FDS = CMSG_SPACE(sizeof(int)) };

static int send_packet(int fd, const struct wire_packet *p, int file, struct err *e)
{
    uint8_t header[WIRE_HEADER];
    union {
        struct cmsghdr align;
        uint8_t bytes[FDS];
    } control = {0};
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
    if (file >= 0) {
        struct cmsghdr *c;

        m.msg_control = control.bytes;
        m.msg_controllen = sizeof control.bytes;
        c = CMSG_FIRSTHDR(&m);
        c->cmsg_level = SOL_SOCKET;
        c->cmsg_type = SCM_RIGHTS;
        c->cmsg_len = CMSG_LEN(sizeof file);
        memcpy(CMSG_DATA(c), &file, sizeof file);
    }
    do
        n = sendmsg(fd, &m, MSG_NOSIGNAL);
    while (n < 0 && errno == EINTR);
    return n < 0 ? gone(errno, e) : 0;
}

/* The descriptor that came with a message, or -1. */
static int passed_file(struct msghdr *m)
{
    struct cmsghdr *c = CMSG_FIRSTHDR(m);
    int file = -1;

    if (c && c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS &&
            c->cmsg_len == CMSG_LEN(sizeof file))
        memcpy(&file, CMSG_DATA(c), sizeof file);
    return file;
}

int wire_send(int fd, const struct wire_packet *p, struct err *e)
{
    return send_packet(fd, p, -1, e);
}

int wire_send_file(
        int fd, const struct wire_packet *p, const void *bytes, size_t len, struct err *e)
{
    const uint8_t *at = bytes;
    int file = memfd_create("to be signed", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    int r = -1;

    while (file >= 0 && len) {
        ssize_t n = write(file, at, len);

        if (n < 0 && errno != EINTR)
            break;
        if (n > 0)
            at += n, len -= (size_t)n;
    }
    if (file < 0 || len || fcntl(file, F_ADD_SEALS, SEALS) < 0)
        err_set_errno(e, errno, "copy what is to be signed");
    else
        r = send_packet(fd, p, file, e);
    if (file >= 0)
        close(file);
    return r;
}

int wire_map_file(int file, const uint8_t **ret, size_t *ret_len, struct err *e)
{
    struct stat st;
    void *at;

    if (file < 0 || (fcntl(file, F_GET_SEALS) & SEALS) != SEALS || fstat(file, &st) < 0 ||
            st.st_size <= 0 || st.st_size > CRL_BYTES_MAX)
        return err_set(e, ERR_PROTOCOL, "the bytes to be signed do not come in a sealed file");
    at = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, file, 0);
    if (at == MAP_FAILED)
        return err_set_errno(e, errno, "map what is to be signed");
    *ret = at;
    *ret_len = (size_t)st.st_size;
    return 0;
}

int wire_receive(int fd, struct wire_packet *ret, struct err *e)
{
    int file, r = wire_receive_file(fd, ret, &file, e);

    if (file >= 0)
        close(file);
    return r;
}

int wire_receive_file(int fd, struct wire_packet *ret, int *ret_file, struct err *e)
{
    uint8_t header[WIRE_HEADER];
    union {
        struct cmsghdr align;
        uint8_t bytes[FDS];
    } control;
    struct iovec parts[2] = {{header, sizeof header}, {ret->body, sizeof ret->body}};
    struct msghdr m = {.msg_iov = parts,
            .msg_iovlen = 2,
            .msg_control = control.bytes,
            .msg_controllen = sizeof control.bytes};
    ssize_t n;

    *ret_file = -1;
    do
        n = recvmsg(fd, &m, MSG_CMSG_CLOEXEC);
    while (n < 0 && errno == EINTR);
    if (n <= 0)
        return gone(n < 0 ? errno : ECONNRESET, e);
    *ret_file = passed_file(&m);
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
