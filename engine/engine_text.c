/* SPDX-License-Identifier: MIT */
/* A model's vocabulary and chat template: from metadata to tokenizer and template, and the way of a chat from
 * messages to token ids. What people wrote stays marked as theirs all the way, so that it can never become a
 * special token. */
#include <stdlib.h>
#include <string.h>

#include "engine/engine_impl.h"

/* ---- vocabulary ----------------------------------------------------------------------------------- */

static struct tokenizer_text as_text(struct gguf_text t)
{
    return (struct tokenizer_text){ t.bytes, t.n_bytes };
}

static enum err_code read_texts(struct model *m, const char *key, const struct tokenizer_text **out, size_t *n,
                                struct err *e)
{
    const struct gguf_kv *kv = NULL;
    enum err_code rc = gguf_opt_texts(m->gguf, key, &kv, e);
    if (rc != ERR_OK || !kv)
        return rc;
    struct tokenizer_text *texts = arena_alloc(&m->arena, kv->n, sizeof *texts);
    if (!texts)
        return err_set(e, ERR_NOMEM, "%s: no memory for %llu texts", key, (unsigned long long)kv->n);
    for (uint64_t i = 0; i < kv->n; i++)
        texts[i] = as_text(gguf_kv_text(kv, i));
    *out = texts;
    *n = kv->n;
    return ERR_OK;
}

/* An array handed on as it lies in the file: the item type has to be exactly this. */
static enum err_code read_raw(const struct model *m, const char *key, enum gguf_value_type type, const void **out,
                              size_t *n, struct err *e)
{
    const struct gguf_kv *kv = gguf_kv_find(m->gguf, key);
    if (!kv)
        return ERR_OK;
    if (kv->type != GGUF_ARRAY || kv->item_type != (uint32_t)type)
        return err_set(e, ERR_FORMAT, "%s: %s of %s, an array of %s wanted", key, gguf_value_type_name(kv->type),
                       gguf_value_type_name(kv->item_type), gguf_value_type_name(type));
    *out = kv->bytes;
    *n = kv->n;
    return ERR_OK;
}

static enum err_code read_id(const struct model *m, const char *key, int64_t *out, struct err *e)
{
    uint32_t id = UINT32_MAX;
    enum err_code rc = gguf_opt_u32(m->gguf, key, 0, UINT32_MAX, &id, e);
    if (rc == ERR_OK && id != UINT32_MAX)
        *out = id;
    return rc;
}

static enum err_code read_choice(const struct model *m, const char *key, enum tokenizer_choice *out, struct err *e)
{
    bool value = false;
    if (!gguf_kv_find(m->gguf, key))
        return ERR_OK;
    enum err_code rc = gguf_opt_bool(m->gguf, key, &value, e);
    *out = value ? TOKENIZER_YES : TOKENIZER_NO;
    return rc;
}

/* Phi-3 files do not say that their special tokens swallow the space on their right. */
static bool strips_after_special(const struct model *m)
{
    return strncmp(m->info.architecture, "phi3", 4) == 0 || strstr(m->info.name, "phi-3") != NULL ||
           strstr(m->info.name, "Phi-3") != NULL;
}

static enum err_code open_tokenizer(struct model *m, struct err *e)
{
    struct tokenizer_vocab v;
    struct gguf_text model = { 0 }, pre = { 0 };
    tokenizer_vocab_init(&v);
    enum err_code rc = gguf_need_text(m->gguf, "tokenizer.ggml.model", &model, e);
    if (rc == ERR_OK)
        rc = gguf_opt_text(m->gguf, "tokenizer.ggml.pre", &pre, e);
    v.model = as_text(model);
    v.pre = as_text(pre);
    if (rc == ERR_OK)
        rc = read_texts(m, "tokenizer.ggml.tokens", &v.tokens, &v.n_tokens, e);
    if (rc == ERR_OK)
        rc = read_texts(m, "tokenizer.ggml.merges", &v.merges, &v.n_merges, e);
    if (rc == ERR_OK)
        rc = read_raw(m, "tokenizer.ggml.scores", GGUF_F32, &v.scores, &v.n_scores, e);
    if (rc == ERR_OK)
        rc = read_raw(m, "tokenizer.ggml.token_type", GGUF_I32, &v.types, &v.n_types, e);
    static const struct {
        const char *key;
        size_t offset;
    } ids[] = {
        { "tokenizer.ggml.bos_token_id", offsetof(struct tokenizer_vocab, bos) },
        { "tokenizer.ggml.eos_token_id", offsetof(struct tokenizer_vocab, eos) },
        { "tokenizer.ggml.eot_token_id", offsetof(struct tokenizer_vocab, eot) },
        { "tokenizer.ggml.eom_token_id", offsetof(struct tokenizer_vocab, eom) },
        { "tokenizer.ggml.unknown_token_id", offsetof(struct tokenizer_vocab, unk) },
        { "tokenizer.ggml.padding_token_id", offsetof(struct tokenizer_vocab, pad) },
    };
    for (size_t i = 0; rc == ERR_OK && i < sizeof ids / sizeof *ids; i++)
        rc = read_id(m, ids[i].key, (int64_t *)((char *)&v + ids[i].offset), e);
    if (rc == ERR_OK)
        rc = read_choice(m, "tokenizer.ggml.add_bos_token", &v.add_bos, e);
    if (rc == ERR_OK)
        rc = read_choice(m, "tokenizer.ggml.add_eos_token", &v.add_eos, e);
    if (rc == ERR_OK)
        rc = read_choice(m, "tokenizer.ggml.add_space_prefix", &v.add_space_prefix, e);
    v.strip_after_special = strips_after_special(m);
    if (rc == ERR_OK)
        rc = tokenizer_create(&m->tokenizer, &v, e);
    if (rc != ERR_OK)
        return rc;
    m->info.n_vocab = tokenizer_n_tokens(m->tokenizer);
    if (tokenizer_warning(m->tokenizer))
        model_warn(m, "%s", tokenizer_warning(m->tokenizer));
    return ERR_OK;
}

/* ---- template ------------------------------------------------------------------------------------- */

static bool has_token(const void *context, const char *text)
{
    return tokenizer_find(context, text, strlen(text)) != TOKENIZER_NONE;
}

static void show_thinking_tags(struct model *m)
{
    bool known = m->traits.reasoning_open && m->traits.reasoning_close;
    m->info.think_open = known ? m->traits.reasoning_open : "";
    m->info.think_close = known ? m->traits.reasoning_close : "";
}

static enum err_code use_builtin(struct model *m, struct err *e)
{
    const char *name = template_builtin_for(has_token, m->tokenizer);
    const char *source = template_builtin_source(name);
    struct template *t;
    enum err_code rc = template_create(&t, source, strlen(source), e);
    if (rc != ERR_OK)
        return rc;
    m->failed_template = m->chat_template;
    m->chat_template = t;
    m->info.template_name = name;
    template_probe(t, &m->traits);
    show_thinking_tags(m);
    return ERR_OK;
}

static enum err_code open_template(struct model *m, struct err *e)
{
    const struct gguf_kv *kv = gguf_kv_find(m->gguf, "tokenizer.chat_template");
    if (!kv || kv->type != GGUF_STRING) {
        enum err_code rc = use_builtin(m, e);
        model_warn(m, "the file has no chat template: using '%s'", m->info.template_name);
        return rc;
    }
    struct gguf_text source = gguf_kv_text(kv, 0);
    struct err reason;
    struct template *t;
    enum err_code rc = template_create(&t, source.bytes, source.n_bytes, &reason);
    if (rc == ERR_NOMEM)
        return err_set(e, rc, "%s", reason.text);
    if (rc != ERR_OK) {
        rc = use_builtin(m, e);
        model_warn(m, "the file's chat template cannot be used (%s): using '%s'", reason.text, m->info.template_name);
        return rc;
    }
    m->chat_template = t;
    m->info.template_name = "file";
    template_probe(t, &m->traits);
    show_thinking_tags(m);
    return ERR_OK;
}

enum err_code model_open_text(struct model *m, struct err *e)
{
    enum err_code rc = open_tokenizer(m, e);
    return rc == ERR_OK ? open_template(m, e) : rc;
}

void model_close_text(struct model *m)
{
    free(m->shared_system);
    token_list_finish(&m->shared);
    template_destroy(m->chat_template);
    template_destroy(m->failed_template);
    tokenizer_destroy(m->tokenizer);
}

/* ---- text and tokens ------------------------------------------------------------------------------ */

void token_list_finish(struct token_list *list)
{
    free(list->ids);
    *list = (struct token_list){ 0 };
}

static enum err_code tokenize(const struct model *m, const struct tokenizer_fragment *fragments, size_t n,
                              bool add_bos, struct token_list *out, struct err *e)
{
    struct tokenizer_ids ids = { 0 };
    enum err_code rc = tokenizer_encode_fragments(m->tokenizer, fragments, n, add_bos ? TOKENIZER_ADD_BOS : 0, &ids, e);
    if (rc == ERR_OK && ids.n > INT32_MAX)
        rc = err_set(e, ERR_UNSUPPORTED, "text of %zu tokens, at most %d can be handled", ids.n, INT32_MAX);
    if (rc != ERR_OK) {
        tokenizer_ids_finish(&ids);
        return rc;
    }
    token_list_finish(out);
    *out = (struct token_list){ .ids = ids.ids, .n = (int32_t)ids.n, .cap = (int32_t)ids.n };
    return ERR_OK;
}

enum err_code model_tokenize(const struct model *m, const struct text_part *parts, int32_t n_parts, bool add_bos,
                             struct token_list *out, struct err *e)
{
    struct tokenizer_fragment *fragments = calloc((size_t)n_parts + 1, sizeof *fragments);
    if (!fragments)
        return err_set(e, ERR_NOMEM, "no memory for %d pieces of text", n_parts);
    for (int32_t i = 0; i < n_parts; i++)
        fragments[i] = (struct tokenizer_fragment){ parts[i].text, parts[i].n_bytes, parts[i].trusted };
    enum err_code rc = tokenize(m, fragments, (size_t)n_parts, add_bos, out, e);
    free(fragments);
    return rc;
}

const char *model_piece(const struct model *m, int32_t id, size_t *n_bytes)
{
    struct tokenizer_text piece = tokenizer_piece(m->tokenizer, id);
    *n_bytes = piece.n_bytes;
    return piece.bytes ? piece.bytes : "";
}

bool model_is_special(const struct model *m, int32_t id)
{
    enum tokenizer_type type = tokenizer_type_of(m->tokenizer, id);
    return type == TOKENIZER_CONTROL || type == TOKENIZER_UNKNOWN;
}

bool model_is_end(const struct model *m, int32_t id)
{
    return tokenizer_is_eog(m->tokenizer, id);
}

/* ---- chat ----------------------------------------------------------------------------------------- */

static struct template_value *special_text(const struct model *m, struct arena *a, int32_t id)
{
    struct tokenizer_text piece = { "", 0 };
    if (id != TOKENIZER_NONE)
        piece = tokenizer_piece(m->tokenizer, id);
    return template_value_text(a, piece.bytes ? piece.bytes : "", piece.n_bytes);
}

static struct template_value *message_value(struct arena *a, const struct chat_message *msg)
{
    struct template_value *v = template_value_object(a);
    v = template_value_object_set(a, v, "role", template_value_text(a, msg->role, strlen(msg->role)));
    v = template_value_object_set(a, v, "content", template_value_text(a, msg->content, strlen(msg->content)));
    if (msg->thinking)
        v = template_value_object_set(a, v, "reasoning_content",
                                      template_value_text(a, msg->thinking, strlen(msg->thinking)));
    return v;
}

static struct template_value *chat_value(const struct model *m, struct arena *a, const struct chat_input *in)
{
    struct template_value *messages = template_value_array(a);
    for (int32_t i = 0; i < in->n_messages; i++)
        messages = template_value_array_add(a, messages, message_value(a, &in->messages[i]));
    struct template_value *v = template_value_object(a);
    v = template_value_object_set(a, v, "messages", messages);
    v = template_value_object_set(a, v, "add_generation_prompt", template_value_bool(a, in->add_generation_prompt));
    v = template_value_object_set(a, v, "bos_token", special_text(m, a, tokenizer_bos(m->tokenizer)));
    v = template_value_object_set(a, v, "eos_token", special_text(m, a, tokenizer_eos(m->tokenizer)));
    /* Defined, as by the library templates are written for: some ask `tools is not none` without asking
     * whether it is defined. */
    v = template_value_object_set(a, v, "tools", template_value_none(a));
    if (in->enable_thinking >= 0)
        v = template_value_object_set(a, v, "enable_thinking", template_value_bool(a, in->enable_thinking != 0));
    if (in->now_s != 0)
        v = template_value_object_set(a, v, "now", template_value_int(a, in->now_s));
    return v;
}

static enum err_code output_tokens(const struct model *m, const struct template_output *o, struct token_list *out,
                                   struct err *e)
{
    struct tokenizer_fragment *fragments = calloc(o->n_fragments + 1, sizeof *fragments);
    if (!fragments)
        return err_set(e, ERR_NOMEM, "no memory for a prompt of %zu pieces", o->n_fragments);
    for (size_t i = 0; i < o->n_fragments; i++)
        fragments[i] = (struct tokenizer_fragment){ buf_text(&o->text) + o->fragments[i].offset_bytes,
                                                    o->fragments[i].n_bytes, o->fragments[i].trusted };
    enum err_code rc = tokenize(m, fragments, o->n_fragments, true, out, e);
    free(fragments);
    return rc;
}

static int32_t common_tokens(const struct token_list *a, const struct token_list *b)
{
    int32_t n = 0;
    while (n < a->n && n < b->n && a->ids[n] == b->ids[n])
        n++;
    return n;
}

static bool is_system(const struct chat_message *msg)
{
    return strcmp(msg->role, "system") == 0 || strcmp(msg->role, "developer") == 0;
}

/* The tokens of a conversation with these first n_system messages and one of the user. */
static enum err_code render_probe(const struct model *m, const struct chat_input *in, int32_t n_system,
                                  const char *text, struct token_list *out)
{
    struct arena arena;
    struct template_output rendered;
    arena_init(&arena);
    template_output_init(&rendered);
    struct chat_message *messages = calloc((size_t)n_system + 1, sizeof *messages);
    struct chat_input probe = *in;
    const struct template_value *inputs = NULL;
    if (messages) {
        memcpy(messages, in->messages, (size_t)n_system * sizeof *messages);
        messages[n_system] = (struct chat_message){ .role = "user", .content = text };
        probe.messages = messages;
        probe.n_messages = n_system + 1;
        inputs = chat_value(m, &arena, &probe);
    }
    struct err e;
    enum err_code rc = inputs ? template_render(m->chat_template, inputs, NULL, &rendered, &e) : ERR_NOMEM;
    if (rc == ERR_OK)
        rc = output_tokens(m, &rendered, out, &e);
    free(messages);
    template_output_finish(&rendered);
    arena_finish(&arena);
    return rc;
}

/* What the prompts of two users with nothing in common begin with. Nothing when that cannot be found out. */
static void learn_shared(struct model *m, const struct chat_input *in, int32_t n_system)
{
    struct token_list other = { 0 };
    token_list_finish(&m->shared);
    if (render_probe(m, in, n_system, "Who?", &m->shared) != ERR_OK ||
        render_probe(m, in, n_system, "3 is odd", &other) != ERR_OK)
        m->shared.n = 0;
    m->shared.n = common_tokens(&m->shared, &other);
    token_list_finish(&other);
}

/* How many tokens of the prompt any conversation with its system messages begins with. What was learned last is
 * kept: a chat asks again with every message. When less of it fits than then (a date in the prompt, another
 * template) it is learned anew. */
static int32_t shared_tokens(struct model *m, const struct chat_input *in, const struct token_list *prompt)
{
    struct buf system = { 0 };
    int32_t n = 0;
    while (n < in->n_messages && is_system(&in->messages[n])) {
        buf_add_text(&system, in->messages[n++].content);
        buf_add_byte(&system, '\n');
    }
    buf_printf(&system, "%d", in->enable_thinking);
    if (n == 0 || !buf_ok(&system)) {
        buf_finish(&system);
        return 0;
    }
    bool known = m->shared_system && strcmp(m->shared_system, buf_text(&system)) == 0;
    if (!known || common_tokens(&m->shared, prompt) < m->shared.n) {
        free(m->shared_system);
        m->shared_system = buf_take(&system);
        learn_shared(m, in, n);
    }
    buf_finish(&system);
    m->shared.n = common_tokens(&m->shared, prompt);
    return m->shared.n;
}

enum err_code model_chat(struct model *m, const struct chat_input *in, struct token_list *out, struct chat_prompt *prompt,
                         struct err *e)
{
    struct arena arena;
    arena_init(&arena);
    struct template_output rendered;
    template_output_init(&rendered);
    const struct template_value *inputs = chat_value(m, &arena, in);
    struct err reason;
    enum err_code rc = inputs ? template_render(m->chat_template, inputs, NULL, &rendered, &reason)
                              : err_set(&reason, ERR_NOMEM, "no memory for %d messages", in->n_messages);
    if (rc == ERR_FORMAT && strcmp(m->info.template_name, "file") == 0) {
        rc = use_builtin(m, e);
        model_warn(m, "the file's chat template failed (%s): using '%s'", reason.text, m->info.template_name);
        if (rc == ERR_OK)
            rc = template_render(m->chat_template, inputs, NULL, &rendered, &reason);
    }
    if (rc != ERR_OK)
        err_set(e, rc, "%s", reason.text);
    else
        rc = output_tokens(m, &rendered, out, e);
    if (rc == ERR_OK && prompt)
        *prompt = (struct chat_prompt){ .opens_thinking = in->add_generation_prompt && m->traits.opens_reasoning,
                                        .n_shared = shared_tokens(m, in, out) };
    template_output_finish(&rendered);
    arena_finish(&arena);
    return rc;
}

enum err_code model_render(const struct model *m, const char *template_text, const char *json, struct buf *out,
                           struct err *e)
{
    struct arena arena;
    arena_init(&arena);
    struct template *own = NULL;
    struct template_value *v = NULL;
    struct template_output rendered;
    template_output_init(&rendered);
    enum err_code rc = template_value_from_json(&v, &arena, json, strlen(json), e);
    if (rc == ERR_OK && !template_value_object_get(v, "messages"))
        rc = err_set(e, ERR_FORMAT, "input: no member 'messages', an object with one wanted");
    if (rc == ERR_OK && template_text)
        rc = template_create(&own, template_text, strlen(template_text), e);
    if (rc == ERR_OK && !template_value_object_get(v, "add_generation_prompt"))
        v = template_value_object_set(&arena, v, "add_generation_prompt", template_value_bool(&arena, true));
    if (rc == ERR_OK && m && !template_value_object_get(v, "bos_token"))
        v = template_value_object_set(&arena, v, "bos_token", special_text(m, &arena, tokenizer_bos(m->tokenizer)));
    if (rc == ERR_OK && m && !template_value_object_get(v, "eos_token"))
        v = template_value_object_set(&arena, v, "eos_token", special_text(m, &arena, tokenizer_eos(m->tokenizer)));
    if (rc == ERR_OK && !v)
        rc = err_set(e, ERR_NOMEM, "input: no memory for it");
    if (rc == ERR_OK)
        rc = template_render(own ? own : m->chat_template, v, NULL, &rendered, e);
    if (rc == ERR_OK && !buf_add(out, buf_text(&rendered.text), rendered.text.n_bytes))
        rc = err_set(e, ERR_NOMEM, "no memory for a prompt of %zu bytes", rendered.text.n_bytes);
    template_output_finish(&rendered);
    template_destroy(own);
    arena_finish(&arena);
    return rc;
}
