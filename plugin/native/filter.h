// The predicted-kernel filter over whole arrays; plugin/filter.py defines it in NumPy.
#pragma once

#include <cstddef>

#include "rows.h"

namespace mdenoise {

constexpr int kLevels = 4;

struct FilterInput {
    ptrdiff_t height, width, layer_count;  // height and width are multiples of 16
    const float* layers;                   // (height, width, layer_count)
    const float* confidence;               // (height, width)
    const float* logits[kLevels];          // (108, h/2, w/2), (26, h/2, w/2), (26, h/4, w/4), (25, h/8, w/8)
};

// out: (height, width, layer_count); valid: (height, width), 1 or 0. Throws std::bad_alloc.
void filter(const FilterInput& in, const Rows& rows, int threads, float* out, unsigned char* valid);

// luminance, out: (height, width) of any size.
void outlier_weight(const float* luminance, ptrdiff_t height, ptrdiff_t width, float multiple, float floor,
                    const Rows& rows, int threads, float* out);

}  // namespace mdenoise
