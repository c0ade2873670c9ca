/* SPDX-License-Identifier: MIT */
#include "engine/tokenizer/tokenizer_internal.h"

/* Fragments are joined to one text, special tokens are cut out of it where trust allows, and each
 * stretch between them is encoded as one, however many fragments it came from: so the ids are those of
 * the whole text, and trust decides only what may be special. */

/* Walks along the fragments with a position that only grows. */
struct trust {
    const struct tokenizer_fragment *fragments;
    size_t n_fragments;
    size_t next;           /* first fragment behind the run */
    size_t end;            /* of the run of fragments of one kind that the position is in */
    bool trusted;
};

/* Where trusted text that contains pos ends; 0 when pos lies in untrusted text. */
static size_t trusted_end(struct trust *r, size_t pos)
{
    while (r->end <= pos && r->next < r->n_fragments) {
        r->trusted = r->fragments[r->next].trusted;
        while (r->next < r->n_fragments && r->fragments[r->next].trusted == r->trusted)
            r->end += r->fragments[r->next++].n_bytes;
    }
    return r->trusted && pos < r->end ? r->end : 0;
}

/* The special token at pos, if any. Plain ones (runs of line ends and the like) may begin in what a
 * user typed and reach into the template's text, but not into a special token there: no input can
 * spoil one. */
static int32_t special_at(const struct tokenizer *t, struct trust *r, const char *text, size_t pos,
                          size_t n_bytes)
{
    unsigned char first = (unsigned char)text[pos];
    if (t->special_first[first] == t->special_first[first + 1])
        return TOKENIZER_NONE;
    size_t safe_end = trusted_end(r, pos);
    int32_t id = tokenizer_special_at(t, text, pos, n_bytes, safe_end);
    if (id == TOKENIZER_NONE || safe_end || pos + t->texts[id].n_bytes <= r->end)
        return id;
    struct trust ahead = *r;
    for (size_t at = r->end; at < pos + t->texts[id].n_bytes; at++) {
        size_t end = trusted_end(&ahead, at);
        int32_t inner = end ? tokenizer_special_at(t, text, at, n_bytes, end) : TOKENIZER_NONE;
        if (inner != TOKENIZER_NONE && !(t->tokens[inner].flags & TOKEN_PLAIN))
            return tokenizer_special_at(t, text, pos, at, 0);
    }
    return id;
}

/* Cuts spaced text before U+2581 wherever no token can reach across (tokenizer_mark_spaces). */
static bool encode_words(struct tokenizer_work *w, uint32_t begin, uint32_t end)
{
    uint32_t start = begin, at = begin;
    while (at < end) {
        const char *found = memchr(w->text + at, TOKENIZER_SPACE[0], end - at);
        uint32_t next = found ? (uint32_t)(found - w->text) : end;
        if (found && end - next >= TOKENIZER_SPACE_BYTES && next > start &&
            memcmp(found, TOKENIZER_SPACE, TOKENIZER_SPACE_BYTES) == 0 &&
            !w->t->before_space[(unsigned char)found[-1]]) {
            if (!tokenizer_piece_ids(w, start, next))
                return false;
            start = next;
        }
        at = next + 1;
    }
    return start == end || tokenizer_piece_ids(w, start, end);
}

static bool add_spaced(struct buf *out, const char *text, size_t n_bytes)
{
    while (n_bytes > 0) {
        const char *space = memchr(text, ' ', n_bytes);
        size_t n = space ? (size_t)(space - text) : n_bytes;
        if (!buf_add(out, text, n))
            return false;
        if (space && !buf_add(out, TOKENIZER_SPACE, TOKENIZER_SPACE_BYTES))
            return false;
        n += space != NULL;
        text += n;
        n_bytes -= n;
    }
    return true;
}

/* Text without special tokens. after_special: it begins the text or follows one. */
static bool encode_plain(struct tokenizer_work *w, const char *text, size_t begin, size_t end,
                         bool after_special)
{
    const struct tokenizer *t = w->t;
    w->text = text;
    if (t->kind != TOKENIZER_BPE_BYTES) {
        size_t spaced = w->spaced.n_bytes;
        if (t->add_space_prefix && after_special)
            buf_add(&w->spaced, TOKENIZER_SPACE, TOKENIZER_SPACE_BYTES);
        if (!add_spaced(&w->spaced, text + begin, end - begin))
            return false;
        w->text = w->spaced.data;
        begin = spaced;
        end = w->spaced.n_bytes;
    }
    if (t->kind == TOKENIZER_SPM)
        return encode_words(w, (uint32_t)begin, (uint32_t)end);

    struct tokenizer_split split;
    tokenizer_split_init(&split, t->rule, w->text, begin, end);
    bool ok = true;
    while (ok && tokenizer_split_next(&split, &begin, &end)) {
        if (t->kind == TOKENIZER_BPE_BYTES)
            ok = tokenizer_piece_ids(w, (uint32_t)begin, (uint32_t)end);
        else
            ok = encode_words(w, (uint32_t)begin, (uint32_t)end);
    }
    return ok;
}

static size_t skip_spaces(const char *text, size_t pos, size_t n_bytes)
{
    while (pos < n_bytes && (text[pos] == ' ' || (text[pos] >= '\t' && text[pos] <= '\r')))
        pos++;
    return pos;
}

static bool encode_text(struct tokenizer_work *w, struct trust *r, const char *text, size_t n_bytes,
                        bool after_special)
{
    const struct tokenizer *t = w->t;
    size_t start = 0, pos = 0;
    while (pos < n_bytes) {
        int32_t id = special_at(t, r, text, pos, n_bytes);
        if (id == TOKENIZER_NONE) {
            pos++;
            continue;
        }
        if (pos > start && !encode_plain(w, text, start, pos, after_special))
            return false;
        if (!tokenizer_ids_add(w->out, id))
            return false;
        pos += t->texts[id].n_bytes;
        if (t->tokens[id].flags & TOKEN_STRIPS)
            pos = skip_spaces(text, pos, n_bytes);
        start = pos;
        after_special = true;
    }
    return start == n_bytes || encode_plain(w, text, start, n_bytes, after_special);
}

/* The fragments as one text: the only one itself, or a copy in `joined`. */
static enum err_code join(const struct tokenizer_fragment *fragments, size_t n_fragments,
                          struct buf *joined, const char **text, size_t *n_bytes, struct err *e)
{
    *n_bytes = 0;
    for (size_t i = 0; i < n_fragments; i++) {
        if (fragments[i].n_bytes > TOKENIZER_MAX_TEXT_BYTES - *n_bytes)
            return err_set(e, ERR_UNSUPPORTED, "text: more than %d bytes to encode at once",
                           TOKENIZER_MAX_TEXT_BYTES);
        *n_bytes += fragments[i].n_bytes;
    }
    if (n_fragments == 1) {
        *text = fragments[0].text;
        return ERR_OK;
    }
    if (!buf_reserve(joined, *n_bytes))
        return err_set(e, ERR_NOMEM, "text: no memory for %zu bytes", *n_bytes);
    for (size_t i = 0; i < n_fragments; i++)
        buf_add(joined, fragments[i].text, fragments[i].n_bytes);
    *text = buf_text(joined);
    return ERR_OK;
}

static bool encode_all(struct tokenizer_work *w, struct trust *r, const char *text, size_t n_bytes,
                       unsigned flags)
{
    const struct tokenizer *t = w->t;
    struct tokenizer_ids *out = w->out;
    size_t first = out->n;
    bool add_bos = flags & TOKENIZER_ADD_BOS && t->add_bos;
    if (add_bos && !tokenizer_ids_add(out, t->bos))
        return false;
    if (!encode_text(w, r, text, n_bytes, add_bos || !(flags & TOKENIZER_CONTINUE)))
        return false;
    if (add_bos && out->n > first + 1 && out->ids[first + 1] == t->bos) {    /* the text brought its own */
        memmove(out->ids + first, out->ids + first + 1, (out->n - first - 1) * sizeof *out->ids);
        out->n--;
    }
    bool add_eos = flags & TOKENIZER_ADD_EOS && t->add_eos;
    if (add_eos && out->n > first && out->ids[out->n - 1] == t->eos)
        add_eos = false;
    return !add_eos || tokenizer_ids_add(out, t->eos);
}

enum err_code tokenizer_encode_fragments(const struct tokenizer *t,
                                         const struct tokenizer_fragment *fragments,
                                         size_t n_fragments, unsigned flags,
                                         struct tokenizer_ids *out, struct err *e)
{
    struct buf joined;
    const char *text = "";
    size_t n_bytes, n_before = out->n;
    buf_init(&joined);
    enum err_code rc = join(fragments, n_fragments, &joined, &text, &n_bytes, e);
    if (rc != ERR_OK)
        return rc;

    struct tokenizer_work w;
    struct trust trust = { .fragments = fragments, .n_fragments = n_fragments };
    if (!tokenizer_work_init(&w, t, n_bytes, out) || !encode_all(&w, &trust, text, n_bytes, flags)) {
        out->n = n_before;
        rc = err_set(e, ERR_NOMEM, "text: no memory to encode %zu bytes", n_bytes);
    }
    tokenizer_work_finish(&w);
    buf_finish(&joined);
    return rc;
}

enum err_code tokenizer_encode(const struct tokenizer *t, const char *text, size_t n_bytes,
                               unsigned flags, struct tokenizer_ids *out, struct err *e)
{
    struct tokenizer_fragment whole = { text, n_bytes, (flags & TOKENIZER_SPECIAL) != 0 };
    return tokenizer_encode_fragments(t, &whole, 1, flags, out, e);
}
