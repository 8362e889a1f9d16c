// Vec<float> and Vec<double> in GNU vectors of 16 bytes: SSE2, NEON and whatever else there is.
// No mathematics, no intrinsics. See vec_avx512.hpp.
#pragma once

#include <stdint.h>
#include <string.h>

#include "half.hpp"

namespace fastsoftmax::FASTSOFTMAX_ISA {
namespace {

template <class T>
struct Vec {
    typedef T Native __attribute__((vector_size(16)));
    static constexpr int lanes = 16 / sizeof(T), table_bits = 0;
    Native v;
    static Vec all(T a) { return {Native{} + a}; }
};

using VecF = Vec<float>;
using VecD = Vec<double>;

// Not everywhere has a fused multiply-add: one way of reducing serves all machines.
constexpr bool fuses = false;
// Vectors exponentiated side by side: a chain of 24 operations of 3 cycles needs that many others
// to hide behind, although their numbers do not fit into 16 registers.
constexpr int exp2_at_once = 8;
template <class T>
constexpr int exponent_of_one = sizeof(T) == 4 ? 127 : 1023;  // as `power` expects it
constexpr bool scale_saturates = false;

template <class T>
inline Vec<T> load(const T* p) {
    Vec<T> a;
    memcpy(&a.v, p, sizeof a.v);
    return a;
}
template <class T>
inline Vec<T> load_part(const T* p, int n, T fill) {
    Vec<T> a = Vec<T>::all(fill);
    for (int i = 0; i < n; ++i) a.v[i] = p[i];
    return a;
}
template <class T>
inline void store(T* p, Vec<T> a) {
    memcpy(p, &a.v, sizeof a.v);
}
template <class T>
inline void store_part(T* p, Vec<T> a, int n) {
    for (int i = 0; i < n; ++i) p[i] = a.v[i];
}
template <class T>
inline void store_rest(T* p, Vec<T> a, int n) {
    for (int i = n; i < Vec<T>::lanes; ++i) p[i] = a.v[i];
}

// There is no portable store past the caches.
template <class T>
inline void stream(T* p, Vec<T> a) {
    store(p, a);
}
inline void stream_end() {}

// n of them, from memory at `p` where `present` says so; else `fill`.
template <class T>
inline Vec<T> load_where_part(const T* p, const char* present, int n, T fill) {
    Vec<T> a = Vec<T>::all(fill);
    for (int i = 0; i < n; ++i)
        if (present[i]) a.v[i] = p[i];
    return a;
}
template <class T>
inline Vec<T> load_where(const T* p, const char* present, T fill) {
    return load_where_part(p, present, Vec<T>::lanes, fill);
}

template <class T>
inline void forget(Vec<T>& a) {
#if defined(__x86_64__)
    __asm__ volatile("" : "+x"(a.v));
#elif defined(__aarch64__)
    __asm__ volatile("" : "+w"(a.v));
#else
    __asm__ volatile("" : "+m"(a.v));
#endif
}

template <class T>
inline Vec<T> operator+(Vec<T> a, Vec<T> b) {
    return {a.v + b.v};
}
template <class T>
inline Vec<T> operator-(Vec<T> a, Vec<T> b) {
    return {a.v - b.v};
}
template <class T>
inline Vec<T> operator*(Vec<T> a, Vec<T> b) {
    return {a.v * b.v};
}

template <class T>
inline Vec<T> operator/(Vec<T> a, Vec<T> b) {
    return {a.v / b.v};
}

// Two roundings where the machine has no fused multiply-add: good enough for a polynomial.
template <class T>
inline Vec<T> mul_add(Vec<T> a, Vec<T> b, Vec<T> c) {
#ifdef __FP_FAST_FMA
    for (int i = 0; i < Vec<T>::lanes; ++i) {
        if constexpr (sizeof(T) == 4)
            c.v[i] = __builtin_fmaf(a.v[i], b.v[i], c.v[i]);
        else
            c.v[i] = __builtin_fma(a.v[i], b.v[i], c.v[i]);
    }
    return c;
#else
    return a * b + c;
#endif
}

template <class T>
inline Vec<T> at_least(Vec<T> x, Vec<T> low) {
    return {low.v > x.v ? low.v : x.v};
}
template <class T>
inline Vec<T> at_most(Vec<T> x, Vec<T> high) {
    return {high.v < x.v ? high.v : x.v};
}
template <class T>
inline Vec<T> larger(Vec<T> top, Vec<T> x) {
    return {x.v > top.v ? x.v : top.v};
}

template <class Mask>
inline bool any(Mask m) {
    uint64_t half[2];
    memcpy(half, &m, 16);
    return (half[0] | half[1]) != 0;
}
template <class T>
inline int first_equal(Vec<T> a, Vec<T> b) {
    int i = 0;
    while (i < Vec<T>::lanes && a.v[i] != b.v[i]) ++i;
    return i;
}
template <class T>
inline bool all_at_most(Vec<T> a, Vec<T> b) {
    return !any(~(a.v <= b.v));
}
template <class T>
inline bool any_nan(Vec<T> a) {
    return any(a.v != a.v);
}

template <class T>
inline Vec<T> zero_where_equal(Vec<T> a, Vec<T> x, Vec<T> y) {
    return {x.v == y.v ? typename Vec<T>::Native{} : a.v};
}
template <class T>
inline Vec<T> one_more_where_equal(Vec<T> a, Vec<T> x, Vec<T> y) {
    return {x.v == y.v ? a.v + T(1) : a.v};
}

// Four numbers at once: of halves GCC 12 makes conversions number by number, with the loads, the
// moves and, at worst, the rounding of their own.
typedef double FourD __attribute__((vector_size(32)));
inline VecD widen_low(VecF a) {
    const FourD wide = __builtin_convertvector(a.v, FourD);
    return {__builtin_shufflevector(wide, wide, 0, 1)};
}
inline VecD widen_high(VecF a) {
    return widen_low({__builtin_shufflevector(a.v, a.v, 2, 3, 2, 3)});
}
inline VecF narrow(VecD low, VecD high) {
    return {
        __builtin_convertvector(__builtin_shufflevector(low.v, high.v, 0, 1, 2, 3), VecF::Native)};
}
inline double sum_of_lanes(VecD a) { return a.v[0] + a.v[1]; }
template <class T>
inline T largest_lane(Vec<T> a) {
    T top = a.v[0];
    for (int i = 1; i < Vec<T>::lanes; ++i) top = a.v[i] > top ? a.v[i] : top;
    return top;
}

// a * b + c with one rounding, where that matters most.
inline VecF fused(VecF a, VecF b, VecF c) {
#ifdef __FP_FAST_FMA
    return mul_add(a, b, c);
#else
    return narrow(widen_low(a) * widen_low(b) + widen_low(c),
                  widen_high(a) * widen_high(b) + widen_high(c));
#endif
}

// a * (b_hi + b_lo) with one rounding, if the machine has a type wide enough: not for float64.
inline VecF times(VecF a, VecF b_hi, VecF b_lo) {
#ifdef __FP_FAST_FMA
    return mul_add(a, b_hi, a * b_lo);
#else
    return narrow(widen_low(a) * (widen_low(b_hi) + widen_low(b_lo)),
                  widen_high(a) * (widen_high(b_hi) + widen_high(b_lo)));
#endif
}
inline VecD times(VecD a, VecD b_hi, VecD b_lo) { return mul_add(a, b_hi, a * b_lo); }

// 2^(z - magic) for z whose lowest bits are the exponent, ready to be shifted into place.
inline VecF power(VecF z, float, const float (&)[1]) {
    typedef uint32_t Bits __attribute__((vector_size(16)));
    return {(VecF::Native)((Bits)z.v << 23)};
}
inline VecD power(VecD z, double, const double (&)[1]) {
    typedef uint64_t Bits __attribute__((vector_size(16)));
    return {(VecD::Native)((Bits)z.v << 52)};
}

template <class T, int S, class At>
inline Vec<T> load_slots(At at) {
    Vec<T> a;
    char* const to = reinterpret_cast<char*>(&a.v);
    for (int i = 0; i < Vec<T>::lanes / S; ++i)
        memcpy(to + i * S * static_cast<int>(sizeof(T)), at(i), S * sizeof(T));
    return a;
}
template <int S, class T, class At>
inline void store_slots(At at, Vec<T> a) {
    const char* const from = reinterpret_cast<const char*>(&a.v);
    for (int i = 0; i < Vec<T>::lanes / S; ++i)
        memcpy(at(i), from + i * S * static_cast<int>(sizeof(T)), S * sizeof(T));
}

template <int step>
inline void exchange(VecF& a, VecF& b) {
    const VecF::Native x = a.v, y = b.v;
    a.v = step == 2 ? __builtin_shufflevector(x, y, 0, 1, 4, 5)
                    : __builtin_shufflevector(x, y, 0, 4, 2, 6);
    b.v = step == 2 ? __builtin_shufflevector(x, y, 2, 3, 6, 7)
                    : __builtin_shufflevector(x, y, 1, 5, 3, 7);
}
template <int step>
inline void exchange(VecD& a, VecD& b) {
    const VecD::Native x = a.v, y = b.v;
    a.v = __builtin_shufflevector(x, y, 0, 2);
    b.v = __builtin_shufflevector(x, y, 1, 3);
}

template <int S>
inline VecF regroup(VecF a) {
    return {S == 2 ? __builtin_shufflevector(a.v, a.v, 0, 2, 1, 3) : a.v};
}
template <int S>
inline VecD regroup(VecD a) {
    return a;
}

// Half types, 4 in 8 bytes: as half.hpp does it, without branches.
typedef uint32_t Words __attribute__((vector_size(16)));
typedef uint16_t HalfWords __attribute__((vector_size(8)));

inline VecF widen(BFloat16, Words bits) { return {(VecF::Native)(bits << 16)}; }
inline VecF widen(Float16, Words bits) {
    const Words magnitude = bits & 0x7fff, rebias = Words{} + (112u << 23);
    const Words infinite = magnitude >= 0x7c00 ? rebias : Words{};
    const Words normal = (magnitude << 13) + rebias + infinite;
    typedef int32_t Numbers __attribute__((vector_size(16)));
    const VecF::Native subnormal =
        __builtin_convertvector((Numbers)magnitude, VecF::Native) * 0x1p-24f;
    const Words number = magnitude < 0x400 ? (Words)subnormal : normal;
    return {(VecF::Native)(number | ((bits & 0x8000) << 16))};
}
inline Words narrow(BFloat16, VecF a) {
    const Words bits = (Words)a.v;
    return (bits + 0x7fff + ((bits >> 16) & 1)) >> 16;
}
inline Words narrow(Float16, VecF a) {
    const Words bits = (Words)a.v, magnitude = bits & 0x7fffffff;
    const Words small = (Words)((VecF::Native)magnitude + 0.5f) - 0x3f000000;
    const Words normal = (magnitude - (112u << 23) + 0xfff + ((magnitude >> 13) & 1)) >> 13;
    const Words finite = magnitude < 0x38800000 ? small : normal;
    const Words infinite = magnitude > 0x7f800000 ? Words{} + 0x7e00 : Words{} + 0x7c00;
    return (magnitude >= 0x477ff000 ? infinite : finite) | ((bits >> 16) & 0x8000);
}

template <Elem type>
inline VecF load(const Half<type>* p) {
    HalfWords bits;
    memcpy(&bits, p, sizeof bits);
    return widen(Half<type>{}, __builtin_convertvector(bits, Words));
}
template <Elem type>
inline VecF load_part(const Half<type>* p, int n, float fill) {
    VecF a = VecF::all(fill);
    for (int i = 0; i < n; ++i) a.v[i] = widen(p[i]);
    return a;
}
template <Elem type>
inline void store(Half<type>* p, VecF a) {
    const HalfWords bits = __builtin_convertvector(narrow(Half<type>{}, a), HalfWords);
    memcpy(p, &bits, sizeof bits);
}
template <Elem type>
inline void store_part(Half<type>* p, VecF a, int n) {
    for (int i = 0; i < n; ++i) narrow(a.v[i], p[i]);
}
template <Elem type>
inline void stream(Half<type>* p, VecF a) {
    store(p, a);
}

}  // namespace
}  // namespace fastsoftmax::FASTSOFTMAX_ISA
