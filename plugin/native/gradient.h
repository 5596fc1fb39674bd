// One level of the filter and its derivative for training, over a batch: the 5x5 sum of every plane weighted by the
// exponentials of 25 logits, divided by that of the last plane, the confidence.
#pragma once

#include <cstddef>

#include "rows.h"

namespace mdenoise {

// The inner loops, one row at a time; gradient_rows.cpp is compiled once per instruction set. A row of `stride` floats
// starts kMargin floats in, and holds zeros beyond its n pixels: a vector may read there.
struct GradientRows {
    // 25 taps of n pixels out of `channels` interleaved ones, as float: tap k at taps[k * stride]. `unshuffled` cuts a
    // pixel into 2x2 of which channel 4 k + 2 dy + dx is tap k: n is the finer width, row dy begins 25 strides later.
    // `bf16` tells that the logits are the upper halves of floats. `raw` holds as much as `taps`.
    void (*read_taps)(ptrdiff_t n, const void* logits, ptrdiff_t channels, bool unshuffled, bool bf16, void* raw,
                      float* taps, ptrdiff_t stride);

    // The reverse, rounded to nearest; other channels become 0.
    void (*write_taps)(ptrdiff_t n, const float* taps, ptrdiff_t stride, bool unshuffled, bool bf16, void* raw,
                       void* logits, ptrdiff_t channels);

    // `planes` points at the upper left of the window of pixel 0. Overwrites `taps`; `top` becomes their maximum and
    // `inverse` 1 / (the sum of the last plane), 0 where that is invalid; plane p goes to out[p * out_stride].
    void (*forward)(ptrdiff_t n, float* taps, ptrdiff_t stride, const float* planes, ptrdiff_t plane_stride,
                    ptrdiff_t plane_count, float* out, ptrdiff_t out_stride, float* top, float* inverse);

    // `grad` holds a row for each plane, derivatives by the planes' sums times the sum of the last. Turns `taps` into
    // the derivative by them and adds that by the planes to `planes_grad`; `weights` holds as much as `taps`.
    void (*backward)(ptrdiff_t n, float* taps, float* weights, const float* grad, ptrdiff_t stride,
                     const float* planes, float* planes_grad, ptrdiff_t plane_stride, ptrdiff_t plane_count,
                     const float* top, const float* inverse);
};

constexpr ptrdiff_t kMargin = 16;

extern const GradientRows gradient_rows_base;
extern const GradientRows gradient_rows_avx2;
extern const GradientRows gradient_rows_avx512;

// As find_rows.
const GradientRows* find_gradient_rows(const char* isa);

struct Window {
    ptrdiff_t batch, plane_count, height, width;  // unshuffled: height and width are even
    ptrdiff_t channels;                           // of the logits
    bool unshuffled, bf16;
    const void* logits;   // (batch, height, width, channels), or half as high and wide when unshuffled
    const float* planes;  // (batch, plane_count, height, width), confidence last, zeros beyond the border
};

// out: (batch, plane_count - 1, height, width); stats: (batch, 2, height, width), what `backward` needs; the second of
// the two is positive where the result is valid. Throws std::bad_alloc.
void window_forward(const Window& in, const GradientRows& rows, int threads, float* out, float* stats);

// out_grad: of `out`; logits_grad and planes_grad: like `logits` and `planes`. Throws std::bad_alloc.
void window_backward(const Window& in, const GradientRows& rows, int threads, const float* out, const float* stats,
                     const float* out_grad, void* logits_grad, float* planes_grad);

}  // namespace mdenoise
