// float16 and bfloat16 to float32 and back, one number at a time, in integer arithmetic.
// Vector forms of float16 are in vec_*.hpp; a loop over the bfloat16 ones vectorises by itself.
#pragma once

#include <stdint.h>
#include <string.h>

namespace fastsoftmax {
namespace {

inline uint32_t bits_of(float a) {
    uint32_t u;
    memcpy(&u, &a, 4);
    return u;
}
inline float float_of(uint32_t u) {
    float a;
    memcpy(&a, &u, 4);
    return a;
}

inline float from_bf16(uint16_t h) { return float_of(uint32_t{h} << 16); }

// Round to nearest, ties to even; a NaN stays one.
inline uint16_t to_bf16(float a) {
    const uint32_t u = bits_of(a);
    const uint32_t rounded = (u + 0x7fff + ((u >> 16) & 1)) >> 16;
    const uint32_t quiet = (u >> 16) | 0x40;
    return static_cast<uint16_t>((u & 0x7fffffff) > 0x7f800000 ? quiet : rounded);
}

inline float from_f16(uint16_t h) {
    const uint32_t sign = uint32_t{h & 0x8000u} << 16, magnitude = h & 0x7fff;
    if (magnitude >= 0x7c00) return float_of(sign | 0x7f800000 | ((magnitude & 0x3ff) << 13));
    if (magnitude >= 0x400) return float_of(sign | ((magnitude << 13) + (112u << 23)));
    const float subnormal = static_cast<float>(magnitude) * 0x1p-24f;
    return sign ? -subnormal : subnormal;
}

inline uint16_t to_f16(float a) {
    const uint32_t u = bits_of(a), sign = (u >> 16) & 0x8000, magnitude = u & 0x7fffffff;
    if (magnitude > 0x7f800000) return static_cast<uint16_t>(sign | 0x7e00);
    if (magnitude >= 0x477ff000) return static_cast<uint16_t>(sign | 0x7c00);  // from 65520 on
    if (magnitude < 0x38800000) {  // below 2^-14: adding 1/2 rounds at the subnormals' last place
        const uint32_t rounded = bits_of(float_of(magnitude) + 0.5f) - 0x3f000000;
        return static_cast<uint16_t>(sign | rounded);
    }
    const uint32_t rounded = magnitude - (112u << 23) + 0xfff + ((magnitude >> 13) & 1);
    return static_cast<uint16_t>(sign | (rounded >> 13));
}

}  // namespace
}  // namespace fastsoftmax
