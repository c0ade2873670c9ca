/* SPDX-License-Identifier: MIT */
#ifndef QUIP_ENGINE_BASE_CPUID_H
#define QUIP_ENGINE_BASE_CPUID_H

#include <sched.h>
#include <stdbool.h>
#include <stdint.h>

/* What this processor and this system offer together (a register file the system does not save counts
 * as absent). AVX2 stands for AVX2 + FMA + F16C, AVX512 for F + BW + DQ + VL + VNNI. */
enum cpuid_feature {
    CPUID_AVX2 = 1 << 0,
    CPUID_AVX512 = 1 << 1
};

uint32_t cpuid_features(void);

/* Cores this process may run on (affinity and cgroup quota respected), counting one thread per physical
 * core where the system tells; at least 1. */
int32_t cpuid_cores(void);

/* The CPUs of the nth physical core among those this thread may run on, in the system's order; false beyond
 * the last, and when the system does not tell. */
bool cpuid_core(int32_t n, cpu_set_t *cpus);

/* The processor's name for a person, "" when unknown. Writes at most n_bytes with the NUL. */
void cpuid_name(char *out, int32_t n_bytes);

#endif
