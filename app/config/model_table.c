/* SPDX-License-Identifier: MIT */
#include "app/config/model_table.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "app/config/option.h"

static struct model_row *add_row(struct model_table *t)
{
    if (t->n == MODEL_TABLE_MAX)
        return NULL;
    struct model_row *rows = realloc(t->rows, sizeof *rows * (size_t)(t->n + 1));
    if (!rows)
        return NULL;
    t->rows = rows;
    memset(&rows[t->n], 0, sizeof *rows);
    return &rows[t->n++];
}

static bool ends_with(const char *text, const char *end)
{
    size_t n = strlen(text), m = strlen(end);
    return n > m && strcmp(text + n - m, end) == 0;
}

static bool regular_file(const char *path, uint64_t *n_bytes)
{
    struct stat st;
    if (stat(path, &st) != 0 || !S_ISREG(st.st_mode))
        return false;
    if (n_bytes)
        *n_bytes = (uint64_t)st.st_size;
    return true;
}

static void set_key(struct model_row *row, const char *key, const char *value)
{
    if (strcmp(key, "name") == 0)
        snprintf(row->name, sizeof row->name, "%s", value);
    else if (strcmp(key, "title") == 0)
        snprintf(row->title, sizeof row->title, "%s", value);
    else if (strcmp(key, "good") == 0)
        snprintf(row->good, sizeof row->good, "%s", value);
    else if (strcmp(key, "licence") == 0)
        snprintf(row->licence, sizeof row->licence, "%s", value);
    else if (strcmp(key, "bytes") == 0)
        row->n_bytes = strtoull(value, NULL, 10);
    else if (strcmp(key, "role") == 0) {
        row->is_default = strcmp(value, "default") == 0;
        row->is_recommended = strcmp(value, "recommended") == 0;
        row->is_base = strcmp(value, "base") == 0;
    }
    /* The other keys are for app/fetch-model.sh. */
}

static enum err_code read_list(struct model_table *t, const struct paths *p, struct err *e)
{
    FILE *f = fopen(p->model_table, "r");
    if (!f)
        return err_set(e, ERR_IO, "%s: %s", p->model_table, strerror(errno));
    char line[1024];
    struct model_row *row = NULL;
    enum err_code rc = ERR_OK;
    for (int number = 1; rc == ERR_OK && fgets(line, sizeof line, f); number++) {
        line[strcspn(line, "\r\n")] = '\0';
        if (line[0] == '#')
            continue;
        size_t n_key = strcspn(line, " \t");
        if (n_key == 0) {    /* a blank line ends a block */
            row = NULL;
            continue;
        }
        char *value = line + n_key;
        value += strspn(value, " \t");
        line[n_key] = '\0';
        if (!row && strcmp(line, "name") != 0)
            rc = err_set(e, ERR_FORMAT, "%s line %d: '%s' found, a block begins with 'name'",
                         p->model_table, number, line);
        else if (!row && !(row = add_row(t)))
            rc = err_set(e, ERR_NOMEM, "%s: no memory for the list", p->model_table);
        else
            set_key(row, line, value);
    }
    fclose(f);
    for (int32_t i = 0; i < t->n; i++) {
        row = &t->rows[i];
        row->can_fetch = p->fetch_script[0] != '\0';
        snprintf(row->path, sizeof row->path, "%s/%s.gguf", p->models, row->name);
        row->is_here = regular_file(row->path, NULL);
    }
    return rc;
}

static enum err_code read_folder(struct model_table *t, const struct paths *p, struct err *e)
{
    DIR *folder = opendir(p->models);
    if (!folder)
        return ERR_OK;
    struct dirent *entry;
    enum err_code rc = ERR_OK;
    int32_t n_listed = t->n;
    while (rc == ERR_OK && (entry = readdir(folder)) && t->n < MODEL_TABLE_MAX) {
        char path[PATHS_BYTES];
        uint64_t n_bytes;
        if (!ends_with(entry->d_name, ".gguf") ||
            snprintf(path, sizeof path, "%s/%s", p->models, entry->d_name) >= (int)sizeof path)
            continue;
        bool known = false;
        for (int32_t i = 0; i < n_listed; i++)
            known = known || strcmp(t->rows[i].path, path) == 0;
        if (known || !regular_file(path, &n_bytes))
            continue;
        struct model_row *row = add_row(t);
        if (!row) {
            rc = err_set(e, ERR_NOMEM, "%s: no memory for the list", p->models);
            break;
        }
        snprintf(row->name, sizeof row->name, "%.*s", (int)strlen(entry->d_name) - 5, entry->d_name);
        snprintf(row->title, sizeof row->title, "%s", row->name);
        snprintf(row->path, sizeof row->path, "%s", path);
        row->n_bytes = n_bytes;
        row->is_here = true;
    }
    closedir(folder);
    return rc;
}

static int by_name(const void *a, const void *b)
{
    const struct model_row *x = a, *y = b;
    return strcmp(x->name, y->name);
}

enum err_code model_table_read(struct model_table *t, const struct paths *p, struct err *e)
{
    memset(t, 0, sizeof *t);
    enum err_code rc = p->model_table[0] ? read_list(t, p, e) : ERR_OK;
    int32_t n_listed = t->n;
    if (rc == ERR_OK && p->models[0])
        rc = read_folder(t, p, e);
    if (rc != ERR_OK)
        model_table_finish(t);
    else if (t->n - n_listed > 1)    /* the list keeps its order, the folder has none of its own */
        qsort(t->rows + n_listed, (size_t)(t->n - n_listed), sizeof *t->rows, by_name);
    return rc;
}

void model_table_finish(struct model_table *t)
{
    free(t->rows);
    memset(t, 0, sizeof *t);
}

const struct model_row *model_table_find(const struct model_table *t, const char *name)
{
    for (int32_t i = 0; i < t->n; i++)
        if (strcmp(t->rows[i].name, name) == 0)
            return &t->rows[i];
    return NULL;
}

const struct model_row *model_table_default(const struct model_table *t)
{
    for (int32_t i = 0; i < t->n; i++)
        if (t->rows[i].is_default)
            return &t->rows[i];
    return NULL;
}

const struct model_row *model_table_recommended(const struct model_table *t)
{
    for (int32_t i = 0; i < t->n; i++)
        if (t->rows[i].is_recommended)
            return &t->rows[i];
    return NULL;
}

enum err_code model_table_resolve(const struct model_table *t, const char *name,
                                  char path[PATHS_BYTES], struct err *e)
{
    if (regular_file(name, NULL)) {
        if (snprintf(path, PATHS_BYTES, "%s", name) >= PATHS_BYTES)
            return err_set(e, ERR_IO, "%.60s...: path too long", name);
        return ERR_OK;
    }
    const struct model_row *row = model_table_find(t, name);
    if (!row && ends_with(name, ".gguf") && strlen(name) < MODEL_ROW_NAME_BYTES) {
        char stem[MODEL_ROW_NAME_BYTES];
        snprintf(stem, sizeof stem, "%.*s", (int)strlen(name) - 5, name);
        row = model_table_find(t, stem);
    }
    if (row && row->is_here) {
        snprintf(path, PATHS_BYTES, "%s", row->path);
        return ERR_OK;
    }
    if (row)
        return err_set(e, ERR_IO, "model '%s' is not here yet (%.0f MB); fetch it with: quip pull %s", name,
                       (double)row->n_bytes / 1e6, row->name);
    if (strchr(name, '/') || ends_with(name, ".gguf"))
        return err_set(e, ERR_IO, access(name, F_OK) == 0 ? "%s: not a regular file" : "%s: no such file", name);

    int best = 4;
    const char *near = NULL;
    for (int32_t i = 0; i < t->n; i++) {
        int distance = option_distance(name, t->rows[i].name);
        if (distance < best || (!near && strstr(t->rows[i].name, name))) {
            best = distance;
            near = t->rows[i].name;
        }
    }
    if (near)
        return err_set(e, ERR_IO, "no model or file '%s'; did you mean '%s'?", name, near);
    return err_set(e, ERR_IO, "no model or file '%s'; 'quip models' lists those there are", name);
}

enum err_code model_table_choose(const struct paths *p, const char *name, char path[PATHS_BYTES],
                                 struct err *e)
{
    struct model_table t;
    enum err_code rc = model_table_read(&t, p, e);
    if (rc != ERR_OK)
        return rc;
    if (!name) {
        const struct model_row *row = model_table_default(&t), *better = model_table_recommended(&t);
        if (row && !row->is_here && better && better->is_here)
            row = better;
        for (int32_t i = 0; i < t.n && (!row || !row->is_here); i++)
            if (t.rows[i].is_here && !t.rows[i].is_base)
                row = &t.rows[i];
        name = row ? row->name : NULL;
    }
    rc = name ? model_table_resolve(&t, name, path, e) : err_set(e, ERR_IO, "no model; -m FILE names one");
    model_table_finish(&t);
    return rc;
}
