/* D-Bus on the wire (specification 0.41), little-endian, one call at a time. Whatever is unexpected
 * ends the program: a rate of anything else would say nothing. */
#include "tests/bench/raw_bus.h"
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
#include "base/limits.h"
#include "hsm/signer_client.h"
#include "tests/bench/load.h"

enum { METHOD_CALL = 1, METHOD_RETURN = 2 };
enum { FIELD_PATH = 1, FIELD_INTERFACE = 2, FIELD_MEMBER = 3, FIELD_SIGNATURE = 8 };

/* ---- the connection */

static void say(int fd, const char *text, size_t len)
{
    if (send(fd, text, len, MSG_NOSIGNAL) != (ssize_t)len)
        load_fail("the signer hung up");
}

void raw_connect(struct raw_peer *p, const char *path)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    char uid[16], line[128] = "", answer[256];
    size_t n = 0;

    snprintf(a.sun_path, sizeof a.sun_path, "%s", path);
    p->len = 0;
    p->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (p->fd < 0 || connect(p->fd, (struct sockaddr *)&a, sizeof a) < 0)
        load_fail("nobody listens at %s", path);
    snprintf(uid, sizeof uid, "%u", (unsigned)getuid());
    n = (size_t)sprintf(line + 1, "AUTH EXTERNAL ") + 1;
    for (const char *c = uid; *c; c++)
        n += (size_t)sprintf(line + n, "%02x", *c);
    n += (size_t)sprintf(line + n, "\r\n");
    say(p->fd, line, n); /* with the NUL that it begins with */
    for (n = 0; n < sizeof answer - 1; n++)
        if (recv(p->fd, answer + n, 1, 0) != 1 || answer[n] == '\n')
            break;
    if (strncmp(answer, "OK ", 3) != 0)
        load_fail("the signer does not let us in");
    say(p->fd, "BEGIN\r\n", 7);
}

/* ---- the call */

static void put(struct buf *b, const void *bytes, size_t len)
{
    if (buf_append(b, bytes, len, NULL) < 0)
        load_fail("no memory");
}

static void align(struct buf *b, size_t to)
{
    static const uint8_t zeros[8];

    put(b, zeros, (to - b->len % to) % to);
}

static void put_u32(struct buf *b, uint32_t n)
{
    align(b, 4);
    put(b, &n, sizeof n);
}

static void put_bytes(struct buf *b, const void *bytes, size_t len)
{
    put_u32(b, (uint32_t)len);
    put(b, bytes, len);
}

static void put_field(struct buf *b, uint8_t code, char type, const char *text)
{
    const uint8_t head[] = {code, 1, (uint8_t)type, 0};
    size_t len = strlen(text);

    align(b, 8);
    put(b, head, sizeof head);
    if (type == 'g') {
        put(b, &(uint8_t){(uint8_t)len}, 1);
        put(b, text, len + 1);
    } else {
        put_u32(b, (uint32_t)len);
        put(b, text, len + 1);
    }
}

static void make_body(const struct signer_issue *q, struct buf *b)
{
    put_bytes(b, q->ticket, strlen(q->ticket));
    put(b, "", 1);
    align(b, 8);
    put(b, &q->row_index, sizeof q->row_index);
    put_bytes(b, q->row, q->row_len);
    put_bytes(b, q->proof, q->proof_len);
    put_bytes(b, q->csr, q->csr_len);
    put_bytes(b, q->nonce, NONCE_BYTES);
}

void raw_issue_call(const struct signer_issue *q, struct buf *out)
{
    const uint8_t begin[] = {'l', METHOD_CALL, 0, 1};
    struct buf body = BUF_INIT, fields = BUF_INIT;

    make_body(q, &body);
    put_field(&fields, FIELD_PATH, 'o', "/org/keyline/Signer1");
    put_field(&fields, FIELD_INTERFACE, 's', "org.keyline.Signer1");
    put_field(&fields, FIELD_MEMBER, 's', "Issue");
    put_field(&fields, FIELD_SIGNATURE, 'g', "stayayayay");
    put(out, begin, sizeof begin);
    put_u32(out, (uint32_t)body.len);
    put_u32(out, 1); /* one call at a time: all may have the same serial number */
    put_bytes(out, fields.data, fields.len);
    align(out, 8);
    put(out, body.data, body.len);
    buf_done(&body);
    buf_done(&fields);
}

void raw_send(struct raw_peer *p, const struct buf *call)
{
    say(p->fd, (const char *)call->data, call->len);
}

/* ---- the answer */

static uint32_t get_u32(const uint8_t *at)
{
    uint32_t n;

    memcpy(&n, at, sizeof n);
    return n;
}

bool raw_receive(struct raw_peer *p)
{
    ssize_t n = recv(p->fd, p->answer + p->len, sizeof p->answer - p->len, 0);
    size_t body, head;

    if (n <= 0)
        load_fail("the signer hung up");
    p->len += (size_t)n;
    if (p->len < 16)
        return false;
    body = get_u32(p->answer + 4);
    head = (16 + get_u32(p->answer + 12) + 7) / 8 * 8;
    if (head + body > sizeof p->answer)
        load_fail("an answer of %zu bytes", head + body);
    if (p->len < head + body)
        return false;
    if (p->answer[1] != METHOD_RETURN)
        load_fail("no certificate: %.200s", (const char *)p->answer + head + 4);
    /* ay, then b b, which end the body: fresh, and whether the signer made the key */
    if (get_u32(p->answer + head) < 100 || get_u32(p->answer + head + body - 8) != 1)
        load_fail("no fresh certificate");
    p->len = 0;
    return true;
}
