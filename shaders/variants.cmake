# SPDX-License-Identifier: MIT
# Every shader that is compiled, in one list:
#
#     shader_variant(NAME SOURCE file BINDINGS n [DEFINES ...])
#
# gives vulkan_shaders[] an entry NAME. BINDINGS: storage buffers 0 .. n - 1 of set 0.

shader_variant(acts SOURCE acts.comp BINDINGS 2)
shader_variant(acts_f16 SOURCE acts_f16.comp BINDINGS 2)
shader_variant(best SOURCE best.comp BINDINGS 3)
shader_variant(glu SOURCE glu.comp BINDINGS 2)
shader_variant(norm SOURCE norm.comp BINDINGS 4)

# By type of weight; _tree: for devices whose subgroups cannot add.
set(quantised q4_0 q4_1 q5_0 q5_1 q8_0 q2k q3k q4k q5k q6k iq4_nl iq4_xs mxfp4)
foreach(type ${quantised} f16 bf16 f32)
    string(TOUPPER ${type} upper)
    shader_variant(embed_${type} SOURCE embed.comp BINDINGS 4 DEFINES WEIGHT_${upper})
    shader_variant(matvec_${type} SOURCE matvec.comp BINDINGS 8 DEFINES WEIGHT_${upper})
    shader_variant(matvec_${type}_tree SOURCE matvec.comp BINDINGS 8 DEFINES WEIGHT_${upper} REDUCE_TREE)
    shader_variant(matmul_${type} SOURCE matmul.comp BINDINGS 6 DEFINES WEIGHT_${upper})
endforeach()

# Of quantised weights and activations; _emulated: for devices without dot products of int8.
foreach(type ${quantised})
    string(TOUPPER ${type} upper)
    shader_variant(matmul_i8_${type} SOURCE matmul.comp BINDINGS 6 DEFINES WEIGHT_${upper} INT8)
    shader_variant(matmul_i8_${type}_emulated SOURCE matmul.comp BINDINGS 6 DEFINES WEIGHT_${upper} INT8 DOT_EMULATED)
endforeach()

# Where the compiler knows cooperative matrices.
if(GLSLANG_COOP)
    foreach(type ${quantised} f16)
        string(TOUPPER ${type} upper)
        shader_variant(matmul_coop_${type} SOURCE matmul_coop.comp BINDINGS 6 DEFINES WEIGHT_${upper} COOP)
    endforeach()
endif()

shader_variant(attn_in SOURCE attn_in.comp BINDINGS 8)
shader_variant(attn SOURCE attn.comp BINDINGS 5)
shader_variant(attn_merge SOURCE attn_merge.comp BINDINGS 4)
shader_variant(seal SOURCE seal.comp BINDINGS 2)
