/* The approval that fuzz targets start from. */
#include "tests/fuzz/approved.h"
#include <string.h>
#include "hsm/profile/profile.h"
#include "tests/fuzz/fuzz.h"

const struct approved *approved(void)
{
    static struct approved a;
    struct profile *profile;
    STACK_OF(X509) * chain;
    struct err e = {0};

    if (a.jws)
        return &a;
    help_rows_make(&a.rows, APPROVED_ROWS);
    a.ticket = (struct ticket){.job = "11111111-1111-4111-8111-111111111111",
            .account = "acc",
            .division = "div",
            .profile = PROFILE_BUILTIN,
            .binding = "identity",
            .rows = APPROVED_ROWS,
            .root = a.rows.root,
            .quota = APPROVED_QUOTA,
            .not_before = 1577836800, /* 2020 */
            .not_after = 7258118400,  /* 2200 */
            .issued_at = 1577836800,
            .stations = {APPROVED_STATION},
            .station_count = 1,
            .approver = "fuzz"};
    must(profile_builtin(&profile, &e) == 0);
    memcpy(a.ticket.profile_sha256, profile->sha256, sizeof a.ticket.profile_sha256);
    profile_free(&profile);
    chain = sk_X509_new_null();
    sk_X509_push(chain, fuzz_approver());
    must(ticket_sign(&a.ticket, fuzz_key(), chain, &a.jws, &e) == 0);
    sk_X509_free(chain);
    return &a;
}
