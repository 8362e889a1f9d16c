// The kernels of the softmax family for one instruction set: compiled once per ISA with
// FASTSOFTMAX_ISA naming it. Exports one symbol, the table; everything else is local, so that the
// linker cannot hand one ISA's code to another. Those of losses: losses.cpp, alike.

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
#include "kernels/split.inl"
#include "kernels/weighted.inl"
#include "kernels/rows.inl"
#include "kernels/columns.inl"
#include "kernels/short.inl"
#include "kernels/several.inl"
#include "kernels/probe.inl"

template <class T>
double exp_array(const void* x, void* y, int64_t n) {
    const FloatMode mode;
    const Scale<T> c(1);
    const Shift<T> s(c, Vec<T>::all(0));
    for (int64_t i = 0; i < n; i += block) {
        const int left = static_cast<int>(n - i < block ? n - i : block);
        exp2_of(Plain<T>{static_cast<const T*>(x) + i}, static_cast<T*>(y) + i, left, s);
    }
    return Exp2<T>::factor * __builtin_exp2(Limits<T>::bias);
}

}  // namespace

extern const LossKernels loss_kernels;        // of losses.cpp
extern const SampledKernels sampled_kernels;  // of sampled.cpp

#define FASTSOFTMAX_TEXT(name) FASTSOFTMAX_TEXT_OF(name)
#define FASTSOFTMAX_TEXT_OF(name) #name

extern const Kernels kernels;
const Kernels kernels = {
    FASTSOFTMAX_TEXT(FASTSOFTMAX_ISA),
    {stripe * Vec<float>::lanes, stripe * Vec<double>::lanes},
    {{few_classes_of_softmax, short_classes, short_classes},
     {short_classes, short_classes, short_classes}},
    several_classes,
    {{rows<float, Op::softmax, BlockSum<float>>, rows<float, Op::log_softmax, BlockSum<float>>,
      rows<float, Op::logsumexp, BlockSum<float>>},
     {rows<double, Op::softmax, BlockSum<double>>, rows<double, Op::log_softmax, BlockSum<double>>,
      rows<double, Op::logsumexp, BlockSum<double>>}},
    {{rows<float, Op::softmax, GroupSum<float>>, rows<float, Op::log_softmax, GroupSum<float>>,
      rows<float, Op::logsumexp, GroupSum<float>>},
     {rows<double, Op::softmax, GroupSum<double>>, rows<double, Op::log_softmax, GroupSum<double>>,
      rows<double, Op::logsumexp, GroupSum<double>>}},
    {{columns<float, Op::softmax>, columns<float, Op::log_softmax>, columns<float, Op::logsumexp>},
     {columns<double, Op::softmax>, columns<double, Op::log_softmax>,
      columns<double, Op::logsumexp>},
     {columns<Float16, Op::softmax>, columns<Float16, Op::log_softmax>,
      columns<Float16, Op::logsumexp>},
     {columns<BFloat16, Op::softmax>, columns<BFloat16, Op::log_softmax>,
      columns<BFloat16, Op::logsumexp>}},
    {{short_rows<float, Op::softmax>, short_rows<float, Op::log_softmax>,
      short_rows<float, Op::logsumexp>},
     {short_rows<double, Op::softmax>, short_rows<double, Op::log_softmax>,
      short_rows<double, Op::logsumexp>}},
    several_rows<(several_classes > 0)>,
    {split_of<float>, split_of<double>, split_of<Float16>, split_of<BFloat16>},
    {exp_array<float>, exp_array<double>},
    {{probe_copy<false>, probe_copy<true>}, probe_read, {probe_exp<float>, probe_exp<double>}},
    &loss_kernels,
    &sampled_kernels};

}  // namespace fastsoftmax::FASTSOFTMAX_ISA
