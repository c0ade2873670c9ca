/* SPDX-License-Identifier: MIT */
#ifndef QUIP_TESTS_SUPPORT_TEST_H
#define QUIP_TESTS_SUPPORT_TEST_H

#include <math.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* A thin coat over cmocka, which runs the cases, reports them and survives crashes:
 *
 *     TEST(gguf_refuses_a_bad_magic)
 *     {
 *         CHECK(t, gguf_open(&g, path, &e) == ERR_FORMAT, "%s", e.text);
 *     }
 *
 * TEST() registers itself; tests/support/test.c has main(). A failed CHECK prints its message and
 * ends the case. Arguments: a part of a name runs the cases that contain it; --seed N sets t->seed. */
struct test {
    uint64_t seed;    /* printed when a case fails; set by --seed, else fixed */
    uint64_t rng;     /* state of test_random(), from seed and the name of the case */
};

typedef void (*test_fn)(struct test *t);
void test_register(const char *name, test_fn run);

#define TEST(name)                                                      \
    static void name(struct test *t);                                   \
    __attribute__((constructor)) static void name##_register(void)      \
    {                                                                   \
        test_register(#name, name);                                     \
    }                                                                   \
    static void name(struct test *t __attribute__((unused)))

/* Optional printf arguments after the condition say what was being tried. */
#define CHECK(t, condition, ...) test_check((t), (condition), __FILE__, __LINE__, #condition, "" __VA_ARGS__)
#define CHECK_INT(t, got, want, ...) \
    test_check_int((t), (int64_t)(got), (int64_t)(want), __FILE__, __LINE__, #got, "" __VA_ARGS__)
#define CHECK_TEXT(t, got, want, ...) \
    test_check_text((t), (got), (want), __FILE__, __LINE__, #got, "" __VA_ARGS__)
#define CHECK_BYTES(t, got, want, n_bytes, ...) \
    test_check_bytes((t), (got), (want), (n_bytes), __FILE__, __LINE__, #got, "" __VA_ARGS__)
/* sum((got - want)^2) / sum(want^2) at most limit; NaN fails. */
#define CHECK_NMSE(t, got, want, n, limit, ...) \
    test_check_nmse((t), (got), (want), (n), (limit), __FILE__, __LINE__, #got, "" __VA_ARGS__)
/* Ends the case as skipped; the reason is printed and repeated by tests/run.sh. */
#define SKIP(t, ...) test_skip((t), __VA_ARGS__)

void test_check(struct test *t, bool ok, const char *file, int line, const char *what,
                const char *format, ...) __attribute__((format(printf, 6, 7)));
void test_check_int(struct test *t, int64_t got, int64_t want, const char *file, int line,
                    const char *what, const char *format, ...) __attribute__((format(printf, 7, 8)));
void test_check_text(struct test *t, const char *got, const char *want, const char *file, int line,
                     const char *what, const char *format, ...) __attribute__((format(printf, 7, 8)));
void test_check_bytes(struct test *t, const void *got, const void *want, size_t n_bytes,
                      const char *file, int line, const char *what, const char *format, ...)
    __attribute__((format(printf, 8, 9)));
void test_check_nmse(struct test *t, const float *got, const float *want, size_t n, double limit,
                     const char *file, int line, const char *what, const char *format, ...)
    __attribute__((format(printf, 9, 10)));
_Noreturn void test_skip(struct test *t, const char *format, ...) __attribute__((format(printf, 2, 3)));

double test_nmse(const float *got, const float *want, size_t n);

/* splitmix64; uniform in [0, n); uniform in [-1, 1); roughly normal, deviation 1. */
uint64_t test_random(struct test *t);
uint32_t test_below(struct test *t, uint32_t n);
float test_uniform(struct test *t);
float test_normal(struct test *t);

/* Whole file, malloc, NUL after the end; NULL when it cannot be read. */
char *test_read_file(const char *path, size_t *n_bytes);
/* Path below the shared folder beside the project ("vectors/arch/llama.gguf"), or NULL when that
 * folder or file is absent: then SKIP with the path as reason. The result lives until the next call. */
const char *test_shared(const char *below);
/* A file of the model folder ($XDG_DATA_HOME/quip/models or ~/.local/share/quip/models), or NULL. */
const char *test_model(const char *file_name);
/* A fresh folder for the case's files, removed with its content at exit. */
const char *test_folder(struct test *t);

#endif
