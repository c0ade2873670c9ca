/* SPDX-License-Identifier: MIT */
#include "engine/base/utf8.h"
#include "engine/tokenizer/tokenizer_internal.h"

void tokenizer_stream_init(struct tokenizer_stream *s, const struct tokenizer *t, bool at_start,
                           bool show_special)
{
    *s = (struct tokenizer_stream){ .at_start = at_start && t->add_space_prefix,
                                    .show_special = show_special };
}

static bool is_hidden(const struct tokenizer *t, int32_t id)
{
    uint8_t type = t->tokens[id].type;
    return (type == TOKENIZER_CONTROL || type == TOKENIZER_UNKNOWN) &&
           !(t->tokens[id].flags & TOKEN_SHOWN);
}

bool tokenizer_stream_push(struct tokenizer_stream *s, const struct tokenizer *t, int32_t id,
                           struct buf *out)
{
    struct tokenizer_text piece = tokenizer_piece(t, id);
    if (piece.n_bytes == 0 || (is_hidden(t, id) && !s->show_special))
        return true;
    bool control = t->tokens[id].type == TOKENIZER_CONTROL;
    if (s->at_start && !control) {
        s->at_start = false;
        size_t skip = piece.bytes[0] == ' ';
        piece.bytes += skip;
        piece.n_bytes -= skip;
    }
    size_t start = out->n_bytes;
    if (!buf_reserve(out, s->n_held + piece.n_bytes + 1))
        return false;
    buf_add(out, s->held, s->n_held);
    buf_add(out, piece.bytes, piece.n_bytes);
    if (out->n_bytes == start)
        return buf_ok(out);
    s->n_held = (uint8_t)utf8_incomplete_tail(out->data + start, out->n_bytes - start);
    out->n_bytes -= s->n_held;
    memcpy(s->held, out->data + out->n_bytes, s->n_held);
    out->data[out->n_bytes] = 0;
    return buf_ok(out);
}

bool tokenizer_stream_flush(struct tokenizer_stream *s, struct buf *out)
{
    size_t n = s->n_held;
    s->n_held = 0;
    return buf_add(out, s->held, n);
}
