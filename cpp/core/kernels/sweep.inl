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

// ... or, for another row, the quotients of exponentials: their stores hide behind the arithmetic
// of a sweep.
template <class T>
struct Quotients {
    const T* e;
    T* y;
    Inverse<Vec<T>> by;
    FASTSOFTMAX_INLINE void vector(int64_t i) const { store(y + i, quotient(load(e + i), by)); }
    void part(int64_t i, int n) const {
        store_part(y + i, quotient(load_part(e + i, n, T(0)), by), n);
    }
};

// The same past the caches, from where `y` is aligned on: n in all.
template <class T>
struct StreamedQuotients {
    const T* e;
    T* y;
    int64_t n;
    Inverse<Vec<T>> by;
    FASTSOFTMAX_INLINE void vector(int64_t i) const {
        constexpr int L = Vec<T>::lanes;
        if (i + L <= n)
            stream(y + i, quotient(load(e + i), by));
        else if (i < n)
            Quotients<T>{e, y, by}.part(i, static_cast<int>(n - i));
    }
    void part(int64_t i, int) const { vector(i); }
};

// Exponentials, stored to `e` if Store, added to `sum` in groups of G vectors. Returns what
// `beside` has become.
template <bool Store, int G, class T, class In, class Beside>
inline Beside sweep(In x, T* e, int n, const Shift<T>& shift, BlockSum<T>& sum, Beside beside) {
    constexpr int L = Vec<T>::lanes;
    const Shift<T> s = shift;  // a copy that stores to `e` cannot alias
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
                if constexpr (Store) store(e + start + u * L, v[u]);
                beside.vector(start + u * L);
                part[w * W + u] = v[u];
            });
        });
        each<N / G>([&](int g) FASTSOFTMAX_LAMBDA {
            Vec<T> group[G];
            each<G>([&](int u) FASTSOFTMAX_LAMBDA { group[u] = part[g * G + u]; });
            local.add(tree(group));
        });
    };
    constexpr int S = exp2_at_once > G ? exp2_at_once : G;
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
    return beside;
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

template <class T>
inline void divide(const T* e, T* y, int64_t n, const Inverse<T>& by) {
    constexpr int L = Vec<T>::lanes;
    const Quotients<T> all{e, y, in_all_lanes(by)};
    int64_t i = 0;
    for (; i + 4 * L <= n; i += 4 * L)
        for (int u = 0; u < 4; ++u) all.vector(i + u * L);
    for (; i + L <= n; i += L) all.vector(i);
    if (i < n) all.part(i, static_cast<int>(n - i));
}

// Elements up to the first one of `y` at a multiple of a vector's size, at most n.
template <class T>
inline int64_t elements_to_alignment(const T* y, int64_t n) {
    constexpr int64_t L = Vec<T>::lanes;
    const int64_t off =
        static_cast<int64_t>(reinterpret_cast<uintptr_t>(y) % (L * sizeof(T)) / sizeof(T));
    return off == 0 ? 0 : L - off < n ? L - off : n;
}

// The same past the caches: a store there must be aligned.
template <class T>
inline void divide_streaming(const T* e, T* y, int64_t n, const Inverse<T>& by) {
    constexpr int L = Vec<T>::lanes;
    const Inverse<Vec<T>> all = in_all_lanes(by);
    int64_t i = elements_to_alignment(y, n);
    divide(e, y, i, by);
    for (; i + L <= n; i += L) stream(y + i, quotient(load(e + i), all));
    divide(e + i, y + i, n - i, by);
}

// Exponentials and their quotients at once, past the caches.
template <class T, class In>
inline void exp2_streaming(In x, T* y, int n, const Shift<T>& shift, const Inverse<T>& by) {
    constexpr int L = Vec<T>::lanes;
    const Shift<T> s = shift;
    const Inverse<Vec<T>> all = in_all_lanes(by);
    const auto part = [&](int i, int count) {
        if (count > 0) store_part(y + i, quotient(exp2_shifted(x.part(i, count), s), all), count);
    };
    const int head = static_cast<int>(elements_to_alignment(y, n));
    part(0, head);
    int i = head;
    for (; i + L <= n; i += L) stream(y + i, quotient(exp2_shifted(x.get(i), s), all));
    part(i, n - i);
}

// The same into half the size. No quotient is NaN: a row with NaN has no finite sum.
template <Elem type>
inline void divide_to_half(const float* e, char* to, int64_t n, const Inverse<float>& by) {
    constexpr int L = Vec<float>::lanes;
    const Inverse<Vec<float>> all = in_all_lanes(by);
    const auto narrowed = [&](Vec<float> v, uint16_t* y) __attribute__((always_inline)) {
        type == Elem::f16 ? store_f16(y, quotient(v, all)) : store_bf16(y, quotient(v, all));
    };
    uint16_t* const y = reinterpret_cast<uint16_t*>(to);
    int64_t i = 0;
    for (; i + L <= n; i += L) narrowed(load(e + i), y + i);
    if (i == n) return;
    uint16_t last[L];
    narrowed(load_part(e + i, static_cast<int>(n - i), 0.0f), last);
    memcpy(y + i, last, static_cast<size_t>(n - i) * 2);
}
