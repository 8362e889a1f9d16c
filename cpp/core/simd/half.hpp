// float16 and bfloat16: their types, and float32 and back one number at a time, in integer
// arithmetic. Vector forms are in vec_*.hpp.
#pragma once

#include <stdint.h>
#include <string.h>

#include "../kernels.hpp"

namespace fastsoftmax {
namespace {

template <Elem type>
struct Half {
    uint16_t bits;
};
using Float16 = Half<Elem::f16>;
using BFloat16 = Half<Elem::bf16>;

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

inline float widen(BFloat16 h) { return float_of(uint32_t{h.bits} << 16); }

// Round to nearest, ties to even; a NaN stays one.
inline void narrow(float a, BFloat16& h) {
    const uint32_t u = bits_of(a);
    const uint32_t rounded = (u + 0x7fff + ((u >> 16) & 1)) >> 16;
    const uint32_t quiet = (u >> 16) | 0x40;
    h.bits = static_cast<uint16_t>((u & 0x7fffffff) > 0x7f800000 ? quiet : rounded);
}

inline float widen(Float16 h) {
    const uint32_t sign = uint32_t{h.bits & 0x8000u} << 16, magnitude = h.bits & 0x7fff;
    if (magnitude >= 0x7c00) return float_of(sign | 0x7f800000 | ((magnitude & 0x3ff) << 13));
    if (magnitude >= 0x400) return float_of(sign | ((magnitude << 13) + (112u << 23)));
    const float subnormal = static_cast<float>(magnitude) * 0x1p-24f;
    return sign ? -subnormal : subnormal;
}

inline void narrow(float a, Float16& h) {
    const uint32_t u = bits_of(a), magnitude = u & 0x7fffffff;
    uint32_t rounded;
    if (magnitude > 0x7f800000) {
        rounded = 0x7e00;
    } else if (magnitude >= 0x477ff000) {  // from 65520 on
        rounded = 0x7c00;
    } else if (magnitude < 0x38800000) {
        // Below 2^-14: adding 1/2 rounds at the subnormals' last place.
        rounded = bits_of(float_of(magnitude) + 0.5f) - 0x3f000000;
    } else {
        rounded = (magnitude - (112u << 23) + 0xfff + ((magnitude >> 13) & 1)) >> 13;
    }
    h.bits = static_cast<uint16_t>(((u >> 16) & 0x8000) | rounded);
}

}  // namespace
}  // namespace fastsoftmax
