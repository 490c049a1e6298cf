/* A signer of one's own for a flow test: a root directory with a ceremony in it, an approver, a manifest, a running signerd. */
#pragma once
#include <jansson.h>
#include <systemd/sd-bus.h>
#include "base/paths.h"
#include "hsm/signer_client.h"
#include "hsm/approval/ticket.h"
#include "tests/hsm/help.h"

struct order;

struct station {
    char root[64];
    struct paths paths;
    pid_t signerd;
    sd_bus *bus;
    struct help_rows rows;
    EVP_PKEY *approver;
    STACK_OF(X509) * approver_chain;
    struct ticket ticket;
    char *jws;
};
#define STATION_ROWS  64
#define STATION_QUOTA 48

/* ceremony_options: further arguments of keyline-ceremony init, or NULL. The token is an embedded SoftHSM, or the one that
 * $KEYLINE_TEST_TOKEN describes in lines of the section [token], its module being $KEYLINE_FAULT_MODULE. */
void station_open(struct station *s, const char *const *ceremony_options);
void station_close(struct station *s);
void station_start(struct station *s);
void station_stop(struct station *s, int signal); /* waits */

/* The station of the test that runs, for cmocka: opened without options and not started, closed. */
extern struct station st;
int station_setup(void **state);
int station_teardown(void **state);
#define FLOW_TEST(f) cmocka_unit_test_setup_teardown(f, station_setup, station_teardown)
/* The exit status of a program that runs these tests, or those whose names fit its first argument. */
#define FLOW_RUN(argc, argv, tests)                                                                \
    (flow_choose(argc, argv), cmocka_run_group_tests(tests, NULL, NULL))
void flow_choose(int argc, char **argv);

/* More lines for keyline.conf, which names the faulty module after this. */
void station_config(struct station *s, const char *more);
/* A rule of faulty_module.c, or its action alone, which is then C_Sign's at every call; "" = none. */
void station_fault(const struct station *s, const char *rule);
size_t station_logins(const struct station *s);
/* A file below the station's root, and one with this text, for its owner alone. */
void station_path(const struct station *s, const char *name, char ret[PATH_MAX]);
void station_write(const struct station *s, const char *name, const char *text);
/* Runs a program and gives its exit status. */
int station_run(const char *const *argv);

/* By two verifiers that we did not write: openssl and GnuTLS, from the certificate up to the root that ends this chain; NULL:
 * the station's own. */
void station_verify(const struct station *s, const struct buf *cert, const char *chain);
/* The ticket is for this profile file as it is now; NULL: the built-in one. */
void station_profile(struct ticket *t, const char *path);
/* An honest request for row i and this key, with a nonce of the signer's. q borrows from the rest, which may be changed. */
struct station_request {
    uint8_t nonce[NONCE_BYTES];
    struct buf csr, proof, row;
    struct signer_issue q;
};
/* To be given back also when it failed. */
int station_request_make(
        struct station *s, struct station_request *r, EVP_PKEY *key, size_t i, struct err *e);
void station_request_done(struct station_request *r);
/* It is made and sent; once: when only the outcome counts. */
int station_issue(struct station *s, size_t i, EVP_PKEY *key, struct buf *ret_cert, bool *ret_fresh,
        struct err *e);
int station_issue_once(struct station *s, size_t i, EVP_PKEY *key, struct err *e);
/* The same with a key that nobody had before. */
int station_issue_new(struct station *s, size_t i, struct err *e);
/* An order of the station's approver, carried out. ret (may be NULL): the signer's answer. */
int station_order(const struct station *s, const struct order *o, json_t **ret, struct err *e);
/* The order that would revoke row i's certificate. */
void station_revocation(
        const struct station *s, size_t i, const struct buf *cert, struct order *ret);
/* Where the list of this certificate's CA is; ext: "" for DER, ".pem". */
void station_crl_path(
        const struct station *s, const struct buf *cert, const char *ext, char ret[PATH_MAX]);
json_t *station_status(struct station *s);
/* The process of worker i, which must be there. */
pid_t station_worker(struct station *s, size_t i);
/* Until ledger and token agree: before, nothing new is certified and no key is made. */
void station_wait_vouched(struct station *s);
/* Until the tokens that are up have the mark of the ledger as it is. */
void station_wait_marked(struct station *s);
/* Until so many workers are ready. */
void station_wait_ready(struct station *s, size_t workers);
