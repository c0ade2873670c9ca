/* SPDX-License-Identifier: MIT */
#include "app/loop/fetch.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void fetch_init(struct fetch *f, uv_loop_t *loop, void *data)
{
    memset(f, 0, sizeof *f);
    f->loop = loop;
    f->data = data;
}

/* The end is when the process is gone and both pipes are read to their ends. */
static void on_closed(uv_handle_t *handle)
{
    struct fetch *f = handle->data;
    if (--f->n_open > 0)
        return;
    f->running = false;
    if (!f->on_end)
        return;
    if (f->stopping)
        f->on_end(f->data, "");
    else if (f->exit_status == 0)
        f->on_end(f->data, NULL);
    else
        f->on_end(f->data, f->reason[0] ? f->reason : "the fetch script failed");
}

static void close_handle(void *handle)
{
    if (!uv_is_closing(handle))
        uv_close(handle, on_closed);
}

static void on_process_end(uv_process_t *process, int64_t status, int signal_number)
{
    struct fetch *f = process->data;
    f->exit_status = status ? status : signal_number;
    close_handle(process);
}

static void on_alloc(uv_handle_t *handle, size_t wanted, uv_buf_t *out)
{
    (void)handle;
    size_t n = wanted < 4096 ? wanted : 4096;
    char *bytes = malloc(n);
    *out = uv_buf_init(bytes, bytes ? (unsigned)n : 0);
}

static void take_line(struct fetch *f, bool from_out, const char *line)
{
    unsigned long long done, total;
    if (from_out && sscanf(line, "progress %llu %llu", &done, &total) == 2) {
        if (f->on_progress)
            f->on_progress(f->data, done, total);
    } else if (!from_out && line[0]) {
        static const char prefix[] = "fetch-model: ";
        size_t skip = strncmp(line, prefix, sizeof prefix - 1) == 0 ? sizeof prefix - 1 : 0;
        snprintf(f->reason, sizeof f->reason, "%s", line + skip);
    }
}

static void on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf)
{
    struct fetch *f = stream->data;
    bool from_out = stream == (uv_stream_t *)&f->out;
    struct fetch_line *line = from_out ? &f->out_line : &f->err_line;
    for (ssize_t i = 0; i < n; i++) {
        char c = buf->base[i];
        if (c == '\n' || c == '\r') {
            line->text[line->n] = '\0';
            line->n = 0;
            take_line(f, from_out, line->text);
        } else if (line->n + 1 < sizeof line->text) {
            line->text[line->n++] = c;
        }
    }
    free(buf->base);
    if (n < 0)
        close_handle(stream);
}

bool fetch_start(struct fetch *f, const char *script, const char *name)
{
    if (f->running || !script[0])
        return false;
    f->stopping = false;
    f->exit_status = 0;
    f->out_line.n = f->err_line.n = 0;
    f->reason[0] = '\0';
    f->process.data = f->out.data = f->err.data = f;
    uv_pipe_init(f->loop, &f->out, 0);
    uv_pipe_init(f->loop, &f->err, 0);
    uv_stdio_container_t stdio[3] = {
        { .flags = UV_IGNORE },
        { .flags = UV_CREATE_PIPE | UV_WRITABLE_PIPE, .data.stream = (uv_stream_t *)&f->out },
        { .flags = UV_CREATE_PIPE | UV_WRITABLE_PIPE, .data.stream = (uv_stream_t *)&f->err },
    };
    char *args[] = { "sh", (char *)script, "--progress", (char *)name, NULL };
    uv_process_options_t options = {
        .exit_cb = on_process_end,
        .file = "sh",
        .args = args,
        .flags = UV_PROCESS_DETACHED,    /* its own group, for one signal to reach all of it */
        .stdio_count = 3,
        .stdio = stdio,
    };
    f->running = true;
    f->n_open = 3;
    int rc = uv_spawn(f->loop, &f->process, &options);
    if (rc != 0) {
        snprintf(f->reason, sizeof f->reason, "sh: %s", uv_strerror(rc));
        f->exit_status = -1;
        close_handle(&f->process);
        close_handle(&f->out);
        close_handle(&f->err);
        return true;    /* on_end tells the reason */
    }
    uv_read_start((uv_stream_t *)&f->out, on_alloc, on_read);
    uv_read_start((uv_stream_t *)&f->err, on_alloc, on_read);
    return true;
}

void fetch_stop(struct fetch *f)
{
    if (!f->running || f->stopping)
        return;
    f->stopping = true;
    if (uv_process_get_pid(&f->process) > 0)
        kill(-uv_process_get_pid(&f->process), SIGTERM);
}
