// Which candidates and which labels are of one class.
#pragma once

#include <stdint.h>

#include <vector>

namespace fastsoftmax {

// As `_typing.Match`; the numbers of what is of one class are in ascending order.
struct Match {
    std::vector<int64_t> order, starts, hit_rows, hit_columns;
};

// Of `candidates` ids and `rows` times `true_classes` labels, all of which are classes below
// `limit`.
Match match(const int64_t* ids, int64_t candidates, const int64_t* labels, int64_t rows,
            int64_t true_classes, int64_t limit);

}  // namespace fastsoftmax
