// Cross-entropy by class labels, with the gradient or without, one row after another. A row is read
// once for both, as for softmax: the gradient is softmax under another factor but for one class.
//
// The label's own term is left out of the sum, not the maximum's: with `others` the sum of the
// other classes' terms, the loss is log(1 + others / own) and the gradient at the label -others /
// total. Neither is a difference, so a row that is sure of its label keeps its digits without a
// maximum.

// A row's exponentials by its label, in a unit of their own.
struct Sides {
    double others, own;
    Pair<double> total() const { return two_sum(others, own); }
};

// Below this share of the sum a label's term may have lost digits, or have been raised to the least
// power there is: a share, since a guessed shift may be another for the same row elsewhere.
template <class T>
constexpr double least_own = sizeof(T) == 4 ? 0x1p-100 : 0x1p-900;

template <class T>
inline bool is_divisible(const Sides& sides) {
    return sides.own >= least_own<T> * sides.total().high;
}

template <class T>
inline void add_terms_of_block(BlockSum<T>& sum, const T* terms, int n) {
    constexpr int L = Vec<T>::lanes;
    for (int i = 0; i < n; i += L)
        sum.add(n - i < L ? load_part(terms + i, n - i, T(0)) : load(terms + i));
}
template <class T>
inline void add_terms_of_block(GroupSum<T>& sum, const T* terms, int n) {
    add_terms<group_size>(sum, terms, n);
}

// The terms of all classes but the label: from `e`, or exponentiated again where that is null.
template <class Sum, class T, class In>
inline double sum_of_others(Source<T, In>& x, const T* e, const Shift<T>& s, int64_t label) {
    Sum sum;
    T terms[block];
    for_blocks(x.job, [&](int64_t k0, int n) {
        if (e)
            memcpy(terms, e + k0, static_cast<size_t>(n) * sizeof(T));
        else
            x.visit(k0, n, [&](int64_t k, int count, auto in) {
                exp2_of(in, terms + (k - k0), count, s);
            });
        if (label >= k0 && label < k0 + n) terms[label - k0] = 0;
        add_terms_of_block(sum, terms, n);
    });
    return sum.total().value();
}

// `total` is the sum of all terms. Where the label has a third of it or less, the difference is
// exact enough; float32 in pairs has the others' digits beside a larger one, see `sum_without`.
template <class Sum, class T, class In>
inline Sides sides_of(Source<T, In>& x, const T* e, const Shift<T>& s, const Total& total,
                      int64_t label) {
    const auto term = [&](int64_t k) { return e ? static_cast<double>(e[k]) : term_of(x, k, s); };
    const double own = term(label);
    if constexpr (by_vectors<T, Sum>) {
        if (total.value() >= 3 * own) return {(total.high - own) + total.low, own};
        if constexpr (sizeof(T) == 4) {
            const int64_t partner = partner_of(label);
            const double other = partner < x.job.num_classes ? term(partner) : 0;
            const double others = sum_without(total.high, own, other);
            if (others >= least_rest * own) return {others, own};
        }
    }
    return {sum_of_others<Sum>(x, e, s, label), own};
}

// log(1 + odds) of several rows at once, to all digits of a loss.
inline Vec<double> losses_of(Vec<double> odds, float) {
    return log_of_one_and(Vec<double>::all(0), odds);
}
inline Vec<double> losses_of(Vec<double> odds, double) {
    const Pair<Vec<double>> sum = two_sum(Vec<double>::all(1), odds);
    const Pair<Vec<double>> logs = log(sum);
    return logs.high + logs.low;
}

// The loss where the label's term is too small to divide by, from the logarithm of the sum.
template <class T>
inline double far_loss(double total, const Shift<T>& s, double offset, double score) {
    const double log_2_hi = 0x1.62e42fefa39efp-1, log_2_lo = 0x1.abc9e3b39803fp-56;
    const double n = shift_of(s), whole = n * log_2_hi;
    const double rest = __builtin_fma(n, log_2_hi, -whole) + n * log_2_lo;
    const Pair<double> gap = two_sum(offset, -score), sum = two_sum(gap.high, whole);
    if (total != total || gap.high == HUGE_VAL) return total + gap.high;
    const auto all = [](double a) { return Vec<double>::all(a); };
    const Pair<Vec<double>> logs = log({all(total / Exp2<T>::factor), all(0)});
    return sum.high + (first_lane(logs.high) + (first_lane(logs.low) + sum.low + gap.low + rest));
}

// From a row's exponentials to its gradient, after these were made smaller by 2^-lowered.
template <class T>
struct Factor {
    Inverse<T> by;
    int lowered = 0;
};

// scale / total, to twice the digits; `rest` is the total's low part, as a share of it.
template <class T>
FASTSOFTMAX_INLINE Inverse<T> scaled_inverse(double scale, double total, double rest) {
    const double by = scale / total;
    const T high = static_cast<T>(by);
    if constexpr (sizeof(T) == 4) return {high, static_cast<T>(by - static_cast<double>(high))};
    return {high, static_cast<T>(__builtin_fma(-by, total, scale) / total - by * rest)};
}

// Whether that, of a tiny weight, or its low part may be flushed to 0.
template <class T>
inline bool is_tiny(double scale, double total) {
    constexpr double least = sizeof(T) == 4 ? 0x1p-90 : 0x1p-900;
    return scale != 0 && magnitude(scale) < least * total;
}
// Whether it may make something of an absent class: where a scale does not saturate, its
// exponential is the least power there is instead of 0.
template <class T>
inline bool is_huge(const Inverse<T>& by) {
    return !scale_saturates && !(magnitude(by.hi) < T(0.25));
}

// A tiny factor is made larger, to about 2^-20. Terms that are lost when they are made smaller have
// gradients of 0.
template <class T>
inline Factor<T> factor_of(const Sides& sides, double scale) {
    const Pair<double> sum = sides.total();
    double total = sum.high;
    Factor<T> factor;
    if (is_tiny<T>(scale, total)) {
        int of_scale, of_total;
        scale = 0x1p-20 * __builtin_frexp(scale, &of_scale);
        total = __builtin_frexp(total, &of_total);
        factor.lowered = of_total - of_scale - 20;
    }
    factor.by = scaled_inverse<T>(scale, total, sum.low / sum.high);
    return factor;
}

template <class T>
inline T lowered_term(double e, int by) {  // in two steps: 2^-by may be no number
    return static_cast<T>(e * __builtin_exp2(-(by / 2)) * __builtin_exp2(-(by - by / 2)));
}

// Makes a row's exponentials, `step` bytes apart, fit for a factor that is very small or very
// large.
template <class T>
inline void fit_terms(T* e, int64_t count, int64_t step, const Factor<T>& factor) {
    constexpr double floor = Limits<T>::lowest + 1;
    const bool huge = is_huge(factor.by);
    if (!factor.lowered && !huge) return;
    const T least = static_cast<T>(__builtin_exp2(floor));
    char* at = reinterpret_cast<char*>(e);
    for (int64_t k = 0; k < count; ++k, at += step) {
        T term;
        memcpy(&term, at, sizeof term);
        const bool absent = huge && term >= 0 && term < least;
        term = absent ? 0 : lowered_term<T>(static_cast<double>(term), factor.lowered);
        memcpy(at, &term, sizeof term);
    }
}

// A weight of 0 takes an infinite loss out, but not one that is NaN.
inline double weighted_loss(double weight, double loss) {
    return weight == 0 && loss == HUGE_VAL ? 0 : weight * loss;
}

// A row's label, and what goes with it.
template <class T>
struct Labelled {
    int64_t label = 0;
    double weight = 1;
    bool present = false;  // not masked

    bool counts() const { return label >= 0; }

    Labelled() = default;
    Labelled(const Job& job, const Row& row) {
        memcpy(&label, row.label, sizeof label);
        if (label < 0 || label >= job.num_classes) {
            if (label != ignored_label) label = ignored_label - 1;
            return;
        }
        const Axis& axis = job.classes[0];
        if (job.class_weights)
            weight = static_cast<double>(static_cast<const T*>(job.class_weights)[label]);
        present = !row.where || row.where[label * axis.where];
    }

    // Few rows need it, and no row should wait for it: before the row is read it may be far away,
    // 100 ns for each row past the caches.
    double score(const Job& job, const Row& row) const {
        double x = -HUGE_VAL;
        if (present) gather(job.in, row.x + label * job.classes[0].x, 0, &x, 1);
        return x;
    }

    // The loss of a row that is not to be computed.
    double without_logits() const { return label == ignored_label ? 0 : NAN; }
};

inline void put_loss(char* to, double loss, float) {
    const auto rounded = static_cast<float>(loss);
    memcpy(to, &rounded, sizeof rounded);
}
inline void put_loss(char* to, double loss, double) { memcpy(to, &loss, sizeof loss); }

// Losses on their way: the logarithms of as many rows as float64 has lanes are taken together.
template <class T>
class Losses {
    double odds[rows_of_logs] = {}, weights[rows_of_logs];
    char* to[rows_of_logs];
    int waiting = 0;

public:
    // Of scores less `offset`; the label's own is score().
    template <class Score>
    void add(char* loss, double weight, const Sides& sides, const Shift<T>& s, T offset,
             const Score& score) {
        if (!is_divisible<T>(sides)) {
            const double far =
                far_loss(sides.total().high, s, static_cast<double>(offset), score());
            return put_loss(loss, weighted_loss(weight, far), T());
        }
        odds[waiting] = sides.others / sides.own;
        weights[waiting] = weight;
        to[waiting] = loss;
        if (++waiting == rows_of_logs) finish();
    }

    void finish() {
        double losses[rows_of_logs];
        store(losses, losses_of(load(odds), T()));
        for (int i = 0; i < waiting; ++i) put_loss(to[i], weights[i] * losses[i], T());
        waiting = 0;
    }
};

// Whether exponentials replace scores.
inline bool is_gone_after_sweep(const Job& job) { return job.in_place && !job.rows_kept; }

// Rows' losses and, out of their exponentials, gradients. The label's exponential is replaced by
// what the factor turns into its gradient: a store into a result that has gone past the caches
// takes as long as a row of 1000 classes.
template <class T, class Sum>
class LossAndGradient {
    Losses<T> losses;
    Labelled<T> labelled;
    double score = 0;  // where the row will be gone
    T at_label = 0;

public:
    static constexpr bool converts = false, declines = true;

    bool begin(const Job& job, const Row& row) {
        labelled = Labelled<T>(job, row);
        if (labelled.counts()) {
            if (is_gone_after_sweep(job)) score = labelled.score(job, row);
            return true;
        }
        put_loss(row.loss, labelled.without_logits(), T());
        fill<T>(job, row, 0, 0);
        return false;
    }

    template <class In>
    Inverse<T> factor(Source<T, In>& x, T* e, Shift<T>& s, const Total& sum) {
        const Sides sides = sides_of<Sum>(x, static_cast<const T*>(e), s, sum, labelled.label);
        losses.add(x.row.loss, labelled.weight, sides, s, x.offset, [&] {
            return is_gone_after_sweep(x.job) ? score : labelled.score(x.job, x.row);
        });
        const Factor<T> factor = factor_of<T>(sides, x.job.scale * labelled.weight);
        if (e) {
            if (labelled.present) e[labelled.label] = static_cast<T>(0 - sides.others);
            fit_terms(e, x.job.num_classes, sizeof(T), factor);
        } else {
            if (factor.lowered) s.lower(Scale<T>(1), factor.lowered);
            const T others = lowered_term<T>(static_cast<T>(0 - sides.others), factor.lowered);
            at_label = first_lane(quotient(Vec<T>::all(others), in_all_lanes(factor.by)));
        }
        return factor.by;
    }

    void after_recomputed(const Job& job, const Row& row) const {
        char* const to = row.out + labelled.label * job.classes[0].out;
        if (labelled.present) scatter(job.out, &at_label, to, 0, 1);
    }

    void undefined(const Job& job, const Row& row) const {
        const bool absent = row_is_absent(job, row);
        put_loss(row.loss, absent ? weighted_loss(labelled.weight, HUGE_VAL) : NAN, T());
        fill<T>(job, row, absent ? 0 : NAN, 0);
    }

    void finish() { losses.finish(); }
};

// -weight * x at the label, of log-probabilities x.
template <class T>
void rows_at_label(const Job& job, Row row, int64_t count, const Axis& step, void*) {
    for (; count > 0; --count, advance(row, step, 1)) {
        const Labelled<T> labelled(job, row);
        // From 0, not negated: the loss of a certain class is 0, not -0.
        const double loss = labelled.counts()
                                ? weighted_loss(labelled.weight, 0 - labelled.score(job, row))
                                : labelled.without_logits();
        put_loss(row.loss, loss, T());
    }
}

template <class T, class Sum, class In>
inline void loss_rows_of(const Job& job, Row row, int64_t count, const Axis& step,
                         Losses<T>& losses) {
    Temperature<T> temperature(row);
    for (int64_t i = 0; i < count; ++i, advance(row, step, 1)) {
        const Labelled<T> labelled(job, row);
        if (!labelled.counts()) {
            put_loss(row.loss, labelled.without_logits(), T());
            continue;
        }
        Source<T, In> x(job, row);
        Shift<T> s;
        Total sum;
        T* const nowhere = nullptr;
        const bool defined = sum_under_shift(
            x, temperature.at(row), true, s, sum,
            [&]() FASTSOFTMAX_LAMBDA { return sweep_row(x, nowhere, s, Sum{}, NothingPending{}); });
        if (defined)
            losses.add(row.loss, labelled.weight,
                       sides_of<Sum>(x, static_cast<const T*>(nowhere), s, sum, labelled.label), s,
                       x.offset, [&] { return labelled.score(job, row); });
        else if constexpr (!x.can_shift)
            loss_rows_of<T, Sum, Staged>(job, row, 1, step, losses);
        else
            put_loss(row.loss,
                     row_is_absent(job, row) ? weighted_loss(labelled.weight, HUGE_VAL) : NAN, T());
    }
}

template <class T, class Sum>
void rows_by_label(const Job& job, Row row, int64_t count, const Axis& step, void* scratch) {
    const FloatMode mode;
    if (row.out) {
        LossAndGradient<T, Sum> fate;
        rows_by_sum<Sum>(job, row, count, step, static_cast<T*>(scratch), fate);
        return fate.finish();
    }
    Losses<T> losses;
    const auto rows_of = [&](auto in) {
        loss_rows_of<T, Sum, decltype(in)>(job, row, count, step, losses);
    };
    if constexpr (by_vectors<T, Sum>)
        with_reader<T>(job, row, rows_of);
    else
        rows_of(Any{});
    losses.finish();
}
