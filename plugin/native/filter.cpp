#include "filter.h"

#include <algorithm>
#include <cstdlib>
#include <memory>
#include <new>
#include <vector>

#include "phases.h"

namespace mdenoise {
namespace {

constexpr ptrdiff_t kMargin = 16;  // zeros between rows; also keeps row strides away from powers of two
constexpr int kBlendEntry = 25, kConfidenceEntry = 26;

// Planes of `height` rows, each of `halves` runs of `width` pixels; zeros around every run, 2 rows of zeros around all.
// Full resolution is kept as two runs, even and odd pixels: the order of its pixel-unshuffled logits.
class Planes {
public:
    Planes(ptrdiff_t count, ptrdiff_t height, ptrdiff_t width, ptrdiff_t halves)
        : width(width),
          half_stride(width + kMargin),
          row_stride(half_stride * halves),
          plane_stride(row_stride * (height + 4) + kMargin),
          // fresh pages are zero already: unlike a fill, calloc does not write the inside of the planes a second time
          data_(static_cast<float*>(std::calloc(size_t(plane_stride * count), sizeof(float))), std::free) {
        if (!data_) throw std::bad_alloc();
    }

    float* row(ptrdiff_t plane, ptrdiff_t y, ptrdiff_t half = 0) {
        return data_.get() + plane * plane_stride + (y + 2) * row_stride + half * half_stride + kMargin;
    }

    ptrdiff_t width, half_stride, row_stride, plane_stride;

private:
    std::unique_ptr<float, void (*)(void*)> data_;
};

struct Level {
    ptrdiff_t height, width;
    Planes pooled;  // plane 0: confidence; then confidence * layer
    Planes result;  // the layers blended up to this level, 0 where invalid; then validity
};

// What one thread needs for a row: the upsampled coarse result and the filtered row, layers and validity each.
struct Scratch {
    Scratch(ptrdiff_t planes, ptrdiff_t width) : stride(width + kMargin), data(size_t(6 * planes * stride)) {}
    float* row(int set, ptrdiff_t planes) { return data.data() + set * planes * stride; }

    ptrdiff_t stride;
    std::vector<float> data;
};

}  // namespace

void filter(const FilterInput& in, const Rows& rows, int threads, float* out, unsigned char* valid) {
    const ptrdiff_t layers = in.layer_count, planes = layers + 1;
    const ptrdiff_t half_h = in.height / 2, half_w = in.width / 2;
    threads = int(std::max<ptrdiff_t>(1, std::min<ptrdiff_t>(threads, in.height / 8)));

    Planes full(planes, in.height, half_w, 2);
    std::vector<Level> levels;  // 1/2, 1/4, 1/8
    levels.reserve(kLevels - 1);
    for (int l = 1; l < kLevels; ++l) {
        const ptrdiff_t h = in.height >> l, w = in.width >> l;
        levels.push_back({h, w, Planes(planes, h, w, 1), Planes(planes, h, w, 1)});
    }
    std::vector<Scratch> scratch(size_t(threads), Scratch(planes, half_w));
    std::vector<Phase> phases;

    // Eight rows make one row of the coarsest level, so bands of eight need nothing of their neighbours.
    phases.push_back({in.height / 8, [&](int, ptrdiff_t band) {
        for (ptrdiff_t y = band * 8; y < band * 8 + 8; ++y) {
            for (ptrdiff_t dx = 0; dx < 2; ++dx) {
                const ptrdiff_t channel = kConfidenceEntry * 4 + (y & 1) * 2 + dx, pixel = y * in.width + dx;
                rows.weigh(half_w, in.confidence + pixel, in.logits[0] + (channel * half_h + y / 2) * half_w,
                           in.layers + pixel * layers, layers, full.row(0, y, dx), full.plane_stride);
            }
        }
        for (ptrdiff_t p = 0; p < planes; ++p) {
            for (ptrdiff_t i = band * 4; i < band * 4 + 4; ++i)
                rows.pool(half_w, 1, full.row(p, 2 * i, 0), full.row(p, 2 * i, 1), full.row(p, 2 * i + 1, 0),
                          full.row(p, 2 * i + 1, 1), levels[0].pooled.row(p, i));
            for (int l = 1; l < kLevels - 1; ++l) {
                Planes& finer = levels[size_t(l - 1)].pooled;
                Level& level = levels[size_t(l)];
                for (ptrdiff_t i = band << (2 - l); i < (band + 1) << (2 - l); ++i) {
                    const float *above = finer.row(p, 2 * i), *below = finer.row(p, 2 * i + 1);
                    rows.pool(level.width, 2, above, above + 1, below, below + 1, level.pooled.row(p, i));
                }
            }
        }
    }});

    // The two coarse rows nearest to fine row y, upsampled to its even and odd pixels.
    auto upsample = [&](Level& coarse, ptrdiff_t y, float* even, float* odd, ptrdiff_t stride) {
        const ptrdiff_t nearest = y / 2;
        const ptrdiff_t next = std::clamp<ptrdiff_t>(y & 1 ? nearest + 1 : nearest - 1, 0, coarse.height - 1);
        for (ptrdiff_t p = 0; p < planes; ++p)
            rows.upsample(coarse.width, coarse.result.row(p, nearest), coarse.result.row(p, next), even + p * stride,
                          odd + p * stride);
    };

    for (int l = kLevels - 1; l >= 1; --l) {
        phases.push_back({in.height >> l, [&, l](int worker, ptrdiff_t y) {
            Level& level = levels[size_t(l - 1)];
            const ptrdiff_t w = level.width, logit_stride = level.height * w;
            ptrdiff_t tap_offset[kTaps];
            for (int k = 0; k < kTaps; ++k) tap_offset[k] = (k / 5 - 2) * level.pooled.row_stride + k % 5 - 2;
            const float* logits = in.logits[l] + y * w;
            float* result = level.result.row(0, y);
            float* result_valid = level.result.row(layers, y);
            rows.gather(w, logits, logit_stride, level.pooled.row(0, y), level.pooled.plane_stride, tap_offset, layers,
                        result, level.result.plane_stride, result_valid);
            if (l < kLevels - 1) {
                Scratch& s = scratch[size_t(worker)];
                float *even = s.row(0, planes), *odd = s.row(1, planes), *coarse = s.row(2, planes);
                upsample(levels[size_t(l)], y, even, odd, s.stride);
                for (ptrdiff_t p = 0; p < planes; ++p)
                    rows.interleave(w / 2, even + p * s.stride, odd + p * s.stride, coarse + p * s.stride);
                rows.blend(w, logits + kBlendEntry * logit_stride, layers, coarse, s.stride, coarse + layers * s.stride,
                           result, level.result.plane_stride, result_valid);
            }
            for (ptrdiff_t p = 0; p < planes; ++p) {  // edges repeat for the next upsampling
                float* row = level.result.row(p, y);
                row[-1] = row[0];
                row[w] = row[w - 1];
            }
        }});
    }

    phases.push_back({in.height, [&](int worker, ptrdiff_t y) {
        Scratch& s = scratch[size_t(worker)];
        float *coarse[2] = {s.row(0, planes), s.row(1, planes)}, *fine = s.row(2, planes);
        float* fine_valid = fine + layers * s.stride;
        upsample(levels[0], y, coarse[0], coarse[1], s.stride);
        for (ptrdiff_t dx = 0; dx < 2; ++dx) {
            ptrdiff_t tap_offset[kTaps];
            for (int k = 0; k < kTaps; ++k) {
                const ptrdiff_t x = dx + k % 5 + 2;  // 4 more than the tap's column, to keep the division positive
                tap_offset[k] = (k / 5 - 2) * full.row_stride + (x & 1) * full.half_stride + x / 2 - 2;
            }
            const ptrdiff_t logit_stride = 4 * half_h * half_w;  // from one entry to the next of the same pixel
            const float* logits = in.logits[0] + (((y & 1) * 2 + dx) * half_h + y / 2) * half_w;
            rows.gather(half_w, logits, logit_stride, full.row(0, y), full.plane_stride, tap_offset, layers, fine,
                        s.stride, fine_valid);
            rows.blend(half_w, logits + kBlendEntry * logit_stride, layers, coarse[dx], s.stride,
                       coarse[dx] + layers * s.stride, fine, s.stride, fine_valid);
            const ptrdiff_t pixel = y * in.width + dx;
            for (ptrdiff_t l = 0; l < layers; ++l) {
                const float* from = fine + l * s.stride;
                float* to = out + pixel * layers + l;
                for (ptrdiff_t j = 0; j < half_w; ++j) to[2 * j * layers] = from[j];
            }
            for (ptrdiff_t j = 0; j < half_w; ++j) valid[pixel + 2 * j] = fine_valid[j] > 0.0f;
        }
    }});

    run_phases(phases, threads);
}

void outlier_weight(const float* luminance, ptrdiff_t height, ptrdiff_t width, float multiple, float floor,
                    const Rows& rows, int threads, float* out) {
    constexpr ptrdiff_t kBand = 32;
    const ptrdiff_t bands = (height + kBand - 1) / kBand, stride = width + 4;
    threads = int(std::max<ptrdiff_t>(1, std::min<ptrdiff_t>(threads, bands)));
    std::vector<float> padded(size_t(threads * (kBand + 4) * stride)), sorted(size_t(threads * 5 * stride));

    run_phases({{bands, [&](int worker, ptrdiff_t band) {
        const ptrdiff_t first = band * kBand, count = std::min(kBand, height - first);
        float* base = padded.data() + worker * (kBand + 4) * stride;
        for (ptrdiff_t i = 0; i < count + 4; ++i) {
            const float* from = luminance + std::clamp<ptrdiff_t>(first + i - 2, 0, height - 1) * width;
            float* to = base + i * stride;
            std::copy(from, from + width, to + 2);
            to[0] = to[1] = from[0];
            to[width + 2] = to[width + 3] = from[width - 1];
        }
        for (ptrdiff_t i = 0; i < count; ++i) {
            const float* window[5];
            for (int r = 0; r < 5; ++r) window[r] = base + (i + r) * stride + 2;
            rows.outlier(width, window, multiple, floor, sorted.data() + worker * 5 * stride,
                         out + (first + i) * width);
        }
    }}}, threads);
}

}  // namespace mdenoise
