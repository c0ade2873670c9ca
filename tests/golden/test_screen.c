/* SPDX-License-Identifier: MIT */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "app/term/term.h"
#include "app/ui/screen.h"
#include "app/ui/view_compare.h"

/* Whole screens, drawn by the views into a terminal made of memory and compared with files in
 * tests/golden/screen: the text, then a letter per cell for its style. Each scene is drawn at three sizes.
 *
 *     test_screen            compares
 *     test_screen --write    writes the files anew, to be looked at in the diff
 *
 * It has a main() of its own because a whole screen says more than a line that differs. */

struct scene {
    const char *name;
    void (*set)(struct screen *s);
};

static const struct { int32_t n_rows, n_cols; } sizes[] = { { 24, 80 }, { 40, 120 }, { 12, 40 } };

/* ---- what the program would fill in --------------------------------------------------------------- */

static const char answer[] =
    "Because air scatters **short waves** more strongly than long ones:\n"
    "\n"
    "1. Sunlight holds all colours.\n"
    "2. Molecules are much smaller than a wavelength, so the strength goes with `1/λ⁴`. That makes blue "
    "about *six times* stronger than red.\n"
    "   - This is Rayleigh scattering.\n"
    "\n"
    "The ratio in a line of Python:\n"
    "\n"
    "```python\n"
    "ratio = (700 / 450) ** 4\n"
    "print(f\"blue is scattered {ratio:.1f} times as much as red, which is why the sky looks blue\")\n"
    "```\n"
    "\n"
    "> The sky is not violet because the sun sends less of it and our eyes see it badly.\n"
    "\n"
    "日本語では「空が青い」と言います。空気が短い波をより強く散乱するからです。👩‍🚀 ❤️ 🇯🇵\n";

static const char thinking[] =
    "The user asks a classic question. I should explain Rayleigh scattering, give the fourth power law and "
    "mention why the sky is not violet.";

static const struct view_stats stats = { .n_generated = 214, .tokens_per_s = 38.06, .first_s = 0.214,
                                         .n_prompt = 1391, .n_reused = 1204 };
static const struct view_stats stopped = { .n_generated = 31, .tokens_per_s = 41.2, .first_s = 0.19,
                                           .ending = "stopped" };

static struct view_message messages[8];

static struct view_message *add_message(struct screen *s, enum view_message_kind kind, const char *time,
                                        const char *text)
{
    struct view_message *m = &messages[s->transcript.n_messages++];
    *m = (struct view_message){ .id = (uint64_t)s->transcript.n_messages, .kind = kind, .time = time,
                                .text = text, .n_text = strlen(text) };
    s->transcript.messages = messages;
    return m;
}

static void set_common(struct screen *s)
{
    static const char *const lines[] = { "Type a question and press Enter.", "",
                                         "F1 help    F2 models    F9 system prompt" };
    s->header = (struct view_header){ .title = "why is the sky blue?", .model = "SmolLM2 135M",
                                      .level = "Q4_1", .device = "cpu avx2" };
    s->transcript = (struct view_transcript){ .empty_title = "quip", .empty_lines = lines,
                                              .n_empty_lines = 3 };
    s->status = (struct view_status){
        .n_ctx_used = 1270, .n_ctx = 4096, .n_segments = 4,
        .segments = { { "38.1 tok/s", UI_STATUS, NULL }, { "reused 1204/1391", UI_STATUS, "reused 86%" },
                      { "kv 38.2 MB kv4", UI_STATUS, NULL }, { "mem 412 MB of 7.61 GB", UI_STATUS, "mem 412 MB" } } };
    s->keys = (struct view_keys){ .context = UI_CTX_GLOBAL };
    editor_clear(s->editor);
    editor_set_placeholder(s->editor, "Ask anything");
    s->overlay = NULL;
}

static void set_empty(struct screen *s)
{
    s->header.title = NULL;
    s->status.n_ctx_used = 0;
    s->status.n_segments = 1;
    s->status.segments[0] = (struct view_segment){ .text = "ready", .style = UI_GOOD };
}

static void set_conversation(struct screen *s)
{
    add_message(s, VIEW_MESSAGE_USER, "14:02", "why is the sky blue?");
    struct view_message *m = add_message(s, VIEW_MESSAGE_MODEL, "14:02", answer);
    m->label = "SmolLM2";
    m->stats = &stats;
}

static void set_top(struct screen *s)
{
    set_conversation(s);
    s->transcript.detached = true;
    s->transcript.top_id = 1;
    s->transcript.seen_id = 1;
}

static void set_thinking(struct screen *s)
{
    add_message(s, VIEW_MESSAGE_USER, "14:02", "why is the sky blue?");
    struct view_message *m = add_message(s, VIEW_MESSAGE_MODEL, "14:03",
                                         "Because air scatters short waves more strongly.");
    m->thinking = thinking;
    m->n_thinking = strlen(thinking);
    m->n_thinking_tokens = 214;
    m->thinking_s = 3.12;
    m->stats = &stats;
}

static void set_unfolded(struct screen *s)
{
    set_thinking(s);
    s->transcript.show_thinking = true;
}

static void set_streaming(struct screen *s)
{
    add_message(s, VIEW_MESSAGE_USER, "14:02", "why is the sky blue?\nAnswer in two lines.");
    struct view_message *m = add_message(s, VIEW_MESSAGE_MODEL, NULL, "Because air scatters **short wav");
    m->streaming = true;
    s->keys.busy = true;
    s->status.n_ctx_used = 3800;
    s->status.segments[0].text = "answering, 12 tokens";
    editor_set_text(s->editor, "and at sunset?\nPlease keep it short, one line is enough for me, thank you.");
}

static void set_repeating(struct screen *s)
{
    set_streaming(s);
    messages[1].text = "la la la la la la la la la la la la la la la la la la la la la la la la la la la la la";
    messages[1].n_text = strlen(messages[1].text);
    s->status.n_ctx_used = 300;
    s->status.n_segments = 5;
    s->status.segments[0] = (struct view_segment){ "repeats itself: Esc stops", UI_WARNING, "repeats: Esc stops" };
    s->status.segments[1] = (struct view_segment){ "answering", UI_NOTICE, NULL };
    s->status.segments[2] = (struct view_segment){ "135.5 tok/s", UI_STATUS, NULL };
    s->status.segments[3] = (struct view_segment){ "drafts 99% right, 16.6 a pass", UI_STATUS, "drafts 16.6/pass" };
    s->status.segments[4] = (struct view_segment){ "8.9 s saved", UI_STATUS, NULL };
}

static void set_error(struct screen *s)
{
    add_message(s, VIEW_MESSAGE_USER, "14:02", "why is the sky blue?");
    struct view_message *m = add_message(s, VIEW_MESSAGE_MODEL, "14:02", "Because air");
    m->stats = &stopped;
    m = add_message(s, VIEW_MESSAGE_ERROR, NULL,
                    "needs 5.2 GiB, 4.1 GiB are free: weights 4.3 GiB, context of 8192 tokens 0.9 GiB");
    m->label = "Qwen3 8B does not fit";
    m->hint = "F2 choose a smaller model   /ctx 4096 shorter context";
    m = add_message(s, VIEW_MESSAGE_WARNING, NULL,
                    "title \x1b]0;x\x07 from a file: \x1b[2Jnothing is cleared \xe2\x80\xae" "abc");
    m->label = "Template of the file failed";
}

static struct view_list models;

static void set_models(struct screen *s)
{
    static const struct view_row rows[] = {
        { .id = 1, .cells = { "SmolLM2 135M Instruct", "Q4_1", "98 MB", "4.9", "0.2 GiB", "here" },
          .current = true, .progress = -1 },
        { .id = 2, .cells = { "Qwen2.5 Coder 1.5B Instruct", "Q4_K_M", "1.1 GB", "4.9", "1.4 GiB",
                              "fetching" },
          .progress = 0.427, .progress_text = "477 of 1117 MB, 3.1 MB/s, 3:26 left" },
        { .id = 3, .cells = { "Gemma 3 270M", "Q4_K_M", "253 MB", "7.6", "0.4 GiB", "to fetch" },
          .style = UI_DIM, .progress = -1 },
    };
    set_conversation(s);
    models = (struct view_list){
        .title = "Models", .summary = "4.1 of 7.1 GiB free",
        .columns = { { "Model", false, 0 }, { "Level", false, 1 }, { "Size", true, 2 }, { "Bits", true, 5 },
                     { "Memory", true, 3 }, { "Where", false, 4 } },
        .n_columns = 6, .rows = rows, .n_rows = 3, .chosen_id = 2,
        .detail = "Apache-2.0, good for code and short answers",
        .footer = "Enter use or fetch · Del cancel · Esc close", .empty = "no model has this in its name" };
    s->overlay = &view_list;
    s->overlay_self = &models;
}

static void set_filter(struct screen *s)
{
    set_models(s);
    snprintf(models.filter, sizeof models.filter, "%s", "q4_k");
}

static struct view_help help;
static struct view_text help_text;

static void set_help(struct screen *s)
{
    static const struct view_text_row commands[] = {
        { "/model NAME", "switch the model, the chat goes on" },
        { "/system @FILE", "load a system prompt; without FILE: show it" },
        { "/quit", "leave" },
    };
    set_conversation(s);
    if (!view_help_make(&help, "Commands", commands, 3))
        abort();
    help_text = (struct view_text){ .title = "Help", .rows = help.rows, .n_rows = help.n_rows };
    s->overlay = &view_text;
    s->overlay_self = &help_text;
}

static struct view_prompt prompt;

static void set_prompt(struct screen *s)
{
    set_empty(s);
    editor_set_single_line(prompt.editor, true);
    editor_set_text(prompt.editor, "~/prompts/tutor.md");
    prompt = (struct view_prompt){ .title = "System prompt", .label = "Path of a text file, Tab completes",
                                   .message = "~/prompts/tutor.md: no such file", .message_is_error = true,
                                   .editor = prompt.editor };
    s->overlay = &view_prompt;
    s->overlay_self = &prompt;
}

static struct view_confirm confirm;

static void set_confirm(struct screen *s)
{
    set_conversation(s);
    confirm = (struct view_confirm){
        .title = "The chat is longer than the context",
        .text = "4,310 tokens are needed and 4,096 fit. Without the 2 oldest turns it is 3,120.",
        .choices = { { 'd', "drop 2 turns" }, { 'n', "new chat" }, { 'e', "edit" } }, .n_choices = 3,
        .chosen = 1 };
    s->overlay = &view_confirm;
    s->overlay_self = &confirm;
}

static void set_choice(struct screen *s, int32_t chosen)
{
    static struct view_choice choice;
    set_conversation(s);
    choice = (struct view_choice){
        .title = "The context is full",
        .text = "With this message the conversation has 4310 tokens. The context holds 4096, of which 256 are kept for "
                "the answer.",
        .choices = {
            { "Leave out the oldest turns",
              "The 4 oldest messages: 2410 tokens freed. 1900 stay, the system prompt with them, and are read again.",
              true },
            { "Summarise the oldest turns",
              "The model writes up to 256 tokens about the 4 oldest messages, which costs one answer; at least 2154 "
              "tokens freed.", true },
            { "A larger context",
              "8192 tokens instead of 4096: the cache takes 9.21 GB when full, not 4.60 GB; 3.10 GB of memory are free, "
              "too few for that.", false },
            { "Stop", "Nothing changes; the message is a draft again.", true } },
        .n_choices = 4, .chosen = chosen };
    s->status.n_ctx_used = 3900;
    s->overlay = &view_choice;
    s->overlay_self = &choice;
}

static void set_context(struct screen *s)
{
    set_choice(s, 0);
}

static void set_context_last(struct screen *s)
{
    set_choice(s, 3);
}

static void set_figures(struct screen *s)
{
    static const struct view_text_row rows[] = {
        { "Model", "smollm2-135m, Q4_1, 2 threads, cpu avx2" },
        { "Context", "1270 of 4096 tokens (31 %); 4 messages no longer read" },
        { "KV types", "keys q8_0, values kv4 (asked for: kv4, kv4)" },
        { "", "keys as kv4 were tried: KL 0.31 on a short text, q8_0 taken" },
        { "Pages of 64 tokens", "3 open, 17 sealed, 12 of them shared" },
        { "KV memory", "38.2 MB now, 118 MB with a full context" },
        { "Kept in memory", "12.4 MB of 1.07 GB, for prompts to come" },
        { "Kept on disk", "2 files of this model and these types; 41.0 MB in all; 1 being written" },
        { "Last prompt", "1391 tokens: 1204 reused (512 of these from a file), 187 read in 0.20 s (935 per second)" },
        { "Last answer", "214 tokens, 38.1 per second; the first after 0.21 s" },
        { "Drafts", "412 of 530 right (77 %), 2.9 tokens a pass, 3.2 s saved" },
        { "Drafts now", "off, because they would not pay: right 40 % of the time, one more costs 60 % of a pass" },
        { "Memory", "412 MB of this program; 5.10 GB of 7.61 GB free" },
    };
    set_conversation(s);
    help_text = (struct view_text){ .title = "Figures", .rows = rows, .n_rows = sizeof rows / sizeof rows[0] };
    s->overlay = &view_text;
    s->overlay_self = &help_text;
}

static void set_left_out(struct screen *s)
{
    add_message(s, VIEW_MESSAGE_USER, "14:02", "why is the sky blue?")->left_out = true;
    struct view_message *m = add_message(s, VIEW_MESSAGE_MODEL, "14:02", "Because air scatters **short waves** more.");
    m->left_out = true;
    m->stats = &stats;
    m = add_message(s, VIEW_MESSAGE_NOTICE, NULL, "They spoke of light: the sky is blue because air scatters short waves.");
    m->label = "Summary of 2 messages";
    m->hint = "The model reads this in place of the messages above.";
    add_message(s, VIEW_MESSAGE_USER, "14:05", "and at sunset?");
    m = add_message(s, VIEW_MESSAGE_MODEL, "14:05", "Then the way through the air is longer, and red is left.");
    m->stats = &stats;
}

/* A model in two places, one with memory of its own and a long name. */
static void set_device(struct screen *s)
{
    static const struct view_segment memory = { "gpu 3.10 GB of 17.2 GB", UI_STATUS, "gpu 3.10 GB" };
    struct view_status *v = &s->status;
    set_conversation(s);
    s->header.device = "NVIDIA GeForce RTX 4090 Laptop GPU 12/30 layers";
    s->header.device_brief = "gpu 12/30";
    v->segments[v->n_segments] = v->segments[v->n_segments - 1];    /* the machine's stands last */
    v->segments[v->n_segments++ - 1] = memory;
}

static struct view_compare pair;

/* Two answers that part after some words; one has thought before. */
static void set_compare(struct screen *s)
{
    static const char a[] = "Because air scatters short waves more strongly than long ones, as molecules are much smaller "
                            "than a wavelength.\n\nThis is Rayleigh scattering: blue is scattered six times as much as red.";
    static const char b[] = "Because air scatters short waves most: 日本語 too. The sky is not violet because the sun sends "
                            "less of it.";
    set_conversation(s);
    pair = (struct view_compare){
        .prompt = "why is the sky blue?",
        .sides = { { "1  Q4_K_M", "24 tokens, 41.2 tok/s", a, sizeof a - 1, 38, 0 },
                   { "2  Q8_0", "22 tokens, 24.0 tok/s, cut", b, sizeof b - 1, 38, 112 } },
        .lines = { "first difference at token 7 · same first choice 92.3 % · KL from Q8_0 0.0132 (0.0100 to 0.0171)",
                   "Q4_K_M is 1.72 times as fast and takes 620 MB less",
                   "found better: Q4_K_M 1, Q8_0 3, neither 2" } };
    s->overlay = &view_compare;
    s->overlay_self = &pair;
}

/* Models were switched while the answer is written. */
static void set_brief(struct screen *s)
{
    set_streaming(s);
    for (int i = 0; i < 2; i++) {
        struct view_message *m = add_message(s, i ? VIEW_MESSAGE_WARNING : VIEW_MESSAGE_NOTICE, NULL,
                                             i ? "The device is lost." : "coder-Q4_K_M (Q4_K_M) answers from here on, "
                                             "after 8.6 s; it reads the chat and goes on.");
        m->label = i ? "Device" : "Model";
        m->hint = "Alt+Z or /model - goes back";
        m->brief = true;
    }
}

static const struct scene scenes[] = {
    { "empty", set_empty },         { "conversation", set_conversation }, { "scrolled", set_top },
    { "thinking", set_thinking },   { "unfolded", set_unfolded },         { "streaming", set_streaming },
    { "error", set_error },         { "models", set_models },             { "filter", set_filter },
    { "help", set_help },           { "prompt", set_prompt },             { "confirm", set_confirm },
    { "context", set_context },     { "context_last", set_context_last }, { "figures", set_figures },
    { "left_out", set_left_out },   { "repeating", set_repeating },       { "device", set_device },
    { "compare", set_compare },     { "brief", set_brief },
};

/* ---- drawing and comparing ------------------------------------------------------------------------ */

/* Two frames into the same terminal, the first of another scene, so that what is left over would show. */
static void render(const struct scene *scene, int32_t n_rows, int32_t n_cols, struct buf *out)
{
    struct screen s = { .editor = editor_create() };
    struct ui_grid g;
    struct term *t = NULL;
    prompt.editor = editor_create();
    if (!s.editor || !prompt.editor || !ui_grid_init(&g, n_rows, n_cols)
        || term_open_headless(&t, n_rows, n_cols, NULL) != ERR_OK)
        abort();
    set_common(&s);
    set_conversation(&s);
    screen_draw(&s, &g);
    term_draw(t, &g);
    view_transcript_finish(&s.transcript);

    set_common(&s);
    scene->set(&s);
    screen_draw(&s, &g);
    term_draw(t, &g);
    term_headless_text(t, true, out);
    if (g.caret_visible)
        buf_printf(out, "caret %d %d\n", (int)g.caret_row, (int)g.caret_col);

    view_transcript_finish(&s.transcript);
    view_help_finish(&help);
    editor_destroy(s.editor);
    editor_destroy(prompt.editor);
    ui_grid_finish(&g);
    term_close(t);
}

static bool read_all(const char *path, struct buf *out)
{
    char bytes[4096];
    size_t n;
    FILE *f = fopen(path, "rb");
    if (!f)
        return false;
    while ((n = fread(bytes, 1, sizeof bytes, f)) > 0)
        buf_add(out, bytes, n);
    fclose(f);
    return buf_ok(out);
}

static bool write_all(const char *path, const struct buf *text)
{
    FILE *f = fopen(path, "wb");
    if (!f)
        return false;
    bool ok = fwrite(text->data, 1, text->n_bytes, f) == text->n_bytes;
    return fclose(f) == 0 && ok;
}

static bool compare(const char *path, const struct buf *got)
{
    struct buf want = { 0 };
    bool ok = read_all(path, &want) && want.n_bytes == got->n_bytes
        && memcmp(want.data, got->data, got->n_bytes) == 0;
    if (!ok)
        printf("%s: the screen is\n%s\nand should be\n%s\n", path, buf_text(got), buf_text(&want));
    buf_finish(&want);
    return ok;
}

int main(int argc, char **argv)
{
    bool write = argc > 1 && strcmp(argv[1], "--write") == 0;
    int n_bad = 0, n = 0;
    for (size_t i = 0; i < sizeof scenes / sizeof scenes[0]; i++)
        for (size_t k = 0; k < sizeof sizes / sizeof sizes[0]; k++) {
            struct buf got = { 0 };
            char path[128];
            snprintf(path, sizeof path, "tests/golden/screen/%s_%dx%d.txt", scenes[i].name,
                     (int)sizes[k].n_cols, (int)sizes[k].n_rows);
            render(&scenes[i], sizes[k].n_rows, sizes[k].n_cols, &got);
            bool ok = write ? write_all(path, &got) : compare(path, &got);
            n_bad += !ok;
            n++;
            buf_finish(&got);
        }
    printf("%d screens, %d %s\n", n, n_bad, write ? "not written" : "differ");
    return n_bad > 0;
}
