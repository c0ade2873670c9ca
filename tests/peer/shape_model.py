#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Writes GGUF files that have the metadata and tensor directory of a model and a hole where its weights would be:
enough for programs that only plan, at any size, without downloading or storing anything.

    shape_model.py SHAPE OUT.gguf            a shape of tests/data/level/shapes.txt
    shape_model.py --tensors LIST OUT.gguf   shape llama-tiny with the tensors of LIST: lines "name columns rows [mats]"
"""
import os
import struct
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
LIST = os.path.join(HERE, "..", "data", "level", "shapes.txt")    # what the columns are stands there


def read_shapes():
    shapes = {}
    for line in open(LIST):
        words = line.split("#")[0].split()
        if words:
            shapes[words[0]] = dict(arch=words[1], shape=tuple(int(n) for n in words[2:9]), experts=int(words[9]),
                                    **{flag: True for flag in words[10:]})
    return shapes


SHAPES = read_shapes()
U32, F32, STRING = 4, 6, 8


def tensors_of(arch, shape, tied=False, bias=False, experts=0, head_norms=False, fused=False):
    layers, width, ffn, heads, kv_heads, head, vocabulary = shape
    yield "token_embd.weight", (width, vocabulary)
    for i in range(layers):
        b = f"blk.{i}."
        yield b + "attn_norm.weight", (width,)
        if fused:
            yield b + "attn_qkv.weight", (width, (heads + 2 * kv_heads) * head)
        else:
            yield b + "attn_q.weight", (width, heads * head)
            yield b + "attn_k.weight", (width, kv_heads * head)
            yield b + "attn_v.weight", (width, kv_heads * head)
        if bias:
            for name, n in (("q", heads), ("k", kv_heads), ("v", kv_heads)):
                yield b + f"attn_{name}.bias", (n * head,)
        if head_norms:
            yield b + "attn_q_norm.weight", (head,)
            yield b + "attn_k_norm.weight", (head,)
        yield b + "attn_output.weight", (heads * head, width)
        yield b + "ffn_norm.weight", (width,)
        if experts:
            yield b + "ffn_gate_inp.weight", (width, experts)
            yield b + "ffn_gate_exps.weight", (width, ffn, experts)
            yield b + "ffn_up_exps.weight", (width, ffn, experts)
            yield b + "ffn_down_exps.weight", (ffn, width, experts)
        elif fused:
            yield b + "ffn_up.weight", (width, 2 * ffn)
            yield b + "ffn_down.weight", (ffn, width)
        else:
            yield b + "ffn_gate.weight", (width, ffn)
            yield b + "ffn_up.weight", (width, ffn)
            yield b + "ffn_down.weight", (ffn, width)
    yield "output_norm.weight", (width,)
    if not tied:
        yield "output.weight", (width, vocabulary)


def text(value):
    raw = value.encode()
    return struct.pack("<Q", len(raw)) + raw


def write(path, arch, shape, tensors, experts=0):
    layers, width, ffn, heads, kv_heads, head, vocabulary = shape
    keys = [("general.architecture", STRING, arch), ("general.file_type", U32, 1),
            (arch + ".block_count", U32, layers), (arch + ".context_length", U32, 4096),
            (arch + ".embedding_length", U32, width), (arch + ".feed_forward_length", U32, ffn),
            (arch + ".attention.head_count", U32, heads), (arch + ".attention.head_count_kv", U32, kv_heads),
            (arch + ".attention.key_length", U32, head), (arch + ".attention.value_length", U32, head),
            (arch + ".attention.layer_norm_rms_epsilon", F32, 1e-5), (arch + ".attention.layer_norm_epsilon", F32, 1e-5),
            (arch + ".rope.dimension_count", U32, head),
            (arch + ".vocab_size", U32, vocabulary)]
    if experts:
        keys += [(arch + ".expert_count", U32, experts), (arch + ".expert_used_count", U32, 2),
                 (arch + ".expert_feed_forward_length", U32, ffn)]
    if arch in ("gemma3", "phi3"):
        keys += [(arch + ".attention.sliding_window", U32, 512)]
    out = bytearray(b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(keys)))
    for name, kind, value in keys:
        out += text(name) + struct.pack("<I", kind)
        out += text(value) if kind == STRING else struct.pack("<f" if kind == F32 else "<I", value)
    offset = 0
    for name, ne in tensors:
        n = 1
        for d in ne:
            n *= d
        is_f32 = len(ne) == 1 or name.endswith("ffn_gate_inp.weight")
        out += text(name) + struct.pack("<I", len(ne)) + struct.pack(f"<{len(ne)}Q", *ne)
        out += struct.pack("<IQ", 0 if is_f32 else 1, offset)
        offset += (n * (4 if is_f32 else 2) + 31) // 32 * 32
    out += bytes(-len(out) % 32)
    with open(path, "wb") as f:
        f.write(out)
        f.truncate(len(out) + offset)


def main():
    words = sys.argv[1:]
    if len(words) == 3 and words[0] == "--tensors":
        tensors = []
        for line in open(words[1]):
            name, *ne = line.split()
            tensors.append((name, tuple(int(n) for n in ne)))
        shape = SHAPES["llama-tiny"]
        write(words[2], shape["arch"], shape["shape"], tensors)
    elif len(words) == 2 and words[0] in SHAPES:
        shape = SHAPES[words[0]]
        write(words[1], shape["arch"], shape["shape"], list(tensors_of(**shape)), shape["experts"])
    else:
        sys.exit("usage: shape_model.py SHAPE|--tensors LIST OUT.gguf; shapes: " + " ".join(SHAPES))


main()
