#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Compares `quip tokenize` with llama.cpp's llama-tokenize, text by text.

    python3 tests/peer/compare_tokens.py --quip build/app/quip --peer .../llama-tokenize \
        --model qwen2.5-coder-1.5b.gguf --separator '<|im_end|>' [--lines FILE] [--seed N]

All texts go into one file, a special token between them, so that each program loads the model once
and still sees every text on its own. Exit status 1 when any text gives other ids.
"""
import argparse
import json
import random
import re
import subprocess
import sys
import tempfile

WORDS = """the of quick Brown fox's don't I'LL we've it'd THEY'RE naïve café Straße ПРИВЕТ мир
Ελλάδα שלום مرحبا नमस्ते สวัสดี 你好世界 日本語テキスト 한국어 Việt Äpfel ǅ ﬁne ½ ² Ⅷ x² e=mc² http://a.b/c?d=e&f#g
user@example.com snake_case camelCase PascalCase SCREAMING_CASE kebab-case 3.14159 1,234,567.89 0xDEADBEEF 1e-9
$100 50% #tag @name C++ C# F# a.b.c ... --- === >>> !!! ?!?! `code` "quoted" 'single' (paren) [bracket] {brace}
<html> </div> <|not_special|> <think> \\n \\t %d %s & | ^ ~ ** ***bold*** __init__ 😀 👩‍👩‍👧‍👦 🇩🇪 ✅ 🤷🏽‍♀️ é́ ｆｕｌｌ １２３ ٣٤٥ …""".split()
CODE = ["for (int i = 0; i < n; i++) {\n    sum += a[i];\n}\n", "def f(x):\n\treturn {'a': [1, 2, 3], \"b\": x}\n",
        "SELECT * FROM t WHERE a >= 10 AND b LIKE '%x%';\n", "#include <stdio.h>\n\nint main(void)\n{\n\treturn 0;\n}\n",
        "const f = async () => { await g?.(x ?? 0); };\r\n", "| a | b |\n|---|---|\n| 1 | 2 |\n", "- [ ] item\n    - sub\n\n```sh\n$ ls -la\n```\n"]
SPACES = [" ", "  ", "   ", "    ", "\n", "\n\n", "\n\n\n", "\t", "\t\t", " \n", "\n ", "\r\n", "\r\n\r\n", "\u00a0", "\u3000",
          "\u2003", " \t ", "\n  \n", " " * 17, "\n" * 9, "\u200b", "\u2028"]
RANGES = [(0x21, 0x7E), (0xA1, 0x24F), (0x370, 0x3FF), (0x400, 0x4FF), (0x590, 0x5FF), (0x600, 0x6FF), (0x900, 0x97F),
          (0xE00, 0xE7F), (0x1780, 0x17FF), (0x2000, 0x206F), (0x2190, 0x22FF), (0x3040, 0x30FF), (0x4E00, 0x9FFF),
          (0xAC00, 0xD7A3), (0xFF00, 0xFFEF), (0x1D400, 0x1D7FF), (0x1F300, 0x1F64F), (0x20000, 0x2A6DF)]


def random_text(r):
    kind = r.randrange(7)
    if kind == 0:
        return "".join(r.choice(WORDS) + r.choice(SPACES) for _ in range(r.randrange(1, 20)))
    if kind == 1:
        return r.choice(SPACES) + " ".join(r.choice(WORDS) for _ in range(r.randrange(1, 25)))
    if kind == 2:
        return "".join(r.choice(CODE) for _ in range(r.randrange(1, 4)))
    if kind == 3:
        low, high = r.choice(RANGES)
        return "".join(chr(r.randint(low, high)) for _ in range(r.randrange(1, 30)))
    if kind == 4:
        return "".join(r.choice(SPACES) for _ in range(r.randrange(1, 12)))
    if kind == 5:
        return "".join(r.choice("0123456789.,- +") for _ in range(r.randrange(1, 24)))
    out = []
    for _ in range(r.randrange(1, 25)):
        low, high = r.choice(RANGES)
        out.append(r.choice([chr(r.randint(low, high)), r.choice(SPACES), r.choice(WORDS)]))
    return "".join(out)


def make_texts(args):
    r = random.Random(args.seed)
    texts = list(WORDS) + CODE + [" " * n for n in range(1, 40)] + ["\n" * n for n in range(1, 40)]
    texts += [random_text(r) for _ in range(args.count)]
    if args.lines:
        lines = [line for line in open(args.lines, encoding="utf-8").read().split("\n") if line.strip()]
        texts += r.sample(lines, min(args.count, len(lines)))
    return [t for t in texts if t and args.separator not in t]


def ids_of(command):
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True)
    return [int(x) for x in re.findall(rb"\d+", done.stdout)]


def split_ids(ids, separator_id):
    out = [[]]
    for i in ids:
        if i == separator_id:
            out.append([])
        else:
            out[-1].append(i)
    return out


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--quip", required=True)
    p.add_argument("--peer", required=True)
    p.add_argument("--model", required=True)
    p.add_argument("--separator", required=True, help="a special token of the model")
    p.add_argument("--lines", help="a text file whose lines are tried too")
    p.add_argument("--count", type=int, default=1500)
    p.add_argument("--seed", type=int, default=1)
    args = p.parse_args()

    texts = make_texts(args)
    with tempfile.NamedTemporaryFile("w", encoding="utf-8", newline="") as f:
        f.write(args.separator.join(texts))
        f.flush()
        ours = ids_of([args.quip, "tokenize", "-m", args.model, "-f", f.name, "--ids", "--special", "--no-bos"])
        peer = ids_of([args.peer, "-m", args.model, "-f", f.name, "--ids", "--no-bos", "--no-escape", "--log-disable"])
    with tempfile.NamedTemporaryFile("w", encoding="utf-8") as f:
        f.write(args.separator)
        f.flush()
        separator_id = ids_of([args.quip, "tokenize", "-m", args.model, "-f", f.name, "--ids", "--special", "--no-bos"])
    assert len(separator_id) == 1, "the separator is not one token"
    a, b = split_ids(ours, separator_id[0]), split_ids(peer, separator_id[0])
    wrong = 0
    for i, text in enumerate(texts):
        if a[i:i + 1] != b[i:i + 1]:
            wrong += 1
            if wrong <= 10:
                print("text", i, json.dumps(text), "\n  ours", a[i:i + 1], "\n  peer", b[i:i + 1])
    if len(a) != len(texts) or len(b) != len(texts):
        print("texts", len(texts), "parts ours", len(a), "peer", len(b))
        wrong += 1
    print("%d texts, %d ids, %d texts differ" % (len(texts), len(peer), wrong))
    sys.exit(wrong > 0)


main()
