/* SPDX-License-Identifier: MIT */
#include "engine/base/cpuid.h"

#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#if defined(__x86_64__)
#include <cpuid.h>

enum {
    LEAF1_ECX = 1 << 12 | 1 << 27 | 1 << 28 | 1 << 29,             /* FMA, OSXSAVE, AVX, F16C */
    LEAF7_EBX_AVX2 = 1 << 5,
    XCR0_YMM = 0x06,
    XCR0_ZMM = 0xE6
};
/* F, DQ, BW, VL in leaf 7's EBX; VNNI in its ECX. */
static const uint32_t leaf7_ebx_avx512 = 1u << 16 | 1u << 17 | 1u << 30 | 1u << 31;
static const uint32_t leaf7_ecx_vnni = 1u << 11;

static uint64_t xcr0(void)
{
    uint32_t low, high;
    __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return (uint64_t)high << 32 | low;
}

uint32_t cpuid_features(void)
{
    uint32_t a, b, c, d;
    if (!__get_cpuid(1, &a, &b, &c, &d) || (c & (uint32_t)LEAF1_ECX) != (uint32_t)LEAF1_ECX)
        return 0;
    uint64_t saved = xcr0();
    if ((saved & XCR0_YMM) != XCR0_YMM)
        return 0;
    if (!__get_cpuid_count(7, 0, &a, &b, &c, &d) || !(b & LEAF7_EBX_AVX2))
        return 0;
    uint32_t features = CPUID_AVX2;
    if ((b & leaf7_ebx_avx512) == leaf7_ebx_avx512 && c & leaf7_ecx_vnni &&
        (saved & XCR0_ZMM) == XCR0_ZMM)
        features |= CPUID_AVX512;
    return features;
}

void cpuid_name(char *out, int32_t n_bytes)
{
    uint32_t words[13] = { 0 };
    if ((uint32_t)__get_cpuid_max(0x80000000, NULL) >= 0x80000004u)
        for (uint32_t i = 0; i < 3; i++)
            __get_cpuid(0x80000002 + i, &words[4 * i], &words[4 * i + 1], &words[4 * i + 2],
                        &words[4 * i + 3]);
    const char *name = (const char *)words;
    name += strspn(name, " ");
    snprintf(out, (size_t)n_bytes, "%s", name);
    for (size_t n = strlen(out); n > 0 && out[n - 1] == ' '; n--)
        out[n - 1] = '\0';
}
#else
uint32_t cpuid_features(void)
{
    return 0;
}

void cpuid_name(char *out, int32_t n_bytes)
{
    if (n_bytes > 0)
        out[0] = '\0';
}
#endif

/* First CPU of the physical core that cpu belongs to ("0,4" or "0-1" in sysfs); cpu when not told. */
static int first_sibling(int cpu)
{
    char path[96];
    snprintf(path, sizeof path, "/sys/devices/system/cpu/cpu%d/topology/thread_siblings_list", cpu);
    FILE *f = fopen(path, "r");
    if (!f)
        return cpu;
    int first;
    if (fscanf(f, "%d", &first) != 1)
        first = cpu;
    fclose(f);
    return first;
}

/* Whole CPUs the cgroup's quota grants, rounded up; 0 without a quota. */
static int32_t quota_cores(void)
{
    FILE *f = fopen("/sys/fs/cgroup/cpu.max", "r");
    if (!f)
        return 0;
    long quota, period;
    int n = fscanf(f, "%ld %ld", &quota, &period);    /* "max 100000" gives 0 */
    fclose(f);
    if (n != 2 || quota <= 0 || period <= 0)
        return 0;
    long cores = quota / period + (quota % period != 0);
    return cores > 4096 ? 4096 : (int32_t)cores;
}

bool cpuid_core(int32_t n, cpu_set_t *cpus)
{
    cpu_set_t allowed;
    if (sched_getaffinity(0, sizeof allowed, &allowed) != 0)
        return false;
    int32_t n_before = 0;
    CPU_ZERO(cpus);
    for (int cpu = 0; cpu < CPU_SETSIZE && n_before <= n; cpu++) {
        if (!CPU_ISSET(cpu, &allowed))
            continue;
        int first = first_sibling(cpu);
        CPU_CLR(cpu, &allowed);
        CPU_ZERO(cpus);
        CPU_SET(cpu, cpus);
        for (int other = cpu + 1; other < CPU_SETSIZE; other++)
            if (CPU_ISSET(other, &allowed) && first_sibling(other) == first) {
                CPU_SET(other, cpus);
                CPU_CLR(other, &allowed);
            }
        n_before++;
    }
    return n_before == n + 1;
}

int32_t cpuid_cores(void)
{
    cpu_set_t cpus;
    int32_t cores = 0, quota = quota_cores();
    while (cpuid_core(cores, &cpus))
        cores++;
    if (cores == 0) {
        long online = sysconf(_SC_NPROCESSORS_ONLN);
        cores = online > 0 ? (int32_t)online : 1;
    }
    return quota > 0 && quota < cores ? quota : cores;
}
