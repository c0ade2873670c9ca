/* SPDX-License-Identifier: MIT */
/* The file of pipelines: written, read back, and of no use when anything about it is wrong. */
#include <dirent.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "engine/vulkan/vulkan_cache.h"
#include "tests/support/vulkan_rig.h"

/* A device with a pipeline of its own making. */
static void open_with_pipeline(struct vulkan_rig *rig, struct test *t, const char *dir)
{
    const struct vulkan_pipeline *p;
    struct err e;
    vulkan_rig_open(rig, t);
    vulkan_cache_load(rig->d, dir);
    CHECK(t, vulkan_pipeline(rig->d, "norm", (const uint32_t[]){ 128, 0, 0 }, 3, &p, &e) == ERR_OK, "%s", e.text);
}

static void name_file(const struct vulkan_rig *rig, const char *dir, char out[700])
{
    snprintf(out, 700, "%s/device-%016" PRIx64 ".pipelines", dir, vulkan_cache_card(rig->d->card));
}

static void write_bytes(struct test *t, const char *path, const char *bytes, size_t n_bytes)
{
    FILE *f = fopen(path, "wb");
    CHECK(t, f && fwrite(bytes, 1, n_bytes, f) == n_bytes && fclose(f) == 0);
}

static int32_t count_files(const char *dir)
{
    DIR *d = opendir(dir);
    int32_t n = 0;
    for (struct dirent *entry; d && (entry = readdir(d));)
        n += entry->d_name[0] != '.';
    if (d)
        closedir(d);
    return n;
}

TEST(vulkan_cache_is_written_once_and_read_back)
{
    struct vulkan_rig rig;
    struct stat st, again;
    char dir[600], path[700];
    snprintf(dir, sizeof dir, "%s/not/there", test_folder(t));
    open_with_pipeline(&rig, t, dir);
    CHECK_INT(t, rig.d->cached_bytes, 0);
    vulkan_cache_save(rig.d, NULL);
    CHECK(t, stat(dir, &st) != 0, "nobody asked for a file");
    vulkan_cache_save(rig.d, dir);
    name_file(&rig, dir, path);
    CHECK(t, stat(path, &st) == 0, "%s", path);
    CHECK_INT(t, st.st_mode & 07777, 0600);
    CHECK(t, rig.d->cached_bytes > 0 && (size_t)st.st_size > rig.d->cached_bytes);
    size_t n_bytes = rig.d->cached_bytes;
    vulkan_rig_close(&rig);

    open_with_pipeline(&rig, t, dir);
    CHECK_INT(t, rig.d->cached_bytes, n_bytes);
    vulkan_cache_save(rig.d, dir);
    CHECK(t, stat(path, &again) == 0 && again.st_ino == st.st_ino, "what it holds already is not written again");
    CHECK_INT(t, count_files(dir), 1);
    vulkan_rig_close(&rig);
}

TEST(vulkan_cache_that_is_damaged_is_as_if_there_were_none)
{
    struct vulkan_rig rig;
    struct err e;
    const struct vulkan_pipeline *p;
    char path[700];
    size_t n_bytes;
    open_with_pipeline(&rig, t, NULL);
    vulkan_cache_save(rig.d, test_folder(t));
    name_file(&rig, test_folder(t), path);
    char *bytes = test_read_file(path, &n_bytes);
    CHECK(t, bytes != NULL);
    rig.d->cached_bytes = 0;
    for (size_t n = 0; n < n_bytes; n += n < 64 ? 1 : 64) {
        write_bytes(t, path, bytes, n);
        vulkan_cache_load(rig.d, test_folder(t));
        CHECK_INT(t, rig.d->cached_bytes, 0, "cut at %zu of %zu", n, n_bytes);
    }
    for (size_t at = 0; at < n_bytes; at += at < 256 ? 1 : 1 + n_bytes / 512) {    /* magic, build, size, sum, bytes */
        bytes[at] ^= (char)(1 << test_below(t, 8));
        write_bytes(t, path, bytes, n_bytes);
        vulkan_cache_load(rig.d, test_folder(t));
        CHECK_INT(t, rig.d->cached_bytes, 0, "byte %zu of %zu", at, n_bytes);
        free(bytes);
        vulkan_cache_save(rig.d, test_folder(t));    /* and puts a good one in its place */
        CHECK(t, rig.d->cached_bytes > 0);
        rig.d->cached_bytes = 0;
        bytes = test_read_file(path, &n_bytes);
        CHECK(t, bytes != NULL);
    }
    vulkan_cache_load(rig.d, test_folder(t));
    CHECK(t, rig.d->cached_bytes > 0, "the last one was good");
    CHECK(t, vulkan_pipeline(rig.d, "norm", (const uint32_t[]){ 64, 0, 0 }, 3, &p, &e) == ERR_OK, "%s", e.text);
    free(bytes);
    vulkan_rig_close(&rig);
}

TEST(vulkan_cache_of_another_build_or_driver_is_not_read)
{
    struct vulkan_rig rig;
    open_with_pipeline(&rig, t, NULL);
    vulkan_cache_save(rig.d, test_folder(t));
    struct vulkan_card card = *rig.d->card;
    uint64_t build = vulkan_cache_build(&card), name = vulkan_cache_card(&card);
    rig.d->card = &card;
    rig.d->cached_bytes = 0;
    card.cache_uuid[3] ^= 1;
    CHECK(t, vulkan_cache_build(&card) != build && vulkan_cache_card(&card) == name);
    vulkan_cache_load(rig.d, test_folder(t));
    CHECK_INT(t, rig.d->cached_bytes, 0);
    card.cache_uuid[3] ^= 1;
    vulkan_cache_load(rig.d, test_folder(t));
    CHECK(t, rig.d->cached_bytes > 0);
    vulkan_rig_close(&rig);
}

TEST(vulkan_cache_that_cannot_be_written_is_no_error)
{
    struct vulkan_rig rig;
    char dir[600], below[700], path[700];
    open_with_pipeline(&rig, t, NULL);
    snprintf(dir, sizeof dir, "%s/unwritten", test_folder(t));
    snprintf(below, sizeof below, "%s/file", dir);
    CHECK(t, mkdir(dir, 0700) == 0);
    write_bytes(t, below, "x", 1);
    vulkan_cache_save(rig.d, below);    /* a file where the folder should be */
    CHECK_INT(t, rig.d->cached_bytes, 0);
    name_file(&rig, dir, path);
    CHECK(t, mkdir(path, 0700) == 0);
    vulkan_cache_save(rig.d, dir);    /* a folder where the file should be */
    CHECK_INT(t, rig.d->cached_bytes, 0);
    CHECK_INT(t, count_files(dir), 2, "nothing is left behind");
    vulkan_cache_load(rig.d, dir);
    CHECK_INT(t, rig.d->cached_bytes, 0);
    vulkan_rig_close(&rig);
}
