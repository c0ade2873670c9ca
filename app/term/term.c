/* SPDX-License-Identifier: MIT */
#include "app/term/term_ops.h"

#include <errno.h>

void term_close(struct term *t)
{
    if (t)
        t->ops->close(t);
}

int term_fd(const struct term *t)
{
    return t->ops->fd ? t->ops->fd(t) : -1;
}

ssize_t term_read(struct term *t, void *bytes, size_t n_bytes)
{
    if (t->ops->read)
        return t->ops->read(t, bytes, n_bytes);
    errno = EAGAIN;
    return -1;
}

bool term_reply(struct term *t, const struct term_event *event)
{
    return t->ops->reply && t->ops->reply(t, event);
}

void term_info(const struct term *t, struct term_info *out)
{
    t->ops->info(t, out);
}

void term_size(const struct term *t, int32_t *n_rows, int32_t *n_cols)
{
    t->ops->size(t, n_rows, n_cols);
}

bool term_resize(struct term *t)
{
    return t->ops->resize && t->ops->resize(t);
}

void term_set_theme(struct term *t, const struct ui_theme *theme)
{
    if (t->ops->set_theme)
        t->ops->set_theme(t, theme);
}

void term_draw(struct term *t, struct ui_grid *g)
{
    t->ops->draw(t, g);
}

void term_bell(struct term *t)
{
    if (t->ops->bell)
        t->ops->bell(t);
}

void term_suspend(struct term *t)
{
    if (t->ops->suspend)
        t->ops->suspend(t);
}

void term_resume(struct term *t)
{
    if (t->ops->resume)
        t->ops->resume(t);
}

const struct term_emergency *term_emergency(const struct term *t)
{
    return t->ops->emergency ? t->ops->emergency(t) : NULL;
}
