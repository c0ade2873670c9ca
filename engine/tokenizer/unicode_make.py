#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Writes tokenizer_unicode_table.c: the general category and White_Space of every code point.

    python3 engine/tokenizer/unicode_make.py > engine/tokenizer/tokenizer_unicode_table.c

Source of the categories: libutf8proc (its Unicode version goes into the file). White_Space is the
list of PropList.txt, which has not changed since Unicode 6.3.
"""
import ctypes
import ctypes.util

WHITE_SPACE = [*range(0x09, 0x0E), 0x20, 0x85, 0xA0, 0x1680, *range(0x2000, 0x200B), 0x2028, 0x2029,
               0x202F, 0x205F, 0x3000]
N_CODE_POINTS = 0x110000
BLOCK = 128    # tried: 32 to 512; 128 gives the smallest sum of both levels
WHITE_BIT = 0x20


def rows(values, per_row, fmt):
    for i in range(0, len(values), per_row):
        yield "    " + " ".join(fmt % v + "," for v in values[i:i + per_row])


def main():
    lib = ctypes.CDLL(ctypes.util.find_library("utf8proc"))
    lib.utf8proc_unicode_version.restype = ctypes.c_char_p
    version = lib.utf8proc_unicode_version().decode()
    flat = bytearray(lib.utf8proc_category(c) for c in range(N_CODE_POINTS))
    for c in WHITE_SPACE:
        flat[c] |= WHITE_BIT

    blocks, index, first_level = [], {}, []
    for at in range(0, N_CODE_POINTS, BLOCK):
        block = bytes(flat[at:at + BLOCK])
        if block not in index:
            index[block] = len(blocks)
            blocks.append(block)
        first_level.append(index[block])
    assert first_level[0] == 0

    print("/* SPDX-License-Identifier: MIT */")
    print("/* Written by unicode_make.py from Unicode %s (libutf8proc): not edited by hand. */" % version)
    print('#include "engine/tokenizer/tokenizer_unicode.h"\n')
    print('const char tokenizer_unicode_version[] = "%s";\n' % version)
    print("const uint16_t tokenizer_unicode_block[TOKENIZER_UNICODE_BLOCKS] = {")
    print("\n".join(rows(first_level, 24, "%d")))
    print("};\n")
    print("/* %d different blocks. */" % len(blocks))
    print("const uint8_t tokenizer_unicode_class[][TOKENIZER_UNICODE_BLOCK] = {")
    for block in blocks:    # a line each: the file is read by the compiler, not by people
        print("    { " + ",".join("%d" % v for v in block) + " },")
    print("};")


main()
