/* SPDX-License-Identifier: MIT */
#include "engine/engine.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "engine/base/cpuid.h"
#include "engine/cpu/cpu_backend.h"
#include "engine/engine_impl.h"

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
    int32_t cores = cpuid_cores();
    enum err_code rc = pool_create(&eng->pool, o->n_threads ? o->n_threads
                                               : cores < POOL_MAX_THREADS ? cores : POOL_MAX_THREADS, e);
    if (rc == ERR_OK)
        rc = cpu_backend_create(&eng->backend, tier, eng->pool, e);
    if (rc != ERR_OK) {
        engine_destroy(eng);
        return rc;
    }
    *out = eng;
    return ERR_OK;
}

void engine_destroy(struct engine *eng)
{
    if (!eng)
        return;
    if (eng->backend)
        eng->backend->ops->destroy(eng->backend);
    pool_destroy(eng->pool);
    free(eng);
}

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

void engine_info(const struct engine *eng, struct engine_info *out)
{
    *out = (struct engine_info){ .cpu_tier = eng->backend->name, .n_threads = pool_threads(eng->pool) };
    cpuid_name(out->cpu, sizeof out->cpu);
    out->memory_total_bytes = kernel_figure("/proc/meminfo", "MemTotal");
    out->memory_available_bytes = kernel_figure("/proc/meminfo", "MemAvailable");
    out->memory_resident_bytes = kernel_figure("/proc/self/status", "VmRSS");
}
