// By a radix sort: of 1M classes, log-uniform, 1152 entries take 7.5 us, 9216 take 87. For
// std::stable_sort it is 11 and 403, but of 192 entries 1.3 for 3.6. A hash table does not sort.

#include "match.hpp"

#include <stddef.h>

#include <array>
#include <utility>

namespace fastsoftmax {
namespace {

struct Entry {
    int64_t key;
    int64_t number;
};

constexpr int digit_bits = 11;  // histograms of 16 KiB, two passes for 4 million classes
constexpr int64_t digits = int64_t(1) << digit_bits;

void sort_by_key(std::vector<Entry>& entries, int64_t limit) {
    std::vector<Entry> other(entries.size());
    std::array<int64_t, digits> place;
    for (int shift = 0; shift < 63 && (limit - 1) >> shift > 0; shift += digit_bits) {
        place.fill(0);
        for (const Entry& e : entries) ++place[(e.key >> shift) & (digits - 1)];
        int64_t before = 0;
        for (int64_t& p : place) before += std::exchange(p, before);
        for (const Entry& e : entries) other[place[(e.key >> shift) & (digits - 1)]++] = e;
        entries.swap(other);
    }
}

}  // namespace

Match match(const int64_t* ids, int64_t candidates, const int64_t* labels, int64_t rows,
            int64_t true_classes, int64_t limit) {
    const int64_t pairs = rows * true_classes, count = candidates + pairs;
    std::vector<Entry> entries(static_cast<size_t>(count));
    for (int64_t i = 0; i < candidates; ++i) entries[i] = {ids[i], i};
    for (int64_t i = 0; i < pairs; ++i) entries[candidates + i] = {labels[i], candidates + i};
    sort_by_key(entries, limit);

    Match found;
    found.order.reserve(static_cast<size_t>(count));
    found.starts.reserve(static_cast<size_t>(count) + 1);
    constexpr int64_t named_before = -1;                     // by its own row
    std::vector<int64_t> group(static_cast<size_t>(pairs));  // of each label
    for (int64_t i = 0; i < count; ++i) {
        const bool is_new = i == 0 || entries[i].key != entries[i - 1].key;
        if (is_new) found.starts.push_back(i);
        const int64_t number = entries[i].number, pair = number - candidates;
        found.order.push_back(number);
        if (pair < 0) continue;
        // Labels of one class come row by row.
        const int64_t last = is_new ? -1 : entries[i - 1].number - candidates;
        group[pair] = last >= 0 && last / true_classes == pair / true_classes
                          ? named_before
                          : static_cast<int64_t>(found.starts.size()) - 1;
    }
    found.starts.push_back(count);
    for (int64_t i = 0; i < pairs; ++i) {
        if (group[i] == named_before) continue;
        const int64_t end = found.starts[group[i] + 1];
        for (int64_t at = found.starts[group[i]]; at < end && found.order[at] < candidates; ++at) {
            found.hit_rows.push_back(i / true_classes);
            found.hit_columns.push_back(found.order[at]);
        }
    }
    return found;
}

}  // namespace fastsoftmax
