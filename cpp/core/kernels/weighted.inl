// logsumexp with weights (`b`), one row after another.

// log(abs(sum(weights * exp(x)))) and the sum's sign, as a sum of exp(x + log(abs(weight))) with
// signs: neither x nor the weight alone decides which addend is the largest. In float64 throughout,
// since the addends may cancel. Weights that are 0 are masked.
template <class T>
inline void weighted_row(const Job& job, const Row& row, const Scale<T>&) {
    Source<double> x(job, row);
    double addends[block], weights[block], e[block];
    const auto fetch = [&](int64_t k0, int n) {
        const double* const xs = x.staged(k0, n);
        for_runs(job, row, k0, n, [&](const Row& at, const Axis& axis, int done, int run) {
            gather(sizeof(T) == 8 ? Elem::f64 : Elem::f32, at.weights, axis.weights, weights + done,
                   run);
        });
        for (int i = 0; i < n; ++i)  // a masked class has no addend, whatever its weight
            addends[i] = xs[i] == -HUGE_VAL ? xs[i] : xs[i] + __builtin_log(magnitude(weights[i]));
    };

    double top = -HUGE_VAL, infinite = 0;  // infinite: sum of the infinite addends
    bool nan = false;
    for_blocks(job, [&](int64_t k0, int n) {
        fetch(k0, n);
        for (int i = 0; i < n; ++i) {
            top = addends[i] > top ? addends[i] : top;
            nan |= addends[i] != addends[i];
            if (addends[i] == HUGE_VAL) infinite += weights[i] > 0 ? HUGE_VAL : -HUGE_VAL;
        }
    });
    double sum = nan ? NAN : infinite, lse = magnitude(sum);
    if (sum == 0 && is_finite(top)) {
        const double whole = static_cast<double>(static_cast<int64_t>(top > 1e15    ? 1e15
                                                                      : top < -1e15 ? -1e15
                                                                                    : top));
        const Shift<double> s(Scale<double>(1), Vec<double>::all(0));
        Compensated<double> total{{0, 0}};
        for_blocks(job, [&](int64_t k0, int n) {
            fetch(k0, n);
            for (int i = 0; i < n; ++i) addends[i] -= whole;
            exp2_of(Plain<double>{addends}, e, n, s);
            for (int i = 0; i < n; ++i)
                if (addends[i] > -HUGE_VAL) total.add(weights[i] > 0 ? e[i] : -e[i]);
        });
        sum = (total.sum.high + total.sum.low) / Exp2<double>::factor *
              __builtin_exp2(-Limits<double>::bias);
        lse = whole + __builtin_log(magnitude(sum));
    } else if (sum == 0) {
        lse = -HUGE_VAL;
    }
    if (!row.sign && sum < 0) lse = NAN;
    put_number<T>(job.out, row.out, lse);
    if (row.sign) put_number<T>(job.out, row.sign, sum > 0 ? 1 : sum < 0 ? -1 : sum);
}
