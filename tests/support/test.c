/* SPDX-License-Identifier: MIT */
#include "tests/support/test.h"

#include <errno.h>
#include <ftw.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

enum { MAX_CASES = 512 };

static struct {
    const char *name;
    test_fn run;
} cases[MAX_CASES];
static int n_cases;
static uint64_t base_seed = 20260823;
static char folder[256];

void test_register(const char *name, test_fn run)
{
    if (n_cases == MAX_CASES)
        abort();
    cases[n_cases].name = name;
    cases[n_cases].run = run;
    n_cases++;
}

static void report(const struct test *t, const char *file, int line, const char *format, va_list args)
{
    char text[1024];
    vsnprintf(text, sizeof text, format, args);
    if (text[0])
        print_error("%s:%d: while: %s\n", file, line, text);
    print_error("%s:%d: seed %llu\n", file, line, (unsigned long long)t->seed);
}

#define FAIL_WITH(...)                                  \
    do {                                                \
        va_list args;                                   \
        va_start(args, format);                         \
        print_error("%s:%d: ", file, line);             \
        print_error(__VA_ARGS__);                       \
        print_error("\n");                              \
        report(t, file, line, format, args);            \
        va_end(args);                                   \
        _fail(file, line);                              \
    } while (0)

void test_check(struct test *t, bool ok, const char *file, int line, const char *what,
                const char *format, ...)
{
    if (!ok)
        FAIL_WITH("not so: %s", what);
}

void test_check_int(struct test *t, int64_t got, int64_t want, const char *file, int line,
                    const char *what, const char *format, ...)
{
    if (got != want)
        FAIL_WITH("%s is %lld, wanted %lld", what, (long long)got, (long long)want);
}

void test_check_text(struct test *t, const char *got, const char *want, const char *file, int line,
                     const char *what, const char *format, ...)
{
    if (!got || !want || strcmp(got, want) != 0)
        FAIL_WITH("%s is\n  \"%s\", wanted\n  \"%s\"", what, got ? got : "(null)", want ? want : "(null)");
}

void test_check_bytes(struct test *t, const void *got, const void *want, size_t n_bytes,
                      const char *file, int line, const char *what, const char *format, ...)
{
    const unsigned char *a = got, *b = want;
    for (size_t i = 0; i < n_bytes; i++)
        if (a[i] != b[i])
            FAIL_WITH("%s differs first at byte %zu of %zu: 0x%02x, wanted 0x%02x", what, i, n_bytes, a[i], b[i]);
}

double test_nmse(const float *got, const float *want, size_t n)
{
    double error = 0, power = 0;
    for (size_t i = 0; i < n; i++) {
        double d = (double)got[i] - (double)want[i];
        error += d * d;
        power += (double)want[i] * (double)want[i];
    }
    return power > 0 ? error / power : error;
}

void test_check_nmse(struct test *t, const float *got, const float *want, size_t n, double limit,
                     const char *file, int line, const char *what, const char *format, ...)
{
    double nmse = test_nmse(got, want, n);
    if (!(nmse <= limit))
        FAIL_WITH("%s: NMSE %.3g, at most %.3g", what, nmse, limit);
}

void test_skip(struct test *t, const char *format, ...)
{
    (void)t;
    va_list args;
    va_start(args, format);
    printf("skipped because: ");
    vprintf(format, args);
    printf("\n");
    va_end(args);
    fflush(stdout);
    skip();
    abort();    /* skip() leaves by longjmp */
}

uint64_t test_random(struct test *t)
{
    uint64_t z = t->rng += 0x9E3779B97F4A7C15u;
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9u;
    z = (z ^ z >> 27) * 0x94D049BB133111EBu;
    return z ^ z >> 31;
}

uint32_t test_below(struct test *t, uint32_t n)
{
    return (uint32_t)(test_random(t) >> 32) % n;
}

float test_uniform(struct test *t)
{
    return (float)(test_random(t) >> 40) * (2.0f / 16777216.0f) - 1.0f;
}

float test_normal(struct test *t)
{
    float sum = 0;
    for (int i = 0; i < 12; i++)
        sum += test_uniform(t);
    return sum * 0.5f;
}

char *test_read_file(const char *path, size_t *n_bytes)
{
    FILE *f = fopen(path, "rb");
    if (!f)
        return NULL;
    fseek(f, 0, SEEK_END);
    long size = ftell(f);
    rewind(f);
    char *bytes = size >= 0 ? malloc((size_t)size + 1) : NULL;
    if (bytes && fread(bytes, 1, (size_t)size, f) == (size_t)size) {
        bytes[size] = '\0';
        if (n_bytes)
            *n_bytes = (size_t)size;
    } else {
        free(bytes);
        bytes = NULL;
    }
    fclose(f);
    return bytes;
}

static const char *if_readable(const char *path)
{
    return access(path, R_OK) == 0 ? path : NULL;
}

const char *test_shared(const char *below)
{
    static char path[1024];
    snprintf(path, sizeof path, "../shared/%s", below);
    return if_readable(path);
}

const char *test_model(const char *file_name)
{
    static char path[1024];
    const char *data = getenv("XDG_DATA_HOME");
    if (data && data[0])
        snprintf(path, sizeof path, "%s/quip/models/%s", data, file_name);
    else
        snprintf(path, sizeof path, "%s/.local/share/quip/models/%s", getenv("HOME") ? getenv("HOME") : "",
                 file_name);
    return if_readable(path);
}

static int remove_one(const char *path, const struct stat *st, int kind, struct FTW *ftw)
{
    (void)st, (void)kind, (void)ftw;
    return remove(path);
}

static void remove_folder(void)
{
    if (folder[0])
        nftw(folder, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

const char *test_folder(struct test *t)
{
    (void)t;
    if (!folder[0]) {
        const char *tmp = getenv("TMPDIR");
        snprintf(folder, sizeof folder, "%s/quip-test-XXXXXX", tmp && tmp[0] ? tmp : P_tmpdir);
        if (!mkdtemp(folder))
            abort();
        atexit(remove_folder);
    }
    return folder;
}

static void run_case(void **state)
{
    size_t i = (size_t)(uintptr_t)*state;
    struct test t = { .seed = base_seed, .rng = base_seed };
    for (const char *c = cases[i].name; *c; c++)
        t.rng = t.rng * 31 + (unsigned char)*c;
    cases[i].run(&t);
}

int main(int argc, char **argv)
{
    const char *part = NULL;
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--seed") == 0 && i + 1 < argc)
            base_seed = strtoull(argv[++i], NULL, 10);
        else
            part = argv[i];
    }
    static struct CMUnitTest chosen[MAX_CASES];
    size_t n_chosen = 0;
    for (int i = 0; i < n_cases; i++)
        if (!part || strstr(cases[i].name, part))
            chosen[n_chosen++] = (struct CMUnitTest){ cases[i].name, run_case, NULL, NULL, (void *)(uintptr_t)i };
    const char *program = strrchr(argv[0], '/');
    return _cmocka_run_group_tests(program ? program + 1 : argv[0], chosen, n_chosen, NULL, NULL) ? 1 : 0;
}
