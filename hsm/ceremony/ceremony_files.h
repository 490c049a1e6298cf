/* The files of the ceremony: where they are, that none is overwritten, and that an interrupted run leaves nothing in doubt. */
#pragma once
#include <limits.h>
#include <stdbool.h>
#include "base/paths.h"

struct buf;
struct config;
struct err;

enum ceremony_file {
    CEREMONY_SOFTHSM_CONF,
    CEREMONY_PIN,
    CEREMONY_SO_PIN,
    CEREMONY_TOKENS,        /* directory */
    CEREMONY_TOKENS_BACKUP, /* directory */
    CEREMONY_CHAIN,
    CEREMONY_ROOT,
    CEREMONY_APPROVER_KEY,
    CEREMONY_APPROVER_CERT,
    CEREMONY_FILE_COUNT
};
enum ceremony_token_kind { CEREMONY_EMBEDDED, CEREMONY_EXTERNAL };
/* How much a ceremony makes; each with all before it. */
enum ceremony_scope { CEREMONY_TOKEN_ONLY, CEREMONY_CA, CEREMONY_STATION, CEREMONY_SCOPE_COUNT };

struct ceremony_files {
    struct paths paths;
    enum ceremony_token_kind kind;
    enum ceremony_scope scope; /* of the ceremony that began */
    char at[CEREMONY_FILE_COUNT][PATH_MAX];
    char config[PATH_MAX], approvers[PATH_MAX], mark[PATH_MAX];
};

/* Makes the directories; embedded when [token] module is SoftHSM and the environment names no configuration of its own. */
int ceremony_files_init(
        struct ceremony_files *f, const struct paths *p, const struct config *c, struct err *e);
/* Takes away what an unfinished run left (its mark says how much it made, and that nothing was issued with it), refuses
 * when anything that this one makes is there (ERR_EXISTS names it), and marks this run as unfinished. */
int ceremony_files_begin(struct ceremony_files *f, enum ceremony_scope scope, struct err *e);
/* The embedded token is to be used, and is not there whole. */
bool ceremony_files_token_missing(const struct ceremony_files *f);
/* Takes away the embedded token that was made for a request: only where nothing was ever kept in it, which the caller has
 * seen, and no CA is. *ret_gone is false where the token is not ours alone to remove. */
int ceremony_files_unmake_token(const struct ceremony_files *f, bool *ret_gone, struct err *e);
/* keyline.conf with every key and its meaning, commented out; left alone when there is one. */
int ceremony_files_config(const struct ceremony_files *f, struct err *e);
/* Random PINs and softhsm2.conf of the embedded token; sets $SOFTHSM2_CONF. */
int ceremony_files_embedded(const struct ceremony_files *f, struct err *e);
/* Adds the approver (NULL: none was made) to the trust anchors, then takes the mark away: the ceremony is done. */
int ceremony_files_finish(
        const struct ceremony_files *f, const struct buf *approver_pem, struct err *e);
