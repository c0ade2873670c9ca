// SPDX-License-Identifier: MIT
#version 460
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_buffer_reference : require
#extension GL_EXT_buffer_reference_uvec2 : require
#extension GL_EXT_shader_16bit_storage : require
#extension GL_EXT_control_flow_attributes : require
#include "include/push.h"
#include "include/page.glsl"

// Attention of one row over one part of its pages, for query heads that share a KV head. A part is TABLE_PART_PAGES
// pages counted from page 0, so what a row computes follows from its position alone.
//
//     scores     a lane is a key of the part: its components meet all queries as they are read
//     weights    maximum, exp, sum over the part, in shared memory
//     values     a lane is a component: lanes of a power of two at least D_HEAD go together over a page, the next ones
//                over the page after it; their sums are added in the order of the pages
//
// A page is read in one of two forms, and both may occur in a part (the first page, the tail). Where the sealed form is
// rotated, keys meet the query in their own basis: plain for open pages, turned for sealed ones. Values of open pages
// are summed first and their sum is rotated, so that all parts of a row are in one basis; attn_merge.comp turns it
// back.
// Keys are laid down as they are read, scale * code + mean, and multiplied in f32, as the CPU's exact kernels do.
//
// Results, in `scratch`: for each row of the dispatch, query head and part the maximum and the sum of weights; behind
// all of these, in the same order, D_HEAD components, not normalised. Parts of a row count from the first it sees.
layout(constant_id = 0) const uint D_HEAD = 64;
layout(constant_id = 1) const uint QUERIES = 8;    // of a KV head at a time, at most 8
layout(constant_id = 2) const uint K_TYPE = KV_F16;
layout(constant_id = 3) const uint V_TYPE = KV_F16;
const uint WG_SIZE = TABLE_PART_PAGES * KV_PAGE;
layout(local_size_x = TABLE_PART_PAGES * 64) in;
layout(push_constant) uniform Push { push_attn p; };
layout(set = 0, binding = 0) readonly buffer Rows { table_row rows[]; };
layout(set = 0, binding = 1) readonly buffer Table { table_page pages[]; };
layout(set = 0, binding = 2) readonly buffer Q { vec4 q[]; };
layout(set = 0, binding = 3) readonly buffer Turned { vec4 turned[]; };
layout(set = 0, binding = 4) writeonly buffer Scratch { float scratch[]; };

const uint NONE = 0, OPEN = 1, SEALED = 2;    // forms of a page; NONE: nothing of it is seen
const float LOWEST = -3.402823e38;

// Words of 32 bits in a sealed page: of one head's mean, scales, codes (kv_page.h, kv_sealed_key_bytes()).
const bool K_ROTATED = K_TYPE == KV_KV4 || K_TYPE == KV_KV3, V_ROTATED = V_TYPE == KV_KV4 || V_TYPE == KV_KV3;
const bool SEALS = K_TYPE > KV_F32 || V_TYPE > KV_F32;
const uint V_BLOCK = D_HEAD % 64 != 0 ? 32 : V_ROTATED ? 64 : 32;
const uint K_SCALE = K_ROTATED ? D_HEAD / 2 : 0;
const uint K_CODES = K_SCALE + (K_TYPE > KV_F32 ? (D_HEAD + 31) / 32 * 32 : 0);
const uint V_CODES = V_TYPE > KV_F32 ? (D_HEAD + V_BLOCK - 1) / V_BLOCK * 32 : 0;
const uint K_HIGH = K_CODES + D_HEAD * 4, V_HIGH = V_CODES + D_HEAD * 4;
const uint K_HIGH_WORDS = (D_HEAD + 31) / 32 * 64;
const uint K_CODE_WORDS = K_TYPE == KV_F16 ? D_HEAD * 32 : K_TYPE == KV_Q8_0 ? D_HEAD * 16
                        : K_TYPE == KV_KV3 ? D_HEAD * 4 + K_HIGH_WORDS : D_HEAD * 8;
const uint V_CODE_WORDS = V_TYPE == KV_F16 ? D_HEAD * 32 : V_TYPE == KV_Q8_0 ? D_HEAD * 16
                        : V_TYPE == KV_KV3 ? D_HEAD * 6 : D_HEAD * 8;
const uint K_WORDS = (K_CODES + K_CODE_WORDS + 15) / 16 * 16, V_WORDS = (V_CODES + V_CODE_WORDS + 15) / 16 * 16;
// Groups of four codes in a word.
const uint K_PER_WORD = K_TYPE == KV_Q8_0 ? 1 : K_TYPE == KV_KV3 ? 4 : 2;
const uint V_PER_WORD = V_TYPE == KV_KV3 ? 4 : 2;

// Lanes of a page's values, groups of as many, components of a lane; floats of one query in `work`.
const uint LANES = D_HEAD > 128 ? 256 : D_HEAD > 64 ? 128 : 64;
const uint GROUPS = WG_SIZE / LANES;
const uint EACH = D_HEAD > WG_SIZE ? 2 : 1;
const uint STRIDE = WG_SIZE * EACH;
const uint SUMS = QUERIES * EACH;    // of a lane

shared vec4 work[QUERIES * STRIDE / 4];               // queries, then sums of values
shared vec4 weights[QUERIES * WG_SIZE / 4];           // of a key: score, then weight
shared float folded[WG_SIZE], top[QUERIES];
shared uvec2 page_at[TABLE_PART_PAGES];
shared uint page_form[TABLE_PART_PAGES];

float rotate_get(uint i)
{
    return work[i / 4][i % 4];
}

void rotate_put(uint i, float x)
{
    work[i / 4][i % 4] = x;
}
#include "include/rotate.glsl"

// What this workgroup is about; the same in all its lanes.
struct task {
    uint row, pos, first_key, part;
    uint kv_head, query, n_queries;    // query: the first of them, a head of the row
};

// ---- codes

vec4 bytes(uint word)
{
    return vec4(word & 255, word >> 8 & 255, word >> 16 & 255, word >> 24);
}

// Group `g` of four in a word of 4-bit codes, or of 3-bit ones whose high bits are in `high`.
vec4 small_codes(uint type, uint word, uint high, uint g)
{
    if (type != KV_KV3)
        return bytes(word >> 4 * (g % 2) & 0x0f0f0f0f) - 8;
    // kv3_level is odd: 14, 45, 79, 127 upward from index 4, and downward from 3
    uint upper = high >> g % 8 & 0x01010101, steps = (word >> 2 * (g % 4) & 0x03030303) ^ (0x03030303 - 3 * upper);
    uvec4 level = uvec4(0x7f4f2d0e) >> (uvec4(steps, steps >> 8, steps >> 16, steps >> 24) & 3) * 8 & 255;
    return vec4(level) * (2 * bytes(upper) - 1);
}

// ---- scores: this lane's key against all queries

void load_queries(const task t, bool turn, uint lane)
{
    for (uint i = lane; i < QUERIES * (D_HEAD / 4); i += WG_SIZE) {
        uint j = i / (D_HEAD / 4), at = (t.row * p.n_head + t.query) * (D_HEAD / 4) + i;
        vec4 x = vec4(0);
        if (j < t.n_queries)
            x = turn ? turned[at] : q[at];
        work[j * (STRIDE / 4) + i % (D_HEAD / 4)] = x;
    }
    barrier();
}

void meet(inout float s[QUERIES], uint g, vec4 key)
{
    [[unroll]] for (uint j = 0; j < QUERIES; j++) {
        vec4 x = work[j * (STRIDE / 4) + g];
        s[j] = fma(x.w, key.w, fma(x.z, key.z, fma(x.y, key.y, fma(x.x, key.x, s[j]))));
    }
}

void scores_f16(inout float s[QUERIES], uvec2 page, uint head, uint slot)
{
    PageHalves keys = PageHalves(page);
    for (uint g = 0; g < D_HEAD / 4; g++) {
        uint at = head + g * 4 * KV_PAGE + slot;
        meet(s, g, vec4(keys.at[at], keys.at[at + KV_PAGE], keys.at[at + 2 * KV_PAGE], keys.at[at + 3 * KV_PAGE]));
    }
}

void scores_f32(inout float s[QUERIES], uvec2 page, uint head, uint slot)
{
    PageFloats keys = PageFloats(page);
    for (uint g = 0; g < D_HEAD / 4; g++) {
        uint at = head + g * 4 * KV_PAGE + slot;
        meet(s, g, vec4(keys.at[at], keys.at[at + KV_PAGE], keys.at[at + 2 * KV_PAGE], keys.at[at + 3 * KV_PAGE]));
    }
}

void scores_sealed(inout float s[QUERIES], uvec2 page, uint head, uint slot)
{
    PageWords words = PageWords(page);
    PageHalves halves = PageHalves(page);
    float scale = 0;
    uint word = 0, high = 0;
    for (uint g = 0; g < D_HEAD / 4; g++) {
        if (g % 8 == 0) {
            scale = float(halves.at[(head + K_SCALE) * 2 + g / 8 * KV_PAGE + slot]);
            if (K_TYPE == KV_KV3)
                high = words.at[head + K_HIGH + g / 8 * KV_PAGE + slot];
        }
        if (g % K_PER_WORD == 0)
            word = words.at[head + K_CODES + g / K_PER_WORD * KV_PAGE + slot];
        vec4 key = scale * (K_TYPE == KV_Q8_0 ? bytes(word) - 128 : small_codes(K_TYPE, word, high, g));
        if (K_ROTATED)
            key += vec4(unpackHalf2x16(words.at[head + 2 * g]), unpackHalf2x16(words.at[head + 2 * g + 1]));
        meet(s, g, key);
    }
}

// ---- weights

float soft_cap(float x)    // tanh by what cannot overflow
{
    float e = exp(-2 * abs(x) / p.cap);
    return sign(x) * p.cap * (1 - e) / (1 + e);
}

// Leaves weights in place of scores; their maximum and sum go to the scratch. Of each query 32 lanes fold every 32nd
// group of four, then one lane these.
void weigh(const task t, inout float s[QUERIES], bool seen, uint lane, uint result)
{
    [[unroll]] for (uint j = 0; j < QUERIES; j++) {
        if (p.cap != 0)
            s[j] = soft_cap(s[j]);
        weights[j * (WG_SIZE / 4) + lane / 4][lane % 4] = seen ? s[j] : LOWEST;
    }
    barrier();
    uint first = lane / 32 * (WG_SIZE / 4) + lane % 32;
    if (lane / 32 < QUERIES) {
        vec4 a = max(weights[first], weights[first + 32]);
        folded[lane] = max(max(a.x, a.y), max(a.z, a.w));
    }
    barrier();
    if (lane < QUERIES) {
        float m = folded[lane * 32];
        for (uint i = 1; i < 32; i++)
            m = max(m, folded[lane * 32 + i]);
        top[lane] = m;
    }
    barrier();
    [[unroll]] for (uint j = 0; j < QUERIES; j++)
        weights[j * (WG_SIZE / 4) + lane / 4][lane % 4] = seen ? exp(s[j] - top[j]) : 0;
    barrier();
    if (lane / 32 < QUERIES) {
        vec4 a = weights[first] + weights[first + 32];
        folded[lane] = (a.x + a.y) + (a.z + a.w);
    }
    barrier();
    if (lane < t.n_queries) {
        float l = 0;
        for (uint i = 0; i < 32; i++)
            l += folded[lane * 32 + i];
        scratch[(result + lane * p.max_parts) * 2] = top[lane];
        scratch[(result + lane * p.max_parts) * 2 + 1] = l;
    }
}

// ---- values: this lane's components, of the pages that are its group's

// Group `g` of four keys of the part.
void add(inout float sums[SUMS], uint i, uint g, vec4 value)
{
    [[unroll]] for (uint j = 0; j < QUERIES; j++) {
        vec4 w = weights[j * (WG_SIZE / 4) + g];
        uint at = i * QUERIES + j;
        sums[at] = fma(w.w, value.w, fma(w.z, value.z, fma(w.y, value.y, fma(w.x, value.x, sums[at]))));
    }
}

float plain(uvec2 page, uint at, bool f32)
{
    if (f32)
        return PageFloats(page).at[at];
    return float(PageHalves(page).at[at]);
}

// Keys [key0, key1) of the page alone are read: what lies beside them may be anything, and a weight of 0 would not stop
// a NaN. Groups that lie inside, nearly all, have their four loads in flight at once.
void values_plain(inout float sums[SUMS], uint i, uint page, uint from, uint key0, uint key1, bool f32)
{
    uvec2 address = page_at[page];
    for (uint g = key0 / 4; g < (key1 + 3) / 4; g++) {
        uint key = g * 4, at = from + key * D_HEAD;
        vec4 value = vec4(0);
        if (key >= key0 && key + 4 <= key1)
            value = vec4(plain(address, at, f32), plain(address, at + D_HEAD, f32),
                         plain(address, at + 2 * D_HEAD, f32), plain(address, at + 3 * D_HEAD, f32));
        else
            for (uint n = max(key, key0); n < min(key + 4, key1); n++)
                value[n - key] = plain(address, from + n * D_HEAD, f32);
        add(sums, i, page * (KV_PAGE / 4) + g, value);
    }
}

// A sealed page is full, and all its numbers are finite.
void values_sealed(inout float sums[SUMS], uint i, uint page, uint head, uint c)
{
    PageWords words = PageWords(page_at[page]);
    PageShorts shorts = PageShorts(page_at[page]);
    uint word = 0, high = 0;
    for (uint g = 0; g < KV_PAGE / 4; g++) {
        uint scales = head + c / V_BLOCK * (KV_PAGE / 2) + g * 2;
        vec4 scale = vec4(unpackHalf2x16(words.at[scales]), unpackHalf2x16(words.at[scales + 1])), code;
        if (V_TYPE == KV_Q8_0) {
            uint at = (head + V_CODES) * 2 + g * 2 * D_HEAD + c;
            int pair = int(uint(shorts.at[at])), next = int(uint(shorts.at[at + D_HEAD]));
            code = vec4(bitfieldExtract(pair, 0, 8), bitfieldExtract(pair, 8, 8), bitfieldExtract(next, 0, 8),
                        bitfieldExtract(next, 8, 8));
        } else {
            if (g % V_PER_WORD == 0)
                word = words.at[head + V_CODES + g / V_PER_WORD * D_HEAD + c];
            if (V_TYPE == KV_KV3 && g % 8 == 0)
                high = words.at[head + V_HIGH + g / 8 * D_HEAD + c];
            code = small_codes(V_TYPE, word, high, g);
        }
        add(sums, i, page * (KV_PAGE / 4) + g, scale * code);
    }
}

void add_pages(const task t, inout float sums[SUMS], uint form, uint lane)
{
    for (uint page = lane / LANES; page < TABLE_PART_PAGES; page += GROUPS) {
        uint begin = (t.part * TABLE_PART_PAGES + page) * KV_PAGE;
        if (page_form[page] != form)
            continue;
        uint key0 = max(t.first_key, begin) - begin, key1 = min(t.pos + 1 - begin, KV_PAGE);
        [[unroll]] for (uint i = 0; i < EACH; i++) {
            uint c = lane % LANES + i * WG_SIZE;
            if (c >= D_HEAD)
                continue;
            if (form == OPEN)
                values_plain(sums, i, page, (p.n_kv_head + t.kv_head) * KV_PAGE * D_HEAD + c, key0, key1,
                             K_TYPE == KV_F32);
            else if (V_TYPE == KV_F16)
                values_plain(sums, i, page, (p.n_kv_head * K_WORDS + t.kv_head * V_WORDS) * 2 + c, key0, key1, false);
            else
                values_sealed(sums, i, page, p.n_kv_head * K_WORDS + t.kv_head * V_WORDS, c);
        }
    }
}

// The groups' sums, added in `work`.
void join(const float sums[SUMS], uint lane)
{
    barrier();
    [[unroll]] for (uint i = 0; i < EACH; i++)
        [[unroll]] for (uint j = 0; j < QUERIES; j++)
            rotate_put(j * STRIDE + i * WG_SIZE + lane, sums[i * QUERIES + j]);
    barrier();
    for (uint i = lane; GROUPS > 1 && i < QUERIES * D_HEAD; i += WG_SIZE) {
        uint at = i / D_HEAD * STRIDE + i % D_HEAD;
        float sum = rotate_get(at);
        for (uint group = 1; group < GROUPS; group++)
            sum += rotate_get(at + group * LANES);
        rotate_put(at, sum);
    }
    barrier();
}

// ---- the whole

void find_pages(const task t, uint lane)
{
    if (lane < TABLE_PART_PAGES) {
        uint page = t.part * TABLE_PART_PAGES + lane;
        page_form[lane] = NONE;
        if (page >= t.first_key / KV_PAGE && page <= t.pos / KV_PAGE) {
            table_page entry = pages[rows[t.row].table + p.layer_pages + page];
            uvec2 open = page_address(entry.open), sealed = page_address(entry.sealed);
            bool reads_open = !SEALS || !page_there(sealed) || (page_reads_open(t.pos, page) && page_there(open));
            page_form[lane] = reads_open ? OPEN : SEALED;
            page_at[lane] = reads_open ? open : sealed;
        }
    }
    barrier();
}

bool finds(uint form)
{
    bool found = false;
    for (uint i = 0; i < TABLE_PART_PAGES; i++)
        found = found || page_form[i] == form;
    return found;
}

void score(const task t, inout float s[QUERIES], bool seen, uint lane)
{
    uint form = seen ? page_form[lane / KV_PAGE] : NONE, slot = lane % KV_PAGE;
    uvec2 page = page_at[lane / KV_PAGE];
    if (!K_ROTATED || finds(OPEN)) {
        load_queries(t, false, lane);
        if (form == OPEN && K_TYPE == KV_F32)
            scores_f32(s, page, t.kv_head * D_HEAD * KV_PAGE, slot);
        else if (form == OPEN || (form == SEALED && K_TYPE == KV_F16))    // the same bytes
            scores_f16(s, page, t.kv_head * D_HEAD * KV_PAGE, slot);
    }
    if (SEALS && K_TYPE != KV_F16 && finds(SEALED)) {
        if (K_ROTATED) {
            barrier();
            load_queries(t, true, lane);
        }
        if (form == SEALED)
            scores_sealed(s, page, t.kv_head * K_WORDS, slot);
    }
}

void add_values(const task t, uint lane)
{
    float sums[SUMS];
    [[unroll]] for (uint i = 0; i < QUERIES * EACH; i++)
        sums[i] = 0;
    add_pages(t, sums, OPEN, lane);
    if (V_ROTATED && finds(OPEN)) {
        join(sums, lane);
        rotate(QUERIES, D_HEAD, STRIDE, lane, WG_SIZE);
        [[unroll]] for (uint i = 0; i < EACH; i++)
            [[unroll]] for (uint j = 0; j < QUERIES; j++)
                sums[i * QUERIES + j] = lane < LANES ? rotate_get(j * STRIDE + i * WG_SIZE + lane) : 0;
    }
    if (SEALS)
        add_pages(t, sums, SEALED, lane);
    join(sums, lane);
}

void main()
{
    uint lane = gl_LocalInvocationID.x, ratio = p.n_head / p.n_kv_head, turns = (ratio + QUERIES - 1) / QUERIES;
    uint row = gl_WorkGroupID.z, turn = gl_WorkGroupID.y % turns * QUERIES;
    if (row >= p.n_rows)
        return;
    task t;
    t.row = p.row0 + row;
    t.kv_head = gl_WorkGroupID.y / turns;
    t.query = t.kv_head * ratio + turn;
    t.n_queries = min(QUERIES, ratio - turn);
    t.pos = rows[t.row].pos;
    t.first_key = page_first_key(t.pos, p.window);
    t.part = t.first_key / WG_SIZE + gl_WorkGroupID.x;
    if (t.part * WG_SIZE > t.pos)
        return;
    find_pages(t, lane);

    uint key = t.part * WG_SIZE + lane, result = (row * p.n_head + t.query) * p.max_parts + gl_WorkGroupID.x;
    bool seen = key >= t.first_key && key <= t.pos;
    float s[QUERIES];
    [[unroll]] for (uint j = 0; j < QUERIES; j++)
        s[j] = 0;
    score(t, s, seen, lane);
    weigh(t, s, seen, lane, result);
    add_values(t, lane);
    uint sums = p.n_rows * p.n_head * p.max_parts * 2;
    for (uint i = lane; i < t.n_queries * D_HEAD; i += WG_SIZE) {
        uint j = i / D_HEAD, c = i % D_HEAD;
        scratch[sums + (result + j * p.max_parts) * D_HEAD + c] = rotate_get(j * STRIDE + c);
    }
}
