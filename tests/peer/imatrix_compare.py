#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Two importance matrices in GGUF side by side: names, counts, and how far their sums are apart.

    imatrix_compare.py OURS THEIRS

Fails when names or counts differ."""
import array
import math
import struct
import sys

NUMBERS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}


class Reader:
    def __init__(self, data):
        self.data, self.at = data, 0

    def number(self, code):
        value = struct.unpack_from("<" + code, self.data, self.at)[0]
        self.at += struct.calcsize("<" + code)
        return value

    def text(self):
        n = self.number("Q")
        self.at += n
        return self.data[self.at - n:self.at].decode("utf-8", "replace")

    def value(self, kind):
        if kind == 8:
            return self.text()
        if kind == 9:
            kind, n = self.number("I"), self.number("Q")
            return [self.value(kind) for _ in range(n)]
        return self.number(NUMBERS[kind])


def read(path):
    with open(path, "rb") as f:
        r = Reader(f.read())
    assert r.data[:4] == b"GGUF", path
    r.at = 8
    n_tensors, n_keys = r.number("Q"), r.number("Q")
    keys, tensors = {}, {}
    for _ in range(n_keys):
        name = r.text()
        keys[name] = r.value(r.number("I"))
    for _ in range(n_tensors):
        name = r.text()
        shape = [r.number("Q") for _ in range(r.number("I"))]
        assert r.number("I") == 0, f"{name} is no F32"
        tensors[name] = (shape, r.number("Q"))
    base = (r.at + 31) // 32 * 32
    return keys, {name: array.array("f", r.data[base + offset:base + offset + 4 * math.prod(shape)])
                  for name, (shape, offset) in tensors.items()}


def dot(x, y):
    return math.fsum(p * q for p, q in zip(x, y))


def main():
    (keys_a, a), (keys_b, b) = read(sys.argv[1]), read(sys.argv[2])
    failed, wrong_counts = False, []
    for key in ("imatrix.chunk_count", "imatrix.chunk_size"):
        if keys_a[key] != keys_b[key]:
            print(f"{key}: {keys_a[key]} and {keys_b[key]}")
            failed = True
    if set(a) != set(b):
        print("names differ:", " ".join(sorted(set(a) ^ set(b))[:8]))
        failed = True
    kinds = {}
    for name in sorted(set(a) & set(b)):
        if name.endswith(".counts"):
            if a[name] != b[name]:
                wrong_counts.append(f"{name}: {a[name][0]:.0f} and {b[name][0]:.0f}")
            continue
        x, y = a[name], b[name]
        mean = sum(y) / len(y)
        total = abs(sum(x) / sum(y) - 1)
        columns = sum(abs(p - q) for p, q in zip(x, y)) / sum(y)
        worst = max(abs(p - q) / (q + mean) for p, q in zip(x, y))
        cosine = 1 - dot(x, y) / math.sqrt(dot(x, x) * dot(y, y))
        kinds.setdefault(name.split(".")[2] if name.startswith("blk.") else name, []).append(
            (total, columns, worst, cosine))
    for line in wrong_counts[:4]:
        print(line)
    failed = failed or bool(wrong_counts)
    print(f"{'':16} {'sum':>9} {'':>9} {'columns':>9} {'':>9} {'worst':>9} {'1-cosine':>9}")
    print(f"{'tensors':16} {'mean':>9} {'max':>9} {'mean':>9} {'max':>9} {'column':>9} {'max':>9}")
    everything = [row for rows in kinds.values() for row in rows]
    for kind, rows in [*kinds.items(), ("all", everything)]:
        total, columns, worst, cosine = zip(*rows)
        print(f"{kind:16} {sum(total) / len(rows):9.2e} {max(total):9.2e} {sum(columns) / len(rows):9.2e} "
              f"{max(columns):9.2e} {max(worst):9.2e} {max(cosine):9.2e}")
    print(f"{len(everything)} tensors" + ("; names or counts differ" if failed else ", the same names and counts"))
    sys.exit(failed)


main()
