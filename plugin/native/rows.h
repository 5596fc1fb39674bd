// The inner loops of the filter, one row at a time. rows.cpp is compiled once per instruction set.
#pragma once

#include <cstddef>

namespace mdenoise {

constexpr int kTaps = 25;
constexpr float kMinDenominator = 1e-6f;

struct Rows {
    const char* isa;

    // c = confidence_in * clip(logit / 6 + 1/2, 0, 1), planes = [c, c * layers]; takes every second pixel of a row,
    // because the logits come pixel-unshuffled. A layer counts as 0 where c is 0, even NaN.
    void (*weigh)(ptrdiff_t n, const float* confidence_in, const float* logit, const float* layers,
                  ptrdiff_t layer_count, float* planes, ptrdiff_t plane_stride);

    // 2x2 mean; the four inputs are read at multiples of `step` (1 or 2).
    void (*pool)(ptrdiff_t n, ptrdiff_t step, const float* a, const float* b, const float* c, const float* d,
                 float* out);

    // The softmax-weighted 5x5 sum of every plane, divided by that of plane 0; `valid` becomes 1 or 0.
    // Tap k of plane p is read at planes[p * plane_stride + tap_offset[k] + x].
    void (*gather)(ptrdiff_t n, const float* logits, ptrdiff_t logit_stride, const float* planes,
                   ptrdiff_t plane_stride, const ptrdiff_t* tap_offset, ptrdiff_t layer_count, float* out,
                   ptrdiff_t out_stride, float* valid);

    // Bilinear x2 of n coarse pixels (readable from -1 to n) into the even and the odd fine pixels.
    void (*upsample)(ptrdiff_t n, const float* nearest, const float* next, float* even, float* odd);

    void (*interleave)(ptrdiff_t n, const float* even, const float* odd, float* out);

    // fine over coarse, in place in `fine` and `valid`; `coarse` is premultiplied by `coarse_valid`.
    void (*blend)(ptrdiff_t n, const float* logit, ptrdiff_t layer_count, const float* coarse, ptrdiff_t coarse_stride,
                  const float* coarse_valid, float* fine, ptrdiff_t fine_stride, float* valid);

    // out[x] = min(1, (multiple * median5x5 + floor) / L); the five rows are readable from -2 to n + 1.
    // `scratch` holds 5 * (n + 4) floats.
    void (*outlier)(ptrdiff_t n, const float* const* rows, float multiple, float floor, float* scratch, float* out);
};

extern const Rows rows_base;
extern const Rows rows_avx2;
extern const Rows rows_avx512;

// The named variant, or the best that this processor runs when `isa` is empty; null when it cannot run here.
const Rows* find_rows(const char* isa);

}  // namespace mdenoise
