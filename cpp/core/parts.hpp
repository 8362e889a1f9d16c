// Work that is the same for each of many rows, dealt out to a team in parts of many rows.
#pragma once

#include <stdint.h>

#include <algorithm>

#include "parallel.hpp"

namespace fastsoftmax {

// Numbers that are worth a thread of their own, and that one takes at a time.
constexpr int64_t numbers_per_thread = 1 << 16, numbers_per_part = 1 << 14;

// Calls do_part(first, last) for parts of [0, count), whose things are of `size` numbers each.
template <class DoPart>
void in_parts(int64_t count, int64_t size, int threads, DoPart do_part) {
    const int64_t work = count * std::max<int64_t>(size, 1);
    const int64_t useful = std::clamp<int64_t>(work / numbers_per_thread, 1, threads);
    if (useful == 1) return do_part(int64_t(0), count);
    struct Parts {
        DoPart& do_part;
        int64_t count, step;
    };
    const int64_t step = std::max<int64_t>(1, numbers_per_part / std::max<int64_t>(size, 1));
    Parts parts{do_part, count, step};
    const Team team(static_cast<int>(useful));
    team.run((count + step - 1) / step,
             [](void* context, int64_t unit, int) {
                 const Parts& p = *static_cast<Parts*>(context);
                 p.do_part(unit * p.step, std::min(p.count, (unit + 1) * p.step));
             },
             &parts);
}

}  // namespace fastsoftmax
