/* SPDX-License-Identifier: MIT */
#include <pthread.h>
#include <stdatomic.h>

#include "app/loop/mailbox.h"
#include "tests/support/test.h"

enum { N_MAILS = 5000 };

struct rig {
    uv_loop_t loop;
    struct mailbox box;
    int n_taken;
    bool in_order;
    atomic_int n_posted;
    atomic_bool refused;
};

static void take_all(struct rig *r, int cap)
{
    struct mail mails[16];
    int n;
    while ((n = mailbox_take(&r->box, mails, cap)) > 0)
        for (int i = 0; i < n; i++)
            r->in_order = r->in_order && mails[i].request == (uint64_t)r->n_taken++;
}

static void on_wake(uv_async_t *wake)
{
    struct rig *r = wake->data;
    take_all(r, 7);
    if (r->n_taken == N_MAILS)
        uv_close((uv_handle_t *)wake, NULL);
}

/* Posts until it has posted all or the box is closed. */
static void *post_all(void *argument)
{
    struct rig *r = argument;
    for (int i = 0; i < N_MAILS; i++) {
        struct mail mail = { .kind = MAIL_PROMPT, .request = (uint64_t)i };
        if (!mailbox_post(&r->box, &mail)) {
            atomic_store(&r->refused, true);
            return NULL;
        }
        atomic_fetch_add(&r->n_posted, 1);
    }
    return NULL;
}

static void rig_begin(struct test *t, struct rig *r, pthread_t *thread)
{
    memset(r, 0, sizeof *r);
    r->in_order = true;
    CHECK_INT(t, uv_loop_init(&r->loop), 0);
    CHECK_INT(t, mailbox_init(&r->box, &r->loop, on_wake, r), 0);
    CHECK_INT(t, pthread_create(thread, NULL, post_all, r), 0);
}

TEST(mailbox_delivers_all_in_order_whatever_wakes_merge)
{
    static struct rig r;
    pthread_t thread;
    rig_begin(t, &r, &thread);
    uv_run(&r.loop, UV_RUN_DEFAULT);
    pthread_join(thread, NULL);
    CHECK_INT(t, r.n_taken, N_MAILS);
    CHECK(t, r.in_order && !atomic_load(&r.refused));
    mailbox_finish(&r.box);
    CHECK_INT(t, uv_loop_close(&r.loop), 0);
}

TEST(mailbox_closing_lets_go_of_who_waits_for_room)
{
    static struct rig r;
    pthread_t thread;
    rig_begin(t, &r, &thread);
    while (atomic_load(&r.n_posted) < MAILBOX_MAILS)    /* the next post waits */
        sched_yield();
    mailbox_close(&r.box);
    pthread_join(thread, NULL);
    CHECK(t, atomic_load(&r.refused));
    take_all(&r, 16);
    CHECK_INT(t, r.n_taken, MAILBOX_MAILS);
    CHECK(t, r.in_order);
    uv_close((uv_handle_t *)&r.box.wake, NULL);
    uv_run(&r.loop, UV_RUN_DEFAULT);
    mailbox_finish(&r.box);
    CHECK_INT(t, uv_loop_close(&r.loop), 0);
}
