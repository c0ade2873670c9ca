/* SPDX-License-Identifier: MIT */
#include "engine/cpu/kern_tiers.h"

#include <assert.h>
#include <string.h>

#include "engine/base/cpuid.h"

/* Plain mat-vec takes up to MAX_PLANES planes at a time; the one beside a mat-mat takes all, so that weights come
 * from memory once, and from MATMAT_FROM on unpacking first is faster (lanes_product.h). Results of rows that have a second plane are made in chunks of CHUNK_ROWS weight
 * rows in the scratch and added there. */
enum { MAX_PLANES = 8, CHUNK_ROWS = 128, MATMAT_FROM = 32 };

void cpu_kern_init(struct cpu_kern *k, uint32_t features)
{
    memset(k, 0, sizeof *k);
    k->name = "scalar";
    k->row_align = 1;
    cpu_acts_init_scalar(k);
    cpu_matvec_init_scalar(k);
#if CPU_X86_64
    if (features & CPUID_AVX2) {
        cpu_acts_init_avx2(k);
        cpu_kern_init_avx2(k);
    }
    if (features & CPUID_AVX512)
        cpu_kern_init_avx512(k);
#endif
    (void)features;
}

static int is_float(uint32_t type)
{
    return type == QUANT_F32 || type == QUANT_F16 || type == QUANT_BF16;
}

static int uses_matmat(const struct cpu_kern *k, const struct cpu_weight *w, int32_t n_planes)
{
    return k->matmat[w->type] && n_planes >= MATMAT_FROM;
}

size_t cpu_matmul_scratch_bytes(int32_t max_rows, int32_t max_weight_rows)
{
    size_t chunk = max_weight_rows < CHUNK_ROWS ? (size_t)max_weight_rows : CHUNK_ROWS;
    return (2 * (size_t)max_rows * chunk * sizeof(float) + 63) & ~(size_t)63;
}

/* y[p][r - row0] for all planes of acts. */
static void product(const struct cpu_kern *k, float *y, int64_t y_stride, const struct cpu_weight *w,
                    int32_t row0, int32_t row1, const struct cpu_acts *acts)
{
    if (uses_matmat(k, w, acts->n_planes)) {
        k->matmat[w->type](y, y_stride, w, row0, row1, acts);
        return;
    }
    int32_t most = k->matmat[w->type] ? MATMAT_FROM : MAX_PLANES;
    for (int32_t p = 0; p < acts->n_planes; p += most) {
        int32_t end = p + most < acts->n_planes ? p + most : acts->n_planes;
        k->matvec[w->type](y + p * y_stride, y_stride, w, row0, row1, acts, p, end);
    }
}

void cpu_matmul(const struct cpu_kern *k, float *y, int64_t y_stride, const struct cpu_weight *w,
                int32_t row0, int32_t row1, const struct cpu_acts *acts, void *scratch)
{
    assert(w->type < QUANT_N_TYPES && k->matvec[w->type] && acts->n_cols == w->n_cols);
    if (is_float(w->type) || acts->n_planes == acts->n_rows) {
        struct cpu_acts rows = *acts;
        rows.n_planes = acts->n_rows;
        product(k, y + row0, y_stride, w, row0, row1, &rows);
        return;
    }
    float *planes = scratch;
    for (int32_t chunk = row0; chunk < row1; chunk += CHUNK_ROWS) {
        int32_t n = row1 - chunk < CHUNK_ROWS ? row1 - chunk : CHUNK_ROWS;
        product(k, planes, n, w, chunk, chunk + n, acts);
        for (int32_t r = 0; r < acts->n_rows; r++) {
            float *out = y + r * y_stride + chunk;
            const float *first = planes + (int64_t)r * n,
            *second = planes + (int64_t)acts->second[r] * n;
            if (acts->second[r] < 0)
                memcpy(out, first, (size_t)n * sizeof *out);
            else
                for (int32_t i = 0; i < n; i++)
                    out[i] = first[i] + second[i];
        }
    }
}
