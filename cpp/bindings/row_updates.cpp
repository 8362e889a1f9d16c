// Target's steps of optimizers on rows of tables of weights. Checks and translates; no algorithm.

#include <string>

#include "tables.hpp"

namespace fastsoftmax {
namespace {

Rule rule_of(py::handle given) {
    const auto name = given.cast<std::string>();
    if (name == "sgd") return Rule::sgd;
    if (name == "adagrad") return Rule::adagrad;
    require(name == "adam", "rule: unknown");
    return Rule::adam;
}

Table writable_table_of(py::handle given, const char* name) {
    const Table table = table_of(given, name);
    require(array_of(given, name).writeable(), "a table: read-only");
    return table;
}

}  // namespace

// Arguments: rule, weight, states, ids, rows, rate, decay, eps, shares, threads.
PyObject* update_rows(PyObject* self, PyObject* const* arguments) {
    const Rule rule = rule_of(arguments[0]);
    RowUpdate u{};
    u.weight = writable_table_of(arguments[1], "weight");
    const auto states = py::handle(arguments[2]).cast<py::tuple>();
    const size_t count = num_states[static_cast<int>(rule)];
    require(states.size() == count, "states: too many or too few");
    const Elem computed = u.weight.type == Elem::f64 ? Elem::f64 : Elem::f32;
    for (size_t i = 0; i < count; ++i) {
        const Table& state = u.states[i] = writable_table_of(states[i], "a state");
        require(state.rows == u.weight.rows && state.columns == u.weight.columns &&
                    state.type == computed,
                "a state: unexpected shape or dtype");
    }
    const auto ids = array_of(arguments[3], "ids");
    u.ids = indices_of(ids, u.weight.rows, "ids: not int64, or out of range");
    const auto n = static_cast<int64_t>(ids.size());
    for (int64_t i = 1; i < n; ++i)  // threads must not meet in a row
        require(u.ids[i - 1] < u.ids[i], "ids: not in ascending order");
    u.rows = table_of(arguments[4], "rows");
    require(u.rows.rows == n && u.rows.columns == u.weight.columns, "rows: unexpected shape");
    u.rate = py::handle(arguments[5]).cast<double>();
    u.decay = py::handle(arguments[6]).cast<double>();
    u.eps = py::handle(arguments[7]).cast<double>();
    const auto shares = py::handle(arguments[8]).cast<py::tuple>();
    require(shares.size() == 2, "shares: not two");
    for (size_t i = 0; i < 2; ++i) u.shares[i] = shares[i].cast<double>();
    const auto kernel = sampled_of(self).update[computed == Elem::f64][static_cast<int>(rule)];
    return dealt(n, u.weight.columns, threads_of(arguments[9]),
                 [=](int64_t first, int64_t last) { kernel(u, first, last); });
}

}  // namespace fastsoftmax
