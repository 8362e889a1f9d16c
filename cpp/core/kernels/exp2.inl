// 2^(x * log2(e) / T - shift): the one exponential of the library, in terms of vector operations.
// Nothing here knows rows, strides or threads.
//
// x itself is reduced, never x - max, whose rounding costs the peers up to 90 ULP: with
// c = log2(e) / T as c_hi + c_lo, n = round(x * c) and r = x * c - n, the result is
// 2^r * 2^(n - shift), and the integer shift does not round. Any shift gives the same digits.

// What the two compute types differ in.
template <class T>
struct Limits;

template <>
struct Limits<float> {
    static constexpr float magic = 0x1.8p23f;                 // adding it rounds to an integer
    static constexpr float bias = scale_saturates ? 24 : 40;  // see Shift
    static constexpr float lowest = scale_saturates ? -190 : -124;
    static constexpr float highest = 126;
    static constexpr float reach = 0x1p20f;     // largest |x * c| whose reduction keeps its digits
    static constexpr double overflow = 0x1p76;  // largest sum whose inverse has all its digits
    static constexpr float most_negative = -0x1.fffffep127f;
};

template <>
struct Limits<double> {
    static constexpr double magic = 0x1.8p52;
    static constexpr double bias = 100;
    static constexpr double lowest = scale_saturates ? -1200 : -1020;
    static constexpr double highest = 1022;
    static constexpr double reach = 0x1p20;
    static constexpr double overflow = 0x1p900;
    static constexpr double most_negative = -0x1.fffffffffffffp1023;
};

// Coefficients of 2^r on |r| <= 1/2 from cpp/tools/fit_exp2.py, highest first; c0 = 1.
// Largest relative error before rounding: 3.58e-9 (float32, degree 6), 5.57e-18 (float64, degree
// 11).
constexpr float exp2_f32[] = {0x1.3f906cp-13f, 0x1.5f0a66p-10f, 0x1.3b30b0p-7f,
                              0x1.c6af78p-5f,  0x1.ebfbd8p-3f,  0x1.62e430p-1f};
constexpr double exp2_f64[] = {0x1.e9471c875b804p-32, 0x1.e61c1058a1947p-28, 0x1.b5253f6036401p-24,
                               0x1.62bfc71ea7788p-20, 0x1.ffcbfc595bcf6p-17, 0x1.4309130f139cbp-13,
                               0x1.5d87fe78a111cp-10, 0x1.3b2ab6fb9ffb3p-7,  0x1.c6b08d704a122p-5,
                               0x1.ebfbdff82c5a5p-3,  0x1.62e42fefa39efp-1};

// (2^r - 1) / r.
template <class T, int N>
inline Vec<T> horner(Vec<T> r, const T (&c)[N]) {
    Vec<T> p = Vec<T>::all(c[0]);
    for (int i = 1; i < N; ++i) p = mul_add(p, r, Vec<T>::all(c[i]));
    return p;
}
inline Vec<float> slope(Vec<float> r) { return horner(r, exp2_f32); }
inline Vec<double> slope(Vec<double> r) { return horner(r, exp2_f64); }

// log2(e) / temperature as a sum of two numbers, and 2 / temperature likewise.
template <class T>
struct Scale {
    T c_hi, c_lo;
    T t_hi, t_lo;  // t_lo >= 0, so that -inf times either is no NaN in their sum

    Scale() = default;
    explicit Scale(double temperature) {
        const double log2e_hi = 0x1.71547652b82fep+0, log2e_lo = 0x1.777d0ffda0d24p-56;
        split(log2e_hi, log2e_lo, temperature, c_hi, c_lo);
        split(2, 0, temperature, t_hi, t_lo);
        if (t_lo < 0) {
            const T above = t_hi;
            t_hi = above * (1 - (sizeof(T) == 4 ? T(0x1p-23) : T(0x1p-52)));
            t_lo += above - t_hi;
        }
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

// The shift of a row, and the bounds on x that keep n - shift within the range of exponents.
// Results are 2^bias times what the row's maximum suggests, so that they become 0 only where the
// quotient does (without it 17 % of the results with gaps of 87.0 to 87.5 are lost); a maximum that
// was guessed too low shows in a sum beyond `overflow`. Below `lowest` a scale that saturates gives
// 0. Another would wrap around: there the results stop at 2^lowest, 2^(lowest - bias) of the
// maximum.
template <class T>
struct Shift {
    Vec<T> c_hi, c_lo, floor, ceiling, shift;
    T scalar;

    Shift(const Scale<T>& c, T n) : scalar(n - Limits<T>::bias) {
        c_hi = Vec<T>::all(c.c_hi);
        c_lo = Vec<T>::all(c.c_lo);
        shift = Vec<T>::all(scalar);
        floor = Vec<T>::all((scalar + Limits<T>::lowest) / c.c_hi);
        ceiling = Vec<T>::all((scalar + Limits<T>::highest) / c.c_hi);
    }
    Shift() = default;
};

// NaN stays NaN. The clamp is needed for infinities too, which have no remainder.
template <class T>
inline Vec<T> exp2_shifted(Vec<T> x, const Shift<T>& s) {
    x = at_least(x, s.floor);
    if constexpr (!scale_saturates) x = at_most(x, s.ceiling);
    const Vec<T> magic = Vec<T>::all(Limits<T>::magic);
    const Vec<T> n = mul_add(x, s.c_hi, magic) - magic;
    const Vec<T> r = residual(x, s.c_hi, s.c_lo, n);
    return scale(fused(r, slope(r), Vec<T>::all(1)), n - s.shift);
}

// 2^((x - max) * c + bias) for x <= max, the difference taken exactly, as a sum of two numbers:
// then the maximum's own term is 2^bias to the last bit, as a log(sum) relative to it wants. `low`
// is what the last rounding took from a float64 term, so that logsumexp stays within 2 ULP where
// one term decides; for float32 it is 0. Takes 7 (13) instructions more than a shift.
template <class T>
struct Below {
    Vec<T> max, floor, c_hi, c_lo;

    static T lowest(const Scale<T>& c) { return (Limits<T>::lowest - Limits<T>::bias) / c.c_hi; }

    Pair<Vec<T>> exp2(Vec<T> x) const {
        const Vec<T> zero = Vec<T>::all(0), one = Vec<T>::all(1);
        x = at_most(at_least(x, floor), max);  // finite, but for NaN
        const Pair<Vec<T>> d = two_sum(x, zero - max);
        const Vec<T> magic = Vec<T>::all(Limits<T>::magic);
        const Vec<T> n = mul_add(d.high, c_hi, magic) - magic;
        const Vec<T> r = residual(d.high, c_hi, c_lo, n, d.low * c_hi), q = slope(r);
        const Vec<T> p = fused(r, q, one), k = n + Vec<T>::all(Limits<T>::bias);
        if constexpr (sizeof(T) == 4) return {scale(p, k), zero};
        const Vec<T> power = scale(one, k);
        return {p * power, mul_add(r, q, one - p) * power};
    }

    // A sum of such terms, in units of the maximum's.
    static double relative(const Total& sum) {
        return __builtin_ldexp(sum.value(), -static_cast<int>(Limits<T>::bias));
    }
};

template <class T>
inline T magnitude(T a) {
    return a < 0 ? -a : a;
}

// round(x * c), the shift that makes 2^(x * c - shift) about 1.
template <class T>
inline T nearest(T x, const Scale<T>& c) {
    return (x * c.c_hi + Limits<T>::magic) - Limits<T>::magic;
}

// 2^n for integers of any size, as two factors: one alone may be out of range.
inline double times_power(double a, double n) {
    return __builtin_ldexp(a, static_cast<int>(n < -4000 ? -4000 : n > 4000 ? 4000 : n));
}

// log(1 + a + b) for counts a and sums b >= 0: the logarithm of what is left of that sum after
// rounding, and what was lost. 0.52 ULP by libm's log, where its log1p has 0.9.
inline Pair<double> log_of_one_and(double a, double b) {
    const Pair<double> all = two_sum(1 + a, b);
    return {__builtin_log(all.high), all.low / all.high};
}

// The number nearest to a + b.high + b.low.
inline double rounded_sum(double a, const Pair<double>& b) {
    const Pair<double> sum = two_sum(a, b.high);
    return sum.high + (sum.low + b.low);
}
