// The predicted-kernel filter over whole arrays; plugin/filter.py defines it in NumPy.
#pragma once

#include <cstddef>

#include "rows.h"

namespace mdenoise {

constexpr int kLevels = 4;

// One channel to be filtered: the element of pixel (y, x) lies y * row_stride + x * pixel_stride bytes after `data`.
struct Source {
    const void* data;
    Type type;
    ptrdiff_t row_stride, pixel_stride;
    int factor;  // channel of FilterInput::factor that it is divided by before and multiplied by after, or -1
};

// What a network says of one level, (channels, h, w), or (h, w, channels) when interleaved.
struct Logits {
    const void* data;
    ptrdiff_t channels;
    bool interleaved;
    Type type;  // f32; interleaved ones also bf16
};

struct FilterInput {
    ptrdiff_t height, width;  // of the tile, multiples of 16
    ptrdiff_t rows, columns;  // the part of it that lies inside the image; beyond it nothing is read or written
    ptrdiff_t layer_count;
    const Source* layers;
    const float* trust;         // (height, width)
    const unsigned char* mask;  // (rows, columns), 0 = hidden, or null
    const float* factor;        // (rows, columns, 3) or null
    Logits logits[kLevels];     // 108 or more channels at 1/2, 26 at 1/2, 26 at 1/4, 25 at 1/8
};

// Where a channel goes, in the same way; `type` is not bf16.
struct Target {
    void* data;
    Type type;
    ptrdiff_t row_stride, pixel_stride;
};

struct FilterOutput {
    const Target* layers;
    unsigned char* valid;  // (rows, columns), 1 or 0
};

// Throws std::bad_alloc.
void filter(const FilterInput& in, const Rows& rows, int threads, const FilterOutput& out);

}  // namespace mdenoise
