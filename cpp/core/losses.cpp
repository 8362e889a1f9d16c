// The kernels of losses and gradients for one instruction set: compiled as kernels.cpp is, beside
// it, so that either can be built alone.

#include "compiled_copy.hpp"

namespace fastsoftmax::FASTSOFTMAX_ISA {
namespace {

#include "kernels/sum.inl"
#include "kernels/exp2.inl"
#include "kernels/log.inl"
#include "kernels/logsum.inl"
#include "kernels/stage.inl"
#include "kernels/sweep.inl"
#include "kernels/softmax.inl"
#include "kernels/logs.inl"
#include "kernels/logs_once.inl"
#include "kernels/weighted.inl"
#include "kernels/rows.inl"
#include "kernels/columns.inl"
#include "kernels/short.inl"
#include "kernels/cross_entropy.inl"
#include "kernels/label_columns.inl"
#include "kernels/label_short.inl"
#include "kernels/distribution.inl"
#include "kernels/elements.inl"
#include "kernels/backward.inl"

}  // namespace

extern const LossKernels loss_kernels;
const LossKernels loss_kernels = {
    short_classes,
    {{rows_by_label<float, BlockSum<float>>, rows_by_label<float, GroupSum<float>>},
     {rows_by_label<double, BlockSum<double>>, rows_by_label<double, GroupSum<double>>}},
    {rows_by_distribution<float>, rows_by_distribution<double>},
    {label_short_rows<float>, label_short_rows<double>},
    {label_columns<float>, label_columns<double>, label_columns<Float16>, label_columns<BFloat16>},
    {rows_at_label<float>, rows_at_label<double>},
    {{{backward_rows<float, false>, backward_columns<float, false>},
      {backward_rows<float, true>, backward_columns<float, true>}},
     {{backward_rows<double, false>, backward_columns<double, false>},
      {backward_rows<double, true>, backward_columns<double, true>}}},
    {{sigmoids<float, false>, sigmoids<float, true>, binary_losses<float>},
     {sigmoids<double, false>, sigmoids<double, true>, binary_losses<double>}}};

}  // namespace fastsoftmax::FASTSOFTMAX_ISA
