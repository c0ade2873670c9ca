/* SPDX-License-Identifier: MIT */
/* Two levels of the model answer one prompt side by side; the chat stays as it is.
 *
 *   NONE --begin--> OPENING --both are there--> ANSWERING --both are through--> JUDGING --> DONE, or FAILED
 *
 * Blind: which side is which is drawn by lot, and told when the person has said which answer is better. The left one has
 * the first turn, so that who comes first tells nothing. */
#include "app/chat/chat_impl.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { COMPARE_PREDICT = 400, COMPARE_PREDICT_THINKING = 2000, COMPARE_WORD_BYTES = 24 };

static void forget_answers(struct chat_compare *x)
{
    for (int i = 0; i < PORT_SIDES; i++) {
        struct compare_side *s = &x->sides[i];
        think_finish(&s->think);
        buf_finish(&s->text);
        buf_finish(&s->thoughts);
        s->n_tokens = s->n_thoughts = s->n_read = s->n_to_read = 0;
        s->is_over = false;
    }
    x->verdict = COMPARE_UNSAID;
    x->result = (struct port_compared){ 0 };
}

void chat_compare_forget(struct chat *c)
{
    forget_answers(&c->compare);
    buf_finish(&c->compare.prompt);
    c->compare.state = COMPARE_NONE;
}

bool chat_compare_is_busy(const struct chat *c)
{
    return c->compare.state >= COMPARE_OPENING && c->compare.state <= COMPARE_JUDGING;
}

/* ---- beginning ------------------------------------------------------------------------------------- */

static void refuse(struct chat *c, const char *hint, const char *text)
{
    chat_card(c, MESSAGE_NOTICE, "Not compared", hint, "%s", text);
}

/* The conversation up to the question: what was asked last, or a new one. */
static bool make_prompt(const struct chat *c, const char *question, struct transcript_prompt *out)
{
    struct message **path = c->transcript.path;
    int32_t to = c->transcript.n_path;
    while (!question[0] && to > 0 && !(path[to - 1]->role == MESSAGE_USER && message_is_read(path[to - 1])))
        to--;
    if (!transcript_prompt(&c->transcript, buf_text(&c->system), 0, to, out))
        return false;
    if (!question[0])
        return true;
    if (out->n_messages > 0 && strcmp(out->messages[out->n_messages - 1].role, "user") == 0)
        out->n_messages--;    /* nobody answered it */
    out->messages[out->n_messages++] = (struct chat_message){ .role = "user", .content = question };
    return true;
}

static void set_side(struct compare_side *s, const char *level, const char *path, const struct port_level *row)
{
    snprintf(s->level, sizeof s->level, "%s", level);
    snprintf(s->path, sizeof s->path, "%s", path);
    s->needed_bytes = row && row->is_priced ? row->needed_bytes : 0;
    s->file_bytes = row ? row->file_bytes : 0;
}

/* The one in use against the row. */
static void set_sides(struct chat *c, const struct port_level *row)
{
    struct chat_compare *x = &c->compare;
    const struct port_level *here = chat_level_in_use(c);
    if (strcmp(x->sides[1].path, row->path) != 0 || strcmp(x->sides[0].path, c->model->path) != 0)
        memset(x->won, 0, sizeof x->won);    /* another pair */
    set_side(&x->sides[0], here ? here->level : c->model->level, c->model->path, here);
    set_side(&x->sides[1], row->level, row->path, row);
    x->base = here && row < here;    /* the best come first */
}

static bool may_begin(struct chat *c, const struct port_level *row)
{
    char lack[24], text[256];
    if (!c->model || c->state != CHAT_READY || c->context.state != CONTEXT_IDLE) {
        refuse(c, NULL, c->state == CHAT_ANSWERING ? "The answer is still being written; Esc stops it."
                                                   : "The model is not ready.");
        return false;
    }
    if (!row->is_here || row->problem[0] || strcmp(row->path, c->model->path) == 0) {
        snprintf(text, sizeof text, "%s %s.", row->level, row->problem[0] ? "cannot be used" : row->is_here
                 ? "is in use; another level is wanted beside it" : "is not here");
        refuse(c, "F2 lists levels, and makes them", text);
        return false;
    }
    /* The weights are most of it; where a device has them is its own business. */
    bool on_device = c->stats.n_device_layers > 0;
    if (!on_device && c->stats.available_bytes > 0 && row->file_bytes > c->stats.available_bytes) {
        chat_size_text(row->file_bytes - c->stats.available_bytes, lack, sizeof lack);
        snprintf(text, sizeof text, "%s does not fit into memory beside %s: it is %s short.", row->level, c->model->level,
                 lack);
        refuse(c, "a smaller level takes less", text);
        return false;
    }
    return true;
}

static bool ask(struct chat *c, const struct port_level *row, const char *question)
{
    struct chat_compare *x = &c->compare;
    struct transcript_prompt prompt;
    struct port_request request;
    chat_system_refresh(c);
    chat_fill_request(c, &request);
    bool thinks = c->model->think_open[0] && c->think_mode != THINK_OFF;
    if (request.generate.n_predict <= 0)
        request.generate.n_predict = thinks ? COMPARE_PREDICT_THINKING : COMPARE_PREDICT;
    bool ok = make_prompt(c, question, &prompt);
    request.messages = prompt.messages;
    request.n_messages = prompt.n_messages;
    set_sides(c, row);
    struct port_pair pair = { .base = x->base, .first = x->left };
    for (int i = 0; i < PORT_SIDES; i++)
        snprintf(pair.paths[i], sizeof pair.paths[i], "%s", x->sides[i].path);
    ok = ok && c->port.compare(c->port.self, &request, &pair);
    transcript_prompt_finish(&prompt);
    x->request = request.id;
    return ok;
}

bool chat_compare_begin(struct chat *c, const struct port_level *row, const char *question, bool blind)
{
    struct chat_compare *x = &c->compare;
    const struct message *last = transcript_last(&c->transcript, MESSAGE_USER);
    bool typed = question[strspn(question, " \t\n")] != '\0';
    if (!may_begin(c, row))
        return false;
    if (!typed && !last) {
        refuse(c, "type a question, then F6", "There is no question yet that both could answer.");
        return false;
    }
    chat_compare_stop(c);
    forget_answers(x);
    x->blind = blind;
    /* Digits of a clock are lot enough. */
    x->left = blind && ((uint64_t)(c->port.now_s(c->port.self) * 1e6) * 0x9E3779B97F4A7C15u) >> 63;
    buf_clear(&x->prompt);
    bool ok = buf_add_text(&x->prompt, typed ? question : buf_text(&last->text)) && ask(c, row, typed ? question : "");
    x->state = ok ? COMPARE_OPENING : COMPARE_NONE;
    if (!ok)
        chat_no_memory(c);
    c->version++;
    return ok;
}

bool chat_compare_again(struct chat *c, const char *question)
{
    for (int32_t i = 0; c->levels && i < c->levels->n; i++)
        if (strcmp(c->levels->rows[i].path, c->compare.sides[1].path) == 0)
            return chat_compare_begin(c, &c->levels->rows[i], question, c->compare.blind);
    refuse(c, "F6 chooses another", "The level it was compared with is gone.");
    return false;
}

void chat_compare_stop(struct chat *c)
{
    if (chat_compare_is_busy(c))
        c->port.stop_aside(c->port.self, c->compare.request);
    c->compare.state = COMPARE_NONE;
    c->version++;
}

void chat_compare_enough(struct chat *c)
{
    if (c->compare.state != COMPARE_ANSWERING)
        return;
    c->port.end_answers(c->port.self, c->compare.request);
    c->compare.state = COMPARE_JUDGING;    /* though some tokens may be on their way */
    c->version++;
}

/* ---- what comes ------------------------------------------------------------------------------------ */

static void take_event(struct chat_compare *x, const struct mail *mail)
{
    struct compare_side *s = &x->sides[mail->side != 0];
    const struct eng_event *ev = &mail->event;
    if (ev->kind == EVENT_PROGRESS) {
        s->n_read = ev->n_done;
        s->n_to_read = ev->n_total;
    } else if (ev->kind == EVENT_TOKEN) {
        if (x->state == COMPARE_OPENING)
            x->state = COMPARE_ANSWERING;
        s->n_tokens += ev->token >= 0;
        s->n_thoughts += think_is_inside(&s->think);
        think_feed(&s->think, ev->text, (size_t)ev->n_text, &s->thoughts, &s->text);
    } else {
        think_end(&s->think, &s->thoughts, &s->text);
        s->is_over = true;
        if (x->sides[0].is_over && x->sides[1].is_over)
            x->state = COMPARE_JUDGING;
    }
}

void chat_take_compare(struct chat *c, const struct mail *mail)
{
    struct chat_compare *x = &c->compare;
    if (x->state == COMPARE_NONE || mail->request != x->request)
        return;
    switch (mail->kind) {
    case MAIL_COMPARE_PROMPT:
        for (int i = 0; i < PORT_SIDES; i++)
            think_init(&x->sides[i].think, c->model ? c->model->think_open : "", c->model ? c->model->think_close : "",
                       mail->prompt.opens_thinking);
        break;
    case MAIL_COMPARE_EVENT:
        take_event(x, mail);
        break;
    case MAIL_COMPARED:
        for (int i = 0; i < PORT_SIDES; i++)    /* those that were ended early */
            if (!x->sides[i].is_over)
                think_end(&x->sides[i].think, &x->sides[i].thoughts, &x->sides[i].text);
        x->result = mail->compared;
        x->state = COMPARE_DONE;
        break;
    default:
        snprintf(x->problem, sizeof x->problem, "%s", mail->text[0] ? mail->text : "stopped");
        x->state = COMPARE_FAILED;
        break;
    }
}

/* ---- what a person says ---------------------------------------------------------------------------- */

bool chat_compare_is_hidden(const struct chat *c)
{
    return c->compare.blind && c->compare.verdict == COMPARE_UNSAID;
}

void chat_compare_say(struct chat *c, enum compare_verdict verdict)
{
    struct chat_compare *x = &c->compare;
    if (x->state != COMPARE_DONE || !chat_compare_is_hidden(c))
        return;
    x->verdict = verdict;
    x->won[verdict == COMPARE_NEITHER ? PORT_SIDES : verdict == COMPARE_LEFT ? x->left : !x->left]++;
    c->version++;
}

void chat_compare_keep(struct chat *c, bool right)
{
    struct chat_compare *x = &c->compare;
    char path[PORT_PATH_BYTES];
    if (x->state != COMPARE_DONE || chat_compare_is_hidden(c))
        return;
    snprintf(path, sizeof path, "%s", x->sides[right ? !x->left : x->left].path);
    chat_compare_stop(c);
    if (path[0] && !(c->model && strcmp(c->model->path, path) == 0))
        chat_open_model(c, path, false);
}

/* ---- in words -------------------------------------------------------------------------------------- */

static void write_status(const struct chat *c, int shown, char *out, size_t n_bytes)
{
    const struct chat_compare *x = &c->compare;
    int i = shown ? !x->left : x->left;
    const struct compare_side *s = &x->sides[i];
    double speed = x->result.sides[i].answer_per_s;
    bool begun = x->sides[0].n_tokens > 0 && x->sides[1].n_tokens > 0;
    if (chat_compare_is_hidden(c) && !begun)
        out[0] = '\0';    /* one of them may know the chat already */
    else if (x->state == COMPARE_DONE && !chat_compare_is_hidden(c) && speed > 0)
        snprintf(out, n_bytes, "%d tokens, %.1f tok/s%s", x->result.sides[i].n_tokens, speed,
                 x->result.sides[i].is_whole ? "" : ", cut");
    else if (s->n_tokens > 0)
        snprintf(out, n_bytes, "%d token%s", s->n_tokens, s->n_tokens == 1 ? "" : "s");
    else if (s->n_to_read > 0)
        snprintf(out, n_bytes, "reads %d of %d", s->n_read, s->n_to_read);
    else
        snprintf(out, n_bytes, "%s", x->state == COMPARE_OPENING ? "is opened" : "");
}

/* As far as both answers are the same: to the word in which they part or, where words are long or unknown, the
 * character. */
static size_t common_bytes(const struct buf *a, const struct buf *b)
{
    size_t n = 0, word;
    while (n < a->n_bytes && n < b->n_bytes && a->data[n] == b->data[n])
        n++;
    if (n == a->n_bytes || n == b->n_bytes)
        return n;
    while (n > 0 && ((unsigned char)a->data[n] & 0xC0) == 0x80)
        n--;
    for (word = n; word > 0 && n - word < COMPARE_WORD_BYTES; word--)
        if (a->data[word - 1] == ' ' || a->data[word - 1] == '\n')
            return word;
    return word == 0 ? 0 : n;
}

static void write_difference(const struct chat_compare *x, char *out, size_t n_bytes)
{
    const struct port_compared *r = &x->result;
    char where[64] = "the same to the end", interval[48];
    if (r->differ)
        snprintf(where, sizeof where, "first difference at token %d", r->n_same + 1);
    else if (!r->sides[0].is_whole || !r->sides[1].is_whole)
        snprintf(where, sizeof where, "the same as far as they go, %d tokens", r->n_same);
    int n = snprintf(out, n_bytes, "%s", where);
    if (r->n_judged == 0 || n < 0 || (size_t)n >= n_bytes)
        return;
    if (r->kl_low < r->kl_high)
        snprintf(interval, sizeof interval, "%.4f to %.4f", r->kl_low, r->kl_high);
    else    /* too few for one */
        snprintf(interval, sizeof interval, "%d places", r->n_judged);
    snprintf(out + n, n_bytes - (size_t)n, " · same first choice %.1f %% · KL from %s %.4f (%s)",
             100 * r->same_top, x->sides[x->base].level, r->kl, interval);
}

/* The faster one first: "Q4_K_M is 1.7 times as fast and takes 1.05 GB less". */
static void write_gain(const struct chat_compare *x, char *out, size_t n_bytes)
{
    const struct port_compared *r = &x->result;
    double a = r->sides[0].answer_per_s, b = r->sides[1].answer_per_s;
    int fast = b > a;
    const struct compare_side *f = &x->sides[fast], *s = &x->sides[!fast];
    bool priced = f->needed_bytes > 0 && s->needed_bytes > 0;
    uint64_t mine = priced ? f->needed_bytes : f->file_bytes, other = priced ? s->needed_bytes : s->file_bytes;
    char size[24];
    out[0] = '\0';
    if (a <= 0 || b <= 0)
        return;
    if (r->sides[0].n_device_layers != r->sides[1].n_device_layers) {
        snprintf(out, n_bytes, "computed in different places: %s has %d layers on the device, %s %d", x->sides[0].level,
                 r->sides[0].n_device_layers, x->sides[1].level, r->sides[1].n_device_layers);
        return;
    }
    chat_size_text(mine > other ? mine - other : other - mine, size, sizeof size);
    int n = snprintf(out, n_bytes, "%s is %.2f times as fast", f->level, fast ? b / a : a / b);
    if (mine > 0 && other > 0 && mine != other && n > 0 && (size_t)n < n_bytes)
        snprintf(out + n, n_bytes - (size_t)n, " and takes %s %s", size, mine > other ? "more" : "less");
}

static void write_score(const struct chat_compare *x, char *out, size_t n_bytes)
{
    int n_all = x->won[0] + x->won[1] + x->won[2];
    out[0] = '\0';
    if (n_all > 0)
        snprintf(out, n_bytes, "found better: %s %d, %s %d, neither %d", x->sides[0].level, x->won[0], x->sides[1].level,
                 x->won[1], x->won[2]);
}

void chat_compare_texts(const struct chat *c, struct chat_compare_texts *out)
{
    const struct chat_compare *x = &c->compare;
    size_t n_common = common_bytes(&x->sides[0].text, &x->sides[1].text);
    *out = (struct chat_compare_texts){ 0 };
    for (int k = 0; k < PORT_SIDES; k++) {
        const struct compare_side *s = &x->sides[k ? !x->left : x->left];
        if (chat_compare_is_hidden(c))
            snprintf(out->labels[k], sizeof out->labels[k], "%d", k + 1);
        else
            snprintf(out->labels[k], sizeof out->labels[k], "%d  %s", k + 1, s->level);
        bool speaks = s->text.n_bytes > 0;
        out->texts[k] = speaks ? &s->text : &s->thoughts;
        out->n_quiet[k] = speaks ? n_common : s->thoughts.n_bytes;
        out->n_thoughts[k] = s->n_thoughts;
        write_status(c, k, out->status[k], sizeof out->status[k]);
    }
    if (x->state == COMPARE_FAILED)
        snprintf(out->lines[0], sizeof out->lines[0], "%s", x->problem);
    else if (x->state == COMPARE_OPENING)
        snprintf(out->lines[0], sizeof out->lines[0], "both levels are opened and read the prompt");
    else if (x->state == COMPARE_ANSWERING)
        snprintf(out->lines[0], sizeof out->lines[0], "token by token in turns, with the same seed; Enter ends both");
    else if (x->state == COMPARE_JUDGING)
        snprintf(out->lines[0], sizeof out->lines[0], "both read the better level's answer, to be compared word by word");
    else if (x->state == COMPARE_DONE && chat_compare_is_hidden(c))
        snprintf(out->lines[0], sizeof out->lines[0], "Which is better: 1, 2, or 3 for neither? Then it is told which is "
                 "which.");
    else if (x->state == COMPARE_DONE) {
        write_difference(x, out->lines[0], sizeof out->lines[0]);
        write_gain(x, out->lines[1], sizeof out->lines[1]);
        write_score(x, out->lines[2], sizeof out->lines[2]);
    }
}

/* ---- by name --------------------------------------------------------------------------------------- */

void chat_compare(struct chat *c, const char *argument)
{
    char level[24];
    size_t n = strcspn(argument, " ");
    const char *rest = argument + n + strspn(argument + n, " ");
    bool blind = strncmp(rest, "blind", 5) == 0 && (rest[5] == ' ' || rest[5] == '\0');
    if (blind)
        rest += 5 + strspn(rest + 5, " ");
    snprintf(level, sizeof level, "%.*s", (int)(n < sizeof level ? n : sizeof level - 1), argument);
    chat_compare_stop(c);
    buf_clear(&c->compare.prompt);
    c->compare.blind = blind;
    if (buf_add_text(&c->compare.prompt, rest))
        chat_level_wish(c, level, LEVEL_COMPARE);
}

/* The levels are known. */
void chat_compare_named(struct chat *c, const struct port_level *row)
{
    char *question = strdup(buf_text(&c->compare.prompt));
    if (!question)
        chat_no_memory(c);
    else if (chat_compare_begin(c, row, question, c->compare.blind))
        c->port.show(c->port.self, PANEL_COMPARE);
    free(question);
}
