#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Writes tests/data/tokenizer/split.txt: how the regular expressions of the original tokenizers cut texts.

    python3 tests/peer/split_golden.py > tests/data/tokenizer/split.txt     (needs the PyPI package regex)

A rule is a list of expressions; each is applied to the pieces of the one before, its matches and what
lies between them becoming pieces. The file has a line `rule NAME` and below it a line for each text: the
text in hexadecimal, and the lengths of its pieces in bytes.
"""
import random
import regex

GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
CONTRACTIONS = r"(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])"
SPACES = r"|\s*[\r\n]+|\s+(?!\S)|\s+"
LLAMA3 = CONTRACTIONS + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*" + SPACES
QWEN2 = LLAMA3.replace("{1,3}", "")
QWEN35 = CONTRACTIONS + r"|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*" + SPACES
SEED = CONTRACTIONS + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1}| ?[^\s\p{L}\p{N}\r\n]+" + SPACES
BARE = r"[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*" + SPACES
UPPER, LOWER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
LEAD = r"[^\r\n\p{L}\p{N}]?"
TEKKEN = (LEAD + UPPER + "*" + LOWER + "+|" + LEAD + UPPER + "+" + LOWER + r"*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*" + SPACES)
O200K = (LEAD + UPPER + "*" + LOWER + "+" + CONTRACTIONS + "?|" + LEAD + UPPER + "+" + LOWER + "*" + CONTRACTIONS +
         r"?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*" + SPACES)
DEEPSEEK_LETTERS = (
    "A-Za-z"
    "\u00B5\u00C0-\u00D6\u00D8-\u00F6\u00F8-\u01BA\u01BC-\u01BF\u01C4-\u0293\u0295-\u02AF\u0370-\u0373\u0376\u0377"
    "\u037B-\u037D\u037F\u0386\u0388-\u038A\u038C\u038E-\u03A1\u03A3-\u03F5\u03F7-\u0481\u048A-\u052F\u0531-\u0556"
    "\u10A0-\u10C5\u13A0-\u13F5\u13F8-\u13FD\u1C90-\u1CBA\u1CBD-\u1CBF\u1D00-\u1D2B\u1D6B-\u1D77\u1D79-\u1D9A"
    "\u1E00-\u1F15\u1F18-\u1F1D\u1F20-\u1F45\u1F48-\u1F4D\u1F50-\u1F57\u1F59\u1F5B\u1F5D\u1F5F-\u1F7D\u1F80-\u1FB4"
    "\u1FB6-\u1FBC\u1FBE\u1FC2-\u1FC4\u1FC6-\u1FCC\u1FD0-\u1FD3\u1FD6-\u1FDB\u1FE0-\u1FEC\u1FF2-\u1FF4\u1FF6-\u1FFC"
    "\u2102\u2107\u210A-\u2113\u2115\u2119-\u211D\u2124\u2126\u2128\u212A-\u212D\u212F-\u2134\u2139\u213C-\u213F"
    "\u2145-\u2149\u214E\u2183\u2184\u2C00-\u2C7B\u2C7E-\u2CE4\u2CEB-\u2CEE\u2CF2\u2CF3\uA640-\uA66D\uA680-\uA69B"
    "\uA722-\uA76F\uA771-\uA787\uA78B-\uA78E\uAB70-\uABBF\uFB00-\uFB06\uFB13-\uFB17\uFF21-\uFF3A\uFF41-\uFF5A"
    "\U00010400-\U0001044F\U000104B0-\U000104D3\U000104D8-\U000104FB\U00010C80-\U00010CB2\U00010CC0-\U00010CF2"
    "\U000118A0-\U000118DF\U0001E900-\U0001E943")
CJK = r"[\u4e00-\u9fa5\u0800-\u4e00\uac00-\ud7ff]+"
CJK3 = r"[\u4e00-\u9fa5\u3040-\u30ff]+"
DEEPSEEK3 = (r"""[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*"""
             + SPACES)
GROUPS = r"\p{N}{1,3}(?=(?:\p{N}{3})*(?!\p{N}))"
WORD_END = r"(?![\p{L}\p{M}\p{Nd}\p{Nl}\p{Pc}])"    # \b after a digit as Oniguruma has it: U+200D is no letter
RULES = {
    "gpt-2": [GPT2],
    "smollm": [r"\p{N}", GPT2],
    "llama-bpe": [LLAMA3],
    "qwen2": [QWEN2],
    "qwen35": [QWEN35],
    "seed-coder": [SEED],
    "ufakzeka": [BARE],
    "minicpm5": [r"\p{N}{1,3}", LLAMA3],
    "tekken": [TEKKEN],
    "gpt-4o": [O200K],
    "tiny_aya": [r"\d{1,3}(?=(?:\d{3})*" + WORD_END + ")", O200K],
    "falcon": [r"[\p{P}\$\+<=>\^~\|`]+", GPT2, "[0-9][0-9][0-9]"],
    "default": [r"[\p{P}\$\+<=>\^~\|]+", GPT2, r"\p{N}+", "[0-9][0-9][0-9]"],
    "gemma4": [r"[^\n]+|[\n]+"],
    "laguna": [r"[^\n]+|[\n]+", QWEN2],
    "deepseek-llm": ["[\r\n]", r"\s?[" + DEEPSEEK_LETTERS + "]+", "\\s?[!-/:-~\uFF01-\uFF0F\uFF1A-\uFF5E\u2018-\u201F\u3000-\u3002]+", r"\s+$", CJK, r"\p{N}+"],
    "deepseek-coder": ["[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", CJK, r"\p{N}"],
    "deepseek-v3": [r"\p{N}{1,3}", CJK3, DEEPSEEK3],
    "superbpe": [r"\p{N}+", GROUPS],
}
# Characters whose classes have been the same for many versions of Unicode.
ALPHABET = list("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ") + list("0123456789" * 2) + list("'.,!?/-_=+<>|$#@`~^&(){}[]\"\\:;") + [
    " ", " ", " ", " ", "\n", "\n", "\r\n", "\t", "\u00a0", "\u3000", "\u2028", "'s", "'S", "'ll", "'RE", "'d", " '", "é", "É", "ß", "ж", "Ж", "ǅ", "ʰ",
    "א", "ش", "नि", "\u0301", "\u0300", "ก", "你", "好", "の", "カ", "한", "글", "½", "²", "Ⅷ", "٣", "१", "😀", "✅", "€", "…", "“", "，", "。", "Ａ", "１",
    "\u200d", "\u200b", "\x01", "\ue000", "\U00010400", "\U0001d400", "º", "ª", "\u0e31", "\u20e3"]
WORDS = ["Hello", "world", "camelCase", "HTTPServer", "don't", "WE'LL", "x2y", "12345678", "3.1415", "  ", "   ", "\n\n", " \n ", "123abc", "a1234b", "--", "...",
         "/**/", "naïve", "ЁЖ", "你好", "ABC你DEF", "éÉé", "ʰABC", "...\n\n", "://", " $x", "\t\tx"]


def cut(rule, text):
    pieces = [text]
    for expression in rule:
        compiled = regex.compile(expression, regex.V0)
        after = []
        for piece in pieces:
            at = 0
            for m in compiled.finditer(piece):
                if m.end() == m.start():
                    continue
                if m.start() > at:
                    after.append(piece[at:m.start()])
                after.append(m.group())
                at = m.end()
            if at < len(piece):
                after.append(piece[at:])
        pieces = after
    assert "".join(pieces) == text
    return pieces


def main():
    r = random.Random(20)
    print("# written by tests/peer/split_golden.py: regex %s" % regex.__version__)
    for name, rule in RULES.items():
        print("rule", name)
        for i in range(110):
            source = WORDS if i % 4 == 0 else ALPHABET
            text = "".join(r.choice(source + ALPHABET if i % 3 == 0 else source) for _ in range(r.randrange(1, 34)))
            print(text.encode().hex(), *[len(p.encode()) for p in cut(rule, text)])


main()
