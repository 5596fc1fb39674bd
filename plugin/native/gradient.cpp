#include "gradient.h"

#include <algorithm>
#include <cstring>
#include <vector>

#include "phases.h"

namespace mdenoise {
namespace {

constexpr ptrdiff_t kBand = 16, kReach = 2;

// What one thread needs: a band of planes with zeros around, and the rows of the pixels in hand. Every row has zeros
// beyond its pixels; those of the raw logits never hold more than the taps.
struct Scratch {
    Scratch(const Window& in, bool backward)
        : stride((in.width + 15) / 16 * 16 + 2 * kMargin + 16),  // not a power of two apart
          plane_stride(stride * (kBand + 2 * kReach)),
          band(size_t(plane_stride * in.plane_count + 2 * kMargin)),
          taps(size_t(2 * kTaps * stride + 2 * kMargin)),
          raw(taps.size()),
          weights(backward ? size_t(kTaps * stride + 2 * kMargin) : 0),
          grad(backward ? size_t(in.plane_count * stride + 2 * kMargin) : 0),
          band_grad(backward ? band.size() : 0) {}

    // Column -kReach of the row that lies kReach above the band's first.
    float* band_corner(ptrdiff_t row) { return band.data() + kMargin + row * stride; }
    float* grad_corner(ptrdiff_t row) { return band_grad.data() + kMargin + row * stride; }

    ptrdiff_t stride, plane_stride;
    std::vector<float> band, taps, raw, weights, grad, band_grad;
};

struct Bands {
    explicit Bands(const Window& in) : in(in), count((in.height + kBand - 1) / kBand), items(in.batch * count) {}
    ptrdiff_t image(ptrdiff_t item) const { return item / count; }
    ptrdiff_t first(ptrdiff_t item) const { return item % count * kBand; }
    ptrdiff_t rows(ptrdiff_t item) const { return std::min(kBand, in.height - first(item)); }

    const Window& in;
    ptrdiff_t count, items;
};

void load_band(const Window& in, ptrdiff_t image, ptrdiff_t first, Scratch& s) {
    for (ptrdiff_t p = 0; p < in.plane_count; ++p) {
        const float* plane = in.planes + (image * in.plane_count + p) * in.height * in.width;
        for (ptrdiff_t r = 0; r < kBand + 2 * kReach; ++r) {
            const ptrdiff_t y = first + r - kReach;
            float* to = s.band_corner(r) + p * s.plane_stride + kReach;
            if (y >= 0 && y < in.height)
                std::copy(plane + y * in.width, plane + (y + 1) * in.width, to);
            else
                std::fill(to, to + in.width, 0.0f);
        }
    }
}

// Bytes to the logits of pixel row y, the upper of two when unshuffled.
ptrdiff_t logit_offset(const Window& in, ptrdiff_t image, ptrdiff_t y) {
    const ptrdiff_t shrink = in.unshuffled ? 2 : 1;
    return (image * (in.height / shrink) + y / shrink) * (in.width / shrink) * in.channels * (in.bf16 ? 2 : 4);
}

}  // namespace

void window_forward(const Window& in, const GradientRows& rows, int threads, float* out, float* stats) {
    const Bands bands(in);
    const ptrdiff_t step = in.unshuffled ? 2 : 1, area = in.height * in.width;
    threads = int(std::max<ptrdiff_t>(1, std::min<ptrdiff_t>(threads, bands.items)));
    std::vector<Scratch> scratch(size_t(threads), Scratch(in, false));

    run_phases({{bands.items, [&](int worker, ptrdiff_t item) {
        Scratch& s = scratch[size_t(worker)];
        const ptrdiff_t image = bands.image(item), first = bands.first(item);
        load_band(in, image, first, s);
        for (ptrdiff_t r = 0; r < bands.rows(item); ++r) {
            float* taps = s.taps.data() + kMargin;
            const ptrdiff_t y = first + r;
            if (r % step == 0)
                rows.read_taps(in.width, static_cast<const char*>(in.logits) + logit_offset(in, image, y), in.channels,
                               in.unshuffled, in.bf16, s.raw.data(), taps, s.stride);
            float* top = stats + 2 * image * area + y * in.width;
            rows.forward(in.width, taps + r % step * kTaps * s.stride, s.stride, s.band_corner(r), s.plane_stride,
                         in.plane_count, out + image * (in.plane_count - 1) * area + y * in.width, area, top,
                         top + area);
        }
    }}}, threads);
}

void window_backward(const Window& in, const GradientRows& rows, int threads, const float* out, const float* stats,
                     const float* out_grad, void* logits_grad, float* planes_grad) {
    const Bands bands(in);
    const ptrdiff_t step = in.unshuffled ? 2 : 1, area = in.height * in.width;
    threads = int(std::max<ptrdiff_t>(1, std::min<ptrdiff_t>(threads, bands.items)));
    std::vector<Scratch> scratch(size_t(threads), Scratch(in, true));
    // What a band adds to the rows above and below it: kept apart, so that no two threads write to a row at once.
    const ptrdiff_t halo_plane = 2 * kReach * in.width, halo_item = in.plane_count * halo_plane;
    std::vector<float> halo(size_t(bands.items * halo_item));

    const Phase own = {bands.items, [&](int worker, ptrdiff_t item) {
        Scratch& s = scratch[size_t(worker)];
        const ptrdiff_t image = bands.image(item), first = bands.first(item), count = bands.rows(item);
        load_band(in, image, first, s);
        std::fill(s.band_grad.begin(), s.band_grad.end(), 0.0f);
        for (ptrdiff_t r = 0; r < count; ++r) {
            const ptrdiff_t y = first + r;
            float *taps = s.taps.data() + kMargin, *row_taps = taps + r % step * kTaps * s.stride;
            if (r % step == 0)
                rows.read_taps(in.width, static_cast<const char*>(in.logits) + logit_offset(in, image, y), in.channels,
                               in.unshuffled, in.bf16, s.raw.data(), taps, s.stride);
            float *grad = s.grad.data() + kMargin, *last = grad + (in.plane_count - 1) * s.stride;
            std::fill(last, last + in.width, 0.0f);
            for (ptrdiff_t p = 0; p < in.plane_count - 1; ++p) {
                const ptrdiff_t at = (image * (in.plane_count - 1) + p) * area + y * in.width;
                for (ptrdiff_t x = 0; x < in.width; ++x) {
                    grad[p * s.stride + x] = out_grad[at + x];
                    last[x] -= out_grad[at + x] * out[at + x];
                }
            }
            const float* top = stats + 2 * image * area + y * in.width;
            rows.backward(in.width, row_taps, s.weights.data() + kMargin, grad, s.stride, s.band_corner(r),
                          s.grad_corner(r), s.plane_stride, in.plane_count, top, top + area);
            if (r % step == step - 1)
                rows.write_taps(in.width, taps, s.stride, in.unshuffled, in.bf16, s.raw.data(),
                                static_cast<char*>(logits_grad) + logit_offset(in, image, y), in.channels);
        }
        for (ptrdiff_t p = 0; p < in.plane_count; ++p) {
            for (ptrdiff_t r = 0; r < count + 2 * kReach; ++r) {
                const float* from = s.grad_corner(r) + p * s.plane_stride + kReach;
                const bool inside = r >= kReach && r < count + kReach;
                float* to = inside ? planes_grad + (image * in.plane_count + p) * area : halo.data();
                if (inside)
                    to += (first + r - kReach) * in.width;
                else
                    to += item * halo_item + p * halo_plane + (r < kReach ? r : r - count) * in.width;
                std::copy(from, from + in.width, to);
            }
        }
    }};
    const Phase joined = {bands.items, [&](int, ptrdiff_t item) {
        const ptrdiff_t image = bands.image(item), first = bands.first(item), count = bands.rows(item);
        auto add = [&](ptrdiff_t other, ptrdiff_t halo_row, ptrdiff_t y) {
            for (ptrdiff_t p = 0; p < in.plane_count; ++p) {
                const float* from = halo.data() + other * halo_item + p * halo_plane + halo_row * in.width;
                float* to = planes_grad + (image * in.plane_count + p) * area + y * in.width;
                for (ptrdiff_t x = 0; x < in.width; ++x) to[x] += from[x];
            }
        };
        for (ptrdiff_t r = 0; r < kReach; ++r) {
            if (first > 0 && r < count) add(item - 1, kReach + r, first + r);
            if (first + count < in.height) add(item + 1, r, first + count - kReach + r);
        }
    }};
    run_phases({own, joined}, threads);
}

}  // namespace mdenoise
