/* SPDX-License-Identifier: MIT */
/* The rules, tensor by tensor. They are looked at in the order of layers and, within one, of names, because some count
 * the tensors of their kind that came before; a tensor whose type a person said is not counted. Divisions of layer
 * counts are of whole numbers: a model with fewer than 8 layers has no first eighth. */
#include "engine/level/recipe.h"

#include <ctype.h>
#include <regex.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

static const struct recipe recipes[RECIPE_N_LEVELS] = {
    { RECIPE_F32, "F32", 0, QUANT_F32 },
    { RECIPE_F16, "F16", 1, QUANT_F16 },
    { RECIPE_BF16, "BF16", 32, QUANT_BF16 },
    { RECIPE_Q8_0, "Q8_0", 7, QUANT_Q8_0 },
    { RECIPE_Q6_K, "Q6_K", 18, QUANT_Q6_K },
    { RECIPE_Q5_K_M, "Q5_K_M", 17, QUANT_Q5_K },
    { RECIPE_Q5_K_S, "Q5_K_S", 16, QUANT_Q5_K },
    { RECIPE_Q5_1, "Q5_1", 9, QUANT_Q5_1 },
    { RECIPE_Q5_0, "Q5_0", 8, QUANT_Q5_0 },
    { RECIPE_Q4_K_M, "Q4_K_M", 15, QUANT_Q4_K },
    { RECIPE_Q4_K_S, "Q4_K_S", 14, QUANT_Q4_K },
    { RECIPE_Q4_1, "Q4_1", 3, QUANT_Q4_1 },
    { RECIPE_Q4_0, "Q4_0", 2, QUANT_Q4_0 },
    { RECIPE_IQ4_NL, "IQ4_NL", 25, QUANT_IQ4_NL },
    { RECIPE_IQ4_XS, "IQ4_XS", 30, QUANT_IQ4_XS },
    { RECIPE_MXFP4_MOE, "MXFP4_MOE", 38, QUANT_MXFP4 },
    { RECIPE_Q3_K_L, "Q3_K_L", 13, QUANT_Q3_K },
    { RECIPE_Q3_K_M, "Q3_K_M", 12, QUANT_Q3_K },
    { RECIPE_Q3_K_S, "Q3_K_S", 11, QUANT_Q3_K },
    { RECIPE_Q2_K, "Q2_K", 10, QUANT_Q2_K },
    { RECIPE_Q2_K_S, "Q2_K_S", 21, QUANT_Q2_K },
};

const struct recipe *recipe_at(enum recipe_level level)
{
    return &recipes[level];
}

const struct recipe *recipe_find(const char *name)
{
    for (int i = 0; i < RECIPE_N_LEVELS; i++)
        if (strcasecmp(recipes[i].name, name) == 0)
            return &recipes[i];
    if (strcasecmp(name, "Q3_K") == 0)
        return &recipes[RECIPE_Q3_K_M];
    if (strcasecmp(name, "Q4_K") == 0)
        return &recipes[RECIPE_Q4_K_M];
    if (strcasecmp(name, "Q5_K") == 0)
        return &recipes[RECIPE_Q5_K_M];
    return NULL;
}

/* ---- the model ------------------------------------------------------------------------------------ */

/* "llama." + name; a number, or the first of an array. Of a key that is not there nothing is set. */
static enum err_code read_count(const struct gguf *g, const char *arch, const char *name, int32_t *out, struct err *e)
{
    char key[128];
    snprintf(key, sizeof key, "%s.%s", arch, name);
    const struct gguf_kv *kv = gguf_kv_find(g, key), *items = NULL;
    if (!kv || kv->type != GGUF_ARRAY)
        return gguf_opt_i32(g, key, 0, INT32_MAX, out, e);
    enum err_code rc = gguf_need_ints(g, key, 0, INT32_MAX, &items, e);
    if (rc == ERR_OK && items->n > 0)
        *out = (int32_t)gguf_kv_int(items, 0);
    return rc;
}

enum err_code recipe_model_read(struct recipe_model *out, const struct gguf *g, struct err *e)
{
    memset(out, 0, sizeof *out);
    struct gguf_text arch = { "", 0 };
    enum err_code rc = gguf_opt_text(g, "general.architecture", &arch, e);
    if (rc != ERR_OK)
        return rc;
    if (arch.n_bytes >= sizeof out->arch)
        return err_set(e, ERR_FORMAT, "key 'general.architecture': a text of %zu bytes, at most %zu wanted", arch.n_bytes,
                       sizeof out->arch - 1);
    memcpy(out->arch, arch.bytes, arch.n_bytes);
    rc = read_count(g, out->arch, "block_count", &out->n_layers, e);
    if (rc == ERR_OK)
        rc = read_count(g, out->arch, "attention.head_count", &out->n_head, e);
    out->n_head_kv = out->n_head;    /* where the file does not say */
    if (rc == ERR_OK)
        rc = read_count(g, out->arch, "attention.head_count_kv", &out->n_head_kv, e);
    if (rc == ERR_OK)
        rc = read_count(g, out->arch, "expert_count", &out->n_experts, e);
    return rc;
}

/* ---- what a tensor is ----------------------------------------------------------------------------- */

enum kind { KIND_OTHER, KIND_OUTPUT, KIND_EMBEDDING, KIND_ATTN_V, KIND_ATTN_K, KIND_ATTN_OUTPUT, KIND_FFN_DOWN };

/* Parts of names of tensors that are small and hurt, or are no factors of a product. */
static const char *const keep_names[] = {
    "_norm.weight", "ffn_gate_inp.weight", "ffn_gate_tid2eid.weight", "altup", "laurel", "per_layer_model_proj",
    "ssm_conv1d", "shortconv.conv.weight", "indexer.k_proj.weight", "indexer.q_proj.weight",
    "time_mix_first.weight", "time_mix_w0.weight", "time_mix_w1.weight", "time_mix_w2.weight", "time_mix_v0.weight",
    "time_mix_v1.weight", "time_mix_v2.weight", "time_mix_a0.weight", "time_mix_a1.weight", "time_mix_a2.weight",
    "time_mix_g1.weight", "time_mix_g2.weight", "time_mix_decay_w1.weight", "time_mix_decay_w2.weight",
    "time_mix_lerp_fused.weight", "attn_rel_b.weight", ".position_embd", "sam.pos_embd", "sam.neck.", "sam.net_",
    ".rel_pos", ".patch_embd", ".patch_merger", "a.rvq.codebook", "mm.a.code_embd",
};

static bool is_kept(const struct recipe_tensor *t)
{
    size_t n = strlen(t->name);
    if (t->n_dims < 2 || n < 6 || strcmp(t->name + n - 6, "weight") != 0 ||
        strcmp(t->name, "position_embd.weight") == 0 || strcmp(t->name, "token_types.weight") == 0)
        return true;
    for (size_t i = 0; i < sizeof keep_names / sizeof *keep_names; i++)
        if (strstr(t->name, keep_names[i]))
            return true;
    return false;
}

static enum kind kind_of(const char *name, bool has_output)
{
    if (strcmp(name, "output.weight") == 0 || (!has_output && strcmp(name, "token_embd.weight") == 0))
        return KIND_OUTPUT;
    if (strcmp(name, "token_embd.weight") == 0 || strcmp(name, "per_layer_token_embd.weight") == 0)
        return KIND_EMBEDDING;
    if (strstr(name, "attn_v.weight") || strstr(name, "attn_qkv.weight") || strstr(name, "attn_kv_b.weight"))
        return KIND_ATTN_V;
    if (strstr(name, "attn_k.weight"))
        return KIND_ATTN_K;
    if (strstr(name, "attn_output.weight"))
        return KIND_ATTN_OUTPUT;
    if (strstr(name, "ffn_down"))
        return KIND_FFN_DOWN;
    return KIND_OTHER;
}

int32_t recipe_layer(const char *name)
{
    int layer = -1;
    return sscanf(name, "blk.%d.", &layer) == 1 ? layer : -1;
}

/* ---- the rules ------------------------------------------------------------------------------------ */

/* Where a rule stands. */
struct place {
    const struct recipe_model *m;
    const struct recipe_options *o;
    enum recipe_level level;
    bool is_falcon, has_output;
    int32_t gqa;              /* query heads on one of keys and values */
    int32_t i_v, n_v;         /* tensors of KIND_ATTN_V: before this one, in all */
    int32_t i_down;           /* of KIND_FFN_DOWN */
};

/* The first and the last eighth, and every third between them. */
static bool more_bits(int32_t i, int32_t n)
{
    return i < n / 8 || i >= 7 * n / 8 || (i - n / 8) % 3 == 2;
}

static uint32_t output_rule(const struct place *p, const struct recipe_tensor *t)
{
    uint32_t base = p->o->recipe->base;
    if (p->level == RECIPE_MXFP4_MOE || p->is_falcon || base == QUANT_Q8_0 ||
        t->ne[0] % (uint64_t)quant_format(base)->block_weights != 0)
        return QUANT_Q8_0;
    return QUANT_Q6_K;
}

/* Models of 80 layers, where heads share values: so small a part of the whole that a better type costs nothing. */
static bool is_70b(const struct recipe_model *m)
{
    if (m->n_layers != 80)
        return false;
    if (strcmp(m->arch, "llama") == 0)
        return m->n_head != m->n_head_kv;
    return strcmp(m->arch, "qwen2") == 0 || strcmp(m->arch, "deci") == 0 || strcmp(m->arch, "olmo") == 0;
}

static uint32_t attn_v_rule(const struct place *p)
{
    uint32_t type = p->o->recipe->base;
    switch (p->level) {
    case RECIPE_Q2_K:
        type = p->gqa >= 4 ? QUANT_Q4_K : QUANT_Q3_K;
        break;
    case RECIPE_Q2_K_S:
        type = p->gqa >= 4 ? QUANT_Q4_K : type;
        break;
    case RECIPE_Q3_K_M:
        type = p->i_v < 2 ? QUANT_Q5_K : QUANT_Q4_K;
        break;
    case RECIPE_Q3_K_L:
        type = QUANT_Q5_K;
        break;
    case RECIPE_IQ4_NL:
    case RECIPE_IQ4_XS:
        type = p->gqa >= 4 ? QUANT_Q5_K : type;
        break;
    case RECIPE_Q4_K_S:
        type = p->i_v < 4 ? QUANT_Q5_K : type;
        break;
    case RECIPE_Q4_K_M:
    case RECIPE_Q5_K_M:
        type = more_bits(p->i_v, p->n_v) ? QUANT_Q6_K : type;
        break;
    default:
        break;
    }
    if (is_70b(p->m) && (type == QUANT_Q3_K || type == QUANT_Q4_K))
        type = QUANT_Q5_K;
    return p->m->n_experts == 8 ? QUANT_Q8_0 : type;
}

static uint32_t attn_output_rule(const struct place *p)
{
    uint32_t base = p->o->recipe->base;
    if (p->is_falcon)
        return p->level == RECIPE_Q3_K_L ? QUANT_Q4_K : base;
    switch (p->level) {
    case RECIPE_Q2_K:
        return p->m->n_experts == 8 ? QUANT_Q5_K : QUANT_Q3_K;
    case RECIPE_Q3_K_M:
        return p->m->n_experts == 8 ? QUANT_Q5_K : QUANT_Q4_K;
    case RECIPE_Q3_K_L:
        return p->m->n_experts == 8 ? base : QUANT_Q5_K;
    case RECIPE_Q3_K_S:
    case RECIPE_Q4_K_S:
    case RECIPE_Q4_K_M:
    case RECIPE_IQ4_NL:
    case RECIPE_IQ4_XS:
        return p->m->n_experts == 8 ? QUANT_Q5_K : base;
    default:
        return base;
    }
}

/* i of n: the layer. */
static uint32_t ffn_down_rule(const struct place *p, int32_t i, int32_t n)
{
    uint32_t base = p->o->recipe->base;
    bool is_early = i < n / 8;
    switch (p->level) {
    case RECIPE_Q2_K:
        return QUANT_Q3_K;
    case RECIPE_Q2_K_S:
        return is_early ? QUANT_Q4_K : base;
    case RECIPE_Q3_K_M:
        if (i < n / 16)
            return QUANT_Q5_K;
        return !p->is_falcon || more_bits(i, n) ? QUANT_Q4_K : QUANT_Q3_K;
    case RECIPE_Q3_K_L:
        return p->is_falcon ? QUANT_Q4_K : QUANT_Q5_K;
    case RECIPE_Q4_K_M:
        if (p->is_falcon)
            return i < n / 16 ? QUANT_Q6_K : more_bits(i, n) ? QUANT_Q5_K : QUANT_Q4_K;
        return more_bits(i, n) ? QUANT_Q6_K : base;
    case RECIPE_Q4_K_S:
        return is_early && !p->is_falcon ? QUANT_Q5_K : base;
    case RECIPE_Q5_K_M:
        return more_bits(i, n) ? QUANT_Q6_K : base;
    case RECIPE_IQ4_NL:
    case RECIPE_IQ4_XS:
        return is_early && !p->o->has_imatrix ? QUANT_Q5_K : base;
    case RECIPE_Q4_0:
        return is_early && p->o->has_imatrix ? QUANT_Q4_1 : base;
    case RECIPE_Q5_0:
        return is_early && p->o->has_imatrix ? QUANT_Q5_1 : base;
    default:
        return base;
    }
}

static enum err_code by_rule(struct place *p, const struct recipe_tensor *t, uint32_t *type, struct err *e)
{
    int32_t layer = p->i_down;
    enum kind kind = kind_of(t->name, p->has_output);
    *type = p->o->recipe->base;
    if (kind == KIND_OUTPUT) {
        *type = output_rule(p, t);
        return ERR_OK;
    }
    if (p->level == RECIPE_MXFP4_MOE) {
        *type = t->ne[2] > 1 ? QUANT_MXFP4 : QUANT_Q8_0;
        return ERR_OK;
    }
    switch (kind) {
    case KIND_ATTN_V:
        *type = attn_v_rule(p);
        p->i_v++;
        break;
    case KIND_ATTN_K:
        *type = p->m->n_experts == 8 ? QUANT_Q8_0 : *type;
        break;
    case KIND_ATTN_OUTPUT:
        *type = attn_output_rule(p);
        break;
    case KIND_FFN_DOWN:
        if (p->m->n_experts > 1) {    /* several of a layer */
            layer = recipe_layer(t->name);
            if (layer < 0 || layer >= p->m->n_layers)
                return err_set(e, ERR_FORMAT, "tensor '%s': in none of the %d layers", t->name, p->m->n_layers);
        }
        *type = ffn_down_rule(p, layer, p->m->n_layers);
        p->i_down++;
        break;
    default:
        break;
    }
    return ERR_OK;
}

/* For rows that are no whole number of blocks: a type of blocks of 32 with as many bits, else F16. */
static uint32_t fall_back(uint32_t type, uint64_t n_cols)
{
    if (quant_row_bytes(type, n_cols) > 0)
        return type;
    switch (type) {
    case QUANT_Q2_K:
    case QUANT_Q3_K:
        type = QUANT_Q4_0;
        break;
    case QUANT_Q4_K:
        type = QUANT_Q5_0;
        break;
    case QUANT_Q5_K:
        type = QUANT_Q5_1;
        break;
    case QUANT_Q6_K:
        type = QUANT_Q8_0;
        break;
    case QUANT_IQ4_XS:
        type = QUANT_IQ4_NL;
        break;
    default:
        break;
    }
    return quant_row_bytes(type, n_cols) > 0 ? type : QUANT_F16;
}

/* ---- choosing ------------------------------------------------------------------------------------- */

struct word {
    regex_t regex;
    uint32_t type;
};

/* The pattern with \d, which POSIX does not have, written out. */
static enum err_code compile(struct word *out, const struct recipe_override *o, struct err *e)
{
    struct buf pattern = { 0 };
    for (const char *p = o->pattern; *p; p++) {
        if (p[0] == '\\' && p[1] == 'd') {
            buf_add_text(&pattern, "[0-9]");
            p++;
        } else {
            buf_add_byte(&pattern, (unsigned char)*p);
            if (p[0] == '\\' && p[1])
                buf_add_byte(&pattern, (unsigned char)*++p);
        }
    }
    enum err_code rc = ERR_OK;
    if (!buf_ok(&pattern)) {
        rc = err_set(e, ERR_NOMEM, "no memory for the pattern '%s'", o->pattern);
    } else {
        int code = regcomp(&out->regex, buf_text(&pattern), REG_EXTENDED | REG_ICASE | REG_NOSUB);
        char why[128] = "";
        if (code != 0) {
            regerror(code, NULL, why, sizeof why);
            rc = err_set(e, code == REG_ESPACE ? ERR_NOMEM : ERR_FORMAT, "'%s': not a regular expression: %s",
                         o->pattern, why);
        }
    }
    out->type = o->type;
    buf_finish(&pattern);
    return rc;
}

static enum err_code choose_one(struct place *p, const struct recipe_tensor *t, const struct word *words, int32_t n_words,
                                struct recipe_choice *out, struct err *e)
{
    const struct recipe_options *o = p->o;
    uint32_t base = o->recipe->base;
    bool is_plain = quant_format(base)->block_weights == 1;    /* F32, F16, BF16 */
    bool is_embedding = strcmp(t->name, "token_embd.weight") == 0;
    *out = (struct recipe_choice){ .type = t->type, .wanted = t->type, .is_kept = is_kept(t) };
    if (out->is_kept)
        return ERR_OK;

    enum err_code rc = ERR_OK;
    out->wanted = base;
    int32_t word = 0;
    while (!is_plain && word < n_words && regexec(&words[word].regex, t->name, 0, NULL, 0) != 0)
        word++;
    out->is_said = true;
    if (is_embedding && o->embedding_type != RECIPE_NO_TYPE)
        out->wanted = o->embedding_type;
    else if (kind_of(t->name, p->has_output) == KIND_OUTPUT && o->output_type != RECIPE_NO_TYPE)
        out->wanted = o->output_type;
    else if (!is_plain && word < n_words)
        out->wanted = words[word].type;
    else
        out->is_said = false;
    if (!out->is_said && !is_plain && !o->pure)
        rc = by_rule(p, t, &out->wanted, e);
    out->type = fall_back(out->wanted, t->ne[0]);
    out->needs_imatrix = p->level == RECIPE_Q2_K_S && out->type == QUANT_Q2_K && !is_embedding &&
                         strcmp(t->name, "output.weight") != 0;
    return rc;
}

struct visit {
    const char *name;
    int32_t layer, index;
};

static int compare_visits(const void *a, const void *b)
{
    const struct visit *x = a, *y = b;
    return x->layer != y->layer ? (x->layer < y->layer ? -1 : 1) : strcmp(x->name, y->name);
}

enum err_code recipe_choose(const struct recipe_model *m, const struct recipe_tensor *tensors, int32_t n,
                            const struct recipe_options *o, struct recipe_choice *out, struct err *e)
{
    struct place p = { .m = m, .o = o, .level = o->recipe->level, .is_falcon = strcmp(m->arch, "falcon") == 0,
                       .gqa = m->n_head_kv > 0 ? m->n_head / m->n_head_kv : 0 };
    struct visit *visits = calloc((size_t)n + 1, sizeof *visits);
    struct word *words = calloc((size_t)o->n_overrides + 1, sizeof *words);
    int32_t n_words = 0;
    enum err_code rc = visits && words ? ERR_OK : err_set(e, ERR_NOMEM, "no memory for %d tensors", n);
    while (rc == ERR_OK && n_words < o->n_overrides) {
        rc = compile(&words[n_words], &o->overrides[n_words], e);
        n_words += rc == ERR_OK;
    }
    for (int32_t i = 0; rc == ERR_OK && i < n; i++) {
        visits[i] = (struct visit){ tensors[i].name, recipe_layer(tensors[i].name), i };
        p.has_output = p.has_output || strcmp(tensors[i].name, "output.weight") == 0;
        p.n_v += kind_of(tensors[i].name, true) == KIND_ATTN_V;
    }
    if (rc == ERR_OK)
        qsort(visits, (size_t)n, sizeof *visits, compare_visits);
    for (int32_t i = 0; rc == ERR_OK && i < n; i++) {
        const struct recipe_tensor *t = &tensors[visits[i].index];
        rc = choose_one(&p, t, words, n_words, &out[visits[i].index], e);
    }
    for (int32_t i = 0; i < n_words; i++)
        regfree(&words[i].regex);
    free(words);
    free(visits);
    return rc;
}
