// log of float64 vectors, for sums of exponentials, which are 1 or more. Nothing here knows rows.
//
// v = m 2^k with m between 1/sqrt(2) and sqrt(2); with f = m - 1 and s = f / (2 + f),
// log(m) = f - (f^2/2 - s (f^2/2 + R(s^2))), which keeps its digits where m is close to 1.

// R(z) / z, highest first, from cpp/tools/fit_log.py: 0.012 ULP before rounding. float32 takes the
// last five.
constexpr double log_series[] = {0x1.2f0ccd19fb262p-3, 0x1.39a0eaea502f7p-3, 0x1.746647f14b159p-3,
                                 0x1.c71c51d6d7e76p-3, 0x1.249249423ac79p-2, 0x1.999999997f73fp-2,
                                 0x1.5555555555594p-1};

// v as m 2^k.
struct Parts {
    typedef uint64_t Bits __attribute__((vector_size(sizeof(Vec<double>))));
    typedef double Numbers __attribute__((vector_size(sizeof(Vec<double>))));
    Bits whole;  // k
    Vec<double> k, f;

    FASTSOFTMAX_INLINE explicit Parts(Vec<double> v) {
        const Bits bits = (Bits)v.v;
        whole = (bits - 0x3fe6a09e667f3bcdu) >> 52;  // less sqrt(1/2)
        // As a number: put into the mantissa of 2^52.
        k = Vec<double>{(Numbers)(whole | 0x4330000000000000u)} - Vec<double>::all(0x1p52);
        f = Vec<double>{(Numbers)(bits - (whole << 52))} - Vec<double>::all(1);
    }

    // log(v) is k log_2_high + f + this, by the lowest `terms` of the series.
    template <int terms>
    FASTSOFTMAX_INLINE Vec<double> rest() const {
        const auto all = [](double a) { return Vec<double>::all(a); };
        const Vec<double> s = f / (all(2) + f), z = s * s, half = f * f * all(0.5);
        Vec<double> r = all(log_series[7 - terms]);
        for (int i = 8 - terms; i < 7; ++i) r = mul_add(r, z, all(log_series[i]));
        return mul_add(k, all(0x1.ef35793c76730p-45), s * mul_add(r, z, half)) - half;
    }
};

constexpr double log_2_high = 0x1.62e42fefa3800p-1;  // times k does not round

// log(v.high + v.low), v.low being what v.high has rounded away, within 0.46 ULP.
inline Pair<Vec<double>> log(const Pair<Vec<double>>& v) {
    const Parts of(v.high);
    const Pair<Vec<double>> sum = two_sum(of.k * Vec<double>::all(log_2_high), of.f);
    return {sum.high, sum.low + (of.rest<7>() + v.low / v.high)};
}

// log(1 + a + b) for counts a and sums b >= 0, to 2^-34: all digits kept where both are small.
inline Vec<double> log_of_one_and(Vec<double> a, Vec<double> b) {
    const Vec<double> t = a + b;
    Parts of(Vec<double>::all(1) + t);
    of.f.v = of.whole == 0 ? (Parts::Numbers)t.v : (Parts::Numbers)of.f.v;
    const Vec<double> of_m = of.f + mul_add(t, Vec<double>::all(0), of.rest<5>());  // NaN stays NaN
    return mul_add(of.k, Vec<double>::all(log_2_high), of_m);
}

// log(v) for v >= 1/2, its error that of 1.
inline Vec<double> log(Vec<double> v) {
    return log_of_one_and(v + v, Vec<double>::all(-1)) - Vec<double>::all(0x1.62e42fefa39efp-1);
}
