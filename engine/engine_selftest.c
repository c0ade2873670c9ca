/* SPDX-License-Identifier: MIT */
/* Whether a device may be believed (backend/selftest.h), found out once for each driver, build and kind of model:
 *
 *     device-CARD-KINDS.selftest    quip selftest 2 BUILD begun N
 *                                   quip selftest 2 BUILD passed|failed NMSE LIMIT DEVICE_MS CPU_MS
 *
 * in the cache folder. CARD and KINDS are hashes of the card's name and of what is tested of the program; BUILD, of
 * driver, shaders and this program, must be the one of today, so that a new driver or build tries again and takes the
 * place of the old outcome.
 *
 * BEGUN is written before the test and stays when it takes the program or the machine with it: a device that did so
 * twice is not tried a third time, unless a person asks for it by name.
 *
 * A device that nobody asked for must also be the faster one: DEVICE_MS and CPU_MS are what a turn takes with the piece
 * that was tested, 0 where that was not measured. */
#include <dirent.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
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

struct note {
    int32_t n_begun;    /* 0: it came to an end, and what follows is known */
    struct selftest_result result;
    double device_ms, cpu_ms;
};

static bool is_slower(const struct note *n)
{
    return n->device_ms > n->cpu_ms;
}

/* False when there is none of this build. */
static bool read_note(const char *path, uint64_t build, struct note *out)
{
    struct buf text = { 0 };
    uint64_t its_build;
    char outcome[8];
    int n_read = 0;
    *out = (struct note){ 0 };
    bool ok = file_read(path, NOTE_BYTES, &text) &&
              sscanf(buf_text(&text), "quip selftest 2 %16" SCNx64 " %7s %n", &its_build, outcome, &n_read) == 2 &&
              its_build == build && n_read > 0;
    const char *rest = ok ? buf_text(&text) + n_read : "";
    if (ok && strcmp(outcome, "begun") == 0)
        ok = sscanf(rest, "%" SCNd32, &out->n_begun) == 1 && out->n_begun > 0;
    else
        ok = ok &&
             sscanf(rest, "%lf %lf %lf %lf", &out->result.nmse, &out->result.limit, &out->device_ms,
                    &out->cpu_ms) == 4 &&
             strcmp(outcome, selftest_passed(&out->result) ? "passed" : "failed") == 0;
    buf_finish(&text);
    return ok;
}

/* path NULL: nowhere. */
static void write_note(const char *path, uint64_t build, const struct note *n)
{
    struct buf text = { 0 };
    bool ok;
    if (n->n_begun > 0)
        ok = buf_printf(&text, "quip selftest 2 %016" PRIx64 " begun %d\n", build, n->n_begun);
    else
        ok = buf_printf(&text, "quip selftest 2 %016" PRIx64 " %s %g %g %g %g\n", build,
                        selftest_passed(&n->result) ? "passed" : "failed", n->result.nmse, n->result.limit,
                        n->device_ms, n->cpu_ms);
    if (ok && path)
        file_replace(path, text.data, text.n_bytes);
    buf_finish(&text);
}

/* What is not known yet. */
static enum err_code find_out(struct engine *eng, const struct program *p, int32_t n_first, bool tested, struct note *n,
                              struct err *e)
{
    struct backend *exact = NULL;
    enum err_code rc = ERR_OK;
    if (!tested) {
        rc = engine_exact_backend(eng, &exact, e);
        if (rc == ERR_OK)
            rc = selftest_run(eng->backend, exact, p, n_first, &n->result, e);
        if (exact)
            exact->ops->destroy(exact);
    }
    if (rc != ERR_OK || !eng->automatic || !selftest_passed(&n->result))
        return rc;
    rc = selftest_time(eng->backend, p, n_first, &n->device_ms, e);
    return rc == ERR_OK ? selftest_time(eng->cpu, p, n_first, &n->cpu_ms, e) : rc;
}

/* As remembered, or as it comes out now. */
static enum err_code look_up(struct engine *eng, const struct program *p, int32_t n_first, struct note *n, struct err *e)
{
    enum { MOST_BEGUN = 2 };
    struct buf path = { 0 };
    uint64_t build = build_now(eng->device_build);
    const char *name = name_note(&path, eng, p, n_first) ? buf_text(&path) : NULL;
    bool known = name && read_note(name, build, n), tested = known && n->n_begun == 0;
    enum err_code rc = ERR_OK;
    if (known && n->n_begun >= MOST_BEGUN && eng->automatic) {
        rc = err_set(e, ERR_UNSUPPORTED, "quip ended %d times in the midst of it; --device takes the device all the same",
                     n->n_begun);
    } else if (!tested || (eng->automatic && n->device_ms == 0 && selftest_passed(&n->result))) {
        struct note fresh = tested ? *n : (struct note){ .n_begun = known ? n->n_begun + 1 : 1 };
        if (!tested)
            write_note(name, build, &fresh);
        fresh.n_begun = 0;
        rc = find_out(eng, p, n_first, tested, &fresh, e);
        if (rc == ERR_OK)
            write_note(name, build, &fresh);
        else if (name && !tested)
            unlink(name);    /* it came to an end, if to no result */
        *n = fresh;
    }
    buf_finish(&path);
    return rc;
}

enum err_code engine_selftest(struct engine *eng, const struct program *p, int32_t n_device, struct err *e)
{
    struct engine_info info;
    struct note n;
    enum err_code rc = look_up(eng, p, p->n_layers - n_device, &n, e);
    engine_info(eng, &info);
    if (rc != ERR_OK) {
        err_prefix(e, "self-test of %s", info.device);
        return rc;
    }
    if (!selftest_passed(&n.result))
        return err_set(e, ERR_UNSUPPORTED, "%s (driver %s) computes wrong: NMSE %.3g from the processor in its "
                       "self-test, at most %g is right", info.device, info.device_driver, n.result.nmse,
                       n.result.limit);
    if (eng->automatic && is_slower(&n))
        return err_set(e, ERR_UNSUPPORTED, "%s", "");
    return ERR_OK;
}

void engine_selftest_tell(const char *dir, uint64_t device_card, uint64_t device_build, char out[ENGINE_SELFTEST_BYTES])
{
    char prefix[32];
    int32_t n_passed = 0, n_failed = 0, n_begun = 0, n_slower = 0;
    struct selftest_result worst = { 0 };
    uint64_t build = build_now(device_build);
    size_t n_prefix = (size_t)snprintf(prefix, sizeof prefix, "device-%016" PRIx64 "-", device_card);
    DIR *d = dir ? opendir(dir) : NULL;
    for (struct dirent *entry; d && (entry = readdir(d));) {
        struct buf path = { 0 };
        struct note n;
        const char *ending = strrchr(entry->d_name, '.');
        if (strncmp(entry->d_name, prefix, n_prefix) == 0 && ending && strcmp(ending, ".selftest") == 0 &&
            buf_printf(&path, "%s/%s", dir, entry->d_name) && read_note(buf_text(&path), build, &n)) {
            bool passed = n.n_begun == 0 && selftest_passed(&n.result);
            n_begun += n.n_begun > 0;
            n_passed += passed;
            n_failed += n.n_begun == 0 && !passed;
            n_slower += passed && is_slower(&n);
            if (!passed && n.result.nmse >= worst.nmse)
                worst = n.result;
        }
        buf_finish(&path);
    }
    if (d)
        closedir(d);
    int32_t n = n_passed + n_failed + n_begun;
    if (n == 0)
        snprintf(out, ENGINE_SELFTEST_BYTES, "not made yet with this driver and build");
    else if (n_failed > 0)
        snprintf(out, ENGINE_SELFTEST_BYTES, "failed for %d of %d kinds of model, NMSE %.3g where at most %g is right; "
                 "those run on the processor", n_failed, n, worst.nmse, worst.limit);
    else if (n_begun > 0)
        snprintf(out, ENGINE_SELFTEST_BYTES, "did not come to an end for %d of %d kinds of model", n_begun, n);
    else if (n_slower > 0)
        snprintf(out, ENGINE_SELFTEST_BYTES, "passed for %d kind%s of model; for %d of them the processor is faster",
                 n_passed, n_passed == 1 ? "" : "s", n_slower);
    else
        snprintf(out, ENGINE_SELFTEST_BYTES, "passed for %d kind%s of model", n_passed, n_passed == 1 ? "" : "s");
}
