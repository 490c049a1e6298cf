/* A station that has begun, opened for a ceremony: its files under a lock of their own, its CAs, and its token, whose PIN is
 * used once. */
#pragma once
#include "base/paths.h"
#include "hsm/ca.h"
#include "hsm/ceremony/ceremony_files.h"
#include "hsm/ceremony/ceremony_token.h"

struct config;
struct err;

struct ceremony_station {
    struct paths paths;
    struct config *config;
    struct ceremony_files files;
    struct ca_set cas; /* active NULL: there is no CA yet */
    struct ceremony_token token;
    struct module_key_name configured; /* key_label and key_id of the token that is open */
    const char *const *sections; /* of the configuration: the tokens; keys are made in the first */
    size_t section_count;
    int lock, token_lock;
    bool destroyed; /* a key, on purpose: its copy goes at logout */
};

/* ERR_BAD_STATE while another ceremony is held. Close it in any case. */
int ceremony_station_open(struct ceremony_station *s, struct err *e);
void ceremony_station_close(struct ceremony_station *s);
/* The token of this section, logged in; one at a time. With the embedded one no worker can log in until logout, and its files get the owner they had. */
int ceremony_station_login(struct ceremony_station *s, const char *section, struct err *e);
/* Ends the session; what the embedded token got is in its copy, too, before this returns. */
int ceremony_station_logout(struct ceremony_station *s, struct err *e);
