// One row by several threads: softmax piece by piece, with the sums and so the bits of softmax.inl.

template <class T>
inline int64_t piece_at(const Job& job, int64_t k0) {
    return job.num_classes - k0 < piece ? job.num_classes - k0 : piece;
}

// A row of a call, as each thread makes it for itself.
template <class T>
struct SplitRow {
    Scale<T> c;
    Source<T> x;
    Shift<T> s;
    T* const y;
    T* const e;  // null past the caches: a thread computes exponentials again

    SplitRow(const Job& job, const Row& row)
        : c(number_at(row.temperature)),
          x(job, row),
          y(reinterpret_cast<T*>(row.out)),
          e(job.streaming ? nullptr : y) {}
};

template <class T>
double split_guess(const Job& job, const Row& row) {
    const FloatMode mode;
    SplitRow<T> r(job, row);
    return static_cast<double>(guessed_max(r.x, r.c));
}

template <class T>
double split_max(const Job& job, const Row& row, int64_t k0) {
    const FloatMode mode;
    SplitRow<T> r(job, row);
    T top = -HUGE_VAL;
    r.x.visit(k0, piece_at<T>(job, k0),
              [&](int64_t, int n, auto in) { top = largest_lane(max_of<T>(in, n)); });
    return static_cast<double>(top);
}

template <class T>
bool split_suits(const Job& job, const Row& row, double top) {
    const FloatMode mode;
    SplitRow<T> r(job, row);
    return shift_for(static_cast<T>(top), r.c, r.s);
}

template <class T>
Part split_sum(const Job& job, const Row& row, double top, int64_t k0) {
    const FloatMode mode;
    SplitRow<T> r(job, row);
    shift_for(static_cast<T>(top), r.c, r.s);
    const Total sum = piece_sum(r.x, r.e, r.s, k0, NothingPending{});
    return {sum.high, sum.low};
}

template <class T>
bool split_total(const Part* parts, int64_t count, Part* total) {
    const FloatMode mode;
    Folded<T> folded;
    for (int64_t i = 0; i < count; ++i) folded.add({parts[i].high, parts[i].low});
    const Total sum = folded.total();
    *total = {sum.high, sum.low};
    return in_range<T>(sum);
}

template <class T>
void split_finish(const Job& job, const Row& row, double top, const Part& total, int64_t k0) {
    const FloatMode mode;
    SplitRow<T> r(job, row);
    const int64_t n = piece_at<T>(job, k0);
    const Inverse<T> by = inverse({total.high, total.low}, T());
    if (r.e) return divide(r.e + k0, r.y + k0, n, by);
    shift_for(static_cast<T>(top), r.c, r.s);
    r.x.visit(k0, n,
              [&](int64_t k, int count, auto in) { exp2_streaming(in, r.y + k, count, r.s, by); });
    stream_end();
}

template <class T>
constexpr Pieces split_of = {piece,        split_guess<T>, split_max<T>,   split_suits<T>,
                             split_sum<T>, split_total<T>, split_finish<T>};
