/* Secrets typed at the terminal. Promises that they pass through wiped memory only. */
#include "base/prompt.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/err.h"

#define SECRET_MAX 1024

int prompt_secret(const char *question, struct buf *ret_secret, struct err *e)
{
    char line[SECRET_MAX];
    /* without a terminal OpenSSL would read standard input, which holds something else */
    int tty = open("/dev/tty", O_RDWR | O_CLOEXEC | O_NOCTTY);
    if (tty < 0)
        return err_set(e, ERR_ARGUMENT, "there is no terminal to ask");
    close(tty);
    int r = EVP_read_pw_string_min(line, 1, sizeof line - 1, question, 0) == 0
                    ? buf_append(ret_secret, line, strlen(line), e)
                    : err_set(e, ERR_ARGUMENT, "nothing was typed");
    explicit_bzero(line, sizeof line);
    ERR_clear_error();
    return r;
}

void prompt_tell(const char *line)
{
    int tty = open("/dev/tty", O_WRONLY | O_CLOEXEC | O_NOCTTY);
    if (tty < 0)
        return;
    if (write(tty, line, strlen(line)) < 0)
        errno = 0; /* there is nobody else to tell */
    close(tty);
}
