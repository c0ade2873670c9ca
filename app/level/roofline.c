/* SPDX-License-Identifier: MIT */
#include "app/level/roofline.h"

#include <string.h>

/* Of a plain read, what most products over weights read, and the cache; an EPYC with AVX-512, two threads (quip bench of
 * five levels of a model of 1.5B, and bench_kernels). */
#define PART 0.84
/* Barriers of a layer and what stands between its products; of the order of what both machines have shown, not measured
 * apart. Small models are off most by it, until one level of theirs was measured. */
static const double LAYER_S = 25e-6, DEVICE_LAYER_S = 40e-6;

/* Types that are read more slowly, and what a thread unpacks when memory is no limit, bytes per second (the same). Of
 * most types it is more than one thread is given by any memory; with AVX2 about half. */
static const struct pace {
    const char *type;
    double part, unpacked_per_s;
} paces[] = { { "Q2_K", 0.74, 18.9e9 }, { "Q3_K", 0.74, 20.2e9 }, { "Q5_K", PART, 34.9e9 }, { "Q5_1", PART, 39.8e9 },
              { "Q5_0", PART, 40.1e9 }, { "Q6_K", 0.70, 42.2e9 }, { "Q4_K", PART, 42.5e9 } },
  usual = { "", PART, 50e9 };

static const struct pace *pace_of(const char *type)
{
    for (size_t i = 0; i < sizeof paces / sizeof *paces; i++)
        if (strcmp(paces[i].type, type) == 0)
            return &paces[i];
    return &usual;
}

double roofline_token_s(const struct roofline *roof, const struct fit_reads *r, int32_t n_layers)
{
    bool on_device = r->weight_bytes[1] > 0;
    double memory = PART * roof->bytes_per_s;
    if (memory <= 0)
        return 0;
    double s = (double)(r->kv_bytes[0] + r->kv_bytes[1]) / memory + n_layers * (on_device ? DEVICE_LAYER_S : LAYER_S);
    for (int32_t i = 0; i < r->n_types; i++) {
        const struct fit_read *t = &r->types[i];
        const struct pace *pace = pace_of(t->type);
        double rate = pace->unpacked_per_s * roof->n_threads, most = pace->part * roof->bytes_per_s;
        s += (double)t->n_bytes[0] / (rate < most ? rate : most) + (double)t->n_bytes[1] / memory;
    }
    return s;
}

uint64_t roofline_bytes(const struct fit_reads *r)
{
    return r->weight_bytes[0] + r->weight_bytes[1] + r->kv_bytes[0] + r->kv_bytes[1];
}

double roofline_share(const struct roofline *roof, const struct fit_reads *r, double tokens_per_s)
{
    if (roof->bytes_per_s <= 0 || r->weight_bytes[1] > 0)
        return 0;
    return (double)roofline_bytes(r) * tokens_per_s / roof->bytes_per_s;
}
