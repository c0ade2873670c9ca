/* SPDX-License-Identifier: MIT */
#include "tests/support/gguf_walk.h"

#include <assert.h>
#include <limits.h>
#include <string.h>

static uint64_t walk_items(const struct gguf_kv *kv)
{
    uint64_t sum = 0;
    for (uint64_t i = 0; i < kv->n; i++) {
        struct gguf_text text;
        switch (kv->item_type) {
        case GGUF_STRING:
            text = gguf_kv_text(kv, i);
            for (size_t k = 0; k < text.n_bytes; k++)
                sum += (unsigned char)text.bytes[k];
            break;
        case GGUF_F32:
        case GGUF_F64:
            sum += gguf_kv_float(kv, i) > 0;
            break;
        case GGUF_BOOL:
            sum += gguf_kv_bool(kv, i);
            break;
        default:
            sum += (uint64_t)gguf_kv_int(kv, i);
        }
    }
    return sum;
}

static void check_text(enum err_code rc, const struct err *e)
{
    assert(rc == ERR_OK || (rc == e->code && e->text[0] && !strchr(e->text, '\n')));
    (void)rc;
    (void)e;
}

static uint64_t walk_readers(const struct gguf *g, const char *key)
{
    struct err e = { 0 };
    uint32_t u = 0, each[4] = { 0 };
    int32_t i = 0;
    float f = 0;
    bool b = false;
    struct gguf_text text = { 0 };
    const struct gguf_kv *array = NULL;
    check_text(gguf_need_u32(g, key, 1, 100, &u, &e), &e);
    check_text(gguf_opt_u32(g, key, 0, UINT32_MAX, &u, &e), &e);
    check_text(gguf_need_i32(g, key, INT32_MIN, INT32_MAX, &i, &e), &e);
    check_text(gguf_need_f32(g, key, &f, &e), &e);
    check_text(gguf_need_bool(g, key, &b, &e), &e);
    check_text(gguf_need_text(g, key, &text, &e), &e);
    check_text(gguf_need_ints(g, key, INT64_MIN, INT64_MAX, &array, &e), &e);
    check_text(gguf_need_ints(g, key, 0, 7, &array, &e), &e);
    check_text(gguf_need_floats(g, key, &array, &e), &e);
    check_text(gguf_need_bools(g, key, &array, &e), &e);
    check_text(gguf_need_texts(g, key, &array, &e), &e);
    check_text(gguf_need_u32_each(g, key, 4, 0, UINT32_MAX, each, &e), &e);
    return u + (uint32_t)i + (f > 0) + b + text.n_bytes + (array ? array->n : 0) + each[3];
}

uint64_t gguf_walk(const struct gguf *g)
{
    uint64_t sum = 0;
    struct buf out = { 0 };
    for (uint32_t i = 0; i < gguf_n_keys(g); i++) {
        const struct gguf_kv *kv = gguf_kv_at(g, i);
        assert(gguf_kv_find(g, kv->key) == kv);
        buf_clear(&out);
        gguf_kv_print_type(kv, &out);
        gguf_kv_print_value(kv, 60, &out);
        assert(!strpbrk(buf_text(&out), "\n\x1b"));
        sum += out.n_bytes + walk_items(kv) + walk_readers(g, kv->key);
    }
    for (uint32_t i = 0; i < gguf_n_tensors(g); i++) {
        const struct gguf_tensor *t = gguf_tensor_at(g, i);
        assert(gguf_tensor_find(g, t->name) == t && gguf_tensor_type(t->type));
        assert(t->n_bytes == t->row_bytes * (t->n_weights / t->ne[0]));
        for (uint64_t k = 0; k < t->n_bytes; k++)
            sum += t->data[k];
    }
    buf_finish(&out);
    return sum + (gguf_kv_find(g, "no such key") != NULL) + (gguf_tensor_find(g, "") != NULL);
}
