// What every compiled copy begins with: the vectors of its instruction set, FASTSOFTMAX_VEC, and
// how functions become inline. No STL, no globals that are computed.
#pragma once

#include "kernels.hpp"

#include <math.h>
#include <string.h>

#include "simd/float_mode.hpp"
#include FASTSOFTMAX_VEC

// For what stands in the innermost loops: left to itself GCC makes a call of the exponential there,
// constants loaded anew, which took 40 % longer.
#define FASTSOFTMAX_INLINE inline __attribute__((always_inline))
#define FASTSOFTMAX_LAMBDA __attribute__((always_inline))
