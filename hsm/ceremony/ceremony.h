/* The ceremonies that keyline-ceremony holds, by verb: the CA's beginning, and its later life. */
#pragma once
#include <stdbool.h>
#include "hsm/ceremony/ceremony_token.h"

struct buf;
struct ceremony_files;
struct config;
struct err;

/* NULL and false: not given. Each verb takes some of them (ceremony_main.c). */
struct ceremony_options {
    const char *key_type; /* a name of ceremony_key_type_parse() */
    const char *organization;
    const char *passphrase_file;
    const char *out;
    const char *fingerprint;
    const char *argument;
    bool yes, give_up, reinstate;
};

/* init: configuration, token, CA, approver. ca init: the same without an approver. */
int ceremony_init(const struct ceremony_options *o, struct err *e);
int ceremony_ca_init(const struct ceremony_options *o, struct err *e);
/* ca request: a new key in the token and the request for its certificate; ca import: what the root answered;
 * ca rollover: both at once, where the root's key is in the token. All refuse with ERR_BAD_STATE while another runs. */
int ceremony_request(const struct ceremony_options *o, struct err *e);
int ceremony_import(const struct ceremony_options *o, struct err *e);
int ceremony_rollover(const struct ceremony_options *o, struct err *e);

/* For a station that is to get its CA from elsewhere: the embedded token and the configuration, where they are missing. */
int ceremony_make_token(struct ceremony_files *f, const struct config *c, struct err *e);
/* What the options say, else p256. */
int ceremony_key_type(const struct ceremony_options *o, enum ceremony_key_type *ret, struct err *e);
/* One line from the terminal, appended; hidden ones are not shown. ERR_ARGUMENT (instead) where there is no terminal. */
enum ceremony_echo { CEREMONY_SHOWN, CEREMONY_HIDDEN };
int ceremony_ask(const char *prompt, enum ceremony_echo echo, const char *instead, struct buf *ret,
        struct err *e);
