/* SPDX-License-Identifier: MIT */
/* Metadata by key: raw items, and the typed readers that models and tokenizers use. Each reader is its
 * gguf_need_ and gguf_opt_ form over one static function; `required` tells them apart. */
#include "engine/gguf/gguf_file.h"

#include <assert.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

/* ---- raw items ------------------------------------------------------------------------------------ */

uint32_t gguf_n_keys(const struct gguf *g)
{
    return g->n_kvs;
}

const struct gguf_kv *gguf_kv_at(const struct gguf *g, uint32_t i)
{
    return &g->kvs[i];
}

const struct gguf_kv *gguf_kv_find(const struct gguf *g, const char *key)
{
    int64_t i = gguf_names_find(&g->kv_names, key);
    return i < 0 ? NULL : &g->kvs[i];
}

static bool is_integer(uint32_t type)
{
    return type <= GGUF_I32 || type == GGUF_U64 || type == GGUF_I64;
}

static bool is_float(uint32_t type)
{
    return type == GGUF_F32 || type == GGUF_F64;
}

static const uint8_t *item_at(const struct gguf_kv *kv, uint64_t i)
{
    assert(i < kv->n);
    return kv->bytes + i * gguf_value_bytes(kv->item_type);
}

int64_t gguf_kv_int(const struct gguf_kv *kv, uint64_t i)
{
    const uint8_t *p = item_at(kv, i);
    switch (kv->item_type) {
    case GGUF_U8: return p[0];
    case GGUF_I8: return (int8_t)p[0];
    case GGUF_U16: return p[0] | p[1] << 8;
    case GGUF_I16: return (int16_t)(p[0] | p[1] << 8);
    case GGUF_U32: return gguf_load_u32(p);
    case GGUF_I32: return (int32_t)gguf_load_u32(p);
    case GGUF_I64: return (int64_t)gguf_load_u64(p);
    case GGUF_U64: {
        uint64_t value = gguf_load_u64(p);
        return value > INT64_MAX ? INT64_MAX : (int64_t)value;
    }
    }
    assert(!"not an integer");
    return 0;
}

double gguf_kv_float(const struct gguf_kv *kv, uint64_t i)
{
    const uint8_t *p = item_at(kv, i);
    if (kv->item_type == GGUF_F64) {
        uint64_t bits = gguf_load_u64(p);
        double value;
        memcpy(&value, &bits, sizeof value);
        return value;
    }
    assert(kv->item_type == GGUF_F32);
    uint32_t bits = gguf_load_u32(p);
    float value;
    memcpy(&value, &bits, sizeof value);
    return (double)value;
}

bool gguf_kv_bool(const struct gguf_kv *kv, uint64_t i)
{
    assert(kv->item_type == GGUF_BOOL);
    return *item_at(kv, i) != 0;
}

struct gguf_text gguf_kv_text(const struct gguf_kv *kv, uint64_t i)
{
    assert(kv->item_type == GGUF_STRING && i < kv->n);
    const uint8_t *p = kv->bytes + (kv->offsets ? kv->offsets[i] : 0);
    return (struct gguf_text){ .bytes = (const char *)p + 8, .n_bytes = (size_t)gguf_load_u64(p) };
}

/* ---- what is expected of a key -------------------------------------------------------------------- */

enum kind { KIND_INT, KIND_FLOAT, KIND_BOOL, KIND_TEXT };

struct wanted {
    enum kind kind;
    bool array;
    int64_t min, max;    /* of a KIND_INT */
};

static bool kind_fits(const struct wanted *w, uint32_t item_type)
{
    switch (w->kind) {
    case KIND_INT: return is_integer(item_type);
    case KIND_FLOAT: return is_float(item_type);
    case KIND_BOOL: return item_type == GGUF_BOOL;
    case KIND_TEXT: return item_type == GGUF_STRING;
    }
    return false;
}

static const char *wanted_text(const struct wanted *w)
{
    static const char *const names[][2] = {
        [KIND_INT] = { "an integer", "an array of integers" },
        [KIND_FLOAT] = { "a float", "an array of floats" },
        [KIND_BOOL] = { "a bool", "an array of bools" },
        [KIND_TEXT] = { "a string", "an array of strings" },
    };
    return names[w->kind][w->array];
}

static enum err_code wrong_type(const struct gguf_kv *kv, const char *wanted, struct err *e)
{
    struct gguf_shown shown;
    const char *array = kv->type == GGUF_ARRAY ? "array of " : "";
    return err_set(e, ERR_FORMAT, "key '%s': %s%s, %s wanted",
                   gguf_shown(&shown, kv->key, strlen(kv->key)), array,
                   gguf_value_type_name(kv->item_type), wanted);
}

/* Beyond what gguf_kv_int() can say. */
static bool is_beyond(const struct gguf_kv *kv, uint64_t i)
{
    return kv->item_type == GGUF_U64 && gguf_load_u64(item_at(kv, i)) > INT64_MAX;
}

static enum err_code int_out_of_range(const struct gguf_kv *kv, uint64_t i, const struct wanted *w,
                                      struct err *e)
{
    struct gguf_shown shown;
    char item[40] = "", value[24];
    if (kv->type == GGUF_ARRAY)
        snprintf(item, sizeof item, ", item %" PRIu64, i);
    if (is_beyond(kv, i))
        snprintf(value, sizeof value, "%" PRIu64, gguf_load_u64(item_at(kv, i)));
    else
        snprintf(value, sizeof value, "%" PRId64, gguf_kv_int(kv, i));
    return err_set(e, ERR_FORMAT, "key '%s'%s: %s, %" PRId64 " to %" PRId64 " wanted",
                   gguf_shown(&shown, kv->key, strlen(kv->key)), item, value, w->min, w->max);
}

static enum err_code check_ints(const struct gguf_kv *kv, const struct wanted *w, struct err *e)
{
    for (uint64_t i = 0; i < kv->n; i++) {
        int64_t value = gguf_kv_int(kv, i);
        if (value < w->min || value > w->max || is_beyond(kv, i))
            return int_out_of_range(kv, i, w, e);
    }
    return ERR_OK;
}

static enum err_code check_floats(const struct gguf_kv *kv, struct err *e)
{
    for (uint64_t i = 0; i < kv->n; i++) {
        double value = gguf_kv_float(kv, i);
        if (isfinite((float)value))
            continue;
        struct gguf_shown shown;
        char item[40] = "";
        if (kv->type == GGUF_ARRAY)
            snprintf(item, sizeof item, ", item %" PRIu64, i);
        return err_set(e, ERR_FORMAT, "key '%s'%s: %g, a finite number wanted",
                       gguf_shown(&shown, kv->key, strlen(kv->key)), item, value);
    }
    return ERR_OK;
}

/* Finds the key and holds it against w. *out is NULL and the result ERR_OK when it is absent and not
 * required. */
static enum err_code find(const struct gguf *g, const char *key, bool required, const struct wanted *w,
                          const struct gguf_kv **out, struct err *e)
{
    *out = NULL;
    const struct gguf_kv *kv = gguf_kv_find(g, key);
    if (!kv)
        return required ? err_set(e, ERR_FORMAT, "key '%s' is missing, %s wanted", key, wanted_text(w))
                        : ERR_OK;
    /* An empty array has nothing to be of a wrong type. */
    bool empty = w->array && kv->type == GGUF_ARRAY && kv->n == 0;
    if ((kv->type == GGUF_ARRAY) != w->array || (!kind_fits(w, kv->item_type) && !empty))
        return wrong_type(kv, wanted_text(w), e);
    enum err_code rc = ERR_OK;
    if (!empty && w->kind == KIND_INT)
        rc = check_ints(kv, w, e);
    else if (!empty && w->kind == KIND_FLOAT)
        rc = check_floats(kv, e);
    if (rc == ERR_OK)
        *out = kv;
    return rc;
}

/* ---- single values -------------------------------------------------------------------------------- */

static enum err_code get_u32(const struct gguf *g, const char *key, bool required, uint32_t min,
                             uint32_t max, uint32_t *out, struct err *e)
{
    const struct gguf_kv *kv;
    struct wanted w = { .kind = KIND_INT, .min = min, .max = max };
    enum err_code rc = find(g, key, required, &w, &kv, e);
    if (kv)
        *out = (uint32_t)gguf_kv_int(kv, 0);
    return rc;
}

enum err_code gguf_need_u32(const struct gguf *g, const char *key, uint32_t min, uint32_t max,
                            uint32_t *out, struct err *e)
{
    return get_u32(g, key, true, min, max, out, e);
}

enum err_code gguf_opt_u32(const struct gguf *g, const char *key, uint32_t min, uint32_t max,
                           uint32_t *out, struct err *e)
{
    return get_u32(g, key, false, min, max, out, e);
}

static enum err_code get_i32(const struct gguf *g, const char *key, bool required, int32_t min,
                             int32_t max, int32_t *out, struct err *e)
{
    const struct gguf_kv *kv;
    struct wanted w = { .kind = KIND_INT, .min = min, .max = max };
    enum err_code rc = find(g, key, required, &w, &kv, e);
    if (kv)
        *out = (int32_t)gguf_kv_int(kv, 0);
    return rc;
}

enum err_code gguf_need_i32(const struct gguf *g, const char *key, int32_t min, int32_t max,
                            int32_t *out, struct err *e)
{
    return get_i32(g, key, true, min, max, out, e);
}

enum err_code gguf_opt_i32(const struct gguf *g, const char *key, int32_t min, int32_t max,
                           int32_t *out, struct err *e)
{
    return get_i32(g, key, false, min, max, out, e);
}

static enum err_code get_f32(const struct gguf *g, const char *key, bool required, float *out,
                             struct err *e)
{
    const struct gguf_kv *kv;
    struct wanted w = { .kind = KIND_FLOAT };
    enum err_code rc = find(g, key, required, &w, &kv, e);
    if (kv)
        *out = (float)gguf_kv_float(kv, 0);
    return rc;
}

enum err_code gguf_need_f32(const struct gguf *g, const char *key, float *out, struct err *e)
{
    return get_f32(g, key, true, out, e);
}

enum err_code gguf_opt_f32(const struct gguf *g, const char *key, float *out, struct err *e)
{
    return get_f32(g, key, false, out, e);
}

static enum err_code get_bool(const struct gguf *g, const char *key, bool required, bool *out,
                              struct err *e)
{
    const struct gguf_kv *kv;
    struct wanted w = { .kind = KIND_BOOL };
    enum err_code rc = find(g, key, required, &w, &kv, e);
    if (kv)
        *out = gguf_kv_bool(kv, 0);
    return rc;
}

enum err_code gguf_need_bool(const struct gguf *g, const char *key, bool *out, struct err *e)
{
    return get_bool(g, key, true, out, e);
}

enum err_code gguf_opt_bool(const struct gguf *g, const char *key, bool *out, struct err *e)
{
    return get_bool(g, key, false, out, e);
}

static enum err_code get_text(const struct gguf *g, const char *key, bool required,
                              struct gguf_text *out, struct err *e)
{
    const struct gguf_kv *kv;
    struct wanted w = { .kind = KIND_TEXT };
    enum err_code rc = find(g, key, required, &w, &kv, e);
    if (kv)
        *out = gguf_kv_text(kv, 0);
    return rc;
}

enum err_code gguf_need_text(const struct gguf *g, const char *key, struct gguf_text *out,
                             struct err *e)
{
    return get_text(g, key, true, out, e);
}

enum err_code gguf_opt_text(const struct gguf *g, const char *key, struct gguf_text *out, struct err *e)
{
    return get_text(g, key, false, out, e);
}

/* ---- arrays --------------------------------------------------------------------------------------- */

static enum err_code get_array(const struct gguf *g, const char *key, bool required, struct wanted w,
                               const struct gguf_kv **out, struct err *e)
{
    const struct gguf_kv *kv;
    w.array = true;
    enum err_code rc = find(g, key, required, &w, &kv, e);
    if (kv)
        *out = kv;
    return rc;
}

enum err_code gguf_need_ints(const struct gguf *g, const char *key, int64_t min, int64_t max,
                             const struct gguf_kv **out, struct err *e)
{
    return get_array(g, key, true, (struct wanted){ .kind = KIND_INT, .min = min, .max = max }, out, e);
}

enum err_code gguf_opt_ints(const struct gguf *g, const char *key, int64_t min, int64_t max,
                            const struct gguf_kv **out, struct err *e)
{
    return get_array(g, key, false, (struct wanted){ .kind = KIND_INT, .min = min, .max = max }, out, e);
}

enum err_code gguf_need_floats(const struct gguf *g, const char *key, const struct gguf_kv **out,
                               struct err *e)
{
    return get_array(g, key, true, (struct wanted){ .kind = KIND_FLOAT }, out, e);
}

enum err_code gguf_opt_floats(const struct gguf *g, const char *key, const struct gguf_kv **out,
                              struct err *e)
{
    return get_array(g, key, false, (struct wanted){ .kind = KIND_FLOAT }, out, e);
}

enum err_code gguf_need_bools(const struct gguf *g, const char *key, const struct gguf_kv **out,
                              struct err *e)
{
    return get_array(g, key, true, (struct wanted){ .kind = KIND_BOOL }, out, e);
}

enum err_code gguf_opt_bools(const struct gguf *g, const char *key, const struct gguf_kv **out,
                             struct err *e)
{
    return get_array(g, key, false, (struct wanted){ .kind = KIND_BOOL }, out, e);
}

enum err_code gguf_need_texts(const struct gguf *g, const char *key, const struct gguf_kv **out,
                              struct err *e)
{
    return get_array(g, key, true, (struct wanted){ .kind = KIND_TEXT }, out, e);
}

enum err_code gguf_opt_texts(const struct gguf *g, const char *key, const struct gguf_kv **out,
                             struct err *e)
{
    return get_array(g, key, false, (struct wanted){ .kind = KIND_TEXT }, out, e);
}

/* ---- one value or one per layer ------------------------------------------------------------------- */

static enum err_code get_u32_each(const struct gguf *g, const char *key, bool required, uint32_t n,
                                  uint32_t min, uint32_t max, uint32_t *out, struct err *e)
{
    const struct gguf_kv *kv = gguf_kv_find(g, key);
    struct wanted w = { .kind = KIND_INT, .array = kv && kv->type == GGUF_ARRAY, .min = min, .max = max };
    enum err_code rc = find(g, key, required, &w, &kv, e);
    if (!kv)
        return rc;
    if (w.array && kv->n != n)
        return err_set(e, ERR_FORMAT, "key '%s': array of %" PRIu64 " items, %u wanted", key, kv->n, n);
    for (uint32_t i = 0; i < n; i++)
        out[i] = (uint32_t)gguf_kv_int(kv, w.array ? i : 0);
    return ERR_OK;
}

enum err_code gguf_need_u32_each(const struct gguf *g, const char *key, uint32_t n, uint32_t min,
                                 uint32_t max, uint32_t *out, struct err *e)
{
    return get_u32_each(g, key, true, n, min, max, out, e);
}

enum err_code gguf_opt_u32_each(const struct gguf *g, const char *key, uint32_t n, uint32_t min,
                                uint32_t max, uint32_t *out, struct err *e)
{
    return get_u32_each(g, key, false, n, min, max, out, e);
}
