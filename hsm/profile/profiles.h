/* The profiles of a signer: the one that is built in, and the files in etc/profiles. */
#pragma once
#include <stddef.h>

struct err;
struct profile;
struct profiles;

/* dir need not exist, and its files need not be right: that is seen when they are used. */
int profiles_open(const char *dir, struct profiles **ret, struct err *e);
void profiles_close(struct profiles **p);
/* As the file is now. Borrowed until the next call. ERR_PROFILE when there is none of that name or its file is faulty, then with
 * the member at fault. */
int profiles_find(struct profiles *p, const char *name, const struct profile **ret, struct err *e);
/* The same, and sha256, which the approver signed, must be the profile's: else it changed since. ERR_PROFILE. */
int profiles_find_approved(struct profiles *p, const char *name, const char *sha256,
        const struct profile **ret, struct err *e);
