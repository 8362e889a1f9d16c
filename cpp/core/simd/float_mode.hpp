// Floating-point mode of a thread while a kernel runs: round to nearest, no traps, subnormals 0 or
// as IEEE 754 has them. Nothing else: the mode is restored on leaving, flags and all.
#pragma once

#if defined(__x86_64__)
#include <xmmintrin.h>
#endif
#include <stdint.h>

namespace fastsoftmax {
namespace {

// Flushed where exponentials are taken; kept where results are to be those of any other IEEE code.
enum class Subnormals { flushed, kept };

// Subnormal operands make an exp pass 50 times slower on x86; setting and restoring takes about 20
// cycles.
class FloatMode {
public:
#if defined(__x86_64__)
    explicit FloatMode(Subnormals subnormals = Subnormals::flushed) : saved_(_mm_getcsr()) {
        _mm_setcsr(subnormals == Subnormals::kept ? 0x1f80 : 0x9fc0);  // all masks; FTZ, DAZ
    }
    ~FloatMode() { _mm_setcsr(saved_); }

private:
    unsigned saved_;
#elif defined(__aarch64__)
    explicit FloatMode(Subnormals subnormals = Subnormals::flushed) {
        const uint64_t flush = subnormals == Subnormals::kept ? 0 : uint64_t{1} << 24;  // FZ
        __asm__ volatile("mrs %0, fpcr" : "=r"(saved_));
        __asm__ volatile("msr fpcr, %0" : : "r"(flush));
    }
    ~FloatMode() { __asm__ volatile("msr fpcr, %0" : : "r"(saved_)); }

private:
    uint64_t saved_;
#endif
public:
    FloatMode(const FloatMode&) = delete;
    FloatMode& operator=(const FloatMode&) = delete;
};

}  // namespace
}  // namespace fastsoftmax
