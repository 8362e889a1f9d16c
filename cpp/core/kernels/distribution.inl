// Cross-entropy by a distribution over classes: probabilities, or a label that is smoothed. Any
// layout, in blocks, in two readings: the row's log-sum to all digits, then its losses by class,
// all of one sign, and the gradient.

// What each class of a row counts: the distribution times the class weights.
template <class T>
class Shares {
    const Job& job;
    const Row& row;
    Labelled<T> labelled;
    T at_label, everywhere;

public:
    Shares(const Job& of, const Row& at) : job(of), row(at) {
        if (row.label) labelled = Labelled<T>(job, row);
        const Axis& axis = job.classes[0];
        int64_t present = job.num_classes;
        if (row.where && job.smoothing > 0)
            for (int64_t k = 0; k < job.num_classes; ++k) present -= !row.where[k * axis.where];
        at_label = static_cast<T>(1 - job.smoothing);
        everywhere = static_cast<T>(job.smoothing / static_cast<double>(present ? present : 1));
    }

    bool counts() const { return !row.label || labelled.counts(); }
    double without_logits() const { return labelled.without_logits(); }

    // Of classes k0 .. k0+n-1, and 0 up to the end of a vector. `present` are their masks, or null.
    void get(int64_t k0, int n, T* to, const char* present) const {
        constexpr int L = Vec<T>::lanes;
        if (row.target) {
            for_runs(job, row, k0, n, [&](const Row& at, const Axis& axis, int done, int run) {
                gather(job.target, at.target, axis.target, to + done, run);
            });
            if (job.smoothing > 0)
                for (int i = 0; i < n; ++i) to[i] *= at_label;
        } else {
            for (int i = 0; i < n; ++i) to[i] = 0;
            const int64_t at = labelled.label - k0;
            if (at >= 0 && at < n) to[at] = at_label;
        }
        if (job.smoothing > 0)
            for (int i = 0; i < n; ++i) to[i] += !present || present[i] ? everywhere : 0;
        if (job.class_weights)
            for (int i = 0; i < n; ++i) to[i] *= static_cast<const T*>(job.class_weights)[k0 + i];
        for (int i = n; i % L; ++i) to[i] = 0;
    }
};

// A block of a row: scores, shares, and which classes take part.
template <class T>
struct DistributionBlock {
    T shares[block];
    char present[block];
    bool masked;

    void read(const Job& job, const Row& row, const Shares<T>& of, int64_t k0, int n) {
        masked = row.where != nullptr;
        if (masked)
            for_runs(job, row, k0, n, [&](const Row& at, const Axis& axis, int done, int run) {
                for (int i = 0; i < run; ++i) present[done + i] = at.where[i * axis.where];
            });
        of.get(k0, n, shares, masked ? present : nullptr);
    }
};

template <class T>
void row_by_distribution(const Job& job, const Row& row, const Scale<T>& c) {
    constexpr int L = Vec<T>::lanes;
    const auto all = [](double a) { return Vec<T>::all(static_cast<T>(a)); };
    const Shares<T> shares(job, row);
    const auto give = [&](double loss, double grad) {
        put_loss(row.loss, loss, T());
        if (row.out) fill<T>(job, row, static_cast<T>(grad), 0);
    };
    if (!shares.counts()) return give(shares.without_logits(), 0);

    DistributionBlock<T> here;
    BlockSum<T> share_sum;
    for_blocks(job, [&](int64_t k0, int n) {
        here.read(job, row, shares, k0, n);
        add_terms_of_block(share_sum, here.shares, n);
    });
    const double count = share_sum.total().value();

    Source<T> x(job, row);
    const T max = row_max(x);
    if (!is_finite(max)) {
        const bool absent = row_is_absent(job, row);
        return give(absent && count > 0 ? HUGE_VAL : absent ? 0 : NAN, absent ? 0 : NAN);
    }
    const Vec<T> top = Vec<T>::all(brought_within_reach(x, max, c));
    const Below<T> below(top, c);
    Apart<T, BlockSum<T>> sums;
    for_blocks(job, [&](int64_t k0, int n) {
        x.visit(k0, n, [&](int64_t, int length, auto in) {
            add_block<Digits::all>(sums, in, length, below);
        });
    });
    const Total rest = sums.rest.total();
    const Pair<double> logs = log_of(sums.ties, rest, T());
    const double log_sum = logs.high + logs.low;
    if (!(log_sum >= 0)) return give(NAN, NAN);
    const LogProbability<T> log_p(c, top, all(log_sum));

    const double unit = __builtin_exp2(Below<T>::bias) * Exp2<T>::factor;
    const double others = (sums.ties - 1) + rest.value() / unit, total = 1 + others;
    // From a term without the bias, which would make it too small of a factor, to count p.
    const double by = count / (total * Exp2<T>::factor);
    const Vec<T> unbiased = all(__builtin_exp2(-Below<T>::bias));
    const Vec<T> by_high = all(by), by_low = all(by - static_cast<double>(static_cast<T>(by)));
    // A winner's count p - share, p = 1 - others / total: where that is nearly 1 the difference of
    // count and share comes first, so that a row that is sure keeps its digits.
    const bool sure = others < 1;
    const Vec<T> most = all(sure ? count : count / total), less = all(count * others / total);
    const Vec<T> scale = all(job.scale), zero = all(0), one = all(1);

    BlockSum<T> loss;
    for_blocks(job, [&](int64_t k0, int n) {
        here.read(job, row, shares, k0, n);
        T grad[block];
        x.visit(k0, n, [&](int64_t k, int length, auto in) {
            const int start = static_cast<int>(k - k0);
            for (int i = 0; i < length; i += L) {
                const int left = length - i;
                const Vec<T> score = left < L ? in.part(i, left) : in.get(i);
                const Vec<T> share = load_part(here.shares + start + i, left < L ? left : L, T(0));
                loss.add(zero_where_equal(zero - share * log_p.of(score), share, zero));
                if (!row.out) continue;
                const Vec<T> term = below.exp2(score).high * unbiased;
                const Vec<T> of_others = times(term, by_high, by_low) - share;
                const Vec<T> of_winner = sure ? (most - share) - less : most - share;
                const Vec<T> tie = one - zero_where_equal(one, score, below.max);
                const Vec<T> g =
                    zero_where_equal(of_others, tie, one) + zero_where_equal(of_winner, tie, zero);
                store_part(grad + start + i, scale * g, left < L ? left : L);
            }
        });
        if (!row.out) return;
        for (int i = 0; here.masked && i < n; ++i)
            if (!here.present[i]) grad[i] = 0;
        put(job, row, k0, grad, n);
    });
    put_loss(row.loss, loss.value_or_infinity(), T());
}

template <class T>
void rows_by_distribution(const Job& job, Row row, int64_t count, const Axis& step, void*) {
    const FloatMode mode;
    each_row<T>(job, row, count, step, row_by_distribution<T>);
}
