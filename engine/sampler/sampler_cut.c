/* SPDX-License-Identifier: MIT */
#include <math.h>

#include "engine/sampler/sampler_impl.h"
#include "engine/sampler/sampler_math.h"

/* From the logits of a whole vocabulary (150 to 260 thousand) to a short list, and the samplers that shorten
 * it. Nothing sorts the vocabulary: what needs an order takes the best m out by a heap of m (one pass whose
 * comparison nearly always fails), and more of them only when these did not suffice.
 *
 * Order is by logit, the lower id first among equals, so every result is unique. Every cut leaves at least
 * one candidate, and total up to date. */

/* Rank of a candidate: its logit, or with a centre its nearness to that. */
static double rank(const struct sampler_item *a, const double *centre)
{
    return centre ? -fabs((double)a->logit - *centre) : (double)a->logit;
}

static bool before(const struct sampler_item *a, const struct sampler_item *b, const double *centre)
{
    double x = rank(a, centre), y = rank(b, centre);
    return x > y || (x == y && a->token < b->token);
}

/* heap[0] is the last in order among heap[0..n). */
static void sift_down(struct sampler_item *heap, int32_t n, int32_t at, const double *centre)
{
    struct sampler_item moved = heap[at];
    for (;;) {
        int32_t child = 2 * at + 1;
        if (child >= n)
            break;
        if (child + 1 < n && before(&heap[child], &heap[child + 1], centre))
            child++;
        if (!before(&moved, &heap[child], centre))
            break;
        heap[at] = heap[child];
        at = child;
    }
    heap[at] = moved;
}

static void swap(struct sampler_item *a, struct sampler_item *b)
{
    struct sampler_item t = *a;
    *a = *b;
    *b = t;
}

static void make_heap(struct sampler_item *item, int32_t n, const double *centre)
{
    for (int32_t i = n / 2 - 1; i >= 0; i--)
        sift_down(item, n, i, centre);
}

static void unwind_heap(struct sampler_item *heap, int32_t n, const double *centre)
{
    for (int32_t end = n - 1; end > 0; end--) {
        swap(&heap[0], &heap[end]);
        sift_down(heap, end, 0, centre);
    }
}

/* Brings the first m in order, 1 <= m <= n, to the front, sorted. */
static void front(struct sampler_item *item, int32_t n, int32_t m, const double *centre)
{
    make_heap(item, m, centre);
    for (int32_t i = m; i < n; i++)
        if (before(&item[i], &item[0], centre)) {
            swap(&item[i], &item[0]);
            sift_down(item, m, 0, centre);
        }
    unwind_heap(item, m, centre);
}

void sampler_list_front(struct sampler_list *l, int32_t n)
{
    front(l->item, l->n, n < l->n ? n : l->n, NULL);
}

/* Logits within n_sigma standard deviations of the best are kept: the lowest value that is.
 * Source: "Top-n-sigma: Not All Logits Are You Need", Tang et al. 2024. */
double sampler_sigma_floor(const float *logits, int32_t n_vocab, float best, double n_sigma)
{
    double sum = 0, squares = 0;
    int32_t n = 0;
    for (int32_t i = 0; i < n_vocab; i++)
        if (logits[i] > -INFINITY) {
            sum += logits[i];
            n++;
        }
    double mean = sum / n;
    for (int32_t i = 0; i < n_vocab; i++)
        if (logits[i] > -INFINITY) {
            double d = logits[i] - mean;
            squares += d * d;
        }
    return best - n_sigma * sqrt(squares / n);
}

/* The candidates of at least floor, in the order of their ids; the top_k best of them, sorted, when top_k
 * is above 0. Tokens of -infinity are no candidates. At least one is there: the caller found a finite best. */
void sampler_list_fill(struct sampler_list *l, const float *logits, int32_t n_vocab, double floor,
                       int32_t top_k)
{
    if (top_k <= 0 || top_k >= n_vocab)
        top_k = n_vocab;
    struct sampler_item *item = l->item;
    int32_t n = 0, i = 0;
    for (; i < n_vocab && n < top_k; i++)
        if (logits[i] > -INFINITY && logits[i] >= floor)
            item[n++] = (struct sampler_item){ .token = i, .logit = logits[i] };
    if (top_k < n_vocab) {
        make_heap(item, n, NULL);
        while (i < n_vocab) {
            if (n_vocab - i >= SAMPLER_STRIDE && !sampler_any_above(logits + i, item[0].logit)) {
                i += SAMPLER_STRIDE;
                continue;
            }
            if (logits[i] > item[0].logit && logits[i] >= floor) {    /* an equal one has the higher id */
                item[0] = (struct sampler_item){ .token = i, .logit = logits[i] };
                sift_down(item, n, 0, NULL);
            }
            i++;
        }
        unwind_heap(item, n, NULL);
    }
    l->n = n;
}

/* The same from the best, which are as many as top_k or more, or all there are. */
void sampler_list_fill_best(struct sampler_list *l, const struct logit *best, int32_t n)
{
    l->n = 0;
    for (; l->n < n && best[l->n].value > -INFINITY; l->n++)
        l->item[l->n] = (struct sampler_item){ .token = best[l->n].token, .logit = best[l->n].value };
}

void sampler_softmax(struct sampler_list *l, double temperature)
{
    l->best = l->item[0].logit;
    for (int32_t i = 1; i < l->n; i++)
        l->best = l->item[i].logit > l->best ? l->item[i].logit : l->best;
    l->total = 0;
    for (int32_t i = 0; i < l->n; i++) {
        l->item[i].p = sampler_exp(((double)l->item[i].logit - l->best) / temperature);
        l->total += l->item[i].p;
    }
}

static void sum_up(struct sampler_list *l)
{
    l->total = 0;
    for (int32_t i = 0; i < l->n; i++)
        l->total += l->item[i].p;
}

/* In nats, of a list whose p are of temperature 1. */
double sampler_entropy(const struct sampler_list *l)
{
    double sum = 0;
    for (int32_t i = 0; i < l->n; i++)
        sum += l->item[i].p * ((double)l->best - l->item[i].logit);
    return sum / l->total + sampler_log(l->total);
}

/* Keeps candidates in order until their mass reaches (passes, when strict) the wanted share. */
static void cut_by_mass(struct sampler_list *l, double mass, int32_t min_keep, const double *centre,
                        bool strict)
{
    double wanted = mass * l->total, sum = 0;
    for (int32_t done = 0, chunk = 256; done < l->n; chunk *= 4) {
        int32_t m = chunk < l->n - done ? chunk : l->n - done;
        front(l->item + done, l->n - done, m, centre);
        for (int32_t end = done + m; done < end; done++) {
            sum += l->item[done].p;
            bool enough = strict ? sum > wanted : sum >= wanted;
            if (enough && done + 1 >= min_keep) {
                l->n = done + 1;
                l->total = sum;
                return;
            }
        }
    }
    l->total = sum;
}

/* Locally typical sampling: by how near a token's surprise -ln p is to the entropy. With ln p = logit - best
 * - ln total that is the nearness of its logit to best + ln total - entropy.
 * Source: Meister et al. 2022, "Locally Typical Sampling". */
void sampler_cut_typical(struct sampler_list *l, double mass, int32_t min_keep)
{
    double centre = l->best + sampler_log(l->total) - sampler_entropy(l);
    cut_by_mass(l, mass, min_keep, &centre, true);
}

void sampler_cut_top_p(struct sampler_list *l, double mass, int32_t min_keep)
{
    cut_by_mass(l, mass, min_keep, NULL, false);
}

/* Keeps the candidates of at least this p, or the min_keep best where these are fewer. */
static void cut_below(struct sampler_list *l, double p, int32_t min_keep)
{
    int32_t enough = 0;
    for (int32_t i = 0; i < l->n; i++)
        enough += l->item[i].p >= p;
    min_keep = min_keep > 1 ? min_keep : 1;
    if (enough < min_keep) {
        sampler_list_front(l, min_keep);
        l->n = min_keep < l->n ? min_keep : l->n;
    } else {
        int32_t n = 0;
        for (int32_t i = 0; i < l->n; i++)
            if (l->item[i].p >= p)
                l->item[n++] = l->item[i];
        l->n = n;
    }
    sum_up(l);
}

/* Keeps tokens of at least share times the best one's probability. */
void sampler_cut_min_p(struct sampler_list *l, double share, int32_t min_keep)
{
    double best = 0;
    for (int32_t i = 0; i < l->n; i++)
        best = l->item[i].p > best ? l->item[i].p : best;
    cut_below(l, share * best, min_keep);
}

/* Exclude top choices: of the tokens whose probability reaches the threshold the last in order stays.
 * Source: p-e-w, text-generation-webui pull request 6335, as llama.cpp has it. */
void sampler_cut_xtc(struct sampler_list *l, double threshold, int32_t min_keep)
{
    double p = threshold * l->total;
    struct sampler_item last = { .token = -1 };
    int32_t n_top = 0;
    for (int32_t i = 0; i < l->n; i++)
        if (l->item[i].p >= p) {
            if (n_top++ == 0 || before(&last, &l->item[i], NULL))
                last = l->item[i];
        }
    if (n_top < 2 || l->n - (n_top - 1) < min_keep)
        return;
    int32_t n = 0;
    for (int32_t i = 0; i < l->n; i++)
        if (l->item[i].p < p || l->item[i].token == last.token)
            l->item[n++] = l->item[i];
    l->n = n;
    sum_up(l);
}

/* Mirostat's cut: tokens of more than so many bits of surprise go. */
void sampler_cut_surprise(struct sampler_list *l, double bits)
{
    cut_below(l, l->total * sampler_exp(-bits * 0x1.62e42fefa39efp-1), 1);
}
