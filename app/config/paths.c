/* SPDX-License-Identifier: MIT */
#include "app/config/paths.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* "" rather than a path cut short. */
static void join(char out[PATHS_BYTES], const char *a, const char *b)
{
    if (snprintf(out, PATHS_BYTES, "%s%s", a, b) >= PATHS_BYTES)
        out[0] = '\0';
}

static void below_home(char out[PATHS_BYTES], const char *xdg, const char *home, const char *usual,
                       const char *below)
{
    char base[PATHS_BYTES];
    if (xdg[0])
        join(base, xdg, "");
    else if (home[0])
        join(base, home, usual);
    else
        base[0] = '\0';
    if (base[0])
        join(out, base, below);
    else
        out[0] = '\0';
}

static bool root_is(const char *root, struct paths *p)
{
    join(p->model_table, root, "/assets/models.txt");
    join(p->calibration, root, "/assets/calibration.txt");
    join(p->fetch_script, root, "/app/fetch-model.sh");
    join(p->measure_text, root, "/assets/measure.txt");
    if (p->model_table[0] && access(p->model_table, R_OK) == 0)
        return true;
    p->model_table[0] = p->calibration[0] = p->fetch_script[0] = p->measure_text[0] = '\0';
    return false;
}

/* What QUIP_ROOT says; else the tree the program was built from; else a folder above the executable, so that
 * a moved tree and an installation under share/quip work as well. */
static void find_root(struct paths *p, const char *given)
{
    if (given[0] ? root_is(given, p) : root_is(QUIP_SOURCE_DIR, p))
        return;
    char folder[PATHS_BYTES], root[PATHS_BYTES];
    ssize_t n = readlink("/proc/self/exe", folder, sizeof folder - 1);
    if (n <= 0)
        return;
    folder[n] = '\0';
    for (int level = 0; level < 4; level++) {
        char *slash = strrchr(folder, '/');
        if (!slash)
            return;
        *slash = '\0';
        if (root_is(folder, p))
            return;
        join(root, folder, "/share/quip");
        if (root_is(root, p))
            return;
    }
}

void paths_init(struct paths *p, const struct environment *env)
{
    memset(p, 0, sizeof *p);
    join(p->home, env->home, "");
    below_home(p->models, env->data_home, env->home, "/.local/share", "/quip/models");
    below_home(p->history, env->state_home, env->home, "/.local/state", "/quip/history");
    below_home(p->kv_cache, env->cache_home, env->home, "/.cache", "/quip/kv");
    below_home(p->figures, env->cache_home, env->home, "/.cache", "/quip/figures.json");
    find_root(p, env->root);
}

void paths_model_name(const char *path, char *out, size_t n_bytes)
{
    const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;
    size_t n = strlen(name);
    if (n > 5 && strcmp(name + n - 5, ".gguf") == 0)
        n -= 5;
    snprintf(out, n_bytes, "%.*s", (int)n, name);
}

enum err_code paths_make_parents(const char *file, struct err *e)
{
    char folder[PATHS_BYTES];
    join(folder, file, "");
    for (char *p = folder + 1; folder[0] && *p; p++) {
        if (*p != '/')
            continue;
        *p = '\0';
        if (mkdir(folder, 0700) != 0 && errno != EEXIST)
            return err_set(e, ERR_IO, "%s: cannot make this folder: %s", folder, strerror(errno));
        *p = '/';
    }
    return ERR_OK;
}
