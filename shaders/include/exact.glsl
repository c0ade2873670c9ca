// SPDX-License-Identifier: MIT
// Arithmetic that rounds as the CPU's on every device. Vulkan promises sums, differences and products of f32 that are
// rounded once (to nearest, as devices do); its fma() may round twice, a quotient may be off by 2.5 units of the last
// place. `precise` keeps the compiler from contracting or rearranging. For numbers that are finite and far from f32's
// limits.
#ifndef EXACT_GLSL
#define EXACT_GLSL

// The upper 12 bits of 24; what is left has 12 bits too, and products of such halves are exact.
float exact_upper(float a)
{
    return uintBitsToFloat(floatBitsToUint(a) & 0xfffff000u);
}

// a + b as rounded; with rest it is exact (Knuth).
float exact_sum(float a, float b, out float rest)
{
    precise float sum = a + b;
    precise float b_part = sum - a;
    precise float lost = (a - (sum - b_part)) + (b - b_part);
    rest = lost;
    return sum;
}

// a + b rounded to odd: of the two neighbours of what is not exact, the one whose last bit is set.
float exact_sum_to_odd(float a, float b)
{
    float rest, sum = exact_sum(a, b, rest);
    uint bits = floatBitsToUint(sum);
    if (rest != 0 && (bits & 1u) == 0)
        bits += (rest > 0) == (sum > 0) ? 1u : 0xffffffffu;
    return uintBitsToFloat(bits);
}

// a * q + c, rounded once; q has 12 bits at most. A sum of three, the smaller part rounded to odd (Boldo and Melquiond
// 2008).
float exact_fma(float a, float q, float c)
{
    float upper = exact_upper(a), lost, more;
    precise float lower = a - upper;
    precise float upper_q = upper * q, lower_q = lower * q;
    float part = exact_sum(lower_q, c, lost);
    float sum = exact_sum(upper_q, part, more);
    precise float result = sum + exact_sum_to_odd(more, lost);
    return result;
}

// a - q * b for q near a / b: product and its error (Dekker), then what is left.
float exact_left(float a, float q, float b)
{
    float q1 = exact_upper(q), b1 = exact_upper(b);
    precise float q0 = q - q1, b0 = b - b1, product = q * b;
    precise float error = (((q1 * b1 - product) + q1 * b0) + q0 * b1) + q0 * b0;
    precise float left = (a - product) - error;
    return left;
}

// a / b, rounded once: always where b has 20 bits at most, else but for two quotients in a million.
float exact_div(float a, float b)
{
    precise float inverse = 1.0 / b;
    inverse = inverse + inverse * exact_left(1.0, inverse, b);
    precise float q = a * inverse;
    q = q + exact_left(a, q, b) * inverse;
    return q;
}

#endif
