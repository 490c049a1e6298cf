/* The plain program of a fuzz target, for builds without libFuzzer: a regression test of its seeds, of small changes to
 * them (always the same ones), and of what was found before.
 *   replay-TARGET                 the seeds, their changes, and found/TARGET
 *   replay-TARGET FILE|DIR..      these, once each; a .hex file is read as hexadecimal
 *   replay-TARGET --seeds DIR     writes the seeds there, for libFuzzer
 * Each run is in a child: the parent keeps the bytes that killed it. */
#include <dirent.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include "base/buf.h"
#include "base/err.h"
#include "base/file.h"
#include "tests/fuzz/fuzz.h"

#define INPUT_MAX (1u << 20)

/* What is being run, where the parent can see it. */
static struct current {
    char name[256];
    size_t count, len;
    uint8_t bytes[INPUT_MAX];
} * current;

extern size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max, unsigned seed)
        __attribute__((weak));

/* ---- changes, from a generator that never changes itself */

static uint64_t state = 1;

static size_t below(size_t n)
{
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return n ? (size_t)((state >> 11) % n) : 0;
}

size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t max)
{
    size_t at = below(size), n = 1 + below(size - at < 16 ? size - at : 16);

    if (!size)
        return 0;
    switch (below(6)) {
    case 0:
        data[at] ^= (uint8_t)(1u << below(8));
        break;
    case 1:
        data[at] = (uint8_t)below(256);
        break;
    case 2: /* a piece lost */
        n = n < size - at ? n : size - at;
        memmove(data + at, data + at + n, size - at - n);
        size -= n;
        break;
    case 3: /* a piece twice */
        n = n < size - at ? n : size - at;
        if (size + n > max)
            break;
        memmove(data + at + n, data + at, size - at);
        size += n;
        break;
    case 4: /* cut off */
        size = at;
        break;
    default: /* an extreme number */
        memset(data + at, below(2) ? 0xff : 0, size - at < 4 ? size - at : 4);
    }
    return size;
}

/* ---- running */

static void run(const char *name, const void *bytes, size_t len)
{
    uint8_t *exact; /* so that a read behind its end is one behind an allocation */

    snprintf(current->name, sizeof current->name, "%s", name);
    current->len = len < INPUT_MAX ? len : INPUT_MAX;
    memcpy(current->bytes, bytes, current->len);
    current->count++;
    exact = malloc(current->len ? current->len : 1);
    must(exact);
    memcpy(exact, bytes, current->len);
    LLVMFuzzerTestOneInput(exact, current->len);
    free(exact);
}

static void run_changed(const char *name, const void *bytes, size_t len)
{
    size_t max = 2 * len + 64;
    uint8_t *work = malloc(max);

    must(work && len <= INPUT_MAX / 4);
    run(name, bytes, len);
    for (unsigned i = 0; i < CHANGES; i++) {
        size_t n = len;

        memcpy(work, bytes, len);
        for (size_t times = 1 + below(3); times; times--)
            n = LLVMFuzzerCustomMutator && below(2)
                        ? LLVMFuzzerCustomMutator(work, n, max, (unsigned)below(1u << 30))
                        : LLVMFuzzerMutate(work, n, max);
        run(name, work, n);
    }
    free(work);
}

/* Hexadecimal with spaces and line ends as it pleases; '#' begins a comment. */
static void decode_hex(struct buf *b)
{
    unsigned value = 0, digits = 0;
    size_t n = 0;
    bool comment = false;

    for (size_t i = 0; i < b->len; i++) {
        char c = (char)b->data[i], digit[2] = {c};

        comment = c == '#' || (comment && c != '\n');
        if (comment || c == ' ' || c == '\n')
            continue;
        must(strchr("0123456789abcdefABCDEF", c));
        value = value << 4 | (unsigned)strtoul(digit, NULL, 16);
        if (++digits % 2 == 0)
            b->data[n++] = (uint8_t)value;
    }
    must(digits % 2 == 0);
    b->len = n;
}

static void run_path(const char *path)
{
    struct buf bytes = BUF_INIT;
    struct err e = {0};
    struct stat st;
    const char *dot = strrchr(path, '.');

    if (stat(path, &st) == 0 && S_ISDIR(st.st_mode)) {
        struct dirent **list;
        int n = scandir(path, &list, NULL, alphasort);

        for (int i = 0; i < n; i++) {
            char inside[4096];

            snprintf(inside, sizeof inside, "%s/%s", path, list[i]->d_name);
            if (list[i]->d_name[0] != '.')
                run_path(inside);
            free(list[i]);
        }
        free(list);
        return;
    }
    if (file_read(path, INPUT_MAX, &bytes, &e) < 0) {
        fprintf(stderr, "%s\n", e.msg);
        exit(2);
    }
    if (dot && strcmp(dot, ".hex") == 0)
        decode_hex(&bytes);
    run(path, bytes.data, bytes.len);
    buf_done(&bytes);
}

/* ---- the program */

static const char *seeds_dir;

static void write_seed(const char *name, const void *bytes, size_t len)
{
    char path[4096];
    struct err e = {0};

    snprintf(path, sizeof path, "%s/%s", seeds_dir, name);
    if (file_write(path, bytes, len, 0644, &e) < 0) {
        fprintf(stderr, "%s\n", e.msg);
        exit(2);
    }
}

static void run_all(char **paths)
{
    if (!*paths) {
        fuzz_seeds(run_changed);
        if (access(FOUND, F_OK) == 0)
            run_path(FOUND);
    }
    for (; *paths; paths++)
        run_path(*paths);
}

static int report(int status)
{
    char kept[64];
    FILE *f;

    if (WIFEXITED(status) && WEXITSTATUS(status) == 0) {
        printf("%zu inputs\n", current->count);
        return 0;
    }
    snprintf(kept, sizeof kept, "replay-crash-%d", (int)getpid());
    f = fopen(kept, "we");
    if (f) {
        fwrite(current->bytes, 1, current->len, f);
        fclose(f);
    }
    fprintf(stderr, "input %zu, made of %s, ended the run (status 0x%x); its %zu bytes are in %s\n",
            current->count, current->name, (unsigned)status, current->len, kept);
    return 1;
}

int main(int argc, char **argv)
{
    pid_t pid;
    int status;

    LLVMFuzzerInitialize(NULL, NULL);
    if (argc == 3 && strcmp(argv[1], "--seeds") == 0) {
        seeds_dir = argv[2];
        fuzz_seeds(write_seed);
        return 0;
    }
    current =
            mmap(NULL, sizeof *current, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    must(current != MAP_FAILED);
    fflush(NULL);
    pid = fork();
    must(pid >= 0);
    if (!pid) {
        fuzz_silence();
        run_all(argv + 1);
        exit(0);
    }
    must(waitpid(pid, &status, 0) == pid);
    return report(status);
}
