// One row after another: which kernel a row gets.

// One class: probability 1, log-probability 0, and x itself, whatever its bits.
template <class T, Op op>
inline void single_class_row(const Job& job, const Row& row, const Scale<T>&) {
    const bool present = !row.where || *row.where;
    T x;
    gather(job.in, row.x, 0, &x, 1);
    const double spoilt = is_finite(x) ? 0 : NAN;
    const double absent = op == Op::softmax ? 0 : -HUGE_VAL;
    const double result = op == Op::softmax ? 1 + spoilt : spoilt;
    if constexpr (op == Op::logsumexp) {
        if (!present)
            put_number<T>(job.out, row.out, absent);
        else if (job.in == job.out)
            memcpy(row.out, row.x, elem_size[static_cast<int>(job.in)]);
        else
            scatter(job.out, &x, row.out, 0, 1);
        if (row.sign) put_number<T>(job.out, row.sign, x != x ? NAN : present && x > -HUGE_VAL);
    } else {
        put_number<T>(job.out, row.out, present ? result : absent);
    }
}

// Calls kernel(job, row, log2(e) / T) for each row.
template <class T, class Kernel>
inline void each_row(const Job& job, Row row, int64_t count, const Axis& step, Kernel kernel) {
    Temperature<T> temperature(row);
    for (int64_t i = 0; i < count; ++i, advance(row, step, 1))
        kernel(job, row, temperature.at(row));
}

template <class T, class Sum>
constexpr bool read_once = sizeof(T) == 4 && by_vectors<T, Sum>;

template <class T, Op op, class Sum>
void rows(const Job& job, Row row, int64_t count, const Axis& step, void* scratch) {
    const FloatMode mode;
    if (row.weights) return each_row<T>(job, row, count, step, weighted_row<T>);
    if (job.num_classes == 1) return each_row<T>(job, row, count, step, single_class_row<T, op>);
    if constexpr (op == Op::softmax)
        softmax_rows<T, Sum>(job, row, count, step, static_cast<T*>(scratch));
    else if constexpr (op == Op::log_softmax && read_once<T, Sum>)
        log_softmax_rows(job, row, count, step);
    else if constexpr (op == Op::log_softmax)
        each_row<T>(job, row, count, step, log_softmax_row<T, Sum>);
    else if constexpr (read_once<T, Sum>)
        logsumexp_rows(job, row, count, step);
    else
        each_row<T>(job, row, count, step, logsumexp_row<T, Sum>);
    if (op == Op::log_softmax && job.streaming) stream_end();
}
