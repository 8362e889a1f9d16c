// One row by several threads: softmax piece by piece, with the sums and so the bits of softmax.inl.

inline int64_t piece_at(const Job& job, int64_t k0) {
    return job.num_classes - k0 < piece ? job.num_classes - k0 : piece;
}

// A row of a call, as each thread makes it for itself, with a result of type Y.
template <class Y>
struct SplitRow {
    using T = typename Computed<Y>::Type;
    Scale<T> c;
    Source<T> x;
    Shift<T> s;
    Y* const y;
    T* e;  // null without room: a thread computes exponentials again

    SplitRow(const Job& job, const Row& row, void* kept = nullptr)
        : c(number_at(row.temperature)),
          x(job, row),
          y(reinterpret_cast<Y*>(row.out)),
          e(static_cast<T*>(kept)) {
        if constexpr (sizeof(T) == sizeof(Y))
            if (!job.streaming) e = y;
    }
};

template <class Y>
double split_guess(const Job& job, const Row& row) {
    const FloatMode mode;
    SplitRow<Y> r(job, row);
    return static_cast<double>(guessed_max(r.x, r.c));
}

template <class Y>
double split_max(const Job& job, const Row& row, int64_t k0) {
    const FloatMode mode;
    SplitRow<Y> r(job, row);
    using T = typename SplitRow<Y>::T;
    T top = -HUGE_VAL;
    r.x.visit(k0, piece_at(job, k0),
              [&](int64_t, int n, auto in) { top = largest_lane(max_of<T>(in, n)); });
    return static_cast<double>(top);
}

template <class Y>
bool split_suits(const Job& job, const Row& row, double top) {
    const FloatMode mode;
    SplitRow<Y> r(job, row);
    return shift_for(static_cast<typename SplitRow<Y>::T>(top), r.c, r.s);
}

template <class Y>
Part split_sum(const Job& job, const Row& row, void* kept, double top, int64_t k0) {
    const FloatMode mode;
    SplitRow<Y> r(job, row, kept);
    shift_for(static_cast<typename SplitRow<Y>::T>(top), r.c, r.s);
    const Total sum = piece_sum<group_size>(r.x, r.e, r.s, k0, NothingPending{});
    return {sum.high, sum.low};
}

template <class Y>
bool split_total(const Part* parts, int64_t count, Part* total) {
    const FloatMode mode;
    using T = typename SplitRow<Y>::T;
    Folded<T> folded;
    for (int64_t i = 0; i < count; ++i) folded.add({parts[i].high, parts[i].low});
    const Total sum = folded.total();
    *total = {sum.high, sum.low};
    return in_range<T>(sum);
}

template <class Y>
void split_finish(const Job& job, const Row& row, void* kept, double top, const Part& total,
                  int64_t k0) {
    const FloatMode mode;
    SplitRow<Y> r(job, row, kept);
    using T = typename SplitRow<Y>::T;
    const int64_t n = piece_at(job, k0);
    const Inverse<T> by = inverse({total.high, total.low}, T());
    if (r.e) return divide(r.e + k0, r.y + k0, n, by);
    shift_for(static_cast<T>(top), r.c, r.s);
    r.x.visit(k0, n, [&](int64_t k, int count, auto in) {
        job.streaming ? exp2_quotients<true>(in, r.y + k, count, r.s, by)
                      : exp2_quotients<false>(in, r.y + k, count, r.s, by);
    });
    if (job.streaming) stream_end();
}

template <class Y>
constexpr Pieces split_of = {piece,        split_guess<Y>, split_max<Y>,   split_suits<Y>,
                             split_sum<Y>, split_total<Y>, split_finish<Y>};
