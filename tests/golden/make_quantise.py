# SPDX-License-Identifier: MIT
"""Writes tests/data/quantise.txt, what tests/unit/test_quantise.c compares with.

    python3 tests/golden/make_quantise.py LIBGGML_BASE.so

A line: format, sort of weights, with importance or without, and what ggml's quantiser makes of them: a checksum of the
weights read back, and the errors it leaves: the sum of squares, and the same weighed by the importance (all ones
without), both over the like sums of the weights. ggml is to be built for plain x86-64: no fused multiplications.
"""
import ctypes
import os
import struct
import sys

ROWS, COLS = 4, 1536
MASK = (1 << 64) - 1
# Name, number in files, and what ggml calls its way back.
FORMATS = [("Q4_0", 2, "q4_0"), ("Q4_1", 3, "q4_1"), ("Q5_0", 6, "q5_0"), ("Q5_1", 7, "q5_1"), ("Q8_0", 8, "q8_0"),
           ("Q2_K", 10, "q2_K"), ("Q3_K", 11, "q3_K"), ("Q4_K", 12, "q4_K"), ("Q5_K", 13, "q5_K"),
           ("Q6_K", 14, "q6_K"), ("IQ4_NL", 20, "iq4_nl"), ("IQ4_XS", 23, "iq4_xs"), ("MXFP4", 39, "mxfp4")]
KINDS = ["normal", "heavy", "outliers"]


class Random:
    """splitmix64"""

    def __init__(self, seed):
        self.state = seed

    def bits(self):
        self.state = (self.state + 0x9E3779B97F4A7C15) & MASK
        z = self.state
        z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9 & MASK
        z = (z ^ z >> 27) * 0x94D049BB133111EB & MASK
        return z ^ z >> 31

    def normal(self):
        return sum((self.bits() >> 40) - (1 << 23) for _ in range(12)) / (1 << 24)


def f32(value):
    return struct.unpack("f", struct.pack("f", value))[0]


def weights(n, kind, seed):
    r = Random(seed)
    out = []
    for i in range(n):
        a = r.normal()
        a = a * a * a if kind == "heavy" else a
        out.append(f32(a * (0.5 if kind == "outliers" and i % 61 == 7 else 0.02)))
    return out


def importances(n, seed):
    r = Random(seed)
    out = []
    for _ in range(n):
        u = (r.bits() >> 40) / (1 << 24)
        out.append(f32(u * u * (u * u) * 8.0 + 0.01))
    return out


def checksum(values):
    """Of the bits, zeros without their sign."""
    h = 0xCBF29CE484222325
    for word in struct.unpack(f"{len(values)}I", struct.pack(f"{len(values)}f", *(v + 0.0 for v in values))):
        h = (h ^ word) * 0x100000001B3 & MASK
    return h


def main():
    lib = ctypes.CDLL(sys.argv[1])
    lib.ggml_quantize_chunk.restype = ctypes.c_size_t
    lib.ggml_quantize_chunk.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p] + [ctypes.c_int64] * 3 + \
        [ctypes.c_void_p]
    n = ROWS * COLS
    blocks, back = ctypes.create_string_buffer(4 * n), (ctypes.c_float * n)()
    importance = importances(COLS, 99)
    path = os.path.join(os.path.dirname(__file__), "..", "data", "quantise.txt")
    with open(path, "w") as out:
        for k, kind in enumerate(KINDS):
            x = weights(n, kind, 1000 + k)
            c_x, c_importance = (ctypes.c_float * n)(*x), (ctypes.c_float * COLS)(*importance)
            for name, number, back_name in FORMATS:
                to_f32 = getattr(lib, "dequantize_row_" + back_name)
                to_f32.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64]
                for weighed in (False, True):
                    lib.ggml_quantize_chunk(number, c_x, blocks, 0, ROWS, COLS, c_importance if weighed else None)
                    to_f32(blocks, back, n)
                    w = importance if weighed else [1.0] * COLS
                    square = [(back[i] - x[i]) ** 2 for i in range(n)]
                    plain = sum(square) / sum(a * a for a in x)
                    by_w = sum(square[i] * w[i % COLS] for i in range(n)) / \
                        sum(x[i] * x[i] * w[i % COLS] for i in range(n))
                    out.write(f"{name} {kind} {'importance' if weighed else 'none'} {checksum(back):016x} "
                              f"{plain:.9e} {by_w:.9e}\n")


main()
