/* SPDX-License-Identifier: MIT */
/* Whether a device may be believed (backend/selftest.h), found out once for each driver, build and kind of model:
 *
 *     device-CARD-KINDS.selftest    quip selftest 1 BUILD passed|failed NMSE LIMIT
 *
 * in the cache folder. CARD and KINDS are hashes of the card's name and of what is tested of the program; BUILD, of
 * driver, shaders and this program, must be the one of today, so that a new driver or build tries again and takes the
 * place of the old outcome. */
#include <dirent.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <xxhash.h>

#include "engine/backend/selftest.h"
#include "engine/base/build_id.h"
#include "engine/base/file.h"
#include "engine/engine_impl.h"

enum { NOTE_BYTES = 256 };

static uint64_t build_now(uint64_t device_build)
{
    uint8_t id[BUILD_ID_BYTES];
    size_t n = build_id(id);
    return XXH3_64bits_withSeed(id, n, device_build);
}

static bool name_note(struct buf *path, const struct engine *eng, const struct program *p, int32_t n_first)
{
    struct buf kinds = { 0 };
    bool ok = eng->cache_dir && selftest_kinds(p, n_first, &kinds) &&
              buf_printf(path, "%s/device-%016" PRIx64 "-%016" PRIx64 ".selftest", eng->cache_dir, eng->device_card,
                         (uint64_t)XXH3_64bits(kinds.data, kinds.n_bytes));
    buf_finish(&kinds);
    return ok;
}

/* False when there is none of this build. */
static bool read_note(const char *path, uint64_t build, struct selftest_result *out)
{
    struct buf note = { 0 };
    uint64_t its_build;
    char outcome[8];
    bool ok = file_read(path, NOTE_BYTES, &note) &&
              sscanf(buf_text(&note), "quip selftest 1 %16" SCNx64 " %7s %lf %lf", &its_build, outcome, &out->nmse,
                     &out->limit) == 4 &&
              its_build == build && strcmp(outcome, selftest_passed(out) ? "passed" : "failed") == 0;
    buf_finish(&note);
    return ok;
}

static void write_note(const char *path, uint64_t build, const struct selftest_result *r)
{
    struct buf note = { 0 };
    if (buf_printf(&note, "quip selftest 1 %016" PRIx64 " %s %g %g\n", build, selftest_passed(r) ? "passed" : "failed",
                   r->nmse, r->limit))
        file_replace(path, note.data, note.n_bytes);
    buf_finish(&note);
}

/* As remembered, or as it comes out now. */
static enum err_code find_out(struct engine *eng, const struct program *p, int32_t n_first, struct selftest_result *out,
                              struct err *e)
{
    struct buf path = { 0 };
    struct backend *exact = NULL;
    uint64_t build = build_now(eng->device_build);
    bool named = name_note(&path, eng, p, n_first);
    enum err_code rc = ERR_OK;
    if (!named || !read_note(buf_text(&path), build, out)) {
        rc = engine_exact_backend(eng, &exact, e);
        if (rc == ERR_OK)
            rc = selftest_run(eng->backend, exact, p, n_first, out, e);
        if (rc == ERR_OK && named)
            write_note(buf_text(&path), build, out);
    }
    if (exact)
        exact->ops->destroy(exact);
    buf_finish(&path);
    return rc;
}

enum err_code engine_selftest(struct engine *eng, const struct program *p, int32_t n_device, struct err *e)
{
    struct engine_info info;
    struct selftest_result r;
    enum err_code rc = find_out(eng, p, p->n_layers - n_device, &r, e);
    if (rc != ERR_OK) {
        err_prefix(e, "self-test");
        return rc;
    }
    if (selftest_passed(&r))
        return ERR_OK;
    engine_info(eng, &info);
    return err_set(e, ERR_UNSUPPORTED, "%s (driver %s) computes wrong: NMSE %.3g from the processor in its self-test, "
                   "at most %g is right", info.device, info.device_driver, r.nmse, r.limit);
}

void engine_selftest_tell(const char *dir, uint64_t device_card, uint64_t device_build, char out[ENGINE_SELFTEST_BYTES])
{
    char prefix[32];
    int32_t n_passed = 0, n_failed = 0;
    struct selftest_result worst = { 0 };
    uint64_t build = build_now(device_build);
    size_t n_prefix = (size_t)snprintf(prefix, sizeof prefix, "device-%016" PRIx64 "-", device_card);
    DIR *d = dir ? opendir(dir) : NULL;
    for (struct dirent *entry; d && (entry = readdir(d));) {
        struct buf path = { 0 };
        struct selftest_result r;
        const char *ending = strrchr(entry->d_name, '.');
        if (strncmp(entry->d_name, prefix, n_prefix) == 0 && ending && strcmp(ending, ".selftest") == 0 &&
            buf_printf(&path, "%s/%s", dir, entry->d_name) && read_note(buf_text(&path), build, &r)) {
            n_passed += selftest_passed(&r);
            n_failed += !selftest_passed(&r);
            if (!selftest_passed(&r) && r.nmse >= worst.nmse)
                worst = r;
        }
        buf_finish(&path);
    }
    if (d)
        closedir(d);
    if (n_passed + n_failed == 0)
        snprintf(out, ENGINE_SELFTEST_BYTES, "not made yet with this driver and build");
    else if (n_failed == 0)
        snprintf(out, ENGINE_SELFTEST_BYTES, "passed for %d kind%s of model", n_passed, n_passed == 1 ? "" : "s");
    else
        snprintf(out, ENGINE_SELFTEST_BYTES, "failed for %d of %d kinds of model, NMSE %.3g where at most %g is right; "
                 "those run on the processor", n_failed, n_passed + n_failed, worst.nmse, worst.limit);
}
