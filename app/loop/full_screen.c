/* SPDX-License-Identifier: MIT */
/* The full screen: terminal, timers and signals on one loop.
 *
 *   tty readable -> term_input -> keys -> screen -> action -> chat
 *   mailbox, fetch ------------------------------------------> chat -> dirty -> paint timer -> frame
 *
 * A frame is drawn only when something changed, at most every FRAME_MS; a key does not wait for that but
 * only for KEY_FRAME_MS. With nothing to do there is no timer and the process sleeps.
 *
 * Ctrl+Z gives the terminal back, stops the process group as the shell would have, and goes on after the
 * stop; a stop that came from outside (SIGSTOP) is noticed by SIGCONT. */
#include "app/loop/full_screen.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "app/chat/history.h"
#include "app/chat/slash.h"
#include "app/loop/crash.h"
#include "app/loop/full_impl.h"
#include "app/ui/neutral.h"
#include "app/ui/theme.h"

enum { FRAME_MS = 33, KEY_FRAME_MS = 8, ESCAPE_MS = 25, ESCAPE_SSH_MS = 100, READS_PER_TURN = 16 };

/* ---- painting ------------------------------------------------------------------------------------- */

static void on_paint(uv_timer_t *timer)
{
    struct full *f = timer->data;
    full_views_update(f);
    screen_draw(&f->screen, &f->grid);
    term_draw(f->term, &f->grid);
    uv_update_time(&f->talk->loop);
    f->painted_ms = uv_now(&f->talk->loop);
}

/* A frame this long after the last one, or sooner if one is due already. */
static void want_paint(struct full *f, uint64_t frame_ms)
{
    if (!f->term || f->leaving)
        return;
    uint64_t since = uv_now(&f->talk->loop) - f->painted_ms;
    uint64_t delay = since < frame_ms ? frame_ms - since : 0;
    if (!uv_is_active((uv_handle_t *)&f->paint) || uv_timer_get_due_in(&f->paint) > delay)
        uv_timer_start(&f->paint, on_paint, delay, 0);
}

static void make_theme(struct full *f)
{
    struct term_info info;
    term_info(f->term, &info);
    theme_make(&f->theme, info.n_colors, info.background_known && info.background_light);
    term_set_theme(f->term, &f->theme);
    ui_grid_forget(&f->grid);
}

/* ---- leaving and pausing -------------------------------------------------------------------------- */

static void leave(struct full *f)
{
    f->leaving = true;
    uv_stop(&f->talk->loop);
}

static void redraw_all(struct full *f)
{
    if (term_resize(f->term)) {
        int32_t n_rows, n_cols;
        term_size(f->term, &n_rows, &n_cols);
        ui_grid_resize(&f->grid, n_rows, n_cols);
    }
    ui_grid_forget(&f->grid);
    want_paint(f, 0);
}

static uv_signal_t *signal_of(struct full *f, int number)
{
    for (int i = 0; i < FULL_SIGNALS; i++)
        if (f->signals[i].signum == number)
            return &f->signals[i];
    return NULL;
}

static void on_signal(uv_signal_t *handle, int number);
static void read_tty(struct full *f, bool gone);

/* The group stops, as it does for Ctrl+Z in any other program; kill() returns when somebody continued it. */
static void suspend(struct full *f)
{
    uv_signal_t *stop = signal_of(f, SIGTSTP);
    term_suspend(f->term);
    if (stop)
        uv_signal_stop(stop);
    signal(SIGTSTP, SIG_DFL);
    kill(0, SIGTSTP);
    f->continued = true;
    if (stop)
        uv_signal_start(stop, on_signal, SIGTSTP);
    term_resume(f->term);
    chat_note_pause(&f->talk->chat);
    uv_update_time(&f->talk->loop);
    redraw_all(f);
    read_tty(f, false);    /* what was typed while the shell had the terminal */
}

static void on_signal(uv_signal_t *handle, int number)
{
    struct full *f = handle->data;
    switch (number) {
    case SIGWINCH:
        redraw_all(f);
        break;
    case SIGTSTP:
        suspend(f);
        break;
    case SIGCONT:    /* after a stop nobody announced, the shell may have changed the terminal */
        if (f->continued) {
            f->continued = false;
            break;
        }
        chat_note_pause(&f->talk->chat);
        term_suspend(f->term);
        term_resume(f->term);
        redraw_all(f);
        break;
    default:
        f->ending_signal = number;
        leave(f);
        break;
    }
}

/* ---- keys ----------------------------------------------------------------------------------------- */

static void send_draft(struct full *f)
{
    char *text = strdup(editor_text(f->editor));
    if (text && chat_enter(&f->talk->chat, text)) {
        editor_history_add(f->editor, text);
        if (strcmp(editor_text(f->editor), text) == 0)    /* else the chat gave something back */
            editor_clear(f->editor);
        view_transcript_follow(&f->screen.transcript);
    }
    free(text);
}

static void complete_draft(struct full *f)
{
    char completed[64];
    if (slash_complete(editor_text(f->editor), completed, sizeof completed))
        editor_set_text(f->editor, completed);
}

/* Clears the draft, else stops, else (twice) leaves. */
static void interrupt(struct full *f, bool again)
{
    if (!editor_is_empty(f->editor))
        editor_clear(f->editor);
    else if (chat_is_busy(&f->talk->chat))
        chat_stop(&f->talk->chat);
    else if (again)
        leave(f);
    else
        f->interrupted = true;
}

/* A chat is kept nowhere yet, and Ctrl+N is near other keys: answers are not thrown away by one of them. */
static void new_chat(struct full *f, bool again)
{
    struct chat *c = &f->talk->chat;
    f->forgetting = !again && transcript_last(&c->transcript, MESSAGE_MODEL);
    if (!f->forgetting)
        chat_new(c);
}

static void take_action(struct full *f, enum ui_action action, bool was_interrupted, bool was_forgetting)
{
    struct chat *c = &f->talk->chat;
    if (f->panel != FULL_NONE && action != UI_ACT_SUSPEND && action != UI_ACT_REDRAW) {
        full_panel_action(f, action);
        return;
    }
    switch (action) {
    case UI_ACT_SEND:
        send_draft(f);
        break;
    case UI_ACT_STOP:
        if (chat_is_busy(c))
            chat_stop(c);
        break;
    case UI_ACT_INTERRUPT:
        interrupt(f, was_interrupted);
        break;
    case UI_ACT_END_INPUT:
        leave(f);
        break;
    case UI_ACT_HELP:
        full_panel_open(f, FULL_HELP);
        break;
    case UI_ACT_MODELS:
        full_panel_open(f, FULL_MODELS);
        break;
    case UI_ACT_SETTINGS:
        full_panel_open(f, FULL_SETTINGS);
        break;
    case UI_ACT_FIGURES:
        full_panel_open(f, FULL_FIGURES);
        break;
    case UI_ACT_COMPARE:
        full_panel_open(f, FULL_COMPARE_WITH);
        break;
    case UI_ACT_SYSTEM_FILE:
        full_panel_open(f, FULL_SYSTEM);
        break;
    case UI_ACT_NEW_CHAT:
        new_chat(f, was_forgetting);
        break;
    case UI_ACT_REGENERATE:
        chat_regenerate(c);
        break;
    case UI_ACT_MODEL_BACK:
        chat_model_back(c);
        break;
    case UI_ACT_DRAFTS:
        chat_show_drafts(c, !c->show_drafts);
        break;
    case UI_ACT_COMPLETE:
        complete_draft(f);
        break;
    case UI_ACT_SUSPEND:
        suspend(f);
        break;
    case UI_ACT_REDRAW:
        redraw_all(f);
        break;
    default:    /* the views have dealt with it */
        break;
    }
}

static void take_event(struct full *f, const struct term_event *event)
{
    bool was_interrupted = f->interrupted, was_forgetting = f->forgetting;
    switch (event->kind) {
    case TERM_EVENT_KEY:
        f->interrupted = f->forgetting = false;
        full_panel_update(f);    /* what it shows may be gone since the last frame */
        take_action(f, screen_key(&f->screen, &event->key), was_interrupted, was_forgetting);
        break;
    case TERM_EVENT_PASTE:
        if (!screen_paste(&f->screen, event->text, event->n_text) || event->text_cut)
            chat_card(&f->talk->chat, MESSAGE_WARNING, "Too long a paste", NULL,
                      "Not all of it was taken: a draft holds at most %d bytes.", EDITOR_MAX_BYTES);
        break;
    case TERM_EVENT_REPLY:
        if (term_reply(f->term, event))
            make_theme(f);
        break;
    case TERM_EVENT_FOCUS_IN:
    case TERM_EVENT_FOCUS_OUT:
        break;
    }
}

static void on_escape(uv_timer_t *timer);

static void drain(struct full *f)
{
    struct term_event event;
    while (!f->leaving && term_input_next(&f->input, &event))
        take_event(f, &event);
    struct term_info info;
    term_info(f->term, &info);
    int32_t escape_ms = info.kitty_keys ? 0 : f->env->over_ssh ? ESCAPE_SSH_MS : ESCAPE_MS;
    int32_t wait_ms = term_input_wait_ms(&f->input, escape_ms);
    if (wait_ms >= 0)
        uv_timer_start(&f->escape, on_escape, (uint64_t)wait_ms, 0);
    else
        uv_timer_stop(&f->escape);
    want_paint(f, KEY_FRAME_MS);
}

static void on_escape(uv_timer_t *timer)
{
    struct full *f = timer->data;
    term_input_timeout(&f->input);
    drain(f);
}

static void read_tty(struct full *f, bool gone)
{
    char bytes[4096];
    for (int i = 0; !gone && i < READS_PER_TURN; i++) {
        ssize_t n = term_read(f->term, bytes, sizeof bytes);
        if (n > 0)
            term_input_feed(&f->input, bytes, (size_t)n);
        else if (n == 0 || (errno != EAGAIN && errno != EINTR))
            gone = true;
        if (n < (ssize_t)sizeof bytes)
            break;
    }
    if (gone) {    /* the terminal went away without a SIGHUP */
        f->ending_signal = SIGHUP;
        leave(f);
        return;
    }
    drain(f);
}

static void on_tty(uv_poll_t *poll, int status, int events)
{
    (void)events;
    read_tty(poll->data, status < 0);
}

/* ---- what the chat asks of a front end ------------------------------------------------------------ */

static void front_changed(void *self)
{
    struct full *f = self;
    if (f->choosing_first && f->talk->chat.model) {
        f->choosing_first = false;
        if (f->panel == FULL_MODELS)
            full_panel_close(f);
    }
    want_paint(f, FRAME_MS);
}

static void front_show(void *self, enum port_panel panel)
{
    static const enum full_panel panels[] = { [PANEL_HELP] = FULL_HELP, [PANEL_MODELS] = FULL_MODELS,
                                              [PANEL_SETTINGS] = FULL_SETTINGS, [PANEL_STATS] = FULL_FIGURES,
                                              [PANEL_CONTEXT] = FULL_CONTEXT,
                                              [PANEL_COMPARE] = FULL_COMPARE };
    struct full *f = self;
    bool choose = panel == PANEL_COMPARE && f->talk->chat.compare.state == COMPARE_NONE;
    full_panel_open(f, choose ? FULL_COMPARE_WITH : panels[panel]);
}

/* Before what was typed since. */
static void front_give_back(void *self, const char *text)
{
    struct full *f = self;
    struct buf both = { 0 };
    buf_add_text(&both, text);
    if (!editor_is_empty(f->editor) && strcmp(editor_text(f->editor), text) != 0 &&
        !slash_is_command(editor_text(f->editor))) {
        buf_add_text(&both, "\n\n");
        buf_add_text(&both, editor_text(f->editor));
    }
    editor_set_text(f->editor, buf_text(&both));
    buf_finish(&both);
}

static void front_quit(void *self)
{
    leave(self);
}

/* ---- life ----------------------------------------------------------------------------------------- */

static void read_history(struct full *f)
{
    struct buf text = { 0 };
    struct err ignored;
    if (f->paths->history[0] && history_read(f->paths->history, &text, &ignored) == ERR_OK)
        editor_history_read(f->editor, buf_text(&text), text.n_bytes);
    buf_finish(&text);
}

static void write_history(struct full *f, struct err *e)
{
    struct buf text = { 0 };
    editor_history_write(f->editor, &text);
    if (f->paths->history[0] && text.n_bytes > 0 && buf_ok(&text))
        history_write(f->paths->history, &text, e);
    buf_finish(&text);
}

static enum err_code start_signals(struct full *f, struct err *e)
{
    static const int numbers[FULL_SIGNALS] = { SIGWINCH, SIGTERM, SIGHUP, SIGINT, SIGCONT, SIGTSTP };
    signal(SIGPIPE, SIG_IGN);
    for (int i = 0; i < FULL_SIGNALS; i++) {
        uv_signal_init(&f->talk->loop, &f->signals[i]);
        f->signals[i].data = f;
        int rc = uv_signal_start(&f->signals[i], on_signal, numbers[i]);
        if (rc != 0)
            return err_set(e, ERR_IO, "signals cannot be handled: %s", uv_strerror(rc));
    }
    return ERR_OK;
}

static enum err_code open_terminal(struct full *f, struct err *e)
{
    struct term_options options = { .max_colors = f->env->no_color ? 0 : -1 };
    enum err_code rc = term_open_ncurses(&f->term, &options, e);
    if (rc != ERR_OK)
        return rc;
    crash_guard(term_emergency(f->term));
    int32_t n_rows, n_cols;
    term_size(f->term, &n_rows, &n_cols);
    if (!ui_grid_init(&f->grid, n_rows, n_cols))
        return err_set(e, ERR_NOMEM, "no memory for a screen of %d by %d", n_cols, n_rows);
    make_theme(f);
    uv_poll_init(&f->talk->loop, &f->tty, term_fd(f->term));
    f->tty.data = f;
    int error = uv_poll_start(&f->tty, UV_READABLE, on_tty);
    return error == 0 ? ERR_OK : err_set(e, ERR_IO, "the terminal cannot be polled: %s", uv_strerror(error));
}

static void close_handle(uv_handle_t *handle, void *data)
{
    (void)data;
    struct full *f = handle->data;
    bool ours = handle == (uv_handle_t *)&f->tty || handle == (uv_handle_t *)&f->paint ||
                handle == (uv_handle_t *)&f->escape || handle->type == UV_SIGNAL;
    if (ours && !uv_is_closing(handle))
        uv_close(handle, NULL);
}

/* Handles that were never opened have no data, and the loop does not know them. */
static void walk_ours(uv_handle_t *handle, void *full)
{
    if (handle->data == full)
        close_handle(handle, NULL);
}

/* The last question and answer stay on the normal screen, where they can be scrolled to and copied. */
static void print_last_exchange(const struct chat *c)
{
    const struct message *question = transcript_last(&c->transcript, MESSAGE_USER);
    const struct message *answer = transcript_last(&c->transcript, MESSAGE_MODEL);
    if (!question)
        return;
    struct buf out = { 0 }, text = { 0 };
    struct neutral_filter filter = { 0 };
    buf_printf(&text, "You\n%s\n", buf_text(&question->text));
    if (answer && answer->id > question->id && answer->text.n_bytes > 0)
        buf_printf(&text, "\nModel\n%s\n", buf_text(&answer->text));
    neutral_filter_feed(&filter, &out, buf_text(&text), text.n_bytes);
    neutral_filter_end(&filter, &out);
    fwrite(buf_text(&out), 1, out.n_bytes, stdout);
    fflush(stdout);
    buf_finish(&out);
    buf_finish(&text);
}

static void close_all(struct full *f)
{
    struct err e = { 0 };
    full_panel_close(f);
    if (f->talk)
        uv_walk(&f->talk->loop, walk_ours, f);
    crash_guard(NULL);
    term_close(f->term);
    if (f->term && f->ending_signal != SIGHUP)
        print_last_exchange(&f->talk->chat);
    if (f->editor && f->term)
        write_history(f, &e);
    if (e.code != ERR_OK)
        fprintf(stderr, "quip: history not kept: %s\n", e.text);
    talk_destroy(f->talk);
    full_views_finish(f);
    editor_destroy(f->editor);
    term_input_finish(&f->input);
    ui_grid_finish(&f->grid);
    free(f);
}

static enum err_code open_all(struct full *f, const struct config *config, struct err *e)
{
    struct talk_front front = { .self = f, .changed = front_changed, .show = front_show,
                                .give_back = front_give_back, .quit = front_quit };
    enum err_code rc = talk_create(&f->talk, config, f->paths, &front, e);
    if (rc != ERR_OK)
        return rc;
    uv_timer_init(&f->talk->loop, &f->paint);
    uv_timer_init(&f->talk->loop, &f->escape);
    f->paint.data = f->escape.data = f;
    f->editor = editor_create();
    if (!f->editor)
        return err_set(e, ERR_NOMEM, "no memory for the editor");
    f->screen.editor = f->editor;
    f->think_seen = UINT32_MAX;
    f->advice_version = UINT32_MAX;
    term_input_init(&f->input);
    editor_set_placeholder(f->editor, "Message, or / for a command");
    read_history(f);
    rc = start_signals(f, e);
    return rc == ERR_OK ? open_terminal(f, e) : rc;
}

enum err_code full_screen_run(const struct config *config, const struct environment *env,
                              const struct paths *paths, enum exit_code *code, struct err *e)
{
    struct full *f = calloc(1, sizeof *f);
    if (!f)
        return err_set(e, ERR_NOMEM, "no memory for the screen");
    f->env = env;
    f->paths = paths;
    enum err_code rc = open_all(f, config, e);
    if (rc != ERR_OK) {
        close_all(f);
        return rc;
    }
    f->choosing_first = !talk_begin(f->talk);
    read_tty(f, false);    /* what was typed before there was a screen; polling does not tell of it */
    if (f->choosing_first)
        full_panel_open(f, FULL_MODELS);
    want_paint(f, 0);
    uv_run(&f->talk->loop, UV_RUN_DEFAULT);

    int ending_signal = f->ending_signal;
    close_all(f);
    *code = EXIT_CODE_OK;
    if (ending_signal != 0) {    /* whoever started us shall see how we ended */
        signal(ending_signal, SIG_DFL);
        raise(ending_signal);
    }
    return ERR_OK;
}
