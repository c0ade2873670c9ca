#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""What quip fit predicts against what a process has resident after an answer that fills the context.

   fit_memory.py [--quip PROGRAM] [-c N,N] [-ctk TYPE] [-ctv TYPE] --text FILE MODEL...

Each model answers a prompt that leaves few tokens of the context free; VmRSS is read with each piece of the answer.
Nothing is kept for prompts to come. A table of Markdown comes out.
"""
import argparse
import json
import os
import subprocess
import tempfile


def words_for(quip, model, text, n_tokens):
    """The beginning of the text that has about so many tokens."""
    low, high = 0, len(text)
    while high - low > 16:
        middle = (low + high) // 2
        ids = subprocess.run([quip, "tokenize", "-m", model, "--ids"], input=text[:middle].encode(),
                             capture_output=True, check=True).stdout.split()
        low, high = (middle, high) if len(ids) <= n_tokens else (low, middle)
    return text[:low]


def resident(quip, model, prompt, n_ctx, types):
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as f, tempfile.TemporaryDirectory() as cache:
        f.write(prompt)
        f.flush()
        env = dict(os.environ, XDG_CACHE_HOME=cache)
        command = [quip, "run", "-m", model, "--device", "cpu", "--raw", "-f", f.name, "-c", str(n_ctx), "-n", "24",
                   "--ignore-eos", "--temp", "0", "--spec", "off", "--cache-ram", "0", "--cache-disk", "0",
                   "--keep-kv-type"] + types
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                   env=env)
        seen = []
        while os.read(process.stdout.fileno(), 4096):
            with open(f"/proc/{process.pid}/status") as status:
                now = dict(line.split(":", 1) for line in status if line.startswith(("VmRSS", "RssAnon", "RssFile")))
            if now:
                seen.append({k: int(v.split()[0]) * 1024 for k, v in now.items()})
        assert process.wait() == 0, process.stderr.read()
        return max(seen[len(seen) // 2:], key=lambda s: s["VmRSS"])    # the very last is of a program that ends


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--quip", default=".build/release/app/quip")
    p.add_argument("-c", default="512,2048")
    p.add_argument("-ctk", default="f16")
    p.add_argument("-ctv", default="f16")
    p.add_argument("--text", required=True)
    p.add_argument("models", nargs="+")
    a = p.parse_args()
    types = ["-ctk", a.ctk, "-ctv", a.ctv]
    with open(a.text) as f:
        text = f.read(1 << 20)
    print("| model | context | weights | cache | scratch | lookups | vocabulary | program | predicted MB | resident MB | anon | file | off |")
    print("|---|---|---|---|---|---|---|---|---|---|---|---|---|")
    for model in a.models:
        for n_ctx in map(int, a.c.split(",")):
            fit = json.loads(subprocess.run([a.quip, "fit", "-m", model, "--device", "cpu", "-c", str(n_ctx), "--json"] +
                                            types, capture_output=True, check=True).stdout)
            prompt = words_for(a.quip, model, text, n_ctx - 40)
            got = resident(a.quip, model, prompt, n_ctx, types)
            parts = fit["processor"]
            cells = [parts[k] / 1e6 for k in ("weights", "cache", "scratch", "lookups", "vocabulary", "program")]
            cells += [fit["needed"] / 1e6, got["VmRSS"] / 1e6, got["RssAnon"] / 1e6, got["RssFile"] / 1e6]
            off = 100 * (fit["needed"] / got["VmRSS"] - 1)
            print(f"| {os.path.basename(model)} | {n_ctx} | " + " | ".join(f"{c:.1f}" for c in cells) + f" | {off:+.1f} % |",
                  flush=True)


main()
