/* The ceremony on a station: held once, finished when it was interrupted, and never with a secret that others know. (flow_ca.c
 * has what comes after it.) */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/file.h"
#include "tests/hsm/station.h"

static void ceremony_is_held_once(void **state)
{
    char passphrase[PATH_MAX], mark[PATH_MAX], conf[PATH_MAX];
    const char *const again[] = {CEREMONY, "init", "--approver-passphrase-file", passphrase, NULL};
    EVP_PKEY *key = help_key("P-256");
    struct buf before = BUF_INIT, after = BUF_INIT;
    struct err e = {0};
    char chain[PATH_MAX];

    (void)state;
    snprintf(passphrase, sizeof passphrase, "%s/passphrase", st.root);
    snprintf(mark, sizeof mark, "%s/etc/ceremony.unfinished", st.root);
    snprintf(chain, sizeof chain, "%s/etc/ca/chain.pem", st.root);
    paths_get(&st.paths, PATH_CONFIG, conf);
    unlink(conf);
    ok(file_read(chain, 1u << 20, &before, &e));
    assert_int_equal(station_run(again), 1);
    ok(file_read(chain, 1u << 20, &after, &e));
    assert_int_equal(after.len, before.len);
    assert_memory_equal(after.data, before.data, before.len);
    /* one that was interrupted at its very end is begun anew, and serves; the old approver counts
     * no longer */
    ok(file_write(mark, "station\n", 8, 0600, &e));
    assert_int_equal(station_run(again), 0);
    assert_int_equal(access(mark, F_OK), -1);
    station_config(&st, "");
    station_start(&st);
    refused(station_issue_once(&st, 0, key, &e), TICKET_UNTRUSTED);
    buf_done(&before);
    buf_done(&after);
    EVP_PKEY_free(key);
}

static void ceremony_refuses_weak_passphrases(void **state)
{
    struct err e = {0};
    char passphrase[PATH_MAX], root[PATH_MAX + 8];

    (void)state;
    snprintf(passphrase, sizeof passphrase, "%s/short", st.root);
    snprintf(root, sizeof root, "%s/second", st.root);
    ok(file_write(passphrase, "short\n", 6, 0600, &e));
    mkdir(root, 0700);
    setenv("KEYLINE_ROOT", root, 1);
    assert_int_equal(station_run((const char *[]){
                             CEREMONY, "init", "--approver-passphrase-file", passphrase, NULL}),
            1);
    snprintf(passphrase, sizeof passphrase, "%s/passphrase", st.root);
    chmod(passphrase, 0644); /* others can read it */
    assert_int_equal(station_run((const char *[]){
                             CEREMONY, "init", "--approver-passphrase-file", passphrase, NULL}),
            1);
    assert_int_equal(station_run((const char *[]){CEREMONY, "init", "--key-type", "dsa", NULL}), 2);
    setenv("KEYLINE_ROOT", st.root, 1);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
            FLOW_TEST(ceremony_is_held_once),
            FLOW_TEST(ceremony_refuses_weak_passphrases),
    };

    return FLOW_RUN(argc, argv, tests);
}
