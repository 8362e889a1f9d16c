// Classes that do not exclude each other, each by its own sigmoid: elements one by one, along any
// axis. All of it out of e^-|x|, which neither overflows nor is subtracted from anything.

// A block of n elements in the type computed in: memory as it is, or a copy in `buffer`.
template <class T>
inline const T* block_of(Elem type, const char* p, int64_t stride, T* buffer, int n) {
    constexpr Elem own = sizeof(T) == 4 ? Elem::f32 : Elem::f64;
    if (type == own && stride == int64_t{sizeof(T)}) return reinterpret_cast<const T*>(p);
    gather(type, p, stride, buffer, n);
    return buffer;
}

// The first n lanes, and 0 in the others.
template <class T>
inline Vec<T> first_lanes(Vec<T> v, int n) {
    T lanes[Vec<T>::lanes] = {};
    store_part(lanes, v, n);
    return load(lanes);
}

// Calls f(i, n) for vectors of `length` elements: n is less than all lanes in the last one.
template <class T, class F>
FASTSOFTMAX_INLINE void for_vectors(int length, const F& f) {
    constexpr int L = Vec<T>::lanes;
    int i = 0;
    for (; i + L <= length; i += L) f(i, L);
    if (i < length) f(i, length - i);
}
template <class T>
FASTSOFTMAX_INLINE Vec<T> some(const T* p, int n) {
    return n == Vec<T>::lanes ? load(p) : load_part(p, n, T(0));
}

// The two sides of scores, in a unit of their own: sigmoid(x) is on / (on + off).
template <class T>
struct Logistic {
    static constexpr double unit = Exp2<T>::factor;
    Shift<T> shift{Scale<T>(1), Vec<T>::all(0)};
    Vec<T> one = Vec<T>::all(static_cast<T>(unit * __builtin_exp2(Limits<T>::bias)));
    Vec<T> inverse = Vec<T>::all(static_cast<T>(1 / (unit * __builtin_exp2(Limits<T>::bias))));

    struct Sides {
        Vec<T> e;         // e^-|x|
        Vec<T> up, down;  // |x| where x is positive, negative; else 0
        Vec<T> on, off, total;
    };
    FASTSOFTMAX_INLINE Sides of(Vec<T> x) const {
        const Vec<T> zero = Vec<T>::all(0), minus_x = zero - x;
        Sides s;
        s.up = larger(zero, x);
        s.down = larger(zero, minus_x);
        s.e = exp2_shifted(zero - larger(x, minus_x), shift);
        // Chosen by exact sums, of which one term is 0.
        s.on = zero_where_equal(one, s.up, zero) + (s.e - zero_where_equal(s.e, s.up, zero));
        s.off = zero_where_equal(s.e, s.up, zero) + (one - zero_where_equal(one, s.up, zero));
        s.total = one + s.e;
        return s;
    }
};

// log(1 + e^-|x|) = 2 atanh(t) for t = e / (2 unit + e), at most 1/3. The series of atanh, in z =
// t^2 up to 1/9, leaves out less than 2^-29. A float64 logarithm instead takes three times as long.
inline Vec<float> log_of_sides(const Logistic<float>& l, Vec<float> e) {
    const Vec<float> twice = (e + e) / (l.one + l.one + e);  // t may be subnormal where it is not
    const Vec<float> z[] = {twice * twice * Vec<float>::all(0.25f)};
    Vec<float> p[1];
    polynomial({1 / 15.0f, 1 / 13.0f, 1 / 11.0f, 1 / 9.0f, 1 / 7.0f, 1 / 5.0f, 1 / 3.0f}, z, p);
    return mul_add(twice * z[0], p[0], twice);
}
inline Vec<double> log_of_sides(const Logistic<double>& l, Vec<double> e) {
    return losses_of(e * l.inverse, 0.0);
}

// A block of a result: written where it belongs, or by way of `buffer`.
template <class T>
struct ResultBlock {
    Elem type;
    char* at;
    int64_t stride;
    T buffer[block];
    T* to;

    ResultBlock(Elem of, char* p, int64_t step) : type(of), at(p), stride(step) {
        constexpr Elem own = sizeof(T) == 4 ? Elem::f32 : Elem::f64;
        to = type == own && stride == int64_t{sizeof(T)} ? reinterpret_cast<T*>(at) : buffer;
    }
    FASTSOFTMAX_INLINE void put(int i, Vec<T> v, int n) {
        n == Vec<T>::lanes ? store(to + i, v) : store_part(to + i, v, n);
    }
    void finish(int n) const {
        if (to == buffer) scatter(type, buffer, at, stride, n);
    }
};

// Blocks of up to `block` elements: f(row at the first one, their number).
template <class F>
inline void for_elements(Row row, int64_t count, const Axis& step, F f) {
    for (int64_t n; count > 0; count -= n, advance(row, step, n)) {
        n = count < block ? count : block;
        f(row, static_cast<int>(n));
    }
}

template <class T, bool Log>
void sigmoids(const Job& job, Row row, int64_t count, const Axis& step, void*) {
    const FloatMode mode;
    const Logistic<T> logistic;
    for_elements(row, count, step, [&](const Row& at, int n) {
        T buffer[block];
        const T* const x = block_of(job.in, at.x, step.x, buffer, n);
        ResultBlock<T> y(job.out, at.out, step.out);
        for_vectors<T>(n, [&](int i, int lanes) FASTSOFTMAX_LAMBDA {
            const auto s = logistic.of(some(x + i, lanes));
            if constexpr (Log) {
                y.put(i, Vec<T>::all(0) - (s.down + log_of_sides(logistic, s.e)), lanes);
            } else {
                y.put(i, s.on / s.total, lanes);
            }
        });
        y.finish(n);
    });
}

// a log(1 + e^-x) + b log(1 + e^x) for a = w t pos_weight and b = w (1 - t), its gradient times
// `scale`, and, into `scratch`, the sum of the losses.
template <class T>
void binary_losses(const Job& job, Row row, int64_t count, const Axis& step, void* scratch) {
    const FloatMode mode;
    const Logistic<T> logistic;
    const Vec<T> zero = Vec<T>::all(0), one = Vec<T>::all(1);
    const Vec<T> scale = Vec<T>::all(static_cast<T>(job.scale));
    constexpr Elem own = sizeof(T) == 4 ? Elem::f32 : Elem::f64;
    BlockSum<T> sum;
    for_elements(row, count, step, [&](const Row& at, int n) {
        T buffers[4][block];
        const T* const x = block_of(job.in, at.x, step.x, buffers[0], n);
        const T* const t = block_of(job.target, at.target, step.target, buffers[1], n);
        const auto factors = [&](const char* p, int64_t stride, T* buffer) {
            return p ? block_of(own, p, stride, buffer, n) : nullptr;
        };
        const T* const weights = factors(at.weights, step.weights, buffers[2]);
        const T* const pos_weights = factors(at.pos_weights, step.pos_weights, buffers[3]);
        ResultBlock<T> losses(job.in, at.loss, step.loss), grad(job.out, at.out, step.out);
        for_vectors<T>(n, [&](int i, int lanes) FASTSOFTMAX_LAMBDA {
            const auto s = logistic.of(some(x + i, lanes));
            Vec<T> yes = some(t + i, lanes), no = one - yes;
            if (pos_weights) yes = yes * some(pos_weights + i, lanes);
            if (weights) {
                const Vec<T> w = some(weights + i, lanes);
                yes = yes * w;
                no = no * w;
            }
            // A weight of 0 takes an infinity out.
            const Vec<T> far =
                zero_where_equal(yes * s.down, yes, zero) + zero_where_equal(no * s.up, no, zero);
            const Vec<T> loss = mul_add(yes + no, log_of_sides(logistic, s.e), far);
            if (at.loss) losses.put(i, loss, lanes);
            // Lanes that are not there hold x = 0, but t = 0 gives them a loss.
            sum.add(lanes == Vec<T>::lanes ? loss : first_lanes(loss, lanes));
            if (at.out) grad.put(i, scale * ((no * s.on - yes * s.off) / s.total), lanes);
        });
        if (at.loss) losses.finish(n);
        if (at.out) grad.finish(n);
    });
    const double value = sum.value_or_infinity();
    memcpy(scratch, &value, sizeof value);
}
