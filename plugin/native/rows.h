// The inner loops of the filter, one row at a time. rows.cpp is compiled once per instruction set.
#pragma once

#include <cstddef>

namespace mdenoise {

constexpr int kTaps = 25;
constexpr float kMinDenominator = 1e-6f;

constexpr ptrdiff_t kBlock = 64;  // 25 exponentials of a block are 6.4 kB and stay in the first-level cache

constexpr ptrdiff_t kPacked = 128;  // channels that `pack` takes at most

enum class Type { f32, f16, bf16, u8, u16 };

// Of a word that holds a float, or a pair of bf16.
enum class Part { whole, low, high };

// mdenoise.guide defines them.
struct Curve {
    float exposure, slope, most, scale, absurd;
};
struct Black {
    float low, high, floor;
};

// The kernels of at most kBlock pixels, and how sums become a result; made once, for all layers.
struct Kernels {
    alignas(64) float weight[kTaps][kBlock];      // exponentials
    float sum[kBlock], sum_inverse[kBlock];       // of weighted confidence; 1 where that is too little
    float valid[kBlock], share[kBlock];           // 1 or 0; of this level in the blend
    float coarse[kBlock], coarse_inverse[kBlock]; // validity of the coarser level, 1 where it is 0
};

// What is read next, so many bytes for each pixel that is worked on now. It may lie outside all memory.
struct Soon {
    const char* data;
    ptrdiff_t pixel;
};

struct Rows {
    const char* isa;

    // n values that lie `stride` bytes apart, as float.
    void (*load)(ptrdiff_t n, const void* from, ptrdiff_t stride, Type type, float* out);

    // n pairs of pixels of three channels without gaps, f32 or f16: channel c of the pair's pixel i to out[3 * i + c].
    void (*load_pairs)(ptrdiff_t n, const void* from, Type type, float* const out[6]);

    // Four values, f32 or bf16, every `stride` bytes: value i of the j-th four to out[i][j].
    void (*quads)(ptrdiff_t n, const void* from, ptrdiff_t stride, Type type, float* const out[4]);

    // The first `channels` of `pitch` interleaved values of n <= kBlock pixels, f32 or bf16: channel c goes to
    // out[c * kBlock]. Those of bf16 before `paired` stay in pairs, the first of two in the low half of a word:
    // channels c and c + 1 go to out[c / 2 * kBlock].
    void (*unpack)(ptrdiff_t n, ptrdiff_t channels, ptrdiff_t pitch, ptrdiff_t paired, const void* from, Type type,
                   float* out);

    // c = trust * clip(logit / 6 + 1/2, 0, 1), 0 where `mask` (if not null) is 0; takes every second pixel of both.
    void (*confide)(ptrdiff_t n, const float* trust, const unsigned char* mask, const float* logit, float* c);

    // c / factor.
    void (*divide)(ptrdiff_t n, const float* c, const float* factor, float* out);

    // c * x; 0 where c is 0, even if x is NaN.
    void (*weigh)(ptrdiff_t n, const float* c, const float* x, float* out);

    void (*multiply)(ptrdiff_t n, const float* factor, float* x);

    // n <= kBlock values in `type`, `stride` bytes apart: rounded to nearest, clipped to what the type holds.
    void (*store)(ptrdiff_t n, const float* x, Type type, void* out, ptrdiff_t stride);

    // The reverse of `load_pairs`, n <= kBlock pairs whose six rows lie kBlock apart.
    void (*store_pairs)(ptrdiff_t n, const float* x, Type type, void* out);

    // The reverse of `unpack`, rounded to nearest: out[j * channels + c] is in[c * kBlock].
    void (*pack)(ptrdiff_t n, ptrdiff_t channels, const float* in, Type type, void* out);

    // Where every one of three values is below `absurd` in magnitude: 1 in `known`, and the values clipped;
    // elsewhere 0.
    void (*limit)(ptrdiff_t n, const float* const in[3], float absurd, float low, float high, float* const out[3],
                  float* known);

    // mask becomes 0 where x is not finite, or not below `absurd` in magnitude.
    void (*sane)(ptrdiff_t n, const float* x, float absurd, unsigned char* mask);

    // Linear colour to the network's domain, 0 where it is absurd or hidden (shown, if not null, is 0); shown_out tells
    // where it is neither, bright is the largest magnitude of the exposed channels.
    void (*expose)(ptrdiff_t n, const float* const in[3], const unsigned char* shown, const Curve& curve,
                   float* const out[3], float* shown_out, float* bright);

    // The factor that layers are divided by, of clipped albedo and the darkest `brightest` near by.
    void (*demodulation)(ptrdiff_t n, const float* const albedo[3], const float* const brightest[3], const Black& black,
                         float* out);

    // 2x2 mean; the four inputs are read at multiples of `step` (1 or 2).
    void (*pool)(ptrdiff_t n, ptrdiff_t step, const float* a, const float* b, const float* c, const float* d,
                 float* out);

    // Kernels of n <= kBlock pixels of a level without a coarser one, tap k's logits at logits[k * logit_stride], as
    // float or as one half of a pair, and its confidence at confidence[tap_offset[k]]. Both are read up to 63 values
    // beyond n.
    void (*kernels)(ptrdiff_t n, const float* logits, ptrdiff_t logit_stride, Part part, const float* confidence,
                    const ptrdiff_t* tap_offset, Soon soon, Kernels& made);

    // Then, of a level that has one: what share each of the two gets. `coarse_valid` is upsampled validity.
    void (*shares)(ptrdiff_t n, const float* logit, const float* coarse_valid, Kernels& made);

    // Sums `count` planes, 1 to 3, by the kernels of n <= kBlock pixels: plane p to out[p * kBlock]. `planes` are read
    // up to 63 values beyond n.
    void (*gather)(ptrdiff_t n, const Kernels& made, const float* planes, ptrdiff_t plane_stride,
                   const ptrdiff_t* tap_offset, ptrdiff_t count, float* out);

    // The same of all four pixels of n cells, by made[2 * dy + dx]: to out[((2 * dy + dx) * 3 + p) * kBlock]. The 6x6
    // pixels that their windows cover lie at offset[6 * row + column].
    void (*gather_cells)(ptrdiff_t n, const Kernels* made, const float* planes, ptrdiff_t plane_stride,
                         const ptrdiff_t* offset, ptrdiff_t count, float* out);

    // What `gather` summed becomes the result, blended over `coarse`, premultiplied by its validity, if not null.
    void (*blend)(ptrdiff_t n, const Kernels& made, const float* sum, const float* coarse, float* out);

    // Whether each of n even and n odd pixels is above 0: 1 or 0 to out[2 * j] and out[2 * j + 1].
    void (*flag)(ptrdiff_t n, const float* even, const float* odd, unsigned char* out);

    // Bilinear x2 of n coarse pixels (readable from -1 to n) into the even and the odd fine pixels.
    void (*upsample)(ptrdiff_t n, const float* nearest, const float* next, float* even, float* odd);

    void (*interleave)(ptrdiff_t n, const float* even, const float* odd, float* out);

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
