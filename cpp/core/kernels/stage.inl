// Blocks of a row between the caller's memory and vectors of the compute type: dtype, strides,
// several class axes, mask. The only kernel file that knows them. No arithmetic.

constexpr int block = 256;        // elements that are staged at a time
constexpr int64_t piece = 16384;  // elements whose sum is folded by itself: a share of a thread

// Elements as they lie in memory, by type.
struct F32 {
    using Bits = float;
    // Subnormal numbers are normal in double, but 0 to the conversion.
    template <class T>
    static T get(float a) {
        if constexpr (sizeof(T) == 4) {
            return a;
        } else {
            const auto bits = static_cast<int32_t>(bits_of(a));
            const double small = static_cast<double>(bits & 0x7fffffff) * 0x1p-149;
            const bool is_small = (bits & 0x7f800000) == 0;
            return is_small ? (bits < 0 ? -small : small) : static_cast<double>(a);
        }
    }
    template <class T>
    static float put(T a) {
        return static_cast<float>(a);
    }
};
struct F64 {
    using Bits = double;
    template <class T>
    static T get(double a) {
        return static_cast<T>(a);
    }
    template <class T>
    static double put(T a) {
        return static_cast<double>(a);
    }
};
struct F16 {
    using Bits = uint16_t;
    template <class T>
    static T get(uint16_t a) {
        return static_cast<T>(from_f16(a));
    }
    template <class T>
    static uint16_t put(T a) {
        return to_f16(static_cast<float>(a));
    }
};
struct BF16 {
    using Bits = uint16_t;
    template <class T>
    static T get(uint16_t a) {
        return F32::get<T>(from_bf16(a));
    }
    template <class T>
    static uint16_t put(T a) {
        return to_bf16(static_cast<float>(a));
    }
};

template <class E, class T>
inline void gather(const char* p, int64_t stride, T* to, int n) {
    typename E::Bits bits;
    if (stride == static_cast<int64_t>(sizeof bits)) {  // a constant step lets the loop vectorise
        for (int i = 0; i < n; ++i) {
            memcpy(&bits, p + i * static_cast<int64_t>(sizeof bits), sizeof bits);
            to[i] = E::template get<T>(bits);
        }
        return;
    }
    for (int i = 0; i < n; ++i, p += stride) {
        memcpy(&bits, p, sizeof bits);
        to[i] = E::template get<T>(bits);
    }
}

template <class E, class T>
inline void scatter(const T* from, char* p, int64_t stride, int n) {
    typename E::Bits bits;
    if (stride == static_cast<int64_t>(sizeof bits)) {
        for (int i = 0; i < n; ++i) {
            bits = E::put(from[i]);
            memcpy(p + i * static_cast<int64_t>(sizeof bits), &bits, sizeof bits);
        }
        return;
    }
    for (int i = 0; i < n; ++i, p += stride) {
        bits = E::put(from[i]);
        memcpy(p, &bits, sizeof bits);
    }
}

template <class T>
inline void gather(Elem type, const char* p, int64_t stride, T* to, int n) {
    switch (type) {
        case Elem::f32:
            return gather<F32>(p, stride, to, n);
        case Elem::f64:
            return gather<F64>(p, stride, to, n);
        case Elem::bf16:
            return gather<BF16>(p, stride, to, n);
        case Elem::f16:
            break;
    }
    if constexpr (sizeof(T) == 4) {
        constexpr int lanes = Vec<float>::lanes;
        while (stride == 2 && n >= lanes) {
            uint16_t bits[lanes];
            memcpy(bits, p, sizeof bits);
            store(to, load_f16(bits));
            p += sizeof bits, to += lanes, n -= lanes;
        }
    }
    gather<F16>(p, stride, to, n);
}

template <class T>
inline void scatter(Elem type, const T* from, char* p, int64_t stride, int n) {
    switch (type) {
        case Elem::f32:
            return scatter<F32>(from, p, stride, n);
        case Elem::f64:
            return scatter<F64>(from, p, stride, n);
        case Elem::bf16:
            return scatter<BF16>(from, p, stride, n);
        case Elem::f16:
            break;
    }
    if constexpr (sizeof(T) == 4) {
        constexpr int lanes = Vec<float>::lanes;
        while (stride == 2 && n >= lanes) {
            uint16_t bits[lanes];
            store_f16(bits, load(from));
            memcpy(p, bits, sizeof bits);
            p += sizeof bits, from += lanes, n -= lanes;
        }
    }
    scatter<F16>(from, p, stride, n);
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

// What a pass reads vectors from: memory as it is, where the classes are contiguous ...
template <class T>
struct Plain {
    const T* p;
    FASTSOFTMAX_INLINE Vec<T> get(int i) const { return load(p + i); }
    Vec<T> part(int i, int n) const { return load_part(p + i, n, T(-HUGE_VAL)); }
};

// ... but for masked classes, which become -inf ...
template <class T>
struct Masked {
    const T* p;
    const char* present;
    FASTSOFTMAX_INLINE Vec<T> get(int i) const {
        return load_where(p + i, present + i, T(-HUGE_VAL));
    }
    Vec<T> part(int i, int n) const {
        // Without a branch on the mask, which is not foreseen.
        T x[Vec<T>::lanes];
        char here[Vec<T>::lanes];
        store(x, load_part(p + i, n, T(-HUGE_VAL)));
        for (int j = 0; j < Vec<T>::lanes; ++j) here[j] = j < n ? present[i + j] : 0;
        return load_where(x, here, T(-HUGE_VAL));
    }
};

// ... or half the size.
template <Elem type>
struct Half {
    const uint16_t* p;
    static Vec<float> wide(const uint16_t* from) {
        return type == Elem::f16 ? load_f16(from) : load_bf16(from);
    }
    FASTSOFTMAX_INLINE Vec<float> get(int i) const { return wide(p + i); }
    Vec<float> part(int i, int n) const {
        uint16_t bits[Vec<float>::lanes];
        for (auto& b : bits) b = type == Elem::f16 ? 0xfc00 : 0xff80;  // -inf
        memcpy(bits, p + i, static_cast<size_t>(n) * 2);
        return wide(bits);
    }
};

// A row's scores; masked classes are -inf, `offset` is subtracted.
template <class T>
struct Source {
    const Job& job;
    const Row& row;
    T offset = 0;
    bool shifted = false;
    T buffer[block];

    Source(const Job& of, const Row& at_row) : job(of), row(at_row) {}

    // Calls f(first class, number of classes, what to read them from) over classes k0 .. k0+n-1.
    template <class F>
    void visit(int64_t k0, int64_t n, F f) {
        if (job.plain_x && !shifted) {
            const int length = static_cast<int>(n);
            const auto start = [&](auto type) {
                return reinterpret_cast<const decltype(type)*>(row.x) + k0;
            };
            if constexpr (sizeof(T) == 4) {
                if (job.in == Elem::f16) return f(k0, length, Half<Elem::f16>{start(uint16_t())});
                if (job.in == Elem::bf16) return f(k0, length, Half<Elem::bf16>{start(uint16_t())});
            }
            if (elem_size[static_cast<int>(job.in)] == sizeof(T)) {
                if (row.where) return f(k0, length, Masked<T>{start(T()), row.where + k0});
                return f(k0, length, Plain<T>{start(T())});
            }
        }
        for (int64_t end = k0 + n; k0 < end; k0 += block) {
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
