/* bench-http PORT CLIENTS COUNT BODY-FILE PID: POSTs the same JSON to /api/v1/cfssl/sign on loopback
 * over CLIENTS kept connections, one request after the other on each. As cheap as a client can be,
 * so that the server is what is measured. Every answer must hold a certificate. */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>
#include "tests/bench/load.h"

#define CLIENTS_MAX 64
#define BYTES_MAX   32768

struct client {
    int fd;
    int64_t begun_us;
    size_t len;
    char answer[BYTES_MAX];
};

static char request[BYTES_MAX];
static size_t request_len;

static void make_request(const char *body_file)
{
    char body[BYTES_MAX / 2];
    FILE *f = fopen(body_file, "re");
    size_t n = f ? fread(body, 1, sizeof body, f) : 0;
    int len = snprintf(request, sizeof request,
            "POST /api/v1/cfssl/sign HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: "
            "application/json\r\nContent-Length: %zu\r\n\r\n%.*s",
            n, (int)n, body);

    if (!n || len >= (int)sizeof request)
        load_fail("%s: not a body", body_file);
    request_len = (size_t)len;
    fclose(f);
}

static int dial(uint16_t port)
{
    struct sockaddr_in a = {.sin_family = AF_INET,
            .sin_port = htons(port),
            .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int one = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (fd < 0 || connect(fd, (struct sockaddr *)&a, sizeof a) < 0)
        load_fail("nobody listens on port %u", port);
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    return fd;
}

static void ask(struct client *c)
{
    c->len = 0;
    c->begun_us = load_now_us();
    if (send(c->fd, request, request_len, MSG_NOSIGNAL) != (ssize_t)request_len)
        load_fail("a request could not be sent");
}

static int is_whole(const char *answer, size_t len)
{
    const char *body = strstr(answer, "\r\n\r\n"), *length = strcasestr(answer, "content-length:");

    if (!body)
        return 0;
    body += 4;
    if (length && length < body)
        return len - (size_t)(body - answer) >= strtoul(length + 15, NULL, 10);
    return len >= 5 && strcmp(answer + len - 5, "0\r\n\r\n") == 0;
}

static void listen_to(struct client *c, struct load *l, size_t *asked)
{
    ssize_t n = recv(c->fd, c->answer + c->len, sizeof c->answer - 1 - c->len, 0);

    if (n <= 0)
        load_fail("the server hung up");
    c->len += (size_t)n;
    c->answer[c->len] = '\0';
    if (!is_whole(c->answer, c->len))
        return;
    if (!strstr(c->answer, "BEGIN CERTIFICATE"))
        load_fail("no certificate: %.300s", c->answer);
    load_done(l, c->begun_us);
    if (*asked < l->count) {
        ++*asked;
        ask(c);
    }
}

int main(int argc, char **argv)
{
    static struct client clients[CLIENTS_MAX];
    struct pollfd polls[CLIENTS_MAX];
    struct load l = {0};
    int n = argc == 6 ? atoi(argv[2]) : 0, count = argc == 6 ? atoi(argv[3]) : 0;
    size_t asked;

    if (n < 1 || n > CLIENTS_MAX || count < n)
        load_fail("usage: bench-http PORT CLIENTS(1-%d) COUNT BODY-FILE PID", CLIENTS_MAX);
    make_request(argv[4]);
    load_add_pid(&l, (pid_t)atoi(argv[5]));
    for (int i = 0; i < n; i++) {
        clients[i].fd = dial((uint16_t)atoi(argv[1]));
        polls[i] = (struct pollfd){clients[i].fd, POLLIN, 0};
    }
    load_start(&l, (size_t)count);
    for (asked = 0; asked < (size_t)n; asked++)
        ask(&clients[asked]);
    while (l.done < l.count) {
        if (poll(polls, (nfds_t)n, 10000) <= 0)
            load_fail("the server does not answer");
        for (int i = 0; i < n; i++)
            if (polls[i].revents)
                listen_to(&clients[i], &l, &asked);
    }
    load_print(&l);
    return 0;
}
