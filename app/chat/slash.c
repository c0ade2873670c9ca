/* SPDX-License-Identifier: MIT */
#include "app/chat/slash.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "app/chat/sampling.h"

static bool usage(struct chat *c, const char *text)
{
    chat_card(c, MESSAGE_ERROR, "Not understood", NULL, "%s", text);
    return false;
}

static bool run_help(struct chat *c, const char *argument)
{
    (void)argument;
    c->port.show(c->port.self, PANEL_HELP);
    return true;
}

static bool run_model(struct chat *c, const char *argument)
{
    if (strcmp(argument, "-") == 0)
        chat_model_back(c);
    else if (argument[0])
        chat_open_model(c, argument, false);
    else
        c->port.show(c->port.self, PANEL_MODELS);
    return true;
}

static bool run_level(struct chat *c, const char *argument)
{
    chat_level(c, argument);
    return true;
}

static bool run_measure(struct chat *c, const char *argument)
{
    chat_measure(c, argument);
    return true;
}

static bool run_compare(struct chat *c, const char *argument)
{
    if (argument[0])
        chat_compare(c, argument);
    else
        c->port.show(c->port.self, PANEL_COMPARE);
    return true;
}

static bool run_better(struct chat *c, const char *argument)
{
    static const char *const words[] = { [COMPARE_LEFT] = "1", [COMPARE_RIGHT] = "2", [COMPARE_NEITHER] = "3" };
    for (int i = COMPARE_LEFT; i <= COMPARE_NEITHER; i++)
        if (strcmp(argument, words[i]) == 0 && c->compare.state == COMPARE_DONE && chat_compare_is_hidden(c)) {
            chat_compare_say(c, i);
            return true;
        }
    return usage(c, "/better 1, 2 or 3 (neither) says which answer of a blind comparison is better; /compare LEVEL blind "
                    "makes one.");
}

static bool run_pull(struct chat *c, const char *argument)
{
    if (!argument[0])
        return usage(c, "/pull needs the NAME of a model; /model lists them.");
    chat_open_model(c, argument, true);
    return true;
}

static bool run_system(struct chat *c, const char *argument)
{
    struct err e;
    if (argument[0] == '@' && chat_system_file(c, argument + 1, &e) != ERR_OK) {
        chat_card(c, MESSAGE_ERROR, "No system prompt", NULL, "%s", e.text);
        return false;
    }
    if (argument[0] == '@')
        return true;
    if (strcmp(argument, "off") == 0)
        chat_system_text(c, "");
    else if (argument[0])
        chat_system_text(c, argument);
    else if (c->system.n_bytes == 0)
        chat_card(c, MESSAGE_NOTICE, "System prompt", "/system @FILE or F9 loads one, /system TEXT sets one",
                  "There is none.");
    else
        chat_card(c, MESSAGE_NOTICE, "System prompt", "/system off removes it", "%s", buf_text(&c->system));
    return true;
}

static bool run_new(struct chat *c, const char *argument)
{
    (void)argument;
    chat_new(c);
    return true;
}

static bool run_stop(struct chat *c, const char *argument)
{
    (void)argument;
    if (c->fetching[0] && !chat_is_busy(c))
        c->port.stop_fetch(c->port.self);
    else if (c->making[0] && !chat_is_busy(c))
        c->port.stop_making(c->port.self);
    else if (c->measuring[0] && !chat_is_busy(c))
        c->port.stop_aside(c->port.self, c->measure_request);
    if (chat_compare_is_busy(c))
        chat_compare_stop(c);
    chat_stop(c);
    return true;
}

static bool run_regen(struct chat *c, const char *argument)
{
    (void)argument;
    chat_regenerate(c);
    return true;
}

static bool run_continue(struct chat *c, const char *argument)
{
    (void)argument;
    chat_continue(c);
    return true;
}

static bool run_context(struct chat *c, const char *argument)
{
    (void)argument;
    chat_show_context(c);
    return true;
}

static bool run_set(struct chat *c, const char *argument)
{
    char name[32];
    size_t n = strcspn(argument, " =");
    const char *value = argument + n + strspn(argument + n, " =");
    if (!argument[0]) {
        c->port.show(c->port.self, PANEL_SETTINGS);
        return true;
    }
    snprintf(name, sizeof name, "%.*s", (int)n, argument);
    if (!value[0])
        return usage(c, "/set needs a NAME and a VALUE, as in: /set top-k 20");
    return chat_set(c, name, value);
}

static bool run_temp(struct chat *c, const char *argument)
{
    return argument[0] ? chat_set(c, "temp", argument) : usage(c, "/temp needs a number, as in: /temp 0.7");
}

static bool run_seed(struct chat *c, const char *argument)
{
    return argument[0] ? chat_set(c, "seed", argument) : usage(c, "/seed needs a number, as in: /seed 42");
}

static bool run_ctx(struct chat *c, const char *argument)
{
    char *end;
    long n = strtol(argument, &end, 10);
    if (end == argument || *end || n < 64 || n > 1 << 24)
        return usage(c, "/ctx needs a number of tokens from 64 to 16777216, as in: /ctx 16384");
    chat_set_context(c, (int32_t)n);
    return true;
}

static bool run_device(struct chat *c, const char *argument)
{
    if (argument[0])
        return chat_set_device(c, argument);
    chat_list_devices(c);
    return true;
}

static bool run_think(struct chat *c, const char *argument)
{
    static const char *const modes[] = { [THINK_FOLD] = "fold", [THINK_ON] = "on", [THINK_OFF] = "off" };
    for (int i = 0; i < 3; i++)
        if (strcmp(argument, modes[i]) == 0) {
            chat_set_think(c, i);
            return true;
        }
    return usage(c, "/think needs one of: fold (thoughts in one line), on (shown), off (none wanted).");
}

static void explain_drafts(struct chat *c)
{
    char now[PORT_TEXT_BYTES], last[DRAFTS_TEXT_BYTES];
    chat_drafts_text(c, now, sizeof now);
    drafts_text(&c->drafts, last);
    chat_card(c, MESSAGE_NOTICE, "Drafts", "/spec auto, off or N sets them; /spec show underlines what came from them",
              "Where something was said before, the next words are guessed from it and checked together: the same "
              "answer, sooner.\nNow: %s.\nLast answer: %s.", now, c->drafts.n_passes > 0 ? last : "none yet");
}

static bool run_spec(struct chat *c, const char *argument)
{
    int32_t spec;
    if (!argument[0]) {
        explain_drafts(c);
    } else if (strcmp(argument, "show") == 0) {
        chat_show_drafts(c, !c->show_drafts);
        chat_card(c, MESSAGE_NOTICE, "Drafts", NULL, "What came from drafts is %s",
                  c->show_drafts ? "underlined; /spec show again ends that." : "no longer underlined.");
    } else if (drafts_parse(argument, &spec)) {
        chat_set_spec(c, spec);
    } else {
        char text[160];
        snprintf(text, sizeof text, "/spec needs one of: auto (drafts where they pay), off, a number of tokens from 1 "
                 "to %d, show (underlines them).", SPEC_MOST);
        return usage(c, text);
    }
    return true;
}

static bool run_save(struct chat *c, const char *argument)
{
    return argument[0] ? chat_save(c, argument) : usage(c, "/save needs a FILE that is not there yet.");
}

static bool run_stats(struct chat *c, const char *argument)
{
    (void)argument;
    c->port.show(c->port.self, PANEL_STATS);
    return true;
}

static bool run_quit(struct chat *c, const char *argument)
{
    (void)argument;
    c->port.quit(c->port.self);
    return true;
}

static const struct slash_command table[] = {
    { "/help", "", "keys and commands", run_help },
    { "/model", "[NAME or PATH]", "models; with a name: switch, the chat stays; -: back", run_model },
    { "/level", "[NAME]", "levels of this model; with a name: switch, or make it", run_level },
    { "/measure", "[LEVEL]", "speed and loss of a level, in 20 seconds", run_measure },
    { "/compare", "LEVEL [blind] [TEXT]", "two levels answer the text, or what was asked last", run_compare },
    { "/better", "1, 2 or 3", "after a blind comparison: which is better, 3: neither", run_better },
    { "/device", "[NAME]", "what can compute; with a name: switch, the chat stays", run_device },
    { "/pull", "NAME", "fetch a model of the list", run_pull },
    { "/system", "@FILE, TEXT or off", "set the system prompt; alone: show it", run_system },
    { "/new", "", "an empty chat", run_new },
    { "/stop", "", "stop the answer and keep what came", run_stop },
    { "/regen", "", "answer again, with another seed", run_regen },
    { "/continue", "", "go on with an answer that was stopped or cut", run_continue },
    { "/set", "[NAME VALUE]", "set sampling, KV types, device; alone: show them", run_set },
    { "/temp", "N", "temperature", run_temp },
    { "/seed", "N", "seed of the draws", run_seed },
    { "/ctx", "N", "tokens that the context holds", run_ctx },
    { "/context", "", "how full it is, and ways to make room", run_context },
    { "/think", "fold, on or off", "thoughts: in one line, shown, or none wanted", run_think },
    { "/spec", "auto, off, N or show", "drafts: how many, how they do, where they are", run_spec },
    { "/stats", "", "figures: context, cache, speeds", run_stats },
    { "/save", "FILE", "write the chat as text", run_save },
    { "/quit", "", "leave", run_quit },
};
enum { N_COMMANDS = sizeof table / sizeof table[0] };

const struct slash_command *slash_command(int32_t i)
{
    return i >= 0 && i < N_COMMANDS ? &table[i] : NULL;
}

bool slash_is_command(const char *text)
{
    if (text[0] != '/' || text[1] == '/')
        return false;
    size_t n = strcspn(text + 1, " \t\n/");
    return text[1 + n] != '/';
}

bool slash_run(struct chat *c, const char *text)
{
    char name[32], argument[4096];
    size_t n = strcspn(text, " \t\n");
    snprintf(name, sizeof name, "%.*s", (int)n, text);
    text += n + strspn(text + n, " \t\n");
    if (strlen(text) >= sizeof argument)
        return usage(c, "That is too long for a command.");
    snprintf(argument, sizeof argument, "%s", text);
    for (size_t end = strlen(argument); end > 0 && strchr(" \t\n", argument[end - 1]); end--)
        argument[end - 1] = '\0';

    int best = 3;
    const char *near = NULL;
    for (int32_t i = 0; i < N_COMMANDS; i++) {
        if (strcmp(table[i].name, name) == 0)
            return table[i].run(c, argument);
        int distance = option_distance(table[i].name, name);
        if (distance < best) {
            best = distance;
            near = table[i].name;
        }
    }
    if (near)
        chat_card(c, MESSAGE_ERROR, "Not understood", NULL, "There is no %s; did you mean %s?", name, near);
    else
        chat_card(c, MESSAGE_ERROR, "Not understood", "/help lists the commands; // begins text with a slash",
                  "There is no command %s.", name);
    return false;
}

bool slash_complete(const char *text, char *out, size_t n_bytes)
{
    size_t n = strlen(text), n_common = 0;
    const char *first = NULL;
    int n_found = 0;
    if (text[0] != '/' || strcspn(text, " \n") != n)
        return false;
    for (int32_t i = 0; i < N_COMMANDS; i++) {
        const char *name = table[i].name;
        if (strncmp(name, text, n) != 0)
            continue;
        if (n_found++ == 0) {
            first = name;
            n_common = strlen(name);
        }
        size_t same = 0;
        while (same < n_common && first[same] == name[same])
            same++;
        n_common = same;
    }
    if (n_found == 0 || (n_found > 1 && n_common == n))
        return false;
    snprintf(out, n_bytes, "%.*s%s", (int)n_common, first, n_found == 1 ? " " : "");
    return strcmp(out, text) != 0;
}
