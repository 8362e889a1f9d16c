// Target's steps of sampled losses: see `_typing.Backend`. Checks and translates; no algorithm.

#include <cmath>

#include "match.hpp"
#include "tables.hpp"

namespace fastsoftmax {
namespace {

bool is_wide(const py::array& a, const char* name) {
    const Elem type = elem_of(a, name);
    require(type == Elem::f32 || type == Elem::f64, name);
    return type == Elem::f64;
}

// A contiguous array of so many numbers of the compute type.
py::array numbers_of(py::handle given, bool wide, int64_t size, const char* name) {
    auto a = array_of(given, name);
    require(is_wide(a, name) == wide && a.size() == size, name);
    require_contiguous(a, name);
    return a;
}

void* result_of(py::array& a) {
    require(a.writeable(), "out: read-only");
    return a.mutable_data();
}

}  // namespace

// Arguments: table, ids, out, threads.
PyObject* gather_rows(PyObject* self, PyObject* const* arguments) {
    const Table table = table_of(arguments[0]);
    const auto ids = array_of(arguments[1], "ids");
    auto out = array_of(arguments[2], "out");
    const int threads = threads_of(arguments[3]);
    const int64_t* const rows = indices_of(ids, table.rows, "ids: not int64, or out of range");
    const bool wide = is_wide(out, "out: neither float32 nor float64");
    require_contiguous(out, "out");
    require(out.size() == ids.size() * table.columns, "out: unexpected size");
    auto* const to = static_cast<char*>(result_of(out));
    const auto gather = sampled_of(self).gather[wide];
    const int64_t row_bytes = table.columns * out.itemsize();
    return dealt(ids.size(), table.columns, threads, [=](int64_t first, int64_t last) {
        gather(table, rows + first, last - first, to + first * row_bytes);
    });
}

// Arguments: ids, labels, limit. Returns order, starts, hit_rows, hit_columns.
PyObject* match_classes(PyObject*, PyObject* const* arguments) {
    const auto ids = array_of(arguments[0], "ids"), labels = array_of(arguments[1], "labels");
    const auto limit = py::handle(arguments[2]).cast<int64_t>();
    require(labels.ndim() == 2, "labels: not two-dimensional");
    const int64_t rows = labels.shape(0), true_classes = labels.shape(1);
    const int64_t* const candidates = indices_of(ids, limit, "ids: not int64, or out of range");
    const int64_t* const classes = indices_of(labels, limit, "labels: not int64, or out of range");
    const Match found = match(candidates, ids.size(), classes, rows, true_classes, limit);
    const auto array = [](const std::vector<int64_t>& v) {
        return py::array_t<int64_t>(static_cast<py::ssize_t>(v.size()), v.data());
    };
    return py::make_tuple(array(found.order), array(found.starts), array(found.hit_rows),
                          array(found.hit_columns))
        .release()
        .ptr();
}

namespace {

// Checks `rows`, [N, T, D], and that x-like and factor-like arrays are [N, D] and [N, T].
struct True {
    TrueRows rows;
    bool wide;
    int64_t examples;

    explicit True(py::handle given) {
        const auto a = array_of(given, "rows");
        require(a.ndim() == 3, "rows: not three-dimensional");
        wide = is_wide(a, "rows: neither float32 nor float64");
        require_contiguous(a, "rows");
        examples = a.shape(0);
        rows = {a.data(), a.shape(1), a.shape(2)};
    }
    int64_t size() const { return rows.true_classes * rows.columns; }
    py::array vectors(py::handle given) const {
        return numbers_of(given, wide, examples * rows.columns, "x, or out: unexpected");
    }
    py::array scalars(py::handle given) const {
        return numbers_of(given, wide, examples * rows.true_classes, "factors, or out: unexpected");
    }
};

}  // namespace

// Arguments: x, rows, out, threads.
PyObject* row_dots(PyObject* self, PyObject* const* arguments) {
    const True own(arguments[1]);
    const auto x = own.vectors(arguments[0]);
    auto out = own.scalars(arguments[2]);
    const void* const inputs = x.data();
    void* const to = result_of(out);
    const auto kernel = sampled_of(self).row_dots[own.wide];
    return dealt(own.examples, own.size(), threads_of(arguments[3]),
                 [=](int64_t first, int64_t last) { kernel(own.rows, inputs, to, first, last); });
}

// Arguments: factors, rows, out, threads.
PyObject* add_scaled_rows(PyObject* self, PyObject* const* arguments) {
    const True own(arguments[1]);
    const auto factors = own.scalars(arguments[0]);
    auto out = own.vectors(arguments[2]);
    const void* const scale = factors.data();
    void* const to = result_of(out);
    const auto kernel = sampled_of(self).add_scaled[own.wide];
    return dealt(own.examples, own.size(), threads_of(arguments[3]),
                 [=](int64_t first, int64_t last) { kernel(own.rows, scale, to, first, last); });
}

// Arguments: logits, offsets, hit_rows, hit_columns, threads.
PyObject* shift_columns(PyObject* self, PyObject* const* arguments) {
    auto logits = array_of(arguments[0], "logits");
    require(logits.ndim() == 2, "logits: not two-dimensional");
    const bool wide = is_wide(logits, "logits: neither float32 nor float64");
    const int64_t rows = logits.shape(0), columns = logits.shape(1);
    const int64_t row_step = logits.strides(0);
    require(columns < 2 || logits.strides(1) == logits.itemsize(), "logits: columns lie apart");
    const auto offsets = numbers_of(arguments[1], wide, columns, "offsets: unexpected");
    const auto hit_rows = array_of(arguments[2], "hit_rows");
    const auto hit_columns = array_of(arguments[3], "hit_columns");
    require(hit_rows.size() == hit_columns.size(), "hit_rows and hit_columns: not of one length");
    const int64_t* const row = indices_of(hit_rows, rows, "hit_rows: out of range");
    const int64_t* const column = indices_of(hit_columns, columns, "hit_columns: out of range");
    auto* const to = static_cast<char*>(result_of(logits));
    const void* const by = offsets.data();
    const auto kernel = sampled_of(self).shift[wide];
    deal(rows, columns, threads_of(arguments[4]),
         [=](int64_t first, int64_t last) { kernel(to, row_step, by, columns, first, last); });
    for (py::ssize_t i = 0; i < hit_rows.size(); ++i) {
        char* const logit = to + row[i] * row_step + column[i] * logits.itemsize();
        if (wide)
            *reinterpret_cast<double*>(logit) = -HUGE_VAL;
        else
            *reinterpret_cast<float*>(logit) = -HUGE_VALF;
    }
    return py::none().release().ptr();
}

// Arguments: order, starts, of_candidates, factors, x, out, threads.
PyObject* sum_rows(PyObject* self, PyObject* const* arguments) {
    auto out = array_of(arguments[5], "out");
    const auto factors = array_of(arguments[3], "factors");
    const auto of_candidates = array_of(arguments[2], "of_candidates");
    require(out.ndim() == 2 && factors.ndim() == 2 && of_candidates.ndim() == 2,
            "out, factors, of_candidates: not two-dimensional");
    const bool wide = is_wide(out, "out: neither float32 nor float64");
    const int64_t columns = out.shape(1), groups = out.shape(0);
    const int64_t candidates = of_candidates.shape(0);
    const int64_t examples = factors.shape(0), true_classes = factors.shape(1);
    const int64_t places = candidates + examples * true_classes;
    const auto order = array_of(arguments[0], "order"), starts = array_of(arguments[1], "starts");
    require(order.size() == places && starts.size() == groups + 1,
            "order, starts: unexpected size");
    const int64_t* const sorted = indices_of(order, places, "order: out of range");
    const int64_t* const ends = indices_of(starts, places + 1, "starts: out of range");
    numbers_of(of_candidates, wide, candidates * columns, "of_candidates: unexpected");
    numbers_of(factors, wide, examples * true_classes, "factors: unexpected");
    const auto x = numbers_of(arguments[4], wide, examples * columns, "x: unexpected");
    require_contiguous(out, "out");
    const RowSums sums{sorted,         ends,     candidates,
                       true_classes,   columns,  of_candidates.data(),
                       factors.data(), x.data(), result_of(out)};
    const auto kernel = sampled_of(self).sum[wide];
    return dealt(groups, columns * std::max<int64_t>(1, groups ? places / groups : 1),
                 threads_of(arguments[6]),
                 [=](int64_t first, int64_t last) { kernel(sums, first, last); });
}

}  // namespace fastsoftmax
