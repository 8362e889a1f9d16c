// The sum of rows' losses, rounded once whatever their order: rows that do not count change
// nothing.
#pragma once

#include <stdint.h>

namespace fastsoftmax {

// A sum and what its additions have rounded away (Neumaier: by TwoSum, which needs no comparison).
class RoundedOnce {
    double sum = 0, lost = 0;

public:
    void add(double term) {
        const double next = sum + term, part = next - sum;
        lost += (sum - (next - part)) + (term - part);
        sum = next;
    }
    void add(const RoundedOnce& other) {
        add(other.sum);
        lost += other.lost;
    }
    // Where an infinity has made NaN of `lost`, the sum says which.
    double value() const { return lost == lost ? sum + lost : sum; }
};

// Several sums side by side: one alone would wait for each addition.
template <class T>
double sum_of(const T* losses, int64_t n) {
    constexpr int together = 4;
    RoundedOnce sums[together];
    for (int64_t i = 0; i < n; ++i) sums[i % together].add(static_cast<double>(losses[i]));
    for (int j = 1; j < together; ++j) sums[0].add(sums[j]);
    return sums[0].value();
}

}  // namespace fastsoftmax
