/* SPDX-License-Identifier: MIT */
#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "engine/session/session_impl.h"

/* There is always room: session_step asks for 16 events a sequence, and makes at most 11 with one token of one
 * (progress, the token in up to MAX_PIECES events, what the detokenizer held back, the end). It takes more tokens
 * of a draft only while that leaves 16 for each sequence to come. */
enum { MAX_PIECES = 8 };

static struct eng_event *add(struct event_list *list, enum event_kind kind, int32_t seq)
{
    assert(list->n < list->cap);
    struct eng_event *ev = &list->events[list->n++];
    *ev = (struct eng_event){ .kind = kind, .seq = seq, .token = -1 };
    return ev;
}

void session_emit_progress(struct event_list *list, int32_t seq, const struct seq *q)
{
    struct eng_event *ev = add(list, EVENT_PROGRESS, seq);
    ev->n_done = q->n_fed;
    ev->n_total = q->n_prompt;
}

/* The longest piece of text, at most max bytes, that ends at a character. */
static size_t whole_characters(const char *text, size_t n_bytes, size_t max)
{
    if (n_bytes <= max)
        return n_bytes;
    size_t n = max;
    while (n > 1 && ((unsigned char)text[n] & 0xC0) == 0x80 && max - n < 4)
        n--;
    return n;
}

/* Text longer than an event goes on in events without a token; of a text too long for all of them (a token
 * of thousands of bytes) the rest is dropped rather than the event after it. */
static void add_text(struct session *s, struct event_list *list, int32_t seq, struct eng_event *ev)
{
    const char *text = buf_text(&s->text);
    size_t left = s->text.n_bytes;
    for (int32_t pieces = 0; left > 0 && pieces < MAX_PIECES; pieces++) {
        if (!ev)
            ev = add(list, EVENT_TOKEN, seq);
        size_t n = whole_characters(text, left, EVENT_TEXT_BYTES);
        memcpy(ev->text, text, n);
        ev->n_text = (int32_t)n;
        text += n;
        left -= n;
        ev = NULL;
    }
}

bool session_emit_token(struct session *s, struct event_list *list, int32_t seq, int32_t token, float probability,
                        bool drafted)
{
    buf_clear(&s->text);
    bool ok = tokenizer_stream_push(&s->seqs[seq].stream, s->model->tokenizer, token, &s->text);
    struct eng_event *ev = add(list, EVENT_TOKEN, seq);
    ev->token = token;
    ev->probability = probability;
    ev->drafted = drafted;
    ev->n_repeated = session_spec_repeated(&s->seqs[seq]);
    if (ok)
        add_text(s, list, seq, ev);
    return ok;
}

void session_emit_done(struct session *s, struct event_list *list, int32_t seq, enum done_reason reason,
                       const char *text)
{
    struct seq *q = &s->seqs[seq];
    buf_clear(&s->text);
    if (q->timings.n_generated > 0 && tokenizer_stream_flush(&q->stream, &s->text))
        add_text(s, list, seq, NULL);
    struct eng_event *ev = add(list, EVENT_DONE, seq);
    ev->reason = reason;
    if (q->state != SEQ_GENERATE && q->timings.n_generated == 0)    /* ended before its first token */
        q->timings.prompt_ms = clock_ms() - q->started_ms;
    if (q->timings.n_generated > 0)
        q->timings.generate_ms = clock_ms() - q->first_ms;
    ev->timings = q->timings;
    if (text)
        ev->n_text = (int32_t)whole_characters(text, strlen(text), EVENT_TEXT_BYTES);
    if (text)
        memcpy(ev->text, text, (size_t)ev->n_text);
    q->state = SEQ_IDLE;
}
