// log of float64 vectors of numbers from 1 on, for sums of exponentials. Nothing here knows rows.
//
// v = m 2^k with m between 1/sqrt(2) and sqrt(2); with f = m - 1 and s = f / (2 + f),
// log(m) = f - (f^2/2 - s (f^2/2 + R(s^2))), which keeps its digits where m is close to 1.

// R(z) / z, highest first, from cpp/tools/fit_log.py: 0.012 ULP before rounding.
constexpr double log_series[] = {0x1.2f0ccd19fb262p-3, 0x1.39a0eaea502f7p-3, 0x1.746647f14b159p-3,
                                 0x1.c71c51d6d7e76p-3, 0x1.249249423ac79p-2, 0x1.999999997f73fp-2,
                                 0x1.5555555555594p-1};

inline Vec<double> log(Vec<double> v) {
    typedef uint64_t Bits __attribute__((vector_size(sizeof v)));
    typedef double Numbers __attribute__((vector_size(sizeof v)));
    const auto all = [](double a) { return Vec<double>::all(a); };
    const Bits bits = (Bits)v.v, above = bits - 0x3fe6a09e667f3bcdu;  // less sqrt(1/2)
    const Bits whole = above >> 52;
    // k as a number: put into the mantissa of 2^52.
    const Vec<double> k = Vec<double>{(Numbers)(whole | 0x4330000000000000u)} - all(0x1p52);
    const Vec<double> f = Vec<double>{(Numbers)(bits - (whole << 52))} - all(1);
    const Vec<double> s = f / (all(2) + f), z = s * s, half = f * f * all(0.5);
    Vec<double> r = all(log_series[0]);
    for (int i = 1; i < 7; ++i) r = mul_add(r, z, all(log_series[i]));
    // log(2) in two parts, the first of which times k does not round.
    const Vec<double> low = mul_add(k, all(0x1.ef35793c76730p-45), s * mul_add(r, z, half));
    return mul_add(k, all(0x1.62e42fefa3800p-1), f - (half - low));
}

// log(1 + a + b) for counts a and sums b >= 0, all digits kept where both are small.
inline Vec<double> log_of_one_and(Vec<double> a, Vec<double> b) {
    const Pair<Vec<double>> all = two_sum(Vec<double>::all(1) + a, b);
    return log(all.high) + all.low / all.high;
}
