/* SPDX-License-Identifier: MIT */
#include "app/chat/think.h"

#include <string.h>

static bool is_blank(char c)
{
    return c == ' ' || c == '\n' || c == '\r' || c == '\t';
}

void think_init(struct think *p, const char *open, const char *close, bool starts_inside)
{
    memset(p, 0, sizeof *p);
    size_t n_open = strlen(open), n_close = strlen(close);
    bool usable = n_open < THINK_TAG_BYTES && n_close > 0 && n_close < THINK_TAG_BYTES;
    if (usable) {
        memcpy(p->open, open, n_open + 1);
        memcpy(p->close, close, n_close + 1);
    }
    p->state = !usable ? THINK_AFTER : starts_inside ? THINK_INSIDE : n_open ? THINK_BEFORE : THINK_AFTER;
    p->trim = starts_inside;
}

void think_finish(struct think *p)
{
    buf_finish(&p->held);
}

bool think_is_inside(const struct think *p)
{
    return p->state == THINK_INSIDE;
}

/* Length of the longest end of text that is a beginning of tag, the whole tag excluded. */
static size_t partial_tag(const char *text, size_t n_bytes, const char *tag)
{
    size_t n_tag = strlen(tag);
    size_t n = n_bytes < n_tag - 1 ? n_bytes : n_tag - 1;
    for (; n > 0; n--)
        if (memcmp(text + n_bytes - n, tag, n) == 0)
            return n;
    return 0;
}

static void drop_front(struct buf *b, size_t n_bytes)
{
    memmove(b->data, b->data + n_bytes, b->n_bytes - n_bytes);
    b->n_bytes -= n_bytes;
    b->data[b->n_bytes] = '\0';
}

static void trim_front(struct think *p)
{
    size_t n = 0;
    while (p->trim && n < p->held.n_bytes && is_blank(p->held.data[n]))
        n++;
    if (n > 0)
        drop_front(&p->held, n);
    if (p->held.n_bytes > 0)
        p->trim = false;
}

/* One step over what is held; false when more bytes are needed. */
static bool step(struct think *p, struct buf *thoughts, struct buf *answer)
{
    trim_front(p);
    const char *text = p->held.data;
    size_t n = p->held.n_bytes;
    if (n == 0)
        return false;

    if (p->state == THINK_AFTER) {
        buf_add(answer, text, n);
        buf_clear(&p->held);
        return false;
    }
    if (p->state == THINK_BEFORE) {
        size_t blanks = 0, n_open = strlen(p->open);
        while (blanks < n && is_blank(text[blanks]))
            blanks++;
        size_t rest = n - blanks;
        if (memcmp(text + blanks, p->open, rest < n_open ? rest : n_open) != 0) {
            p->state = THINK_AFTER;
        } else if (rest >= n_open) {
            drop_front(&p->held, blanks + n_open);
            p->state = THINK_INSIDE;
            p->trim = true;
        } else {
            return false;
        }
        return true;
    }
    const char *at = memmem(text, n, p->close, strlen(p->close));
    if (at) {
        size_t n_thoughts = (size_t)(at - text);
        buf_add(thoughts, text, n_thoughts);
        drop_front(&p->held, n_thoughts + strlen(p->close));
        p->state = THINK_AFTER;
        p->trim = true;
        return true;
    }
    size_t keep = partial_tag(text, n, p->close);
    buf_add(thoughts, text, n - keep);
    drop_front(&p->held, n - keep);
    return false;
}

void think_feed(struct think *p, const char *text, size_t n_bytes, struct buf *thoughts, struct buf *answer)
{
    if (!buf_add(&p->held, text, n_bytes)) {    /* no memory: rather shown in the wrong place than lost */
        buf_clear(&p->held);
        buf_add(p->state == THINK_INSIDE ? thoughts : answer, text, n_bytes);
        return;
    }
    while (step(p, thoughts, answer))
        ;
}

void think_end(struct think *p, struct buf *thoughts, struct buf *answer)
{
    if (p->held.n_bytes > 0)
        buf_add(p->state == THINK_INSIDE ? thoughts : answer, p->held.data, p->held.n_bytes);
    buf_clear(&p->held);
}
