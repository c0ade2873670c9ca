/* SPDX-License-Identifier: MIT */
#include "app/level/ladder.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

#include "app/level/quality.h"
#include "engine/level/level.h"

enum { MOST_FILES = 1024 };

/* What is offered to be made, of all that could be: the levels people choose from. */
static const char *const offered[] = { "Q8_0", "Q6_K", "Q5_K_M", "Q5_K_S", "Q4_K_M", "Q4_K_S", "Q4_0", "IQ4_NL", "IQ4_XS",
                                       "Q3_K_L", "Q3_K_M", "Q3_K_S", "Q2_K" };
enum { N_OFFERED = sizeof offered / sizeof *offered };

static const char *base_name(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

static void folder_of(const char *path, char out[PATHS_BYTES])
{
    int n = (int)(base_name(path) - path);
    snprintf(out, PATHS_BYTES, "%.*s", n > 1 ? n - 1 : n, path);
    if (n == 0)
        snprintf(out, PATHS_BYTES, ".");
}

/* ---- files ------------------------------------------------------------------------------------------ */

static bool is_float(const char *type)
{
    return strcmp(type, "F32") == 0 || strcmp(type, "F16") == 0 || strcmp(type, "BF16") == 0;
}

static double estimate_of_file(const struct model *m, bool *is_quantised)
{
    int32_t n = model_info(m)->n_tensors;
    struct quality_tensor *tensors = calloc((size_t)n + 1, sizeof *tensors);
    *is_quantised = false;
    for (int32_t i = 0; tensors && i < n; i++) {
        struct model_tensor t;
        model_tensor(m, i, &t);
        tensors[i] = (struct quality_tensor){ t.name, t.type, t.ne[0] * t.ne[1] * t.ne[2] * t.ne[3] };
        *is_quantised = *is_quantised || (t.n_dims > 1 && !is_float(t.type));
    }
    double kl = tensors ? quality_estimate(tensors, n) : -1;
    free(tensors);
    return kl;
}

/* Takes the model. */
static void add_file(struct ladder *l, struct model *model, const char *path)
{
    const struct model_info *info = model_info(model);
    struct ladder_row *row = &l->rows[l->n_rows++];
    struct err e;
    bool ignored;
    *row = (struct ladder_row){ .state = LADDER_HERE, .model = model, .file_bytes = info->file_bytes,
                                .tensor_bytes = info->tensor_bytes, .bits = info->bits_per_weight };
    snprintf(row->path, sizeof row->path, "%s", path);
    snprintf(row->level, sizeof row->level, "%s", info->level);
    figures_file_of(row->model, &row->id);
    row->kl_estimate = estimate_of_file(model, &ignored);
    if (fit_shape_create(&row->shape, model, NULL, &e) != ERR_OK) {
        row->state = LADDER_DAMAGED;
        snprintf(row->problem, sizeof row->problem, "%.200s", e.text);
    }
}

static void add_damaged(struct ladder *l, const struct model_origin *origin, const char *path, const struct err *why)
{
    char name[ORIGIN_NAME_BYTES];
    const char *text = why->text;
    size_t n_path = strlen(path);
    if (strncmp(text, path, n_path) == 0 && strncmp(text + n_path, ": ", 2) == 0)
        text += n_path + 2;
    model_origin_name(base_name(path), name);
    if (strcmp(name, origin->file) == 0 && l->n_rows < LADDER_MAX_ROWS) {
        struct ladder_row *row = &l->rows[l->n_rows++];
        *row = (struct ladder_row){ .state = LADDER_DAMAGED, .level = "?", .kl_estimate = -1 };
        snprintf(row->path, sizeof row->path, "%s", path);
        snprintf(row->problem, sizeof row->problem, "%.200s", text);
    } else if (l->n_strays < LADDER_MAX_STRAYS) {
        struct ladder_stray *stray = &l->strays[l->n_strays++];
        snprintf(stray->path, sizeof stray->path, "%s", path);
        snprintf(stray->why, sizeof stray->why, "%.200s", text);
    }
}

static void look_at(struct ladder *l, const struct model_origin *origin, const char *path)
{
    struct model *model;
    struct model_origin other;
    struct err e;
    if (model_open(&model, NULL, path, MODEL_INSPECT, &e) != ERR_OK) {
        add_damaged(l, origin, path, &e);
        return;
    }
    if (model_origin(model, &other, &e) == ERR_OK && model_origin_same(origin, &other) && l->n_rows < LADDER_MAX_ROWS) {
        add_file(l, model, path);
        return;
    }
    l->n_other++;
    model_close(model);
}

static bool is_model_file(const char *path, struct stat *st)
{
    size_t n = strlen(path);
    return n > 5 && strcmp(path + n - 5, ".gguf") == 0 && stat(path, st) == 0 && S_ISREG(st->st_mode);
}

/* All but what was looked at before: a folder may be given twice, a file have two names. */
struct seen {
    struct {
        dev_t dev;
        ino_t ino;
    } files[MOST_FILES];
    int32_t n;
};

static bool is_new(struct seen *seen, const struct stat *st)
{
    for (int32_t i = 0; i < seen->n; i++)
        if (seen->files[i].dev == st->st_dev && seen->files[i].ino == st->st_ino)
            return false;
    if (seen->n == MOST_FILES)
        return false;
    seen->files[seen->n].dev = st->st_dev;
    seen->files[seen->n++].ino = st->st_ino;
    return true;
}

static void look_through(struct ladder *l, const struct model_origin *origin, const char *folder, struct seen *seen)
{
    struct dirent **entries;
    int n = folder[0] ? scandir(folder, &entries, NULL, alphasort) : -1;
    for (int i = 0; i < n; i++) {
        char path[PATHS_BYTES];
        struct stat st;
        if (snprintf(path, sizeof path, "%s/%s", folder, entries[i]->d_name) < (int)sizeof path &&
            is_model_file(path, &st) && is_new(seen, &st))
            look_at(l, origin, path);
        free(entries[i]);
    }
    if (n >= 0)
        free(entries);
}

/* ---- what can be made --------------------------------------------------------------------------------- */

static bool is_here(const struct ladder *l, const char *level)
{
    for (int32_t i = 0; i < l->n_rows; i++)
        if (l->rows[i].state == LADDER_HERE && strcasecmp(l->rows[i].level, level) == 0)
            return true;
    return false;
}

/* "qwen-Q4_K_M.gguf" becomes "qwen-Q2_K.gguf". */
static void target_path(const struct ladder_row *source, const char *folder, const char *level, char out[PATHS_BYTES])
{
    char stem[PATHS_BYTES];
    snprintf(stem, sizeof stem, "%s", base_name(source->path));
    size_t n = strlen(stem), n_level = strlen(source->level);
    if (n > 5)
        stem[n -= 5] = '\0';
    if (n > n_level + 1 && strcasecmp(stem + n - n_level, source->level) == 0 && strchr("-._", stem[n - n_level - 1]))
        stem[n - n_level - 1] = '\0';
    if (snprintf(out, PATHS_BYTES, "%s/%s-%s.gguf", folder, stem, level) >= PATHS_BYTES)
        out[0] = '\0';
}

static void warn_of_source(struct ladder_row *row, const struct ladder_row *source)
{
    char lost[64] = "what that lost";
    if (source->kl_estimate > 0)
        snprintf(lost, sizeof lost, "what that lost (a KL of about %.2g)", source->kl_estimate);
    snprintf(row->warning, sizeof row->warning, "from %s: cannot be better than that; %s stays lost and adds up",
             source->level, lost);
}

static void plan_level(struct ladder *l, const char *level, const char *folder)
{
    const struct ladder_row *source = &l->rows[l->best];
    const struct level_options o = { .level = level, .allow_requantize = true };
    struct ladder_row *row = &l->rows[l->n_rows];
    struct level_plan plan;
    struct err e;
    if (level_plan(&plan, source->path, &o, NULL, &e) != ERR_OK)
        return;
    const char **types = calloc((size_t)plan.n_tensors + 1, sizeof *types);
    struct quality_tensor *tensors = calloc((size_t)plan.n_tensors + 1, sizeof *tensors);
    if (types && tensors && plan.n_bytes < source->tensor_bytes) {
        for (int32_t i = 0; i < plan.n_tensors; i++) {
            const struct level_tensor *t = &plan.tensors[i];
            types[i] = t->to;
            tensors[i] = (struct quality_tensor){ t->name, t->to, t->ne[0] * t->ne[1] * t->ne[2] * t->ne[3] };
        }
        *row = (struct ladder_row){ .state = LADDER_MAKE, .file_bytes = plan.file_bytes, .tensor_bytes = plan.n_bytes,
                                    .bits = plan.bits, .kl_estimate = quality_estimate(tensors, plan.n_tensors) };
        snprintf(row->level, sizeof row->level, "%s", plan.level);
        snprintf(row->problem, sizeof row->problem, "%s", plan.problem);
        target_path(source, folder, plan.level, row->path);
        if (l->best_is_quantised) {
            warn_of_source(row, source);
            if (row->kl_estimate >= 0 && source->kl_estimate >= 0)
                row->kl_estimate += source->kl_estimate;
        }
        if (fit_shape_create(&row->shape, source->model, types, &e) == ERR_OK)
            l->n_rows++;
    }
    free(types);
    free(tensors);
    level_plan_finish(&plan);
}

static void plan_levels(struct ladder *l, const char *models)
{
    char folder[PATHS_BYTES];
    folder_of(l->rows[l->best].path, folder);
    for (int32_t i = 0; i < N_OFFERED && l->n_rows < LADDER_MAX_ROWS; i++)
        if (!is_here(l, offered[i]))
            plan_level(l, offered[i], models[0] ? models : folder);
}

/* ---- life --------------------------------------------------------------------------------------------- */

static int by_bits(const void *a, const void *b)
{
    const struct ladder_row *x = a, *y = b;
    if (x->tensor_bytes != y->tensor_bytes)
        return x->tensor_bytes < y->tensor_bytes ? 1 : -1;
    return x->state != y->state ? (int)x->state - (int)y->state : strcmp(x->path, y->path);
}

static int32_t find_best(const struct ladder *l)
{
    int32_t best = -1;
    for (int32_t i = 0; i < l->n_rows; i++)
        if (l->rows[i].state == LADDER_HERE && (best < 0 || l->rows[i].bits > l->rows[best].bits))
            best = i;
    return best;
}

static void fill(struct ladder *l, const struct model_origin *origin, const char *path, const char *models)
{
    struct seen *seen = calloc(1, sizeof *seen);
    char folder[PATHS_BYTES];
    struct stat st;
    folder_of(path, folder);
    if (seen && stat(path, &st) == 0)
        is_new(seen, &st);
    if (seen) {
        look_through(l, origin, folder, seen);
        look_through(l, origin, models, seen);
    }
    free(seen);
    l->best = find_best(l);
    if (l->best >= 0) {
        estimate_of_file(l->rows[l->best].model, &l->best_is_quantised);
        l->rows[l->best].is_best = true;
        plan_levels(l, models);
    }
    qsort(l->rows, (size_t)l->n_rows, sizeof *l->rows, by_bits);
    for (int32_t i = 0; i < l->n_rows; i++) {
        l->given = l->rows[i].is_given ? i : l->given;
        l->best = l->rows[i].is_best ? i : l->best;
    }
}

enum err_code ladder_open(struct ladder **out, const char *path, const char *models, const char *figures_path,
                          struct err *e)
{
    struct model *model;
    struct model_origin origin;
    enum err_code rc = model_open(&model, NULL, path, MODEL_INSPECT, e);
    if (rc != ERR_OK)
        return rc;
    rc = model_origin(model, &origin, e);
    struct ladder *l = rc == ERR_OK ? calloc(1, sizeof *l) : NULL;
    if (l) {
        l->rows = calloc(LADDER_MAX_ROWS, sizeof *l->rows);
        l->strays = calloc(LADDER_MAX_STRAYS, sizeof *l->strays);
    }
    if (rc == ERR_OK && (!l || !l->rows || !l->strays))
        rc = err_set(e, ERR_NOMEM, "%s: no memory for its levels", path);
    if (rc != ERR_OK) {
        model_close(model);
        ladder_close(l);
        return rc;
    }
    snprintf(l->name, sizeof l->name, "%.200s", model_info(model)->name);
    snprintf(l->figures_path, sizeof l->figures_path, "%s", figures_path);
    add_file(l, model, path);
    l->rows[0].is_given = true;
    fill(l, &origin, path, models);
    ladder_read_figures(l);
    *out = l;
    return ERR_OK;
}

void ladder_close(struct ladder *l)
{
    if (!l)
        return;
    for (int32_t i = 0; l->rows && i < l->n_rows; i++)
        fit_shape_destroy(l->rows[i].shape);
    for (int32_t i = 0; l->rows && i < l->n_rows; i++)
        model_close(l->rows[i].model);
    free(l->rows);
    free(l->strays);
    free(l);
}

void ladder_read_figures(struct ladder *l)
{
    figures_read(&l->figures, l->figures_path);
}
