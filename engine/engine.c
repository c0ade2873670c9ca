/* SPDX-License-Identifier: MIT */
#include "engine/engine.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "engine/base/cpuid.h"
#include "engine/cpu/cpu_backend.h"
#include "engine/engine_impl.h"
#include "engine/vulkan/vulkan_backend.h"
#include "engine/vulkan/vulkan_cache.h"
#include "engine/vulkan/vulkan_list.h"
#include "engine/vulkan/vulkan_pipeline.h"

static enum err_code find_tier(const char *name, enum cpu_tier *out, struct err *e)
{
    struct buf list = { 0 };
    for (enum cpu_tier t = 0; t < CPU_N_TIERS; t++) {
        if (strcmp(cpu_tier_name(t), name) == 0 && cpu_tier_available(t)) {
            buf_finish(&list);
            *out = t;
            return ERR_OK;
        }
        if (cpu_tier_available(t))
            buf_printf(&list, "%s%s", list.n_bytes ? ", " : "", cpu_tier_name(t));
    }
    enum err_code rc = err_set(e, ERR_UNSUPPORTED, "processor tier '%s': this machine has %s", name, buf_text(&list));
    buf_finish(&list);
    return rc;
}

const char *engine_tier(int32_t i)
{
    for (enum cpu_tier t = 0; t < CPU_N_TIERS; t++)
        if (cpu_tier_available(t) && i-- == 0)
            return cpu_tier_name(t);
    return NULL;
}

/* ---- what computes ---------------------------------------------------------------------------------- */

static bool is_auto(const char *device)
{
    return !device || !device[0] || strcasecmp(device, "auto") == 0;
}

/* To look for devices loads all drivers, at every start: about 100 ms and 50 MB with those of Mesa 22.3 (two cores of
 * an EPYC). So "auto" looks only where the kernel shows a device that is no software, or where an option speaks of
 * Vulkan. */
static bool auto_looks(const struct engine_options *o)
{
    static const char *const nodes[] = { "/dev/dri", "/dev/nvidiactl", "/dev/dxg", "/dev/kgsl-3d0", "/dev/mali0" };
    bool looks = o->vulkan_loader || o->vulkan_validate;
    for (size_t i = 0; !looks && i < sizeof nodes / sizeof *nodes; i++)
        looks = access(nodes[i], F_OK) == 0;
    return looks && !o->cpu_tier;
}

/* The rule of "auto":
 *
 *   1. who names a tier of the processor wants the processor
 *   2. without a sign of a device Vulkan is not started (auto_looks)
 *   3. the first device of the list (the best first: vulkan_list.c) that is usable, is no software and whose
 *      backend opens
 *   4. else the processor
 *   5. a model whose kind the device computes wrong, or slower than the processor, is the processor's all the same
 *      (engine_selftest.c)
 *
 * Software devices compute on the processor too, slower than the CPU backend: they are for tests, and used by name
 * alone. Gives NULL for the processor; *why is what the first device of 3. failed with, "" when none failed. */
static const struct vulkan_card *choose_device(struct vulkan_list *list, const struct engine_options *o,
                                               struct backend **backend, struct err *why)
{
    why->text[0] = '\0';
    if (!auto_looks(o))
        return NULL;
    for (int32_t i = 0; i < list->n_cards; i++) {
        const struct vulkan_card *c = &list->cards[i];
        struct err e;
        if (!c->usable || c->kind == VULKAN_SOFTWARE)
            continue;
        if (vulkan_backend_create(backend, list, c, o->cache_dir, &e) == ERR_OK)
            return c;
        if (!why->text[0])
            *why = e;
    }
    return NULL;
}

static enum err_code open_list(struct vulkan_list **out, const struct engine_options *o, struct err *e)
{
    static const char *const tiles[] = { [VULKAN_TILES_NONE] = "none", [VULKAN_TILES_F32] = "f32",
                                         [VULKAN_TILES_INT8] = "int8", [VULKAN_TILES_COOP] = "coop" };
    struct vulkan_list_options lo = { .library = o->vulkan_loader, .validate = o->vulkan_validate,
                                      .ahead = o->run_ahead };
    for (int i = VULKAN_TILES_NONE; o->vulkan_tiles && i <= VULKAN_TILES_COOP; i++)
        if (strcmp(tiles[i], o->vulkan_tiles) == 0)
            lo.tiles = (enum vulkan_tiles)i;
    if (o->vulkan_tiles && lo.tiles == VULKAN_TILES_BY_DEVICE)
        return err_set(e, ERR_UNSUPPORTED, "tiles '%s': none, f32, int8 or coop wanted", o->vulkan_tiles);
    return vulkan_list_open(out, &lo, e);
}

static enum err_code open_named(struct engine *eng, const char *device, struct engine_target *out, struct err *e)
{
    enum err_code rc = vulkan_list_find(eng->vulkan, device, &out->card, e);
    if (rc != ERR_OK || out->card == eng->card)
        return rc;
    return vulkan_backend_create(&out->backend, eng->vulkan, out->card, eng->cache_dir, e);
}

/* "auto": the processor where there is nothing to take. */
static enum err_code open_best(struct engine *eng, const struct engine_options *o, struct engine_target *out,
                               struct err *note, struct err *e)
{
    enum err_code rc = eng->vulkan ? ERR_OK : open_list(&eng->vulkan, o, e);
    if (rc != ERR_OK)    /* nobody asked for Vulkan, and there is none */
        return o->vulkan_validate ? rc : ERR_OK;
    out->card = choose_device(eng->vulkan, o, &out->backend, note);
    if (out->card)
        note->text[0] = '\0';
    if (out->card && out->card == eng->card) {
        out->backend->ops->destroy(out->backend);
        out->backend = eng->backend;
    }
    return ERR_OK;
}

/* With nothing in use from it the list goes, and the drivers with it, but for what validation had to say. */
static void drop_list(struct engine *eng)
{
    if (eng->card || eng->left || (eng->vulkan && eng->vulkan->n_messages > 0))
        return;
    vulkan_list_close(eng->vulkan);
    eng->vulkan = NULL;
}

enum err_code engine_find_target(struct engine *eng, const char *device, struct engine_target *out, struct err *note,
                                 struct err *e)
{
    const struct engine_options o = { .cpu_tier = eng->names_tier ? eng->cpu_tier : NULL,
                                      .vulkan_loader = eng->vulkan_loader, .vulkan_validate = eng->vulkan_validate,
                                      .vulkan_tiles = eng->vulkan_tiles, .run_ahead = eng->run_ahead,
                                      .cache_dir = eng->cache_dir };
    enum err_code rc = ERR_OK;
    note->text[0] = '\0';
    *out = (struct engine_target){ eng->backend, NULL, is_auto(device) };
    if (is_auto(device)) {
        if (auto_looks(&o))
            rc = open_best(eng, &o, out, note, e);
    } else if (strcasecmp(device, "cpu") != 0) {
        rc = eng->vulkan ? ERR_OK : open_list(&eng->vulkan, &o, e);
        if (rc == ERR_OK)
            rc = open_named(eng, device, out, e);
    }
    if (!out->card)
        out->backend = eng->cpu;
    if (rc != ERR_OK)
        drop_list(eng);
    return rc;
}

struct engine_target engine_target(const struct engine *eng)
{
    return (struct engine_target){ eng->backend, eng->card, eng->automatic };
}

void engine_set_target(struct engine *eng, const struct engine_target *target)
{
    eng->backend = target->backend;
    eng->card = target->card;
    eng->automatic = target->automatic;
    eng->device_id[0] = '\0';
    if (!eng->card)
        return;
    eng->device_card = vulkan_cache_card(eng->card);
    eng->device_build = vulkan_cache_build(eng->card);
    snprintf(eng->device_id, sizeof eng->device_id, "vulkan:%d", (int)(eng->card - eng->vulkan->cards));
}

void engine_note_device(struct engine *eng, const struct err *why)
{
    eng->device_note[0] = '\0';
    if (why->text[0])
        snprintf(eng->device_note, sizeof eng->device_note, "Vulkan: %.440s; answering on the CPU", why->text);
}

/* Without an error: what cannot be had is noted, and the processor taken. */
static void open_device(struct engine *eng, const char *device)
{
    struct engine_target target;
    struct err note, e;
    bool found = engine_find_target(eng, device, &target, &note, &e) == ERR_OK;
    engine_set_target(eng, found ? &target : &(struct engine_target){ .backend = eng->cpu });
    engine_note_device(eng, found ? &note : &e);
    drop_list(eng);
}

enum err_code engine_exact_backend(struct engine *eng, struct backend **out, struct err *e)
{
    return cpu_backend_create(out, CPU_TIER_EXACT, eng->pool, e);
}

enum err_code engine_create(struct engine **out, const struct engine_options *o, struct err *e)
{
    enum cpu_tier tier = cpu_tier_best();
    if (o->cpu_tier) {
        enum err_code rc = find_tier(o->cpu_tier, &tier, e);
        if (rc != ERR_OK)
            return rc;
    }
    struct engine *eng = calloc(1, sizeof *eng);
    if (!eng)
        return err_set(e, ERR_NOMEM, "no memory for the engine");
    eng->cpu_tier = cpu_tier_name(tier);
    eng->n_gpu_layers = o->n_gpu_layers;
    eng->n_ctx = o->n_ctx;
    eng->run_ahead = o->run_ahead;
    eng->vulkan_validate = o->vulkan_validate;
    eng->names_tier = o->cpu_tier != NULL;
    int32_t cores = cpuid_cores();
    enum err_code rc = ERR_OK;
    if ((o->cache_dir && !(eng->cache_dir = strdup(o->cache_dir))) ||
        (o->vulkan_loader && !(eng->vulkan_loader = strdup(o->vulkan_loader))) ||
        (o->vulkan_tiles && !(eng->vulkan_tiles = strdup(o->vulkan_tiles))))
        rc = err_set(e, ERR_NOMEM, "no memory for the engine");
    int32_t n_threads = o->n_threads ? o->n_threads : cores < POOL_MAX_THREADS ? cores : POOL_MAX_THREADS;
    if (rc == ERR_OK)
        rc = pool_create(&eng->pool, n_threads, e);
    if (rc == ERR_OK)
        rc = cpu_backend_create(&eng->cpu, tier, eng->pool, e);
    if (rc != ERR_OK) {
        engine_destroy(eng);
        return rc;
    }
    open_device(eng, o->device);
    *out = eng;
    return ERR_OK;
}

void engine_destroy(struct engine *eng)
{
    if (!eng)
        return;
    struct engine_target target = engine_target(eng);
    engine_leave_target(eng, &target);
    engine_close_left(eng);
    if (eng->cpu)
        eng->cpu->ops->destroy(eng->cpu);
    vulkan_list_close(eng->vulkan);
    pool_destroy(eng->pool);
    free(eng->cache_dir);
    free(eng->vulkan_loader);
    free(eng->vulkan_tiles);
    free(eng);
}

/* ---- what is left ------------------------------------------------------------------------------------- */

static bool is_used(const struct engine *eng, const struct backend *b)
{
    for (const struct model *m = eng->models; m; m = m->next)
        if (m->device == b || session_caches_lie_in(m->caches, b->kv_memory))
            return true;
    return false;
}

void engine_close_left(struct engine *eng)
{
    for (struct backend **at = &eng->left; *at;) {
        struct backend *b = *at;
        if (is_used(eng, b)) {
            at = &b->next;
            continue;
        }
        *at = b->next;
        b->ops->destroy(b);
    }
    drop_list(eng);
}

void engine_leave_target(struct engine *eng, const struct engine_target *target)
{
    if (target->backend == eng->cpu)
        return;
    target->backend->next = eng->left;
    eng->left = target->backend;
}

void engine_lose_device(struct engine *eng, const struct backend *b, const struct err *why)
{
    struct err e = *why;
    if (b != eng->backend || b == eng->cpu)
        return;    /* another model came upon it first */
    struct engine_target target = engine_target(eng);
    engine_leave_target(eng, &target);
    if (++eng->n_lost < ENGINE_MAX_LOSSES &&
        vulkan_backend_create(&eng->backend, eng->vulkan, eng->card, eng->cache_dir, &e) == ERR_OK)
        return;
    engine_set_target(eng, &(struct engine_target){ .backend = eng->cpu });
    engine_note_device(eng, &e);
}

const char *engine_validation(const struct engine *eng)
{
    return eng->vulkan ? eng->vulkan->message : "";
}

/* ---- what there is ---------------------------------------------------------------------------------- */

/* A line "Name:   123 kB" of a file the kernel writes, in bytes; 0 when it is not there. */
static uint64_t kernel_figure(const char *path, const char *name)
{
    FILE *f = fopen(path, "re");
    char line[256];
    uint64_t kib = 0;
    size_t length = strlen(name);
    while (f && fgets(line, sizeof line, f))
        if (strncmp(line, name, length) == 0 && line[length] == ':') {
            kib = strtoull(line + length + 1, NULL, 10);
            break;
        }
    if (f)
        fclose(f);
    return kib * 1024;
}

uint64_t engine_resident_bytes(void)
{
    return kernel_figure("/proc/self/status", "VmRSS");
}

void engine_info(const struct engine *eng, struct engine_info *out)
{
    *out = (struct engine_info){ .cpu_tier = eng->cpu_tier, .n_threads = pool_threads(eng->pool), .device = "",
                                 .device_id = eng->device_id, .device_driver = "", .device_note = eng->device_note,
                                 .validation = "" };
    cpuid_name(out->cpu, sizeof out->cpu);
    if (eng->card) {
        uint64_t free_bytes[VK_MAX_MEMORY_HEAPS] = { 0 };
        vulkan_card_free_bytes(&eng->vulkan->api, eng->card, free_bytes);
        out->device = eng->card->name;
        out->device_driver = eng->card->driver;
        out->device_total_bytes = eng->card->local_bytes;
        out->device_free_bytes = free_bytes[vulkan_card_heap(eng->card)];
        out->device_shares = engine_device_shares(eng);
        out->device_is_software = eng->card->kind == VULKAN_SOFTWARE;
    }
    if (eng->vulkan) {
        out->n_validation = eng->vulkan->n_messages;
        out->validation = eng->vulkan->message;
    }
    out->memory_total_bytes = kernel_figure("/proc/meminfo", "MemTotal");
    out->memory_available_bytes = kernel_figure("/proc/meminfo", "MemAvailable");
    out->memory_resident_bytes = engine_resident_bytes();
}

bool engine_device_shares(const struct engine *eng)
{
    return eng->card && (eng->card->unified || eng->card->kind == VULKAN_SOFTWARE);
}

uint64_t engine_device_room(const struct engine_info *info)
{
    static const uint64_t LEAST = 512u << 20;
    uint64_t reserve = info->device_total_bytes / 10;
    if (reserve < LEAST && !info->device_is_software)
        reserve = LEAST;
    return info->device_free_bytes > reserve ? info->device_free_bytes - reserve : 0;
}

enum { FEATURES_BYTES = 160 };

struct engine_device_list {
    struct vulkan_list *vulkan;    /* NULL: there is no Vulkan, and err says why */
    struct err err;
    char version[24];
    int32_t chosen;
    char why[ERR_TEXT_BYTES];
    struct engine_device devices[VULKAN_MAX_CARDS];
    struct {
        char id[16], version[24], has[FEATURES_BYTES], lacks[FEATURES_BYTES], problem[ERR_TEXT_BYTES];
        char selftest[ENGINE_SELFTEST_BYTES];
    } texts[VULKAN_MAX_CARDS];
};

static void write_version(uint32_t version, char out[24])
{
    snprintf(out, 24, "%u.%u.%u", VK_API_VERSION_MAJOR(version), VK_API_VERSION_MINOR(version),
             VK_API_VERSION_PATCH(version));
}

/* Names of the features in a set, with commas. */
static void write_features(uint32_t features, char out[FEATURES_BYTES])
{
    size_t used = 0;
    out[0] = '\0';
    for (int bit = 0; bit < VULKAN_N_FEATURES; bit++)
        if (features >> bit & 1 && used < FEATURES_BYTES)
            used += (size_t)snprintf(out + used, FEATURES_BYTES - used, "%s%s", used ? ", " : "",
                                     vulkan_feature_name(1u << bit));
}

static void describe(struct engine_device_list *list, int32_t i, const char *cache_dir)
{
    const struct vulkan_card *c = &list->vulkan->cards[i];
    uint64_t free_bytes[VK_MAX_MEMORY_HEAPS] = { 0 };
    snprintf(list->texts[i].id, sizeof list->texts[i].id, "vulkan:%d", i);
    write_version(c->api_version, list->texts[i].version);
    write_features(c->features, list->texts[i].has);
    write_features(~c->features, list->texts[i].lacks);
    if (!c->usable)
        snprintf(list->texts[i].problem, sizeof list->texts[i].problem, "%s", c->why);
    else
        engine_selftest_tell(cache_dir, vulkan_cache_card(c), vulkan_cache_build(c), list->texts[i].selftest);
    struct engine_device *d = &list->devices[i];
    *d = (struct engine_device){ .id = list->texts[i].id, .name = c->name, .driver = c->driver,
                                 .kind = vulkan_kind_name(c->kind), .version = list->texts[i].version,
                                 .has = list->texts[i].has, .lacks = list->texts[i].lacks,
                                 .problem = list->texts[i].problem, .selftest = list->texts[i].selftest,
                                 .knows_free = c->features & VULKAN_BUDGET };
    vulkan_card_free_bytes(&list->vulkan->api, c, free_bytes);
    for (uint32_t h = 0; h < c->memory.memoryHeapCount && d->n_heaps < ENGINE_MAX_HEAPS; h++, d->n_heaps++) {
        d->heaps[d->n_heaps].n_bytes = c->memory.memoryHeaps[h].size;
        d->heaps[d->n_heaps].free_bytes = free_bytes[h];
        d->heaps[d->n_heaps].is_local = c->memory.memoryHeaps[h].flags & VK_MEMORY_HEAP_DEVICE_LOCAL_BIT;
    }
}

/* A device whose backend does not open is of no use, whatever its features. */
static void try_devices(struct engine_device_list *list)
{
    for (int32_t i = 0; i < list->vulkan->n_cards; i++) {
        const struct vulkan_card *c = &list->vulkan->cards[i];
        struct backend *b = NULL;
        struct err e;
        if (!c->usable)
            continue;
        if (vulkan_backend_create(&b, list->vulkan, c, NULL, &e) == ERR_OK) {
            b->ops->destroy(b);
            continue;
        }
        size_t n = strlen(c->name);    /* the text begins with the name, which stands beside it here */
        bool named = strncmp(e.text, c->name, n) == 0 && strncmp(e.text + n, ": ", 2) == 0;
        snprintf(list->texts[i].problem, sizeof list->texts[i].problem, "%s", named ? e.text + n + 2 : e.text);
    }
}

/* What choose_device() makes of the list, in words. */
static void explain_choice(struct engine_device_list *list, const struct engine_options *o)
{
    const struct vulkan_list *v = list->vulkan;
    int32_t n_real = 0, n_usable = 0;
    struct backend *b = NULL;
    struct err e;
    const struct vulkan_card *c = choose_device(list->vulkan, o, &b, &e);
    if (b)
        b->ops->destroy(b);
    list->chosen = c ? (int32_t)(c - v->cards) : -1;
    for (int32_t i = 0; i < v->n_cards; i++) {
        n_real += v->cards[i].kind != VULKAN_SOFTWARE;
        n_usable += v->cards[i].kind != VULKAN_SOFTWARE && v->cards[i].usable;
    }
    const char *why = c ? "the best device that can be used"
                      : v->n_cards == 0 ? "there is no Vulkan device here"
                      : n_real == 0 ? "all devices here are software, which is used by name alone"
                      : n_usable == 0 ? "no device here can be used"
                      : e.text[0] ? e.text : "the kernel shows no device (/dev/dri and the like)";
    snprintf(list->why, sizeof list->why, "%s", why);
}

enum err_code engine_devices(struct engine_device_list **out, const struct engine_options *o, struct err *e)
{
    struct engine_device_list *list = calloc(1, sizeof *list);
    if (!list)
        return err_set(e, ERR_NOMEM, "no memory for the list of devices");
    list->chosen = -1;
    if (open_list(&list->vulkan, o, &list->err) == ERR_OK) {
        const struct engine_options automatic = { .vulkan_loader = o->vulkan_loader,
                                                  .vulkan_validate = o->vulkan_validate };
        write_version(list->vulkan->version, list->version);
        for (int32_t i = 0; i < list->vulkan->n_cards; i++)
            describe(list, i, o->cache_dir);
        try_devices(list);
        explain_choice(list, &automatic);
    } else {
        snprintf(list->why, sizeof list->why, "there is no Vulkan here");
    }
    *out = list;
    return ERR_OK;
}

void engine_devices_destroy(struct engine_device_list *list)
{
    if (!list)
        return;
    vulkan_list_close(list->vulkan);
    free(list);
}

void engine_devices_info(const struct engine_device_list *list, struct engine_devices_info *out)
{
    const struct vulkan_list *v = list->vulkan;
    *out = (struct engine_devices_info){
        .loader = v ? vulkan_api_path(&v->api) : "",
        .version = list->version,
        .problem = v ? "" : list->err.text,
        .n_devices = v ? v->n_cards : 0,
        .chosen = list->chosen,
        .why = list->why,
        .has_coop = vulkan_coop_compiled(),
        .n_validation = v ? v->n_messages : 0,
        .validation = v ? v->message : "",
    };
}

const struct engine_device *engine_device_at(const struct engine_device_list *list, int32_t i)
{
    return &list->devices[i];
}
