#include "guide.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <vector>

#include "phases.h"

namespace mdenoise {
namespace {

constexpr ptrdiff_t kPairs = 8;  // of rows in a band: what one thread does at a time

int limited(int threads, ptrdiff_t items) { return int(std::max<ptrdiff_t>(1, std::min<ptrdiff_t>(threads, items))); }

void load_row(const Source& source, const Rows& rows, ptrdiff_t y, ptrdiff_t n, float* to) {
    rows.load(n, static_cast<const char*>(source.data) + y * source.row_stride, source.pixel_stride, source.type, to);
}

// Whether no more than `company` others of the 5x5 around (y, x) exceed a quarter of its brightness.
bool alone(const float* luminance, ptrdiff_t height, ptrdiff_t width, ptrdiff_t y, ptrdiff_t x, int company) {
    const float quarter = luminance[y * width + x] / 4.0f;
    int bright = -1;  // without itself
    for (ptrdiff_t i = std::max<ptrdiff_t>(0, y - 2); i < std::min(height, y + 3); ++i)
        for (ptrdiff_t j = std::max<ptrdiff_t>(0, x - 2); j < std::min(width, x + 3); ++j)
            bright += luminance[i * width + j] > quarter;
    return bright <= company;
}

// Writes a row of cells out of two rows of every channel: plane(c, dy) points at `width` floats.
template <class Plane>
void pack_row(ptrdiff_t channels, ptrdiff_t width, const Rows& rows, Type type, float* block, char* to, Plane plane) {
    const ptrdiff_t cells = width / 2, size = type == Type::bf16 ? 2 : 4;
    for (ptrdiff_t x = 0; x < cells; x += kBlock) {
        const ptrdiff_t n = std::min(kBlock, cells - x);
        for (ptrdiff_t c = 0; c < channels; ++c) {
            for (ptrdiff_t dy = 0; dy < 2; ++dy) {
                const float* from = plane(c, dy) + 2 * x;
                float *even = block + (4 * c + 2 * dy) * kBlock, *odd = even + kBlock;
                for (ptrdiff_t j = 0; j < n; ++j) even[j] = from[2 * j], odd[j] = from[2 * j + 1];
            }
        }
        rows.pack(n, 4 * channels, block, type, to + x * 4 * channels * size);
    }
}

// Rows of an albedo around the one at work: the clipped channels, where they are known, and the brightest.
class Albedo {
public:
    Albedo(ptrdiff_t columns) : stride_(columns + 2), data_(size_t(4 * 5 * stride_)) {}

    float* plane(ptrdiff_t y, int p) { return data_.data() + ((y & 3) * 5 + p) * stride_ + 1; }

    void read(const GuideInput& in, const Rows& rows, ptrdiff_t y) {
        float* const to[3] = {plane(y, 0), plane(y, 1), plane(y, 2)};
        for (int i = 0; i < 3; ++i) load_row(in.albedo[i], rows, y, in.columns, to[i]);
        rows.limit(in.columns, to, in.curve.absurd, 0.0f, 1.0f, to, plane(y, 3));
        float* brightest = plane(y, 4);
        for (ptrdiff_t x = 0; x < in.columns; ++x) brightest[x] = std::max(std::max(to[0][x], to[1][x]), to[2][x]);
        brightest[-1] = brightest[0], brightest[in.columns] = brightest[in.columns - 1];
    }

private:
    ptrdiff_t stride_;
    std::vector<float> data_;
};

struct Worker {
    Worker(const GuideInput& in)
        : planes(size_t(2 * in.channels * in.width)), block(size_t(4 * in.channels * kBlock)), albedo(in.columns),
          spare(size_t(4 * in.width)) {}

    std::vector<float> planes, block;
    Albedo albedo;
    std::vector<float> spare;  // of planes that the network does not take
};

}  // namespace

void build_guide(const GuideInput& in, const Rows& rows, int threads, Type type, void* guide, float* trust,
                 float* factor) {
    const ptrdiff_t pairs = in.height / 2, bands = (pairs + kPairs - 1) / kPairs;
    const ptrdiff_t row_bytes = (in.width / 2) * 4 * in.channels * (type == Type::bf16 ? 2 : 4);
    threads = limited(threads, bands);
    std::vector<float> bright(size_t(in.rows * in.columns));
    std::vector<Worker> workers(static_cast<size_t>(threads), Worker(in));
    const Places& at = in.places;

    run_phases({{bands, [&](int worker, ptrdiff_t band) {
        Worker& w = workers[size_t(worker)];
        auto plane = [&](ptrdiff_t c, ptrdiff_t dy) {
            return c < in.channels ? w.planes.data() + (2 * c + dy) * in.width : w.spare.data();
        };
        const ptrdiff_t first = 2 * band * kPairs, last = std::min(in.height, first + 2 * kPairs);
        if (in.albedo[0].data)
            for (ptrdiff_t y = std::max<ptrdiff_t>(0, first - 1); y <= first && y < in.rows; ++y)
                w.albedo.read(in, rows, y);
        for (ptrdiff_t y = first; y < last; ++y) {
            const ptrdiff_t dy = y & 1, n = y < in.rows ? in.columns : 0;
            float* row_trust = trust + y * in.width;
            std::fill(row_trust + n, row_trust + in.width, 0.0f);
            for (ptrdiff_t c = 0; c < in.channels; ++c) {
                const bool written = c >= at.color && c < at.color + 3;
                std::fill(plane(c, dy) + (written ? n : 0), plane(c, dy) + in.width, 0.0f);
            }
            if (n > 0) {
                float* const color[3] = {plane(at.color, dy), plane(at.color + 1, dy), plane(at.color + 2, dy)};
                float* raw[3] = {w.spare.data(), w.spare.data() + in.width, w.spare.data() + 2 * in.width};
                for (int i = 0; i < 3; ++i) load_row(in.color[i], rows, y, n, raw[i]);
                rows.expose(n, raw, in.shown ? in.shown + y * in.columns : nullptr, in.curve, color, row_trust,
                            bright.data() + y * in.columns);
                std::copy(row_trust, row_trust + n, plane(at.mask, dy));
                std::fill(plane(at.kind, dy), plane(at.kind, dy) + n, in.kind);
                if (in.albedo[0].data) {
                    Albedo& albedo = w.albedo;
                    if (y + 1 < in.rows) albedo.read(in, rows, y + 1);
                    for (int i = 0; i < 3; ++i)
                        std::copy(albedo.plane(y, i), albedo.plane(y, i) + n, plane(at.albedo + i, dy));
                    std::copy(albedo.plane(y, 3), albedo.plane(y, 3) + n, plane(at.has_albedo, dy));
                    const float* const channels[3] = {albedo.plane(y, 0), albedo.plane(y, 1), albedo.plane(y, 2)};
                    const ptrdiff_t above = std::max<ptrdiff_t>(0, y - 1), below = std::min(in.rows - 1, y + 1);
                    const float* const near[3] = {albedo.plane(above, 4), albedo.plane(y, 4), albedo.plane(below, 4)};
                    if (factor) rows.demodulation(n, channels, near, in.black, factor + y * in.columns * 3);
                }
                if (in.normal[0].data) {
                    float* const normal[3] = {plane(at.normal, dy), plane(at.normal + 1, dy), plane(at.normal + 2, dy)};
                    for (int i = 0; i < 3; ++i) load_row(in.normal[i], rows, y, n, normal[i]);
                    rows.limit(n, normal, in.curve.absurd, -1.0f, 1.0f, normal, plane(at.has_normal, dy));
                }
                auto copy_known = [&](const float* from, int value, int known) {
                    if (!from) return;
                    float *to = plane(value, dy), *has = plane(known, dy);
                    for (ptrdiff_t x = 0; x < n; ++x) {
                        const float number = from[y * in.columns + x];
                        has[x] = std::isnan(number) ? 0.0f : 1.0f;
                        to[x] = std::isnan(number) ? 0.0f : number;
                    }
                };
                copy_known(in.depth, at.depth, at.has_depth);
                copy_known(in.variance, at.variance, at.has_variance);
            }
            if (dy == 1)
                pack_row(in.channels, in.width, rows, type, w.block.data(), static_cast<char*>(guide) + y / 2 * row_bytes,
                         plane);
        }
    }}}, threads);
    // Fireflies are found when the guide is made: they are few.
    auto hide = [&](ptrdiff_t y, ptrdiff_t x) {
        const ptrdiff_t size = type == Type::bf16 ? 2 : 4, pixel = 2 * (y & 1) + (x & 1);
        char* cell = static_cast<char*>(guide) + y / 2 * row_bytes + x / 2 * 4 * in.channels * size;
        for (const int c : {at.color, at.color + 1, at.color + 2, at.mask})
            if (c < in.channels) std::memset(cell + (4 * c + pixel) * size, 0, size_t(size));
    };
    outlier_weight(bright.data(), in.rows, in.columns, in.outlier, rows, threads, trust, in.width, true, hide);
}

void pack_guide(const float* planes, ptrdiff_t channels, ptrdiff_t height, ptrdiff_t width, const Rows& rows,
                int threads, Type type, void* guide) {
    const ptrdiff_t pairs = height / 2, row_bytes = (width / 2) * 4 * channels * (type == Type::bf16 ? 2 : 4);
    threads = limited(threads, pairs);
    std::vector<std::vector<float>> blocks(static_cast<size_t>(threads));
    for (std::vector<float>& block : blocks) block.resize(size_t(4 * channels * kBlock));
    run_phases({{pairs, [&](int worker, ptrdiff_t pair) {
        pack_row(channels, width, rows, type, blocks[size_t(worker)].data(), static_cast<char*>(guide) + pair * row_bytes,
                 [&](ptrdiff_t c, ptrdiff_t dy) { return planes + (c * height + 2 * pair + dy) * width; });
    }}}, threads);
}

void trusted(const Source* channels, ptrdiff_t count, ptrdiff_t height, ptrdiff_t width, float absurd, const Rows& rows,
             int threads, unsigned char* mask) {
    constexpr ptrdiff_t kBand = 32;
    const ptrdiff_t bands = (height + kBand - 1) / kBand;
    threads = limited(threads, bands);
    std::vector<float> lines(static_cast<size_t>(threads * width));
    run_phases({{bands, [&](int worker, ptrdiff_t band) {
        float* line = lines.data() + worker * width;
        for (ptrdiff_t y = band * kBand; y < std::min(height, band * kBand + kBand); ++y) {
            std::fill(mask + y * width, mask + (y + 1) * width, static_cast<unsigned char>(1));
            for (ptrdiff_t c = 0; c < count; ++c) {
                load_row(channels[c], rows, y, width, line);
                rows.sane(width, line, absurd, mask + y * width);
            }
        }
    }}}, threads);
}

void outlier_weight(const float* luminance, ptrdiff_t height, ptrdiff_t width, const Outlier& outlier, const Rows& rows,
                    int threads, float* out, ptrdiff_t out_stride, bool times,
                    const std::function<void(ptrdiff_t y, ptrdiff_t x)>& firefly) {
    constexpr ptrdiff_t kBand = 32;
    const ptrdiff_t bands = (height + kBand - 1) / kBand, stride = width + 4;
    threads = limited(threads, bands);
    std::vector<float> padded(size_t(threads * (kBand + 4) * stride)), sorted(size_t(threads * 5 * stride));
    std::vector<float> lines(size_t(threads * width));

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
        float* line = lines.data() + worker * width;
        for (ptrdiff_t i = 0; i < count; ++i) {
            const float* window[5];
            for (int r = 0; r < 5; ++r) window[r] = base + (i + r) * stride + 2;
            float* to = out + (first + i) * out_stride;
            rows.outlier(width, window, outlier.multiple, outlier.floor, sorted.data() + worker * 5 * stride, line);
            for (ptrdiff_t x = 0; x < width; ++x) {
                if (line[x] < 1.0f && alone(luminance, height, width, first + i, x, outlier.company)) {
                    line[x] = 0.0f;
                    if (firefly) firefly(first + i, x);
                }
            }
            for (ptrdiff_t x = 0; x < width; ++x) to[x] = times ? to[x] * line[x] : line[x];
        }
    }}}, threads);
}

}  // namespace mdenoise
