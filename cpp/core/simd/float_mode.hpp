// Floating-point mode of a thread while a kernel runs: round to nearest, no traps, subnormals are
// 0. Nothing else: the mode is restored on leaving, flags and all.
#pragma once

#if defined(__x86_64__)
#include <xmmintrin.h>
#endif
#include <stdint.h>

namespace fastsoftmax {
namespace {

// Subnormal operands make an exp pass 50 times slower on x86; setting and restoring takes about 20
// cycles.
class FloatMode {
public:
#if defined(__x86_64__)
    FloatMode() : saved_(_mm_getcsr()) { _mm_setcsr(0x9fc0); }  // FTZ, all masks, DAZ; nearest
    ~FloatMode() { _mm_setcsr(saved_); }

private:
    unsigned saved_;
#elif defined(__aarch64__)
    FloatMode() {
        __asm__ volatile("mrs %0, fpcr" : "=r"(saved_));
        __asm__ volatile("msr fpcr, %0" : : "r"(uint64_t{1} << 24));  // FZ
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
