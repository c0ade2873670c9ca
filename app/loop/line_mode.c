/* SPDX-License-Identifier: MIT */
#include "app/loop/line_mode.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "app/chat/sampling.h"
#include "app/chat/slash.h"
#include "app/loop/line_reader.h"
#include "app/loop/talk.h"
#include "app/ui/neutral.h"

struct line_mode {
    struct talk *talk;
    struct line_reader *reader;
    uv_signal_t interrupt, terminate;
    bool to_terminal, from_terminal;
    bool prompted;               /* "You: " stands there */
    bool interrupted;            /* Ctrl+C with nothing to stop: once more leaves */
    bool input_over;
    bool introduced;             /* the model was named */
    bool summarising;            /* said that it takes a while */
    bool ask_context;            /* what to do about a full context is to be asked when all else is out */
    bool failed;
    int ending_signal;
    uint64_t compared;           /* comparison that was written out, */
    bool told;                   /* and which answer was whose */
    uint64_t shown_id;           /* messages up to this one are out, but for the one that streams */
    uint64_t stream_id;          /* the answer that is being written out, 0: none */
    size_t stream_bytes, stream_thoughts;
    bool stream_repeats;         /* said that it repeats itself */
    struct neutral_filter filter;
    struct buf draft;            /* lines that ended in a backslash */
};

/* ---- writing -------------------------------------------------------------------------------------- */

static void put(struct line_mode *l, const char *text, size_t n_bytes)
{
    if (!l->to_terminal) {
        fwrite(text, 1, n_bytes, stdout);
        return;
    }
    struct buf safe = { 0 };
    neutral_filter_feed(&l->filter, &safe, text, n_bytes);
    fwrite(buf_text(&safe), 1, safe.n_bytes, stdout);
    buf_finish(&safe);
}

static void put_text(struct line_mode *l, const char *text)
{
    put(l, text, strlen(text));
}

/* Something else is written now: the prompt that stands there is void. */
static void take_prompt_back(struct line_mode *l)
{
    if (l->prompted)
        putchar('\n');
    l->prompted = false;
}

static void put_card(struct line_mode *l, const struct message *m)
{
    take_prompt_back(l);
    put_text(l, m->title);
    put_text(l, ": ");
    put_text(l, buf_text(&m->text));
    if (m->hint[0]) {
        put_text(l, " (");
        put_text(l, m->hint);
        put_text(l, ")");
    }
    putchar('\n');
}

/* How much of a text that still grows may be written: whole sentences and lines, for ears. */
static size_t speakable(const char *text, size_t n_bytes)
{
    for (size_t n = n_bytes; n > 0; n--) {
        char c = text[n - 1];
        if (c == '\n' || (c == ' ' && n > 1 && strchr(".!?:;", text[n - 2])))
            return n;
    }
    return 0;
}

static void stream_part(struct line_mode *l, const struct buf *text, size_t *n_shown, bool whole)
{
    size_t n = text->n_bytes - *n_shown;
    if (!whole)
        n = speakable(text->data + *n_shown, n);
    if (n > 0)
        put(l, text->data + *n_shown, n);
    *n_shown += n;
}

/* Whoever reads along may want to stop it; in a file nobody can. */
static void say_repeats(struct line_mode *l, const struct message *m)
{
    bool inside_line = l->stream_bytes > 0 && m->text.data[l->stream_bytes - 1] != '\n';
    if (l->to_terminal && !l->stream_repeats)
        printf("%s(it repeats itself; Ctrl+C stops it)\n", inside_line ? "\n" : "");
    l->stream_repeats = true;
}

static void stream(struct line_mode *l, const struct message *m)
{
    const struct chat *c = &l->talk->chat;
    bool over = m->state != MESSAGE_STREAMING;
    if (l->stream_id != m->id) {
        bool goes_on = m->id == c->answer_id;
        l->stream_id = m->id;
        l->stream_bytes = goes_on ? c->begun_bytes : 0;    /* what was there before is not said again */
        l->stream_thoughts = goes_on ? c->begun_thinking_bytes : 0;
        l->stream_repeats = false;
        take_prompt_back(l);
    }
    if (c->think_mode == THINK_ON && m->thinking.n_bytes > l->stream_thoughts) {
        if (l->stream_thoughts == 0)
            put_text(l, "Thinking: ");
        stream_part(l, &m->thinking, &l->stream_thoughts, over || !m->thinking_open);
        if (!m->thinking_open)
            putchar('\n');
    }
    if (m->text.n_bytes > l->stream_bytes) {
        size_t before = l->stream_bytes;
        if (before == 0 && (over || speakable(m->text.data, m->text.n_bytes) > 0))
            put_text(l, "Model: ");
        stream_part(l, &m->text, &l->stream_bytes, over);
    }
    if (!over && c->n_repeated > 0)
        say_repeats(l, m);
    if (over) {
        neutral_filter_end(&l->filter, &(struct buf){ 0 });
        if (m->text.n_bytes == 0 || m->text.data[m->text.n_bytes - 1] != '\n')
            putchar('\n');
        if (m->state != MESSAGE_DONE)
            printf("(%s)\n", m->state == MESSAGE_STOPPED ? "stopped"
                             : m->state == MESSAGE_CUT   ? "cut at the limit of -n" : "context full");
        l->stream_id = 0;
        l->shown_id = m->id > l->shown_id ? m->id : l->shown_id;
    }
}

static void introduce(struct line_mode *l)
{
    struct chat *c = &l->talk->chat;
    char label[PORT_TEXT_BYTES], advice[256];
    l->introduced = true;
    chat_model_label(c, label, sizeof label);
    chat_advice(c, "/model", advice, sizeof advice);
    take_prompt_back(l);
    put_text(l, "Model ");
    put_text(l, label);
    printf(", %d tokens of context. /help lists commands.\n", c->model->n_ctx);
    if (advice[0])
        printf("%s\n", advice);
}

/* ---- reading -------------------------------------------------------------------------------------- */

static void leave(struct line_mode *l)
{
    uv_stop(&l->talk->loop);
}

/* The question, and its answers by number. */
static void show_context(struct line_mode *l)
{
    const struct chat_context *x = &l->talk->chat.context;
    if (x->state != CONTEXT_ASKING)
        return;
    printf("%s: %s\n", x->title, x->text);
    for (int32_t i = 0; i < CHAT_ROOMS; i++)
        printf("  %d  %s%s: %s\n", (int)(i + 1), x->choices[i].label,
               x->choices[i].possible ? "" : " (not possible)", x->choices[i].text);
}

static void ask_context(struct line_mode *l)
{
    if (l->ask_context && l->talk->chat.context.state == CONTEXT_ASKING) {
        take_prompt_back(l);
        show_context(l);
    }
    l->ask_context = false;
}

/* Nobody is there to choose: nothing is dropped, and whoever wrote the input is told. */
static void give_up_context(struct line_mode *l)
{
    struct chat *c = &l->talk->chat;
    bool unsent = c->context.cause == CONTEXT_MESSAGE;
    chat_make_room(c, ROOM_STOP);
    if (unsent)
        chat_card(c, MESSAGE_ERROR, "Not sent", NULL,
                  "The context is full, and nobody chose what to do about it.");
}

/* Both answers, then what it comes to; blind ones in two parts. */
static void put_comparison(struct line_mode *l)
{
    const struct chat *c = &l->talk->chat;
    const struct chat_compare *x = &c->compare;
    struct chat_compare_texts texts;
    if ((x->state != COMPARE_DONE && x->state != COMPARE_FAILED) || (l->compared == x->request && l->told))
        return;
    bool is_new = l->compared != x->request, told = !chat_compare_is_hidden(c);
    if (!is_new && !told)
        return;
    chat_compare_texts(c, &texts);
    take_prompt_back(l);
    for (int i = 0; i < PORT_SIDES && x->state == COMPARE_DONE; i++) {
        printf("Answer %s (%s)%s", texts.labels[i], texts.status[i], is_new ? ": " : "\n");
        if (is_new) {
            put_text(l, buf_text(texts.texts[i]));
            putchar('\n');
        }
    }
    if (x->state == COMPARE_FAILED)
        put_text(l, "Not compared: ");
    for (int i = 0; i < COMPARE_LINES; i++)
        if (texts.lines[i][0]) {
            put_text(l, texts.lines[i]);
            putchar('\n');
        }
    if (!told && x->state == COMPARE_DONE)
        puts("/better 1, 2 or 3 says it.");
    l->compared = x->request;
    l->told = told || x->state == COMPARE_FAILED;
}

/* What a line asked for and a person need not wait for. */
static bool is_under_way(const struct chat *c)
{
    return c->opening[0] || c->fetching[0] || c->making[0] || c->measuring[0] || c->level_wanted[0] ||
           chat_compare_is_busy(c);
}

/* The person's turn: a prompt, or at the end of the input the end. */
static void hand_over(struct line_mode *l)
{
    struct chat *c = &l->talk->chat;
    ask_context(l);
    if (chat_is_busy(c) || c->state == CHAT_LOADING || (is_under_way(c) && !l->from_terminal))
        return;
    if (l->input_over && !c->fetching[0]) {
        leave(l);
    } else if (!l->prompted && l->from_terminal && !l->input_over) {
        put_text(l, c->context.state == CONTEXT_ASKING ? "Choose 1 to 4: " : "You: ");
        l->prompted = true;
    }
}

static void put_news(struct line_mode *l)
{
    const struct transcript *t = &l->talk->chat.transcript;
    for (int32_t i = 0; i < t->n_path; i++) {
        const struct message *m = t->path[i];
        if (m->id <= l->shown_id && m->id != l->stream_id && m->state != MESSAGE_STREAMING)
            continue;
        if (m->role == MESSAGE_SUMMARY && m->state == MESSAGE_STREAMING)
            continue;    /* a card when it is whole */
        if (m->role == MESSAGE_MODEL) {
            stream(l, m);
            if (m->state == MESSAGE_STREAMING)
                break;    /* cards that came meanwhile wait for the end of the answer */
            continue;
        }
        if (m->role != MESSAGE_USER)
            put_card(l, m);
        l->failed = l->failed || m->role == MESSAGE_ERROR;
        l->shown_id = m->id;
    }
}

/* Everything new, then a prompt if it is the person's turn. */
static void changed(void *self)
{
    struct line_mode *l = self;
    struct chat *c = &l->talk->chat;
    if (!l->introduced && c->model)
        introduce(l);
    put_news(l);
    put_comparison(l);
    bool summarising = c->context.state == CONTEXT_SUMMARISING;
    if (summarising && !l->summarising)
        put_text(l, "Summarising: the model writes about the oldest messages. Ctrl+C stops it.\n");
    l->summarising = summarising;
    if (c->context.state == CONTEXT_ASKING && l->input_over) {
        ask_context(l);    /* for whoever reads it later */
        give_up_context(l);
        put_news(l);
    }
    hand_over(l);
    fflush(stdout);
}

static bool is_choice(const char *text)
{
    return text[0] >= '1' && text[0] < '1' + CHAT_ROOMS && text[1] == '\0';
}

/* A line that ends in a backslash goes on in the next one. */
static void take_line(struct line_mode *l, char *line)
{
    l->interrupted = false;
    l->prompted = false;
    size_t n = strlen(line);
    bool goes_on = n > 0 && line[n - 1] == '\\';
    if (goes_on)
        line[n - 1] = '\n';
    buf_add(&l->draft, line, n);
    if (goes_on)
        return;
    if (!l->from_terminal && l->draft.n_bytes > 0)
        printf("You: %s\n", buf_text(&l->draft));
    char *text = buf_take(&l->draft);
    buf_init(&l->draft);
    if (text && !l->from_terminal && l->talk->chat.context.state == CONTEXT_ASKING && !is_choice(text))
        give_up_context(l);
    if (text)
        chat_enter(&l->talk->chat, text);
    free(text);
}

/* From a pipe the next line is taken when the answer, or the model, that the last one asked for is there. */
static bool wants_line(const struct line_mode *l)
{
    const struct chat *c = &l->talk->chat;
    return l->from_terminal ||
           (!chat_is_busy(c) && c->state != CHAT_LOADING && !is_under_way(c));
}

static void take_lines(void *data)
{
    struct line_mode *l = data;
    char *line = NULL;
    bool end = false;
    while (wants_line(l) && (line = line_reader_next(l->reader, &end))) {
        take_line(l, line);
        free(line);
        changed(l);
    }
    if (end)
        l->input_over = true;
    changed(l);
}

static void front_changed(void *self)
{
    changed(self);
    take_lines(self);
}

/* ---- what the chat asks of a front end ------------------------------------------------------------ */

static void show_help(void)
{
    const struct slash_command *s;
    for (int32_t i = 0; (s = slash_command(i)); i++)
        printf("  %-9s %-20s %s\n", s->name, s->argument, s->help);
    puts("  A line that ends in \\ goes on in the next. Ctrl+C stops an answer, Ctrl+D leaves.");
}

static void show_models(struct line_mode *l)
{
    struct model_table table;
    struct err e;
    if (model_table_read(&table, l->talk->paths, &e) != ERR_OK) {
        put_text(l, e.text);
        putchar('\n');
        return;
    }
    for (int32_t i = 0; i < table.n; i++) {
        const struct model_row *row = &table.rows[i];
        put_text(l, "  ");
        put_text(l, row->name);
        printf(", %.0f MB, %s", (double)row->n_bytes / 1e6, row->is_here ? "here" : "not here: /pull fetches it");
        if (row->good[0])
            printf("; %s", row->good);
        putchar('\n');
    }
    model_table_finish(&table);
}

static void show_settings(struct line_mode *l)
{
    const struct chat *c = &l->talk->chat;
    struct sampler_params now;
    chat_sampling(c, &now);
    const struct sampler_field *field;
    char place[PORT_TEXT_BYTES], layers[16];
    chat_place_text(c, place, sizeof place);
    chat_gpu_layers_text(c, layers, sizeof layers);
    put_text(l, "  device = ");
    put_text(l, c->device.name);
    printf(", gpu-layers = %s: what computes, and how many of the layers are there%s", layers, place[0] ? "; now " : "");
    put_text(l, place);
    putchar('\n');
    printf("  kv-type-k = %s, kv-type-v = %s: types of the KV cache\n", c->session.kv_type_k,
           c->session.kv_type_v);
    for (int32_t i = 0; (field = sampler_field(i)); i++) {
        char value[SAMPLING_PRESET_BYTES];
        sampling_text(&now, field, value);
        printf("  %s = %s: %s\n", field->name, value, field->help);
    }
}

static void show_figures(struct line_mode *l)
{
    struct chat_figure figures[CHAT_FIGURES];
    int32_t n = chat_figures(&l->talk->chat, figures);
    for (int32_t i = 0; i < n; i++) {
        put_text(l, "  ");
        put_text(l, figures[i].name);
        put_text(l, figures[i].name[0] ? ": " : "  ");
        put_text(l, figures[i].text);
        putchar('\n');
    }
}

static void front_show(void *self, enum port_panel panel)
{
    struct line_mode *l = self;
    take_prompt_back(l);
    switch (panel) {
    case PANEL_HELP:
        show_help();
        break;
    case PANEL_MODELS:
        show_models(l);
        break;
    case PANEL_SETTINGS:
        show_settings(l);
        break;
    case PANEL_STATS:
        show_figures(l);
        break;
    case PANEL_CONTEXT:
        l->ask_context = true;    /* the end of the answer is still to be written */
        break;
    case PANEL_COMPARE:
        if (!chat_compare_is_busy(&l->talk->chat))
            puts("/compare needs the LEVEL to compare with; /level lists them.");
        break;
    }
}

static void front_give_back(void *self, const char *text)
{
    (void)self, (void)text;    /* it stands in the terminal above */
}

static void front_quit(void *self)
{
    struct line_mode *l = self;
    l->input_over = true;
    leave(l);
}

static void on_interrupt(uv_signal_t *handle, int number)
{
    struct line_mode *l = handle->data;
    if (number == SIGTERM || (l->interrupted && !chat_is_busy(&l->talk->chat))) {
        l->ending_signal = number;
        leave(l);
    } else if (chat_is_busy(&l->talk->chat)) {
        chat_stop(&l->talk->chat);
    } else if (chat_compare_is_busy(&l->talk->chat)) {
        chat_compare_stop(&l->talk->chat);
        puts("(stopped)");
    } else {
        l->interrupted = true;
        printf("\nCtrl+C again leaves.\n");
        l->prompted = false;
        changed(l);
    }
}

/* ---- life ----------------------------------------------------------------------------------------- */

enum err_code line_mode_run(const struct config *config, const struct paths *paths, enum exit_code *code,
                            struct err *e)
{
    struct line_mode l = { .to_terminal = isatty(STDOUT_FILENO), .from_terminal = isatty(STDIN_FILENO) };
    struct talk_front front = { .self = &l, .changed = front_changed, .show = front_show,
                                .give_back = front_give_back, .quit = front_quit };
    enum err_code rc = talk_create(&l.talk, config, paths, &front, e);
    if (rc != ERR_OK)
        return rc;
    uv_signal_init(&l.talk->loop, &l.interrupt);
    uv_signal_init(&l.talk->loop, &l.terminate);
    l.interrupt.data = l.terminate.data = &l;
    uv_signal_start(&l.interrupt, on_interrupt, SIGINT);
    uv_signal_start(&l.terminate, on_interrupt, SIGTERM);
    l.reader = line_reader_start(&l.talk->loop, take_lines, &l);
    if (!l.reader) {
        rc = err_set(e, ERR_NOMEM, "stdin cannot be read: no thread for it");
    } else {
        if (!talk_begin(l.talk))
            chat_card(&l.talk->chat, MESSAGE_ERROR, "No model", "/model lists models, /pull NAME fetches one",
                      "There is no model yet.");
        changed(&l);
        uv_run(&l.talk->loop, UV_RUN_DEFAULT);
    }
    take_prompt_back(&l);
    fflush(stdout);
    line_reader_leave(l.reader);
    uv_close((uv_handle_t *)&l.interrupt, NULL);
    uv_close((uv_handle_t *)&l.terminate, NULL);
    talk_destroy(l.talk);
    buf_finish(&l.draft);
    *code = l.ending_signal ? EXIT_CODE_INTERRUPTED
            : l.failed && !l.from_terminal ? EXIT_CODE_FAILURE : EXIT_CODE_OK;
    return rc;
}
