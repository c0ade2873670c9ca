#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""What llama-quantize and quip would make of the shapes of shape_model.py, tensor by tensor.

    level_types.py LLAMA_BIN_FOLDER QUIP [--write FILE]

Fails where a tensor gets another type. With --write, what llama-quantize chooses goes to FILE, one line for each shape
and level, as tests/unit/test_recipe.c reads it:

    SHAPE LEVEL OPTIONS BYTES NAME=TYPES ...

OPTIONS is "pure", or of the mixed ones "plain" and "imatrix", or "any" where both are the same; BYTES is all tensor data; NAME a tensor without "blk.N." and ".weight"; TYPES a letter
for each layer that has one (TYPE_LETTERS), or one letter when all are the same. Vectors are left out: they stay F32.
"""
import os
import re
import struct
import subprocess
import sys
import tempfile

LEVELS = ("F32 F16 BF16 Q8_0 Q6_K Q5_K_M Q5_K_S Q5_1 Q5_0 Q4_K_M Q4_K_S Q4_1 Q4_0 IQ4_NL IQ4_XS MXFP4_MOE Q3_K_L Q3_K_M "
          "Q3_K_S Q2_K Q2_K_S").split()
TYPES = {"F32": (1, 4, "F"), "F16": (1, 2, "H"), "BF16": (1, 2, "B"), "Q8_0": (32, 34, "8"), "Q6_K": (256, 210, "6"),
         "Q5_K": (256, 176, "5"), "Q5_1": (32, 24, "v"), "Q5_0": (32, 22, "u"), "Q4_K": (256, 144, "4"),
         "Q4_1": (32, 20, "t"), "Q4_0": (32, 18, "s"), "IQ4_NL": (32, 18, "n"), "IQ4_XS": (256, 136, "x"),
         "MXFP4": (32, 17, "m"), "Q3_K": (256, 110, "3"), "Q2_K": (256, 84, "2")}
PEER = re.compile(r"\[ *\d+/ *\d+\] (\S+) +- \[ *(\d+), *(\d+), *(\d+), *(\d+)\], type = +(\w+), size = +[\d.]+ MiB"
                  r"(?: -> +[\d.]+ MiB \((\w+)\))?")
OURS = re.compile(r"  ((?:\d+ x )*\d+) +(\w+) +(\w+) +(\d+)  (\S+)")
TOTAL = re.compile(r"weights; (\d+) bytes")


def lines(command):
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    if done.returncode != 0:
        sys.exit(f"{' '.join(command)}: {done.stderr[-300:]}")
    return (done.stdout + "\n" + done.stderr).splitlines()


def by_peer(command):
    chosen = {}
    for line in lines(command):
        m = PEER.match(line)
        if m:
            ne = [int(n) for n in m.group(2, 3, 4, 5)]
            chosen[m[1]] = ((m[7] or m[6]).upper(), ne)
    n_bytes = 0
    for kind, ne in chosen.values():
        weights, block, _ = TYPES[kind]
        assert ne[0] % weights == 0
        n_bytes += ne[0] // weights * block * ne[1] * ne[2] * ne[3]
    return chosen, n_bytes


def by_quip(command):
    chosen, n_bytes = {}, 0
    for line in lines(command):
        m = OURS.match(line)
        if m:
            chosen[m[5]] = m[3]
        m = TOTAL.search(line)
        if m:
            n_bytes = int(m[1])
    return chosen, n_bytes


def summary(chosen):
    classes = {}
    for name, (kind, ne) in chosen.items():
        if ne[1] * ne[2] * ne[3] == 1:
            continue
        layer = re.match(r"blk\.(\d+)\.", name)
        short = re.sub(r"\.weight$", "", re.sub(r"^blk\.\d+\.", "", name))
        classes.setdefault(short, []).append((int(layer[1]) if layer else -1, TYPES[kind][2]))
    words = []
    for short, types in sorted(classes.items()):
        letters = "".join(letter for _, letter in sorted(types))
        words.append(f"{short}={letters[0] if len(set(letters)) == 1 else letters}")
    return " ".join(words)


def write_imatrix(path):
    """Of the older format: one entry, of a tensor that nobody has. A plan only asks whether there is one."""
    name = b"none"
    with open(path, "wb") as f:
        f.write(struct.pack("<ii", 1, len(name)) + name + struct.pack("<iif", 1, 1, 1.0))


def main():
    words = sys.argv[1:]
    out = None
    if "--write" in words:
        out = open(words[words.index("--write") + 1], "w")
        del words[words.index("--write"):]
    peer, quip = os.path.join(words[0], "llama-quantize"), words[1]
    here = os.path.dirname(os.path.abspath(__file__))
    shapes = subprocess.run([sys.executable, os.path.join(here, "shape_model.py")], stderr=subprocess.PIPE, text=True)
    shapes = shapes.stderr.split("shapes: ")[1].split()
    lines_of = {}
    n_wrong = n_plans = n_tensors = 0
    with tempfile.TemporaryDirectory() as folder:
        imatrix = os.path.join(folder, "imatrix.dat")
        write_imatrix(imatrix)
        for shape in shapes:
            model = os.path.join(folder, shape + ".gguf")
            subprocess.run([sys.executable, os.path.join(here, "shape_model.py"), shape, model], check=True)
            for options in ("plain", "imatrix", "pure"):
                extra = {"plain": [], "pure": ["--pure"], "imatrix": ["--imatrix", imatrix]}[options]
                for level in LEVELS:
                    want, want_bytes = by_peer([peer, "--dry-run", *extra, model, level])
                    got, got_bytes = by_quip([quip, "quantize", "--dry-run", *extra, model, level])
                    n_plans += 1
                    n_tensors += len(want)
                    wrong = [f"{n} {got.get(n)}, {want[n][0]} wanted" for n in want if got.get(n) != want[n][0]]
                    if wrong or len(got) != len(want) or got_bytes != want_bytes:
                        n_wrong += 1
                        print(f"{shape} {level} {options}: {got_bytes} bytes, {want_bytes} wanted;", "; ".join(wrong[:4]))
                    lines_of[shape, level, options] = f"{want_bytes} {summary(want)}"
            os.unlink(model)
    for (shape, level, options), line in lines_of.items() if out else ():
        same = options != "pure" and lines_of[shape, level, "plain"] == lines_of[shape, level, "imatrix"]
        if not same or options == "plain":
            out.write(f"{shape} {level} {'any' if same else options} {line}\n")
    print(f"{n_plans} plans, {n_tensors} tensors: {n_wrong} plans differ")
    sys.exit(n_wrong > 0)


main()
