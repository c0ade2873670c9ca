// SPDX-License-Identifier: MIT
// sum + the dot product of four signed bytes in a and four in b. DOT_EMULATED: for devices without the instruction.
#ifndef DOT4_GLSL
#define DOT4_GLSL

#ifdef DOT_EMULATED
int dot4(uint a, uint b, int sum)
{
    ivec4 shift = ivec4(24, 16, 8, 0);
    ivec4 four = (ivec4(int(a)) << shift >> 24) * (ivec4(int(b)) << shift >> 24);
    return sum + four.x + four.y + four.z + four.w;
}
#else
// OpSDot by its number, as the compiler knows no name for it; the capabilities are DotProductKHR and
// DotProductInput4x8BitPackedKHR, and the last operand says that bytes are packed in words.
#extension GL_EXT_spirv_intrinsics : require
spirv_instruction(extensions = ["SPV_KHR_integer_dot_product"], capabilities = [6019, 6018], id = 4450)
int packed_dot(uint a, uint b, spirv_literal int format);

int dot4(uint a, uint b, int sum)
{
    return sum + packed_dot(a, b, 0);
}
#endif

#endif
