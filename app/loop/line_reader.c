/* SPDX-License-Identifier: MIT */
#include "app/loop/line_reader.h"

#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { READER_LINES = 64 };

struct line_reader {
    uv_async_t wake;
    void (*on_wake)(void *data);
    void *data;
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t room;
    char *lines[READER_LINES];    /* under lock, like the rest */
    int first, n;
    bool end, left;
    int n_users;                  /* the loop and the thread */
};

static void let_go(struct line_reader *r)
{
    pthread_mutex_lock(&r->lock);
    bool last = --r->n_users == 0;
    pthread_mutex_unlock(&r->lock);
    if (!last)
        return;
    while (r->n > 0) {
        free(r->lines[r->first]);
        r->first = (r->first + 1) % READER_LINES;
        r->n--;
    }
    pthread_mutex_destroy(&r->lock);
    pthread_cond_destroy(&r->room);
    free(r);
}

static void put(struct line_reader *r, char *line)
{
    pthread_mutex_lock(&r->lock);
    while (r->n == READER_LINES && !r->left)
        pthread_cond_wait(&r->room, &r->lock);
    if (r->left) {
        free(line);
    } else {
        if (line)
            r->lines[(r->first + r->n++) % READER_LINES] = line;
        else
            r->end = true;
        uv_async_send(&r->wake);
    }
    pthread_mutex_unlock(&r->lock);
}

static void *read_lines(void *argument)
{
    struct line_reader *r = argument;
    char *line = NULL;
    size_t cap = 0;
    ssize_t n;
    while ((n = getline(&line, &cap, stdin)) >= 0) {
        while (n > 0 && (line[n - 1] == '\n' || line[n - 1] == '\r'))
            line[--n] = '\0';
        char *copy = strdup(line);
        if (!copy)
            break;
        put(r, copy);
    }
    free(line);
    put(r, NULL);
    let_go(r);
    return NULL;
}

static void on_async(uv_async_t *wake)
{
    struct line_reader *r = wake->data;
    r->on_wake(r->data);
}

static void on_closed(uv_handle_t *wake)
{
    let_go(wake->data);
}

struct line_reader *line_reader_start(uv_loop_t *loop, void (*on_wake)(void *data), void *data)
{
    struct line_reader *r = calloc(1, sizeof *r);
    if (!r)
        return NULL;
    r->on_wake = on_wake;
    r->data = data;
    r->n_users = 2;
    pthread_mutex_init(&r->lock, NULL);
    pthread_cond_init(&r->room, NULL);
    uv_async_init(loop, &r->wake, on_async);
    r->wake.data = r;
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    bool ok = pthread_create(&r->thread, NULL, read_lines, r) == 0;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (!ok) {
        r->n_users = 1;
        line_reader_leave(r);
        return NULL;
    }
    pthread_detach(r->thread);
    return r;
}

char *line_reader_next(struct line_reader *r, bool *end)
{
    pthread_mutex_lock(&r->lock);
    char *line = NULL;
    if (r->n > 0) {
        line = r->lines[r->first];
        r->first = (r->first + 1) % READER_LINES;
        r->n--;
        pthread_cond_signal(&r->room);
    }
    *end = r->end && r->n == 0 && !line;
    pthread_mutex_unlock(&r->lock);
    return line;
}

void line_reader_leave(struct line_reader *r)
{
    if (!r)
        return;
    pthread_mutex_lock(&r->lock);
    r->left = true;
    pthread_cond_broadcast(&r->room);
    pthread_mutex_unlock(&r->lock);
    uv_close((uv_handle_t *)&r->wake, on_closed);
}
