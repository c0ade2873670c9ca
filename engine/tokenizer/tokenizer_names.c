/* SPDX-License-Identifier: MIT */
#include "engine/tokenizer/tokenizer_internal.h"

/* Files often lack the ids of the tokens that end an answer, or type them as ordinary text. These
 * names are known, so they are corrected here: a token that ends generation must stop the engine, and
 * must not come out of what a user typed. */

/* In the order in which they are taken for the end of a turn when the file names none. */
static const char *const end_of_turn[] = {
    "<|eot_id|>", "<|im_end|>", "<end_of_turn>", "<turn|>", "<|end|>", "<end_of_utterance>", "[EOT]",
    "<EOT>", "_<EOT>", TOKENIZER_SPACE "<EOT>", "<|endoftext|>", "<|end_of_text|>",
    "<\xEF\xBD\x9C" "end" TOKENIZER_SPACE "of" TOKENIZER_SPACE "sentence\xEF\xBD\x9C>",
};

static const char *const other_ends[] = {
    "<|return|>", "<|call|>", "<|calls|>", "<|flush|>", "</s>", "<|eom_id|>", "[EOS]", "<eos>",
    "<|tool_response>", "[e~[",
    /* of files and repositories, in models trained to fill in the middle */
    "<|fim_pad|>", "<fim-pad>", "<fim_pad>", "<PAD>", "[PAD]", "<|fim_repo|>", "<|repo_name|>",
    "<fim-repo>", "<REPO>", "<reponame>", "<|file_sep|>",
};

static const char *const control_names[] = {
    "<|fim_prefix|>", "<fim-prefix>", "<fim_prefix>", "<PRE>", TOKENIZER_SPACE "<PRE>",
    "<|code_prefix|>", "<|fim_suffix|>", "<fim-suffix>", "<fim_suffix>", "<SUF>",
    TOKENIZER_SPACE "<SUF>", "<|code_suffix|>", "<|fim_middle|>", "<fim-middle>", "<fim_middle>",
    "<MID>", TOKENIZER_SPACE "<MID>", "<|code_middle|>",
};

/* The parser of harmony's channels reads these in the output. */
static const char *const harmony_marks[] = {
    "<|channel|>", "<|message|>", "<|start|>", "<|constrain|>",
};

/* Files type these as user-defined, yet a template and a parser of answers give them meaning. */
static const char *const tags[] = {
    "think", "thinking", "tool_call", "tool_calls", "tool_response", "tool_output", "tools",
};

#define COUNT(list) (sizeof(list) / sizeof *(list))

static int32_t find(const struct tokenizer *t, const char *name)
{
    return tokenizer_find(t, name, strlen(name));
}

static bool text_is(struct tokenizer_text text, const char *name)
{
    return text.n_bytes == strlen(name) && memcmp(text.bytes, name, text.n_bytes) == 0;
}

static bool is_tag(struct tokenizer_text text)
{
    if (text.n_bytes < 3 || text.bytes[0] != '<' || text.bytes[text.n_bytes - 1] != '>')
        return false;
    size_t skip = text.bytes[1] == '/' ? 2 : 1;
    struct tokenizer_text name = { text.bytes + skip, text.n_bytes - skip - 1 };
    for (size_t i = 0; i < COUNT(tags); i++)
        if (text_is(name, tags[i]))
            return true;
    return false;
}

/* <|...|> and what is like it: with one bar only, or with the wide bars of DeepSeek. */
static bool is_markup(struct tokenizer_text text)
{
    const char *b = text.bytes;
    size_t n = text.n_bytes;
    if (n >= 3 && (memcmp(b, "<|", 2) == 0 || memcmp(b + n - 2, "|>", 2) == 0))
        return true;
    if (n >= 5 && (memcmp(b, "<\xEF\xBD\x9C", 4) == 0 || memcmp(b + n - 4, "\xEF\xBD\x9C>", 4) == 0))
        return true;
    return is_tag(text);
}

static void make_control(struct tokenizer *t, int32_t id)
{
    if (id != TOKENIZER_NONE)
        t->tokens[id].type = TOKENIZER_CONTROL;
}

static void make_end(struct tokenizer *t, int32_t id)
{
    make_control(t, id);
    if (id != TOKENIZER_NONE)
        t->tokens[id].flags |= TOKEN_EOG;
}

/* Names that mean something else where certain others exist. */
static void except_names(struct tokenizer *t)
{
    int32_t end = find(t, "<|end|>"), flush = find(t, "<|flush|>");
    bool call = find(t, "<|call|>") != TOKENIZER_NONE || find(t, "<|calls|>") != TOKENIZER_NONE;
    bool harmony = call && (find(t, "<|return|>") != TOKENIZER_NONE || flush != TOKENIZER_NONE);
    if (harmony && end != TOKENIZER_NONE && end != t->eos) {
        t->tokens[end].flags = TOKEN_SHOWN;
        if (t->eot == end)
            t->eot = TOKENIZER_NONE;
    }
    int32_t s = find(t, "</s>");
    if (s != TOKENIZER_NONE && find(t, "<|tool_response>") != TOKENIZER_NONE && s != t->eos)
        t->tokens[s] = (struct token){ .type = TOKENIZER_NORMAL };
}

void tokenizer_apply_names(struct tokenizer *t, bool strip_after_special)
{
    for (size_t i = 0; i < COUNT(end_of_turn); i++) {
        int32_t id = find(t, end_of_turn[i]);
        make_end(t, id);
        if (t->eot == TOKENIZER_NONE)
            t->eot = id;
    }
    for (size_t i = 0; i < COUNT(other_ends); i++)
        make_end(t, find(t, other_ends[i]));
    for (size_t i = 0; i < COUNT(control_names); i++)
        make_control(t, find(t, control_names[i]));
    for (size_t i = 0; i < COUNT(harmony_marks); i++) {
        int32_t id = find(t, harmony_marks[i]);
        make_control(t, id);
        if (id != TOKENIZER_NONE)
            t->tokens[id].flags |= TOKEN_SHOWN;
    }
    if (t->eom == TOKENIZER_NONE)
        t->eom = find(t, "<|eom_id|>");
    except_names(t);
    const int32_t ids[] = { t->eos, t->eot, t->eom };
    for (size_t i = 0; i < COUNT(ids); i++)
        make_end(t, ids[i]);
    make_control(t, t->bos);

    for (int32_t id = 0; id < t->n_tokens; id++) {
        struct token *token = &t->tokens[id];
        if (token->type == TOKENIZER_USER_DEFINED && !is_markup(t->texts[id]))
            token->flags |= TOKEN_PLAIN;
        bool special = token->type == TOKENIZER_CONTROL || token->type == TOKENIZER_USER_DEFINED;
        if (strip_after_special && special && !text_is(t->texts[id], "<s>") &&
            !text_is(t->texts[id], "<|endoftext|>"))
            token->flags |= TOKEN_STRIPS;
    }
}
