// Vec<float> and Vec<double> on AVX-512 (x86-64-v4): vector operations, one instruction or a few.
// No mathematics; vec_avx2.hpp and vec_portable.hpp offer the same names.
#pragma once

#include <immintrin.h>
#include <stdint.h>

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

// Past the caches, to memory at a multiple of the vector's size; `stream_end` orders what follows.
inline void stream(float* p, VecF a) { _mm512_stream_ps(p, a.v); }
inline void stream(double* p, VecD a) { _mm512_stream_pd(p, a.v); }
inline void stream_end() { _mm_sfence(); }

// Lanes whose byte in `present` is 0 become `fill`, and are not read.
inline VecF load_where(const float* p, const char* present, float fill) {
    const __m128i bytes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(present));
    return {_mm512_mask_loadu_ps(_mm512_set1_ps(fill), _mm_test_epi8_mask(bytes, bytes), p)};
}
inline VecD load_where(const double* p, const char* present, double fill) {
    const __m128i bytes = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(present));
    const __mmask8 mask = static_cast<__mmask8>(_mm_test_epi8_mask(bytes, bytes));
    return {_mm512_mask_loadu_pd(_mm512_set1_pd(fill), mask, p)};
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
inline VecD operator/(VecD a, VecD b) { return {_mm512_div_pd(a.v, b.v)}; }
inline VecF mul_add(VecF a, VecF b, VecF c) { return {_mm512_fmadd_ps(a.v, b.v, c.v)}; }
inline VecD mul_add(VecD a, VecD b, VecD c) { return {_mm512_fmadd_pd(a.v, b.v, c.v)}; }

// The same where the one rounding matters most: vec_portable.hpp pays for it only there.
inline VecF fused(VecF a, VecF b, VecF c) { return mul_add(a, b, c); }
inline VecD fused(VecD a, VecD b, VecD c) { return mul_add(a, b, c); }

// max and min of x86 return the second operand if either is NaN: x survives as NaN here ...
inline VecF at_least(VecF x, VecF low) { return {_mm512_max_ps(low.v, x.v)}; }
inline VecD at_least(VecD x, VecD low) { return {_mm512_max_pd(low.v, x.v)}; }
inline VecF at_most(VecF x, VecF high) { return {_mm512_min_ps(high.v, x.v)}; }
inline VecD at_most(VecD x, VecD high) { return {_mm512_min_pd(high.v, x.v)}; }
// ... and is passed over here.
inline VecF larger(VecF top, VecF x) { return {_mm512_max_ps(x.v, top.v)}; }
inline VecD larger(VecD top, VecD x) { return {_mm512_max_pd(x.v, top.v)}; }

inline bool any_greater(VecF a, VecF b) { return _mm512_cmp_ps_mask(a.v, b.v, _CMP_GT_OQ) != 0; }
inline bool any_greater(VecD a, VecD b) { return _mm512_cmp_pd_mask(a.v, b.v, _CMP_GT_OQ) != 0; }
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

// Both halves of a vector from, or to, places of their own.
inline VecF load_halves(const float* low, const float* high) {
    return {
        _mm512_insertf32x8(_mm512_castps256_ps512(_mm256_loadu_ps(low)), _mm256_loadu_ps(high), 1)};
}
inline VecD load_halves(const double* low, const double* high) {
    return {
        _mm512_insertf64x4(_mm512_castpd256_pd512(_mm256_loadu_pd(low)), _mm256_loadu_pd(high), 1)};
}
inline void store_halves(float* low, float* high, VecF a) {
    _mm256_storeu_ps(low, _mm512_castps512_ps256(a.v));
    _mm256_storeu_ps(high, _mm512_extractf32x8_ps(a.v, 1));
}
inline void store_halves(double* low, double* high, VecD a) {
    _mm256_storeu_pd(low, _mm512_castpd512_pd256(a.v));
    _mm256_storeu_pd(high, _mm512_extractf64x4_pd(a.v, 1));
}

// Swaps the lanes of `a` that have bit `step` in their number with those of `b` that lack it.
template <int step>
inline void exchange(VecF& a, VecF& b) {
    const __m512i lane = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    const __mmask16 has = _mm512_test_epi32_mask(lane, _mm512_set1_epi32(step));
    const __m512i from_a = _mm512_mask_add_epi32(lane, has, lane, _mm512_set1_epi32(16 - step));
    const __m512i from_b = _mm512_mask_add_epi32(_mm512_add_epi32(lane, _mm512_set1_epi32(step)),
                                                 has, lane, _mm512_set1_epi32(16));
    const __m512 first = _mm512_permutex2var_ps(a.v, from_a, b.v);
    b.v = _mm512_permutex2var_ps(a.v, from_b, b.v);
    a.v = first;
}
template <int step>
inline void exchange(VecD& a, VecD& b) {
    const __m512i lane = _mm512_setr_epi64(0, 1, 2, 3, 4, 5, 6, 7);
    const __mmask8 has = _mm512_test_epi64_mask(lane, _mm512_set1_epi64(step));
    const __m512i from_a = _mm512_mask_add_epi64(lane, has, lane, _mm512_set1_epi64(8 - step));
    const __m512i from_b = _mm512_mask_add_epi64(_mm512_add_epi64(lane, _mm512_set1_epi64(step)),
                                                 has, lane, _mm512_set1_epi64(8));
    const __m512d first = _mm512_permutex2var_pd(a.v, from_a, b.v);
    b.v = _mm512_permutex2var_pd(a.v, from_b, b.v);
    a.v = first;
}

inline VecF load_f16(const uint16_t* p) {
    return {_mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)))};
}
inline void store_f16(uint16_t* p, VecF a) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(p),
                        _mm512_cvtps_ph(a.v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
}

inline VecF load_bf16(const uint16_t* p) {
    const __m256i bits = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
    return {_mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(bits), 16))};
}
// Round to nearest, ties to even; a NaN stays one.
inline void store_bf16(uint16_t* p, VecF a) {
    const __m512i bits = _mm512_castps_si512(a.v), top = _mm512_srli_epi32(bits, 16);
    const __m512i odd = _mm512_and_si512(top, _mm512_set1_epi32(1));
    const __m512i half = _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff));
    const __m512i rounded = _mm512_srli_epi32(_mm512_add_epi32(bits, half), 16);
    const __m512i quiet = _mm512_or_si512(top, _mm512_set1_epi32(0x40));
    const __mmask16 nan = _mm512_cmp_ps_mask(a.v, a.v, _CMP_UNORD_Q);
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(p),
                        _mm512_cvtepi32_epi16(_mm512_mask_mov_epi32(rounded, nan, quiet)));
}

}  // namespace
}  // namespace fastsoftmax::FASTSOFTMAX_ISA
