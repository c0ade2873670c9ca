/* SPDX-License-Identifier: MIT */
/* quip inspect: what a GGUF file holds and what running it takes. */
#include "app/cmd/cmd.h"

#include <jansson.h>
#include <string.h>

#include "engine/base/utf8.h"
#include "engine/engine_fit.h"

/* What needs the architecture: known only for a model that quip can run. */
struct sizes {
    bool known;
    struct fit_shape_info info;
    const char *template_name;
    struct fit fit;
    uint64_t kv_bytes[5];    /* of kv_types, for K and V both */
};

static const char *const kv_types[5] = { "f16", "q8_0", "q4_0", "kv4", "kv3" };

static void print_pair(const char *key, const char *value)
{
    printf("  %-16s", key);
    cmd_put_line(stdout, value);
    putchar('\n');
}

static void print_general(const struct model_info *info, const struct sizes *s)
{
    char text[256], size[32];
    print_pair("file", info->path);
    print_pair("name", info->name);
    print_pair("architecture", info->architecture);
    print_pair("level", info->level);
    if (info->license[0])
        print_pair("licence", info->license);
    print_pair("size", cmd_size(info->file_bytes, size));
    snprintf(text, sizeof text, info->n_params >= 1000000000 ? "%.2f B" : "%.1f M",
             (double)info->n_params / (info->n_params >= 1000000000 ? 1e9 : 1e6));
    print_pair("parameters", text);
    snprintf(text, sizeof text, "%.2f", info->bits_per_weight);
    print_pair("bits per weight", text);
    if (!s->known)
        return;
    snprintf(text, sizeof text, "%d", s->info.n_layers);
    print_pair("layers", text);
    snprintf(text, sizeof text, "%d", s->info.n_embd);
    print_pair("width", text);
    snprintf(text, sizeof text, "%d", s->info.n_vocab);
    print_pair("vocabulary", text);
    snprintf(text, sizeof text, "%d tokens at most", s->info.n_ctx_train);
    print_pair("context", text);
    print_pair("chat template", s->template_name);
}

static void print_memory(const struct sizes *s)
{
    char size[32];
    const struct fit_part *m = &s->fit.host;
    printf("\nMemory at a context of %d tokens, on the processor\n", s->fit.n_ctx);
    print_pair("weights", cmd_size(m->weight_bytes, size));
    print_pair("cache", cmd_size(m->kv_bytes, size));
    print_pair("the rest", cmd_size(m->needed_bytes - m->weight_bytes - m->kv_bytes, size));
    print_pair("together", cmd_size(m->needed_bytes, size));
    printf("\nCache by type (-ctk, -ctv; here %s and %s)\n", s->fit.kv_type_k, s->fit.kv_type_v);
    for (size_t i = 0; i < sizeof kv_types / sizeof kv_types[0]; i++)
        print_pair(kv_types[i], cmd_size(s->kv_bytes[i], size));
}

static void print_text(struct model *m, const struct sizes *s)
{
    const struct model_info *info = model_info(m);
    print_general(info, s);
    if (s->known)
        print_memory(s);
    printf("\nMetadata (%d)\n", info->n_metadata);
    for (int32_t i = 0; i < info->n_metadata; i++) {
        struct model_metadata data;
        model_metadata(m, i, &data);
        fputs("  ", stdout);
        cmd_put_line(stdout, data.key);
        fputs(" (", stdout);
        cmd_put_line(stdout, data.type);
        fputs(") = ", stdout);
        cmd_put_line(stdout, data.value);
        putchar('\n');
    }
    printf("\nTensors (%d)\n", info->n_tensors);
    for (int32_t i = 0; i < info->n_tensors; i++) {
        struct model_tensor t;
        model_tensor(m, i, &t);
        char shape[96] = "", size[32];
        for (int32_t d = 0; d < t.n_dims; d++)
            snprintf(shape + strlen(shape), sizeof shape - strlen(shape), "%s%llu", d ? " x " : "",
                     (unsigned long long)t.ne[d]);
        printf("  %-8s %-24s %9s  ", t.type, shape, cmd_size(t.n_bytes, size));
        cmd_put_line(stdout, t.name);
        putchar('\n');
    }
}

static json_t *text_json(const char *text)
{
    return cmd_json_text(text, strlen(text));
}

static json_t *lists_json(struct model *m, json_t *tensors)
{
    const struct model_info *info = model_info(m);
    json_t *metadata = json_array();
    for (int32_t i = 0; i < info->n_metadata; i++) {
        struct model_metadata data;
        model_metadata(m, i, &data);
        json_array_append_new(metadata, json_pack("{so so so}", "key", text_json(data.key), "type",
                                                  text_json(data.type), "value", text_json(data.value)));
    }
    for (int32_t i = 0; i < info->n_tensors; i++) {
        struct model_tensor t;
        model_tensor(m, i, &t);
        json_t *shape = json_array();
        for (int32_t d = 0; d < t.n_dims; d++)
            json_array_append_new(shape, json_integer((json_int_t)t.ne[d]));
        json_array_append_new(tensors, json_pack("{so ss so sI}", "name", text_json(t.name), "type", t.type,
                                                 "shape", shape, "bytes", (json_int_t)t.n_bytes));
    }
    return metadata;
}

static void print_json(struct model *m, const struct sizes *s)
{
    const struct model_info *info = model_info(m);
    json_t *tensors = json_array();
    json_t *all = json_pack("{so so so so so sI sI sI sf}", "file", text_json(info->path), "name",
                            text_json(info->name), "architecture", text_json(info->architecture), "level",
                            text_json(info->level), "licence", text_json(info->license), "file_bytes",
                            (json_int_t)info->file_bytes, "tensor_bytes", (json_int_t)info->tensor_bytes,
                            "parameters", (json_int_t)info->n_params, "bits_per_weight", info->bits_per_weight);
    if (s->known) {
        json_object_set_new(all, "layers", json_integer(s->info.n_layers));
        json_object_set_new(all, "width", json_integer(s->info.n_embd));
        json_object_set_new(all, "vocabulary", json_integer(s->info.n_vocab));
        json_object_set_new(all, "context", json_integer(s->info.n_ctx_train));
        json_t *by_type = json_object();
        for (size_t i = 0; i < sizeof kv_types / sizeof kv_types[0]; i++)
            json_object_set_new(by_type, kv_types[i], json_integer((json_int_t)s->kv_bytes[i]));
        json_object_set_new(all, "memory",
                            json_pack("{si sI sI sI sI so}", "context", (int)s->fit.n_ctx, "weights",
                                      (json_int_t)s->fit.host.weight_bytes, "cache", (json_int_t)s->fit.host.kv_bytes,
                                      "scratch", (json_int_t)s->fit.host.scratch_bytes, "needed",
                                      (json_int_t)s->fit.needed_bytes, "cache_by_type", by_type));
    }
    json_object_set_new(all, "metadata", lists_json(m, tensors));
    json_object_set_new(all, "tensors", tensors);
    json_dumpf(all, stdout, JSON_INDENT(2) | JSON_REAL_PRECISION(6));
    putchar('\n');
    json_decref(all);
}

/* From the head of the file: no weight is read. */
static enum err_code find_sizes(struct sizes *s, const struct cmd_model *cm, const struct config *c, struct err *e)
{
    struct fit_shape *shape;
    struct fit_want want = { .n_ctx = c->n_ctx };
    enum err_code rc = fit_shape_create(&shape, cm->model, NULL, e);
    if (rc != ERR_OK)
        return rc;
    fit_shape_info(shape, &s->info);
    for (size_t i = 0; rc == ERR_OK && i < sizeof kv_types / sizeof kv_types[0]; i++) {
        want.kv_type_k = want.kv_type_v = kv_types[i];
        rc = fit_price(shape, cm->eng, &want, &s->fit, e);
        s->kv_bytes[i] = s->fit.host.kv_bytes;
    }
    want.kv_type_k = c->kv_type_k;
    want.kv_type_v = c->kv_type_v;
    if (rc == ERR_OK)
        rc = fit_price(shape, cm->eng, &want, &s->fit, e);
    fit_shape_destroy(shape);
    return rc;
}

enum exit_code cmd_inspect(const struct app *app)
{
    const struct config *c = app->config;
    if (!c->model && c->n_args == 0) {
        cmd_complain("'quip inspect' needs a FILE");
        return EXIT_CODE_USAGE;
    }
    struct cmd_model cm;
    enum exit_code code = cmd_model_open(&cm, app, MODEL_INSPECT, 1);
    if (code != EXIT_CODE_OK)
        return code;

    /* Layers, context and memory take the architecture; a file that quip cannot run is shown without
     * them, and the reason is said. */
    struct model *text = NULL;
    struct sizes s = { 0 };
    struct err e;
    if (model_info(cm.model)->n_tensors > 0) {
        s.known = model_open(&text, NULL, cm.path, MODEL_VOCABULARY, &e) == ERR_OK &&
                  find_sizes(&s, &cm, c, &e) == ERR_OK;
        s.template_name = text ? model_info(text)->template_name : "";
        if (!s.known)
            cmd_complain("cannot be run: %s", e.text);
    }
    if (c->json)
        print_json(cm.model, &s);
    else
        print_text(cm.model, &s);
    model_close(text);
    cmd_model_close(&cm);
    return EXIT_CODE_OK;
}
