#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Holds logits of quip against log-probabilities computed from the exact weights of a real model.

    compare_logits.py REFERENCE.bin --ids               print the reference's token ids
    compare_logits.py REFERENCE.bin LOGITS              compare the output of `quip logits -o LOGITS`
    compare_logits.py REFERENCE.bin --quip PROGRAM -m MODEL [--cpu TIER]    both in one go

Reference, little-endian: int32 n_tokens, int32 n_top; n_tokens int32 ids; n_tokens - 1 float32 log-
probabilities of the next id; then for each position n_top pairs (int32 id, float32 log-probability),
best first. Reported: mean KL divergence over the reference's best ids and one bin for what is left of
both, a close lower bound of the full one; how often the best token is the same; the perplexity of both.
Uses numpy where it is installed; without it a model of 150 000 tokens takes about a minute.
"""
import argparse
import array
import math
import os
import struct
import subprocess
import sys
import tempfile

try:
    import numpy
except ImportError:
    numpy = None


class Reference:
    def __init__(self, path):
        data = open(path, "rb").read()
        n, n_top = struct.unpack_from("<ii", data)
        at = 8
        self.ids = struct.unpack_from(f"<{n}i", data, at)
        at += 4 * n
        self.next = struct.unpack_from(f"<{n - 1}f", data, at)
        at += 4 * (n - 1)
        n_positions = (len(data) - at) // (8 * n_top)
        if n_positions not in (n - 1, n) or len(data) != at + 8 * n_top * n_positions:
            sys.exit(f"{path}: {len(data)} bytes do not fit {n} tokens of {n_top} pairs")
        pairs = list(struct.iter_unpack("<if", data[at:]))
        self.top = [pairs[i * n_top : (i + 1) * n_top] for i in range(n_positions)]


def row_log_sum(row):
    """Index of the largest logit, and log of the sum of exp over the row."""
    if numpy is not None:
        values = numpy.frombuffer(row, dtype="<f4").astype(numpy.float64)
        top = int(values.argmax())
        return values, top, float(values[top]) + math.log(float(numpy.exp(values - values[top]).sum()))
    values = array.array("f", row)
    if sys.byteorder != "little":
        values.byteswap()
    best = max(values)
    return values, values.index(best), best + math.log(math.fsum(math.exp(v - best) for v in values))


def kl(top, values, log_sum):
    total, p_left, q_left = 0.0, 1.0, 1.0
    for token, log_p in top:
        log_q = float(values[token]) - log_sum
        p = math.exp(log_p)
        total += p * (log_p - log_q)
        p_left -= p
        q_left -= math.exp(log_q)
    if p_left > 1e-9:
        total += p_left * math.log(p_left / max(q_left, 1e-12))
    return total


def compare(reference, path):
    n = len(reference.ids)
    size = os.path.getsize(path)
    n_vocab = size // (4 * n)
    if n_vocab == 0 or size != 4 * n * n_vocab:
        sys.exit(f"{path}: {size} bytes are not {n} rows of float32")
    sum_kl, worst, same, sum_next = 0.0, 0.0, 0, 0.0
    with open(path, "rb") as logits:
        for i in range(n):
            values, best, log_sum = row_log_sum(logits.read(4 * n_vocab))
            if i < len(reference.top):
                here = kl(reference.top[i], values, log_sum)
                sum_kl += here
                worst = max(worst, here)
                same += best == reference.top[i][0][0]
            if i + 1 < n:
                sum_next += float(values[reference.ids[i + 1]]) - log_sum
    n_top = len(reference.top)
    exact = math.exp(-math.fsum(reference.next) / (n - 1))
    print(f"{n_top} positions, {n_vocab} tokens: mean KL {sum_kl / n_top:.3e}, worst {worst:.3e}, "
          f"same top {100 * same / n_top:.2f} %, perplexity {math.exp(-sum_next / (n - 1)):.4f} (exact {exact:.4f})")


def main():
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument("reference")
    parser.add_argument("logits", nargs="?")
    parser.add_argument("--ids", action="store_true")
    parser.add_argument("--quip")
    parser.add_argument("-m", dest="model")
    parser.add_argument("--cpu")
    args = parser.parse_args()
    reference = Reference(args.reference)
    ids = " ".join(map(str, reference.ids))
    if args.ids:
        print(ids)
    elif args.quip:
        with tempfile.TemporaryDirectory() as folder:
            out = os.path.join(folder, "logits")
            command = [args.quip, "logits", "-m", args.model, "--ids", "-", "-o", out]
            subprocess.run(command + (["--cpu", args.cpu] if args.cpu else []),
                           input=ids.encode(), check=True)
            compare(reference, out)
    elif args.logits:
        compare(reference, args.logits)
    else:
        parser.error("LOGITS, --ids or --quip is wanted")


if __name__ == "__main__":
    main()
