// Gradients through softmax and log_softmax, from their results: y (dy - sum(dy y)) and
// dy - e^y sum(dy). In two readings; `x` is y, `target` is dy.

// From the sum to the gradient, for vectors.
template <class T, bool Log>
struct Backward {
    Shift<T> shift{Scale<T>(1), Vec<T>::all(0)};

    FASTSOFTMAX_INLINE static Vec<T> term(Vec<T> dy, Vec<T> y) { return Log ? dy : dy * y; }
    // What `of` takes, of a sum in float64.
    static Inverse<T> factor(double sum) {
        const double by = Log ? sum / Exp2<T>::factor : sum;
        const T high = static_cast<T>(by);
        return {high, static_cast<T>(by - static_cast<double>(high))};
    }
    FASTSOFTMAX_INLINE Vec<T> of(Vec<T> dy, Vec<T> y, const Inverse<Vec<T>>& by) const {
        // Without the bias first: probabilities too small become 0, however small the sum.
        const Vec<T> unit = Vec<T>::all(static_cast<T>(__builtin_exp2(-Limits<T>::bias)));
        if constexpr (Log) return dy - times(exp2_shifted(y, shift) * unit, by.hi, by.lo);
        return y * ((dy - by.hi) - by.lo);
    }
};

// Blocks of a row's two arrays, which may be of different types.
template <class T, class F>
inline void for_pairs(const Job& job, const Row& row, const F& f) {
    T dys[block], ys[block];
    const Axis& inner = job.classes[job.num_class_axes - 1];
    for_blocks(job, [&](int64_t k0, int n) {
        if (job.num_class_axes == 1)
            return f(k0, n,
                     block_of(job.target, row.target + k0 * inner.target, inner.target, dys, n),
                     block_of(job.in, row.x + k0 * inner.x, inner.x, ys, n));
        for_runs(job, row, k0, n, [&](const Row& at, const Axis& axis, int done, int run) {
            gather(job.target, at.target, axis.target, dys + done, run);
            gather(job.in, at.x, axis.x, ys + done, run);
        });
        f(k0, n, dys, ys);
    });
}

template <class T, bool Log>
void backward_rows(const Job& job, Row row, int64_t count, const Axis& step, void*) {
    const FloatMode mode;
    const Backward<T, Log> backward;
    for (; count > 0; --count, advance(row, step, 1)) {
        BlockSum<T> sum;
        for_pairs<T>(job, row, [&](int64_t, int n, const T* dy, const T* y) {
            for_vectors<T>(n, [&](int i, int lanes) FASTSOFTMAX_LAMBDA {
                sum.add(backward.term(some(dy + i, lanes), some(y + i, lanes)));
            });
        });
        const Inverse<Vec<T>> by = in_all_lanes(backward.factor(sum.value_or_infinity()));
        for_pairs<T>(job, row, [&](int64_t k0, int n, const T* dy, const T* y) {
            T grad[block];
            T* const direct =
                job.contiguous_out && sizeof(T) == elem_size[static_cast<int>(job.out)]
                    ? reinterpret_cast<T*>(row.out) + k0
                    : grad;
            for_vectors<T>(n, [&](int i, int lanes) FASTSOFTMAX_LAMBDA {
                const Vec<T> g = backward.of(some(dy + i, lanes), some(y + i, lanes), by);
                lanes == Vec<T>::lanes ? store(direct + i, g) : store_part(direct + i, g, lanes);
            });
            if (direct == grad) put(job, row, k0, grad, n);
        });
    }
}

// The same for a class axis that is not contiguous: `block` rows side by side, class by class.
template <class T, bool Log>
void backward_columns(const Job& job, Row row, int64_t count, const Axis& step, void*) {
    const FloatMode mode;
    const Backward<T, Log> backward;
    const Axis& axis = job.classes[0];
    for_elements(row, count, step, [&](const Row& first, int n) {
        T dys[block], ys[block], high[block], low[block];
        double sums[block + Vec<T>::lanes] = {}, lost[block + Vec<T>::lanes] = {};
        Row at = first;
        const auto dy_of = [&] { return block_of(job.target, at.target, step.target, dys, n); };
        const auto y_of = [&] { return block_of(job.in, at.x, step.x, ys, n); };
        for (int64_t k = 0; k < job.num_classes; ++k, advance(at, axis, 1)) {
            const T *const dy = dy_of(), *const y = y_of();
            for_vectors<T>(n, [&](int i, int lanes) FASTSOFTMAX_LAMBDA {
                const Vec<T> term = backward.term(some(dy + i, lanes), some(y + i, lanes));
                ColumnSum<T>::accumulate(sums + i, lost + i, term);
            });
        }
        for (int i = 0; i < n; ++i) {
            const Inverse<T> by = backward.factor(Total{sums[i], lost[i]}.value_or_infinity());
            high[i] = by.hi;
            low[i] = by.lo;
        }
        at = first;
        for (int64_t k = 0; k < job.num_classes; ++k, advance(at, axis, 1)) {
            const T *const dy = dy_of(), *const y = y_of();
            ResultBlock<T> grad(job.out, at.out, step.out);
            for_vectors<T>(n, [&](int i, int lanes) FASTSOFTMAX_LAMBDA {
                const Inverse<Vec<T>> by{some(high + i, lanes), some(low + i, lanes)};
                grad.put(i, backward.of(some(dy + i, lanes), some(y + i, lanes), by), lanes);
            });
            grad.finish(n);
        }
    });
}
