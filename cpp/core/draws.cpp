// How draws are run: rounds of as many as are still missing, maps, and the set of ids found.

#include "draws.hpp"

#include <algorithm>
#include <cstdlib>
#include <memory>
#include <new>

namespace fastsoftmax {
namespace {

// Ids found so far: a hash table of 2 to 4 places for each id that is wanted, or a bit for each
// class where that takes no more memory.
class Found {
public:
    Found(int64_t wanted, int64_t classes) : by_bit_(classes / 64 / 2 <= wanted) {
        uint64_t size = static_cast<uint64_t>(classes) / 64 + 1;
        if (!by_bit_) {
            int bits = 2;
            while ((int64_t{1} << bits) < 2 * wanted) ++bits;
            size = uint64_t{1} << bits;
            shift_ = 64 - bits;
            last_ = size - 1;
        }
        words_.reset(static_cast<uint64_t*>(std::calloc(size, sizeof(uint64_t))));
        if (!words_) throw std::bad_alloc();
    }

    // Whether the id is new.
    bool add(int64_t id) {
        const auto key = static_cast<uint64_t>(id);
        if (by_bit_) {
            const uint64_t bit = uint64_t{1} << (key & 63);
            uint64_t& word = words_[key >> 6];
            const bool is_new = !(word & bit);
            word |= bit;
            return is_new;
        }
        // By the golden ratio: neighbouring ids, which are many, get far apart.
        uint64_t at = (key * 0x9e3779b97f4a7c15u) >> shift_;
        while (words_[at] != 0) {  // an empty place; ids are stored plus 1
            if (words_[at] == key + 1) return false;
            at = (at + 1) & last_;
        }
        words_[at] = key + 1;
        return true;
    }

private:
    struct Free {
        void operator()(void* memory) const { std::free(memory); }
    };
    const bool by_bit_;
    int shift_ = 0;
    uint64_t last_ = 0;
    std::unique_ptr<uint64_t[], Free> words_;
};

// The class whose share of the total `at` falls into; `tree` is a Fenwick tree of counts.
int64_t descend(const int64_t* tree, int64_t classes, int64_t step, int64_t at) {
    int64_t place = 0;
    for (; step > 0; step /= 2)
        if (place + step <= classes && tree[place + step - 1] <= at) {
            place += step;
            at -= tree[place - 1];
        }
    return place;
}

// Every id is held below `num_classes`, whatever tables hold: `Found` takes it as an offset.
void map(const Kernels& kernels, const DrawRequest& r, const double* u, int64_t* ids, int n) {
    const int64_t last = r.num_classes - 1;
    switch (r.kind) {
        case DrawKind::uniform:
            for (int i = 0; i < n; ++i)
                ids[i] = std::min(static_cast<int64_t>(u[i] * r.scale), last);
            break;
        case DrawKind::log_uniform:
            kernels.sampled->log_uniform(u, r.scale, r.num_classes, ids, n);
            break;
        case DrawKind::alias:
            for (int i = 0; i < n; ++i) {
                const double at = u[i] * r.scale;
                const int64_t column = std::min(static_cast<int64_t>(at), last);
                const bool own = at - static_cast<double>(column) < r.thresholds[column];
                const int64_t id = own ? column : r.aliases[column];
                ids[i] = std::clamp(id, int64_t{0}, last);
            }
            break;
        case DrawKind::counts: {
            int64_t step = 1;
            while (step <= last / 2) step *= 2;
            for (int i = 0; i < n; ++i) {
                const auto at = static_cast<int64_t>(u[i] * r.scale);
                ids[i] = std::min(descend(r.tree, r.num_classes, 2 * step, at), last);
            }
        }
    }
}

}  // namespace

Drawn draw(const Kernels& kernels, const DrawRequest& r) {
    double u[most_at_once];
    int64_t drawn[most_at_once];
    const int64_t* const end = r.excluded + r.num_excluded;
    Found known(r.unique ? r.wanted : 0, r.unique ? r.num_classes : 0);
    int64_t found = 0, tries = 0, left = r.most_draws;
    while (found < r.wanted && left > 0) {
        const auto n = static_cast<int>(
            std::min({r.wanted - found, left, static_cast<int64_t>(most_at_once)}));
        left -= n;
        for (int i = 0; i < n; ++i) u[i] = r.generator->next_double(r.generator->state);
        map(kernels, r, u, drawn, n);
        for (int i = 0; i < n; ++i) {
            if (r.num_excluded > 0 && std::binary_search(r.excluded, end, drawn[i])) continue;
            ++tries;
            if (!r.unique || known.add(drawn[i])) r.ids[found++] = drawn[i];
        }
    }
    return {found, tries};
}

}  // namespace fastsoftmax
