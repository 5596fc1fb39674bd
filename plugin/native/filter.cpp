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
constexpr ptrdiff_t kRing = 8;     // rows at full resolution that a thread holds: six are needed, eight make a band
constexpr int kBlendEntry = 25, kConfidenceEntry = 26;

// Planes of `height` rows, each of `halves` runs of `width` pixels; zeros around every run, `border` rows of zeros
// above and below. Full resolution is kept as two runs, even and odd pixels: the order of its unshuffled logits.
class Planes {
public:
    Planes(ptrdiff_t count, ptrdiff_t height, ptrdiff_t width, ptrdiff_t halves, ptrdiff_t border)
        : width(width),
          half_stride(width + kMargin),
          row_stride(half_stride * halves),
          plane_stride(row_stride * (height + 2 * border) + kMargin),
          border_(border),
          // fresh pages are zero already: unlike a fill, calloc does not write the inside of the planes a second time
          data_(static_cast<float*>(std::calloc(size_t(plane_stride * count), sizeof(float))), std::free) {
        if (!data_) throw std::bad_alloc();
    }

    float* row(ptrdiff_t plane, ptrdiff_t y, ptrdiff_t half = 0) {
        return data_.get() + plane * plane_stride + (y + border_) * row_stride + half * half_stride + kMargin;
    }

    ptrdiff_t width, half_stride, row_stride, plane_stride;

private:
    ptrdiff_t border_;
    std::unique_ptr<float, void (*)(void*)> data_;
};

struct Level {
    ptrdiff_t height, width;
    Planes pooled;  // plane 0: confidence; then confidence * layer
    Planes result;  // the layers blended up to this level, 0 where invalid; then validity
};

// What one thread needs: rows at full resolution, upsampled coarse rows, a block of logits, a block of results.
struct Scratch {
    Scratch(ptrdiff_t planes, ptrdiff_t width)
        : full(planes, kRing, width, 2, 0),
          stride(width + kMargin),
          rows(size_t(4 * planes * stride)),
          single(size_t(13 * stride)),
          logits(size_t(4 * (kTaps + 2) * kBlock)),
          fine(size_t(planes * kBlock)) {}
    float* row(int set, ptrdiff_t planes) { return rows.data() + set * planes * stride; }

    Planes full;
    ptrdiff_t stride;
    std::vector<float> rows, single, logits, fine;
};

class Filter {
public:
    Filter(const FilterInput& in, const Rows& rows, int threads, const FilterOutput& out)
        : in(in), rows(rows), out(out), layers(in.layer_count), planes(in.layer_count + 1), half_w(in.width / 2) {
        levels.reserve(kLevels - 1);
        for (int l = 1; l < kLevels; ++l) {
            const ptrdiff_t h = in.height >> l, w = in.width >> l;
            levels.push_back({h, w, Planes(planes, h, w, 1, 2), Planes(planes, h, w, 1, 2)});
        }
        scratch.reserve(size_t(threads));
        for (int i = 0; i < threads; ++i) scratch.emplace_back(planes, half_w);
    }

    void run(int threads) {
        std::vector<Phase> phases;
        // Eight rows make one row of the coarsest level, so bands of eight need nothing of their neighbours.
        phases.push_back({in.height / 8, [&](int worker, ptrdiff_t band) { pool_band(scratch[size_t(worker)], band); }});
        for (int l = kLevels - 1; l >= 1; --l)
            phases.push_back({in.height >> l, [&, l](int worker, ptrdiff_t y) { coarse_row(scratch[size_t(worker)], l, y); }});
        // Every band reads four rows of its neighbours once more: long bands, but several for each thread.
        const ptrdiff_t pairs = (in.rows + 1) / 2, count = std::min<ptrdiff_t>(pairs, 4 * threads);
        const ptrdiff_t band = std::max<ptrdiff_t>(8, (pairs + count - 1) / count);
        phases.push_back({(pairs + band - 1) / band, [&, band, pairs](int worker, ptrdiff_t item) {
            fine_band(scratch[size_t(worker)], item * band, std::min(pairs, item * band + band));
        }});
        run_phases(phases, threads);
    }

private:
    // Three layers that are the channels of one image, without gaps.
    bool image(ptrdiff_t l) const {
        if (l + 3 > layers) return false;
        const Source *a = in.layers + l, *b = a + 1, *c = a + 2;
        const ptrdiff_t size = a->type == Type::f32 ? 4 : 2;
        auto after = [&](const Source* s, ptrdiff_t channel) {
            return s->type == a->type && s->row_stride == a->row_stride && s->pixel_stride == 3 * size &&
                   static_cast<const char*>(s->data) == static_cast<const char*>(a->data) + channel * size;
        };
        return (a->type == Type::f32 || a->type == Type::f16) && after(a, 0) && after(b, 1) && after(c, 2);
    }

    // Three channels of row y of an image without gaps, its even pixels to to[0..2], its odd ones to to[3..5].
    void read_image(const void* from, Type type, float* const to[6]) {
        const ptrdiff_t pairs = in.columns / 2, size = type == Type::f32 ? 4 : 2;
        rows.load_pairs(pairs, from, type, to);
        const char* last = static_cast<const char*>(from) + pairs * 6 * size;
        for (ptrdiff_t c = 0; in.columns % 2 && c < 3; ++c) rows.load(1, last + c * size, size, type, to[c] + pairs);
    }

    // Confidence and weighed layers of row y into its place in the ring; zeros outside the image.
    void read_row(Scratch& s, ptrdiff_t y) {
        const ptrdiff_t slot = y & (kRing - 1);
        const Logits& logits = in.logits[0];
        float *logit = s.single.data(), *values[6], *factors[6];
        for (int i = 0; i < 6; ++i) values[i] = logit + (1 + i) * s.stride, factors[i] = logit + (7 + i) * s.stride;
        ptrdiff_t count[2];
        for (ptrdiff_t dx = 0; dx < 2; ++dx) {
            const ptrdiff_t n = count[dx] = y < 0 || y >= in.rows ? 0 : std::min(half_w, (in.columns - dx + 1) / 2);
            for (ptrdiff_t p = 0; p < planes; ++p) {
                float* row = s.full.row(p, slot, dx);
                std::fill(row + n, row + half_w, 0.0f);
            }
            if (n == 0) continue;
            const ptrdiff_t channel = kConfidenceEntry * 4 + (y & 1) * 2 + dx;
            const float* here = logit;
            if (logits.interleaved) {
                const ptrdiff_t size = logits.type == Type::bf16 ? 2 : 4, step = logits.channels * size;
                rows.load(n, static_cast<const char*>(logits.data) + (y / 2) * half_w * step + channel * size, step,
                          logits.type, logit);
            } else {
                here = static_cast<const float*>(logits.data) + (channel * (in.height / 2) + y / 2) * half_w;
            }
            rows.confide(n, in.trust + y * in.width + dx, in.mask ? in.mask + y * in.columns + dx : nullptr, here,
                         s.full.row(0, slot, dx));
        }
        if (y < 0 || y >= in.rows) return;
        if (in.factor) read_image(in.factor + y * in.columns * 3, Type::f32, factors);
        for (ptrdiff_t l = 0; l < layers;) {
            const ptrdiff_t channels = image(l) ? 3 : 1;
            const char* from = static_cast<const char*>(in.layers[l].data) + y * in.layers[l].row_stride;
            if (channels == 3) read_image(from, in.layers[l].type, values);
            for (ptrdiff_t dx = 0; dx < 2; ++dx) {
                for (ptrdiff_t c = 0; c < channels; ++c) {
                    const Source& source = in.layers[l + c];
                    if (channels == 1)
                        rows.load(count[dx], from + dx * source.pixel_stride, 2 * source.pixel_stride, source.type,
                                  values[dx * 3]);
                    rows.weigh(count[dx], s.full.row(0, slot, dx), values[dx * 3 + c],
                               source.factor < 0 ? nullptr : factors[dx * 3 + source.factor],
                               s.full.row(l + c + 1, slot, dx));
                }
            }
            l += channels;
        }
    }

    void pool_band(Scratch& s, ptrdiff_t band) {
        for (ptrdiff_t y = band * 8; y < band * 8 + 8; ++y) read_row(s, y);
        for (ptrdiff_t p = 0; p < planes; ++p) {
            for (ptrdiff_t i = 0; i < 4; ++i)
                rows.pool(half_w, 1, s.full.row(p, 2 * i, 0), s.full.row(p, 2 * i, 1), s.full.row(p, 2 * i + 1, 0),
                          s.full.row(p, 2 * i + 1, 1), levels[0].pooled.row(p, band * 4 + i));
            for (int l = 1; l < kLevels - 1; ++l) {
                Planes& finer = levels[size_t(l - 1)].pooled;
                Level& level = levels[size_t(l)];
                for (ptrdiff_t i = band << (2 - l); i < (band + 1) << (2 - l); ++i) {
                    const float *above = finer.row(p, 2 * i), *below = finer.row(p, 2 * i + 1);
                    rows.pool(level.width, 2, above, above + 1, below, below + 1, level.pooled.row(p, i));
                }
            }
        }
    }

    // The two coarse rows nearest to fine row y, upsampled to its even and odd pixels.
    void upsample(Level& coarse, ptrdiff_t y, float* even, float* odd, ptrdiff_t stride) {
        const ptrdiff_t nearest = y / 2;
        const ptrdiff_t next = std::clamp<ptrdiff_t>(y & 1 ? nearest + 1 : nearest - 1, 0, coarse.height - 1);
        for (ptrdiff_t p = 0; p < planes; ++p)
            rows.upsample(coarse.width, coarse.result.row(p, nearest), coarse.result.row(p, next), even + p * stride,
                          odd + p * stride);
    }

    // Logits of `n` cells from column x of row y: the first channel, and the distance from one to the next.
    const float* block(Scratch& s, int l, ptrdiff_t y, ptrdiff_t x, ptrdiff_t n, ptrdiff_t* stride) {
        const Logits& logits = in.logits[l];
        const ptrdiff_t height = in.height >> std::max(l, 1), width = in.width >> std::max(l, 1);
        if (!logits.interleaved) {
            *stride = height * width;
            return static_cast<const float*>(logits.data) + y * width + x;
        }
        *stride = kBlock;
        const ptrdiff_t size = logits.type == Type::bf16 ? 2 : 4;
        rows.unpack(n, logits.channels, static_cast<const char*>(logits.data) + (y * width + x) * logits.channels * size,
                    logits.type, s.logits.data());
        return s.logits.data();
    }

    void coarse_row(Scratch& s, int l, ptrdiff_t y) {
        Level& level = levels[size_t(l - 1)];
        const ptrdiff_t w = level.width;
        ptrdiff_t tap_offset[kTaps];
        for (int k = 0; k < kTaps; ++k) tap_offset[k] = (k / 5 - 2) * level.pooled.row_stride + k % 5 - 2;
        float *result = level.result.row(0, y), *result_valid = level.result.row(layers, y);
        float *even = s.row(0, planes), *odd = s.row(1, planes), *coarse = s.row(2, planes);
        if (l < kLevels - 1) {
            upsample(levels[size_t(l)], y, even, odd, s.stride);
            for (ptrdiff_t p = 0; p < planes; ++p)
                rows.interleave(w / 2, even + p * s.stride, odd + p * s.stride, coarse + p * s.stride);
        }
        for (ptrdiff_t x = 0; x < w; x += kBlock) {
            const ptrdiff_t n = std::min(kBlock, w - x);
            ptrdiff_t stride;
            const float* logits = block(s, l, y, x, n, &stride);
            rows.gather(n, logits, stride, level.pooled.row(0, y) + x, level.pooled.plane_stride, tap_offset, layers,
                        result + x, level.result.plane_stride, result_valid + x);
            if (l < kLevels - 1)
                rows.blend(n, logits + kBlendEntry * stride, layers, coarse + x, s.stride, coarse + layers * s.stride + x,
                           result + x, level.result.plane_stride, result_valid + x);
        }
        for (ptrdiff_t p = 0; p < planes; ++p) {  // edges repeat for the next upsampling
            float* row = level.result.row(p, y);
            row[-1] = row[0];
            row[w] = row[w - 1];
        }
    }

    // Pairs of rows, the height of a cell, from `first` to before `last`.
    void fine_band(Scratch& s, ptrdiff_t first, ptrdiff_t last) {
        ptrdiff_t read = 2 * first - 2;
        for (ptrdiff_t pair = first; pair < last; ++pair) {
            for (; read < 2 * pair + 4; ++read) read_row(s, read);
            for (ptrdiff_t dy = 0; dy < 2; ++dy)
                upsample(levels[0], 2 * pair + dy, s.row(int(2 * dy), planes), s.row(int(2 * dy + 1), planes), s.stride);
            const ptrdiff_t cells = (in.columns + 1) / 2;
            for (ptrdiff_t x = 0; x < cells; x += kBlock) {
                ptrdiff_t stride;
                const ptrdiff_t n = std::min(kBlock, half_w - x);  // beyond the image, too, so that vectors are full
                const float* logits = block(s, 0, pair, x, n, &stride);
                for (ptrdiff_t dy = 0; dy < 2 && 2 * pair + dy < in.rows; ++dy)
                    for (ptrdiff_t dx = 0; dx < 2; ++dx)
                        fine_block(s, 2 * pair + dy, dx, x, n, logits + (2 * dy + dx) * stride, 4 * stride);
            }
        }
    }

    // Every second pixel of row y, from cell x on.
    void fine_block(Scratch& s, ptrdiff_t y, ptrdiff_t dx, ptrdiff_t x, ptrdiff_t n, const float* logits,
                    ptrdiff_t logit_stride) {
        const ptrdiff_t slot = y & (kRing - 1);
        ptrdiff_t tap_offset[kTaps];
        for (int k = 0; k < kTaps; ++k) {
            const ptrdiff_t row = ((y + k / 5 - 2) & (kRing - 1)) - slot;
            const ptrdiff_t column = dx + k % 5 + 2;  // 4 more than the tap's, to keep the division positive
            tap_offset[k] = row * s.full.row_stride + (column & 1) * s.full.half_stride + column / 2 - 2;
        }
        float *fine = s.fine.data(), *fine_valid = fine + layers * kBlock;
        float* coarse = s.row(int(2 * (y & 1) + dx), planes) + x;
        rows.gather(n, logits, logit_stride, s.full.row(0, slot) + x, s.full.plane_stride, tap_offset, layers, fine, kBlock,
                    fine_valid);
        rows.blend(n, logits + kBlendEntry * logit_stride, layers, coarse, s.stride, coarse + layers * s.stride, fine,
                   kBlock, fine_valid);
        const ptrdiff_t inside = std::min(n, (in.columns - dx + 1) / 2 - x), column = 2 * x + dx;
        alignas(64) float factors[3][kBlock];
        for (int i = 0; i < 3 && in.factor; ++i)
            rows.load(inside, in.factor + (y * in.columns + column) * 3 + i, 6 * ptrdiff_t(sizeof(float)), Type::f32,
                      factors[i]);
        float* to = out.data + y * out.row_stride + column * out.pixel_stride;
        for (ptrdiff_t l = 0; l < layers;) {
            const Source* source = in.layers + l;
            const bool three = l + 3 <= layers && out.layer_stride == 1;
            if (three && source[0].factor < 0 && source[1].factor < 0 && source[2].factor < 0) {
                rows.store_three(inside, fine + l * kBlock, nullptr, to + l, 2 * out.pixel_stride);
                l += 3;
            } else if (three && source[0].factor == 0 && source[1].factor == 1 && source[2].factor == 2) {
                rows.store_three(inside, fine + l * kBlock, factors[0], to + l, 2 * out.pixel_stride);
                l += 3;
            } else {
                rows.store(inside, fine + l * kBlock, source->factor < 0 ? nullptr : factors[source->factor],
                           to + l * out.layer_stride, 2 * out.pixel_stride);
                l += 1;
            }
        }
        unsigned char* valid = out.valid + y * in.columns + column;
        for (ptrdiff_t j = 0; j < inside; ++j) valid[2 * j] = fine_valid[j] > 0.0f;
    }

    const FilterInput& in;
    const Rows& rows;
    const FilterOutput& out;
    const ptrdiff_t layers, planes, half_w;
    std::vector<Level> levels;  // 1/2, 1/4, 1/8
    std::vector<Scratch> scratch;
};

}  // namespace

void filter(const FilterInput& in, const Rows& rows, int threads, const FilterOutput& out) {
    threads = int(std::max<ptrdiff_t>(1, std::min<ptrdiff_t>(threads, in.height / 8)));
    Filter(in, rows, threads, out).run(threads);
}

}  // namespace mdenoise
