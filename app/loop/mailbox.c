/* SPDX-License-Identifier: MIT */
#include "app/loop/mailbox.h"

int mailbox_init(struct mailbox *m, uv_loop_t *loop, uv_async_cb on_wake, void *data)
{
    m->first = m->n = 0;
    m->closed = false;
    int rc = uv_mutex_init(&m->lock);
    if (rc != 0)
        return rc;
    rc = uv_cond_init(&m->room);
    if (rc == 0) {
        rc = uv_async_init(loop, &m->wake, on_wake);
        if (rc != 0)
            uv_cond_destroy(&m->room);
    }
    if (rc != 0)
        uv_mutex_destroy(&m->lock);
    m->wake.data = data;
    return rc;
}

void mailbox_close(struct mailbox *m)
{
    uv_mutex_lock(&m->lock);
    m->closed = true;
    uv_cond_broadcast(&m->room);
    uv_mutex_unlock(&m->lock);
}

void mailbox_finish(struct mailbox *m)
{
    uv_cond_destroy(&m->room);
    uv_mutex_destroy(&m->lock);
}

/* The wake-up is sent under the lock: after mailbox_close() has had the lock nobody touches the async
 * handle any more, so the loop may close it. */
bool mailbox_post(struct mailbox *m, const struct mail *mail)
{
    uv_mutex_lock(&m->lock);
    while (m->n == MAILBOX_MAILS && !m->closed)    /* a slow screen slows the engine */
        uv_cond_wait(&m->room, &m->lock);
    bool open = !m->closed;
    if (open) {
        m->ring[(m->first + m->n++) % MAILBOX_MAILS] = *mail;
        uv_async_send(&m->wake);
    }
    uv_mutex_unlock(&m->lock);
    return open;
}

int mailbox_take(struct mailbox *m, struct mail *out, int cap)
{
    uv_mutex_lock(&m->lock);
    int n = 0;
    for (; n < cap && m->n > 0; n++) {
        out[n] = m->ring[m->first];
        m->first = (m->first + 1) % MAILBOX_MAILS;
        m->n--;
    }
    if (n > 0)
        uv_cond_signal(&m->room);
    uv_mutex_unlock(&m->lock);
    return n;
}
