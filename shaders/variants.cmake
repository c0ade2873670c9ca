# SPDX-License-Identifier: MIT
# Every shader that is compiled, in one list:
#
#     shader_variant(NAME SOURCE file BINDINGS n [DEFINES ...])
#
# gives vulkan_shaders[] an entry NAME. BINDINGS: storage buffers 0 .. n - 1 of set 0.

shader_variant(norm SOURCE norm.comp BINDINGS 3)
