// The one map from uniform numbers to ids that is worth vectors: exp, for the log-uniform sampler.
//
// exp(x) = 2^k exp(r), r = x - k ln 2 in two parts, exp(r) by its Taylor series to r^13, which is
// within 2^-57 for |r| <= ln(2) / 2. A plain loop of IEEE operations without contraction, so that
// every backend has the same bits; `fastsoftmax/_sampling/float_math.py` has the same constants.

constexpr double log2_e = 0x1.71547652b82fep+0;
constexpr double ln2_high = 0x1.62e42fefa0000p-1, ln2_low = 0x1.cf79abc9e3b3ap-40;
constexpr double shift_to_integer = 0x1.8p52;
constexpr int exp_degree = 13;
// 1 / j!, highest j first.
constexpr double exp_series[exp_degree + 1] = {0x1.6124613a86d09p-33,
                                               0x1.1eed8eff8d898p-29,
                                               0x1.ae64567f544e4p-26,
                                               0x1.27e4fb7789f5cp-22,
                                               0x1.71de3a556c734p-19,
                                               0x1.a01a01a01a01ap-16,
                                               0x1.a01a01a01a01ap-13,
                                               0x1.6c16c16c16c17p-10,
                                               0x1.1111111111111p-7,
                                               0x1.5555555555555p-5,
                                               0x1.5555555555555p-3,
                                               0x1.0p-1,
                                               0x1.0p+0,
                                               0x1.0p+0};

// u[i] becomes an id below `classes`: floor(exp(u[i] log_range)) - 1. At most `most_at_once`.
inline void log_uniform(const double* u, double log_range, int64_t classes, int64_t* ids, int n) {
    const FloatMode mode;
    double values[most_at_once];
    for (int i = 0; i < n; ++i) {
        const double x = u[i] * log_range;
        const double shifted = x * log2_e + shift_to_integer;
        const double k = shifted - shift_to_integer;
        const double r = (x - k * ln2_high) - k * ln2_low;
        double p = exp_series[0];
        for (int j = 1; j <= exp_degree; ++j) p = p * r + exp_series[j];
        uint64_t bits;
        memcpy(&bits, &shifted, 8);
        bits = (bits + 1023) << 52;
        double power;
        memcpy(&power, &bits, 8);
        values[i] = p * power;
    }
    for (int i = 0; i < n; ++i) {
        const int64_t id = static_cast<int64_t>(values[i]) - 1;
        ids[i] = id < 0 ? 0 : id < classes ? id : classes - 1;
    }
}
