/* A fuzz target is one file: what it does with hostile bytes, and the honest ones it starts from. With libFuzzer (preset
 * fuzz) it searches; with replay.c it is a test of every build. docs/fuzzing.md. */
#pragma once
#include <stddef.h>
#include <stdint.h>
#include <openssl/evp.h>
#include <openssl/x509.h>

struct buf;
struct err;

/* ---- what a target gives */

/* Takes any bytes; returns 0. A promise that does not hold ends the process. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
/* Adds real artefacts, made by the code that makes them in the product or by OpenSSL. */
typedef void (*fuzz_seed_fn)(const char *name, const void *bytes, size_t len);
void fuzz_seeds(fuzz_seed_fn add);
/* Where random bytes would never get past a signature or a hash: changes what is under it, and makes that right again.
 * A target may leave it out. */
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max, unsigned seed);
/* libFuzzer's own changes, or replay.c's. */
size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t max);

/* ---- what a target gets */

/* Called once, before all. */
int LLVMFuzzerInitialize(int *argc, char ***argv);
/* From now on the log goes nowhere: what is refused a thousand times a second is not worth a line. Broken promises and
 * sanitizers are heard as before. */
void fuzz_silence(void);

/* A promise of the code under test. */
#define promise(holds) ((holds) ? (void)0 : fuzz_broken(#holds, __FILE__, __LINE__))
_Noreturn void fuzz_broken(const char *what, const char *file, int line);
/* Makes seeds; what fails here is a fault of the target. */
#define must(works) promise(works)
/* base/err.h's contract: success says nothing, failure says what, in printable text, and is no bug of ours. */
void fuzz_outcome(int r, const struct err *e);
/* A path where these bytes can be read as a file, until the next call; nothing reaches a disk. */
const char *fuzz_file(const uint8_t *data, size_t size);
/* A directory of this process, in memory where there is such a place; taken away when it ends. */
const char *fuzz_dir(void);

/* One P-256 key that is always the same, so that what it signed stays good in a corpus; and a certificate for it that
 * may sign tickets, and a chain of two CAs of it (PEM, issuing CA first). All are borrowed. */
EVP_PKEY *fuzz_key(void);
X509 *fuzz_approver(void);
const struct buf *fuzz_chain(void);
/* Signs as X.509 and PKCS#10 do: ECDSA in DER. Returns its length, at most FUZZ_SIGNATURE_MAX. */
#define FUZZ_SIGNATURE_MAX 80
size_t fuzz_sign(const void *bytes, size_t len, uint8_t *ret);
