/* SPDX-License-Identifier: MIT */
/* Runs a fuzz target without a fuzzer: every file of the folders given, and of each file some hundred
 * changed copies, the same ones on every run. It finds little that is new; it keeps what the fuzzers
 * found from coming back, in every build and with every compiler.
 *
 * The input is copied to memory of its own size, so that AddressSanitizer sees a read behind its end. */
#include <dirent.h>
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_bytes);

enum { CHANGES_PER_SEED = 300, MAX_SEED_BYTES = 1 << 20, MAX_CHANGED_BYTES = 16384 };

struct replay {
    uint64_t rng;
    int n_seeds;
    long n_runs;
};

/* splitmix64, below n. */
static size_t below(struct replay *r, size_t n)
{
    uint64_t z = r->rng += 0x9E3779B97F4A7C15u;
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9u;
    z = (z ^ z >> 27) * 0x94D049BB133111EBu;
    return (size_t)((z ^ z >> 31) % n);
}

static void run_copy(struct replay *r, const uint8_t *bytes, size_t n_bytes)
{
    uint8_t *copy = malloc(n_bytes ? n_bytes : 1);
    if (!copy)
        abort();
    memcpy(copy, bytes, n_bytes);
    LLVMFuzzerTestOneInput(copy, n_bytes);
    free(copy);
    r->n_runs++;
}

/* One to four of: another byte, a flipped bit, an extreme number of 4 or 8 bytes, a piece taken out or
 * doubled, the end cut off. Returns the new size; never above twice the old one. */
static size_t change(struct replay *r, uint8_t *bytes, size_t n)
{
    static const uint64_t extremes[] = { 0, 1, UINT32_MAX, INT32_MAX, UINT64_MAX, INT64_MAX, 1u << 16, 255 };
    size_t most = 2 * n;
    for (size_t left = 1 + below(r, 4); left > 0 && n > 0; left--) {
        size_t at = below(r, n), size = 1 + below(r, n - at < 16 ? n - at : 16);
        switch (below(r, 6)) {
        case 0:
            bytes[at] = (uint8_t)below(r, 256);
            break;
        case 1:
            bytes[at] ^= (uint8_t)(1u << below(r, 8));
            break;
        case 2: {
            size_t width = below(r, 2) ? 8 : 4;
            if (n - at >= width)
                memcpy(bytes + at, &extremes[below(r, sizeof extremes / sizeof extremes[0])], width);
            break;
        }
        case 3:
            memmove(bytes + at, bytes + at + size, n - at - size);
            n -= size;
            break;
        case 4:
            if (n + size <= most) {
                memmove(bytes + at + size, bytes + at, n - at);
                n += size;
            }
            break;
        default:
            n = at;
        }
    }
    return n;
}

static void run_seed(struct replay *r, const char *path)
{
    FILE *f = fopen(path, "rb");
    if (!f) {
        fprintf(stderr, "%s: %s\n", path, strerror(errno));
        exit(1);
    }
    uint8_t *seed = malloc(MAX_SEED_BYTES), *changed = malloc(2 * (size_t)MAX_CHANGED_BYTES);
    if (!seed || !changed)
        abort();
    size_t n = fread(seed, 1, MAX_SEED_BYTES, f);
    fclose(f);
    run_copy(r, seed, n);
    size_t n_changed = n < MAX_CHANGED_BYTES ? n : MAX_CHANGED_BYTES;
    for (int i = 0; n_changed > 0 && i < CHANGES_PER_SEED; i++) {
        memcpy(changed, seed, n_changed);
        run_copy(r, changed, change(r, changed, n_changed));
    }
    free(seed);
    free(changed);
    r->n_seeds++;
}

static int no_dot_file(const struct dirent *entry)
{
    return entry->d_name[0] != '.';
}

int main(int argc, char **argv)
{
    struct replay r = { .rng = 20260823 };
    for (int i = 1; i < argc; i++) {
        struct dirent **names;
        int n = scandir(argv[i], &names, no_dot_file, alphasort);    /* sorted: the same run everywhere */
        if (n < 0) {
            fprintf(stderr, "%s: %s\n", argv[i], strerror(errno));
            return 1;
        }
        for (int k = 0; k < n; k++) {
            char path[4096];
            snprintf(path, sizeof path, "%s/%s", argv[i], names[k]->d_name);
            run_seed(&r, path);
            free(names[k]);
        }
        free(names);
    }
    printf("%d seeds, %ld runs\n", r.n_seeds, r.n_runs);
    return r.n_seeds > 0 ? 0 : 1;    /* a folder that went missing is no success */
}
