/* SPDX-License-Identifier: MIT */
#include "app/measure/gsm8k.h"

static const char how_to_answer[] =
    "\n\nThink step by step. End with a line that has #### and the answer as a plain number, and nothing after it.";

static bool add_question(struct buf *out, const struct gsm8k_task *task)
{
    buf_add_text(out, task->question);
    return buf_add(out, how_to_answer, sizeof how_to_answer);    /* with its NUL */
}

enum err_code gsm8k_prompt(struct model *m, const struct gsm8k_task *task, const struct gsm8k_task *const *shots,
                           int32_t n_shots, int32_t enable_thinking, struct token_list *prompt,
                           struct chat_prompt *made, struct err *e)
{
    struct chat_message messages[2 * GSM8K_SHOTS_MOST + 1];
    size_t begins[GSM8K_SHOTS_MOST + 1];
    struct buf questions = { 0 };
    for (int32_t i = 0; i <= n_shots; i++) {
        begins[i] = questions.n_bytes;
        add_question(&questions, i < n_shots ? shots[i] : task);
    }
    if (!buf_ok(&questions)) {
        buf_finish(&questions);
        return err_set(e, ERR_NOMEM, "no memory for a question");
    }
    for (int32_t i = 0; i <= n_shots; i++) {
        messages[2 * i] = (struct chat_message){ .role = "user", .content = questions.data + begins[i] };
        if (i < n_shots)
            messages[2 * i + 1] = (struct chat_message){ .role = "assistant", .content = shots[i]->answer };
    }
    struct chat_input in = { .messages = messages, .n_messages = 2 * n_shots + 1, .add_generation_prompt = true,
                             .enable_thinking = enable_thinking };
    enum err_code rc = model_chat(m, &in, prompt, made, e);
    buf_finish(&questions);
    return rc;
}
