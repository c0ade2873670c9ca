/* SPDX-License-Identifier: MIT */
/* A context that fills up.
 *
 *   nearly full   a card, once
 *   full          IDLE --count--> COUNTING --MAIL_COUNTS--> ASKING --the person--> DROP or STOP: IDLE
 *                                                             SUMMARISE: SUMMARISING --DONE--> IDLE
 *                                                             LARGER: GROWING --MAIL_MODEL--> IDLE
 *
 * Nothing is left out before the person has chosen, and the choices say in numbers what they do. The numbers
 * are the engine's: it counts the prompt as it would be without the oldest turn, the two oldest and so on, by
 * the same template that will make it. A cut lies before a question, so turns go whole; the last one always
 * stays. What is left out is only marked: it stays on the path, to be seen and exported.
 *
 * A cut aims at half of the context. Each one makes the engine read the rest again, so cutting just enough
 * for one message would make every message after it slow. */
#include "app/chat/chat_impl.h"

#include <stdio.h>
#include <string.h>

enum { WARN_PERCENT = 80, SUMMARY_MIN = 32, SUMMARY_MAX = 256 };

static const char summary_wish[] =
    "Summarise our conversation so far, so that it can go on from the summary alone: facts, names, numbers, "
    "what was decided, what is still open. Write only the summary, as short as possible.";

void chat_context_forget(struct chat *c)
{
    bool warned = c->context.warned;
    memset(&c->context, 0, sizeof c->context);
    c->context.warned = warned;
    c->version++;
}

void chat_context_warn(struct chat *c)
{
    int32_t n_ctx = c->model ? c->model->n_ctx : 0;
    int32_t percent = n_ctx > 0 ? (int32_t)((int64_t)c->n_ctx_used * 100 / n_ctx) : 0;
    if (percent >= WARN_PERCENT && !c->context.warned)
        chat_card(c, MESSAGE_WARNING, "The context is nearly full",
                  "/context makes room: leave out, summarise, a larger context",
                  "%d of %d tokens (%d %%) are used. When it is full you are asked; nothing is dropped by "
                  "itself.", c->n_ctx_used, n_ctx, percent);
    c->context.warned = percent >= WARN_PERCENT;
}

/* ---- counting ------------------------------------------------------------------------------------- */

static bool begins_turn(const struct transcript *t, int32_t at)
{
    if (t->path[at]->role != MESSAGE_USER || !message_is_read(t->path[at]))
        return false;
    int32_t before = at - 1;
    while (before >= 0 && !message_is_read(t->path[before]))
        before--;
    return before < 0 || t->path[before]->role != MESSAGE_USER;
}

/* Where prompts may begin: the first is the whole conversation, the last is its last turn alone. Of a long
 * chat every second, third ... turn is counted. */
static void find_cuts(struct chat *c)
{
    const struct transcript *t = &c->transcript;
    struct chat_context *x = &c->context;
    int32_t n = 0, seen = 0;
    for (int32_t i = 0; i < t->n_path; i++)
        n += begins_turn(t, i);
    int32_t stride = (n + PORT_PROMPTS - 3) / (PORT_PROMPTS - 1);
    stride = stride < 1 ? 1 : stride;
    x->n_cuts = 0;
    x->cuts[x->n_cuts++] = 0;
    for (int32_t i = 0; i < t->n_path; i++) {
        if (!begins_turn(t, i))
            continue;
        if (seen > 0 && (seen % stride == 0 || seen + 1 == n))
            x->cuts[x->n_cuts++] = i;
        seen++;
    }
}

static bool count(struct chat *c)
{
    struct transcript_prompt prompts[PORT_PROMPTS] = { 0 };
    struct port_prompt wanted[PORT_PROMPTS];
    struct chat_context *x = &c->context;
    int32_t end = c->transcript.n_path;
    bool ok = true;
    for (int32_t i = 0; i < x->n_cuts; i++) {
        ok = transcript_prompt(&c->transcript, buf_text(&c->system), x->cuts[i], end, &prompts[i]) && ok;
        wanted[i] = (struct port_prompt){ prompts[i].messages, prompts[i].n_messages };
    }
    x->request = ++c->last_id;
    ok = ok && c->port.count(c->port.self, x->request, wanted, x->n_cuts, c->think_mode == THINK_OFF ? 0 : -1);
    for (int32_t i = 0; i < x->n_cuts; i++)
        transcript_prompt_finish(&prompts[i]);
    return ok;
}

void chat_context_full(struct chat *c, enum chat_context_cause cause, uint64_t question)
{
    struct chat_context *x = &c->context;
    chat_context_forget(c);
    x->state = CONTEXT_COUNTING;
    x->cause = cause;
    x->question = question;
    find_cuts(c);
    if (!count(c))
        chat_context_not_counted(c, "there is no memory left to count what could be left out");
}

void chat_show_context(struct chat *c)
{
    int32_t n = 0;
    for (int32_t i = 0; i < c->transcript.n_path; i++)
        n += begins_turn(&c->transcript, i);
    if (c->context.state == CONTEXT_ASKING)
        c->port.show(c->port.self, PANEL_CONTEXT);
    else if (c->state != CHAT_READY || c->context.state != CONTEXT_IDLE)
        chat_card(c, MESSAGE_NOTICE, "Context", NULL, "%s",
                  c->model ? "It can be told when the answer is there." : "There is no model yet.");
    else if (n > 0)
        chat_context_full(c, CONTEXT_WISH, 0);
    else
        chat_card(c, MESSAGE_NOTICE, "Context", "/ctx N makes it larger or smaller",
                  "It holds %d tokens. Nothing was said yet.", c->model->n_ctx);
}

/* ---- the choices ---------------------------------------------------------------------------------- */

static struct chat_choice *choice_of(struct chat *c, enum chat_room which, const char *label, bool possible)
{
    struct chat_choice *choice = &c->context.choices[which];
    *choice = (struct chat_choice){ .label = label, .possible = possible };
    return choice;
}

#define SAY(choice, ...) snprintf((choice)->text, sizeof (choice)->text, __VA_ARGS__)

/* Messages before the cut that are read now; a summary is no message of theirs and stays when they go. */
static int32_t messages_before(const struct chat *c, int32_t cut)
{
    int32_t n = 0;
    for (int32_t i = 0; i < c->context.cuts[cut]; i++)
        n += message_is_read(c->transcript.path[i]) && c->transcript.path[i]->role != MESSAGE_SUMMARY;
    return n;
}

/* The smallest cut that leaves half of the context free, else the one that leaves least; 0: there is none. */
static int32_t choose_cut(const struct chat *c)
{
    const struct port_counts *counts = &c->context.counts;
    for (int32_t i = 1; i < counts->n; i++)
        if (counts->tokens[i] <= c->model->n_ctx / 2)
            return i;
    return counts->n - 1;
}

static void offer_drop(struct chat *c)
{
    struct chat_context *x = &c->context;
    int32_t stays = x->counts.tokens[x->cut], freed = x->counts.tokens[0] - stays;
    int32_t room = c->model->n_ctx - chat_reserve(c), n = messages_before(c, x->cut);
    bool possible = x->cut > 0 && stays <= room;
    struct chat_choice *choice = choice_of(c, ROOM_DROP, "Leave out the oldest turns", possible);
    if (x->cut == 0)
        SAY(choice, "There is no turn before the last one.");
    else if (!choice->possible)
        SAY(choice, "The last turn alone has %d tokens, %d fit.", stays, room);
    else
        SAY(choice, "The %d oldest messages: %d tokens freed. %d stay%s and are read again.", n, freed, stays,
            c->system.n_bytes > 0 ? ", the system prompt with them," : "");
}

static void offer_summary(struct chat *c)
{
    struct chat_context *x = &c->context;
    int32_t n_ctx = c->model->n_ctx, stays = x->counts.tokens[x->cut];
    int32_t n = n_ctx / 8 < SUMMARY_MIN ? SUMMARY_MIN : n_ctx / 8 < SUMMARY_MAX ? n_ctx / 8 : SUMMARY_MAX;
    int32_t freed = x->counts.tokens[0] - stays - n;
    struct chat_choice *choice = choice_of(c, ROOM_SUMMARISE, "Summarise the oldest turns", false);
    x->n_summary = n;
    if (x->cut == 0)
        SAY(choice, "There is no turn before the last one.");
    else if (stays + n > n_ctx - chat_reserve(c))
        SAY(choice, "The last turn has %d tokens; with a summary of %d that is more than the %d that fit.",
            stays, n, n_ctx - chat_reserve(c));
    else if (freed <= 0)
        SAY(choice, "A summary of up to %d tokens would be as long as what it replaces (%d).", n, freed + n);
    else
        SAY(choice, "The model writes up to %d tokens about the %d oldest messages, which costs one answer; at "
            "least %d tokens freed.", n, messages_before(c, x->cut), freed);
    choice->possible = x->cut > 0 && stays + n <= n_ctx - chat_reserve(c) && freed > 0;
}

static void offer_larger(struct chat *c)
{
    struct chat_context *x = &c->context;
    int32_t n_ctx = c->model->n_ctx, wanted = x->counts.tokens[0] + chat_reserve(c), i = 0;
    struct chat_choice *choice = choice_of(c, ROOM_LARGER, "A larger context", false);
    while (i + 1 < x->counts.n_sizes && x->counts.sizes[i].n_ctx < wanted)
        i++;
    if (x->counts.n_sizes == 0) {
        SAY(choice, "The model was made for %d tokens, which it has.", c->model->n_ctx_train);
        return;
    }
    int32_t larger = x->counts.sizes[i].n_ctx;
    uint64_t bytes = x->counts.sizes[i].kv_bytes;
    uint64_t more = bytes > c->stats.kv_bytes ? bytes - c->stats.kv_bytes : 0;
    bool fits = more <= c->stats.available_bytes / 10 * 9;
    bool enough = larger >= wanted || x->cause != CONTEXT_MESSAGE;
    char now[24], then[24], free_text[24];
    chat_size_text(c->stats.kv_full_bytes, now, sizeof now);
    chat_size_text(bytes, then, sizeof then);
    chat_size_text(c->stats.available_bytes, free_text, sizeof free_text);
    if (!enough)
        SAY(choice, "The conversation needs %d tokens; the model was made for %d.", wanted, larger);
    else
        SAY(choice, "%d tokens instead of %d: the cache takes %s when full, not %s; %s of memory are free%s.",
            larger, n_ctx, then, now, free_text, fits ? "" : ", too few for that");
    x->n_ctx_wanted = larger;
    choice->possible = fits && enough;
}

static void offer_stop(struct chat *c)
{
    static const char *const texts[] = {
        [CONTEXT_MESSAGE] = "Nothing changes; the message is a draft again.",
        [CONTEXT_ANSWER] = "Nothing changes; what came of the answer is kept.",
        [CONTEXT_WISH] = "Nothing changes.",
    };
    SAY(choice_of(c, ROOM_STOP, "Stop", true), "%s", texts[c->context.cause]);
}

static void say_cause(struct chat *c)
{
    struct chat_context *x = &c->context;
    int32_t n_ctx = c->model->n_ctx, n = x->counts.tokens[0], n_left_out = 0;
    for (int32_t i = 0; i < c->transcript.n_path; i++)
        n_left_out += c->transcript.path[i]->left_out;
    x->title = x->cause == CONTEXT_WISH ? "Context" : "The context is full";
    if (x->cause == CONTEXT_MESSAGE)
        SAY(x, "With this message the conversation has %d tokens. The context holds %d, of which %d are kept "
            "for the answer.", n, n_ctx, chat_reserve(c));
    else if (x->cause == CONTEXT_ANSWER)
        SAY(x, "The answer stops here: all %d tokens of the context are used.", n_ctx);
    else
        SAY(x, "The conversation has %d of %d tokens (%d %%); %d messages are no longer read by the model.", n,
            n_ctx, (int)((int64_t)n * 100 / n_ctx), n_left_out);
}

/* Where there is nothing to choose from, a card says so. */
static void say_no_choice(struct chat *c)
{
    struct chat_context *x = &c->context;
    char text[sizeof x->text];
    memcpy(text, x->text, sizeof text);
    bool message = x->cause == CONTEXT_MESSAGE;
    chat_make_room(c, ROOM_STOP);
    if (message)
        chat_card(c, MESSAGE_ERROR, "Not sent: the context would overflow",
                  "Shorten the message, or start an empty chat with /new", "%s", text);
    else
        chat_card(c, MESSAGE_WARNING, "The context is full", "/new starts an empty chat", "%s", text);
}

void chat_context_counted(struct chat *c, const struct mail *mail)
{
    struct chat_context *x = &c->context;
    if (x->state != CONTEXT_COUNTING || mail->request != x->request || !c->model)
        return;
    x->counts = mail->counts;
    c->stats = mail->stats;
    x->cut = choose_cut(c);
    say_cause(c);
    offer_drop(c);
    offer_summary(c);
    offer_larger(c);
    offer_stop(c);
    x->state = CONTEXT_ASKING;
    c->version++;
    bool any = false;
    for (int32_t i = 0; i < ROOM_STOP; i++)
        any = any || x->choices[i].possible;
    if (any || x->cause == CONTEXT_WISH)
        c->port.show(c->port.self, PANEL_CONTEXT);
    else
        say_no_choice(c);
}

void chat_context_not_counted(struct chat *c, const char *reason)
{
    chat_card(c, MESSAGE_ERROR, "The context is full",
              "/new starts an empty chat; /ctx N makes the context larger",
              "What could be left out was not found: %s.", reason);
    chat_make_room(c, ROOM_STOP);
}

/* ---- making room ---------------------------------------------------------------------------------- */

/* There is room now: the message is sent after all; a cut answer can go on. */
static void end_with_room(struct chat *c)
{
    enum chat_context_cause cause = c->context.cause;
    uint64_t question = c->context.question;
    chat_context_forget(c);
    c->context.warned = false;
    if (cause == CONTEXT_MESSAGE && transcript_find(&c->transcript, question))
        chat_ask(c);
    else
        chat_send_waiting(c);
    chat_prepare(c);
}

const char *chat_context_hint(const struct chat *c)
{
    bool cut = c->context.state != CONTEXT_IDLE && c->context.cause == CONTEXT_ANSWER;
    return cut ? "/continue goes on where the answer stopped; Alt+R or /regen answers again" : NULL;
}

/* Marks what the model reads no longer, up to before this message. */
static void leave_out(struct chat *c, uint64_t up_to, bool summaries_too)
{
    for (int32_t i = 0; i < c->transcript.n_path && c->transcript.path[i]->id != up_to; i++) {
        struct message *m = c->transcript.path[i];
        if (!message_is_read(m) || (m->role == MESSAGE_SUMMARY && !summaries_too))
            continue;
        m->left_out = true;
        m->revision++;
    }
}

static void drop(struct chat *c)
{
    struct chat_context *x = &c->context;
    int32_t n = messages_before(c, x->cut), stays = x->counts.tokens[x->cut];
    leave_out(c, c->transcript.path[x->cuts[x->cut]]->id, false);
    c->n_ctx_used = stays;
    chat_card(c, MESSAGE_NOTICE, "Left out", chat_context_hint(c),
              "%d messages are no longer read by the model: %d tokens freed, %d stay. They can still be seen.", n,
              x->counts.tokens[0] - stays, stays);
    end_with_room(c);
}

/* Asks for a summary of what lies between two cuts. False: no memory. */
static bool ask_summary(struct chat *c, struct message *m)
{
    struct chat_context *x = &c->context;
    struct transcript_prompt prompt;
    struct port_request request;
    chat_fill_request(c, &request);
    request.enable_thinking = 0;
    request.n_reserve = request.generate.n_predict = x->n_summary;
    bool ok = transcript_prompt(&c->transcript, buf_text(&c->system), x->cuts[x->summary_from], x->cuts[x->cut],
                                &prompt);
    if (ok)
        prompt.messages[prompt.n_messages++] = (struct chat_message){ .role = "user", .content = summary_wish };
    request.messages = prompt.messages;
    request.n_messages = prompt.n_messages;
    ok = ok && chat_start_answer(c, m, &request);
    transcript_prompt_finish(&prompt);
    return ok;
}

static void summarise(struct chat *c)
{
    struct chat_context *x = &c->context;
    int32_t at = x->cuts[x->cut];
    uint64_t after = at > 0 ? c->transcript.path[at - 1]->id : 0;
    struct message *m = transcript_insert(&c->transcript, after, MESSAGE_SUMMARY, "");
    x->state = CONTEXT_SUMMARISING;
    x->summary_from = 0;
    if (m)
        snprintf(m->title, sizeof m->title, "Summary of %d messages", messages_before(c, x->cut));
    if (!m || !ask_summary(c, m))
        chat_context_summarised(c, m, "there is no memory for it");
    c->version++;
}

/* What is to be summarised is more than the model can read at once: its oldest turns stay out of the summary. */
void chat_context_summary_too_long(struct chat *c, struct message *m)
{
    struct chat_context *x = &c->context;
    if (++x->summary_from >= x->cut)
        chat_context_summarised(c, m, "even the last of these turns is more than the model can read at once");
    else if (!ask_summary(c, m))
        chat_context_summarised(c, m, "there is no memory for it");
}

/* Without a summary the other choices are still there. */
static void ask_without_summary(struct chat *c, const char *reason)
{
    struct chat_context *x = &c->context;
    x->state = CONTEXT_ASKING;
    x->choices[ROOM_SUMMARISE].possible = false;
    SAY(&x->choices[ROOM_SUMMARISE], "It was tried: %s.", reason);
    if (x->choices[ROOM_DROP].possible || x->choices[ROOM_LARGER].possible)
        c->port.show(c->port.self, PANEL_CONTEXT);
    else
        say_no_choice(c);
}

void chat_context_summarised(struct chat *c, struct message *m, const char *reason)
{
    struct chat_context *x = &c->context;
    if (!reason && (!m || strspn(buf_text(&m->text), " \t\r\n") == m->text.n_bytes))
        reason = "the model wrote nothing";
    if (reason) {
        if (m)
            transcript_remove(&c->transcript, m->id);
        ask_without_summary(c, reason);
        return;
    }
    int32_t n_unread = messages_before(c, x->summary_from), n = messages_before(c, x->cut);
    char unread[96] = "";
    if (n_unread > 0)
        snprintf(unread, sizeof unread, " The first %d were too long to be read with the others and are not in it.",
                 n_unread);
    leave_out(c, m->id, true);
    m->state = MESSAGE_DONE;
    snprintf(m->hint, sizeof m->hint, "The model reads this in place of the messages above.");
    c->n_ctx_used = x->counts.tokens[x->cut] + m->timings.n_generated;
    chat_card(c, MESSAGE_NOTICE, "Summarised", chat_context_hint(c),
              "%d messages stand in the prompt as a summary of %d tokens: %d freed. They can still be seen.%s", n,
              m->timings.n_generated, x->counts.tokens[0] - c->n_ctx_used, unread);
    end_with_room(c);
}

static bool enlarge(struct chat *c)
{
    struct chat_context *x = &c->context;
    c->session.n_ctx = x->n_ctx_wanted;
    if (!c->port.set_session(c->port.self, ++c->last_id, &c->session)) {
        c->session = c->session_before;
        chat_no_memory(c);
        return false;
    }
    c->model_request = c->last_id;
    x->state = CONTEXT_GROWING;
    c->version++;
    return true;
}

void chat_context_session(struct chat *c, const char *reason)
{
    struct chat_context *x = &c->context;
    if (x->state == CONTEXT_IDLE || x->state == CONTEXT_SUMMARISING)
        return;
    if (!reason) {    /* also a model or a context that was asked for by name while the question stood */
        end_with_room(c);
    } else if (x->state == CONTEXT_GROWING) {
        x->state = CONTEXT_ASKING;
        x->choices[ROOM_LARGER].possible = false;
        SAY(&x->choices[ROOM_LARGER], "It was tried: %s", reason);
        c->port.show(c->port.self, PANEL_CONTEXT);
    }
}

static void stop(struct chat *c)
{
    struct message *question = transcript_find(&c->transcript, c->context.question);
    if (c->waiting.n_bytes > 0) {
        c->port.give_back(c->port.self, buf_text(&c->waiting));
        buf_clear(&c->waiting);
    }
    if (question) {
        c->port.give_back(c->port.self, buf_text(&question->text));
        transcript_remove(&c->transcript, question->id);
    }
    chat_context_forget(c);
}

bool chat_make_room(struct chat *c, enum chat_room choice)
{
    struct chat_context *x = &c->context;
    if (choice == ROOM_STOP) {
        stop(c);
        return true;
    }
    if (x->state != CONTEXT_ASKING)
        return false;
    if (!x->choices[choice].possible) {
        chat_card(c, MESSAGE_NOTICE, x->choices[choice].label, NULL, "%s", x->choices[choice].text);
        return false;
    }
    if (choice == ROOM_DROP)
        drop(c);
    else if (choice == ROOM_SUMMARISE)
        summarise(c);
    else
        return enlarge(c);
    return true;
}
