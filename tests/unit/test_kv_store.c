/* SPDX-License-Identifier: MIT */
#include "tests/support/test.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "engine/kv/kv_file.h"
#include "engine/kv/kv_folder.h"
#include "tests/support/kv_fake.h"
#include "tests/support/kv_images.h"

enum { MAX_TOKENS = 700, PATH_BYTES = 512 };

/* A cache, a folder and tokens; tokens are the same stream in all cases. */
struct rig {
    struct kv_cache *kv;
    char dir[PATH_BYTES];
    int32_t tokens[MAX_TOKENS], others[MAX_TOKENS];
};

static void rig_make(struct test *t, struct rig *r, const char *name)
{
    struct err e;
    memset(r, 0, sizeof *r);
    CHECK_INT(t, kv_cache_create(&r->kv, kv_images_layers, KV_IMAGES_LAYERS, 0, &e), ERR_OK);
    snprintf(r->dir, sizeof r->dir, "%s/%s/kv", test_folder(t), name);
    kv_images_tokens(r->tokens, MAX_TOKENS, 1);
    kv_images_tokens(r->others, MAX_TOKENS, 2);
}

static struct kv_store *open_store(struct test *t, const struct kv_store_options *o)
{
    struct kv_store *st;
    struct err e;
    CHECK_INT(t, kv_store_open(&st, o, &e), ERR_OK, "%s", e.text);
    return st;
}

static void save(struct test *t, struct rig *r, struct kv_store *st, const int32_t *tokens, int32_t n_tokens,
                 double compute_ms)
{
    struct kv_image *image = kv_images_make(r->kv, tokens, n_tokens);
    CHECK(t, image != NULL);
    kv_store_save_take(st, image, compute_ms);
    CHECK(t, kv_store_flush(st, -1));
}

static void no_warning(struct test *t, struct kv_store *st)
{
    char text[ERR_TEXT_BYTES] = "";
    CHECK(t, !kv_store_warning(st, text), "%s", text);
}

/* Exactly one line, with this in it. */
static void one_warning(struct test *t, struct kv_store *st, const char *part)
{
    char text[ERR_TEXT_BYTES] = "";
    CHECK(t, kv_store_warning(st, text), "no warning with '%s'", part);
    CHECK(t, strstr(text, part) != NULL, "'%s' in: %s", part, text);
    CHECK(t, strpbrk(text, "\n\r\x1b") == NULL, "%s", text);
    no_warning(t, st);
}

/* The entry for these tokens loads, and is right. */
static enum err_code load(struct test *t, struct rig *r, struct kv_store *st, const struct kv_store_entry *entry,
                          const int32_t *tokens)
{
    struct kv_image *image;
    struct err e;
    CHECK_INT(t, kv_image_new(&image, r->kv, tokens, entry->n_tokens, &e), ERR_OK);
    enum err_code rc = kv_store_load(st, entry, image, NULL, &e);
    if (rc == ERR_OK)
        CHECK(t, kv_images_right(image), "loaded, but other bytes");
    else
        CHECK(t, e.code == rc && e.text[0] && !strpbrk(e.text, "\n\r\x1b"), "%s", e.text);
    kv_image_drop(image);
    return rc;
}

static int32_t found(struct kv_store *st, const int32_t *tokens, int32_t n_tokens)
{
    struct kv_store_entry entry;
    return kv_store_find(st, tokens, n_tokens, &entry) ? entry.n_tokens : 0;
}

static void path_of(const struct rig *r, const char *name, char out[PATH_BYTES])
{
    snprintf(out, PATH_BYTES, "%s/%s", r->dir, name);
}

TEST(kv_store_gives_back_what_it_was_given)
{
    struct rig r;
    struct kv_store_entry entry;
    rig_make(t, &r, "round");
    struct kv_store_options o = kv_images_options(r.dir, 1);
    struct kv_store *st = open_store(t, &o);
    CHECK_INT(t, found(st, r.tokens, MAX_TOKENS), 0);
    save(t, &r, st, r.tokens, 300, 1234.5);
    for (int round = 0; round < 2; round++) {
        CHECK(t, kv_store_find(st, r.tokens, MAX_TOKENS, &entry));
        CHECK_INT(t, entry.n_tokens, 300);
        CHECK(t, fabs(entry.compute_ms - 1234.5) < 0.01 && entry.load_ms > 0, "%g %g", entry.compute_ms, entry.load_ms);
        CHECK_INT(t, load(t, &r, st, &entry, r.tokens), ERR_OK);
        double first_ms = entry.load_ms;
        CHECK(t, kv_store_find(st, r.tokens, 300, &entry), "all of them");
        CHECK(t, entry.load_ms > 0 && entry.load_ms != first_ms, "the real time is known now");
        no_warning(t, st);
        kv_store_close(st);
        st = open_store(t, &o);    /* again by another start */
    }
    double noted_ms = entry.load_ms;
    CHECK(t, kv_store_find(st, r.tokens, 300, &entry));
    CHECK(t, fabs(entry.load_ms - noted_ms) < 0.002, "%g, noted %g", entry.load_ms, noted_ms);
    kv_store_close(st);
    kv_cache_destroy(r.kv);
}

TEST(kv_store_finds_the_longest_beginning)
{
    struct rig r;
    struct kv_store_stats stats;
    rig_make(t, &r, "longest");
    struct kv_store_options o = kv_images_options(r.dir, 1);
    struct kv_store *st = open_store(t, &o);
    save(t, &r, st, r.tokens, 64, 1);
    save(t, &r, st, r.tokens, 500, 1);
    save(t, &r, st, r.others, 200, 1);
    for (int round = 0; round < 2; round++) {
        CHECK_INT(t, found(st, r.tokens, 700), 500);
        CHECK_INT(t, found(st, r.tokens, 500), 500);
        CHECK_INT(t, found(st, r.tokens, 499), 64);
        CHECK_INT(t, found(st, r.tokens, 63), 0);
        CHECK_INT(t, found(st, r.others, 700), 200);
        r.tokens[400]++;
        CHECK_INT(t, found(st, r.tokens, 700), 64);
        r.tokens[400]--;
        kv_store_stats(st, &stats);
        CHECK_INT(t, stats.n_files, 3);
        CHECK_INT(t, stats.n_writing, 0);
        kv_store_close(st);
        st = open_store(t, &o);
    }
    kv_store_close(st);
    kv_cache_destroy(r.kv);
}

TEST(kv_store_replaces_a_file_of_the_same_tokens)
{
    struct rig r;
    struct kv_store_entry entry;
    struct kv_store_stats stats;
    rig_make(t, &r, "same");
    struct kv_store_options o = kv_images_options(r.dir, 1);
    struct kv_store *st = open_store(t, &o);
    save(t, &r, st, r.tokens, 100, 10);
    save(t, &r, st, r.tokens, 100, 20);
    CHECK(t, kv_store_find(st, r.tokens, 100, &entry));
    CHECK_INT(t, entry.compute_ms, 20);
    kv_store_stats(st, &stats);
    CHECK_INT(t, stats.n_files, 1);
    CHECK_INT(t, stats.file_bytes, entry.file_bytes);
    CHECK_INT(t, load(t, &r, st, &entry, r.tokens), ERR_OK);
    kv_store_close(st);
    kv_cache_destroy(r.kv);
}

TEST(kv_store_is_for_its_owner_alone_and_says_nothing_by_its_names)
{
    struct rig r;
    struct kv_store_entry entry;
    struct stat st_dir, st_file;
    char path[PATH_BYTES];
    rig_make(t, &r, "private/a/b");
    struct kv_store_options o = kv_images_options(r.dir, 1);
    mode_t before = umask(0);    /* the modes are the store's own, not the mask's */
    struct kv_store *st = open_store(t, &o);
    save(t, &r, st, r.tokens, 100, 10);
    umask(before);
    CHECK(t, kv_store_find(st, r.tokens, 100, &entry));
    path_of(&r, entry.name, path);
    CHECK(t, stat(path, &st_file) == 0);
    CHECK_INT(t, st_file.st_mode & 07777, 0600);
    for (int up = 0; up < 4; up++) {
        *strrchr(path, '/') = '\0';
        CHECK(t, stat(path, &st_dir) == 0);
        CHECK_INT(t, st_dir.st_mode & 07777, 0700, "%s", path);
    }
    CHECK_INT(t, strspn(entry.name, "0123456789abcdef-"), strlen(entry.name) - 3, "%s", entry.name);
    kv_store_close(st);
    kv_cache_destroy(r.kv);
}

/* How long ago a file was last used. */
static void age(struct test *t, const struct rig *r, const char *name, int64_t seconds)
{
    char path[PATH_BYTES];
    struct timespec times[2];
    clock_gettime(CLOCK_REALTIME, &times[0]);
    times[0].tv_sec -= seconds;
    times[1] = times[0];
    path_of(r, name, path);
    CHECK(t, utimensat(AT_FDCWD, path, times, 0) == 0, "%s", path);
}

TEST(kv_store_drops_what_was_unused_longest)
{
    struct rig r;
    struct kv_store_entry entries[3];
    struct kv_store_stats stats;
    int32_t third[MAX_TOKENS];
    rig_make(t, &r, "cap");
    kv_images_tokens(third, MAX_TOKENS, 3);
    struct kv_store_options o = kv_images_options(r.dir, 1);
    struct kv_store *st = open_store(t, &o);
    save(t, &r, st, r.tokens, 300, 1);
    save(t, &r, st, r.others, 300, 1);
    CHECK(t, kv_store_find(st, r.tokens, 300, &entries[0]) && kv_store_find(st, r.others, 300, &entries[1]));
    kv_store_close(st);

    /* Room for two of three; the first was made first, but then it was used. */
    age(t, &r, entries[0].name, 2000);
    age(t, &r, entries[1].name, 1000);
    o.cap_bytes = entries[0].file_bytes * 5 / 2;
    st = open_store(t, &o);
    CHECK_INT(t, load(t, &r, st, &entries[0], r.tokens), ERR_OK);
    save(t, &r, st, third, 300, 1);
    CHECK_INT(t, found(st, r.tokens, 300), 300);
    CHECK_INT(t, found(st, r.others, 300), 0, "the one unused longest is gone");
    CHECK_INT(t, found(st, third, 300), 300);
    kv_store_stats(st, &stats);
    CHECK(t, stats.n_files == 2 && stats.file_bytes <= o.cap_bytes, "%d files", stats.n_files);

    kv_store_close(st);

    /* Other keys count, and a smaller cap takes effect at the next start. */
    age(t, &r, entries[0].name, 1000);
    o.cap_bytes = entries[0].file_bytes + 100;
    memset(o.key.bytes, 9, sizeof o.key.bytes);
    st = open_store(t, &o);
    kv_store_stats(st, &stats);
    CHECK(t, stats.n_files == 0 && stats.file_bytes == entries[0].file_bytes);
    save(t, &r, st, r.tokens, 300, 1);
    kv_store_stats(st, &stats);
    CHECK(t, stats.n_files == 1 && stats.file_bytes == entries[0].file_bytes);
    no_warning(t, st);

    /* One that never fits is not written, and throws nobody out. */
    save(t, &r, st, r.tokens, 700, 1);
    one_warning(t, st, "is not kept");
    CHECK_INT(t, found(st, r.tokens, 700), 300);
    kv_store_close(st);
    kv_cache_destroy(r.kv);
}

TEST(kv_store_sees_its_own_key_alone)
{
    struct rig r;
    struct kv_store_entry entry;
    char name[KV_STORE_NAME_BYTES], from[PATH_BYTES], to[PATH_BYTES];
    rig_make(t, &r, "keys");
    struct kv_store_options one = kv_images_options(r.dir, 1), two = kv_images_options(r.dir, 2);
    struct kv_store *a = open_store(t, &one), *b = open_store(t, &two);
    save(t, &r, a, r.tokens, 100, 1);
    CHECK_INT(t, found(a, r.tokens, 100), 100);
    CHECK_INT(t, found(b, r.tokens, 100), 0);

    /* Somebody gives a file the name it would have under another key. */
    CHECK(t, kv_store_find(a, r.tokens, 100, &entry));
    kv_file_name(name, two.key.bytes, r.tokens, 100);
    path_of(&r, entry.name, from);
    path_of(&r, name, to);
    CHECK(t, rename(from, to) == 0);
    CHECK_INT(t, found(b, r.tokens, 100), 0);
    one_warning(t, b, "the name of what is in it would be");
    CHECK(t, access(to, F_OK) != 0, "removed");
    CHECK_INT(t, found(a, r.tokens, 100), 0);
    no_warning(t, a);

    /* The key is right and the layers are not, which no honest program writes. */
    struct kv_layer layers[KV_IMAGES_LAYERS];
    memcpy(layers, kv_images_layers, sizeof layers);
    layers[1].window++;
    save(t, &r, a, r.tokens, 100, 1);
    one.layers = layers;
    struct kv_store *c = open_store(t, &one);
    CHECK_INT(t, found(c, r.tokens, 100), 0);
    one_warning(t, c, "its layers");
    kv_store_close(a);
    kv_store_close(b);
    kv_store_close(c);
    kv_cache_destroy(r.kv);
}

TEST(kv_store_two_at_once)
{
    struct rig r;
    struct kv_store_entry entry;
    char path[PATH_BYTES];
    rig_make(t, &r, "two");
    struct kv_store_options o = kv_images_options(r.dir, 1);
    struct kv_store *a = open_store(t, &o), *b = open_store(t, &o);
    for (int i = 1; i <= 5; i++) {    /* both write the same and different tokens without waiting for each other */
        kv_store_save_take(a, kv_images_make(r.kv, r.tokens, 64 * i), i);
        kv_store_save_take(b, kv_images_make(r.kv, r.tokens, 64 * i), i);
        kv_store_save_take(b, kv_images_make(r.kv, r.others, 64 * i), i);
        kv_store_poll(a);
        CHECK(t, i < 3 || kv_store_flush(b, -1));
    }
    CHECK(t, kv_store_flush(a, -1) && kv_store_flush(b, -1));
    for (int i = 1; i <= 5; i++) {
        CHECK(t, kv_store_find(a, r.others, 64 * i, &entry) && entry.n_tokens == 64 * i, "%d", i);
        CHECK_INT(t, load(t, &r, a, &entry, r.others), ERR_OK);
        CHECK(t, kv_store_find(b, r.tokens, 64 * i, &entry) && entry.n_tokens == 64 * i, "%d", i);
        CHECK_INT(t, load(t, &r, b, &entry, r.tokens), ERR_OK);
    }
    /* One that the other removes while we know it is just not there. */
    path_of(&r, entry.name, path);
    CHECK(t, unlink(path) == 0);
    CHECK_INT(t, load(t, &r, b, &entry, r.tokens), ERR_IO);
    CHECK_INT(t, found(b, r.tokens, 320), 256);
    no_warning(t, a);
    no_warning(t, b);
    kv_store_close(a);
    kv_store_close(b);
    kv_cache_destroy(r.kv);
}

TEST(kv_store_removes_what_dead_writers_left)
{
    struct rig r;
    struct err e;
    char dead[PATH_BYTES], name[KV_STORE_NAME_BYTES], alive[PATH_BYTES];
    rig_make(t, &r, "dead");
    struct kv_store_options o = kv_images_options(r.dir, 1);
    kv_store_close(open_store(t, &o));
    path_of(&r, "new-1-0123456789abcdef", dead);    /* of a process that lives, but does not write it */
    int fd = open(dead, O_WRONLY | O_CREAT, 0600);
    CHECK(t, fd >= 0 && write(fd, "junk", 4) == 4 && close(fd) == 0);
    int dir = kv_folder_open(r.dir, &e);
    int writing = kv_folder_create(dir, name, &e);
    CHECK(t, writing >= 0, "%s", e.text);
    path_of(&r, name, alive);
    kv_store_close(open_store(t, &o));
    CHECK(t, access(dead, F_OK) != 0, "left behind");
    CHECK(t, access(alive, F_OK) == 0, "still being written");
    close(writing);
    kv_store_close(open_store(t, &o));
    CHECK(t, access(alive, F_OK) != 0);
    close(dir);
    kv_cache_destroy(r.kv);
}

TEST(kv_store_goes_on_when_nothing_can_be_written)
{
    struct rig r;
    struct kv_store *st;
    struct err e;
    struct stat file;
    char path[PATH_BYTES];
    rig_make(t, &r, "full");
    struct kv_store_options o = kv_images_options(r.dir, 1);
    st = open_store(t, &o);
    save(t, &r, st, r.tokens, 100, 1);

    /* A full disk, as far as a process can make itself one. */
    struct rlimit before, small = { 5000, 0 };
    CHECK(t, getrlimit(RLIMIT_FSIZE, &before) == 0);
    small.rlim_max = before.rlim_max;
    CHECK(t, setrlimit(RLIMIT_FSIZE, &small) == 0);
    signal(SIGXFSZ, SIG_IGN);
    save(t, &r, st, r.others, 100, 1);
    save(t, &r, st, r.others, 200, 1);
    CHECK(t, setrlimit(RLIMIT_FSIZE, &before) == 0);
    one_warning(t, st, "prefixes cannot be kept");
    CHECK_INT(t, found(st, r.others, 200), 0);
    CHECK_INT(t, found(st, r.tokens, 100), 100);
    struct kv_store_list list;
    CHECK_INT(t, kv_store_list(&list, r.dir, true, &e), ERR_OK);
    CHECK_INT(t, list.n_files, 1);
    kv_store_list_finish(&list);
    kv_store_close(st);

    /* A folder that is taken away meanwhile. */
    st = open_store(t, &o);
    snprintf(path, sizeof path, "rm -r '%s'", r.dir);
    CHECK(t, system(path) == 0);
    save(t, &r, st, r.others, 100, 1);
    save(t, &r, st, r.others, 200, 1);
    one_warning(t, st, "prefixes cannot be kept");
    CHECK_INT(t, found(st, r.tokens, 100), 0);
    kv_store_close(st);

    /* A file in the place of the folder. */
    CHECK(t, close(open(r.dir, O_CREAT | O_WRONLY, 0600)) == 0);
    CHECK_INT(t, kv_store_open(&st, &o, &e), ERR_IO);
    CHECK(t, strstr(e.text, r.dir) != NULL, "%s", e.text);
    CHECK(t, stat(r.dir, &file) == 0 && S_ISREG(file.st_mode));
    kv_cache_destroy(r.kv);
}

TEST(kv_store_reads_where_it_may_not_write)
{
    struct rig r;
    struct kv_store_entry entry;
    rig_make(t, &r, "readonly");
    struct kv_store_options o = kv_images_options(r.dir, 1);
    struct kv_store *st = open_store(t, &o);
    save(t, &r, st, r.tokens, 100, 1);
    CHECK(t, kv_store_find(st, r.tokens, 100, &entry));
    char path[PATH_BYTES];
    path_of(&r, entry.name, path);
    CHECK(t, chmod(path, 0444) == 0 && chmod(r.dir, 0555) == 0);
    /* The superuser may write anyway: be somebody else until the folder is ours again. */
    bool root = geteuid() == 0;
    CHECK(t, !root || seteuid(65534) == 0);
    enum err_code rc = load(t, &r, st, &entry, r.tokens);
    save(t, &r, st, r.others, 100, 1);
    CHECK(t, !root || seteuid(0) == 0);
    CHECK_INT(t, rc, ERR_OK);
    one_warning(t, st, "Permission denied");
    CHECK(t, chmod(r.dir, 0700) == 0);
    kv_store_close(st);
    kv_cache_destroy(r.kv);
}

TEST(kv_store_saves_in_the_background_and_bounds_what_waits)
{
    struct rig r;
    struct err e;
    struct kv_store_stats stats;
    rig_make(t, &r, "queue");
    struct kv_store_options o = kv_images_options(r.dir, 1);
    struct kv_store *st = open_store(t, &o);
    int dir = kv_folder_open(r.dir, &e), lock = kv_folder_lock(dir, true);    /* nobody can put a file in place */
    CHECK(t, lock >= 0);
    for (int i = 1; i <= 16; i++)    /* what is being written or waits for it is not written twice */
        kv_store_save_take(st, kv_images_make(r.kv, r.tokens, 10 * ((i + 1) / 2)), 1);
    no_warning(t, st);
    kv_store_save_take(st, kv_images_make(r.kv, r.tokens, 90), 1);
    CHECK(t, !kv_store_flush(st, 0));
    CHECK(t, !kv_store_flush(st, 20));
    one_warning(t, st, "wait to be written");
    kv_store_stats(st, &stats);
    CHECK_INT(t, stats.n_writing, 8);
    CHECK_INT(t, found(st, r.tokens, 700), 0);
    close(lock);
    CHECK(t, kv_store_flush(st, -1));
    CHECK_INT(t, kv_store_poll(st), 0);
    CHECK_INT(t, found(st, r.tokens, 700), 80);
    kv_store_save_take(st, kv_images_make(r.kv, r.tokens, 90), 1);
    kv_store_close(st);    /* waits */
    st = open_store(t, &o);
    CHECK_INT(t, found(st, r.tokens, 700), 90);
    kv_store_close(st);
    close(dir);
    kv_cache_destroy(r.kv);
}

TEST(kv_store_load_can_be_cancelled)
{
    struct rig r;
    struct kv_store_entry entry;
    struct kv_image *image;
    struct err e;
    atomic_bool cancel = true;
    rig_make(t, &r, "cancel");
    struct kv_store_options o = kv_images_options(r.dir, 1);
    struct kv_store *st = open_store(t, &o);
    save(t, &r, st, r.tokens, 200, 1);
    CHECK(t, kv_store_find(st, r.tokens, 200, &entry));
    CHECK_INT(t, kv_image_new(&image, r.kv, r.tokens, 200, &e), ERR_OK);
    CHECK_INT(t, kv_store_load(st, &entry, image, &cancel, &e), ERR_CANCELLED);
    kv_image_drop(image);
    no_warning(t, st);
    CHECK_INT(t, found(st, r.tokens, 200), 200, "the file is as good as it was");
    CHECK_INT(t, load(t, &r, st, &entry, r.tokens), ERR_OK);
    /* An image of other tokens of the same number. */
    CHECK_INT(t, load(t, &r, st, &entry, r.others), ERR_FORMAT);
    kv_store_close(st);
    kv_cache_destroy(r.kv);
}

TEST(kv_store_lists_and_clears_the_folder)
{
    struct rig r;
    struct kv_store_list list;
    struct err e;
    char path[PATH_BYTES];
    int32_t n_files;
    uint64_t n_bytes;
    rig_make(t, &r, "list");
    CHECK_INT(t, kv_store_list(&list, r.dir, false, &e), ERR_OK, "no folder is an empty one");
    CHECK_INT(t, list.n_files, 0);
    kv_store_list_finish(&list);
    CHECK_INT(t, kv_store_clear(r.dir, NULL, &n_files, &n_bytes, &e), ERR_OK);

    struct kv_store_options one = kv_images_options(r.dir, 1), two = kv_images_options(r.dir, 2);
    two.model = "Tiny Two";
    two.file = "tiny-2";
    two.level = NULL;
    struct kv_store *a = open_store(t, &one), *b = open_store(t, &two);
    save(t, &r, a, r.tokens, 100, 1);
    save(t, &r, a, r.tokens, 200, 1);
    save(t, &r, b, r.tokens, 300, 1);
    path_of(&r, "0123456789abcdef-0123456789abcdef0123456789abcdef.kv", path);
    FILE *f = fopen(path, "w");
    CHECK(t, f && fputs("quipkv\r\n and then nothing", f) >= 0 && fclose(f) == 0);
    age(t, &r, "0123456789abcdef-0123456789abcdef0123456789abcdef.kv", 5000);
    for (int whole = 0; whole < 2; whole++) {
        CHECK_INT(t, kv_store_list(&list, r.dir, whole, &e), ERR_OK);
        CHECK_INT(t, list.n_files, 4);
        CHECK(t, list.files[3].why[0] && list.files[3].n_bytes == 25, "the oldest comes last: %s", list.files[3].why);
        const struct kv_store_file *file = NULL;
        for (int32_t i = 0; i < 3; i++) {
            CHECK_TEXT(t, list.files[i].why, "");
            if (list.files[i].n_tokens == 200)
                file = &list.files[i];
        }
        CHECK(t, file != NULL);
        CHECK_TEXT(t, file->model, "Tiny One");
        CHECK_TEXT(t, file->file, "tiny-1");
        CHECK_TEXT(t, file->level, "Q8_0");
        CHECK_TEXT(t, kv_type_name(file->type_k), "kv4");
        CHECK_TEXT(t, kv_type_name(file->type_v), "kv4");
        kv_store_list_finish(&list);
    }
    CHECK_INT(t, kv_store_clear(r.dir, "nosuch", &n_files, &n_bytes, &e), ERR_OK);
    CHECK_INT(t, n_files, 0);
    CHECK_INT(t, kv_store_clear(r.dir, "tiny one", &n_files, &n_bytes, &e), ERR_OK);
    CHECK_INT(t, n_files, 2);
    CHECK_INT(t, found(a, r.tokens, 700), 0);
    CHECK_INT(t, found(b, r.tokens, 700), 300);
    CHECK_INT(t, kv_store_clear(r.dir, "TINY-2", &n_files, &n_bytes, &e), ERR_OK);
    CHECK_INT(t, n_files, 1);
    path_of(&r, "0123456789abcdef0123456789abcdef.types", path);
    f = fopen(path, "w");
    CHECK(t, f && fclose(f) == 0);
    CHECK_INT(t, kv_store_clear(r.dir, NULL, &n_files, &n_bytes, &e), ERR_OK);
    CHECK(t, access(path, F_OK) != 0, "what trying types came to goes with the rest");
    CHECK_INT(t, n_files, 1, "the one nobody can read");
    CHECK_INT(t, n_bytes, 25);
    kv_store_close(a);
    kv_store_close(b);
    kv_cache_destroy(r.kv);
}

/* ---- damage ----------------------------------------------------------------------------------------- */

struct damage {
    uint8_t *bytes;
    size_t n_bytes;
    const uint8_t *good;
    size_t n_good, n_head;
};

static void fix_checksum(struct damage *d)
{
    if (d->n_bytes < d->n_head)
        return;
    uint64_t sum = kv_file_checksum(d->bytes, d->n_head);
    memcpy(d->bytes + offsetof(struct kv_file_head, checksum), &sum, sizeof sum);
}

/* A number of the head, where readers go wrong, becomes another one. */
static const char *edit_head(struct test *t, struct damage *d)
{
    static const uint64_t extremes[] = { 0, 1, UINT32_MAX, INT32_MAX, UINT64_MAX, INT64_MAX, 1u << 24, 65 };
    size_t at = test_below(t, 2) ? 8 + 4 * test_below(t, 18) : 4 * test_below(t, (uint32_t)(d->n_head / 4 - 1));
    size_t width = test_below(t, 2) ? 8 : 4;
    if (at + width > d->n_head)
        width = 4;
    uint64_t value = test_below(t, 2) ? extremes[test_below(t, 8)] : test_random(t);
    if (test_below(t, 3) == 0) {    /* a little more or less */
        uint32_t old;
        memcpy(&old, d->bytes + at, sizeof old);
        value = old + test_below(t, 3) - 1u;
        width = 4;
    }
    memcpy(d->bytes + at, &value, width);
    fix_checksum(d);
    return "head edited, checksum right";
}

/* Two pieces of one size change places, and what the head says of them too if consistent. */
static const char *swap_pieces(struct test *t, struct damage *d, bool consistent)
{
    struct kv_file_head h;
    memcpy(&h, d->bytes, sizeof h);
    size_t table = d->n_head - h.n_pieces * sizeof(struct kv_file_piece);
    struct kv_file_piece *p = malloc(h.n_pieces * sizeof *p);
    memcpy(p, d->bytes + table, h.n_pieces * sizeof *p);
    uint32_t a, b;
    do {
        a = test_below(t, h.n_pieces);
        b = test_below(t, h.n_pieces);
    } while (a == b || p[a].n_bytes != p[b].n_bytes);
    size_t at_a = d->n_head, at_b = d->n_head;
    for (uint32_t i = 0; i < a; i++)
        at_a += p[i].n_bytes;
    for (uint32_t i = 0; i < b; i++)
        at_b += p[i].n_bytes;
    uint8_t *keep = malloc(p[a].n_bytes);
    memcpy(keep, d->bytes + at_a, p[a].n_bytes);
    memcpy(d->bytes + at_a, d->bytes + at_b, p[a].n_bytes);
    memcpy(d->bytes + at_b, keep, p[a].n_bytes);
    if (consistent) {
        struct kv_file_piece one = p[a];
        p[a] = p[b];
        p[b] = one;
        memcpy(d->bytes + table, p, h.n_pieces * sizeof *p);
        fix_checksum(d);
    }
    free(keep);
    free(p);
    return consistent ? "pieces and their checksums swapped" : "pieces swapped";
}

static const char *damage(struct test *t, struct damage *d, int kind)
{
    memcpy(d->bytes, d->good, d->n_good);
    d->n_bytes = d->n_good;
    switch (kind) {
    case 0:
        d->bytes[test_below(t, (uint32_t)d->n_good)] ^= (uint8_t)(1u << test_below(t, 8));
        return "a bit flipped";
    case 1:
        d->bytes[test_below(t, (uint32_t)d->n_head)] ^= (uint8_t)(1u << test_below(t, 8));
        return "a bit of the head flipped";
    case 2:
        d->n_bytes = test_below(t, (uint32_t)(test_below(t, 2) ? d->n_good : d->n_head));
        return "cut";
    case 3:
        d->n_bytes += 1 + test_below(t, 64);
        return "longer";
    case 4:
        return swap_pieces(t, d, false);
    case 5:
        return swap_pieces(t, d, true);
    case 6: {
        size_t at = test_below(t, (uint32_t)d->n_good), n = 1 + test_below(t, 4096);
        memset(d->bytes + at, 0, n < d->n_good - at ? n : d->n_good - at);
        return "zeroed";
    }
    default:
        return edit_head(t, d);
    }
}

/* Whether nothing was changed but how long loading took, which has a checksum of its own and is a guess. */
static bool only_note(const struct damage *d)
{
    size_t begin = sizeof(struct kv_file_head), end = begin + sizeof(struct kv_file_note);
    return d->n_bytes == d->n_good && memcmp(d->bytes, d->good, begin) == 0 &&
           memcmp(d->bytes + end, d->good + end, d->n_good - end) == 0;
}

TEST(kv_store_ignores_damaged_files_with_one_line)
{
    struct rig r;
    struct kv_store_entry entry, again;
    struct damage d = { 0 };
    char path[PATH_BYTES];
    rig_make(t, &r, "damage");
    struct kv_store_options o = kv_images_options(r.dir, 1);
    struct kv_store *st = open_store(t, &o);
    save(t, &r, st, r.tokens, 300, 1);
    CHECK(t, kv_store_find(st, r.tokens, 300, &entry));
    kv_store_close(st);
    path_of(&r, entry.name, path);
    char *good = test_read_file(path, &d.n_good);
    struct kv_file_head h;
    memcpy(&h, good, sizeof h);
    d.good = (const uint8_t *)good;
    d.n_head = h.head_bytes;
    d.bytes = calloc(1, d.n_good + 64);

    int n_ignored = 0, n_loaded = 0;
    for (int i = 0; i < 500; i++) {
        const char *what = damage(t, &d, i % 10);
        FILE *f = fopen(path, "w");
        CHECK(t, f && fwrite(d.bytes, 1, d.n_bytes, f) == d.n_bytes && fclose(f) == 0);
        bool same = d.n_bytes == d.n_good && memcmp(d.bytes, good, d.n_good) == 0;
        st = open_store(t, &o);
        bool there = kv_store_find(st, r.tokens, 300, &again);
        enum err_code rc = there ? load(t, &r, st, &again, r.tokens) : ERR_FORMAT;
        char line[ERR_TEXT_BYTES] = "", more[ERR_TEXT_BYTES] = "";
        bool told = kv_store_warning(st, line);
        CHECK(t, !kv_store_warning(st, more), "%d, %s: a second line: %s", i, what, more);
        CHECK(t, told == (rc != ERR_OK), "%d, %s: loaded %d, told '%s'", i, what, rc == ERR_OK, line);
        CHECK(t, !strpbrk(line, "\n\r\x1b"), "%d, %s: %s", i, what, line);
        CHECK(t, !same || rc == ERR_OK, "%d, %s: nothing was wrong, told '%s'", i, what, line);
        CHECK(t, i % 10 >= 7 || only_note(&d) || rc != ERR_OK, "%d, %s: not noticed", i, what);
        CHECK(t, rc == ERR_OK || found(st, r.tokens, 300) == 0, "%d, %s: found again", i, what);
        n_loaded += rc == ERR_OK;
        n_ignored += rc != ERR_OK;
        kv_store_close(st);
    }
    printf("%d ignored, %d loaded the right bytes\n", n_ignored, n_loaded);
    CHECK(t, n_ignored > 350, "%d", n_ignored);
    free(d.bytes);
    free(good);
    kv_cache_destroy(r.kv);
}

/* The new file was given the inode of the one that was removed, and was taken for it. */
TEST(kv_store_takes_a_new_file_in_the_place_of_a_damaged_one)
{
    struct rig r;
    struct kv_store_entry entry;
    char path[PATH_BYTES];
    rig_make(t, &r, "again");
    struct kv_store_options o = kv_images_options(r.dir, 1);
    struct kv_store *st = open_store(t, &o);
    save(t, &r, st, r.tokens, 100, 1);
    CHECK(t, kv_store_find(st, r.tokens, 100, &entry));
    path_of(&r, entry.name, path);
    for (int at_load = 0; at_load < 2; at_load++) {
        CHECK(t, truncate(path, 1000 + at_load) == 0);    /* the same line is not given twice */
        if (at_load) {
            CHECK_INT(t, load(t, &r, st, &entry, r.tokens), ERR_FORMAT);
        } else {
            kv_store_close(st);
            st = open_store(t, &o);
        }
        one_warning(t, st, "damaged and was removed");
        save(t, &r, st, r.tokens, 100, 1);
        CHECK(t, kv_store_find(st, r.tokens, 100, &entry));
        CHECK_INT(t, load(t, &r, st, &entry, r.tokens), ERR_OK);
    }
    kv_store_close(st);
    kv_cache_destroy(r.kv);
}

TEST(kv_store_leaves_files_of_other_formats_alone)
{
    struct rig r;
    struct kv_store_entry entry;
    char path[PATH_BYTES];
    uint32_t other = KV_FILE_VERSION + 1;
    rig_make(t, &r, "version");
    struct kv_store_options o = kv_images_options(r.dir, 1);
    struct kv_store *st = open_store(t, &o);
    save(t, &r, st, r.tokens, 100, 1);
    CHECK(t, kv_store_find(st, r.tokens, 100, &entry));
    kv_store_close(st);
    path_of(&r, entry.name, path);
    int fd = open(path, O_WRONLY);
    CHECK(t, pwrite(fd, &other, sizeof other, offsetof(struct kv_file_head, version)) == sizeof other && close(fd) == 0);
    st = open_store(t, &o);
    CHECK_INT(t, found(st, r.tokens, 100), 0);
    one_warning(t, st, "format 2");
    CHECK(t, access(path, F_OK) == 0);
    save(t, &r, st, r.others, 100, 1);    /* the folder has changed; it is not said twice */
    CHECK_INT(t, found(st, r.others, 100), 100);
    no_warning(t, st);
    save(t, &r, st, r.tokens, 100, 1);
    CHECK_INT(t, found(st, r.tokens, 100), 100, "a good one takes its place");
    kv_store_close(st);
    kv_cache_destroy(r.kv);
}

/* Pages that neither the thread that writes a file nor the one that reads it can see. */
TEST(kv_store_keeps_what_a_device_holds)
{
    enum { N = 300 };
    struct rig r;
    struct err e;
    struct kv_fake_memory m;
    uint64_t seeds[N];
    rig_make(t, &r, "device");
    for (int32_t i = 0; i < N; i++)
        seeds[i] = kv_fake_seed(i > 0 ? seeds[i - 1] : 7, r.tokens[i]);
    for (int from = 0; from < KV_FAKE_PLACES; from++) {
        struct kv_store_options o = kv_images_options(r.dir, (uint8_t)(1 + from));
        struct kv_store *st = open_store(t, &o);
        for (int into = -1; into < KV_FAKE_PLACES; into++) {    /* written, then read into every place */
            struct kv_layer layers[KV_IMAGES_LAYERS];
            struct kv_store_entry entry;
            struct kv_cache *kv;
            struct kv_seq *s;
            struct kv_image *image;
            kv_fake_memory_init(&m, 1 << 20);
            kv_fake_layers(layers, kv_images_layers, KV_IMAGES_LAYERS, &m,
                           (enum kv_fake_place)(into < 0 ? from : into));
            CHECK_INT(t, kv_cache_create(&kv, layers, KV_IMAGES_LAYERS, 1 << 30, &e), ERR_OK);
            CHECK_INT(t, kv_seq_create(&s, kv, N + 1, &e), ERR_OK);
            if (into < 0) {
                CHECK_INT(t, kv_seq_reserve(s, N, &e), ERR_OK);
                for (int32_t i = 0; i < N; i++)
                    kv_fake_row(s, layers, KV_IMAGES_LAYERS, i, seeds[i]);
                kv_seq_append(s, r.tokens, N);
                CHECK_INT(t, kv_image_of(&image, s, &e), ERR_OK);
                kv_store_save_take(st, image, 100);
                kv_seq_truncate(s, 0);
                CHECK(t, kv_store_flush(st, -1));
            } else {
                CHECK(t, kv_store_find(st, r.tokens, N, &entry));
                CHECK_INT(t, kv_image_new(&image, kv, r.tokens, N, &e), ERR_OK);
                CHECK_INT(t, kv_store_load(st, &entry, image, NULL, &e), ERR_OK, "%s", e.text);
                CHECK_INT(t, kv_image_commit_take(image, &e), ERR_OK);
                CHECK_INT(t, kv_seq_match(s, r.tokens, N), N);
                CHECK_INT(t, kv_fake_check(s, layers, KV_IMAGES_LAYERS, N, N, seeds, false), -1,
                          "from %d into %d", from, into);
            }
            kv_seq_destroy(s);
            kv_cache_destroy(kv);
            kv_fake_memory_finish(&m);
        }
        no_warning(t, st);
        kv_store_close(st);
    }
    kv_cache_destroy(r.kv);
}
