#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""How many bytes of the tensors of two GGUF files differ, whatever their order; "names" or "types" where those do.

   differing_bytes.py A.gguf B.gguf        needs the packages gguf and numpy
"""
import sys

import gguf
import numpy as np


def tensors(path):
    return {t.name: t for t in gguf.GGUFReader(path).tensors}


def main():
    a, b = tensors(sys.argv[1]), tensors(sys.argv[2])
    if a.keys() != b.keys():
        print("names")
    elif any(a[n].tensor_type != b[n].tensor_type for n in a):
        print("types")
    else:
        print(sum(int(np.count_nonzero(a[n].data.view(np.uint8) != b[n].data.view(np.uint8))) for n in a))


main()
