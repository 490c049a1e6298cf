/* signerd-key: makes one key, wraps it, answers, ends. Its memory is locked and in no core file, and
 * the key is gone with the process: nothing signerd does or suffers later can give it away. It opens
 * no file and knows no ticket; signerd has decided before it starts this. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <signal.h>
#include "base/buf.h"
#include "base/daemon.h"
#include "base/err.h"
#include "base/secret.h"
#include "hsm/born/born_key.h"
#include "hsm/born/key_maker.h"
#include "hsm/workers/wire.h"

static int answer(struct wire_packet *p, struct err *e)
{
    struct buf spki = BUF_INIT, jwe = BUF_INIT;
    int r = -1;

    if (p->op != KEY_MAKER_OP || p->alg >= BORN_KEY_COUNT)
        err_set(e, ERR_PROTOCOL, "signerd asks for what signerd-key does not know");
    else if (born_key_make((enum born_key_type)p->alg, p->body, p->len, &spki, &jwe, e) == 0) {
        if (KEY_MAKER_HEAD + spki.len + jwe.len > sizeof p->body) {
            err_set(e, ERR_BUG, "a key of %zu bytes does not fit into an answer", jwe.len);
        } else {
            p->body[0] = (uint8_t)(spki.len >> 8);
            p->body[1] = (uint8_t)spki.len;
            memcpy(p->body + KEY_MAKER_HEAD, spki.data, spki.len);
            memcpy(p->body + KEY_MAKER_HEAD + spki.len, jwe.data, jwe.len);
            p->len = KEY_MAKER_HEAD + spki.len + jwe.len;
            r = 0;
        }
    }
    buf_done(&spki);
    buf_done(&jwe);
    return r;
}

int main(void)
{
    static struct wire_packet p;
    struct err e = {0};
    struct stat st;

    if (fstat(WIRE_FD, &st) < 0 || !S_ISSOCK(st.st_mode)) {
        fprintf(stderr, "signerd-key is started by signerd, not by hand.\n");
        return 2;
    }
    prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
    /* Best effort for what OpenSSL puts on the stack and the plain heap, and for milliseconds only; the
     * secure heap is not: secret_open() fails when that cannot be locked. */
    mlockall(MCL_CURRENT | MCL_FUTURE | MCL_ONFAULT);
    if (wire_receive(WIRE_FD, &p, &e) < 0)
        return EXIT_FAILURE;
    p.error = 0;
    if (daemon_init("signerd-key", NULL, &e) < 0 || secret_open(&e) < 0 || answer(&p, &e) < 0) {
        p.error = (uint16_t)e.id;
        p.len = strlen(e.msg);
        memcpy(p.body, e.msg, p.len);
    }
    return wire_send(WIRE_FD, &p, NULL) < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}
