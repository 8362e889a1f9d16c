// Vec<float> and Vec<double> on AVX-512 (x86-64-v4): vector operations, one instruction or a few.
// No mathematics; vec_avx2.hpp and vec_portable.hpp offer the same names.
#pragma once

#include <immintrin.h>
#include <stdint.h>

#include "half.hpp"

namespace fastsoftmax::FASTSOFTMAX_ISA {
namespace {

template <class T>
struct Vec;

template <>
struct Vec<float> {
    static constexpr int lanes = 16, table_bits = 4;
    __m512 v;
    static Vec all(float a) { return {_mm512_set1_ps(a)}; }
};

template <>
struct Vec<double> {
    static constexpr int lanes = 8, table_bits = 4;
    __m512d v;
    static Vec all(double a) { return {_mm512_set1_pd(a)}; }
};

using VecF = Vec<float>;
using VecD = Vec<double>;

constexpr bool fuses = true;     // mul_add rounds once
constexpr int exp2_at_once = 1;  // vectors, step by step
template <class T>
constexpr int exponent_of_one = 0;  // as `power` expects it

// VSCALEF saturates: a scale beyond the exponent range gives infinity or 0, never nonsense.
constexpr bool scale_saturates = true;

inline __mmask16 first(VecF, int n) { return static_cast<__mmask16>((1u << n) - 1); }
inline __mmask8 first(VecD, int n) { return static_cast<__mmask8>((1u << n) - 1); }

inline VecF load(const float* p) { return {_mm512_loadu_ps(p)}; }
inline VecD load(const double* p) { return {_mm512_loadu_pd(p)}; }
inline VecF load_part(const float* p, int n, float fill) {
    return {_mm512_mask_loadu_ps(_mm512_set1_ps(fill), first(VecF{}, n), p)};
}
inline VecD load_part(const double* p, int n, double fill) {
    return {_mm512_mask_loadu_pd(_mm512_set1_pd(fill), first(VecD{}, n), p)};
}
inline void store(float* p, VecF a) { _mm512_storeu_ps(p, a.v); }
inline void store(double* p, VecD a) { _mm512_storeu_pd(p, a.v); }
inline void store_part(float* p, VecF a, int n) { _mm512_mask_storeu_ps(p, first(a, n), a.v); }
inline void store_part(double* p, VecD a, int n) { _mm512_mask_storeu_pd(p, first(a, n), a.v); }
// All lanes but the first n.
inline void store_rest(float* p, VecF a, int n) {
    _mm512_mask_storeu_ps(p, static_cast<__mmask16>(~first(a, n)), a.v);
}
inline void store_rest(double* p, VecD a, int n) {
    _mm512_mask_storeu_pd(p, static_cast<__mmask8>(~first(a, n)), a.v);
}

// Past the caches, to memory at a multiple of the vector's size; `stream_end` orders what follows.
inline void stream(float* p, VecF a) { _mm512_stream_ps(p, a.v); }
inline void stream(double* p, VecD a) { _mm512_stream_pd(p, a.v); }
inline void stream_end() { _mm_sfence(); }

// Lanes whose byte in `present` is 0 become `fill`, and are not read.
inline VecF load_where(const float* p, __m128i present, float fill) {
    const __mmask16 mask = _mm_test_epi8_mask(present, present);
    return {_mm512_mask_loadu_ps(_mm512_set1_ps(fill), mask, p)};
}
inline VecD load_where(const double* p, __m128i present, double fill) {
    const __mmask8 mask = static_cast<__mmask8>(_mm_test_epi8_mask(present, present));
    return {_mm512_mask_loadu_pd(_mm512_set1_pd(fill), mask, p)};
}
inline VecF load_where(const float* p, const char* present, float fill) {
    return load_where(p, _mm_loadu_si128(reinterpret_cast<const __m128i*>(present)), fill);
}
inline VecD load_where(const double* p, const char* present, double fill) {
    return load_where(p, _mm_loadl_epi64(reinterpret_cast<const __m128i*>(present)), fill);
}
// The same of the first n.
template <class T>
inline Vec<T> load_where_part(const T* p, const char* present, int n, T fill) {
    return load_where(p, _mm_maskz_loadu_epi8(first(VecF(), n), present), fill);
}

// Makes the compiler take `a` for a number it knows nothing of.
inline void forget(VecF& a) { __asm__ volatile("" : "+v"(a.v)); }
inline void forget(VecD& a) { __asm__ volatile("" : "+v"(a.v)); }

inline VecF operator+(VecF a, VecF b) { return {_mm512_add_ps(a.v, b.v)}; }
inline VecD operator+(VecD a, VecD b) { return {_mm512_add_pd(a.v, b.v)}; }
inline VecF operator-(VecF a, VecF b) { return {_mm512_sub_ps(a.v, b.v)}; }
inline VecD operator-(VecD a, VecD b) { return {_mm512_sub_pd(a.v, b.v)}; }
inline VecF operator*(VecF a, VecF b) { return {_mm512_mul_ps(a.v, b.v)}; }
inline VecD operator*(VecD a, VecD b) { return {_mm512_mul_pd(a.v, b.v)}; }
inline VecF operator/(VecF a, VecF b) { return {_mm512_div_ps(a.v, b.v)}; }
inline VecD operator/(VecD a, VecD b) { return {_mm512_div_pd(a.v, b.v)}; }
inline VecF mul_add(VecF a, VecF b, VecF c) { return {_mm512_fmadd_ps(a.v, b.v, c.v)}; }
inline VecD mul_add(VecD a, VecD b, VecD c) { return {_mm512_fmadd_pd(a.v, b.v, c.v)}; }

// The same where the one rounding matters most: vec_portable.hpp pays for it only there.
inline VecF fused(VecF a, VecF b, VecF c) { return mul_add(a, b, c); }

// a * (b_hi + b_lo).
inline VecF times(VecF a, VecF b_hi, VecF b_lo) { return mul_add(a, b_hi, a * b_lo); }
inline VecD times(VecD a, VecD b_hi, VecD b_lo) { return mul_add(a, b_hi, a * b_lo); }

// max and min of x86 return the second operand if either is NaN: x survives as NaN here ...
inline VecF at_least(VecF x, VecF low) { return {_mm512_max_ps(low.v, x.v)}; }
inline VecD at_least(VecD x, VecD low) { return {_mm512_max_pd(low.v, x.v)}; }
inline VecF at_most(VecF x, VecF high) { return {_mm512_min_ps(high.v, x.v)}; }
inline VecD at_most(VecD x, VecD high) { return {_mm512_min_pd(high.v, x.v)}; }
// ... and is passed over here.
inline VecF larger(VecF top, VecF x) { return {_mm512_max_ps(x.v, top.v)}; }
inline VecD larger(VecD top, VecD x) { return {_mm512_max_pd(x.v, top.v)}; }

// The first lane in which they are equal; `lanes` if there is none.
inline int first_equal(VecF a, VecF b) {
    return __builtin_ctz(_mm512_cmp_ps_mask(a.v, b.v, _CMP_EQ_OQ) | 1u << VecF::lanes);
}
// False if any is NaN.
inline bool all_at_most(VecF a, VecF b) { return _mm512_cmp_ps_mask(a.v, b.v, _CMP_NLE_UQ) == 0; }
inline bool all_at_most(VecD a, VecD b) { return _mm512_cmp_pd_mask(a.v, b.v, _CMP_NLE_UQ) == 0; }
inline bool any_nan(VecF a) { return _mm512_cmp_ps_mask(a.v, a.v, _CMP_UNORD_Q) != 0; }
inline bool any_nan(VecD a) { return _mm512_cmp_pd_mask(a.v, a.v, _CMP_UNORD_Q) != 0; }

// `a` where x differs from y (or either is NaN), 0 where they are equal.
inline VecF zero_where_equal(VecF a, VecF x, VecF y) {
    return {_mm512_maskz_mov_ps(_mm512_cmp_ps_mask(x.v, y.v, _CMP_NEQ_UQ), a.v)};
}
inline VecD zero_where_equal(VecD a, VecD x, VecD y) {
    return {_mm512_maskz_mov_pd(_mm512_cmp_pd_mask(x.v, y.v, _CMP_NEQ_UQ), a.v)};
}
// Counts equal lanes.
inline VecF one_more_where_equal(VecF a, VecF x, VecF y) {
    const __mmask16 equal = _mm512_cmp_ps_mask(x.v, y.v, _CMP_EQ_OQ);
    return {_mm512_mask_add_ps(a.v, equal, a.v, _mm512_set1_ps(1))};
}
inline VecD one_more_where_equal(VecD a, VecD x, VecD y) {
    const __mmask8 equal = _mm512_cmp_pd_mask(x.v, y.v, _CMP_EQ_OQ);
    return {_mm512_mask_add_pd(a.v, equal, a.v, _mm512_set1_pd(1))};
}

// x * (c_hi + c_lo) - n for the n nearest to it: two roundings of results below 1.
inline VecF residual(VecF x, VecF c_hi, VecF c_lo, VecF n) {
    return {_mm512_fmadd_ps(x.v, c_lo.v, _mm512_fmsub_ps(x.v, c_hi.v, n.v))};
}
inline VecD residual(VecD x, VecD c_hi, VecD c_lo, VecD n) {
    return {_mm512_fmadd_pd(x.v, c_lo.v, _mm512_fmsub_pd(x.v, c_hi.v, n.v))};
}

// The same with a small number more.
inline VecF residual(VecF x, VecF c_hi, VecF c_lo, VecF n, VecF more) {
    return VecF{_mm512_fmsub_ps(x.v, c_hi.v, n.v)} + mul_add(x, c_lo, more);
}
inline VecD residual(VecD x, VecD c_hi, VecD c_lo, VecD n, VecD more) {
    return VecD{_mm512_fmsub_pd(x.v, c_hi.v, n.v)} + mul_add(x, c_lo, more);
}

// 2^(z - magic) for z whose lowest bits count 1/16: table[fraction] * 2^whole. VSCALEF rounds the
// exponent down by itself.
inline VecF power(VecF z, float magic, const float (&table)[16]) {
    const __m512 t = _mm512_permutexvar_ps(_mm512_castps_si512(z.v), _mm512_loadu_ps(table));
    return {_mm512_scalef_ps(t, (z - VecF::all(magic)).v)};
}
inline VecD power(VecD z, double magic, const double (&table)[16]) {
    const __m512d t = _mm512_permutex2var_pd(_mm512_loadu_pd(table), _mm512_castpd_si512(z.v),
                                             _mm512_loadu_pd(table + 8));
    return {_mm512_scalef_pd(t, (z - VecD::all(magic)).v)};
}

inline VecD widen_low(VecF a) { return {_mm512_cvtps_pd(_mm512_castps512_ps256(a.v))}; }
inline VecD widen_high(VecF a) { return {_mm512_cvtps_pd(_mm512_extractf32x8_ps(a.v, 1))}; }

// All lanes by halves.
inline double sum_of_lanes(VecD a) { return _mm512_reduce_add_pd(a.v); }
inline float largest_lane(VecF a) { return _mm512_reduce_max_ps(a.v); }
inline double largest_lane(VecD a) { return _mm512_reduce_max_pd(a.v); }

inline VecF narrow(VecD low, VecD high) {
    return {_mm512_insertf32x8(_mm512_castps256_ps512(_mm512_cvtpd_ps(low.v)),
                               _mm512_cvtpd_ps(high.v), 1)};
}

// A vector of slots of S lanes from places of their own, `at(slot)`. A broadcast from memory under
// a mask takes no shuffle, unlike an insertion.
template <class T, int S, class At>
inline Vec<T> load_slots(At at) {
    constexpr int slots = Vec<T>::lanes / S;
    constexpr int bytes = S * static_cast<int>(sizeof(T));
    const auto head = [&](int slot) { return reinterpret_cast<const float*>(at(slot)); };
    if constexpr (slots == 1) {
        return load(at(0));
    } else if constexpr (bytes == 32) {
        const __m512 low = _mm512_castps256_ps512(_mm256_loadu_ps(head(0)));
        return {(decltype(Vec<T>::v))_mm512_insertf32x8(low, _mm256_loadu_ps(head(1)), 1)};
    } else if constexpr (bytes == 16) {
        __m512 v = _mm512_castps128_ps512(_mm_loadu_ps(head(0)));
        for (int i = 1; i < slots; ++i)
            v = _mm512_mask_broadcast_f32x4(v, static_cast<__mmask16>(0xfu << 4 * i),
                                            _mm_loadu_ps(head(i)));
        return {(decltype(Vec<T>::v))v};
    } else if constexpr (bytes == 8) {
        const auto pair = [&](int i) {
            return _mm_load_sd(reinterpret_cast<const double*>(at(i)));
        };
        __m512d v = _mm512_castpd128_pd512(pair(0));
        for (int i = 1; i < slots; ++i)
            v = _mm512_mask_broadcastsd_pd(v, static_cast<__mmask8>(1u << i), pair(i));
        return {(decltype(Vec<T>::v))v};
    } else {
        __m512 v = _mm512_castps128_ps512(_mm_load_ss(head(0)));
        for (int i = 1; i < slots; ++i)
            v = _mm512_mask_broadcastss_ps(v, static_cast<__mmask16>(1u << i),
                                           _mm_load_ss(head(i)));
        return {(decltype(Vec<T>::v))v};
    }
}

// The reverse.
template <int S, class T, class At>
inline void store_slots(At at, Vec<T> a) {
    constexpr int slots = Vec<T>::lanes / S;
    constexpr int bytes = S * static_cast<int>(sizeof(T));
    const __m512 v = (__m512)a.v;
    const auto head = [&](int slot) { return reinterpret_cast<float*>(at(slot)); };
    if constexpr (slots == 1) {
        store(at(0), a);
    } else if constexpr (bytes == 32) {
        _mm256_storeu_ps(head(0), _mm512_castps512_ps256(v));
        _mm256_storeu_ps(head(1), _mm512_extractf32x8_ps(v, 1));
    } else {
        const __m128 quarters[] = {_mm512_castps512_ps128(v), _mm512_extractf32x4_ps(v, 1),
                                   _mm512_extractf32x4_ps(v, 2), _mm512_extractf32x4_ps(v, 3)};
        for (int q = 0; q < 4; ++q) {
            const __m128 four = quarters[q];
            if constexpr (bytes == 16) {
                _mm_storeu_ps(head(q), four);
            } else if constexpr (bytes == 8) {
                _mm_storel_pi(reinterpret_cast<__m64*>(at(2 * q)), four);
                _mm_storeh_pi(reinterpret_cast<__m64*>(at(2 * q + 1)), four);
            } else {
                _mm_store_ss(head(4 * q), four);
                _mm_store_ss(head(4 * q + 1), _mm_movehdup_ps(four));
                _mm_store_ss(head(4 * q + 2), _mm_unpackhi_ps(four, four));
                _mm_store_ss(head(4 * q + 3), _mm_shuffle_ps(four, four, 3));
            }
        }
    }
}

// Swaps the lanes of `a` that have bit `step` in their number with those of `b` that lack it.
// Within 16 bytes shuffles are a third faster than permutations; none takes an index register.
template <int step>
inline void exchange(VecF& a, VecF& b) {
    const __m512 x = a.v, y = b.v;
    if constexpr (step == 1) {
        a.v = _mm512_mask_moveldup_ps(x, 0xaaaa, y);
        b.v = _mm512_mask_movehdup_ps(y, 0x5555, x);
    } else if constexpr (step == 2) {
        a.v = _mm512_shuffle_ps(x, y, 0x44);
        b.v = _mm512_shuffle_ps(x, y, 0xee);
    } else if constexpr (step == 4) {
        a.v = _mm512_mask_shuffle_f32x4(x, 0xf0f0, y, y, 0xa0);
        b.v = _mm512_mask_shuffle_f32x4(y, 0x0f0f, x, x, 0xf5);
    } else {
        a.v = _mm512_shuffle_f32x4(x, y, 0x44);
        b.v = _mm512_shuffle_f32x4(x, y, 0xee);
    }
}
template <int step>
inline void exchange(VecD& a, VecD& b) {
    const __m512d x = a.v, y = b.v;
    if constexpr (step == 1) {
        a.v = _mm512_unpacklo_pd(x, y);
        b.v = _mm512_unpackhi_pd(x, y);
    } else if constexpr (step == 2) {
        a.v = _mm512_mask_shuffle_f64x2(x, 0xcc, y, y, 0xa0);
        b.v = _mm512_mask_shuffle_f64x2(y, 0x33, x, x, 0xf5);
    } else {
        a.v = _mm512_shuffle_f64x2(x, y, 0x44);
        b.v = _mm512_shuffle_f64x2(x, y, 0xee);
    }
}

// Lanes 0, S, 2S, ..., then 1, S + 1, ...
template <int S>
inline VecF regroup(VecF a) {
    const auto from = [](int lane) { return lane % (16 / S) * S + lane / (16 / S); };
    return {_mm512_permutexvar_ps(
        _mm512_setr_epi32(from(0), from(1), from(2), from(3), from(4), from(5), from(6), from(7),
                          from(8), from(9), from(10), from(11), from(12), from(13), from(14),
                          from(15)),
        a.v)};
}
template <int S>
inline VecD regroup(VecD a) {
    const auto from = [](int lane) { return lane % (8 / S) * S + lane / (8 / S); };
    return {_mm512_permutexvar_pd(
        _mm512_setr_epi64(from(0), from(1), from(2), from(3), from(4), from(5), from(6), from(7)),
        a.v)};
}

// Half types, 16 in 32 bytes. A vector is converted on its way from and to memory; words are moved
// by one permutation, 4 % faster than a conversion of integers and a shift.
inline VecF widen(Float16, __m256i bits) { return {_mm512_cvtph_ps(bits)}; }
inline VecF widen(BFloat16, __m256i bits) {
    const __m512i upper_halves =
        _mm512_setr_epi32(0, 1 << 16, 2 << 16, 3 << 16, 4 << 16, 5 << 16, 6 << 16, 7 << 16, 8 << 16,
                          9 << 16, 10 << 16, 11 << 16, 12 << 16, 13 << 16, 14 << 16, 15 << 16);
    return {_mm512_castsi512_ps(
        _mm512_maskz_permutexvar_epi16(0xaaaaaaaa, upper_halves, _mm512_castsi256_si512(bits)))};
}
inline __m256i narrow(Float16, VecF a) {
    return _mm512_cvtps_ph(a.v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}
// Rounds to nearest, ties to even: adds 0x7fff, and 1 where the last bit that stays is odd. Only
// for such NaN as bfloat16 has, whose lower half is 0.
inline __m256i narrow(BFloat16, VecF a) {
    const __m512i bits = _mm512_castps_si512(a.v);
    const __mmask16 odd = _mm512_test_epi32_mask(bits, _mm512_set1_epi32(0x10000));
    const __m512i less = _mm512_add_epi32(bits, _mm512_set1_epi32(0x7fff));
    const __m512i rounded = _mm512_mask_add_epi32(less, odd, bits, _mm512_set1_epi32(0x8000));
    const auto two = [](int lane) { return (2 * lane + 3) << 16 | (2 * lane + 1); };
    const __m512i upper_halves = _mm512_setr_epi32(two(0), two(2), two(4), two(6), two(8), two(10),
                                                   two(12), two(14), 0, 0, 0, 0, 0, 0, 0, 0);
    return _mm512_castsi512_si256(_mm512_permutexvar_epi16(upper_halves, rounded));
}

template <Elem type>
inline VecF load(const Half<type>* p) {
    return widen(Half<type>{}, _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
}
template <Elem type>
inline VecF load_part(const Half<type>* p, int n, float fill) {
    Half<type> rest;
    narrow(fill, rest);
    const __m256i others = _mm256_set1_epi16(static_cast<int16_t>(rest.bits));
    return widen(Half<type>{}, _mm256_mask_loadu_epi16(others, first(VecF{}, n), p));
}
template <Elem type>
inline void store(Half<type>* p, VecF a) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), narrow(Half<type>{}, a));
}
// By pairs: Zen 4 stores under a mask of 16 bits in 60 cycles.
template <Elem type>
inline void store_part(Half<type>* p, VecF a, int n) {
    const __m256i halves = narrow(Half<type>{}, a);
    _mm256_mask_storeu_epi32(p, static_cast<__mmask8>((1u << n / 2) - 1), halves);
    if (n % 2 == 0) return;
    const __m256i at = _mm256_set1_epi16(static_cast<int16_t>(n - 1));
    const __m128i last = _mm256_castsi256_si128(_mm256_permutexvar_epi16(at, halves));
    p[n - 1].bits = static_cast<uint16_t>(_mm_cvtsi128_si32(last));
}
template <Elem type>
inline void stream(Half<type>* p, VecF a) {
    _mm256_stream_si256(reinterpret_cast<__m256i*>(p), narrow(Half<type>{}, a));
}

}  // namespace
}  // namespace fastsoftmax::FASTSOFTMAX_ISA
