// Arithmetic of the row loops. Only files that are compiled once per instruction set include this, and nothing of the
// standard library beyond memcpy: an inline function compiled for AVX-512 could otherwise be the copy that the linker
// keeps for every processor.
#pragma once

#include <cstdint>
#include <cstring>

#ifndef MDENOISE_ISA
#define MDENOISE_ISA base
#endif
#define MDENOISE_JOIN_(a, b) a##b
#define MDENOISE_JOIN(a, b) MDENOISE_JOIN_(a, b)
#define MDENOISE_TEXT_(a) #a
#define MDENOISE_TEXT(a) MDENOISE_TEXT_(a)
#if defined(_MSC_VER)
#define MDENOISE_INLINE static __forceinline
#else
#define MDENOISE_INLINE static inline __attribute__((always_inline))
#endif

namespace mdenoise {
namespace {

MDENOISE_INLINE float min(float a, float b) { return a < b ? a : b; }
MDENOISE_INLINE float max(float a, float b) { return a > b ? a : b; }

// exp(x) * 2^shift for x <= 0, exactly 0 below -80 (where it is < 2e-35 and would only make denormals).
// Range reduction and polynomial after Cephes expf (Moshier); relative error about 1e-7.
MDENOISE_INLINE float exp_scaled(float x, int32_t shift) {
    const float clamped = max(x, -80.0f);
    const float magic = 12582912.0f;  // 1.5 * 2^23: adding it rounds to an integer, left in the low bits
    const float rounded = clamped * 1.44269504f + magic;
    const float n = rounded - magic;
    const float r = (clamped - n * 0.693359375f) + n * 2.12194440e-4f;
    float p = 1.9875691500e-4f;
    p = p * r + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    p = (p * r) * r + r + 1.0f;
    uint32_t bits;
    std::memcpy(&bits, &rounded, sizeof bits);
    bits = (bits + uint32_t(127 + shift)) << 23;
    float power;
    std::memcpy(&power, &bits, sizeof power);
    return x < -80.0f ? 0.0f : p * power;
}

}  // namespace
}  // namespace mdenoise
