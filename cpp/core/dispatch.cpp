// CPU detection, compiled for the baseline. The only file that asks the processor what it is.

#include "dispatch.hpp"

#ifdef FASTSOFTMAX_X86
#include <cpuid.h>
#endif

namespace fastsoftmax {

// The tables of kernels.cpp, one per ISA that CMake compiles.
namespace portable {
extern const Kernels kernels;
}
#ifdef FASTSOFTMAX_X86
namespace avx2 {
extern const Kernels kernels;
}
namespace avx512 {
extern const Kernels kernels;
}
#endif

#ifdef FASTSOFTMAX_X86
namespace {

// __builtin_cpu_supports knows F16C only from GCC 11 on.
bool has_f16c() {
    unsigned a, b, c, d;
    return __get_cpuid(1, &a, &b, &c, &d) && c & bit_F16C;
}

}  // namespace
#endif

int targets(Target (&list)[max_targets]) {
    int count = 0;
#ifdef FASTSOFTMAX_X86
    // These ask the operating system too (XGETBV): a feature it does not save is not there.
    __builtin_cpu_init();
    const bool v3 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
                    __builtin_cpu_supports("bmi") && __builtin_cpu_supports("bmi2") &&
                    __builtin_cpu_supports("popcnt") && has_f16c();
    const bool v4 = v3 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                    __builtin_cpu_supports("avx512cd") && __builtin_cpu_supports("avx512dq") &&
                    __builtin_cpu_supports("avx512vl");
    list[count++] = {&avx512::kernels,
                     v4 ? nullptr : "the processor or system lacks AVX-512 (F, BW, CD, DQ, VL)"};
    list[count++] = {&avx2::kernels,
                     v3 ? nullptr : "the processor or system lacks AVX2, FMA or F16C"};
#endif
    list[count++] = {&portable::kernels, nullptr};
    return count;
}

}  // namespace fastsoftmax
