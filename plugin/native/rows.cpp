// Plain loops that compilers vectorise.
#include "rows.h"

#include "scalar.h"

namespace mdenoise {
namespace {

constexpr ptrdiff_t kBlock = 64;  // 25 exponentials of a block are 6.4 kB and stay in the first-level cache

MDENOISE_INLINE float sigmoid(float x) {
    const float e = exp_scaled(x < 0.0f ? x : -x, 0);
    return (x < 0.0f ? e : 1.0f) / (1.0f + e);
}

void weigh(ptrdiff_t n, const float* __restrict confidence_in, const float* __restrict logit,
           const float* __restrict layers, ptrdiff_t layer_count, float* __restrict planes, ptrdiff_t plane_stride) {
    for (ptrdiff_t j = 0; j < n; ++j)
        planes[j] = confidence_in[2 * j] * min(max(logit[j] / 6.0f + 0.5f, 0.0f), 1.0f);
    for (ptrdiff_t l = 0; l < layer_count; ++l) {
        float* __restrict plane = planes + (l + 1) * plane_stride;
        for (ptrdiff_t j = 0; j < n; ++j) {
            const float c = planes[j], weighed = c * layers[2 * j * layer_count + l];
            plane[j] = c > 0.0f ? weighed : 0.0f;
        }
    }
}

void pool(ptrdiff_t n, ptrdiff_t step, const float* __restrict a, const float* __restrict b, const float* __restrict c,
          const float* __restrict d, float* __restrict out) {
    // Scaled before they are added, so that no finite input overflows; a power of two costs no accuracy.
    if (step == 1) {
        for (ptrdiff_t j = 0; j < n; ++j) out[j] = (0.25f * a[j] + 0.25f * b[j]) + (0.25f * c[j] + 0.25f * d[j]);
    } else {
        for (ptrdiff_t j = 0; j < n; ++j)
            out[j] = (0.25f * a[2 * j] + 0.25f * b[2 * j]) + (0.25f * c[2 * j] + 0.25f * d[2 * j]);
    }
}

// acc[x] = sum over the taps, in the order k = 0..24, of weight[k][x] * plane[tap_offset[k] + x].
MDENOISE_INLINE void window_sum(ptrdiff_t n, const float (*__restrict weight)[kBlock], const float* __restrict plane,
                                const ptrdiff_t* __restrict tap_offset, float* __restrict acc) {
    for (ptrdiff_t x = 0; x < n; ++x) acc[x] = 0.0f;
    for (int k = 0; k < kTaps; k += 5) {
        const float* __restrict p0 = plane + tap_offset[k];
        const float* __restrict p1 = plane + tap_offset[k + 1];
        const float* __restrict p2 = plane + tap_offset[k + 2];
        const float* __restrict p3 = plane + tap_offset[k + 3];
        const float* __restrict p4 = plane + tap_offset[k + 4];
        for (ptrdiff_t x = 0; x < n; ++x) {
            float sum = acc[x];
            sum += weight[k][x] * p0[x];
            sum += weight[k + 1][x] * p1[x];
            sum += weight[k + 2][x] * p2[x];
            sum += weight[k + 3][x] * p3[x];
            sum += weight[k + 4][x] * p4[x];
            acc[x] = sum;
        }
    }
}

// Exponentials carry a factor 2^-5, which cancels: 25 taps of the largest float stay finite.
MDENOISE_INLINE void gather_block(ptrdiff_t n, const float* __restrict logits, ptrdiff_t logit_stride,
                                  const float* __restrict planes, ptrdiff_t plane_stride,
                                  const ptrdiff_t* __restrict tap_offset, ptrdiff_t layer_count, float* __restrict out,
                                  ptrdiff_t out_stride, float* __restrict valid) {
    alignas(64) float weight[kTaps][kBlock];
    alignas(64) float top[kBlock], total[kBlock], den[kBlock], num[kBlock], divisor[kBlock];
    // One pass over the logits: their 25 planes often lie a power of two apart, share few cache lines and would be
    // gone by a second pass.
    for (ptrdiff_t x = 0; x < n; ++x) top[x] = logits[x];
    for (int k = 0; k < kTaps; ++k) {
        const float* __restrict logit = logits + k * logit_stride;
        for (ptrdiff_t x = 0; x < n; ++x) {
            weight[k][x] = logit[x];
            top[x] = max(top[x], logit[x]);
        }
    }
    for (ptrdiff_t x = 0; x < n; ++x) total[x] = 0.0f;
    for (int k = 0; k < kTaps; ++k) {
        for (ptrdiff_t x = 0; x < n; ++x) {
            const float e = exp_scaled(weight[k][x] - top[x], -5);
            weight[k][x] = e;
            total[x] += e;
        }
    }
    window_sum(n, weight, planes, tap_offset, den);
    for (ptrdiff_t x = 0; x < n; ++x) {
        const bool enough = den[x] > kMinDenominator * total[x];
        valid[x] = enough ? 1.0f : 0.0f;
        divisor[x] = enough ? den[x] : 1.0f;
    }
    for (ptrdiff_t l = 0; l < layer_count; ++l) {
        window_sum(n, weight, planes + (l + 1) * plane_stride, tap_offset, num);
        float* __restrict to = out + l * out_stride;
        for (ptrdiff_t x = 0; x < n; ++x) to[x] = valid[x] * (num[x] / divisor[x]);
    }
}

void gather(ptrdiff_t n, const float* logits, ptrdiff_t logit_stride, const float* planes, ptrdiff_t plane_stride,
            const ptrdiff_t* tap_offset, ptrdiff_t layer_count, float* out, ptrdiff_t out_stride, float* valid) {
    ptrdiff_t x = 0;
    for (; x + kBlock <= n; x += kBlock)  // a constant width lets the compiler drop every remainder loop
        gather_block(kBlock, logits + x, logit_stride, planes + x, plane_stride, tap_offset, layer_count, out + x,
                     out_stride, valid + x);
    if (x < n)
        gather_block(n - x, logits + x, logit_stride, planes + x, plane_stride, tap_offset, layer_count, out + x,
                     out_stride, valid + x);
}

void upsample(ptrdiff_t n, const float* __restrict nearest, const float* __restrict next, float* __restrict even,
              float* __restrict odd) {
    for (ptrdiff_t j = 0; j < n; ++j) {
        const float left = 0.75f * nearest[j - 1] + 0.25f * next[j - 1];
        const float here = 0.75f * nearest[j] + 0.25f * next[j];
        const float right = 0.75f * nearest[j + 1] + 0.25f * next[j + 1];
        even[j] = 0.75f * here + 0.25f * left;
        odd[j] = 0.75f * here + 0.25f * right;
    }
}

void interleave(ptrdiff_t n, const float* __restrict even, const float* __restrict odd, float* __restrict out) {
    for (ptrdiff_t j = 0; j < n; ++j) {
        out[2 * j] = even[j];
        out[2 * j + 1] = odd[j];
    }
}

void blend(ptrdiff_t n, const float* __restrict logit, ptrdiff_t layer_count, const float* __restrict coarse,
           ptrdiff_t coarse_stride, const float* __restrict coarse_valid, float* __restrict fine,
           ptrdiff_t fine_stride, float* __restrict valid) {
    for (ptrdiff_t start = 0; start < n; start += kBlock) {
        const ptrdiff_t count = n - start < kBlock ? n - start : kBlock;
        alignas(64) float share[kBlock], divisor[kBlock];
        for (ptrdiff_t x = 0; x < count; ++x) {
            const float v = coarse_valid[start + x];
            const float b = sigmoid(logit[start + x]);
            divisor[x] = v > 0.0f ? v : 1.0f;  // an invalid level holds 0, so that adding it changes nothing
            share[x] = valid[start + x] > 0.0f ? (v > 0.0f ? b : 1.0f) : 0.0f;
            valid[start + x] = max(valid[start + x], v > 0.0f ? 1.0f : 0.0f);
        }
        for (ptrdiff_t l = 0; l < layer_count; ++l) {
            const float* __restrict from = coarse + l * coarse_stride + start;
            float* __restrict to = fine + l * fine_stride + start;
            for (ptrdiff_t x = 0; x < count; ++x) {
                // Not u + share * (fine - u): a dark pixel beside a bright one would get the rounding of the latter.
                to[x] = (1.0f - share[x]) * (from[x] / divisor[x]) + share[x] * to[x];
            }
        }
    }
}

#define ORDER(a, b)                          \
    {                                        \
        const float low = min(v##a, v##b);   \
        v##b = max(v##a, v##b);              \
        v##a = low;                          \
    }

void outlier(ptrdiff_t n, const float* const* rows, float multiple, float floor, float* __restrict scratch,
             float* __restrict out) {
    const float* __restrict r0 = rows[0] - 2;
    const float* __restrict r1 = rows[1] - 2;
    const float* __restrict r2 = rows[2] - 2;
    const float* __restrict r3 = rows[3] - 2;
    const float* __restrict r4 = rows[4] - 2;
    const ptrdiff_t stride = n + 4;
    float* __restrict s0 = scratch;
    float* __restrict s1 = scratch + stride;
    float* __restrict s2 = scratch + 2 * stride;
    float* __restrict s3 = scratch + 3 * stride;
    float* __restrict s4 = scratch + 4 * stride;
    for (ptrdiff_t x = 0; x < stride; ++x) {  // every column of five is sorted once and serves five windows
        float v0 = r0[x], v1 = r1[x], v2 = r2[x], v3 = r3[x], v4 = r4[x];
        ORDER(0, 3) ORDER(1, 4) ORDER(0, 2) ORDER(1, 3) ORDER(0, 1) ORDER(2, 4) ORDER(1, 2) ORDER(3, 4) ORDER(2, 3)
        s0[x] = v0, s1[x] = v1, s2[x] = v2, s3[x] = v3, s4[x] = v4;
    }
    for (ptrdiff_t x = 0; x < n; ++x) {
        // Sorting the rows of sorted columns leaves 13 candidates; of a sorting network for these only the comparators
        // remain that the median needs for all 6^5 columns of zeros and ones (0-1 principle). A test repeats the proof.
        float v0 = s0[x], v1 = s0[x + 1], v2 = s0[x + 2], v3 = s0[x + 3], v4 = s0[x + 4];
        float v5 = s1[x], v6 = s1[x + 1], v7 = s1[x + 2], v8 = s1[x + 3], v9 = s1[x + 4];
        float v10 = s2[x], v11 = s2[x + 1], v12 = s2[x + 2], v13 = s2[x + 3], v14 = s2[x + 4];
        float v15 = s3[x], v16 = s3[x + 1], v17 = s3[x + 2], v18 = s3[x + 3], v19 = s3[x + 4];
        float v20 = s4[x], v21 = s4[x + 1], v22 = s4[x + 2], v23 = s4[x + 3], v24 = s4[x + 4];
        ORDER(0, 3) ORDER(1, 4) ORDER(0, 2) ORDER(2, 4) ORDER(1, 2) ORDER(3, 4) ORDER(2, 3)
        ORDER(5, 8) ORDER(5, 7) ORDER(6, 8) ORDER(5, 6) ORDER(7, 9) ORDER(6, 7) ORDER(8, 9) ORDER(7, 8)
        ORDER(10, 13) ORDER(11, 14) ORDER(10, 12) ORDER(11, 13) ORDER(10, 11) ORDER(12, 14) ORDER(11, 12)
        ORDER(13, 14) ORDER(12, 13)
        ORDER(15, 18) ORDER(16, 19) ORDER(15, 17) ORDER(16, 18) ORDER(15, 16) ORDER(17, 19) ORDER(16, 17) ORDER(17, 18)
        ORDER(20, 23) ORDER(21, 24) ORDER(21, 23) ORDER(20, 21) ORDER(22, 24) ORDER(21, 22)
        ORDER(3, 7) ORDER(11, 15) ORDER(4, 8) ORDER(12, 16) ORDER(20, 9) ORDER(13, 17) ORDER(7, 15) ORDER(4, 12)
        ORDER(8, 16) ORDER(20, 13) ORDER(8, 12) ORDER(20, 21) ORDER(15, 8) ORDER(13, 21) ORDER(8, 12) ORDER(9, 13)
        ORDER(8, 9) ORDER(15, 8) ORDER(12, 20) ORDER(8, 12)
        const float luminance = r2[x + 2];
        const float limit = multiple * v12 + floor;
        out[x] = luminance > limit ? limit / (luminance > limit ? luminance : 1.0f) : 1.0f;
    }
}

#undef ORDER

}  // namespace

extern const Rows MDENOISE_JOIN(rows_, MDENOISE_ISA);
const Rows MDENOISE_JOIN(rows_, MDENOISE_ISA) = {
    MDENOISE_TEXT(MDENOISE_ISA), weigh, pool, gather, upsample, interleave, blend, outlier,
};

}  // namespace mdenoise
