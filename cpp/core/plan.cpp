// Chooses the regime: which kernel, over which rows, on how many threads. No arithmetic on data.

#include "plan.hpp"

#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <new>
#include <numeric>
#include <vector>

#include "parallel.hpp"

namespace fastsoftmax {
namespace {

// A thread more pays from about this many elements on: waking one takes 2 to 3 microseconds.
constexpr int64_t elements_per_thread = 24 * 1024;
// Elements of a unit of work: enough to make dealing it out cheap, few enough to balance.
constexpr int64_t least_unit = 16 * 1024, most_unit = 256 * 1024;
// A row up to this size is kept as exponentials between its two passes, if its result is not in the
// compute type; a longer one has them computed twice. Half of a common L2 cache.
constexpr int64_t scratch_bytes = 512 * 1024;
// Pieces that make a row worth sharing.
constexpr int64_t least_pieces = 4;
// Columns of a gradient that are worth a unit: a kernel takes them in blocks of so many.
constexpr int64_t gradient_columns = 256;
// Elements whose losses are summed by themselves, whatever the threads.
constexpr int64_t summed_unit = 64 * 1024;
// Below this many rows side by side most lanes of a column kernel would be idle.
constexpr int64_t min_columns = 4;

bool follows(const Axis& outer, const Axis& inner) {
    const int64_t n = inner.size;
    return outer.x == n * inner.x && outer.out == n * inner.out && outer.where == n * inner.where &&
           outer.temperature == n * inner.temperature && outer.weights == n * inner.weights &&
           outer.sign == n * inner.sign && outer.label == n * inner.label &&
           outer.target == n * inner.target && outer.pos_weights == n * inner.pos_weights &&
           outer.loss == n * inner.loss;
}

// Orders axes as x lies in memory, drops those of length 1 and joins those that are one axis in
// every array.
int merge(Axis* axes, int count) {
    count = static_cast<int>(
        std::remove_if(axes, axes + count, [](const Axis& a) { return a.size == 1; }) - axes);
    if (count > 1)  // it allocates, which takes 40 ns
        std::stable_sort(axes, axes + count, [](const Axis& a, const Axis& b) {
            return std::abs(a.x) > std::abs(b.x);
        });
    int kept = 0;
    for (int i = 0; i < count; ++i) {
        if (kept && follows(axes[kept - 1], axes[i])) {
            const int64_t size = axes[kept - 1].size * axes[i].size;
            axes[kept - 1] = axes[i];
            axes[kept - 1].size = size;
        } else {
            axes[kept++] = axes[i];
        }
    }
    if (kept == 0) axes[kept++] = Axis{1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0};
    return kept;
}

int64_t total(const Axis* axes, int count) {
    int64_t product = 1;
    for (int i = 0; i < count; ++i) product *= axes[i].size;
    return product;
}

// What the last-level cache may hold of a call. A virtual machine is told the size of the host's,
// which others use too: no more than 64 MB are believed, and 32 where nothing is known.
int64_t cached_bytes() {
    static const int64_t bytes = [] {
#ifdef _SC_LEVEL3_CACHE_SIZE
        const int64_t told = sysconf(_SC_LEVEL3_CACHE_SIZE);
#else
        const int64_t told = 0;
#endif
        const int64_t mega = 1024 * 1024;
        return std::min(told > 0 ? told : 32 * mega, 64 * mega) / 4 * 3;
    }();
    return bytes;
}

struct AlignedFree {
    void operator()(void* p) const { std::free(p); }
};
using Buffer = std::unique_ptr<char, AlignedFree>;

Buffer allocate(int64_t bytes) {
    if (bytes == 0) return nullptr;
    void* const p = std::aligned_alloc(64, static_cast<size_t>((bytes + 63) / 64 * 64));
    if (!p) throw std::bad_alloc();
    return Buffer(static_cast<char*>(p));
}

// Rows of all batch axes but the last are reached from the first one; along the last ("inner") a
// kernel steps by itself. A unit is a run of up to `rows_per_unit` rows along the inner axis.
struct Dealt {
    const Job* job;
    Kernel kernel;
    const Axis* batch;
    int num_batch;
    Row first;
    int64_t rows_per_unit, units_per_run;
    char* scratch;
    int64_t scratch_step;
    double* sums;  // of each unit's losses, which the kernel leaves in its scratch; or null
};

Row row_at(const Axis* axes, int count, Row row, int64_t index) {
    for (int a = count - 1; a >= 0; --a) {
        advance(row, axes[a], index % axes[a].size);
        index /= axes[a].size;
    }
    return row;
}

void do_unit(void* context, int64_t unit, int worker) {
    const Dealt& d = *static_cast<const Dealt*>(context);
    const Axis& inner = d.batch[d.num_batch - 1];
    Row row = row_at(d.batch, d.num_batch - 1, d.first, unit / d.units_per_run);
    const int64_t start = unit % d.units_per_run * d.rows_per_unit;
    advance(row, inner, start);
    char* const scratch = d.scratch + worker * d.scratch_step;
    d.kernel(*d.job, row, std::min(d.rows_per_unit, inner.size - start), inner, scratch);
    if (d.sums) std::memcpy(d.sums + unit, scratch, sizeof(double));
}

// Whether a request is one of the softmax family or cross-entropy, which `plan_of` is about.
bool is_by_exponentials(Op op) { return op <= Op::cross_entropy; }

// The batch axis along which x and out are contiguous, or -1.
int column_axis(const Request& r) {
    const int64_t size = elem_size[static_cast<int>(r.in)];
    for (int i = 0; i < r.num_batch; ++i) {
        const Axis& a = r.batch[i];
        const bool written = r.op != Op::logsumexp && r.first.out;
        if (a.size >= min_columns && a.x == size && (a.out == size || !written)) return i;
    }
    return -1;
}

int64_t bytes_moved(const Request& r) {
    return elements(r) * (elem_size[static_cast<int>(r.in)] + elem_size[static_cast<int>(r.out)]);
}

// Whether every element of the result lies at a multiple of its size: a store past the caches must
// be aligned, which from a byte in between no whole number of elements leads to.
bool result_is_aligned(const Request& r) {
    const int64_t size = elem_size[static_cast<int>(r.out)];
    const auto off = [size](const Axis& a) { return a.out % size != 0; };
    return reinterpret_cast<uintptr_t>(r.first.out) % static_cast<uintptr_t>(size) == 0 &&
           std::none_of(r.batch, r.batch + r.num_batch, off) &&
           std::none_of(r.classes, r.classes + r.num_class, off);
}

bool temperature_varies(const Request& r) {
    return std::any_of(r.batch, r.batch + r.num_batch,
                       [](const Axis& a) { return a.temperature != 0; });
}

}  // namespace

int64_t elements(const Request& r) {
    return total(r.batch, r.num_batch) * total(r.classes, r.num_class);
}

namespace {

// How a request is to be computed: which kernel, over how many rows side by side, with how much
// scratch a worker; or one row after another, each by all threads.
struct Plan {
    Job job;
    Kernel kernel;
    int64_t side_by_side;   // rows that the kernel takes at a time
    int64_t scratch_bytes;  // of a worker
    const Pieces* split;    // else null
};

Plan plan_of(const Kernels& kernels, Request& r, int64_t threads) {
    const bool wide = r.out == Elem::f64;
    const Elem compute = wide ? Elem::f64 : Elem::f32;
    const int64_t size = wide ? 8 : 4;
    const Axis& inner = r.classes[r.num_class - 1];
    const int64_t K = total(r.classes, r.num_class);
    const bool masked = r.first.where != nullptr;
    const bool half = r.in == Elem::f16 || r.in == Elem::bf16;
    // The order of summation goes by x alone, so that it is the same for any `out` and any mask.
    const bool contiguous =
        K == 1 || (r.num_class == 1 && inner.x == elem_size[static_cast<int>(r.in)]);

    Plan plan{};
    Job& job = plan.job;
    job.in = r.in;
    job.out = r.out;
    job.in_place = static_cast<const void*>(r.first.x) == r.first.out;
    job.class_weights = r.class_weights;
    job.smoothing = r.smoothing;
    job.scale = r.scale;
    job.target = r.target;
    job.plain_x =
        contiguous && (r.in == compute ? !masked || inner.where == 1 : half && !wide && !masked);
    job.contiguous_out =
        r.num_class == 1 && (inner.out == elem_size[static_cast<int>(r.out)] || K == 1);
    job.streaming = r.op != Op::logsumexp && r.first.out && bytes_moved(r) > cached_bytes() &&
                    result_is_aligned(r);
    job.classes = r.classes;
    job.num_class_axes = r.num_class;
    job.num_classes = K;

    const bool alike =
        r.num_class == 1 && K > 1 && !masked && !r.weighted && !temperature_varies(r);
    const bool loss = r.op == Op::cross_entropy;
    const bool by_distribution = loss && (r.first.target || r.smoothing > 0);
    // Whether exponentials are kept on their way to a result.
    const bool keeps = r.op == Op::softmax || (loss && r.first.out);
    // Half types have room for exponentials at `scratch` only.
    const bool narrow = keeps && r.out != compute;
    const bool vertical = alike && !contiguous && r.in == r.out && !by_distribution &&
                          (!narrow || K * kernels.columns[wide] * size <= cached_bytes() / 2);
    const int column = vertical ? column_axis(r) : -1;
    if (column >= 0) std::swap(r.batch[column], r.batch[r.num_batch - 1]);
    const Axis& along = r.batch[r.num_batch - 1];
    const int op = static_cast<int>(r.op);
    const bool few =
        contiguous && K <= (loss ? kernels.losses->few_classes : kernels.few_classes[wide][op]);
    const bool together = alike && along.size >= min_columns &&
                          (job.contiguous_out || r.op == Op::logsumexp || !r.first.out);
    // Losses of halves go row by row; softmax of them by way of a float32 copy.
    const bool turned = few && together && (r.in == compute || (!wide && !loss));
    const bool several = contiguous && !few && together && !wide && r.op == Op::softmax &&
                         K <= kernels.several_classes;
    plan.kernel = by_distribution       ? kernels.losses->by_distribution[wide]
                  : loss && column >= 0 ? kernels.losses->label_column[static_cast<int>(r.in)]
                  : loss && turned      ? kernels.losses->label_few[wide]
                  : loss                ? kernels.losses->by_label[wide][!contiguous || few]
                  : column >= 0         ? kernels.column[static_cast<int>(r.in)][op]
                  : turned              ? kernels.few[wide][op]
                  : several             ? kernels.several
                  : contiguous && !few  ? kernels.rows[wide][op]
                                        : kernels.strided[wide][op];
    plan.side_by_side = column >= 0 || turned || several ? kernels.columns[wide] : 1;

    // Exponentials on their way to a result that is not in the compute type, or in another place.
    // Two rows if there is room, so that one can be swept while the other is written.
    // Losses keep them there in place as well: x stays until the shift that was guessed has
    // proved right, so that nobody need look for the maximum first.
    const bool in_result = job.contiguous_out && r.out == compute && !(loss && job.in_place);
    const int64_t room =
        job.streaming || (column >= 0 && narrow) ? cached_bytes() / 2 : scratch_bytes;
    const auto fits = [&](int64_t rows) { return rows * K * size <= room; };
    if (keeps && column >= 0) {
        job.rows_kept = fits(kernels.columns[wide]) ? kernels.columns[wide] : 0;
    } else if (keeps && !by_distribution && (job.streaming || !in_result)) {
        job.rows_kept = fits(2) ? 2 : job.streaming ? 0 : fits(1);
    }
    job.aside = loss && job.in_place && job.rows_kept > 0;
    plan.scratch_bytes = (job.rows_kept * K * size + 63) / 64 * 64;

    const Pieces& split = kernels.split[static_cast<int>(r.out)];
    if (r.op == Op::softmax && contiguous && job.contiguous_out && !r.weighted &&
        total(r.batch, r.num_batch) < threads && K >= least_pieces * split.length)
        plan.split = &split;
    return plan;
}

// The rest: losses at labels, gradients through softmax, and elements that stand for themselves.
Plan plan_of_others(const Kernels& kernels, Request& r) {
    const bool wide = r.out == Elem::f64;
    const Axis& inner = r.classes[r.num_class - 1];
    const auto size = [](Elem type) { return elem_size[static_cast<int>(type)]; };
    Plan plan{};
    Job& job = plan.job;
    job.in = r.in;
    job.out = r.out;
    job.target = r.target;
    job.contiguous_out = r.num_class == 1 && inner.out == size(r.out);
    job.class_weights = r.class_weights;
    job.scale = r.scale;
    job.classes = r.classes;
    job.num_class_axes = r.num_class;
    job.num_classes = total(r.classes, r.num_class);
    plan.side_by_side = 1;
    switch (r.op) {
        case Op::nll_loss:
            plan.kernel = kernels.losses->at_label[wide];
            break;
        case Op::softmax_backward:
        case Op::log_softmax_backward: {
            // By x alone, so that one row and many have the same order of summation.
            const bool columns = r.num_class == 1 && job.num_classes > 1 && inner.x != size(r.in);
            const int axis = columns ? column_axis(r) : -1;
            if (axis >= 0) std::swap(r.batch[axis], r.batch[r.num_batch - 1]);
            plan.kernel = kernels.losses->backward[wide][r.op == Op::log_softmax_backward][columns];
            if (columns) plan.side_by_side = gradient_columns;
            break;
        }
        default:
            plan.kernel =
                kernels.losses
                    ->elements[wide][static_cast<int>(r.op) - static_cast<int>(Op::sigmoid)];
            plan.scratch_bytes = 64;
    }
    return plan;
}

// Rows are few and long: each is computed by all threads, piece by piece.
struct SplitUnits {
    const Job& job;
    const Pieces& split;
    void* kept;
    Row row;
    double top;
    Part total;
    std::vector<Part> parts;
    std::vector<double> maxima;
};

template <class F>
void on_pieces(const Team& team, SplitUnits& units, F f) {
    struct Context {
        SplitUnits& units;
        F& f;
    } context{units, f};
    team.run(
        static_cast<int64_t>(units.parts.size()),
        [](void* opaque, int64_t piece, int) {
            Context& c = *static_cast<Context*>(opaque);
            c.f(c.units, piece, piece * c.units.split.length);
        },
        &context);
}

// False, with x as it was, if the row needs the row kernel.
bool split_row(const Team& team, SplitUnits& units) {
    const Pieces& split = units.split;
    units.top = split.guess(units.job, units.row);
    if (units.job.in_place) {  // no second try
        on_pieces(team, units, [](SplitUnits& u, int64_t i, int64_t k0) {
            u.maxima[static_cast<size_t>(i)] = u.split.max(u.job, u.row, k0);
        });
        units.top = *std::max_element(units.maxima.begin(), units.maxima.end());
    }
    if (!split.suits(units.job, units.row, units.top)) return false;
    on_pieces(team, units, [](SplitUnits& u, int64_t i, int64_t k0) {
        u.parts[static_cast<size_t>(i)] = u.split.sum(u.job, u.row, u.kept, u.top, k0);
    });
    const auto count = static_cast<int64_t>(units.parts.size());
    // In place a sum out of range is that of a NaN, which spoils the whole row as it should.
    if (!split.total(units.parts.data(), count, &units.total) && !units.job.in_place) return false;
    on_pieces(team, units, [](SplitUnits& u, int64_t, int64_t k0) {
        u.split.finish(u.job, u.row, u.kept, u.top, u.total, k0);
    });
    return true;
}

void run_split(const Plan& plan, const Request& r) {
    const int64_t K = plan.job.num_classes, length = plan.split->length;
    const int64_t pieces = (K + length - 1) / length;
    const Team team(static_cast<int>(std::min<int64_t>(pieces, r.threads)));
    const Buffer scratch = allocate(plan.scratch_bytes);
    const auto count = static_cast<size_t>(pieces);
    SplitUnits units{plan.job,
                     *plan.split,
                     plan.job.streaming ? nullptr : scratch.get(),
                     r.first,
                     0,
                     {},
                     std::vector<Part>(count),
                     std::vector<double>(count)};
    const Axis& inner = r.batch[r.num_batch - 1];
    for (int64_t i = 0; i < total(r.batch, r.num_batch); ++i) {
        units.row = row_at(r.batch, r.num_batch, r.first, i);
        if (!split_row(team, units)) plan.kernel(plan.job, units.row, 1, inner, scratch.get());
    }
}

}  // namespace

void run(const Kernels& kernels, Request& r) {
    r.num_batch = merge(r.batch, r.num_batch);
    r.num_class = merge(r.classes, r.num_class);
    const int64_t work = elements(r);
    const int64_t threads =
        std::clamp<int64_t>(work / elements_per_thread, 1, std::max(1, r.threads));
    const Plan plan =
        is_by_exponentials(r.op) ? plan_of(kernels, r, threads) : plan_of_others(kernels, r);
    if (plan.split) return run_split(plan, r);

    // One thread alone takes all rows in one go: some kernels work across rows.
    const int64_t share = r.sum          ? summed_unit
                          : threads == 1 ? work
                                         : std::clamp(work / (8 * threads), least_unit, most_unit);
    const Axis& along = r.batch[r.num_batch - 1];
    const int64_t width = plan.side_by_side;
    int64_t rows = std::max<int64_t>(1, share / plan.job.num_classes);
    rows = std::min((rows + width - 1) / width * width, along.size);
    const int64_t units_per_run = (along.size + rows - 1) / rows;
    const int64_t units = units_per_run * total(r.batch, r.num_batch - 1);
    const Team team(static_cast<int>(std::min(units, threads)));
    const Buffer scratch = allocate(plan.scratch_bytes * team.size());
    Dealt dealt{&plan.job, plan.kernel,   r.batch,       r.num_batch,        r.first,
                rows,      units_per_run, scratch.get(), plan.scratch_bytes, nullptr};
    if (!r.sum) return team.run(units, do_unit, &dealt);
    std::vector<double> sums(static_cast<size_t>(units));
    dealt.sums = sums.data();
    team.run(units, do_unit, &dealt);
    *r.sum = std::accumulate(sums.begin(), sums.end(), 0.0);
}

}  // namespace fastsoftmax
