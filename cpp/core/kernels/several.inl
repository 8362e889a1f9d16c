// softmax of contiguous float32 rows of a few vectors, as many rows at a time as a vector has
// lanes: their maxima come out of one tree of vectors, and so do their sums, which are BlockSum's.

// Up to 24 (AVX2: 20) classes it is quicker to turn rows into columns, and with vectors of 16
// bytes, of which a row takes many, always.
constexpr bool several_pay = Vec<float>::lanes >= 8;
constexpr int several_classes = several_pay ? short_classes : 0;
constexpr int few_classes_of_softmax =
    several_pay ? short_classes / 4 + Vec<float>::lanes / 2 : short_classes;
constexpr int several_vectors = short_classes / Vec<float>::lanes;

// Lane by lane what `combine` makes of all lanes of each vector, in the order of `sum_of_lanes`.
template <class T, int size, class Combine>
FASTSOFTMAX_INLINE Vec<T> across(Vec<T> (&v)[size], const Combine& combine) {
    if constexpr (size > 1) {
        constexpr int half = size / 2;
        Vec<T> folded[half];
        each<half>([&](int i) FASTSOFTMAX_LAMBDA {
            exchange<half>(v[i], v[i + half]);
            folded[i] = combine(v[i], v[i + half]);
        });
        return across(folded, combine);
    } else {
        return v[0];
    }
}
template <class T, class Combine>
FASTSOFTMAX_INLINE Vec<T> across_each(const T* vectors, const Combine& combine) {
    constexpr int L = Vec<T>::lanes;
    Vec<T> v[L];
    each<L>([&](int i) FASTSOFTMAX_LAMBDA { v[i] = load(vectors + i * L); });
    return across(v, combine);
}

// What BlockSum makes of a row's vectors, but for zeros that change nothing.
template <int V>
FASTSOFTMAX_INLINE Vec<double> sum_of(const Vec<float> (&e)[V]) {
    constexpr int G = group_size;
    Vec<double> low, high;
    each<(V + G - 1) / G>([&](int g) FASTSOFTMAX_LAMBDA {
        const Vec<float> part = g * G + 1 < V ? e[g * G] + e[g * G + 1] : e[g * G];
        low = g ? low + widen_low(part) : widen_low(part);
        high = g ? high + widen_high(part) : widen_high(part);
    });
    return low + high;
}

// L rows of V vectors, of which the last one has `tail` classes.
template <int V, bool Stream>
struct Several {
    static constexpr int L = Vec<float>::lanes;

    const Axis& step;
    const Scale<float>& c;
    int classes, tail;
    alignas(64) float terms[L * V * L];
    alignas(64) float floor[L], magic_less_shift[L];

    Several(const Job& job, const Axis& of_rows, const Scale<float>& scale)
        : step(of_rows),
          c(scale),
          classes(static_cast<int>(job.num_classes)),
          tail(classes - (V - 1) * L) {}

    FASTSOFTMAX_INLINE Vec<float> score(const char* x, int v) const {
        const float* const at = reinterpret_cast<const float*>(x) + v * L;
        return v < V - 1 ? load(at) : load_part(at, tail, -HUGE_VALF);
    }

    // Finds the rows' shifts; false if one needs the row kernel.
    bool find_shifts(const char* x) {
        alignas(64) float largest[L * L];
        for (int r = 0; r < L; ++r, x += step.x) {
            Vec<float> top = score(x, 0);
            each<V - 1>([&](int v) FASTSOFTMAX_LAMBDA { top = larger(top, score(x, v + 1)); });
            store(largest + r * L, top);
        }
        const Vec<float> top = across_each(
            largest, [](Vec<float> a, Vec<float> b) FASTSOFTMAX_LAMBDA { return larger(a, b); });
        const Shift<float> s(c, nearest(top, c));
        store(floor, s.floor);
        store(magic_less_shift, s.magic_less_shift);
        return within_reach(top, c);
    }

    // The exponentials, and what their sums are to be divided by.
    Inverse<Vec<float>> exp2(const char* x) {
        constexpr int D = Vec<double>::lanes;
        alignas(64) double sums[L * D];
        Shift<float> s(c, Vec<float>::all(0));
        s.ceiling = Vec<float>::all(HUGE_VALF);  // the shift is the maximum's: none is above
        for (int r = 0; r < L; ++r, x += step.x) {
            s.floor = Vec<float>::all(floor[r]);
            s.magic_less_shift = Vec<float>::all(magic_less_shift[r]);
            Vec<float> e[V];
            each<V>([&](int v) FASTSOFTMAX_LAMBDA {
                e[v] = exp2_shifted(score(x, v), s);
                store(terms + (r * V + v) * L, e[v]);
            });
            store(sums + r * D, sum_of(e));
        }
        const auto add = [](Vec<double> a, Vec<double> b) FASTSOFTMAX_LAMBDA { return a + b; };
        return inverse(across_each(sums, add), across_each(sums + D * D, add));
    }

    void divide(char* y, const Inverse<Vec<float>>& by) const {
        alignas(64) float hi[L], lo[L];
        store(hi, by.hi);
        store(lo, by.lo);
        const int last = classes - L;  // that vector overlaps with the one before
        for (int r = 0; r < L; ++r, y += step.out) {
            const Inverse<Vec<float>> all{Vec<float>::all(hi[r]), Vec<float>::all(lo[r])};
            const float* const e = terms + r * V * L;
            float* const to = reinterpret_cast<float*>(y);
            const auto put = [&](int i) FASTSOFTMAX_LAMBDA {
                const Vec<float> q = quotient(load(e + i), all);
                Stream ? stream(to + i, q) : store(to + i, q);
            };
            each<V - 1>([&](int v) FASTSOFTMAX_LAMBDA { put(v * L); });
            put(last);
        }
    }
};

template <int V, bool Stream>
inline void several_rows_of(const Job& job, Row row, int64_t count, const Axis& step,
                            void* scratch) {
    constexpr int L = Vec<float>::lanes;
    const Scale<float> c(number_at(row.temperature));
    Several<V, Stream> several(job, step, c);
    bool ordinary = count >= L && several.find_shifts(row.x);
    for (; count >= L; count -= L, advance(row, step, L)) {
        const bool more = count >= 2 * L, served = ordinary;
        const char* const next = row.x + L * step.x;
        if (served) {
            const Inverse<Vec<float>> by = several.exp2(row.x);
            // The next rows' maxima take the time that the division takes.
            ordinary = more && several.find_shifts(next);
            several.divide(row.out, by);
        } else {
            rows<float, Op::softmax, BlockSum<float>>(job, row, L, step, scratch);
            ordinary = more && several.find_shifts(next);
        }
    }
    if (count > 0) rows<float, Op::softmax, BlockSum<float>>(job, row, count, step, scratch);
    if (Stream) stream_end();
}

template <int V = 2>
inline void several_rows_float(const Job& job, const Row& row, int64_t count, const Axis& step,
                               void* scratch) {
    constexpr int L = Vec<float>::lanes;
    if constexpr (V < several_vectors)
        if (job.num_classes > V * L)
            return several_rows_float<V + 1>(job, row, count, step, scratch);
    constexpr uintptr_t line = L * sizeof(float);
    const bool aligned = (reinterpret_cast<uintptr_t>(row.out) | step.out) % line == 0;
    if (job.streaming && job.num_classes == V * L && aligned)
        several_rows_of<V, true>(job, row, count, step, scratch);
    else
        several_rows_of<V, false>(job, row, count, step, scratch);
}

template <bool worthwhile>
void several_rows(const Job& job, Row row, int64_t count, const Axis& step, void* scratch) {
    if constexpr (worthwhile) {
        const FloatMode mode;
        if (job.in == Elem::f32 && job.out == Elem::f32)
            several_rows_float(job, row, count, step, scratch);
        else
            rows_by_copy<Op::softmax>(job, row, count, step, scratch, several_rows_float<>);
    }
}
