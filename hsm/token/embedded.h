/* The embedded token: a SoftHSM in Keyline's own directories. Used when etc/softhsm2.conf is there and the environment does
 * not name another. SoftHSM rewrites token.object in place at each login; a kill in that moment leaves it empty and the
 * token lost. So: logins hold a lock, and a copy made by the ceremony brings an emptied file back. */
#pragma once

struct err;
struct paths;

/* Sets $SOFTHSM2_CONF; 1 when the embedded token is in use, else 0. */
int embedded_env(const struct paths *p);
/* Waits for the lock that every login to the embedded token holds. ret_fd: close it after the login. */
int embedded_lock(const struct paths *p, int *ret_fd, struct err *e);
/* Copies the token's files to state/signer/tokens.backup. */
int embedded_backup(const struct paths *p, struct err *e);
/* With the lock held: puts back object files that were left empty, and logs it; keys that a killed ceremony was making have
 * no copy and are removed. ERR_TOKEN_ABSENT when the token's own object has no copy. */
int embedded_restore(const struct paths *p, struct err *e);
/* After a key was destroyed on purpose: what is no longer in the token goes from the copy, too. */
int embedded_forget(const struct paths *p, struct err *e);
