// What the network sees of a tile, of linear colour and auxiliary layers; plugin/tile_guide.py defines it in NumPy.
#pragma once

#include <functional>

#include "filter.h"

namespace mdenoise {

// Where each plane lies in the guide, as mdenoise.guide says; those beyond its channels are left out.
struct Places {
    int color, mask, albedo, normal, depth, variance, has_albedo, has_normal, has_depth, has_variance, kind;
};

// mdenoise.filter.outlier_weight defines it.
struct Outlier {
    float multiple, floor;
    int company;
};

struct GuideInput {
    ptrdiff_t height, width, rows, columns;  // as in FilterInput
    Source color[3], albedo[3], normal[3];   // data is null where there is none
    const unsigned char* shown;              // (rows, columns), 0 = hidden, or null
    const float *depth, *variance;           // (rows, columns) as the network takes them, NaN = unknown, or null
    Curve curve;
    Black black;
    Outlier outlier;
    float kind;
    ptrdiff_t channels;
    Places places;
};

// guide: (height / 2, width / 2, 4 channels) of `type`, f32 or bf16, channel 4 c + 2 dy + dx of a cell being channel c of
// its pixel; trust: (height, width); factor: (rows, columns, 3), or null. Throws std::bad_alloc.
void build_guide(const GuideInput& in, const Rows& rows, int threads, Type type, void* guide, float* trust,
                 float* factor);

// (channels, height, width) to the same; height and width are even.
void pack_guide(const float* planes, ptrdiff_t channels, ptrdiff_t height, ptrdiff_t width, const Rows& rows,
                int threads, Type type, void* guide);

// mask (height, width): 1 where every channel is below `absurd` in magnitude.
void trusted(const Source* channels, ptrdiff_t count, ptrdiff_t height, ptrdiff_t width, float absurd, const Rows& rows,
             int threads, unsigned char* mask);

// luminance: (height, width) of any size; out: its rows lie `stride` floats apart, and are multiplied when `times`.
// `firefly`, if any, is told every pixel that gets 0 for standing alone, by any thread.
void outlier_weight(const float* luminance, ptrdiff_t height, ptrdiff_t width, const Outlier& outlier, const Rows& rows,
                    int threads, float* out, ptrdiff_t stride, bool times,
                    const std::function<void(ptrdiff_t y, ptrdiff_t x)>& firefly);

}  // namespace mdenoise
