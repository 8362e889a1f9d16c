// Blocks of a row between the caller's memory and vectors of the compute type: dtype, strides,
// several class axes, mask. The only kernel file that knows them. No arithmetic.

constexpr int block = 256;        // elements that are staged at a time
constexpr int64_t piece = 16384;  // elements whose sum is folded by itself: a share of a thread

// The type that elements of type E are computed in.
template <class E>
struct Computed {
    using Type = E;
};
template <Elem type>
struct Computed<Half<type>> {
    using Type = float;
};

// Calls f with an element of the type, whatever its value.
template <class F>
inline auto with_type(Elem type, F f) {
    switch (type) {
        case Elem::f32:
            return f(float());
        case Elem::f64:
            return f(double());
        case Elem::f16:
            return f(Float16());
        case Elem::bf16:
            break;
    }
    return f(BFloat16());
}

// The same for what a result computed in T may be, if it is not converted to another size of
// float: T itself or, of float32, half types.
template <class T, class F>
inline auto with_result_type(const Job& job, F f) {
    if constexpr (sizeof(T) == 4) {
        if (job.out == Elem::f16) return f(Float16());
        if (job.out == Elem::bf16) return f(BFloat16());
    }
    return f(T());
}

// One number of any type from and to memory at any address.
template <class T, class E>
inline T number(E a) {
    if constexpr (sizeof(E) == 2) {
        return number<T>(widen(a));
    } else if constexpr (sizeof(E) == 4 && sizeof(T) == 8) {
        // Subnormal numbers are normal in double, but 0 to the conversion.
        const auto bits = static_cast<int32_t>(bits_of(a));
        const double small = static_cast<double>(bits & 0x7fffffff) * 0x1p-149;
        const bool is_small = (bits & 0x7f800000) == 0;
        return is_small ? (bits < 0 ? -small : small) : static_cast<double>(a);
    } else {
        return static_cast<T>(a);
    }
}
template <class T, class E>
inline void convert(T a, E& to) {
    if constexpr (sizeof(E) == 2)
        narrow(static_cast<float>(a), to);
    else
        to = static_cast<E>(a);
}

template <class E, class T>
inline void gather(const char* p, int64_t stride, T* to, int n) {
    constexpr int size = sizeof(E);
    E element;
    if (stride == size) {
        if constexpr (size == 2 && sizeof(T) == 4) {
            constexpr int L = Vec<T>::lanes;
            for (; n >= L; n -= L, p += L * size, to += L)
                store(to, load(reinterpret_cast<const E*>(p)));
        }
        for (int i = 0; i < n; ++i) {  // a constant step lets the loop vectorise
            memcpy(&element, p + i * size, size);
            to[i] = number<T>(element);
        }
        return;
    }
    for (int i = 0; i < n; ++i, p += stride) {
        memcpy(&element, p, size);
        to[i] = number<T>(element);
    }
}

template <class E, class T>
inline void scatter(const T* from, char* p, int64_t stride, int n) {
    constexpr int size = sizeof(E);
    E element;
    if (stride == size) {
        if constexpr (size == 2 && sizeof(T) == 4) {
            // Up to a NaN, which may have digits that vectors do not round.
            constexpr int L = Vec<T>::lanes;
            for (; n >= L && !any_nan(load(from)); n -= L, p += L * size, from += L)
                store(reinterpret_cast<E*>(p), load(from));
        }
        for (int i = 0; i < n; ++i) {
            convert(from[i], element);
            memcpy(p + i * size, &element, size);
        }
        return;
    }
    for (int i = 0; i < n; ++i, p += stride) {
        convert(from[i], element);
        memcpy(p, &element, size);
    }
}

template <class T>
inline void gather(Elem type, const char* p, int64_t stride, T* to, int n) {
    with_type(type, [&](auto e) { gather<decltype(e)>(p, stride, to, n); });
}
template <class T>
inline void scatter(Elem type, const T* from, char* p, int64_t stride, int n) {
    with_type(type, [&](auto e) { scatter<decltype(e)>(from, p, stride, n); });
}

// Visits classes k0 .. k0+n-1 of a row as runs along the innermost class axis: visit(row at the
// run's first class, axis, classes already visited, length of the run).
template <class Visit>
inline void for_runs(const Job& job, const Row& row, int64_t k0, int n, Visit visit) {
    const Axis& inner = job.classes[job.num_class_axes - 1];
    for (int done = 0; done < n;) {
        Row at = row;
        int64_t k = k0 + done;
        for (int a = job.num_class_axes - 1; a > 0; --a) {
            advance(at, job.classes[a], k % job.classes[a].size);
            k /= job.classes[a].size;
        }
        advance(at, job.classes[0], k);
        const int64_t left = inner.size - (k0 + done) % inner.size;
        const int run = left < n - done ? static_cast<int>(left) : n - done;
        visit(at, inner, done, run);
        done += run;
    }
}

// What a pass reads vectors from: memory as it is, where the classes are contiguous, in the compute
// type or half its size ...
template <class E>
struct Plain {
    using T = typename Computed<E>::Type;
    const E* p;
    static Plain of(const Row& row, int64_t k0) { return {reinterpret_cast<const E*>(row.x) + k0}; }
    FASTSOFTMAX_INLINE Vec<T> get(int i) const { return load(p + i); }
    Vec<T> part(int i, int n) const { return load_part(p + i, n, T(-HUGE_VAL)); }
};

// ... but for masked classes, which become -inf.
template <class T>
struct Masked {
    const T* p;
    const char* present;
    static Masked of(const Row& row, int64_t k0) {
        return {reinterpret_cast<const T*>(row.x) + k0, row.where + k0};
    }
    FASTSOFTMAX_INLINE Vec<T> get(int i) const {
        return load_where(p + i, present + i, T(-HUGE_VAL));
    }
    Vec<T> part(int i, int n) const { return load_where_part(p + i, present + i, n, T(-HUGE_VAL)); }
};

// ... or, where classes are anywhere or scores are to be shifted, blocks that are copied ...
struct Staged {};
// ... or whichever of these it is, found out for each pass.
struct Any {};

template <class A, class B>
constexpr bool same = false;
template <class A>
constexpr bool same<A, A> = true;

// Whether a reader may find elements of type E.
template <class In, class E>
constexpr bool reads = same<In, Staged> || same<In, Any>;
template <template <class> class In, class A, class E>
constexpr bool reads<In<A>, E> = same<A, E>;

// Calls f with what a row's classes are read from.
template <class T, class F>
FASTSOFTMAX_INLINE void with_reader(const Job& job, const Row& row, const F& f) {
    if (!job.plain_x) return f(Staged{});
    if constexpr (sizeof(T) == 4) {
        if (job.in == Elem::f16) return f(Plain<Float16>{});
        if (job.in == Elem::bf16) return f(Plain<BFloat16>{});
    }
    row.where ? f(Masked<T>{}) : f(Plain<T>{});
}

// A row's scores; masked classes are -inf, `offset` is subtracted if that is possible.
template <class T, class In = Any>
struct Source {
    static constexpr bool can_shift = same<In, Any> || same<In, Staged>;

    const Job& job;
    const Row& row;
    T offset = 0;
    bool shifted = false;
    T buffer[block];

    Source(const Job& of, const Row& at_row) : job(of), row(at_row) {}

    // Calls f(first class, number of classes, what to read them from) over classes k0 .. k0+n-1.
    template <class F>
    FASTSOFTMAX_INLINE void visit(int64_t k0, int64_t n, const F& f) {
        const auto all_from = [&](auto in) FASTSOFTMAX_LAMBDA {
            if constexpr (same<decltype(in), Staged>)
                staged(k0, n, f);
            else
                f(k0, static_cast<int>(n), in.of(row, k0));
        };
        if constexpr (!same<In, Any>)
            all_from(In{});
        else if (shifted)
            all_from(Staged{});
        else
            with_reader<T>(job, row, all_from);
    }

    template <class F>
    void staged(int64_t k0, int64_t n, const F& f) {
        for (const int64_t end = k0 + n; k0 < end; k0 += block) {
            const int length = static_cast<int>(end - k0 < block ? end - k0 : block);
            f(k0, length, Plain<T>{staged(k0, length)});
        }
    }

    template <class F>
    void visit_pieces(F f) {
        const int64_t K = job.num_classes;
        for (int64_t k0 = 0; k0 < K; k0 += piece) visit(k0, K - k0 < piece ? K - k0 : piece, f);
    }

    // A block of at most `block` classes, in `buffer`.
    const T* staged(int64_t k0, int n) {
        for_runs(job, row, k0, n, [&](const Row& at, const Axis& axis, int done, int run) {
            gather(job.in, at.x, axis.x, buffer + done, run);
            if (!at.where) return;
            const char* present = at.where;
            for (int i = 0; i < run; ++i, present += axis.where)
                if (!*present) buffer[done + i] = -HUGE_VAL;
        });
        if (shifted)
            for (int i = 0; i < n; ++i) buffer[i] -= offset;
        return buffer;
    }
};

// Writes classes k0 .. k0+n-1 of the result.
template <class T>
inline void put(const Job& job, const Row& row, int64_t k0, const T* from, int n) {
    for_runs(job, row, k0, n, [&](const Row& at, const Axis& axis, int done, int run) {
        scatter(job.out, from + done, at.out, axis.out, run);
    });
}

// Calls visit(k0, n) for each block of the row.
template <class Visit>
inline void for_blocks(const Job& job, Visit visit) {
    for (int64_t k0 = 0; k0 < job.num_classes; k0 += block)
        visit(k0, static_cast<int>(job.num_classes - k0 < block ? job.num_classes - k0 : block));
}

inline double number_at(const char* p) {
    double a;
    memcpy(&a, p, sizeof a);
    return a;
}

// Writes one number to every class that takes part and another to those that do not.
template <class T>
inline void fill(const Job& job, const Row& row, T present, T absent) {
    T values[block];
    for (int64_t k0 = 0; k0 < job.num_classes; k0 += block) {
        const int n = static_cast<int>(job.num_classes - k0 < block ? job.num_classes - k0 : block);
        for_runs(job, row, k0, n, [&](const Row& at, const Axis& axis, int done, int run) {
            for (int i = 0; i < run; ++i)
                values[done + i] = !at.where || at.where[i * axis.where] ? present : absent;
        });
        put(job, row, k0, values, n);
    }
}
