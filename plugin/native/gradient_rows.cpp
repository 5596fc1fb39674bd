// Plain loops that compilers vectorise.
#include "gradient.h"
#include "scalar.h"

namespace mdenoise {
namespace {

// The logits' two types and their pairs are moved and cast as bits: memcpy, since they are no objects of one type.
template <class Bits>
MDENOISE_INLINE Bits load(const void* from, ptrdiff_t index) {
    Bits bits;
    std::memcpy(&bits, static_cast<const char*>(from) + index * ptrdiff_t(sizeof bits), sizeof bits);
    return bits;
}

template <class Bits>
MDENOISE_INLINE void store(void* to, ptrdiff_t index, Bits bits) {
    std::memcpy(static_cast<char*>(to) + index * ptrdiff_t(sizeof bits), &bits, sizeof bits);
}

// Number u of pixel j moves from src[j * step + u] to dst[u * stride + j].
template <class Bits>
MDENOISE_INLINE void to_rows(ptrdiff_t pixels, ptrdiff_t count, const void* __restrict src, ptrdiff_t step,
                             void* __restrict dst, ptrdiff_t stride) {
    for (ptrdiff_t j = 0; j < pixels; ++j)
        for (ptrdiff_t u = 0; u < count; ++u) store(dst, u * stride + j, load<Bits>(src, j * step + u));
}

template <class Bits>
MDENOISE_INLINE void to_pixels(ptrdiff_t pixels, ptrdiff_t count, const void* __restrict src, ptrdiff_t stride,
                               void* __restrict dst, ptrdiff_t step) {
    for (ptrdiff_t j = 0; j < pixels; ++j) {
        for (ptrdiff_t u = 0; u < count; ++u) store(dst, j * step + u, load<Bits>(src, u * stride + j));
        for (ptrdiff_t u = count; u < step; ++u) store(dst, j * step + u, Bits(0));
    }
}

// Row r of `raw` is tap r, or tap r / 2 of the upper (even r) or lower row (odd r).
MDENOISE_INLINE ptrdiff_t tap_row(ptrdiff_t r, bool unshuffled) {
    return unshuffled ? r / 2 + (r % 2) * kTaps : r;
}

void read_taps(ptrdiff_t n, const void* logits, ptrdiff_t channels, bool unshuffled, bool bf16, void* raw,
               float* taps, ptrdiff_t stride) {
    const ptrdiff_t rows = unshuffled ? 2 * kTaps : kTaps;
    if (bf16 && unshuffled)  // two pixels side by side are one number
        to_rows<uint32_t>(n / 2, rows, logits, channels / 2, raw, stride / 2);
    else if (bf16)
        to_rows<uint16_t>(n, rows, logits, channels, raw, stride);
    else if (unshuffled)
        to_rows<uint64_t>(n / 2, rows, logits, channels / 2, raw, stride / 2);
    else
        to_rows<uint32_t>(n, rows, logits, channels, raw, stride);
    for (ptrdiff_t r = 0; r < rows; ++r) {
        float* __restrict to = taps + tap_row(r, unshuffled) * stride;
        if (!bf16) {
            std::memcpy(to, static_cast<const float*>(raw) + r * stride, size_t(n) * sizeof(float));
            continue;
        }
        for (ptrdiff_t x = 0; x < n; ++x) store(to, x, uint32_t(load<uint16_t>(raw, r * stride + x)) << 16);
    }
}

void write_taps(ptrdiff_t n, const float* taps, ptrdiff_t stride, bool unshuffled, bool bf16, void* raw,
                void* logits, ptrdiff_t channels) {
    const ptrdiff_t rows = unshuffled ? 2 * kTaps : kTaps;
    for (ptrdiff_t r = 0; r < rows; ++r) {
        const float* __restrict from = taps + tap_row(r, unshuffled) * stride;
        if (!bf16) {
            std::memcpy(static_cast<float*>(raw) + r * stride, from, size_t(n) * sizeof(float));
            continue;
        }
        for (ptrdiff_t x = 0; x < n; ++x) {
            const uint32_t bits = load<uint32_t>(from, x);
            const uint32_t rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
            const bool nan = (bits & 0x7fffffffu) > 0x7f800000u;  // which must not be rounded to 0
            store(raw, r * stride + x, uint16_t(nan ? 0x7fc0u : rounded));
        }
    }
    if (bf16 && unshuffled)
        to_pixels<uint32_t>(n / 2, rows, raw, stride / 2, logits, channels / 2);
    else if (bf16)
        to_pixels<uint16_t>(n, rows, raw, stride, logits, channels);
    else if (unshuffled)
        to_pixels<uint64_t>(n / 2, rows, raw, stride / 2, logits, channels / 2);
    else
        to_pixels<uint32_t>(n, rows, raw, stride, logits, channels);
}

MDENOISE_INLINE void window_sum(ptrdiff_t n, const float* __restrict weights, ptrdiff_t stride,
                                const float* __restrict plane, float* __restrict sums) {
    for (int dy = 0; dy < 5; ++dy) {
        const float* __restrict w = weights + dy * 5 * stride;
        const float* __restrict p = plane + dy * stride;
        for (ptrdiff_t x = 0; x < n; ++x) {
            const float sum = w[x] * p[x] + w[stride + x] * p[x + 1] + w[2 * stride + x] * p[x + 2] +
                              w[3 * stride + x] * p[x + 3] + w[4 * stride + x] * p[x + 4];
            sums[x] = dy ? sums[x] + sum : sum;
        }
    }
}

void forward(ptrdiff_t n, float* __restrict taps, ptrdiff_t stride, const float* __restrict planes,
             ptrdiff_t plane_stride, ptrdiff_t plane_count, float* __restrict out, ptrdiff_t out_stride,
             float* __restrict top, float* __restrict inverse) {
    for (ptrdiff_t x = 0; x < n; ++x) top[x] = taps[x];
    for (int k = 1; k < kTaps; ++k) {
        const float* __restrict t = taps + k * stride;
        for (ptrdiff_t x = 0; x < n; ++x) top[x] = max(top[x], t[x]);
    }
    float* __restrict total = inverse;
    for (ptrdiff_t x = 0; x < n; ++x) total[x] = 0.0f;
    for (int k = 0; k < kTaps; ++k) {
        float* __restrict t = taps + k * stride;
        for (ptrdiff_t x = 0; x < n; ++x) {
            const float e = exp_scaled(t[x] - top[x], 0);
            t[x] = e;
            total[x] += e;
        }
    }
    // The sum of the last plane takes the place of plane 0's until it has become a factor.
    window_sum(n, taps, stride, planes + (plane_count - 1) * plane_stride, out);
    for (ptrdiff_t x = 0; x < n; ++x) {
        const bool valid = out[x] > kMinDenominator * total[x];
        inverse[x] = valid ? 1.0f / (valid ? out[x] : 1.0f) : 0.0f;
    }
    for (ptrdiff_t p = 0; p < plane_count - 1; ++p) {
        float* __restrict to = out + p * out_stride;
        window_sum(n, taps, stride, planes + p * plane_stride, to);
        for (ptrdiff_t x = 0; x < n; ++x) to[x] *= inverse[x];
    }
}

void backward(ptrdiff_t n, float* __restrict taps, float* __restrict weights, const float* __restrict grad,
              ptrdiff_t stride, const float* __restrict planes, float* __restrict planes_grad,
              ptrdiff_t plane_stride, ptrdiff_t plane_count, const float* __restrict top,
              const float* __restrict inverse) {
    for (int k = 0; k < kTaps; ++k) {
        float* __restrict t = taps + k * stride;
        float* __restrict w = weights + k * stride;
        for (ptrdiff_t x = 0; x < n; ++x) {
            w[x] = exp_scaled(t[x] - top[x], 0) * inverse[x];
            t[x] = 0.0f;
        }
    }
    for (ptrdiff_t p = 0; p < plane_count; ++p) {
        const float* __restrict g = grad + p * stride;
        for (int dy = 0; dy < 5; ++dy) {
            const float* __restrict from = planes + p * plane_stride + dy * stride;
            float* __restrict t = taps + dy * 5 * stride;
            for (ptrdiff_t x = 0; x < n; ++x) {
                t[x] += g[x] * from[x];
                t[stride + x] += g[x] * from[x + 1];
                t[2 * stride + x] += g[x] * from[x + 2];
                t[3 * stride + x] += g[x] * from[x + 3];
                t[4 * stride + x] += g[x] * from[x + 4];
            }
            // Gathered, not scattered: pixel x of the window's row is hit by tap dx of pixel x - dx.
            const float* __restrict w = weights + dy * 5 * stride;
            float* __restrict to = planes_grad + p * plane_stride + dy * stride;
            for (ptrdiff_t x = 0; x < n + 4; ++x) {
                to[x] += w[x] * g[x] + w[stride + x - 1] * g[x - 1] + w[2 * stride + x - 2] * g[x - 2] +
                         w[3 * stride + x - 3] * g[x - 3] + w[4 * stride + x - 4] * g[x - 4];
            }
        }
    }
    for (int k = 0; k < kTaps; ++k) {
        float* __restrict t = taps + k * stride;
        const float* __restrict w = weights + k * stride;
        for (ptrdiff_t x = 0; x < n; ++x) t[x] *= w[x];
    }
}

}  // namespace

extern const GradientRows MDENOISE_JOIN(gradient_rows_, MDENOISE_ISA);
const GradientRows MDENOISE_JOIN(gradient_rows_, MDENOISE_ISA) = {read_taps, write_taps, forward, backward};

}  // namespace mdenoise
