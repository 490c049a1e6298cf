/* Files of the ceremony. Promises never to overwrite or remove anything a finished ceremony made:
 * what it removes carries the mark of a run that did not come to its end. */
#include "hsm/ceremony/ceremony_files.h"
#include <dirent.h>
#include <errno.h>
#include <ftw.h>
#include <openssl/rand.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include "base/buf.h"
#include "base/config.h"
#include "base/err.h"
#include "base/file.h"
#include "base/text.h"

#define PIN_RANDOM_BYTES    16
#define COMMENT_COLUMNS     100 /* of keyline.conf */
#define APPROVERS_BYTES_MAX (1u << 20)
#define MARK_TEXT           "%s\nA ceremony began here and did not finish. Run it again.\n"
#define MARK_BYTES_MAX      256

/* first word of the mark */
static const char *const scope_names[CEREMONY_SCOPE_COUNT] = {
        [CEREMONY_TOKEN_ONLY] = "token", [CEREMONY_CA] = "ca", [CEREMONY_STATION] = "station"};

/* which ceremony makes each file, and in whose directory */
static const struct {
    const char *name;
    enum { IN_ETC, IN_STATE } where;
    enum ceremony_scope scope;
} files[CEREMONY_FILE_COUNT] = {
        [CEREMONY_SOFTHSM_CONF] = {"softhsm2.conf", IN_ETC, CEREMONY_TOKEN_ONLY},
        [CEREMONY_PIN] = {"token.pin", IN_ETC, CEREMONY_TOKEN_ONLY},
        [CEREMONY_SO_PIN] = {"token.so-pin", IN_ETC, CEREMONY_TOKEN_ONLY},
        [CEREMONY_TOKENS] = {"signer/tokens", IN_STATE, CEREMONY_TOKEN_ONLY},
        [CEREMONY_TOKENS_BACKUP] = {"signer/tokens.backup", IN_STATE, CEREMONY_TOKEN_ONLY},
        [CEREMONY_CHAIN] = {"ca/chain.pem", IN_ETC, CEREMONY_CA},
        [CEREMONY_ROOT] = {"ca/root.pem", IN_ETC, CEREMONY_CA},
        [CEREMONY_APPROVER_KEY] = {"approver.key", IN_ETC, CEREMONY_STATION},
        [CEREMONY_APPROVER_CERT] = {"approver.pem", IN_ETC, CEREMONY_STATION},
};

static int join(char out[PATH_MAX], const char *dir, const char *name, struct err *e)
{
    if (snprintf(out, PATH_MAX, "%s/%s", dir, name) >= PATH_MAX)
        return err_set(e, ERR_LIMIT, "a path below %s is too long", dir);
    return 0;
}

int ceremony_files_init(
        struct ceremony_files *f, const struct paths *p, const struct config *c, struct err *e)
{
    const char *module = config_get(c, "token", "module"), *base = strrchr(module, '/');
    const char *pin_file = config_get(c, "token", "pin_file");
    char dir[PATH_MAX];

    f->paths = *p;
    f->kind = strcmp(base ? base + 1 : module, "libsofthsm2.so") == 0 && !getenv("SOFTHSM2_CONF")
                      ? CEREMONY_EMBEDDED
                      : CEREMONY_EXTERNAL;
    for (int i = 0; i < CEREMONY_FILE_COUNT; i++)
        if (join(f->at[i], files[i].where == IN_ETC ? p->etc : p->state, files[i].name, e) < 0)
            return -1;
    if (*pin_file)
        snprintf(f->at[CEREMONY_PIN], PATH_MAX, "%s", pin_file);
    paths_get(p, PATH_CONFIG, f->config);
    paths_get(p, PATH_APPROVERS, f->approvers);
    if (join(f->mark, p->etc, "ceremony.unfinished", e) < 0 || join(dir, p->etc, "ca", e) < 0 ||
            file_mkdirs(dir, 0755, e) < 0 || file_mkdirs(p->state, 0755, e) < 0 ||
            join(dir, p->state, "signer", e) < 0)
        return -1;
    return file_mkdirs(dir, 0750, e);
}

/* A real HSM's token is not ours to make. */
static bool makes(const struct ceremony_files *f, enum ceremony_scope scope, int i)
{
    return files[i].scope <= scope &&
           (f->kind == CEREMONY_EMBEDDED || files[i].scope != CEREMONY_TOKEN_ONLY);
}

static int remove_one(const char *path, const struct stat *st, int kind, struct FTW *where)
{
    (void)st, (void)kind, (void)where;
    return remove(path);
}

/* The approver is appended last: an unfinished run may have got that far. */
static int take_back_anchor(const struct ceremony_files *f, struct err *e)
{
    struct buf anchors = BUF_INIT, cert = BUF_INIT;
    struct err missing = {0};
    int r = 0;

    if (file_read(f->approvers, APPROVERS_BYTES_MAX, &anchors, &missing) == 0 &&
            file_read(f->at[CEREMONY_APPROVER_CERT], APPROVERS_BYTES_MAX, &cert, &missing) == 0 &&
            cert.len && anchors.len >= cert.len &&
            memcmp(anchors.data + anchors.len - cert.len, cert.data, cert.len) == 0)
        r = file_write(f->approvers, anchors.data, anchors.len - cert.len, 0644, e);
    buf_done(&anchors);
    buf_done(&cert);
    return r;
}

static int read_mark(const struct ceremony_files *f, enum ceremony_scope *ret, struct err *e)
{
    struct buf text = BUF_INIT;
    size_t len;
    int r = -1;

    if (file_read(f->mark, MARK_BYTES_MAX, &text, e) < 0 || !buf_str(&text))
        goto out;
    len = strcspn(buf_str(&text), "\n");
    for (int i = 0; i < CEREMONY_SCOPE_COUNT && r < 0; i++)
        if (strlen(scope_names[i]) == len && memcmp(scope_names[i], text.data, len) == 0) {
            *ret = (enum ceremony_scope)i;
            r = 0;
        }
    if (r < 0)
        err_set(e, ERR_CONFIG, "%s does not say which ceremony began", f->mark);
out:
    buf_done(&text);
    return r;
}

/* What was there before that run, an approver above all, is not its own. */
static int clear_unfinished(const struct ceremony_files *f, struct err *e)
{
    enum ceremony_scope scope;

    if (read_mark(f, &scope, e) < 0 || (scope == CEREMONY_STATION && take_back_anchor(f, e) < 0))
        return -1;
    for (int i = 0; i < CEREMONY_FILE_COUNT; i++)
        if (makes(f, scope, i) && nftw(f->at[i], remove_one, 8, FTW_DEPTH | FTW_PHYS) < 0 &&
                errno != ENOENT)
            return err_set_errno(e, errno, "remove %s", f->at[i]);
    return 0;
}

static int write_mark(const struct ceremony_files *f, enum ceremony_scope scope, struct err *e)
{
    char mark[MARK_BYTES_MAX];

    snprintf(mark, sizeof mark, MARK_TEXT, scope_names[scope]);
    return file_write(f->mark, mark, strlen(mark), 0640, e);
}

static int refuse_existing(const struct ceremony_files *f, const char *path, struct err *e)
{
    struct stat st;

    err_set(e, ERR_EXISTS, "%s is there already: a ceremony is held once, and nothing was changed",
            path);
    return err_advise(e,
            lstat(f->at[CEREMONY_CHAIN], &st) == 0
                    ? "'keyline ca show' shows the CA that is there; 'keyline ca rollover' or 'ca "
                      "request' renews it."
                    : "There is no CA beside it: restore the station's backup, or move away what "
                      "another CA has left.");
}

int ceremony_files_begin(struct ceremony_files *f, enum ceremony_scope scope, struct err *e)
{
    struct stat st;

    f->scope = scope;
    if (lstat(f->mark, &st) == 0) {
        if (clear_unfinished(f, e) < 0)
            return -1;
        fprintf(stderr, "An earlier ceremony did not finish; what it left is removed and "
                        "everything is made anew.\n");
    }
    for (int i = 0; i < CEREMONY_FILE_COUNT; i++)
        if (makes(f, scope, i) && lstat(f->at[i], &st) == 0)
            return refuse_existing(f, f->at[i], e);
    return write_mark(f, scope, e);
}

/* Whether the directory holds one token, and not another that somebody made beside it. */
static bool holds_one(const char *tokens)
{
    DIR *dir = opendir(tokens);
    int count = 0;

    for (struct dirent *d; dir && (d = readdir(dir));)
        count += d->d_name[0] != '.';
    if (dir)
        closedir(dir);
    return count == 1;
}

int ceremony_files_unmake_token(const struct ceremony_files *f, bool *ret_gone, struct err *e)
{
    *ret_gone = !ceremony_files_token_missing(f) && f->kind == CEREMONY_EMBEDDED &&
                holds_one(f->at[CEREMONY_TOKENS]);
    /* cut off from here on it is what a ceremony that did not finish has left */
    return *ret_gone && (write_mark(f, CEREMONY_TOKEN_ONLY, e) < 0 || clear_unfinished(f, e) < 0 ||
                                file_remove(f->mark, e) < 0)
                   ? -1
                   : 0;
}

bool ceremony_files_token_missing(const struct ceremony_files *f)
{
    struct stat st;

    return f->kind == CEREMONY_EMBEDDED &&
           (lstat(f->at[CEREMONY_SOFTHSM_CONF], &st) < 0 || lstat(f->mark, &st) == 0);
}

/* Folded at spaces: longer lines the parser of keyline.conf refuses. */
static int append_comment(struct buf *out, const char *text, struct err *e)
{
    size_t len = strlen(text);

    while (len > COMMENT_COLUMNS) {
        size_t cut = COMMENT_COLUMNS;

        while (cut && text[cut] != ' ')
            cut--;
        if (!cut)
            break;
        if (buf_printf(out, e, "; %.*s\n", (int)cut, text) < 0)
            return -1;
        text += cut + 1;
        len -= cut + 1;
    }
    return buf_printf(out, e, "; %s\n", text);
}

static int append_key(struct buf *out, const char *section, const char **last, const char *key,
        const char *value, const char *meaning, struct err *e)
{
    if (strcmp(*last, section) != 0 && buf_printf(out, e, "\n[%s]\n", section) < 0)
        return -1;
    *last = section;
    if (append_comment(out, meaning, e) < 0)
        return -1;
    return buf_printf(out, e, ";%s = %s\n", key, value);
}

int ceremony_files_config(const struct ceremony_files *f, struct err *e)
{
    struct buf text = BUF_INIT;
    const char *last = "";
    struct stat st;
    int r = -1;

    if (stat(f->config, &st) == 0)
        return 0;
    if (buf_printf(&text, e,
                "; Keyline's settings; keyline.conf(5) explains them. A line that begins with ';' "
                "shows the default.\n") < 0)
        goto out;
#define KEY(section, key, kind, default_value, min, max, meaning)                                  \
    if (append_key(&text, section, &last, key, default_value, meaning, e) < 0)                     \
        goto out;
#include "base/config_list.h"
    if (buf_printf(&text, e,
                "\n; One section for each port, as in\n;[slot 01]\n;port = "
                "/dev/serial/by-path/...\n") == 0)
        r = file_write(f->config, text.data, text.len, 0644, e);
out:
    buf_done(&text);
    return r;
}

static int write_random_pin(const char *path, struct err *e)
{
    uint8_t bytes[PIN_RANDOM_BYTES];
    char digits[2 * PIN_RANDOM_BYTES + 2];
    int r;

    if (RAND_priv_bytes(bytes, sizeof bytes) != 1)
        return err_set(e, ERR_IO, "the system gives no random bytes");
    hex_format(bytes, sizeof bytes, digits);
    memcpy(digits + 2 * PIN_RANDOM_BYTES, "\n", 2);
    r = file_write(path, digits, strlen(digits), 0600, e);
    explicit_bzero(bytes, sizeof bytes);
    explicit_bzero(digits, sizeof digits);
    return r;
}

int ceremony_files_embedded(const struct ceremony_files *f, struct err *e)
{
    struct buf text = BUF_INIT;
    int r = -1;

    if (file_mkdirs(f->at[CEREMONY_TOKENS], 0700, e) < 0 ||
            write_random_pin(f->at[CEREMONY_PIN], e) < 0 ||
            write_random_pin(f->at[CEREMONY_SO_PIN], e) < 0)
        return -1;
    if (buf_printf(&text, e,
                "# The embedded token. Made by keyline init.\ndirectories.tokendir = "
                "%s\nobjectstore.backend = file\n"
                "log.level = ERROR\nslots.removable = false\n",
                f->at[CEREMONY_TOKENS]) == 0)
        r = file_write(f->at[CEREMONY_SOFTHSM_CONF], text.data, text.len, 0644, e);
    if (r == 0)
        setenv("SOFTHSM2_CONF", f->at[CEREMONY_SOFTHSM_CONF], 1);
    buf_done(&text);
    return r;
}

static int add_anchor(const struct ceremony_files *f, const struct buf *pem, struct err *e)
{
    struct buf anchors = BUF_INIT;
    struct err missing = {0};
    int r = -1;

    if (file_read(f->approvers, APPROVERS_BYTES_MAX, &anchors, &missing) < 0 &&
            missing.id != ERR_NOT_FOUND)
        err_set(e, missing.id, "%.400s", missing.msg);
    else if (buf_append(&anchors, pem->data, pem->len, e) == 0)
        r = file_write(f->approvers, anchors.data, anchors.len, 0644, e);
    buf_done(&anchors);
    return r;
}

int ceremony_files_finish(
        const struct ceremony_files *f, const struct buf *approver_pem, struct err *e)
{
    if (approver_pem && add_anchor(f, approver_pem, e) < 0)
        return -1;
    return file_remove(f->mark, e);
}
