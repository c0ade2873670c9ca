/* SPDX-License-Identifier: MIT */
#include "engine/tokenizer/tokenizer_split.h"

#include <assert.h>
#include <string.h>

#include "engine/tokenizer/tokenizer_unicode.h"

/* One scanner per family of rules instead of a regular expression engine. Each scanner is a function
 *
 *     end of the piece that starts at pos = f(parameters, text, pos, end)
 *
 * that reads forward only and looks at no character more than a few times in all, so a rule is linear
 * on any text: where a regular expression would step back through a run, the scanner remembers the
 * place while it goes over the run once. The expressions are quoted at the functions; in them, a
 * match becomes a piece and so does every stretch between matches. test_tokenizer_split holds
 * the rules against what those expressions do. */

/* *memo starts at 0 for a text and is the pass's own. */
typedef size_t (*pass_fn)(const struct tokenizer_pass *p, const char *text, size_t pos, size_t end,
                          size_t *memo);

struct range {
    uint32_t first, last;
};

enum lead { LEAD_NONE, LEAD_ANY_SPACE };

struct tokenizer_pass {
    pass_fn next;
    /* runs: the set is a class mask, ASCII characters, or ranges, together */
    uint32_t classes;
    const char *ascii;
    const struct range *ranges;
    size_t n_ranges;
    uint32_t min_chars, max_chars;    /* of one piece; max 0: no limit */
    enum lead lead;                   /* one white space before the run belongs to it */
    bool boundary;                    /* digit groups: the run has to end at a word's end */
    /* words */
    uint32_t letters;                 /* classes a word is made of */
    bool cased;                       /* words change at lower-to-upper */
    bool contractions;                /* 's 't ... : before words, or after them when cased */
    uint32_t max_digits;
    const char *tail;                 /* characters that may follow punctuation */
};

static size_t run_of_class(const char *text, size_t pos, size_t end, uint32_t set)
{
    for (;;) {
        struct tokenizer_char c = tokenizer_char_at(text, pos, end);
        if (!(c.class & set))
            return pos;
        pos += c.n_bytes;
    }
}

/* Characters of none of these classes. (Not run_of_class of the complement: a space has two bits.) */
static size_t run_outside(const char *text, size_t pos, size_t end, uint32_t set)
{
    for (;;) {
        struct tokenizer_char c = tokenizer_char_at(text, pos, end);
        if (c.class & set || c.n_bytes == 0)
            return pos;
        pos += c.n_bytes;
    }
}

static size_t run_of_bytes(const char *text, size_t pos, size_t end, const char *set)
{
    while (pos < end && text[pos] && strchr(set, text[pos]))
        pos++;
    return pos;
}

static bool is_newline(uint32_t code)
{
    return code == '\r' || code == '\n';
}

/* Length of 's 't 're 've 'm 'll 'd at pos, 0 for none. */
static size_t contraction(const char *text, size_t pos, size_t end, bool any_case)
{
    if (end - pos < 2 || text[pos] != '\'')
        return 0;
    char fold = any_case ? 0x20 : 0;
    char a = (char)(text[pos + 1] | fold);
    if (a == 's' || a == 't' || a == 'm' || a == 'd')
        return 2;
    if (end - pos < 3)
        return 0;
    char b = (char)(text[pos + 2] | fold);
    if ((a == 'r' && b == 'e') || (a == 'v' && b == 'e') || (a == 'l' && b == 'l'))
        return 3;
    return 0;
}

/* \s+(?!\S)|\s+ and, with newlines, \s*[\r\n]+ before them. pos is at white space: the run is taken to
 * its last line end, else but for its last character when more text follows, else whole. */
static size_t spaces(const char *text, size_t pos, size_t end, bool newlines)
{
    size_t last = pos, after_newline = 0, at = pos;
    for (;;) {
        struct tokenizer_char c = tokenizer_char_at(text, at, end);
        if (!(c.class & UC_SPACE))
            break;
        last = at;
        at += c.n_bytes;
        if (newlines && is_newline(c.code))
            after_newline = at;
    }
    if (after_newline)
        return after_newline;
    return at < end && last > pos ? last : at;
}

/* 's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+ */
static size_t pass_gpt2(const struct tokenizer_pass *p, const char *text, size_t pos, size_t end,
                        size_t *memo)
{
    (void)memo;
    (void)p;
    size_t n = contraction(text, pos, end, false);
    if (n)
        return pos + n;
    size_t start = pos + (text[pos] == ' ');
    struct tokenizer_char c = tokenizer_char_at(text, start, end);
    if (c.n_bytes == 0 || c.class & UC_SPACE)
        return spaces(text, pos, end, false);
    if (c.class & UC_L)
        return run_of_class(text, start, end, UC_L);
    if (c.class & UC_N)
        return run_of_class(text, start, end, UC_N);
    return run_outside(text, start, end, UC_SPACE | UC_L | UC_N);
}

/* A word that may not go from lower case to upper case:
 *     [Lu Lt Lm Lo M]*[Ll Lm Lo M]+ | [Lu Lt Lm Lo M]+[Ll Lm Lo M]*
 * The first choice wins where it matches. last_both is where stepping back would find a character to
 * give to its second half: the end of the last one that belongs to both sets. Returns pos for no match;
 * first_only says that the second choice is not to be tried. */
static size_t cased_word(const char *text, size_t pos, size_t end, bool first_only)
{
    const uint32_t both = UC_LM | UC_LO | UC_M, upper = UC_LU | UC_LT | both, lower = UC_LL | both;
    size_t at = pos, last_both = 0;
    for (;;) {
        struct tokenizer_char c = tokenizer_char_at(text, at, end);
        if (!(c.class & upper)) {
            if (c.class & lower)
                return run_of_class(text, at, end, lower);
            break;
        }
        at += c.n_bytes;
        if (c.class & both)
            last_both = at;
    }
    if (last_both)
        return last_both;
    return first_only ? pos : at;
}

/* [^\r\n\p{L}\p{N}]? before a cased word: with the character before it or without, the first choice of
 * cased_word() before the second. Returns pos for no match. */
static size_t cased_word_with_lead(const char *text, size_t pos, size_t end)
{
    struct tokenizer_char c = tokenizer_char_at(text, pos, end);
    bool lead = !(c.class & (UC_L | UC_N)) && !is_newline(c.code);
    for (int first_only = 1; first_only >= 0; first_only--) {
        size_t after;
        if (lead && (after = cased_word(text, pos + c.n_bytes, end, first_only)) > pos + c.n_bytes)
            return after;
        if (c.class & (UC_L | UC_M) && (after = cased_word(text, pos, end, first_only)) > pos)
            return after;
    }
    return pos;
}

/* [^\r\n\p{L}\p{N}]?[letters]+; returns pos for no match. */
static size_t word_with_lead(const char *text, size_t pos, size_t end, uint32_t letters)
{
    struct tokenizer_char c = tokenizer_char_at(text, pos, end);
    if (c.class & letters)
        return run_of_class(text, pos, end, letters);
    if (c.class & (UC_L | UC_N) || is_newline(c.code))
        return pos;
    size_t after = run_of_class(text, pos + c.n_bytes, end, letters);
    return after > pos + c.n_bytes ? after : pos;
}

/* The llama 3 family:
 *     (?i:'s|'t|'re|'ve|'m|'ll|'d)      contractions; after words when cased
 *     [^\r\n\p{L}\p{N}]?[letters]+      or the cased word
 *     \p{N}{1,max_digits}
 *      ?[^\s letters \p{N}]+[tail]*
 *     \s*[\r\n]+|\s+(?!\S)|\s+ */
static size_t pass_words(const struct tokenizer_pass *p, const char *text, size_t pos, size_t end,
                         size_t *memo)
{
    (void)memo;
    size_t n;
    if (p->contractions && !p->cased && (n = contraction(text, pos, end, true)) > 0)
        return pos + n;

    size_t after = p->cased ? cased_word_with_lead(text, pos, end)
                            : word_with_lead(text, pos, end, p->letters);
    if (after > pos)
        return after + (p->contractions && p->cased ? contraction(text, after, end, true) : 0);

    struct tokenizer_char c = tokenizer_char_at(text, pos, end);
    if (c.class & UC_N) {
        for (uint32_t i = 0; i < p->max_digits && c.class & UC_N; i++) {
            pos += c.n_bytes;
            c = tokenizer_char_at(text, pos, end);
        }
        return pos;
    }
    const uint32_t not_other = UC_SPACE | UC_N | p->letters;
    size_t start = pos + (c.code == ' ');
    after = run_outside(text, start, end, not_other);
    if (after > start)
        return run_of_bytes(text, after, end, p->tail);
    return spaces(text, pos, end, true);
}

/* DeepSeek 3 after digits and CJK are cut off:
 *     [!-/:-@\[-`{-~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*
 *     |\s*[\r\n]+|\s+(?!\S)|\s+
 * which leaves some characters unmatched (controls, formats, digits): 0 then. */
static size_t deepseek3_match(const char *text, size_t pos, size_t end)
{
    struct tokenizer_char c = tokenizer_char_at(text, pos, end);
    size_t next = pos + c.n_bytes;
    if (c.code < 0x80 && c.class & (UC_P | UC_S)) {
        size_t at = next;
        while (at < end && ((text[at] | 0x20) >= 'a' && (text[at] | 0x20) <= 'z'))
            at++;
        if (at > next)
            return at;
    }
    if (c.class & (UC_L | UC_M))
        return run_of_class(text, pos, end, UC_L | UC_M);
    if (!(c.class & (UC_P | UC_S)) && !is_newline(c.code)) {
        size_t after = run_of_class(text, next, end, UC_L | UC_M);
        if (after > next)
            return after;
    }
    size_t start = pos + (c.code == ' ');
    size_t after = run_of_class(text, start, end, UC_P | UC_S);
    if (after > start)
        return run_of_bytes(text, after, end, "\r\n");
    return c.class & UC_SPACE ? spaces(text, pos, end, true) : 0;
}

static size_t pass_deepseek3(const struct tokenizer_pass *p, const char *text, size_t pos, size_t end,
                             size_t *memo)
{
    (void)memo;
    (void)p;
    size_t after = deepseek3_match(text, pos, end);
    while (after == 0 && pos < end) {
        pos += tokenizer_char_at(text, pos, end).n_bytes;
        if (pos == end || deepseek3_match(text, pos, end) > 0)
            return pos;
    }
    return after;
}

static bool in_set(const struct tokenizer_pass *p, struct tokenizer_char c)
{
    if (c.class & p->classes)
        return true;
    if (c.code < 0x80)
        return c.n_bytes && c.code && p->ascii && strchr(p->ascii, (int)c.code);
    size_t low = 0, high = p->n_ranges;
    while (low < high) {
        size_t mid = (low + high) / 2;
        if (c.code > p->ranges[mid].last)
            low = mid + 1;
        else
            high = mid;
    }
    return low < p->n_ranges && c.code >= p->ranges[low].first;
}

/* Where a run of the set that starts at pos ends, 0 when none does. */
static size_t run_match(const struct tokenizer_pass *p, const char *text, size_t pos, size_t end)
{
    struct tokenizer_char c = tokenizer_char_at(text, pos, end);
    if (p->lead == LEAD_ANY_SPACE && c.class & UC_SPACE) {
        size_t next = pos + c.n_bytes;
        struct tokenizer_char after = tokenizer_char_at(text, next, end);
        if (in_set(p, after)) {
            pos = next;
            c = after;
        }
    }
    uint32_t n = 0;
    for (; in_set(p, c) && (p->max_chars == 0 || n < p->max_chars); n++) {
        pos += c.n_bytes;
        c = tokenizer_char_at(text, pos, end);
    }
    return n >= p->min_chars ? pos : 0;
}

/* Pieces are runs of the set, and what lies between them. */
static size_t pass_run(const struct tokenizer_pass *p, const char *text, size_t pos, size_t end,
                       size_t *memo)
{
    (void)memo;
    size_t after = run_match(p, text, pos, end);
    if (after)
        return after;
    do {
        pos += tokenizer_char_at(text, pos, end).n_bytes;
    } while (pos < end && run_match(p, text, pos, end) == 0);
    return pos;
}

/* \s+$ : white space at the very end of the piece, and what lies before it. */
static size_t pass_space_at_end(const struct tokenizer_pass *p, const char *text, size_t pos, size_t end,
                                size_t *memo)
{
    (void)memo;
    (void)p;
    size_t after_text = pos;
    for (size_t at = pos; at < end;) {
        struct tokenizer_char c = tokenizer_char_at(text, at, end);
        at += c.n_bytes;
        if (!(c.class & UC_SPACE))
            after_text = at;
    }
    return after_text > pos ? after_text : end;
}

/* How many digits stand at pos, *after set to their end; 0 too for a run that may not be grouped. */
static size_t digit_run(const struct tokenizer_pass *p, const char *text, size_t pos, size_t end,
                        size_t *after)
{
    struct tokenizer_char c;
    size_t n = 0;
    for (*after = pos; (c = tokenizer_char_at(text, *after, end)).class & p->classes; n++)
        *after += c.n_bytes;
    bool inside_word = c.class & (UC_L | UC_M | UC_ND | UC_NL | UC_PC);
    return p->boundary && inside_word ? 0 : n;
}

/* \d{1,3}(?=(\d{3})*) : runs of digits in groups of three counted from the right, 1 234 567. With
 * `boundary`, \b at the end: a run that touches a letter is no match. *memo is the end of a run whose
 * rest is whole groups: without it each group would count the run again. */
static size_t pass_digit_groups(const struct tokenizer_pass *p, const char *text, size_t pos,
                                size_t end, size_t *memo)
{
    size_t group = 3, after, n_digits;
    if (pos >= *memo) {
        n_digits = digit_run(p, text, pos, end, &after);
        for (size_t at = pos; n_digits == 0; n_digits = digit_run(p, text, at, end, &after)) {
            at = run_outside(text, after, end, p->classes);
            if (at == end || digit_run(p, text, at, end, &after) > 0)
                return at;
        }
        group = n_digits % 3 ? n_digits % 3 : 3;
        *memo = after;
    }
    for (; group > 0; group--)
        pos += tokenizer_char_at(text, pos, end).n_bytes;
    return pos;
}

/* [^\n]+|[\n]+ */
static size_t pass_lines(const struct tokenizer_pass *p, const char *text, size_t pos, size_t end,
                         size_t *memo)
{
    (void)memo;
    (void)p;
    bool newline = text[pos] == '\n';
    while (pos < end && (text[pos] == '\n') == newline)
        pos++;
    return pos;
}

/* The cased letters of an old Unicode, as DeepSeek's first rule lists them. */
static const struct range deepseek_letters[] = {
    { 0xB5, 0xB5 }, { 0xC0, 0xD6 }, { 0xD8, 0xF6 }, { 0xF8, 0x1BA }, { 0x1BC, 0x1BF },
    { 0x1C4, 0x293 }, { 0x295, 0x2AF }, { 0x370, 0x373 }, { 0x376, 0x377 }, { 0x37B, 0x37D },
    { 0x37F, 0x37F }, { 0x386, 0x386 }, { 0x388, 0x38A }, { 0x38C, 0x38C }, { 0x38E, 0x3A1 },
    { 0x3A3, 0x3F5 }, { 0x3F7, 0x481 }, { 0x48A, 0x52F }, { 0x531, 0x556 }, { 0x10A0, 0x10C5 },
    { 0x13A0, 0x13F5 }, { 0x13F8, 0x13FD }, { 0x1C90, 0x1CBA }, { 0x1CBD, 0x1CBF },
    { 0x1D00, 0x1D2B }, { 0x1D6B, 0x1D77 }, { 0x1D79, 0x1D9A }, { 0x1E00, 0x1F15 },
    { 0x1F18, 0x1F1D }, { 0x1F20, 0x1F45 }, { 0x1F48, 0x1F4D }, { 0x1F50, 0x1F57 },
    { 0x1F59, 0x1F59 }, { 0x1F5B, 0x1F5B }, { 0x1F5D, 0x1F5D }, { 0x1F5F, 0x1F7D },
    { 0x1F80, 0x1FB4 }, { 0x1FB6, 0x1FBC }, { 0x1FBE, 0x1FBE }, { 0x1FC2, 0x1FC4 },
    { 0x1FC6, 0x1FCC }, { 0x1FD0, 0x1FD3 }, { 0x1FD6, 0x1FDB }, { 0x1FE0, 0x1FEC },
    { 0x1FF2, 0x1FF4 }, { 0x1FF6, 0x1FFC }, { 0x2102, 0x2102 }, { 0x2107, 0x2107 },
    { 0x210A, 0x2113 }, { 0x2115, 0x2115 }, { 0x2119, 0x211D }, { 0x2124, 0x2124 },
    { 0x2126, 0x2126 }, { 0x2128, 0x2128 }, { 0x212A, 0x212D }, { 0x212F, 0x2134 },
    { 0x2139, 0x2139 }, { 0x213C, 0x213F }, { 0x2145, 0x2149 }, { 0x214E, 0x214E },
    { 0x2183, 0x2184 }, { 0x2C00, 0x2C7B }, { 0x2C7E, 0x2CE4 }, { 0x2CEB, 0x2CEE },
    { 0x2CF2, 0x2CF3 }, { 0xA640, 0xA66D }, { 0xA680, 0xA69B }, { 0xA722, 0xA76F },
    { 0xA771, 0xA787 }, { 0xA78B, 0xA78E }, { 0xAB70, 0xABBF }, { 0xFB00, 0xFB06 },
    { 0xFB13, 0xFB17 }, { 0xFF21, 0xFF3A }, { 0xFF41, 0xFF5A }, { 0x10400, 0x1044F },
    { 0x104B0, 0x104D3 }, { 0x104D8, 0x104FB }, { 0x10C80, 0x10CB2 }, { 0x10CC0, 0x10CF2 },
    { 0x118A0, 0x118DF }, { 0x1E900, 0x1E943 },
};
/* !-/ :-~ (letters among them) and their wide forms, quotes, CJK stops */
static const struct range deepseek_marks[] = {
    { 0x2018, 0x201F }, { 0x3000, 0x3002 }, { 0xFF01, 0xFF0F }, { 0xFF1A, 0xFF5E },
};
static const struct range deepseek_cjk[] = { { 0x800, 0x9FA5 }, { 0xAC00, 0xD7FF } };
static const struct range deepseek3_cjk[] = { { 0x3040, 0x30FF }, { 0x4E00, 0x9FA5 } };
static const struct range afmoe_scripts[] = {
    { 0xE40, 0xE7F }, { 0xE80, 0xEFF }, { 0x1000, 0x109F }, { 0x1100, 0x11FF }, { 0x1780, 0x17FF },
    { 0x2F00, 0x2FDF }, { 0x3040, 0x30FF }, { 0x3400, 0x4DBF }, { 0x4E00, 0x9FFF },
    { 0xA9E0, 0xA9FF }, { 0xAA60, 0xAA7F }, { 0xAC00, 0xD7AF }, { 0xF900, 0xFAFF },
    { 0xFF65, 0xFF9F },
};

#define RANGES(list) .ranges = (list), .n_ranges = sizeof(list) / sizeof *(list)
#define ASCII_LETTERS "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"

static const struct tokenizer_pass gpt2 = { .next = pass_gpt2 };
static const struct tokenizer_pass lines = { .next = pass_lines };
static const struct tokenizer_pass groups_of_three = { .next = pass_digit_groups, .classes = UC_N };
static const struct tokenizer_pass decimal_groups = {
    .next = pass_digit_groups, .classes = UC_ND, .boundary = true,
};
static const struct tokenizer_pass deepseek3 = { .next = pass_deepseek3 };
static const struct tokenizer_pass space_at_end = { .next = pass_space_at_end };

static const struct tokenizer_pass digit = {
    .next = pass_run, .classes = UC_N, .min_chars = 1, .max_chars = 1,
};
static const struct tokenizer_pass three_digits = {
    .next = pass_run, .classes = UC_N, .min_chars = 1, .max_chars = 3,
};
static const struct tokenizer_pass all_digits = { .next = pass_run, .classes = UC_N, .min_chars = 1 };
static const struct tokenizer_pass ascii_triple = {
    .next = pass_run, .ascii = "0123456789", .min_chars = 3, .max_chars = 3,
};
static const struct tokenizer_pass falcon_marks = {
    .next = pass_run, .classes = UC_P, .ascii = "$+<=>^~|`", .min_chars = 1,
};
static const struct tokenizer_pass default_marks = {
    .next = pass_run, .classes = UC_P, .ascii = "$+<=>^~|", .min_chars = 1,
};
static const struct tokenizer_pass newline = {
    .next = pass_run, .ascii = "\r\n", .min_chars = 1, .max_chars = 1,
};
static const struct tokenizer_pass llm_letters = {
    .next = pass_run, .ascii = ASCII_LETTERS, RANGES(deepseek_letters), .min_chars = 1,
    .lead = LEAD_ANY_SPACE,
};
static const struct tokenizer_pass llm_marks = {
    .next = pass_run, .ascii = "!\"#$%&'()*+,-./:;<=>?@" ASCII_LETTERS "[\\]^_`{|}~",
    RANGES(deepseek_marks), .min_chars = 1, .lead = LEAD_ANY_SPACE,
};
static const struct tokenizer_pass llm_cjk = {
    .next = pass_run, RANGES(deepseek_cjk), .min_chars = 1,
};
static const struct tokenizer_pass coder_letters = {
    .next = pass_run, .classes = UC_L, .min_chars = 1, .lead = LEAD_ANY_SPACE,
};
static const struct tokenizer_pass coder_marks = {
    .next = pass_run, .classes = UC_P, .min_chars = 1, .lead = LEAD_ANY_SPACE,
};
static const struct tokenizer_pass v3_cjk = {
    .next = pass_run, RANGES(deepseek3_cjk), .min_chars = 1,
};
static const struct tokenizer_pass scripts = {
    .next = pass_run, RANGES(afmoe_scripts), .min_chars = 1,
};
static const struct tokenizer_pass words_llama3 = {
    .next = pass_words, .letters = UC_L, .contractions = true, .max_digits = 3, .tail = "\r\n",
};
static const struct tokenizer_pass words_qwen2 = {
    .next = pass_words, .letters = UC_L, .contractions = true, .max_digits = 1, .tail = "\r\n",
};
static const struct tokenizer_pass words_qwen35 = {
    .next = pass_words, .letters = UC_L | UC_M, .contractions = true, .max_digits = 1,
    .tail = "\r\n",
};
static const struct tokenizer_pass words_seed = {
    .next = pass_words, .letters = UC_L, .contractions = true, .max_digits = 1, .tail = "",
};
static const struct tokenizer_pass words_bare = {
    .next = pass_words, .letters = UC_L, .max_digits = 1, .tail = "\r\n",
};
static const struct tokenizer_pass words_tekken = {
    .next = pass_words, .letters = UC_L, .cased = true, .max_digits = 1, .tail = "\r\n/",
};
static const struct tokenizer_pass words_o200k = {
    .next = pass_words, .letters = UC_L, .cased = true, .contractions = true, .max_digits = 3,
    .tail = "\r\n/",
};

typedef const struct tokenizer_pass *const passes[TOKENIZER_SPLIT_PASSES + 1];

static passes rule_gpt2 = { &gpt2 };
static passes rule_default = { &default_marks, &gpt2, &all_digits, &ascii_triple };
static passes rule_digits = { &digit, &gpt2 };
static passes rule_llama3 = { &words_llama3 };
static passes rule_qwen2 = { &words_qwen2 };
static passes rule_qwen35 = { &words_qwen35 };
static passes rule_seed = { &words_seed };
static passes rule_bare = { &words_bare };
static passes rule_minicpm5 = { &three_digits, &words_llama3 };
static passes rule_tekken = { &words_tekken };
static passes rule_o200k = { &words_o200k };
static passes rule_aya = { &decimal_groups, &words_o200k };
static passes rule_falcon = { &falcon_marks, &gpt2, &ascii_triple };
static passes rule_lines = { &lines };
static passes rule_laguna = { &lines, &words_qwen2 };
static passes rule_deepseek_llm = { &newline, &llm_letters, &llm_marks, &space_at_end, &llm_cjk,
                                    &all_digits };
static passes rule_deepseek_coder = { &newline, &coder_letters, &coder_marks, &llm_cjk, &digit };
static passes rule_deepseek3 = { &three_digits, &v3_cjk, &deepseek3 };
static passes rule_afmoe = { &groups_of_three, &scripts, &deepseek3 };
static passes rule_superbpe = { &all_digits, &groups_of_three };

static const struct tokenizer_rule rules[] = {
    { "default", rule_default, false, false },
    { "gpt-2", rule_gpt2, false, false },
    { "phi-2", rule_gpt2, false, false },
    { "olmo", rule_gpt2, false, false },
    { "mpt", rule_gpt2, false, false },
    { "jais", rule_gpt2, false, false },
    { "exaone4", rule_gpt2, false, false },
    { "trillion", rule_gpt2, false, false },
    { "granite-docling", rule_gpt2, false, false },
    { "gigachat", rule_gpt2, false, false },
    { "a.x-4.0", rule_gpt2, false, false },
    { "mellum", rule_gpt2, false, false },
    { "smollm", rule_digits, false, false },
    { "starcoder", rule_digits, false, false },
    { "refact", rule_digits, false, false },
    { "command-r", rule_digits, false, false },
    { "codeshell", rule_digits, false, false },
    { "exaone", rule_digits, false, false },
    { "minerva-7b", rule_digits, false, false },
    { "mellum2", rule_digits, false, false },
    { "llama-bpe", rule_llama3, true, true },
    { "llama3", rule_llama3, true, true },
    { "llama-v3", rule_llama3, true, true },
    { "falcon3", rule_llama3, true, true },
    { "falcon-h1", rule_llama3, true, true },
    { "pixtral", rule_llama3, true, true },
    { "midm-2.0", rule_llama3, true, true },
    { "lfm2", rule_llama3, true, true },
    { "dbrx", rule_llama3, false, false },
    { "smaug-bpe", rule_llama3, false, false },
    { "chatglm-bpe", rule_llama3, false, false },
    { "glm4", rule_llama3, true, false },
    { "glm5", rule_llama3, true, false },
    { "minicpm5", rule_minicpm5, true, false },
    { "qwen2", rule_qwen2, false, false },
    { "deepseek-r1-qwen", rule_qwen2, false, false },
    { "kormo", rule_qwen2, false, false },
    { "stablelm2", rule_qwen2, false, false },
    { "hunyuan", rule_qwen2, false, false },
    { "megrez", rule_qwen2, false, false },
    { "grok-2", rule_qwen2, false, false },
    { "solar-open", rule_qwen2, false, false },
    { "bailingmoe", rule_qwen2, false, false },
    { "bailingmoe2", rule_qwen2, false, false },
    { "llada-moe", rule_qwen2, false, false },
    { "seed-coder", rule_seed, false, false },
    { "ufakzeka", rule_bare, false, false },
    { "laguna", rule_laguna, false, false },
    { "qwen35", rule_qwen35, false, false },
    { "tekken", rule_tekken, true, true },
    { "gpt-4o", rule_o200k, false, false },
    { "llama4", rule_o200k, false, false },
    { "kanana2", rule_o200k, false, false },
    { "talkie", rule_o200k, false, false },
    { "minimax-m2", rule_o200k, false, false },
    { "tiny_aya", rule_aya, false, false },
    { "cohere2moe", rule_aya, false, false },
    { "falcon", rule_falcon, false, false },
    { "gemma4", rule_lines, false, true },
    { "deepseek-llm", rule_deepseek_llm, false, false },
    { "deepseek-coder", rule_deepseek_coder, false, false },
    { "deepseek-v3", rule_deepseek3, false, false },
    { "hunyuan-dense", rule_deepseek3, false, false },
    { "hy_v4", rule_deepseek3, false, false },
    { "joyai-llm", rule_deepseek3, false, false },
    { "afmoe", rule_afmoe, false, false },
    { "superbpe", rule_superbpe, false, false },
};

const struct tokenizer_rule *tokenizer_rule_find(const char *name, size_t n_bytes)
{
    for (size_t i = 0; i < sizeof rules / sizeof *rules; i++)
        if (strlen(rules[i].name) == n_bytes && memcmp(rules[i].name, name, n_bytes) == 0)
            return &rules[i];
    return NULL;
}

void tokenizer_split_init(struct tokenizer_split *s, const struct tokenizer_rule *rule,
                          const char *text, size_t begin, size_t end)
{
    *s = (struct tokenizer_split){ .rule = rule, .text = text, .pos = begin };
    while (rule->passes[s->n_passes])
        s->n_passes++;
    s->ends[0] = end;
    for (int i = 1; i <= s->n_passes; i++)
        s->ends[i] = begin;
}

bool tokenizer_split_next(struct tokenizer_split *s, size_t *begin, size_t *end)
{
    if (s->pos == s->ends[0])
        return false;
    int k = s->n_passes;
    while (s->ends[k] == s->pos)    /* ends[0] is not */
        k--;
    for (; k < s->n_passes; k++) {
        const struct tokenizer_pass *p = s->rule->passes[k];
        s->ends[k + 1] = p->next(p, s->text, s->pos, s->ends[k], &s->memo[k]);
        assert(s->ends[k + 1] > s->pos && s->ends[k + 1] <= s->ends[k]);
    }
    *begin = s->pos;
    *end = s->pos = s->ends[s->n_passes];
    return true;
}
