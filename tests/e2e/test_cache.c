/* SPDX-License-Identifier: MIT */
/* Prefixes in files, seen from outside: what `quip cache` says, and what is left when a writer is killed. */
#include <dirent.h>
#include <jansson.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/support/home.h"
#include "tests/support/kv_images.h"
#include "tests/support/shell.h"

static void quip(struct test *t, const struct home *h, struct shell *s, const char *const *arguments)
{
    const char *argv[12] = { QUIP_BINARY };
    for (int i = 0; i < 10 && arguments[i]; i++)
        argv[i + 1] = arguments[i];
    shell_finish(s);
    struct shell_options o = { .settings = h->settings };
    shell_run(t, s, argv, &o);
}

#define QUIP(t, h, s, ...) quip((t), (h), (s), (const char *const[]){ __VA_ARGS__, NULL })

static void save(struct test *t, struct kv_cache *kv, const struct kv_store_options *o, int32_t n_tokens)
{
    int32_t tokens[1000];
    struct kv_store *st;
    struct err e;
    kv_images_tokens(tokens, n_tokens, 1);
    CHECK_INT(t, kv_store_open(&st, o, &e), ERR_OK, "%s", e.text);
    kv_store_save_take(st, kv_images_make(kv, tokens, n_tokens), 100);
    kv_store_close(st);
}

TEST(cache_command_lists_and_clears)
{
    struct home h;
    struct shell s = { 0 };
    struct kv_cache *kv;
    struct err e;
    char dir[HOME_PATH_BYTES];
    home_make(t, &h, "dumb");
    home_path(&h, "cache/quip/kv", dir);
    QUIP(t, &h, &s, "cache");
    CHECK_INT(t, s.code, 0, "%s", s.err);
    CHECK(t, strncmp(s.out, "0 files, 0 B of 2.15 GB (--cache-disk), in ", 43) == 0, "%s", s.out);
    CHECK(t, strstr(s.out, dir) != NULL, "%s", s.out);
    CHECK(t, access(dir, F_OK) != 0, "looking makes nothing");

    CHECK_INT(t, kv_cache_create(&kv, kv_images_layers, KV_IMAGES_LAYERS, 0, &e), ERR_OK);
    struct kv_store_options one = kv_images_options(dir, 1), two = kv_images_options(dir, 2);
    two.model = "Evil \033[2J Two";
    two.file = "evil\033[2J-2";
    save(t, kv, &one, 300);
    save(t, kv, &one, 700);
    save(t, kv, &two, 70);
    home_write(t, &h, "cache/quip/kv/0123456789abcdef-0123456789abcdef0123456789abcdef.kv", "junk");
    home_write(t, &h, "cache/quip/kv/device-0123456789abcdef.pipelines", "1234");
    kv_cache_destroy(kv);

    QUIP(t, &h, &s, "cache");
    CHECK_INT(t, s.code, 0, "%s", s.err);
    CHECK_TEXT(t, s.err, "");
    CHECK(t, strstr(s.out, "\n1 file of devices, 4 B: ") != NULL, "%s", s.out);
    CHECK(t, strstr(s.out, "  kv4        Q8_0      tiny-1\n") != NULL, "%s", s.out);
    CHECK(t, strstr(s.out, "     now      300  ") && strstr(s.out, "     now      700  "), "%s", s.out);
    CHECK(t, strstr(s.out, "of no use: 4 bytes") != NULL, "%s", s.out);
    CHECK(t, strstr(s.out, "\n4 files, ") != NULL, "%s", s.out);

    QUIP(t, &h, &s, "cache", "--json");
    json_t *all = json_loads(s.out, 0, NULL), *file;
    size_t i;
    int n_fine = 0;
    int64_t n_bytes = 0;
    CHECK_TEXT(t, json_string_value(json_object_get(all, "folder")), dir);
    CHECK_INT(t, json_integer_value(json_object_get(all, "cap")), 2048LL << 20);
    CHECK_INT(t, json_array_size(json_object_get(all, "files")), 4);
    json_array_foreach(json_object_get(all, "files"), i, file) {
        n_fine += json_object_get(file, "problem") == NULL;
        n_bytes += json_integer_value(json_object_get(file, "bytes"));
        if (json_integer_value(json_object_get(file, "tokens")) == 700) {
            CHECK_TEXT(t, json_string_value(json_object_get(file, "model")), "Tiny One");
            CHECK_TEXT(t, json_string_value(json_object_get(file, "file")), "tiny-1");
            CHECK_TEXT(t, json_string_value(json_object_get(file, "level")), "Q8_0");
            CHECK_TEXT(t, json_string_value(json_object_get(file, "type_v")), "kv4");
        }
    }
    CHECK_INT(t, n_fine, 3);
    CHECK_INT(t, json_integer_value(json_object_get(all, "bytes")), n_bytes);
    CHECK_INT(t, json_integer_value(json_object_get(all, "device_bytes")), 4);
    json_decref(all);

    QUIP(t, &h, &s, "cache", "-m", "TINY-1");
    CHECK(t, strstr(s.out, "tiny-1") && !strstr(s.out, "evil"), "%s", s.out);
    QUIP(t, &h, &s, "cache", "clear", "-m", "nosuch");
    CHECK_INT(t, s.code, 1);
    CHECK(t, strstr(s.err, "'nosuch'") != NULL, "%s", s.err);
    QUIP(t, &h, &s, "cache", "clear", "-m", "Tiny One");
    CHECK_INT(t, s.code, 0);
    CHECK(t, strncmp(s.out, "Removed 2 files, ", 17) == 0, "%s", s.out);
    QUIP(t, &h, &s, "cache", "clear", "--json");
    all = json_loads(s.out, 0, NULL);
    CHECK_INT(t, json_integer_value(json_object_get(all, "removed")), 3);
    json_decref(all);
    QUIP(t, &h, &s, "cache");
    CHECK(t, strncmp(s.out, "0 files", 7) == 0 && !strstr(s.out, "devices"), "%s", s.out);
    QUIP(t, &h, &s, "cache", "clera");
    CHECK_INT(t, s.code, 2);
    CHECK_TEXT(t, s.out, "");
    shell_finish(&s);
}

/* ---- kill -9 ---------------------------------------------------------------------------------------- */

enum { KILLS = 50, STREAMS = 3, LENGTHS = 4, STEP = 200 };

/* What the parent reads of each image: before it is given to the store, and when its file is in its place. */
enum { BEGUN = 'b', WRITTEN = 'w' };

static void tell(int to_parent, char what)
{
    if (write(to_parent, &what, 1) != 1)
        _exit(1);
}

/* Writes images until it is killed; one is always being written. */
_Noreturn static void write_for_ever(const char *dir, int to_parent, uint64_t seed)
{
    int32_t tokens[LENGTHS * STEP];
    struct kv_cache *kv;
    struct kv_store *st;
    struct err e;
    struct kv_store_options o = kv_images_options(dir, 1);
    if (kv_cache_create(&kv, kv_images_layers, KV_IMAGES_LAYERS, 0, &e) != ERR_OK ||
        kv_store_open(&st, &o, &e) != ERR_OK)
        _exit(1);
    int32_t n_left = 0;
    for (uint64_t i = seed;; i++) {
        int32_t n_tokens = STEP * (1 + (int32_t)(i % LENGTHS));
        kv_images_tokens(tokens, n_tokens, i % STREAMS);
        struct kv_image *image = kv_images_make(kv, tokens, n_tokens);
        if (!image)
            _exit(1);
        tell(to_parent, BEGUN);
        kv_store_save_take(st, image, 1);
        n_left++;
        do {
            kv_store_flush(st, n_left > 2 ? 1 : 0);
            for (int32_t now = kv_store_poll(st); n_left > now; n_left--)
                tell(to_parent, WRITTEN);
        } while (n_left > 2);
    }
}

static int count_new(const char *dir)
{
    int n = 0;
    DIR *d = opendir(dir);
    for (struct dirent *entry; d && (entry = readdir(d));)
        n += strncmp(entry->d_name, "new-", 4) == 0;
    if (d)
        closedir(d);
    return n;
}

/* Every file there is loads, and has what its writer put there. */
static int check_files(struct test *t, const char *dir, struct kv_cache *kv)
{
    struct kv_store_list list;
    struct kv_store_entry entry;
    struct kv_store *st;
    struct err e;
    char line[ERR_TEXT_BYTES] = "";
    int n_loaded = 0;
    struct kv_store_options o = kv_images_options(dir, 1);
    CHECK_INT(t, kv_store_open(&st, &o, &e), ERR_OK, "%s", e.text);
    CHECK_INT(t, count_new(dir), 0, "left behind by the writer that was killed");
    CHECK_INT(t, kv_store_list(&list, dir, true, &e), ERR_OK, "%s", e.text);
    for (int32_t i = 0; i < list.n_files; i++)
        CHECK_TEXT(t, list.files[i].why, "");
    for (int k = 0; k < STREAMS * LENGTHS; k++) {
        int32_t tokens[LENGTHS * STEP], n_tokens = STEP * (1 + k % LENGTHS);
        struct kv_image *image;
        kv_images_tokens(tokens, n_tokens, (uint64_t)(k / LENGTHS));
        if (!kv_store_find(st, tokens, n_tokens, &entry) || entry.n_tokens != n_tokens)
            continue;
        CHECK_INT(t, kv_image_new(&image, kv, tokens, n_tokens, &e), ERR_OK);
        CHECK_INT(t, kv_store_load(st, &entry, image, NULL, &e), ERR_OK, "%s", e.text);
        CHECK(t, kv_images_right(image));
        kv_image_drop(image);
        n_loaded++;
    }
    CHECK_INT(t, n_loaded, list.n_files, "every file is one that was written");
    CHECK(t, !kv_store_warning(st, line), "%s", line);
    kv_store_list_finish(&list);
    kv_store_close(st);
    return n_loaded;
}

TEST(cache_survives_writers_that_are_killed)
{
    struct kv_cache *kv;
    struct err e;
    char dir[512];
    int n_left = 0, n_files = 0;
    snprintf(dir, sizeof dir, "%s/killed/kv", test_folder(t));
    CHECK_INT(t, kv_cache_create(&kv, kv_images_layers, KV_IMAGES_LAYERS, 0, &e), ERR_OK);
    for (int i = 0; i < KILLS; i++) {
        int pipes[2], status;
        char what = i % 2 ? WRITTEN : BEGUN, byte;
        CHECK(t, pipe(pipes) == 0);
        uint64_t seed = test_random(t) % 1000;
        fflush(NULL);
        pid_t child = fork();
        if (child == 0)
            write_for_ever(dir, pipes[1], seed);
        CHECK(t, child > 0);
        close(pipes[1]);
        for (uint32_t n = 1 + test_below(t, 3); n > 0; n -= byte == what)    /* so many files */
            CHECK(t, read(pipes[0], &byte, 1) == 1, "the writer ended by itself");
        for (volatile uint32_t spin = test_below(t, 1u << 23); spin > 0;)
            spin = spin - 1;
        kill(child, SIGKILL);
        CHECK(t, waitpid(child, &status, 0) == child && WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
        close(pipes[0]);
        n_left += count_new(dir) > 0;
        n_files = check_files(t, dir, kv);
    }
    printf("%d of %d writers were killed in the middle of a file; %d files in the end\n", n_left, KILLS, n_files);
    CHECK(t, n_files > 0);
    kv_cache_destroy(kv);
}
