// The kernels of candidate sampling for one instruction set: compiled as kernels.cpp is, beside it.

#include "compiled_copy.hpp"
#include "sampled.hpp"

namespace fastsoftmax::FASTSOFTMAX_ISA {
namespace {

#include "kernels/stage.inl"
#include "kernels/table_rows.inl"

}  // namespace

extern const SampledKernels sampled_kernels;
const SampledKernels sampled_kernels = {{gather_rows<float>, gather_rows<double>},
                                        {row_dots<float>, row_dots<double>},
                                        {add_scaled_rows<float>, add_scaled_rows<double>},
                                        {shift_columns<float>, shift_columns<double>},
                                        {sum_rows<float>, sum_rows<double>}};

}  // namespace fastsoftmax::FASTSOFTMAX_ISA
