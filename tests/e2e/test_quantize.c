/* SPDX-License-Identifier: MIT */
/* quip quantize from outside: what it says, that what it makes answers, and what is left when it is stopped or killed. */
#include <dirent.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/inotify.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "engine/base/clock.h"
#include "tests/support/home.h"
#include "tests/support/shell.h"

enum { WAIT_MS = 60000 };

static void quip(struct test *t, const struct home *h, struct shell *s, const char *const *arguments)
{
    const char *argv[16] = { QUIP_BINARY };
    for (int i = 0; i < 14 && arguments[i]; i++)
        argv[i + 1] = arguments[i];
    shell_finish(s);
    struct shell_options o = { .settings = h->settings };
    shell_run(t, s, argv, &o);
}

#define QUIP(t, h, s, ...) quip((t), (h), (s), (const char *const[]){ __VA_ARGS__, NULL })

static void make_source(struct test *t, const struct home *h, const char *name, uint32_t n_ff)
{
    struct tiny_model m;
    tiny_model_init(&m);
    m.weight_type = QUANT_F16;
    m.n_embd = 256;
    m.d_head = 64;
    m.n_ff = n_ff;
    home_add_model(t, h, name, &m);
}

/* Files beside a path, of which so many lie unfinished. */
static int files_beside(const char *path, int *n_parts)
{
    char dir_name[HOME_PATH_BYTES];
    snprintf(dir_name, sizeof dir_name, "%.*s", (int)(strrchr(path, '/') - path), path);
    DIR *dir = opendir(dir_name);
    int n = 0;
    *n_parts = 0;
    for (struct dirent *entry; dir && (entry = readdir(dir));) {
        n += strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0;
        *n_parts += strstr(entry->d_name, "quip-part") != NULL;
    }
    if (dir)
        closedir(dir);
    return n;
}

TEST(quantize_makes_a_level_that_answers)
{
    struct home h;
    struct shell s = { 0 };
    char out[HOME_PATH_BYTES];
    home_make(t, &h, "dumb");
    make_source(t, &h, "source", 512);
    home_path(&h, "made.gguf", out);
    QUIP(t, &h, &s, "quantize", "source", out, "q4_k_m", "-t", "2");
    CHECK_INT(t, s.code, 0, "%s", s.err);
    CHECK_TEXT(t, s.err, "");
    CHECK(t, strncmp(s.out, out, strlen(out)) == 0 && strstr(s.out, ": Q4_K_M, ") && strstr(s.out, " from ") &&
                 strstr(s.out, " bits per weight)") && strstr(s.out, " MiB/s\n"), "%s", s.out);
    QUIP(t, &h, &s, "inspect", out);
    CHECK(t, strstr(s.out, "level           Q4_K_M\n"), "%s", s.out);
    QUIP(t, &h, &s, "run", "-m", out, "-p", "Well?", "--temp", "0");
    CHECK_INT(t, s.code, 0, "%s", s.err);
    CHECK_TEXT(t, s.out, TINY_MODEL_REPLY "\n");
    shell_finish(&s);
}

TEST(quantize_says_beforehand_what_it_would_make)
{
    struct home h;
    struct shell s = { 0 };
    int n_parts;
    char path[HOME_PATH_BYTES];
    home_make(t, &h, "dumb");
    make_source(t, &h, "source", 512);
    home_path(&h, "made.gguf", path);
    int n = files_beside(path, &n_parts);
    QUIP(t, &h, &s, "quantize", "source", "Q4_K_M", "--dry-run", "--tensor-type", "attn_q=Q8_0", "--output-tensor-type",
         "q5_0");
    CHECK_INT(t, s.code, 0, "%s", s.err);
    CHECK(t, strstr(s.out, "  256 x 256                F16      Q8_0              69632  blk.0.attn_q.weight\n"), "%s",
          s.out);
    CHECK(t, strstr(s.out, "F16      Q6_K             107520  blk.1.ffn_down.weight\n"), "%s", s.out);
    CHECK(t, strstr(s.out, "  256                      F32      F32                1024  output_norm.weight\n"), "%s", s.out);
    CHECK(t, strstr(s.out, "F16      Q5_0 "), "%s", s.out);
    CHECK(t, strstr(s.out, "\nQ4_K_M: ") && strstr(s.out, "bits per weight) from "), "%s", s.out);
    CHECK_INT(t, files_beside(path, &n_parts), n);
    shell_finish(&s);
}

TEST(quantize_refuses_with_a_line_that_names_it)
{
    struct home h;
    struct shell s = { 0 };
    char out[HOME_PATH_BYTES];
    home_make(t, &h, "dumb");
    make_source(t, &h, "source", 128);
    home_path(&h, "made.gguf", out);
    QUIP(t, &h, &s, "quantize", "source", out);
    CHECK_INT(t, s.code, 2);
    QUIP(t, &h, &s, "quantize", "source", out, "Q4_K_X");
    CHECK_INT(t, s.code, 2);
    CHECK(t, strstr(s.err, "'Q4_K_X'") && strstr(s.err, "IQ4_XS"), "%s", s.err);
    QUIP(t, &h, &s, "quantize", "sauce", out, "Q8_0");
    CHECK_INT(t, s.code, 3);
    QUIP(t, &h, &s, "quantize", "source", out, "Q8_0");
    CHECK_INT(t, s.code, 0, "%s", s.err);
    QUIP(t, &h, &s, "quantize", "source", out, "Q6_K");
    CHECK_INT(t, s.code, 1);
    CHECK(t, strstr(s.err, "--force"), "%s", s.err);
    QUIP(t, &h, &s, "quantize", "source", out, "Q6_K", "--force");
    CHECK_INT(t, s.code, 0, "%s", s.err);
    CHECK(t, strstr(s.err, "no whole blocks"), "%s", s.err);    /* rows of 128 */
    char again[HOME_PATH_BYTES];
    home_path(&h, "again.gguf", again);
    QUIP(t, &h, &s, "quantize", out, again, "Q4_0");
    CHECK_INT(t, s.code, 2);
    CHECK(t, strstr(s.err, " already, ") && strstr(s.err, "--allow-requantize"), "%s", s.err);
    QUIP(t, &h, &s, "quantize", out, again, "Q4_0", "--allow-requantize");
    CHECK_INT(t, s.code, 0, "%s", s.err);
    shell_finish(&s);
}

TEST(quantize_for_a_size)
{
    struct home h;
    struct shell s = { 0 };
    char out[HOME_PATH_BYTES];
    home_make(t, &h, "dumb");
    make_source(t, &h, "source", 512);
    home_path(&h, "made.gguf", out);
    QUIP(t, &h, &s, "quantize", "source", out, "--target-size", "900 kB");
    CHECK_INT(t, s.code, 0, "%s", s.err);
    CHECK(t, strstr(s.out, ": mixed, ") && strstr(s.out, " MiB/s\n"), "%s", s.out);
    size_t n = 0;
    free(test_read_file(out, &n));
    CHECK(t, n <= 900000 && n > 880000, "%zu bytes", n);
    QUIP(t, &h, &s, "run", "-m", out, "-p", "Well?", "--temp", "0");
    CHECK_INT(t, s.code, 0, "%s", s.err);
    QUIP(t, &h, &s, "quantize", "source", "--dry-run", "--target-bpw", "4.5");
    CHECK_INT(t, s.code, 0, "%s", s.err);
    CHECK(t, strstr(s.out, "\nmixed: "), "%s", s.out);
    QUIP(t, &h, &s, "quantize", "source", out, "--force", "--target-size", "300kB");
    CHECK_INT(t, s.code, 2);
    CHECK(t, strstr(s.err, "at least"), "%s", s.err);
    QUIP(t, &h, &s, "quantize", "source", out, "--target-size", "big");
    CHECK_INT(t, s.code, 2);
    CHECK(t, strstr(s.err, "'big'"), "%s", s.err);
    QUIP(t, &h, &s, "quantize", "source", out, "--target-bpw", "0.5");
    CHECK_INT(t, s.code, 2);
    QUIP(t, &h, &s, "quantize", "source", out, "Q4_0", "--target-bpw", "5");
    CHECK_INT(t, s.code, 2);
    shell_finish(&s);
}

/* ---- stopped and killed --------------------------------------------------------------------------- */

static pid_t start(struct test *t, const struct home *h, const char *from, const char *to, bool force)
{
    pid_t child = fork();
    CHECK(t, child >= 0);
    if (child > 0)
        return child;
    for (const char *const *setting = h->settings; *setting; setting++)
        putenv((char *)*setting);
    if (!freopen("/dev/null", "w", stdout) || !freopen("/dev/null", "w", stderr))
        _exit(126);
    execl(QUIP_BINARY, "quip", "quantize", from, to, "Q4_K_M", "-t", "2", force ? "--force" : NULL, (char *)NULL);
    _exit(127);
}

/* Whether the process ended within the time. */
static bool ends_within(struct test *t, pid_t child, int ms)
{
    int fd = (int)syscall(SYS_pidfd_open, child, 0);
    CHECK(t, fd >= 0);
    struct pollfd p = { fd, POLLIN, 0 };
    int n = poll(&p, 1, ms);
    close(fd);
    return n > 0;
}

static int status_of(struct test *t, pid_t child)
{
    int status = 0;
    if (!ends_within(t, child, WAIT_MS))
        kill(child, SIGKILL);
    CHECK(t, waitpid(child, &status, 0) == child);
    return status;
}

static bool same_files(const char *a, const char *b)
{
    size_t n = 0, m = 0;
    char *x = test_read_file(a, &n), *y = test_read_file(b, &m);
    bool same = x && y && n == m && memcmp(x, y, n) == 0;
    free(x);
    free(y);
    return same;
}

TEST(quantize_interrupted_ends_in_order)
{
    struct home h;
    char out[HOME_PATH_BYTES], folder[HOME_PATH_BYTES], events[4096];
    int n_parts;
    home_make(t, &h, "dumb");
    make_source(t, &h, "source", 16384);
    home_path(&h, "made.gguf", out);
    home_path(&h, "", folder);
    int watch = inotify_init1(IN_CLOEXEC);
    CHECK(t, watch >= 0 && inotify_add_watch(watch, folder, IN_CREATE) >= 0);
    pid_t child = start(t, &h, "source", out, false);
    struct pollfd p = { watch, POLLIN, 0 };
    CHECK(t, poll(&p, 1, WAIT_MS) == 1 && read(watch, events, sizeof events) > 0);    /* it has begun to write */
    kill(child, SIGINT);
    int status = status_of(t, child);
    CHECK(t, WIFEXITED(status));
    CHECK_INT(t, WEXITSTATUS(status), 130);
    files_beside(out, &n_parts);
    CHECK_INT(t, n_parts, 0);
    CHECK(t, access(out, F_OK) != 0);
    close(watch);
}

TEST(quantize_killed_at_any_moment_leaves_the_old_file_or_the_new_one)
{
    enum { KILLS = 20 };
    struct home h;
    struct shell s = { 0 };
    char out[HOME_PATH_BYTES], whole[HOME_PATH_BYTES], old[HOME_PATH_BYTES], same[HOME_PATH_BYTES];
    int n_killed = 0, n_parts;
    home_make(t, &h, "dumb");
    make_source(t, &h, "source", 8192);
    home_path(&h, "made.gguf", out);
    home_path(&h, "whole.gguf", whole);
    home_path(&h, "old.gguf", old);
    home_path(&h, "same.gguf", same);
    double start_ms = clock_ms();
    QUIP(t, &h, &s, "quantize", "source", whole, "Q4_K_M", "-t", "2");
    int takes_ms = (int)(clock_ms() - start_ms) + 1;
    CHECK_INT(t, s.code, 0, "%s", s.err);
    QUIP(t, &h, &s, "quantize", "source", old, "Q2_K");
    CHECK_INT(t, s.code, 0, "%s", s.err);
    QUIP(t, &h, &s, "quantize", "source", same, "Q2_K");
    CHECK_INT(t, s.code, 0, "%s", s.err);
    for (int i = 0; i < KILLS; i++) {
        bool replace = i % 2;
        unlink(out);
        if (replace)
            CHECK(t, link(old, out) == 0);
        pid_t child = start(t, &h, "source", out, replace);
        ends_within(t, child, (int)test_below(t, (uint32_t)takes_ms));
        kill(child, SIGKILL);
        n_killed += WIFSIGNALED(status_of(t, child));
        if (access(out, F_OK) == 0)
            CHECK(t, same_files(out, whole) || (replace && same_files(out, old)), "half a file after kill %d", i);
        else
            CHECK(t, !replace, "the old file is gone after kill %d", i);
        CHECK(t, same_files(old, same), "it was written where it stood");
    }
    CHECK(t, n_killed > 0, "every run was over in %d ms", takes_ms);
    QUIP(t, &h, &s, "quantize", "source", out, "Q4_K_M", "--force");
    CHECK_INT(t, s.code, 0, "%s", s.err);
    CHECK(t, same_files(out, whole));
    files_beside(out, &n_parts);
    CHECK_INT(t, n_parts, 0, "what was left of the killed");
    shell_finish(&s);
}
