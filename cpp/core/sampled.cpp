// The kernels of candidate sampling for one instruction set: compiled as kernels.cpp is, beside it.

#include "compiled_copy.hpp"
#include "sampled.hpp"

namespace fastsoftmax::FASTSOFTMAX_ISA {
namespace {

#include "kernels/stage.inl"
#include "kernels/table_rows.inl"
#include "kernels/draws.inl"
#include "kernels/row_updates.inl"

}  // namespace

extern const SampledKernels sampled_kernels;
const SampledKernels sampled_kernels = {
    {gather_rows<float>, gather_rows<double>},
    {row_dots<float>, row_dots<double>},
    {add_scaled_rows<float>, add_scaled_rows<double>},
    {shift_columns<float>, shift_columns<double>},
    {sum_rows<float>, sum_rows<double>},
    {{update_rows<float, Sgd>, update_rows<float, Adagrad>, update_rows<float, Adam>},
     {update_rows<double, Sgd>, update_rows<double, Adagrad>, update_rows<double, Adam>}},
    log_uniform};

}  // namespace fastsoftmax::FASTSOFTMAX_ISA
