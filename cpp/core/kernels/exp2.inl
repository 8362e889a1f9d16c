// 2^(x * log2(e) / T - shift): the one exponential of the library, in terms of vector operations.
// Nothing here knows rows, strides or threads.
//
// x itself is reduced, never x - max, whose rounding costs the peers up to 90 ULP: with
// c = log2(e) / T, n = x * c rounded to a multiple of 2^-bits and r what is left, the result is
// 2^(n - shift) times a polynomial in r, and the integer shift does not round. Any shift gives the
// same digits. Where an instruction looks up a table of 2^bits entries, they are the fractional
// part of n; elsewhere bits = 0 and the polynomial is longer. How r is found depends on whether the
// machine has a fused multiply-add: see Reduction.

// f(0), ..., f(N - 1), unrolled: arrays that are indexed by the argument stay in registers.
template <int N, int i = 0, class F>
FASTSOFTMAX_INLINE void each(const F& f) {
    if constexpr (i < N) {
        f(i);
        each<N, i + 1>(f);
    }
}

// A number as a type.
template <int n>
struct Number {
    static constexpr int value = n;
};

// What the two compute types differ in.
template <class T>
struct Limits;

template <>
struct Limits<float> {
    static constexpr float bias = scale_saturates ? 24 : 40;  // see Shift
    static constexpr float bias_of_rest = 100;                // see Below
    static constexpr float lowest = scale_saturates ? -190 : -124;
    static constexpr float highest = 126;
    // Largest |x * c| whose reduction keeps its digits.
    static constexpr float reach = fuses ? 0x1p16f : 0x1p12f;
    static constexpr double overflow = 0x1p76;  // largest sum whose inverse has all its digits
};

template <>
struct Limits<double> {
    static constexpr double bias = 100, bias_of_rest = 100;
    static constexpr double lowest = scale_saturates ? -1200 : -1020;
    static constexpr double highest = 1022;
    static constexpr double reach = 0x1p20;
    static constexpr double overflow = 0x1p900;
};

// From cpp/tools/fit_exp2.py, highest degree first. `slope` is (2^r - 1) / r on |r| <= 2^-bits / 2;
// `curve`, without fused multiply-add, is (e^r - 1 - r) / r^2 on |r| <= log(2) / 2.
// `table` is factor * 2^(i / 2^bits): the factor, common to all exponentials of a row, makes the
// entries as good as numbers of 4 (float32, 16 entries: 2) bits more, at no instruction.
// Largest relative errors before the evaluation rounds, of polynomial and table:
template <class T, int bits, bool fused = true>
struct Series;

template <>
struct Series<float, 0, false> {  // 3.7e-9
    static constexpr float curve[] = {0x1.68532cp-10f, 0x1.123bccp-7f, 0x1.555b96p-5f,
                                      0x1.55548ep-3f, 0x1.fffff8p-2f};
    static constexpr float table[] = {1};
    static constexpr double factor = 1, factor_low = 0;
};

template <>
struct Series<double, 0, false> {  // 4.1e-18
    static constexpr double curve[] = {
        0x1.add741be6cfcap-26, 0x1.28af3b651cd0bp-22, 0x1.71deec77b25ddp-19, 0x1.a01997cd32dd4p-16,
        0x1.a01a014493a95p-13, 0x1.6c16c18529f74p-10, 0x1.1111111122b4fp-7,  0x1.55555555502a6p-5,
        0x1.555555555550fp-3,  0x1.000000000000bp-1};
    static constexpr double table[] = {1};
    static constexpr double factor = 1, factor_low = 0;
};

template <>
struct Series<float, 3> {  // 2.1e-10, 3.2e-9
    static constexpr float slope[] = {0x1.3b084ap-7f, 0x1.c6b8e2p-5f, 0x1.ebfbe2p-3f,
                                      0x1.62e430p-1f};
    static constexpr float table[] = {0x1.16747cp+0f, 0x1.2fa848p+0f, 0x1.4b2404p+0f,
                                      0x1.691c8ap+0f, 0x1.89cb7cp+0f, 0x1.ad6fb4p+0f,
                                      0x1.d44dbcp+0f, 0x1.feb052p+0f};
    static constexpr double factor = 0x1.16747bf5c28f6p+0, factor_low = 0;
};

template <>
struct Series<float, 4> {  // 1.6e-9, 1.6e-8
    static constexpr float slope[] = {0x1.c6ace2p-5f, 0x1.ebfffap-3f, 0x1.62e430p-1f};
    static constexpr float table[] = {
        0x1.084922p+0f, 0x1.13fc92p+0f, 0x1.2034a0p+0f, 0x1.2cf72cp+0f,
        0x1.3a4a58p+0f, 0x1.48348ap+0f, 0x1.56bc72p+0f, 0x1.65e90cp+0f,
        0x1.75c1a2p+0f, 0x1.864dd2p+0f, 0x1.979590p+0f, 0x1.a9a128p+0f,
        0x1.bc7948p+0f, 0x1.d026fcp+0f, 0x1.e4b3bap+0f, 0x1.fa2962p+0f};
    static constexpr double factor = 0x1.084921ccccccdp+0, factor_low = 0;
};

template <>
struct Series<double, 0> {  // 5.57e-18
    static constexpr double slope[] = {
        0x1.e9471c875b804p-32, 0x1.e61c1058a1947p-28, 0x1.b5253f6036401p-24, 0x1.62bfc71ea7788p-20,
        0x1.ffcbfc595bcf6p-17, 0x1.4309130f139cbp-13, 0x1.5d87fe78a111cp-10, 0x1.3b2ab6fb9ffb3p-7,
        0x1.c6b08d704a122p-5,  0x1.ebfbdff82c5a5p-3,  0x1.62e42fefa39efp-1};
    static constexpr double table[] = {1};
    static constexpr double factor = 1, factor_low = 0;
};

template <>
struct Series<double, 4> {  // 7.0e-18, 2.9e-17
    static constexpr double slope[] = {0x1.430860cae2d28p-13, 0x1.5d89bd5cd2506p-10,
                                       0x1.3b2ab6fdb6091p-7,  0x1.c6b08d6e8cd50p-5,
                                       0x1.ebfbdff82c55ep-3,  0x1.62e42fefa39fdp-1};
    static constexpr double table[] = {
        0x1.0af78928efa47p+0, 0x1.16c95cd44b959p+0, 0x1.2321277cb6e0bp+0, 0x1.3004d7809f1fdp+0,
        0x1.3d7a9e77c591ap+0, 0x1.4b88f42d2b20ep+0, 0x1.5a3699bab81ccp+0, 0x1.698a9cc81df7ap+0,
        0x1.798c5aee824fcp+0, 0x1.8a4385429431fp+0, 0x1.9bb82406befc4p+0, 0x1.adf29a87418dap+0,
        0x1.c0fbab220490cp+0, 0x1.d4dc7b7c1fb55p+0, 0x1.e99e98e7139fep+0, 0x1.ff4bfcf7d5434p+0};
    static constexpr double factor = 0x1.0af78928efa47p+0, factor_low = 0x1p-56;
};

template <class T>
using Exp2 = Series<T, Vec<T>::table_bits, fuses>;

// Adding it rounds to a multiple of 2^-bits, which is then found in the lowest bits,
// exponent_of_one more: that saves an addition where the exponent is made of them.
template <class T>
constexpr T magic =
    (sizeof(T) == 4 ? T(0x1.8p23) : T(0x1.8p52)) / (1 << Vec<T>::table_bits) + exponent_of_one<T>;

// How many of N vectors are exponentiated side by side, step by step, so that the latencies of one
// hide behind the others' arithmetic.
template <int N>
constexpr int abreast_of = exp2_at_once < N ? exp2_at_once : N;

// The polynomial with these coefficients, highest degree first.
template <class T, int N, int terms>
FASTSOFTMAX_INLINE void polynomial(const T (&coefficients)[terms], const Vec<T> (&r)[N],
                                   Vec<T> (&p)[N]) {
    each<N>([&](int u) FASTSOFTMAX_LAMBDA { p[u] = Vec<T>::all(coefficients[0]); });
    each<terms - 1>([&](int i) FASTSOFTMAX_LAMBDA {
        const Vec<T> next = Vec<T>::all(coefficients[i + 1]);
        each<N>([&](int u) FASTSOFTMAX_LAMBDA { p[u] = mul_add(p[u], r[u], next); });
    });
}

// log2(e) / temperature as a sum of two numbers, and 2 / temperature likewise; and the reverse of
// the former, of which step_hi has so few digits that its products with integers are exact.
template <class T>
struct Scale {
    T c_hi, c_lo, c_inverse;
    T t_hi, t_lo;  // t_lo > 0, so that -inf times either is no NaN, nor is their sum
    T step_hi, step_lo, t_inverse;

    Scale() = default;
    explicit Scale(double temperature) {
        const double log2e_hi = 0x1.71547652b82fep+0, log2e_lo = 0x1.777d0ffda0d24p-56;
        split(log2e_hi, log2e_lo, temperature, c_hi, c_lo);
        c_inverse = 1 / c_hi;
        split(2, 0, temperature, t_hi, t_lo);
        if (t_lo < 0) {
            const T above = t_hi;
            t_hi = above * (1 - (sizeof(T) == 4 ? T(0x1p-23) : T(0x1p-52)));
            t_lo += above - t_hi;
        }
        const T smallest = sizeof(T) == 4 ? T(0x1p-126) : T(0x1p-1022);  // that is not flushed to 0
        if (t_lo < smallest) t_lo = smallest;
        const double log_2_hi = 0x1.62e42fefa39efp-1, log_2_lo = 0x1.abc9e3b39803fp-56;
        const double step = log_2_hi * temperature;
        const double rest = __builtin_fma(log_2_hi, temperature, -step) + log_2_lo * temperature;
        // Float32: 11 digits of 24, float64: 31 of 53.
        const double cut = step * (sizeof(T) == 4 ? 0x1p42 + 1 : 0x1p22 + 1);
        const double first = cut - (cut - step);
        step_hi = static_cast<T>(first);
        step_lo = static_cast<T>((step - first) + rest);
        t_inverse = static_cast<T>(1 / temperature);
    }

private:
    // a / b, a given as a sum, to twice the digits of T (to those of double and more for float).
    static void split(double a_hi, double a_lo, double b, T& hi, T& lo) {
        const double q = a_hi / b;
        const double rest = (__builtin_fma(-q, b, a_hi) + a_lo) / b;
        hi = static_cast<T>(q);
        lo = static_cast<T>((q - static_cast<double>(hi)) + rest);
    }
};

// Remainders' exponentials less 1, as two factors: the last addition to 1 can then be fused, or
// what it rounds be found.
template <class T, int N>
struct Growth {
    Vec<T> by[N], rate[N];
    FASTSOFTMAX_INLINE Vec<T> added_to(Vec<T> t, int u) const { return mul_add(by[u], rate[u], t); }
};

// Remainders. With fused multiply-add: r = x c - n, of which x c_hi - n is exact.
template <class T, bool fused = fuses>
struct Reduction {
    Vec<T> c_hi, c_lo;

    Reduction() = default;
    FASTSOFTMAX_INLINE explicit Reduction(const Scale<T>& c)
        : c_hi(Vec<T>::all(c.c_hi)), c_lo(Vec<T>::all(c.c_lo)) {}

    FASTSOFTMAX_INLINE Vec<T> remainder(Vec<T> x, Vec<T> n) const {
        return residual(x, c_hi, c_lo, n);
    }
    FASTSOFTMAX_INLINE Vec<T> remainder_and(Vec<T> more, Vec<T> x, Vec<T> n) const {
        return residual(x, c_hi, c_lo, n, more);
    }
    template <int N>
    FASTSOFTMAX_INLINE static void grow(const Vec<T> (&t)[N], const Vec<T> (&r)[N],
                                        Growth<T, N>& growth) {
        polynomial(Exp2<T>::slope, r, growth.rate);
        each<N>([&](int u) FASTSOFTMAX_LAMBDA { growth.by[u] = t[u] * r[u]; });
    }
};

// Without: the product x c would lose the digits that count, and to keep them by splitting takes
// three times as many instructions. But n step_hi is exact, and so is x - n step_hi (Cody and
// Waite). The remainder is that of x, and e^r instead of 2^r has a linear term without rounding.
template <class T>
struct Reduction<T, false> {
    Vec<T> c_hi, step_hi, step_lo, t_inverse;

    Reduction() = default;
    FASTSOFTMAX_INLINE explicit Reduction(const Scale<T>& c)
        : c_hi(Vec<T>::all(c.c_hi)),
          step_hi(Vec<T>::all(c.step_hi)),
          step_lo(Vec<T>::all(c.step_lo)),
          t_inverse(Vec<T>::all(c.t_inverse)) {}

    FASTSOFTMAX_INLINE Vec<T> remainder(Vec<T> x, Vec<T> n) const {
        return ((x - n * step_hi) - n * step_lo) * t_inverse;
    }
    FASTSOFTMAX_INLINE Vec<T> remainder_and(Vec<T> more, Vec<T> x, Vec<T> n) const {
        return remainder(x, n) + more;
    }
    template <int N>
    FASTSOFTMAX_INLINE static void grow(const Vec<T> (&t)[N], const Vec<T> (&r)[N],
                                        Growth<T, N>& growth) {
        Vec<T> p[N];
        polynomial(Exp2<T>::curve, r, p);
        each<N>([&](int u) FASTSOFTMAX_LAMBDA {
            growth.by[u] = t[u];
            growth.rate[u] = mul_add(r[u] * r[u], p[u], r[u]);
        });
    }
};

// The shift of a row, and the bounds on x that keep n - shift within the range of exponents.
// Results are 2^bias times what the row's maximum suggests, so that they become 0 only where the
// quotient does (without it 17 % of the results with gaps of 87.0 to 87.5 are lost); a maximum that
// was guessed too low shows in a sum beyond `overflow`. Below `lowest` a scale that saturates gives
// 0. Another would wrap around: there the results stop at 2^lowest, 2^(lowest - bias) of the
// maximum.
template <class T>
struct Shift {
    Reduction<T> by;
    Vec<T> floor, ceiling, magic_less_shift;

    Shift() = default;
    // For maxima of about n / c, in each lane its own.
    Shift(const Scale<T>& c, Vec<T> n) : by(c) {
        const auto all = [](T a) { return Vec<T>::all(a); };
        const Vec<T> shift = n - all(Limits<T>::bias);
        magic_less_shift = all(magic<T>) - shift;
        floor = (shift + all(Limits<T>::lowest)) * all(c.c_inverse);
        ceiling = (shift + all(Limits<T>::highest)) * all(c.c_inverse);
    }
    // Makes results smaller by 2^-n.
    void lower(const Scale<T>& c, int n) {
        const Vec<T> more = Vec<T>::all(static_cast<T>(n)), x = more * Vec<T>::all(c.c_inverse);
        magic_less_shift = magic_less_shift - more;
        floor = floor + x;
        ceiling = ceiling + x;
    }
};

// Replaces N vectors by their exponentials, each with its own shift. NaN stays NaN. The clamp is
// needed for infinities too, which have no remainder.
template <class T, int N, class ShiftOf>
FASTSOFTMAX_INLINE void exp2_abreast(Vec<T> (&v)[N], const ShiftOf& shift) {
    Vec<T> z[N], t[N];
    each<N>([&](int u) FASTSOFTMAX_LAMBDA {
        v[u] = at_least(v[u], shift(u).floor);
        if constexpr (!scale_saturates) v[u] = at_most(v[u], shift(u).ceiling);
    });
    each<N>([&](int u) FASTSOFTMAX_LAMBDA {
        z[u] = mul_add(v[u], shift(u).by.c_hi, shift(u).magic_less_shift);
    });
    each<N>([&](int u) FASTSOFTMAX_LAMBDA {
        v[u] = shift(u).by.remainder(v[u], z[u] - shift(u).magic_less_shift);
    });
    each<N>([&](int u) FASTSOFTMAX_LAMBDA { t[u] = power(z[u], magic<T>, Exp2<T>::table); });
    Growth<T, N> growth;
    Reduction<T>::grow(t, v, growth);
    each<N>([&](int u) FASTSOFTMAX_LAMBDA { v[u] = growth.added_to(t[u], u); });
}
template <class T, int N>
FASTSOFTMAX_INLINE void exp2_abreast(Vec<T> (&v)[N], const Shift<T>& s) {
    exp2_abreast(v, [&](int) FASTSOFTMAX_LAMBDA -> const Shift<T>& { return s; });
}
template <class T>
FASTSOFTMAX_INLINE Vec<T> exp2_shifted(Vec<T> x, const Shift<T>& s) {
    Vec<T> one[] = {x};
    exp2_abreast(one, s);
    return one[0];
}

template <class T>
inline T magnitude(T a) {
    return a < 0 ? -a : a;
}

// x * c rounded to an even number, the shift that makes 2^(x * c - shift) about 1. Even, because
// the shift decides which way x * c is rounded where that is half way between two integers: a
// product of its own, without a fused addition, often is.
template <class T>
inline Vec<T> nearest(Vec<T> x, const Scale<T>& c) {
    const Vec<T> whole = Vec<T>::all(sizeof(T) == 4 ? T(0x1.8p24) : T(0x1.8p53));
    return (x * Vec<T>::all(c.c_hi) + whole) - whole;
}

// Whether the reduction keeps its digits for maxima like these; not for NaN or infinities.
template <class T>
inline bool within_reach(Vec<T> x, const Scale<T>& c) {
    const Vec<T> n = x * Vec<T>::all(c.c_hi), reach = Vec<T>::all(Limits<T>::reach);
    return all_at_most(n, reach) && all_at_most(Vec<T>::all(0) - n, reach);
}
