/* SPDX-License-Identifier: MIT */
/* What comes into the matrices, for an importance matrix. The matrices of a step have one input, and one array; each
 * gets an entry of its own at the end.
 *
 * The backend adds to `now`. An evaluation that fails half way leaves some layers with rows that others have not, so
 * each begins with a copy of what counts, and counts when it has come through. Rows are added one after the other to
 * the same sum all the way, not by batches: the bits are those of one long batch. */
#include <stdlib.h>
#include <string.h>

#include "engine/session/session_impl.h"

struct session_inputs {
    double **now;              /* [n_tensors], what the backend sees; NULL where nothing is wanted */
    double *counted;           /* [n_sums], */
    double *under_way;         /* [n_sums]: now points into it */
    size_t n_sums;
    uint64_t n_rows, n_head_rows;
    bool with_head;
};

static bool is_wanted(const struct step *s, bool with_head)
{
    return s->kind != STEP_EMBED && s->w[0] && (with_head || s->kind != STEP_HEAD);
}

void session_inputs_destroy(struct session_inputs *in)
{
    if (!in)
        return;
    free(in->now);
    free(in->counted);
    free(in->under_way);
    free(in);
}

enum err_code session_collect(struct session *s, bool with_head, struct err *e)
{
    const struct program *p = s->model->program;
    enum err_code rc = model_placed(s->model, e);
    if (rc != ERR_OK)
        return rc;
    if (!s->model->backend->sums_inputs)
        return err_set(e, ERR_UNSUPPORTED, "what comes into a model's matrices is collected by the processor alone, "
                       "and '%s' is on a device", s->model->info.name);
    struct session_inputs *in = calloc(1, sizeof *in);
    if (!in)
        return err_set(e, ERR_NOMEM, "no memory to collect inputs");
    size_t n_sums = 0;
    for (int32_t i = 0; i < p->n_steps; i++)
        if (is_wanted(&p->steps[i], with_head))
            n_sums += (size_t)p->steps[i].w[0]->n_cols;
    in->with_head = with_head;
    in->n_sums = n_sums;
    in->now = calloc((size_t)p->n_tensors, sizeof *in->now);
    in->counted = calloc(n_sums, sizeof *in->counted);
    in->under_way = calloc(n_sums, sizeof *in->under_way);
    if (!in->now || !in->counted || !in->under_way) {
        session_inputs_destroy(in);
        return err_set(e, ERR_NOMEM, "no memory for the sums of %zu columns", n_sums);
    }
    double *next = in->under_way;
    for (int32_t i = 0; i < p->n_steps; i++) {
        const struct tensor *w = p->steps[i].w[0];
        if (!is_wanted(&p->steps[i], with_head))
            continue;
        in->now[w->index] = next;
        next += w->n_cols;
    }
    session_inputs_destroy(s->inputs);
    s->inputs = in;
    return ERR_OK;
}

double *const *session_inputs_begin(struct session_inputs *in)
{
    if (!in)
        return NULL;
    memcpy(in->under_way, in->counted, in->n_sums * sizeof *in->counted);
    return in->now;
}

void session_inputs_end(struct session_inputs *in, int32_t n_rows, int32_t n_logits)
{
    if (!in)
        return;
    memcpy(in->counted, in->under_way, in->n_sums * sizeof *in->counted);
    in->n_rows += (uint64_t)n_rows;
    in->n_head_rows += (uint64_t)n_logits;
}

static enum err_code add_step(const struct session_inputs *in, const struct step *s, struct imatrix *into,
                              struct err *e)
{
    const double *sums = in->counted + (in->now[s->w[0]->index] - in->under_way);
    uint64_t n_rows = s->kind == STEP_HEAD ? in->n_head_rows : in->n_rows;
    for (int i = 0; i < 3 && s->w[i]; i++) {
        struct imatrix_entry *entry;
        enum err_code rc = imatrix_add(into, s->w[i]->name, s->w[i]->n_cols, 1, &entry, e);
        if (rc != ERR_OK)
            return rc;
        for (int32_t c = 0; c < entry->n_cols; c++)
            entry->sums[c] += sums[c];
        entry->counts[0] += n_rows;
    }
    return ERR_OK;
}

enum err_code session_collected(const struct session *s, struct imatrix *into, struct err *e)
{
    const struct program *p = s->model->program;
    enum err_code rc = ERR_OK;
    for (int32_t i = 0; rc == ERR_OK && s->inputs && i < p->n_steps; i++)
        if (is_wanted(&p->steps[i], s->inputs->with_head))
            rc = add_step(s->inputs, &p->steps[i], into, e);
    return rc;
}
