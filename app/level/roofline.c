/* SPDX-License-Identifier: MIT */
#include "app/level/roofline.h"

#include <string.h>

/* Of a plain read, what a product over weights reads; an EPYC with AVX-512, two threads (bench_kernels). */
static const double PART = 0.88;
/* Barriers of a layer and what stands between its products; of the order of what both machines have shown, not measured
 * apart. Small models are off most by it, until one level of theirs was measured. */
static const double LAYER_S = 25e-6, DEVICE_LAYER_S = 40e-6;

/* What a thread unpacks when memory is no limit, bytes per second (the same). Of most types it is more than one thread is
 * given by any memory; with AVX2 about half. */
static const struct {
    const char *type;
    double bytes_per_s;
} unpacked[] = { { "Q2_K", 18.9e9 }, { "Q3_K", 20.2e9 }, { "Q5_K", 34.9e9 }, { "Q5_1", 39.8e9 }, { "Q5_0", 40.1e9 },
                 { "Q6_K", 42.2e9 }, { "Q4_K", 42.5e9 } };

static double unpacked_per_s(const char *type)
{
    for (size_t i = 0; i < sizeof unpacked / sizeof *unpacked; i++)
        if (strcmp(unpacked[i].type, type) == 0)
            return unpacked[i].bytes_per_s;
    return 50e9;
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
        double rate = unpacked_per_s(t->type) * roof->n_threads;
        s += (double)t->n_bytes[0] / (rate < memory ? rate : memory) + (double)t->n_bytes[1] / memory;
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
