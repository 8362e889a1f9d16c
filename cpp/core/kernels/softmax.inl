// softmax, one row after another. A row is read once where its first classes tell its size: the
// shift is guessed from them, and the sum tells whether the guess would do.

// log2(e) / T of one row after another.
template <class T>
struct Temperature {
    double value;
    Scale<T> c;
    explicit Temperature(const Row& first) : value(number_at(first.temperature)), c(value) {}
    const Scale<T>& at(const Row& row) {
        const double own = number_at(row.temperature);
        if (own != value) c = Scale<T>(value = own);
        return c;
    }
};

// How far scores are below a number, 0 where that is `absent` or more.
template <class T, class In>
struct Gap {
    In x;
    Vec<T> top, absent;
    Vec<T> of(Vec<T> v) const {
        const Vec<T> gap = at_most(top - v, absent);
        return zero_where_equal(gap, gap, absent);
    }
    Vec<T> get(int i) const { return of(x.get(i)); }
    Vec<T> part(int i, int n) const { return of(x.part(i, n)); }
};

// A maximum to shift by, nearly always close enough: that of the first 64 classes, or of a
// sixteenth of a longer row up to one block. NaN, which suits nothing, where they are so far apart
// (2^190) that the row may well hold a much larger one: then to look for it first takes a tenth
// longer, to find out afterwards takes twice as long. Scores beyond 2^4096 say nothing of that:
// they stand for absent classes, like -inf.
template <class T, class In>
FASTSOFTMAX_INLINE T guessed_max(Source<T, In>& x, const Scale<T>& c) {
    const int64_t K = x.job.num_classes, sixteenth = K / 16 / 64 * 64;
    const int64_t n = K < 64 ? K : sixteenth < 64 ? 64 : sixteenth < block ? sixteenth : block;
    T top = -HUGE_VAL;
    bool close = true;
    x.visit(0, n, [&](int64_t, int count, auto in) FASTSOFTMAX_LAMBDA {
        top = largest_lane(max_of<T>(in, count));
        if (K < 64) return;
        const Gap<T, decltype(in)> below{in, Vec<T>::all(top), Vec<T>::all(4096 * c.c_inverse)};
        close = all_at_most(max_of<T>(below, count), Vec<T>::all(190 * c.c_inverse));
    });
    return close ? top : T(NAN);
}

template <class T, class In>
inline T row_max(Source<T, In>& x) {
    Vec<T> top = Vec<T>::all(-HUGE_VAL);
    x.visit_pieces([&](int64_t, int n, auto in) { top = larger(top, max_of<T>(in, n)); });
    return largest_lane(top);
}

template <class T, class In>
inline bool row_has_nan(Source<T, In>& x) {
    bool found = false;
    x.visit_pieces([&](int64_t, int n, auto in) { found |= has_nan<T>(in, n); });
    return found;
}

// Whether the mask takes every class of the row out.
inline bool row_is_absent(const Job& job, const Row& row) {
    bool absent = row.where != nullptr;
    for_blocks(job, [&](int64_t k0, int n) {
        for_runs(job, row, k0, n, [&](const Row& at, const Axis& axis, int, int run) {
            for (int i = 0; absent && i < run; ++i) absent = !at.where[i * axis.where];
        });
    });
    return absent;
}

// A shift that suits a maximum; false if none does without subtracting the maximum first.
template <class T>
FASTSOFTMAX_INLINE bool shift_for(T top, const Scale<T>& c, Shift<T>& s) {
    const Vec<T> all = Vec<T>::all(top);
    if (!within_reach(all, c)) return false;
    s = Shift<T>(c, nearest(all, c));
    return true;
}

// Where |max * c| is too large for its reduction, x - max has few digits to lose: then the source
// subtracts a finite maximum. Returns the maximum of what the source gives from here on.
template <class T, class In>
inline T brought_within_reach(Source<T, In>& x, T max, const Scale<T>& c) {
    if (within_reach(Vec<T>::all(max), c)) return max;
    x.offset = max;
    x.shifted = true;
    return 0;
}

// Shifts by the row's own maximum, which is returned; NaN if the source would have to subtract it
// and cannot.
template <class T, class In>
inline T shift_exactly(Source<T, In>& x, const Scale<T>& c, Shift<T>& s) {
    const T top = row_max(x);
    if (!x.can_shift && !within_reach(Vec<T>::all(top), c)) return NAN;
    if (is_finite(top)) shift_for(brought_within_reach(x, top, c), c, s);
    return top;
}

// True if nothing overflowed and the largest term is not lost below the others.
template <class T>
inline bool in_range(const Total& sum) {
    return sum.high <= Limits<T>::overflow && sum.high >= 1;
}

// The sum that `attempt` gives under a guessed shift, or else under the row's own; false if that is
// not finite or nothing.
template <class T, class In, class Attempt>
FASTSOFTMAX_INLINE bool sum_under_shift(Source<T, In>& x, const Scale<T>& c, bool guess,
                                        Shift<T>& s, Total& sum, const Attempt& attempt) {
    // In a loop, so that what stands in it is there once and inline.
    for (bool exact = !guess || !shift_for(guessed_max(x, c), c, s);; exact = true) {
        if (exact && !is_finite(shift_exactly(x, c, s))) return false;
        sum = attempt();
        if (exact) return sum.high > 0;
        if (in_range<T>(sum)) return true;
    }
}

// A row's sum from those of its pieces, in their order.
template <class T>
struct Folded {
    Compensated<double> sum{{0, 0}};
    void add(const Total& piece_sum) {
        sum.add(piece_sum.high);
        sum.sum.low += piece_sum.low;
    }
    Total total() const { return {sum.sum.high, sum.sum.low}; }
};

template <int G, class T, class In, class Beside>
FASTSOFTMAX_INLINE Total piece_sum(Source<T, In>& x, T* e, const Shift<T>& s, int64_t k0,
                                   const Beside& beside) {
    const int64_t left = x.job.num_classes - k0;
    BlockSum<T> sum;
    x.visit(k0, left < piece ? left : piece, [&](int64_t k, int n, auto in) FASTSOFTMAX_LAMBDA {
        auto other = beside.from(k);
        if (Beside::keeps || e)
            sweep<true, G>(in, e + k, n, s, sum, other);
        else
            sweep<false, G>(in, e, n, s, sum, other);
    });
    return sum.total();
}

// Exponentials of the whole row into `e` (or nowhere), and their sum.
template <int G = group_size, class T, class In, class Beside>
FASTSOFTMAX_INLINE Total sweep_row(Source<T, In>& x, T* e, const Shift<T>& s, BlockSum<T>,
                                   const Beside& beside) {
    const int64_t K = x.job.num_classes;
    Folded<T> folded;
    for (int64_t k0 = 0;;) {
        const Total sum = piece_sum<G>(x, e, s, k0, beside);
        if (K <= piece) return sum;
        folded.add(sum);
        if ((k0 += piece) >= K) return folded.total();
    }
}

template <class T, class In, class Beside>
inline Total sweep_row(Source<T, In>& x, T* e, const Shift<T>& s, GroupSum<T> sum, const Beside&) {
    T terms[block];
    for_blocks(x.job, [&](int64_t k0, int n) {
        x.visit(k0, n, [&](int64_t k, int count, auto in) {
            T* const to = e ? e + k : terms;
            exp2_of(in, to, count, s);
            add_terms<group_size>(sum, to, count);
        });
    });
    return sum.total();
}

struct NothingPending {
    static constexpr bool keeps = false;
    Alone from(int64_t) const { return {}; }
};

// A row whose exponentials are there but not yet divided: each sweep over the next row, whose
// exponentials are kept as well, can take it along.
template <class T, class Y>
struct Pending {
    static constexpr bool keeps = true;
    T* e = nullptr;  // none
    Y* y = nullptr;
    Inverse<T> by{};
    Quotients<T, Y> from(int64_t k) const { return {e + k, y + k, in_all_lanes(by)}; }
    void finish(int64_t classes) {
        if (e) divide(e, y, classes, by);
        e = nullptr;
    }
};

// The same where the result goes past the caches.
template <class T, class Y>
struct PendingStream {
    static constexpr bool keeps = true;
    Pending<T, Y> row;
    int64_t head, classes;
    explicit PendingStream(const Pending<T, Y>& of, int64_t of_classes)
        : row(of), head(elements_to_alignment(of.y, of_classes)), classes(of_classes) {
        divide(row.e, row.y, head, row.by);
    }
    StreamedQuotients<T, Y> from(int64_t k) const {
        return {row.e + head + k, row.y + head + k, classes - head - k, in_all_lanes(row.by)};
    }
};

// Writes e / sum; `e` null: exponentials are computed again.
template <class Y, class T, class In>
inline void put_quotients(Source<T, In>& x, const T* e, const Shift<T>& s, const Inverse<T>& by) {
    const Job& job = x.job;
    const Row& row = x.row;
    if (job.contiguous_out) {
        Y* const y = reinterpret_cast<Y*>(row.out);
        if (e)
            return job.streaming ? divide_streaming(e, y, job.num_classes, by)
                                 : divide(e, y, job.num_classes, by);
        return x.visit_pieces([&](int64_t k, int n, auto in) {
            job.streaming ? exp2_quotients<true>(in, y + k, n, s, by)
                          : exp2_quotients<false>(in, y + k, n, s, by);
        });
    }
    T y[block];
    for_blocks(job, [&](int64_t k0, int n) {
        if (e)
            divide(e + k0, y, n, by);
        else
            x.visit(k0, n, [&](int64_t k, int count, auto in) {
                exp2_quotients<false>(in, y + (k - k0), count, s, by);
            });
        put(job, row, k0, y, n);
    });
}

constexpr int64_t deferrable = 2 * piece;  // classes

// What a row's exponentials become, here probabilities; gradients in cross_entropy.inl. A fate may
// decline rows, which it has then dealt with, and change exponentials once their sum is known (or
// the shift of those that are to be computed again).
template <class T>
struct Probabilities {
    static constexpr bool converts = true;  // whether scores and result may differ in type
    // Asked at compile time: for a test that always holds GCC 12 copies a register more in every
    // turn of the sweep.
    static constexpr bool declines = false;
    template <class In>
    Inverse<T> factor(Source<T, In>&, T*, const Shift<T>&, const Total& sum) const {
        return inverse(sum, T());
    }
    void after_recomputed(const Job&, const Row&) const {}
    void undefined(const Job& job, const Row& row) const {
        fill<T>(job, row, row_is_absent(job, row) ? 0 : NAN, 0);
    }
};

template <class T, class Sum>
constexpr bool by_vectors = false;
template <class T>
constexpr bool by_vectors<T, BlockSum<T>> = true;

template <class Sum, class Y, class In, class T, class Fate>
inline void rows_by_sum(const Job& job, Row row, int64_t count, const Axis& step, T* scratch,
                        Fate& fate) {
    // The quotients of a row wait for the sweep over the next one: 10 % faster in the caches near
    // by, and past the caches reads and writes go on at the same time.
    const bool streaming = job.contiguous_out && job.streaming;
    const bool in_result = job.contiguous_out && !streaming && !job.aside && sizeof(T) == sizeof(Y);
    const bool defer = by_vectors<T, Sum> && count > 1 && job.contiguous_out &&
                       (in_result ? job.num_classes <= deferrable : job.rows_kept > 1);
    Pending<T, Y> pending;
    Temperature<T> temperature(row);
    for (int64_t i = 0; i < count; ++i, advance(row, step, 1)) {
        if constexpr (Fate::declines)
            if (!fate.begin(job, row)) {
                pending.finish(job.num_classes);
                continue;
            }
        const Scale<T>& c = temperature.at(row);
        Source<T, In> x(job, row);
        T* const e = in_result       ? reinterpret_cast<T*>(row.out)
                     : job.rows_kept ? scratch + (defer ? i % 2 * job.num_classes : 0)
                                     : nullptr;
        Shift<T> s;
        Total sum;
        // In place the row cannot be read again: no guess.
        const bool guess = !(job.in_place && in_result);
        const bool defined = sum_under_shift(x, c, guess, s, sum, [&]() FASTSOFTMAX_LAMBDA {
            const Pending<T, Y> other = pending;
            pending.e = nullptr;
            if (!other.e) return sweep_row(x, e, s, Sum{}, NothingPending{});
            return streaming
                       ? sweep_row(x, e, s, Sum{}, PendingStream<T, Y>(other, job.num_classes))
                       : sweep_row(x, e, s, Sum{}, other);
        });
        if (!defined) {
            pending.finish(job.num_classes);
            if constexpr (x.can_shift)
                fate.undefined(job, row);
            else
                rows_by_sum<Sum, Y, Staged>(job, row, 1, step, scratch, fate);
            continue;
        }
        const Inverse<T> by = fate.factor(x, e, s, sum);
        if (defer) {
            pending = {e, reinterpret_cast<Y*>(row.out), by};
        } else {
            put_quotients<Y>(x, e, s, by);
            if (!e) fate.after_recomputed(job, row);
        }
    }
    pending.finish(job.num_classes);
    if (streaming) stream_end();
}

// By what the result's elements and the scores are.
template <class Sum, class T, class Fate>
inline void rows_by_sum(const Job& job, const Row& row, int64_t count, const Axis& step, T* scratch,
                        Fate& fate) {
    with_result_type<T>(job, [&](auto y) {
        const auto rows_of = [&](auto in) {
            using Y = decltype(y);
            using In = decltype(in);
            if constexpr (Fate::converts || reads<In, Y>)
                rows_by_sum<Sum, Y, In>(job, row, count, step, scratch, fate);
            else
                __builtin_unreachable();  // a gradient has the type of the scores
        };
        if constexpr (by_vectors<T, Sum>)
            with_reader<T>(job, row, rows_of);
        else
            rows_of(Any{});
    });
}

template <class T, class Sum>
inline void softmax_rows(const Job& job, const Row& row, int64_t count, const Axis& step,
                         T* scratch) {
    Probabilities<T> fate;
    rows_by_sum<Sum>(job, row, count, step, scratch, fate);
}
