/* SPDX-License-Identifier: MIT */
/* What each tensor of a model gets, held to what llama-quantize says (tests/data/level, made by tests/peer/recipe.sh). */
#include <stdio.h>
#include <stdlib.h>

#include "engine/level/recipe.h"
#include "tests/support/test.h"

enum { MAX_TENSORS = 1024 };

struct shape {
    char name[32];
    struct recipe_model model;
    uint64_t width, inner, head, vocabulary;
    bool tied, bias, head_norms, fused;
    struct recipe_tensor tensors[MAX_TENSORS];
    char names[MAX_TENSORS][48];
    int32_t n;
};

static void add(struct shape *s, const char *name, int32_t layer, uint64_t a, uint64_t b, uint64_t c)
{
    struct recipe_tensor *t = &s->tensors[s->n];
    if (layer >= 0)
        snprintf(s->names[s->n], sizeof s->names[0], "blk.%d.%s", layer, name);
    else
        snprintf(s->names[s->n], sizeof s->names[0], "%s", name);
    *t = (struct recipe_tensor){ .name = s->names[s->n], .n_dims = c > 1 ? 3 : b > 1 ? 2 : 1, .ne = { a, b, c, 1 },
                                 .type = b > 1 && !strstr(name, "gate_inp") ? QUANT_F16 : QUANT_F32 };
    s->n++;
}

/* As tensors_of() in tests/peer/shape_model.py. */
static void add_tensors(struct shape *s)
{
    uint64_t queries = (uint64_t)s->model.n_head * s->head, values = (uint64_t)s->model.n_head_kv * s->head;
    uint64_t experts = (uint64_t)s->model.n_experts;
    s->n = 0;
    add(s, "token_embd.weight", -1, s->width, s->vocabulary, 1);
    for (int32_t i = 0; i < s->model.n_layers; i++) {
        add(s, "attn_norm.weight", i, s->width, 1, 1);
        if (s->fused) {
            add(s, "attn_qkv.weight", i, s->width, queries + 2 * values, 1);
        } else {
            add(s, "attn_q.weight", i, s->width, queries, 1);
            add(s, "attn_k.weight", i, s->width, values, 1);
            add(s, "attn_v.weight", i, s->width, values, 1);
        }
        if (s->bias) {
            add(s, "attn_q.bias", i, queries, 1, 1);
            add(s, "attn_k.bias", i, values, 1, 1);
            add(s, "attn_v.bias", i, values, 1, 1);
        }
        if (s->head_norms) {
            add(s, "attn_q_norm.weight", i, s->head, 1, 1);
            add(s, "attn_k_norm.weight", i, s->head, 1, 1);
        }
        add(s, "attn_output.weight", i, queries, s->width, 1);
        add(s, "ffn_norm.weight", i, s->width, 1, 1);
        if (experts > 0) {
            add(s, "ffn_gate_inp.weight", i, s->width, experts, 1);
            add(s, "ffn_gate_exps.weight", i, s->width, s->inner, experts);
            add(s, "ffn_up_exps.weight", i, s->width, s->inner, experts);
            add(s, "ffn_down_exps.weight", i, s->inner, s->width, experts);
            continue;
        }
        if (!s->fused)
            add(s, "ffn_gate.weight", i, s->width, s->inner, 1);
        add(s, "ffn_up.weight", i, s->width, s->fused ? 2 * s->inner : s->inner, 1);
        add(s, "ffn_down.weight", i, s->inner, s->width, 1);
    }
    add(s, "output_norm.weight", -1, s->width, 1, 1);
    if (!s->tied)
        add(s, "output.weight", -1, s->width, s->vocabulary, 1);
}

static bool read_shape(struct shape *s, const char *line)
{
    char arch[32], flags[64] = "";
    unsigned long long width, inner, head, vocabulary;
    memset(s, 0, sizeof *s);
    if (sscanf(line, "%31[^# \n] %31s %d %llu %llu %d %d %llu %llu %d %63[^\n]", s->name, arch, &s->model.n_layers, &width,
               &inner, &s->model.n_head, &s->model.n_head_kv, &head, &vocabulary, &s->model.n_experts, flags) < 10)
        return false;
    snprintf(s->model.arch, sizeof s->model.arch, "%s", arch);
    s->width = width;
    s->inner = inner;
    s->head = head;
    s->vocabulary = vocabulary;
    s->tied = strstr(flags, "tied");
    s->bias = strstr(flags, "bias");
    s->head_norms = strstr(flags, "head_norms");
    s->fused = strstr(flags, "fused");
    add_tensors(s);
    return true;
}

static struct shape *find_shape(struct test *t, const char *name)
{
    char *text = test_read_file("tests/data/level/shapes.txt", NULL), *save = NULL;
    struct shape *s = malloc(sizeof *s);
    bool found = false;
    CHECK(t, text && s);
    for (char *line = strtok_r(text, "\n", &save); line && !found; line = strtok_r(NULL, "\n", &save))
        found = read_shape(s, line) && strcmp(s->name, name) == 0;
    free(text);
    CHECK(t, found, "no shape %s", name);
    return s;
}

static uint32_t type_of_letter(char letter)
{
    static const struct {
        char letter;
        uint32_t type;
    } letters[] = {
        { 'F', QUANT_F32 }, { 'H', QUANT_F16 }, { 'B', QUANT_BF16 }, { '8', QUANT_Q8_0 }, { '6', QUANT_Q6_K },
        { '5', QUANT_Q5_K }, { 'v', QUANT_Q5_1 }, { 'u', QUANT_Q5_0 }, { '4', QUANT_Q4_K }, { 't', QUANT_Q4_1 },
        { 's', QUANT_Q4_0 }, { 'n', QUANT_IQ4_NL }, { 'x', QUANT_IQ4_XS }, { 'm', QUANT_MXFP4 }, { '3', QUANT_Q3_K },
        { '2', QUANT_Q2_K },
    };
    for (size_t i = 0; i < sizeof letters / sizeof *letters; i++)
        if (letters[i].letter == letter)
            return letters[i].type;
    return RECIPE_NO_TYPE;
}

static struct recipe_options options_of(const char *level)
{
    return (struct recipe_options){ .recipe = recipe_find(level), .output_type = RECIPE_NO_TYPE,
                                    .embedding_type = RECIPE_NO_TYPE };
}

static struct recipe_choice *choose(struct test *t, const struct shape *s, const struct recipe_options *o)
{
    struct err e = { 0 };
    struct recipe_choice *choices = calloc(MAX_TENSORS, sizeof *choices);
    CHECK(t, recipe_choose(&s->model, s->tensors, s->n, o, choices, &e) == ERR_OK, "%s", e.text);
    return choices;
}

static uint32_t chosen(struct test *t, const struct shape *s, const struct recipe_choice *choices, const char *name)
{
    for (int32_t i = 0; i < s->n; i++)
        if (strcmp(s->tensors[i].name, name) == 0)
            return choices[i].type;
    CHECK(t, false, "no tensor %s", name);
    return RECIPE_NO_TYPE;
}

static const char *name_of(uint32_t type)
{
    return quant_format(type) ? quant_format(type)->name : "?";
}

/* "ffn_down=6644": the types of the tensors of one kind, by layer. */
static void check_kind(struct test *t, const struct shape *s, const struct recipe_choice *choices, const char *word,
                       const char *what)
{
    size_t n_name = strcspn(word, "="), n_seen = 0;
    const char *letters = word + n_name + 1;
    for (int32_t i = 0; i < s->n; i++) {
        const char *name = s->tensors[i].name, *dot = strncmp(name, "blk.", 4) == 0 ? strchr(name + 4, '.') + 1 : name;
        if (strlen(dot) != n_name + 7 || strncmp(dot, word, n_name) != 0 || strcmp(dot + n_name, ".weight") != 0)
            continue;
        char letter = letters[1] ? letters[n_seen] : letters[0];
        CHECK(t, choices[i].type == type_of_letter(letter), "%s: %s is %s, %s wanted", what, name,
              name_of(choices[i].type), name_of(type_of_letter(letter)));
        n_seen++;
    }
    CHECK(t, n_seen > 0 && (!letters[1] || strlen(letters) == n_seen), "%s: %.*s", what, (int)n_name, word);
}

static void check_plan(struct test *t, const struct shape *s, const char *level, const char *options, bool has_imatrix,
                       uint64_t n_bytes, const char *line)
{
    char what[96], *words = strdup(line);
    snprintf(what, sizeof what, "%s %s %s", s->name, level, options);
    struct recipe_options o = options_of(level);
    CHECK(t, o.recipe, "%s", what);
    o.pure = strcmp(options, "pure") == 0;
    o.has_imatrix = has_imatrix;
    struct recipe_choice *choices = choose(t, s, &o);
    uint64_t sum = 0;
    char *save = NULL;
    for (int32_t i = 0; i < s->n; i++) {
        const uint64_t *ne = s->tensors[i].ne;
        sum += quant_row_bytes(choices[i].type, ne[0]) * ne[1] * ne[2] * ne[3];
    }
    CHECK(t, sum == n_bytes, "%s: %llu bytes, %llu wanted", what, (unsigned long long)sum, (unsigned long long)n_bytes);
    for (char *word = strtok_r(words, " ", &save); word; word = strtok_r(NULL, " ", &save))
        check_kind(t, s, choices, word, what);
    free(choices);
    free(words);
}

TEST(recipe_every_tensor_gets_what_llama_quantize_gives_it)
{
    char *text = test_read_file("tests/data/level/types.txt", NULL), *save = NULL;
    struct shape *s = NULL;
    int n_lines = 0;
    CHECK(t, text);
    for (char *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save), n_lines++) {
        char shape[32], level[16], options[16];
        unsigned long long n_bytes;
        int at = 0;
        CHECK(t, sscanf(line, "%31s %15s %15s %llu %n", shape, level, options, &n_bytes, &at) == 4 && at > 0, "%s", line);
        if (!s || strcmp(s->name, shape) != 0) {
            free(s);
            s = find_shape(t, shape);
        }
        if (strcmp(options, "imatrix") != 0)
            check_plan(t, s, level, options, false, n_bytes, line + at);
        if (strcmp(options, "plain") != 0)
            check_plan(t, s, level, options, true, n_bytes, line + at);
    }
    CHECK(t, n_lines >= 15 * 2 * RECIPE_N_LEVELS, "%d lines", n_lines);
    free(s);
    free(text);
}

TEST(recipe_names_are_found_whatever_the_case_and_short_ones_mean_the_medium)
{
    CHECK_TEXT(t, recipe_find("q4_k_m")->name, "Q4_K_M");
    CHECK_TEXT(t, recipe_find("Q3_K")->name, "Q3_K_M");
    CHECK_TEXT(t, recipe_find("q4_k")->name, "Q4_K_M");
    CHECK_TEXT(t, recipe_find("Q5_K")->name, "Q5_K_M");
    CHECK_TEXT(t, recipe_find("Q2_K")->name, "Q2_K");
    CHECK(t, !recipe_find("Q7_K") && !recipe_find(""));
    for (int i = 0; i < RECIPE_N_LEVELS; i++) {
        const struct recipe *r = recipe_at((enum recipe_level)i);
        CHECK_INT(t, r->level, i, "%s", r->name);
        CHECK(t, recipe_find(r->name) == r, "%s", r->name);
    }
}

TEST(recipe_a_type_that_is_said_outranks_the_rule_and_is_not_counted)
{
    struct shape *s = find_shape(t, "llama-3.1-8b");
    struct recipe_options o = options_of("Q4_K_S");
    const struct recipe_override overrides[] = { { "blk\\.0\\.attn_v", QUANT_Q8_0 }, { "BLK\\.1\\.ffn_down", QUANT_Q8_0 },
                                                 { "blk\\.\\d\\.attn_(q|v)", QUANT_Q5_0 } };
    o.overrides = overrides;
    o.n_overrides = 3;
    struct recipe_choice *c = choose(t, s, &o);
    CHECK_TEXT(t, name_of(chosen(t, s, c, "blk.0.attn_v.weight")), "Q8_0");     /* the first that is found */
    CHECK_TEXT(t, name_of(chosen(t, s, c, "blk.7.attn_v.weight")), "Q5_0");
    CHECK_TEXT(t, name_of(chosen(t, s, c, "blk.10.attn_v.weight")), "Q5_K");    /* the first four that are left */
    CHECK_TEXT(t, name_of(chosen(t, s, c, "blk.13.attn_v.weight")), "Q5_K");
    CHECK_TEXT(t, name_of(chosen(t, s, c, "blk.14.attn_v.weight")), "Q4_K");
    CHECK_TEXT(t, name_of(chosen(t, s, c, "blk.1.ffn_down.weight")), "Q8_0");
    CHECK_TEXT(t, name_of(chosen(t, s, c, "blk.4.ffn_down.weight")), "Q5_K");
    CHECK_TEXT(t, name_of(chosen(t, s, c, "blk.5.ffn_down.weight")), "Q4_K");
    CHECK_TEXT(t, name_of(chosen(t, s, c, "blk.9.attn_q.weight")), "Q5_0");
    CHECK_TEXT(t, name_of(chosen(t, s, c, "blk.10.attn_q.weight")), "Q4_K");
    free(c);
    o.pure = true;
    c = choose(t, s, &o);
    CHECK_TEXT(t, name_of(chosen(t, s, c, "blk.9.attn_q.weight")), "Q5_0");
    CHECK_TEXT(t, name_of(chosen(t, s, c, "output.weight")), "Q4_K");
    free(c);
    free(s);
}

TEST(recipe_types_of_output_and_embedding_outrank_patterns)
{
    struct shape *s = find_shape(t, "llama-3.1-8b");
    struct recipe_options o = options_of("BF16");
    const struct recipe_override all = { "weight", QUANT_Q4_0 };
    o.output_type = QUANT_Q8_0;
    o.overrides = &all;
    o.n_overrides = 1;
    struct recipe_choice *c = choose(t, s, &o);
    CHECK_TEXT(t, name_of(chosen(t, s, c, "output.weight")), "Q8_0");
    CHECK_TEXT(t, name_of(chosen(t, s, c, "token_embd.weight")), "BF16");    /* patterns are for levels of blocks */
    free(c);
    o.recipe = recipe_find("Q4_K_M");
    o.embedding_type = QUANT_Q6_K;
    c = choose(t, s, &o);
    CHECK_TEXT(t, name_of(chosen(t, s, c, "output.weight")), "Q8_0");
    CHECK_TEXT(t, name_of(chosen(t, s, c, "token_embd.weight")), "Q6_K");
    CHECK_TEXT(t, name_of(chosen(t, s, c, "blk.3.attn_v.weight")), "Q4_0");
    CHECK_TEXT(t, name_of(chosen(t, s, c, "output_norm.weight")), "F32");
    free(c);
    free(s);

    s = find_shape(t, "smollm2-135m");    /* the embedding is the output */
    o = options_of("Q4_K_M");
    o.output_type = QUANT_Q4_0;
    c = choose(t, s, &o);
    CHECK_TEXT(t, name_of(chosen(t, s, c, "token_embd.weight")), "Q4_0");
    free(c);
    o.embedding_type = QUANT_Q5_0;
    c = choose(t, s, &o);
    CHECK_TEXT(t, name_of(chosen(t, s, c, "token_embd.weight")), "Q5_0");
    free(c);
    free(s);
}

TEST(recipe_says_what_fell_back_and_what_needs_an_importance_matrix)
{
    struct shape *s = find_shape(t, "smollm2-135m");
    struct recipe_options o = options_of("Q4_K_M");
    struct recipe_choice *c = choose(t, s, &o);
    int n_fallback = 0;
    for (int32_t i = 0; i < s->n; i++)
        n_fallback += c[i].wanted != c[i].type;
    CHECK_INT(t, n_fallback, 180);    /* as llama-quantize counts them */
    free(c);
    free(s);
    s = find_shape(t, "llama-3.1-8b");
    o = options_of("Q2_K_S");
    c = choose(t, s, &o);
    for (int32_t i = 0; i < s->n; i++) {
        bool is_embedding = strcmp(s->tensors[i].name, "token_embd.weight") == 0;
        CHECK_INT(t, c[i].needs_imatrix, c[i].type == QUANT_Q2_K && !is_embedding, "%s", s->tensors[i].name);
    }
    free(c);
    free(s);
}

TEST(recipe_leaves_alone_what_is_no_matrix_of_a_product)
{
    static const char *const kept[] = {
        "blk.0.attn_norm.weight", "blk.0.ffn_gate_inp.weight", "blk.0.attn_q.bias", "position_embd.weight",
        "token_types.weight", "blk.3.ssm_conv1d.weight", "blk.3.ssm_conv1d_q.weight", "blk.3.shortconv.conv.weight",
        "blk.3.time_mix_w1.weight", "blk.3.time_mix_lerp_fused.weight", "blk.3.altup_router.weight", "altup_proj.weight",
        "blk.3.laurel_l.weight", "per_layer_model_proj.weight", "dec.blk.3.cross_attn_rel_b.weight", "v.patch_embd.weight",
        "v.position_embd.weight", "v.blk.0.rel_pos_h.weight", "mm.a.code_embd.weight", "a.rvq.codebook.weight",
        "blk.3.indexer.k_proj.weight", "blk.2.attn_q",
    };
    static const char *const made[] = { "blk.0.attn_q.weight", "blk.0.ssm_out.weight", "cls.weight", "token_embd.weight",
                                        "blk.2.ffn_gate.weight", "per_layer_token_embd.weight", "blk.2.x_weight" };
    struct recipe_model model = { .arch = "llama", .n_layers = 4, .n_head = 4, .n_head_kv = 2 };
    struct recipe_options o = options_of("Q8_0");
    for (size_t i = 0; i < sizeof kept / sizeof *kept + sizeof made / sizeof *made; i++) {
        bool is_kept = i < sizeof kept / sizeof *kept;
        const char *name = is_kept ? kept[i] : made[i - sizeof kept / sizeof *kept];
        struct recipe_tensor tensor = { .name = name, .n_dims = 2, .ne = { 256, 256, 1, 1 }, .type = QUANT_F16 };
        struct recipe_choice choice;
        struct err e = { 0 };
        CHECK(t, recipe_choose(&model, &tensor, 1, &o, &choice, &e) == ERR_OK, "%s", e.text);
        CHECK_INT(t, choice.is_kept, is_kept, "%s", name);
        CHECK_TEXT(t, name_of(choice.type), is_kept ? "F16" : "Q8_0", "%s", name);
    }
}

TEST(recipe_refuses_a_pattern_that_is_none_and_an_expert_of_no_layer)
{
    struct recipe_model model = { .arch = "llama", .n_layers = 4, .n_head = 4, .n_head_kv = 2, .n_experts = 8 };
    struct recipe_tensor tensor = { .name = "blk.4.ffn_down_exps.weight", .n_dims = 3, .ne = { 256, 256, 8, 1 },
                                    .type = QUANT_F16 };
    struct recipe_options o = options_of("Q4_K_M");
    struct recipe_choice choice;
    struct err e = { 0 };
    CHECK_INT(t, recipe_choose(&model, &tensor, 1, &o, &choice, &e), ERR_FORMAT);
    CHECK(t, strstr(e.text, "blk.4.ffn_down_exps.weight") && strstr(e.text, "4 layers"), "%s", e.text);
    tensor.name = "blk.3.ffn_down_exps.weight";
    CHECK(t, recipe_choose(&model, &tensor, 1, &o, &choice, &e) == ERR_OK, "%s", e.text);
    const struct recipe_override bad = { "attn_(q", QUANT_Q8_0 };
    o.overrides = &bad;
    o.n_overrides = 1;
    CHECK_INT(t, recipe_choose(&model, &tensor, 1, &o, &choice, &e), ERR_FORMAT);
    CHECK(t, strstr(e.text, "attn_(q"), "%s", e.text);
}
