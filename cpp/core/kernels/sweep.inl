// Passes over the classes of a row, lanes along the classes: maxima, exponentials with their sums,
// quotients. What they read from is `In` of stage.inl; nothing here knows what a row is.

template <class T>
inline bool is_finite(T a) {
    return a - a == 0;
}

// Passes over NaN.
template <class T, class In>
inline Vec<T> max_of(In x, int n) {
    constexpr int L = Vec<T>::lanes;
    Vec<T> top[4];
    for (auto& t : top) t = Vec<T>::all(-HUGE_VAL);
    int i = 0;
    for (; i + 4 * L <= n; i += 4 * L)
        for (int u = 0; u < 4; ++u) top[u] = larger(top[u], x.get(i + u * L));
    for (; i + L <= n; i += L) top[0] = larger(top[0], x.get(i));
    if (i < n) top[1] = larger(top[1], x.part(i, n - i));
    return larger(larger(top[0], top[1]), larger(top[2], top[3]));
}

template <class T, class In>
inline bool has_nan(In x, int n) {
    constexpr int L = Vec<T>::lanes;
    bool found = false;
    int i = 0;
    for (; i + L <= n; i += L) found |= any_nan(x.get(i));
    if (i < n) found |= any_nan(x.part(i, n - i));
    return found;
}

// What a sweep does along the way: nothing ...
struct Alone {
    FASTSOFTMAX_INLINE void vector(int) const {}
    void part(int, int) const {}
};

// ... or find the maximum ...
template <class T, class In>
struct Maximum {
    In x;
    Vec<T> top;
    FASTSOFTMAX_INLINE void vector(int i) { top = larger(top, x.get(i)); }
    void part(int i, int n) { top = larger(top, x.part(i, n)); }
};

// ... or, for another row, the quotients of exponentials, which may become halves: their stores
// hide behind the arithmetic of a sweep.
template <class T, class Y>
struct Quotients {
    const T* e;
    Y* y;
    Inverse<Vec<T>> by;
    FASTSOFTMAX_INLINE void vector(int64_t i) const { store(y + i, quotient(load(e + i), by)); }
    void part(int64_t i, int n) const {
        store_part(y + i, quotient(load_part(e + i, n, T(0)), by), n);
    }
};

// The same past the caches, from where `y` is aligned on: n in all.
template <class T, class Y>
struct StreamedQuotients {
    const T* e;
    Y* y;
    int64_t n;
    Inverse<Vec<T>> by;
    FASTSOFTMAX_INLINE void vector(int64_t i) const {
        constexpr int L = Vec<T>::lanes;
        if (i + L <= n)
            stream(y + i, quotient(load(e + i), by));
        else if (i < n)
            Quotients<T, Y>{e, y, by}.part(i, static_cast<int>(n - i));
    }
    void part(int64_t i, int) const { vector(i); }
};

// Exponentials, stored to `e` if Store, added to `sum` in groups of G vectors. By reference: GCC
// copies structs in vectors, and a load wider than the stores before it waits for them to leave the
// pipeline, 50 ns a row.
template <bool Store, int G, class T, class In, class Beside>
FASTSOFTMAX_INLINE void sweep(In x, T* e, int n, const Shift<T>& shift, BlockSum<T>& sum,
                              Beside& other) {
    constexpr int L = Vec<T>::lanes;
    const Shift<T> s = shift;  // copies that stores to `e` cannot alias
    Beside beside = other;
    BlockSum<T> local = sum;
    // Whole vectors from i on, a multiple of G.
    const auto vectors = [&](int i, auto& part) FASTSOFTMAX_LAMBDA {
        constexpr int N = sizeof part / sizeof part[0], W = abreast_of<N>;
        each<N / W>([&](int w) FASTSOFTMAX_LAMBDA {
            const int start = i + w * W * L;
            Vec<T> v[W];
            each<W>([&](int u) FASTSOFTMAX_LAMBDA { v[u] = x.get(start + u * L); });
            exp2_abreast(v, s);
            each<W>([&](int u) FASTSOFTMAX_LAMBDA {
                // In this order: rows a multiple of 4 KiB apart would have this load look like what
                // the store before it left, 1.2 times the time for 1024 classes.
                beside.vector(start + u * L);
                if constexpr (Store) store(e + start + u * L, v[u]);
                part[w * W + u] = v[u];
            });
        });
        each<N / G>([&](int g) FASTSOFTMAX_LAMBDA {
            Vec<T> group[G];
            each<G>([&](int u) FASTSOFTMAX_LAMBDA { group[u] = part[g * G + u]; });
            local.add(tree(group));
        });
    };
    constexpr int S = exp2_at_once > 4 ? exp2_at_once : 4;  // so many in a turn of the loop
    Vec<T> several[S], part[G];
    int i = 0;
    for (; i + S * L <= n; i += S * L) vectors(i, several);
    for (; S > G && i + G * L <= n; i += G * L) vectors(i, part);
    if (i < n) {
        for (auto& p : part) p = Vec<T>::all(0);
        for (int u = 0; i < n; ++u, i += L) {
            if (i + L <= n) {
                part[u] = exp2_shifted(x.get(i), s);
                if constexpr (Store) store(e + i, part[u]);
                beside.vector(i);
                continue;
            }
            part[u] = exp2_shifted(x.part(i, n - i), s);
            if constexpr (Store) store_part(e + i, part[u], n - i);
            beside.part(i, n - i);
        }
        local.add(tree(part));
    }
    sum = local;
    other = beside;
}

// Exponentials and nothing else.
template <class T, class In>
inline void exp2_of(In x, T* e, int n, const Shift<T>& shift) {
    constexpr int L = Vec<T>::lanes;
    const Shift<T> s = shift;
    constexpr int W = exp2_at_once;
    int i = 0;
    for (; i + W * L <= n; i += W * L) {
        Vec<T> v[W];
        each<W>([&](int u) FASTSOFTMAX_LAMBDA { v[u] = x.get(i + u * L); });
        exp2_abreast(v, s);
        each<W>([&](int u) FASTSOFTMAX_LAMBDA { store(e + i + u * L, v[u]); });
    }
    for (; i + L <= n; i += L) store(e + i, exp2_shifted(x.get(i), s));
    if (i < n) store_part(e + i, exp2_shifted(x.part(i, n - i), s), n - i);
}

template <class T, class Y>
inline void divide(const T* e, Y* y, int64_t n, const Inverse<T>& by) {
    constexpr int L = Vec<T>::lanes;
    const Quotients<T, Y> all{e, y, in_all_lanes(by)};
    int64_t i = 0;
    for (; i + 4 * L <= n; i += 4 * L)
        for (int u = 0; u < 4; ++u) all.vector(i + u * L);
    for (; i + L <= n; i += L) all.vector(i);
    if (i < n) all.part(i, static_cast<int>(n - i));
}

// Elements up to the first one of `y` from where a vector's elements may be streamed, at most n.
template <class Y>
inline int64_t elements_to_alignment(const Y* y, int64_t n) {
    constexpr int64_t L = Vec<typename Computed<Y>::Type>::lanes;
    const int64_t off =
        static_cast<int64_t>(reinterpret_cast<uintptr_t>(y) % (L * sizeof(Y)) / sizeof(Y));
    return off == 0 ? 0 : L - off < n ? L - off : n;
}

// The same past the caches: a store there must be aligned.
template <class T, class Y>
inline void divide_streaming(const T* e, Y* y, int64_t n, const Inverse<T>& by) {
    constexpr int L = Vec<T>::lanes;
    const Inverse<Vec<T>> all = in_all_lanes(by);
    int64_t i = elements_to_alignment(y, n);
    divide(e, y, i, by);
    for (; i + L <= n; i += L) stream(y + i, quotient(load(e + i), all));
    divide(e + i, y + i, n - i, by);
}

// Exponentials and their quotients at once.
template <bool Stream, class T, class In, class Y>
inline void exp2_quotients(In x, Y* y, int n, const Shift<T>& shift, const Inverse<T>& by) {
    constexpr int L = Vec<T>::lanes;
    const Shift<T> s = shift;
    const Inverse<Vec<T>> all = in_all_lanes(by);
    const auto part = [&](int i, int count) {
        if (count > 0) store_part(y + i, quotient(exp2_shifted(x.part(i, count), s), all), count);
    };
    int i = Stream ? static_cast<int>(elements_to_alignment(y, n)) : 0;
    part(0, i);
    for (; i + L <= n; i += L) {
        const Vec<T> q = quotient(exp2_shifted(x.get(i), s), all);
        Stream ? stream(y + i, q) : store(y + i, q);
    }
    part(i, n - i);
}
