// Vec<float> and Vec<double> on AVX2 with FMA and F16C (x86-64-v3). See vec_avx512.hpp.
// No mathematics.
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
    static constexpr int lanes = 8, table_bits = 3;
    __m256 v;
    static Vec all(float a) { return {_mm256_set1_ps(a)}; }
};

template <>
struct Vec<double> {
    static constexpr int lanes = 4, table_bits = 0;
    __m256d v;
    static Vec all(double a) { return {_mm256_set1_pd(a)}; }
};

using VecF = Vec<float>;
using VecD = Vec<double>;

constexpr bool fuses = true;     // mul_add rounds once
constexpr int exp2_at_once = 1;  // vectors, step by step
template <class T>
constexpr int exponent_of_one = 0;  // as `power` expects it

// The exponent is added as an integer, which wraps: the scale must be kept within range.
constexpr bool scale_saturates = false;

inline __m256i first(VecF, int n) {
    return _mm256_cmpgt_epi32(_mm256_set1_epi32(n), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}
inline __m256i first(VecD, int n) {
    return _mm256_cmpgt_epi64(_mm256_set1_epi64x(n), _mm256_setr_epi64x(0, 1, 2, 3));
}

inline VecF load(const float* p) { return {_mm256_loadu_ps(p)}; }
inline VecD load(const double* p) { return {_mm256_loadu_pd(p)}; }
inline VecF load_part(const float* p, int n, float fill) {
    const __m256i m = first(VecF{}, n);
    return {
        _mm256_blendv_ps(_mm256_set1_ps(fill), _mm256_maskload_ps(p, m), _mm256_castsi256_ps(m))};
}
inline VecD load_part(const double* p, int n, double fill) {
    const __m256i m = first(VecD{}, n);
    return {
        _mm256_blendv_pd(_mm256_set1_pd(fill), _mm256_maskload_pd(p, m), _mm256_castsi256_pd(m))};
}
inline void store(float* p, VecF a) { _mm256_storeu_ps(p, a.v); }
inline void store(double* p, VecD a) { _mm256_storeu_pd(p, a.v); }
inline void store_part(float* p, VecF a, int n) { _mm256_maskstore_ps(p, first(a, n), a.v); }
inline void store_part(double* p, VecD a, int n) { _mm256_maskstore_pd(p, first(a, n), a.v); }
inline void store_rest(float* p, VecF a, int n) {
    _mm256_maskstore_ps(p, _mm256_xor_si256(first(a, n), _mm256_set1_epi32(-1)), a.v);
}
inline void store_rest(double* p, VecD a, int n) {
    _mm256_maskstore_pd(p, _mm256_xor_si256(first(a, n), _mm256_set1_epi32(-1)), a.v);
}

inline void stream(float* p, VecF a) { _mm256_stream_ps(p, a.v); }
inline void stream(double* p, VecD a) { _mm256_stream_pd(p, a.v); }
inline void stream_end() { _mm_sfence(); }

inline VecF load_where(const float* p, __m128i present, float fill) {
    const __m256i mask = _mm256_cmpgt_epi32(_mm256_cvtepu8_epi32(present), _mm256_setzero_si256());
    return {_mm256_blendv_ps(_mm256_set1_ps(fill), _mm256_maskload_ps(p, mask),
                             _mm256_castsi256_ps(mask))};
}
inline VecD load_where(const double* p, __m128i present, double fill) {
    const __m256i mask = _mm256_cmpgt_epi64(_mm256_cvtepu8_epi64(present), _mm256_setzero_si256());
    return {_mm256_blendv_pd(_mm256_set1_pd(fill), _mm256_maskload_pd(p, mask),
                             _mm256_castsi256_pd(mask))};
}
inline VecF load_where(const float* p, const char* present, float fill) {
    return load_where(p, _mm_loadl_epi64(reinterpret_cast<const __m128i*>(present)), fill);
}
inline VecD load_where(const double* p, const char* present, double fill) {
    return load_where(p, _mm_loadu_si32(present), fill);
}
// The same of the first n, whose mask comes together in a register: a load of bytes just stored
// would wait for all that goes before.
template <class T>
inline Vec<T> load_where_part(const T* p, const char* present, int n, T fill) {
    uint64_t bytes = 0;
    for (int i = 0; i < n; ++i) bytes |= uint64_t{static_cast<uint8_t>(present[i])} << 8 * i;
    return load_where(p, _mm_cvtsi64_si128(static_cast<int64_t>(bytes)), fill);
}

inline void forget(VecF& a) { __asm__ volatile("" : "+x"(a.v)); }
inline void forget(VecD& a) { __asm__ volatile("" : "+x"(a.v)); }

inline VecF operator+(VecF a, VecF b) { return {_mm256_add_ps(a.v, b.v)}; }
inline VecD operator+(VecD a, VecD b) { return {_mm256_add_pd(a.v, b.v)}; }
inline VecF operator-(VecF a, VecF b) { return {_mm256_sub_ps(a.v, b.v)}; }
inline VecD operator-(VecD a, VecD b) { return {_mm256_sub_pd(a.v, b.v)}; }
inline VecF operator*(VecF a, VecF b) { return {_mm256_mul_ps(a.v, b.v)}; }
inline VecD operator*(VecD a, VecD b) { return {_mm256_mul_pd(a.v, b.v)}; }
inline VecF operator/(VecF a, VecF b) { return {_mm256_div_ps(a.v, b.v)}; }
inline VecD operator/(VecD a, VecD b) { return {_mm256_div_pd(a.v, b.v)}; }
inline VecF mul_add(VecF a, VecF b, VecF c) { return {_mm256_fmadd_ps(a.v, b.v, c.v)}; }
inline VecD mul_add(VecD a, VecD b, VecD c) { return {_mm256_fmadd_pd(a.v, b.v, c.v)}; }

// The same where the one rounding matters most: vec_portable.hpp pays for it only there.
inline VecF fused(VecF a, VecF b, VecF c) { return mul_add(a, b, c); }

// a * (b_hi + b_lo).
inline VecF times(VecF a, VecF b_hi, VecF b_lo) { return mul_add(a, b_hi, a * b_lo); }
inline VecD times(VecD a, VecD b_hi, VecD b_lo) { return mul_add(a, b_hi, a * b_lo); }

// max and min of x86 return the second operand if either is NaN: x survives as NaN here ...
inline VecF at_least(VecF x, VecF low) { return {_mm256_max_ps(low.v, x.v)}; }
inline VecD at_least(VecD x, VecD low) { return {_mm256_max_pd(low.v, x.v)}; }
inline VecF at_most(VecF x, VecF high) { return {_mm256_min_ps(high.v, x.v)}; }
inline VecD at_most(VecD x, VecD high) { return {_mm256_min_pd(high.v, x.v)}; }
// ... and is passed over here.
inline VecF larger(VecF top, VecF x) { return {_mm256_max_ps(x.v, top.v)}; }
inline VecD larger(VecD top, VecD x) { return {_mm256_max_pd(x.v, top.v)}; }

inline int first_equal(VecF a, VecF b) {
    return __builtin_ctz(
        static_cast<unsigned>(_mm256_movemask_ps(_mm256_cmp_ps(a.v, b.v, _CMP_EQ_OQ))) |
        1u << VecF::lanes);
}
inline bool all_at_most(VecF a, VecF b) {
    return _mm256_movemask_ps(_mm256_cmp_ps(a.v, b.v, _CMP_NLE_UQ)) == 0;
}
inline bool all_at_most(VecD a, VecD b) {
    return _mm256_movemask_pd(_mm256_cmp_pd(a.v, b.v, _CMP_NLE_UQ)) == 0;
}
inline bool any_nan(VecF a) {
    return _mm256_movemask_ps(_mm256_cmp_ps(a.v, a.v, _CMP_UNORD_Q)) != 0;
}
inline bool any_nan(VecD a) {
    return _mm256_movemask_pd(_mm256_cmp_pd(a.v, a.v, _CMP_UNORD_Q)) != 0;
}

inline VecF zero_where_equal(VecF a, VecF x, VecF y) {
    return {_mm256_and_ps(a.v, _mm256_cmp_ps(x.v, y.v, _CMP_NEQ_UQ))};
}
inline VecD zero_where_equal(VecD a, VecD x, VecD y) {
    return {_mm256_and_pd(a.v, _mm256_cmp_pd(x.v, y.v, _CMP_NEQ_UQ))};
}
inline VecF one_more_where_equal(VecF a, VecF x, VecF y) {
    return a + VecF{_mm256_and_ps(_mm256_set1_ps(1), _mm256_cmp_ps(x.v, y.v, _CMP_EQ_OQ))};
}
inline VecD one_more_where_equal(VecD a, VecD x, VecD y) {
    return a + VecD{_mm256_and_pd(_mm256_set1_pd(1), _mm256_cmp_pd(x.v, y.v, _CMP_EQ_OQ))};
}

inline VecF residual(VecF x, VecF c_hi, VecF c_lo, VecF n) {
    return {_mm256_fmadd_ps(x.v, c_lo.v, _mm256_fmsub_ps(x.v, c_hi.v, n.v))};
}
inline VecD residual(VecD x, VecD c_hi, VecD c_lo, VecD n) {
    return {_mm256_fmadd_pd(x.v, c_lo.v, _mm256_fmsub_pd(x.v, c_hi.v, n.v))};
}

inline VecF residual(VecF x, VecF c_hi, VecF c_lo, VecF n, VecF more) {
    return VecF{_mm256_fmsub_ps(x.v, c_hi.v, n.v)} + mul_add(x, c_lo, more);
}
inline VecD residual(VecD x, VecD c_hi, VecD c_lo, VecD n, VecD more) {
    return VecD{_mm256_fmsub_pd(x.v, c_hi.v, n.v)} + mul_add(x, c_lo, more);
}

// 2^(z - magic) for z whose lowest bits count 1/8 (float64: 1): the whole part is added to the
// exponent, of which the entries are relieved of their own index beforehand.
inline VecF power(VecF z, float, const float (&table)[8]) {
    const __m256i bits = _mm256_castps_si256(z.v);
    const __m256i index = _mm256_slli_epi32(_mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7), 20);
    const __m256i entries = _mm256_sub_epi32(_mm256_castps_si256(_mm256_loadu_ps(table)), index);
    return {_mm256_castsi256_ps(
        _mm256_add_epi32(_mm256_permutevar8x32_epi32(entries, bits), _mm256_slli_epi32(bits, 20)))};
}
inline VecD power(VecD z, double, const double (&)[1]) {
    const __m256i bits = _mm256_slli_epi64(_mm256_castpd_si256(z.v), 52);
    return {_mm256_castsi256_pd(_mm256_add_epi64(_mm256_castpd_si256(_mm256_set1_pd(1)), bits))};
}

inline VecD widen_low(VecF a) { return {_mm256_cvtps_pd(_mm256_castps256_ps128(a.v))}; }
inline VecD widen_high(VecF a) { return {_mm256_cvtps_pd(_mm256_extractf128_ps(a.v, 1))}; }

inline double sum_of_lanes(VecD a) {
    const __m128d two = _mm_add_pd(_mm256_castpd256_pd128(a.v), _mm256_extractf128_pd(a.v, 1));
    return _mm_cvtsd_f64(_mm_add_sd(two, _mm_unpackhi_pd(two, two)));
}
inline float largest_lane(VecF a) {
    const __m128 four = _mm_max_ps(_mm256_castps256_ps128(a.v), _mm256_extractf128_ps(a.v, 1));
    const __m128 two = _mm_max_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_max_ss(two, _mm_movehdup_ps(two)));
}
inline double largest_lane(VecD a) {
    const __m128d two = _mm_max_pd(_mm256_castpd256_pd128(a.v), _mm256_extractf128_pd(a.v, 1));
    return _mm_cvtsd_f64(_mm_max_sd(two, _mm_unpackhi_pd(two, two)));
}

inline VecF narrow(VecD low, VecD high) {
    return {_mm256_set_m128(_mm256_cvtpd_ps(high.v), _mm256_cvtpd_ps(low.v))};
}

template <class T, int S, class At>
inline Vec<T> load_slots(At at) {
    constexpr int slots = Vec<T>::lanes / S;
    constexpr int bytes = S * static_cast<int>(sizeof(T));
    const auto pair = [&](int i) {
        const __m128d low = _mm_load_sd(reinterpret_cast<const double*>(at(i)));
        return _mm_loadh_pd(low, reinterpret_cast<const double*>(at(i + 1)));
    };
    if constexpr (slots == 1)
        return load(at(0));
    else if constexpr (bytes == 16)
        return {(decltype(Vec<T>::v))_mm256_loadu2_m128(reinterpret_cast<const float*>(at(1)),
                                                        reinterpret_cast<const float*>(at(0)))};
    else if constexpr (bytes == 8)
        return {(decltype(Vec<T>::v))_mm256_set_m128d(pair(2), pair(0))};
    else
        return {_mm256_setr_ps(*at(0), *at(1), *at(2), *at(3), *at(4), *at(5), *at(6), *at(7))};
}
template <int S, class T, class At>
inline void store_slots(At at, Vec<T> a) {
    constexpr int slots = Vec<T>::lanes / S;
    constexpr int bytes = S * static_cast<int>(sizeof(T));
    const __m256 v = (__m256)a.v;
    const __m128 halves[] = {_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1)};
    for (int h = 0; h < 2; ++h) {
        const __m128 four = halves[h];
        if constexpr (slots == 1) {
            if (h == 0) store(at(0), a);
        } else if constexpr (bytes == 16) {
            _mm_storeu_ps(reinterpret_cast<float*>(at(h)), four);
        } else if constexpr (bytes == 8) {
            _mm_storel_pi(reinterpret_cast<__m64*>(at(2 * h)), four);
            _mm_storeh_pi(reinterpret_cast<__m64*>(at(2 * h + 1)), four);
        } else {
            _mm_store_ss(at(4 * h), four);
            _mm_store_ss(at(4 * h + 1), _mm_movehdup_ps(four));
            _mm_store_ss(at(4 * h + 2), _mm_unpackhi_ps(four, four));
            _mm_store_ss(at(4 * h + 3), _mm_shuffle_ps(four, four, 3));
        }
    }
}

template <int step>
inline void exchange(VecF& a, VecF& b) {
    const __m256 x = a.v, y = b.v;
    if constexpr (step == 4) {
        a.v = _mm256_permute2f128_ps(x, y, 0x20);
        b.v = _mm256_permute2f128_ps(x, y, 0x31);
    } else if constexpr (step == 2) {
        a.v = _mm256_shuffle_ps(x, y, 0x44);
        b.v = _mm256_shuffle_ps(x, y, 0xee);
    } else {
        a.v = _mm256_blend_ps(x, _mm256_moveldup_ps(y), 0xaa);
        b.v = _mm256_blend_ps(_mm256_movehdup_ps(x), y, 0xaa);
    }
}
template <int step>
inline void exchange(VecD& a, VecD& b) {
    const __m256d x = a.v, y = b.v;
    a.v = step == 2 ? _mm256_permute2f128_pd(x, y, 0x20) : _mm256_unpacklo_pd(x, y);
    b.v = step == 2 ? _mm256_permute2f128_pd(x, y, 0x31) : _mm256_unpackhi_pd(x, y);
}

template <int S>
inline VecF regroup(VecF a) {
    const auto from = [](int lane) { return lane % (8 / S) * S + lane / (8 / S); };
    return {_mm256_permutevar8x32_ps(a.v, _mm256_setr_epi32(from(0), from(1), from(2), from(3),
                                                            from(4), from(5), from(6), from(7)))};
}
template <int S>
inline VecD regroup(VecD a) {
    return {S == 2 ? _mm256_permute4x64_pd(a.v, 0xd8) : a.v};
}

// Half types, 8 in 16 bytes.
inline VecF widen(Float16, __m128i bits) { return {_mm256_cvtph_ps(bits)}; }
inline VecF widen(BFloat16, __m128i bits) {
    return {_mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(bits), 16))};
}
inline __m128i narrow(Float16, VecF a) {
    return _mm256_cvtps_ph(a.v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}
inline __m128i narrow(BFloat16, VecF a) {
    const __m256i bits = _mm256_castps_si256(a.v);
    const __m256i odd = _mm256_and_si256(_mm256_srli_epi32(bits, 16), _mm256_set1_epi32(1));
    const __m256i less = _mm256_add_epi32(bits, _mm256_set1_epi32(0x7fff));
    const __m256i rounded = _mm256_srli_epi32(_mm256_add_epi32(less, odd), 16);
    return _mm_packus_epi32(_mm256_castsi256_si128(rounded), _mm256_extracti128_si256(rounded, 1));
}

template <Elem type>
inline VecF load(const Half<type>* p) {
    return widen(Half<type>{}, _mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
}
template <Elem type>
inline void store(Half<type>* p, VecF a) {
    _mm_storeu_si128(reinterpret_cast<__m128i*>(p), narrow(Half<type>{}, a));
}
// By way of a copy: there is no mask for 16 bits.
template <Elem type>
inline VecF load_part(const Half<type>* p, int n, float fill) {
    Half<type> copy[8];
    for (Half<type>& h : copy) narrow(fill, h);
    for (int i = 0; i < n; ++i) copy[i] = p[i];
    return load(copy);
}
template <Elem type>
inline void store_part(Half<type>* p, VecF a, int n) {
    Half<type> copy[8];
    store(copy, a);
    for (int i = 0; i < n; ++i) p[i] = copy[i];
}
template <Elem type>
inline void stream(Half<type>* p, VecF a) {
    _mm_stream_si128(reinterpret_cast<__m128i*>(p), narrow(Half<type>{}, a));
}

}  // namespace
}  // namespace fastsoftmax::FASTSOFTMAX_ISA
