#include "filter.h"

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <new>
#include <utility>
#include <vector>

#if defined(__linux__)
#include <sys/mman.h>
#endif

#include "phases.h"

namespace mdenoise {
namespace {

constexpr ptrdiff_t kMargin = 16;  // zeros between rows; also keeps row strides away from powers of two
constexpr ptrdiff_t kBeyond = 64;  // read after the last row, and not used
constexpr ptrdiff_t kRing = 8;     // rows at full resolution that a thread holds: six are needed, eight make a band
constexpr ptrdiff_t kCache = 160 << 10;  // floats of a ring that the second-level cache holds beside the rest
constexpr ptrdiff_t kSlab = 64;    // rows pooled in one go, at least: more would push each other out of the cache
constexpr int kBlendEntry = 25, kConfidenceEntry = 26;

// Zeros, at the start of a cache line. Large blocks take huge pages where the system has them: of small ones the first
// touch costs more than all that the filter does to them.
class Memory {
public:
    explicit Memory(size_t count) : bytes_(count * sizeof(float) + 64) {
#if defined(__linux__)
        if (bytes_ >= kLarge) {
            pages_ = mmap(nullptr, bytes_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
            if (pages_ == MAP_FAILED) throw std::bad_alloc();
            madvise(pages_, bytes_, MADV_HUGEPAGE);
            return;
        }
#endif
        pages_ = std::calloc(bytes_, 1);
        if (!pages_) throw std::bad_alloc();
    }
    ~Memory() {
#if defined(__linux__)
        if (pages_ && bytes_ >= kLarge) {
            munmap(pages_, bytes_);
            return;
        }
#endif
        std::free(pages_);
    }
    Memory(Memory&& other) noexcept : bytes_(other.bytes_), pages_(std::exchange(other.pages_, nullptr)) {}
    Memory& operator=(Memory&&) = delete;

    float* get() const { return static_cast<float*>(pages_) + (64 - reinterpret_cast<uintptr_t>(pages_) % 64) % 64 / sizeof(float); }

private:
    static constexpr size_t kLarge = size_t(4) << 20;
    size_t bytes_;
    void* pages_;
};

// Planes of which the last `held` rows are kept, each `halves` runs of `width` pixels with zeros around. Full resolution
// is kept as two runs, even and odd pixels: the order of its unshuffled logits.
class Planes {
public:
    Planes(ptrdiff_t count, ptrdiff_t held, ptrdiff_t width, ptrdiff_t halves)
        : half_stride((width + 15) / 16 * 16 + kMargin),
          row_stride(half_stride * halves),
          plane_stride(row_stride * held + kMargin),
          held_(held),
          data_(size_t(plane_stride * count + kBeyond)) {}

    float* row(ptrdiff_t plane, ptrdiff_t y, ptrdiff_t half = 0) {
        return data_.get() + plane * plane_stride + slot(y) * row_stride + half * half_stride + kMargin;
    }

    // From row y, and column x of run `half`, to the 25 pixels around it. Columns alternate between two runs.
    void taps(ptrdiff_t y, ptrdiff_t half, ptrdiff_t (&offset)[kTaps]) const {
        for (int k = 0; k < kTaps; ++k) {
            const ptrdiff_t row = (slot(y + k / 5 - 2) - slot(y)) * row_stride, column = half + k % 5 - 2;
            const bool one = half_stride == row_stride;
            offset[k] = row + (one ? column : ((column + 4) & 1) * half_stride + (column + 4) / 2 - 2 - half * half_stride);
        }
    }

    ptrdiff_t half_stride, row_stride, plane_stride;

private:
    ptrdiff_t slot(ptrdiff_t y) const { return (y + held_) % held_; }

    ptrdiff_t held_;
    Memory data_;
};

struct Level {
    ptrdiff_t height, width;
    Planes pooled;  // plane 0: confidence; then confidence * layer
    Planes result;  // the layers blended up to this level, 0 where invalid; then validity
};

// Channels that are read, filtered and written together: the three of an image, or up to three others.
struct Group {
    ptrdiff_t first, count;
    bool pairs_in, pairs_out;  // side by side without gaps, as float or half
};

// What one thread needs: a strip of rows at full resolution, rows of a coarser level, a block of logits and kernels.
struct Scratch {
    Scratch(ptrdiff_t planes, ptrdiff_t strip, ptrdiff_t coarse_width)
        : full(planes, kRing, strip, 2),
          stride((std::max(strip, coarse_width) + 2 * kMargin + 15) / 16 * 16),
          rows(size_t(kLines * stride)),
          coarse(size_t(planes * stride)),
          logits(size_t(4 * (kTaps + 2) * kBlock)),
          kernels(4) {}
    float* line(int i) { return rows.get() + i * stride; }

    static constexpr int kLines = 22;
    Planes full;
    ptrdiff_t stride;
    Memory rows, coarse, logits;
    std::vector<Kernels> kernels;  // of the four pixels of a cell
};

class Filter {
public:
    Filter(const FilterInput& in, const Rows& rows, int threads, const FilterOutput& out)
        : in(in), rows(rows), out(out), layers(in.layer_count), planes(in.layer_count + 1), half_w(in.width / 2),
          slab(std::min(in.height, std::max<ptrdiff_t>(kSlab, 16 * threads))),
          confidence(1, slab + 32, half_w, 2) {
        for (ptrdiff_t l = 0; l < layers;) {
            groups.push_back(group(l));
            l += groups.back().count;
        }
        levels.reserve(kLevels - 1);
        for (int l = 1; l < kLevels; ++l) {
            const ptrdiff_t h = in.height >> l, w = in.width >> l, held = (slab >> l) + 16;
            levels.push_back({h, w, Planes(planes, held, w, 1), Planes(planes, held, w, 1)});
        }
        const ptrdiff_t fits = kCache / (2 * kRing * planes) / kBlock * kBlock;
        strip = std::min(half_w, std::max<ptrdiff_t>(fits, 2 * kBlock));
        scratch.reserve(size_t(threads));
        for (int i = 0; i < threads; ++i) scratch.emplace_back(planes, strip, half_w);
    }

    void run(int threads) {
        std::vector<Phase> phases;
        const ptrdiff_t strips = (half_w + strip - 1) / strip;
        auto in_strips = [&](ptrdiff_t items, auto work) {
            phases.push_back({items * strips, [this, work, strips](int worker, ptrdiff_t item) {
                const ptrdiff_t x = item % strips * strip;
                work(scratch[size_t(worker)], item / strips, x, std::min(strip, half_w - x));
            }});
        };
        // Slab after slab of rows, so that of coarser levels, too, only some rows are held. A level's row needs two
        // rows around it and, of the coarser one's, the next; so each lags behind what has been pooled so far.
        ptrdiff_t pooled = 0, done[kLevels] = {};
        while (pooled < in.height) {
            const ptrdiff_t from = pooled, to = pooled = std::min(in.height, pooled + slab);
            const bool last = to == in.height;
            // Eight rows make one row of the coarsest level, so bands of eight need nothing of their neighbours.
            in_strips((to - from) / 8, [this, from](Scratch& s, ptrdiff_t band, ptrdiff_t x, ptrdiff_t n) {
                pool_band(s, from / 8 + band, x, n);
            });
            ptrdiff_t coarser = 0;  // rows of the coarser level that are done
            for (int l = kLevels - 1; l >= 1; --l) {
                const ptrdiff_t first = done[l], lag = (to >> l) - 2;
                coarser = last ? in.height >> l : std::max(first, l == kLevels - 1 ? lag : std::min(lag, 2 * coarser - 1));
                done[l] = coarser;
                phases.push_back({coarser - first, [this, l, first](int worker, ptrdiff_t y) {
                    coarse_row(scratch[size_t(worker)], l, first + y);
                }});
            }
            const ptrdiff_t all = (in.rows + 1) / 2, first = done[0];
            const ptrdiff_t end = last ? all : std::min(all, std::max(first, (2 * coarser - 1) / 2));
            done[0] = end;
            // Every band reads two pairs of rows of its neighbours once more: long bands, but several for each thread.
            const ptrdiff_t parts = threads == 1 ? 1 : (4 * threads + strips - 1) / strips;
            const ptrdiff_t band = std::max<ptrdiff_t>(8, (end - first + parts - 1) / parts);
            in_strips((end - first + band - 1) / band, [this, first, end, band](Scratch& s, ptrdiff_t item, ptrdiff_t x, ptrdiff_t n) {
                fine_band(s, first + item * band, std::min(end, first + item * band + band), x, n);
            });
        }
        run_phases(phases, threads);
    }

private:
    Group group(ptrdiff_t first) const {
        if (first + 3 <= layers && side_by_side(in.layers + first))
            return {first, 3, true, side_by_side(out.layers + first)};
        ptrdiff_t count = 1;
        while (count < 3 && first + count < layers && !(first + count + 3 <= layers && side_by_side(in.layers + first + count)))
            ++count;
        return {first, count, false, false};
    }

    template <class Channel>
    static bool side_by_side(const Channel* c) {
        const ptrdiff_t size = c[0].type == Type::f32 ? 4 : 2;
        auto follows = [&](ptrdiff_t i) {
            return c[i].type == c[0].type && c[i].row_stride == c[0].row_stride && c[i].pixel_stride == 3 * size &&
                   static_cast<const char*>(c[i].data) == static_cast<const char*>(c[0].data) + i * size;
        };
        return (c[0].type == Type::f32 || c[0].type == Type::f16) && follows(0) && follows(1) && follows(2);
    }

    // Three channels of cells `first` to `first + n` of an image row without gaps: even pixels to to[0..2], odd ones to
    // to[3..5]. Of a last cell that has but one pixel inside the image that is read alone.
    void read_image(const void* row, Type type, ptrdiff_t first, ptrdiff_t n, float* const to[6]) {
        const ptrdiff_t size = type == Type::f32 ? 4 : 2, pairs = std::clamp<ptrdiff_t>(in.columns / 2 - first, 0, n);
        const char* from = static_cast<const char*>(row) + first * 6 * size;
        rows.load_pairs(pairs, from, type, to);
        if (pairs < n && first + pairs == in.columns / 2 && in.columns % 2)
            for (ptrdiff_t c = 0; c < 3; ++c) rows.load(1, from + (pairs * 6 + c) * size, size, type, to[c] + pairs);
    }

    // Cells inside the image of row y and half dx, of `n` from cell `first`.
    ptrdiff_t inside(ptrdiff_t y, ptrdiff_t dx, ptrdiff_t first, ptrdiff_t n) const {
        return y < 0 || y >= in.rows ? 0 : std::clamp<ptrdiff_t>((in.columns - dx + 1) / 2 - first, 0, n);
    }

    // Confidence and weighed layers of a pair of rows into their places in the ring, of `n` cells from cell `x` and
    // `halo` cells on either side; zeros outside the image. Confidence is made when a pair is read for pooling.
    void read_pair(Scratch& s, ptrdiff_t pair, ptrdiff_t x, ptrdiff_t n, ptrdiff_t halo, bool pooling) {
        const ptrdiff_t first = std::max<ptrdiff_t>(0, x - halo), cells = std::min(half_w, x + n + halo) - first;
        const ptrdiff_t at = first - x;  // of the first cell in the ring
        float *logit[4], *values[6], *factors[6], *shown[6];
        for (int i = 0; i < 4; ++i) logit[i] = s.line(i);
        for (int i = 0; i < 6; ++i) values[i] = s.line(4 + i), factors[i] = s.line(10 + i), shown[i] = s.line(16 + i);
        if (pooling && 2 * pair < in.rows) confidences(pair, first, cells, logit);
        for (ptrdiff_t y = 2 * pair; y < 2 * pair + 2; ++y) {
            const ptrdiff_t count[2] = {inside(y, 0, first, cells), inside(y, 1, first, cells)};
            for (ptrdiff_t p = 0; p < planes; ++p) {
                for (ptrdiff_t dx = 0; dx < 2; ++dx) {
                    float* row = s.full.row(p, y, dx);
                    std::fill(row - halo, row + at, 0.0f);
                    std::fill(row + at + count[dx], row + n + halo, 0.0f);
                }
            }
            if (count[0] == 0) continue;
            if (in.factor) read_image(in.factor + y * in.columns * 3, Type::f32, first, cells, factors);
            for (ptrdiff_t dx = 0; dx < 2; ++dx) {
                const ptrdiff_t column = 2 * first + dx;
                float *seen = s.full.row(0, y, dx) + at, *kept = confidence.row(0, y, dx) + first;
                if (pooling) {
                    rows.confide(count[dx], in.trust + y * in.width + column,
                                 in.mask ? in.mask + y * in.columns + column : nullptr, logit[2 * (y & 1) + dx], seen);
                    std::copy(seen, seen + count[dx], kept);
                } else {
                    std::copy(kept, kept + count[dx], seen);
                }
                for (int i = 3 * int(dx); in.factor && i < 3 * int(dx) + 3; ++i)
                    rows.divide(count[dx], seen, factors[i], shown[i]);
            }
            for (const Group& g : groups) {
                const Source* source = in.layers + g.first;
                auto row = [&](ptrdiff_t c) { return static_cast<const char*>(source[c].data) + y * source[c].row_stride; };
                if (g.pairs_in) read_image(row(0), source->type, first, cells, values);
                for (ptrdiff_t dx = 0; dx < 2; ++dx) {
                    for (ptrdiff_t c = 0; c < g.count; ++c) {
                        float* value = values[dx * 3 + c];
                        const ptrdiff_t pixel = source[c].pixel_stride;
                        if (!g.pairs_in)
                            rows.load(count[dx], row(c) + (2 * first + dx) * pixel, 2 * pixel, source[c].type, value);
                        const float* seen = s.full.row(0, y, dx) + at;
                        rows.weigh(count[dx], source[c].factor < 0 ? seen : shown[dx * 3 + source[c].factor], value,
                                   s.full.row(g.first + c + 1, y, dx) + at);
                    }
                }
            }
        }
    }

    // The network's confidence of the four pixels of `n` cells: a row of each, or a pointer to where it lies.
    void confidences(ptrdiff_t pair, ptrdiff_t first, ptrdiff_t n, float* (&to)[4]) {
        const Logits& logits = in.logits[0];
        if (logits.interleaved) {
            const ptrdiff_t size = logits.type == Type::bf16 ? 2 : 4, step = logits.channels * size;
            rows.quads(n, static_cast<const char*>(logits.data) + (pair * half_w + first) * step + kConfidenceEntry * 4 * size,
                       step, logits.type, to);
            return;
        }
        for (int i = 0; i < 4; ++i) {
            const ptrdiff_t channel = kConfidenceEntry * 4 + i;
            const float* from = static_cast<const float*>(logits.data) + (channel * (in.height / 2) + pair) * half_w + first;
            std::copy(from, from + n, to[i]);
        }
    }

    void pool_band(Scratch& s, ptrdiff_t band, ptrdiff_t x, ptrdiff_t n) {
        for (ptrdiff_t pair = band * 4; pair < band * 4 + 4; ++pair) read_pair(s, pair, x, n, 0, true);
        for (ptrdiff_t p = 0; p < planes; ++p) {
            for (int l = 1; l < kLevels && band == in.height / 8 - 1; ++l) {  // below the image
                Level& level = levels[size_t(l - 1)];
                for (ptrdiff_t y = level.height; y < level.height + 2; ++y)
                    std::fill_n(level.pooled.row(p, y) + (x >> (l - 1)), n >> (l - 1), 0.0f);
            }
            for (ptrdiff_t i = 0; i < 4; ++i)
                rows.pool(n, 1, s.full.row(p, 2 * i, 0), s.full.row(p, 2 * i, 1), s.full.row(p, 2 * i + 1, 0),
                          s.full.row(p, 2 * i + 1, 1), levels[0].pooled.row(p, band * 4 + i) + x);
            for (int l = 1; l < kLevels - 1; ++l) {
                Planes& finer = levels[size_t(l - 1)].pooled;
                for (ptrdiff_t i = band << (2 - l); i < (band + 1) << (2 - l); ++i) {
                    const float *above = finer.row(p, 2 * i) + (x >> (l - 1)), *below = finer.row(p, 2 * i + 1) + (x >> (l - 1));
                    rows.pool(n >> l, 2, above, above + 1, below, below + 1, levels[size_t(l)].pooled.row(p, i) + (x >> l));
                }
            }
        }
    }

    // Of the two rows of a coarser level next to fine row y: the nearest, and the one after it.
    static std::pair<ptrdiff_t, ptrdiff_t> nearest_rows(const Level& coarse, ptrdiff_t y) {
        const ptrdiff_t nearest = y / 2;
        return {nearest, std::clamp<ptrdiff_t>(y & 1 ? nearest + 1 : nearest - 1, 0, coarse.height - 1)};
    }

    // Logits of `n` cells from column x of row y but for confidence, of which the first `paired` may stay in pairs: the
    // first channel, and the distance from one to the next; they can be read up to kBlock. `soon` is the next block.
    const float* block(Scratch& s, int l, ptrdiff_t y, ptrdiff_t x, ptrdiff_t n, ptrdiff_t paired, ptrdiff_t* stride,
                       Soon* soon) {
        const Logits& logits = in.logits[l];
        const ptrdiff_t height = in.height >> std::max(l, 1), width = in.width >> std::max(l, 1);
        const ptrdiff_t channels = l == 0 ? 4 * kConfidenceEntry : logits.channels;
        float* held = s.logits.get();
        *stride = kBlock;
        if (!logits.interleaved) {
            const float* from = static_cast<const float*>(logits.data) + y * width + x;
            *soon = {nullptr, 0};
            if (n == kBlock) {
                *stride = height * width;
                return from;
            }
            for (ptrdiff_t c = 0; c < channels; ++c) std::copy_n(from + c * height * width, n, held + c * kBlock);
            return held;
        }
        const ptrdiff_t pixel = logits.channels * (logits.type == Type::bf16 ? 2 : 4);
        const char* from = static_cast<const char*>(logits.data) + (y * width + x) * pixel;
        rows.unpack(n, channels, logits.channels, paired, from, logits.type, held);
        *soon = {from + n * pixel, pixel};
        return held;
    }

    void coarse_row(Scratch& s, int l, ptrdiff_t y) {
        Level& level = levels[size_t(l - 1)];
        const ptrdiff_t w = level.width;
        const bool blended = l < kLevels - 1;
        ptrdiff_t tap_offset[kTaps];
        level.pooled.taps(y, 0, tap_offset);
        float* valid = level.result.row(layers, y);
        if (blended) {
            Level& coarse = levels[size_t(l)];
            const auto [nearest, next] = nearest_rows(coarse, y);
            for (ptrdiff_t p = 0; p < planes; ++p) {
                rows.upsample(coarse.width, coarse.result.row(p, nearest), coarse.result.row(p, next), s.line(0), s.line(1));
                rows.interleave(w / 2, s.line(0), s.line(1), s.coarse.get() + p * s.stride);
            }
        }
        Kernels& kernels = s.kernels[0];
        for (ptrdiff_t x = 0; x < w; x += kBlock) {
            const ptrdiff_t n = std::min(kBlock, w - x);
            ptrdiff_t stride;
            Soon soon;
            const float *logits = block(s, l, y, x, n, 0, &stride, &soon), *coarse = s.coarse.get() + x;
            const float* seen = level.pooled.row(0, y) + x;
            rows.kernels(n, logits, stride, Part::whole, seen, tap_offset, soon, kernels);
            if (blended) rows.shares(n, logits + kBlendEntry * stride, coarse + layers * s.stride, kernels);
            std::copy(kernels.valid, kernels.valid + n, valid + x);
            alignas(64) float sums[3 * kBlock];
            for (const Group& g : groups) {
                rows.gather(n, kernels, level.pooled.row(g.first + 1, y) + x, level.pooled.plane_stride, tap_offset, g.count,
                            sums);
                for (ptrdiff_t c = 0; c < g.count; ++c)
                    rows.blend(n, kernels, sums + c * kBlock, blended ? coarse + (g.first + c) * s.stride : nullptr,
                               level.result.row(g.first + c, y) + x);
            }
        }
        for (ptrdiff_t p = 0; p < planes; ++p) {  // edges repeat for the next upsampling
            float* row = level.result.row(p, y);
            row[-1] = row[0];
            row[w] = row[w - 1];
        }
    }

    // The pixels around one cell's: all that its four windows cover, seen from its first pixel, and each one's own.
    struct Around {
        ptrdiff_t offset[36], taps[4][kTaps];
    };

    // Pairs of rows, the height of a cell, from `first` to before `last`, of `n` cells from cell `x`.
    void fine_band(Scratch& s, ptrdiff_t first, ptrdiff_t last, ptrdiff_t x, ptrdiff_t n) {
        ptrdiff_t read = first - 1;
        for (ptrdiff_t pair = first; pair < last; ++pair) {
            for (; read < pair + 2; ++read) read_pair(s, read, x, n, 1, false);
            Around around;
            for (int k = 0; k < 36; ++k)
                around.offset[k] = s.full.row(0, 2 * pair + k / 6 - 2, k % 2) + (k % 6) / 2 - 1 - s.full.row(0, 2 * pair);
            for (int sub = 0; sub < 4; ++sub) s.full.taps(2 * pair + sub / 2, sub % 2, around.taps[sub]);
            const ptrdiff_t end = std::min(x + n, (in.columns + 1) / 2);
            for (ptrdiff_t cell = x; cell < end; cell += kBlock)  // beyond the image, too, so that vectors are full
                fine_block(s, around, pair, cell, std::min(kBlock, x + n - cell), cell - x);
        }
    }

    // The pixels of `n` cells from cell `x` on, which lies at `at` in the ring.
    void fine_block(Scratch& s, const Around& around, ptrdiff_t pair, ptrdiff_t x, ptrdiff_t n, ptrdiff_t at) {
        const bool pairs = in.logits[0].type == Type::bf16;
        ptrdiff_t stride;
        Soon soon;
        const float* logits = block(s, 0, pair, x, n, pairs ? 4 * kBlendEntry : 0, &stride, &soon);
        soon.pixel /= 4;

        Planes& coarse = levels[0].result;
        float* const upsampled = s.line(0);  // three planes, even and odd pixels
        alignas(64) float factors[2][6 * kBlock];
        for (ptrdiff_t dy = 0; dy < 2; ++dy) {
            const ptrdiff_t y = 2 * pair + dy;
            const auto [nearest, next] = nearest_rows(levels[0], y);
            rows.upsample(n, coarse.row(layers, nearest) + x, coarse.row(layers, next) + x, upsampled, upsampled + kBlock);
            for (ptrdiff_t dx = 0; dx < 2; ++dx) {
                const ptrdiff_t sub = 2 * dy + dx;
                Kernels& kernels = s.kernels[size_t(sub)];
                const float* confidence = s.full.row(0, y, dx) + at;
                if (pairs)
                    rows.kernels(n, logits + dy * kBlock, 2 * kBlock, dx ? Part::high : Part::low, confidence,
                                 around.taps[sub], soon, kernels);
                else
                    rows.kernels(n, logits + sub * stride, 4 * stride, Part::whole, confidence, around.taps[sub],
                                 soon, kernels);
                soon.data += n * soon.pixel;
                rows.shares(n, logits + (4 * kBlendEntry + sub) * stride, upsampled + dx * kBlock, kernels);
            }
            if (y >= in.rows) continue;
            const float *even = s.kernels[size_t(2 * dy)].valid, *odd = s.kernels[size_t(2 * dy + 1)].valid;
            unsigned char* valid = out.valid + y * in.columns + 2 * x;
            const ptrdiff_t whole = inside(y, 1, x, n);
            rows.flag(whole, even, odd, valid);
            if (inside(y, 0, x, n) > whole) valid[2 * whole] = even[whole] > 0.0f;
            if (in.factor) {
                float* to[6];
                for (int i = 0; i < 6; ++i) to[i] = factors[dy] + i * kBlock;
                read_image(in.factor + y * in.columns * 3, Type::f32, x, inside(y, 0, x, n), to);
            }
        }
        alignas(64) float sums[12 * kBlock], values[6 * kBlock];
        for (const Group& g : groups) {
            const Source* source = in.layers + g.first;
            rows.gather_cells(n, s.kernels.data(), s.full.row(g.first + 1, 2 * pair) + at, s.full.plane_stride,
                              around.offset, g.count, sums);
            for (ptrdiff_t dy = 0; dy < 2 && 2 * pair + dy < in.rows; ++dy) {
                const ptrdiff_t y = 2 * pair + dy;
                const auto [nearest, next] = nearest_rows(levels[0], y);
                for (ptrdiff_t c = 0; c < g.count; ++c) {
                    rows.upsample(n, coarse.row(g.first + c, nearest) + x, coarse.row(g.first + c, next) + x, upsampled,
                                  upsampled + kBlock);
                    for (ptrdiff_t dx = 0; dx < 2; ++dx) {
                        const ptrdiff_t sub = 2 * dy + dx;
                        float* fine = values + (dx * 3 + c) * kBlock;
                        rows.blend(n, s.kernels[size_t(sub)], sums + (sub * 3 + c) * kBlock, upsampled + dx * kBlock, fine);
                        if (source[c].factor >= 0)
                            rows.multiply(n, factors[dy] + (dx * 3 + source[c].factor) * kBlock, fine);
                    }
                }
                write(g, y, x, n, values);
            }
        }
    }

    // Row y of a group's pixels of `n` cells from cell `x` on: even pixels' channels kBlock apart, then odd ones'.
    void write(const Group& g, ptrdiff_t y, ptrdiff_t x, ptrdiff_t n, const float* values) {
        const Target* target = out.layers + g.first;
        auto to = [&](ptrdiff_t c, ptrdiff_t column) {
            return static_cast<char*>(target[c].data) + y * target[c].row_stride + column * target[c].pixel_stride;
        };
        const ptrdiff_t pairs = g.pairs_out ? std::clamp<ptrdiff_t>(in.columns / 2 - x, 0, n) : 0;
        if (pairs > 0) rows.store_pairs(pairs, values, target->type, to(0, 2 * x));
        for (ptrdiff_t dx = 0; dx < 2; ++dx)
            for (ptrdiff_t c = 0, rest = inside(y, dx, x, n) - pairs; c < g.count && rest > 0; ++c)
                rows.store(rest, values + (dx * 3 + c) * kBlock + pairs, target[c].type, to(c, 2 * (x + pairs) + dx),
                           2 * target[c].pixel_stride);
    }

    const FilterInput& in;
    const Rows& rows;
    const FilterOutput& out;
    const ptrdiff_t layers, planes, half_w;
    const ptrdiff_t slab;  // rows that are pooled in one go
    Planes confidence;     // of these and of as many before them as have been pooled only
    ptrdiff_t strip;  // cells of a thread's rows: the second-level cache shall hold them, of however many layers
    std::vector<Group> groups;
    std::vector<Level> levels;  // 1/2, 1/4, 1/8
    std::vector<Scratch> scratch;
};

}  // namespace

void filter(const FilterInput& in, const Rows& rows, int threads, const FilterOutput& out) {
    threads = int(std::max<ptrdiff_t>(1, std::min<ptrdiff_t>(threads, in.height / 8)));
    Filter(in, rows, threads, out).run(threads);
}

}  // namespace mdenoise
