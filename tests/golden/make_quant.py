# SPDX-License-Identifier: MIT
"""Writes tests/data/quant/<format>.bin, what tests/golden/test_quant.c compares with.

    python3 tests/golden/make_quant.py        needs gguf 0.19.0 and numpy

A file: n_blocks blocks as they stand in a GGUF, then their weights as little-endian f32, converted by
the package's numpy code. First come blocks of random bytes with ordinary scales, then one with all bits
zero and one with all bits set but for the scales, then random bytes with each of SCALES in turn; of
MXFP4 random codes under each exponent there is.
"""
import os

import gguf
import numpy as np

# Where f16 scales stand in a block; formats without any are not listed.
HALVES = {
    "Q4_0": [0], "Q4_1": [0, 2], "Q5_0": [0], "Q5_1": [0, 2], "Q8_0": [0],
    "Q2_K": [80, 82], "Q3_K": [108], "Q4_K": [0, 2], "Q5_K": [0, 2], "Q6_K": [208],
    "IQ4_NL": [0], "IQ4_XS": [0],
}
# Zeros, smallest and largest subnormals, smallest normal, largest, infinities, a NaN.
SCALES = [0x0000, 0x8000, 0x0001, 0x8001, 0x03FF, 0x83FF, 0x0400, 0x7BFF, 0xFBFF, 0x3C00, 0xBC00,
          0x7C00, 0xFC00, 0x7E00]
FORMATS = ["F32", "F16", "BF16", "MXFP4"] + list(HALVES)


def make_blocks(name, block_bytes, n_weights, rng):
    if name == "MXFP4":
        blocks = rng.integers(0, 256, (256, block_bytes), dtype=np.uint8)
        blocks[:, 0] = np.arange(256)
        return blocks
    if name not in HALVES:
        # Every sort of bit pattern, 1024 of them.
        return rng.integers(0, 256, (1024, block_bytes), dtype=np.uint8)
    n_plain = 24 if n_weights == 32 else 4
    n = n_plain + 2 + len(SCALES)
    blocks = rng.integers(0, 256, (n, block_bytes), dtype=np.uint8)
    blocks[n_plain] = 0
    blocks[n_plain + 1] = 255
    plain = rng.normal(0, 0.02, (n, 2)).astype(np.float16).view(np.uint16)
    for i in range(n):
        for k, at in enumerate(HALVES[name]):
            bits = int(plain[i, k])
            special = i - n_plain - 2
            if special >= 0:
                bits = SCALES[(special + 5 * k) % len(SCALES)]    # two different ones in a block
            blocks[i, at] = bits & 255
            blocks[i, at + 1] = bits >> 8
    return blocks


def main():
    out = os.path.join(os.path.dirname(__file__), "..", "data", "quant")
    os.makedirs(out, exist_ok=True)
    for name in FORMATS:
        kind = gguf.GGMLQuantizationType[name]
        n_weights, n_bytes = gguf.GGML_QUANT_SIZES[kind]
        rng = np.random.default_rng(20260823 + int(kind))
        blocks = make_blocks(name, n_bytes, n_weights, rng)
        with np.errstate(all="ignore"):
            weights = gguf.dequantize(blocks.reshape(-1).view(
                {"F32": np.float32, "F16": np.float16}.get(name, np.uint8)), kind)
        with open(os.path.join(out, name.lower() + ".bin"), "wb") as f:
            f.write(blocks.tobytes())
            f.write(np.asarray(weights, dtype="<f4").tobytes())
        print(f"{name}: {len(blocks)} blocks, {np.asarray(weights).size} weights")


main()
