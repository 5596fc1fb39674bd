// Plain loops that compilers vectorise.
#include "rows.h"

#include "scalar.h"

#if defined(__AVX2__) && defined(__GNUC__)
#include <immintrin.h>
#endif

namespace mdenoise {
namespace {

MDENOISE_INLINE float sigmoid(float x) {
    const float e = exp_scaled(x < 0.0f ? x : -x, 0);
    return (x < 0.0f ? e : 1.0f) / (1.0f + e);
}

MDENOISE_INLINE float from_bits(uint32_t bits) {
    float value;
    std::memcpy(&value, &bits, sizeof value);
    return value;
}

MDENOISE_INLINE float from_half(uint32_t h) {
    // Shifted into place, a half's exponent is 112 too small, which a product repairs for denormals, too.
    const float finite = from_bits((h & 0x7fffu) << 13) * 5.192296858534828e33f;
    const uint32_t beyond = 0x7f800000u | (h & 0x03ffu) << 13;
    uint32_t bits;
    std::memcpy(&bits, &finite, sizeof bits);
    return from_bits(((h & 0x7c00u) == 0x7c00u ? beyond : bits) | (h & 0x8000u) << 16);
}

template <class Number>
MDENOISE_INLINE void collect(ptrdiff_t n, const void* from, ptrdiff_t stride, Number* __restrict to) {
    for (ptrdiff_t j = 0; j < n; ++j)
        std::memcpy(to + j, static_cast<const char*>(from) + j * stride, sizeof(Number));
}

void load(ptrdiff_t n, const void* from, ptrdiff_t stride, Type type, float* __restrict out) {
    if (type == Type::f32) return collect(n, from, stride, out);
    for (ptrdiff_t start = 0; start < n; start += kBlock) {
        const ptrdiff_t count = n - start < kBlock ? n - start : kBlock;
        const char* here = static_cast<const char*>(from) + start * stride;
        float* __restrict to = out + start;
        uint16_t raw[kBlock];
        uint8_t bytes[kBlock];
        if (type == Type::u8) {
            collect(count, here, stride, bytes);
            for (ptrdiff_t j = 0; j < count; ++j) to[j] = float(bytes[j]);
            continue;
        }
        collect(count, here, stride, raw);
        if (type == Type::f16)
            for (ptrdiff_t j = 0; j < count; ++j) to[j] = from_half(raw[j]);
        else if (type == Type::bf16)
            for (ptrdiff_t j = 0; j < count; ++j) to[j] = from_bits(uint32_t(raw[j]) << 16);
        else
            for (ptrdiff_t j = 0; j < count; ++j) to[j] = float(raw[j]);
    }
}

// Columns of words: word u of pixel j moves from from[j * words + u] to out[u * kBlock + j].
MDENOISE_INLINE void turn_words(ptrdiff_t n, ptrdiff_t first, ptrdiff_t words, const uint32_t* __restrict from,
                                uint32_t* __restrict out) {
    for (ptrdiff_t j = first; j < n; ++j)
        for (ptrdiff_t u = 0; u < words; ++u) std::memcpy(out + u * kBlock + j, from + j * words + u, 4);
}

#if defined(__AVX512F__) && defined(__GNUC__)
MDENOISE_INLINE void turn(__m512i (&a)[16]) {  // rows become columns
    __m512i b[16];
    for (int i = 0; i < 16; i += 2) {
        b[i] = _mm512_unpacklo_epi32(a[i], a[i + 1]);
        b[i + 1] = _mm512_unpackhi_epi32(a[i], a[i + 1]);
    }
    for (int i = 0; i < 16; i += 4) {
        a[i] = _mm512_unpacklo_epi64(b[i], b[i + 2]);
        a[i + 1] = _mm512_unpackhi_epi64(b[i], b[i + 2]);
        a[i + 2] = _mm512_unpacklo_epi64(b[i + 1], b[i + 3]);
        a[i + 3] = _mm512_unpackhi_epi64(b[i + 1], b[i + 3]);
    }
    for (int i = 0; i < 4; ++i) {
        b[i] = _mm512_shuffle_i32x4(a[i], a[i + 4], 0x88);
        b[i + 4] = _mm512_shuffle_i32x4(a[i], a[i + 4], 0xdd);
        b[i + 8] = _mm512_shuffle_i32x4(a[i + 8], a[i + 12], 0x88);
        b[i + 12] = _mm512_shuffle_i32x4(a[i + 8], a[i + 12], 0xdd);
    }
    for (int i = 0; i < 8; ++i) {
        a[i] = _mm512_shuffle_i32x4(b[i], b[i + 8], 0x88);
        a[i + 8] = _mm512_shuffle_i32x4(b[i], b[i + 8], 0xdd);
    }
}

MDENOISE_INLINE ptrdiff_t turn_vectors(ptrdiff_t n, ptrdiff_t words, const uint32_t* from, uint32_t* out) {
    ptrdiff_t j = 0;
    for (; j + 16 <= n; j += 16) {
        for (ptrdiff_t u = 0; u < words; u += 16) {
            const ptrdiff_t count = words - u < 16 ? words - u : 16;
            const __mmask16 some = __mmask16((1u << count) - 1);
            __m512i a[16];
            for (int i = 0; i < 16; ++i) a[i] = _mm512_maskz_loadu_epi32(some, from + (j + i) * words + u);
            turn(a);
            for (ptrdiff_t i = 0; i < count; ++i) _mm512_storeu_si512(out + (u + i) * kBlock + j, a[i]);
        }
    }
    return j;
}
#elif defined(__AVX2__) && defined(__GNUC__)
MDENOISE_INLINE void turn(__m256i (&a)[8]) {  // rows become columns
    __m256i b[8];
    for (int i = 0; i < 8; i += 2) {
        b[i] = _mm256_unpacklo_epi32(a[i], a[i + 1]);
        b[i + 1] = _mm256_unpackhi_epi32(a[i], a[i + 1]);
    }
    for (int i = 0; i < 8; i += 4) {
        a[i] = _mm256_unpacklo_epi64(b[i], b[i + 2]);
        a[i + 1] = _mm256_unpackhi_epi64(b[i], b[i + 2]);
        a[i + 2] = _mm256_unpacklo_epi64(b[i + 1], b[i + 3]);
        a[i + 3] = _mm256_unpackhi_epi64(b[i + 1], b[i + 3]);
    }
    for (int i = 0; i < 4; ++i) {
        b[i] = _mm256_permute2x128_si256(a[i], a[i + 4], 0x20);
        b[i + 4] = _mm256_permute2x128_si256(a[i], a[i + 4], 0x31);
    }
    for (int i = 0; i < 8; ++i) a[i] = b[i];
}

MDENOISE_INLINE __m256i first_lanes(ptrdiff_t count) {
    return _mm256_cmpgt_epi32(_mm256_set1_epi32(int(count)), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}

MDENOISE_INLINE ptrdiff_t turn_vectors(ptrdiff_t n, ptrdiff_t words, const uint32_t* from, uint32_t* out) {
    ptrdiff_t j = 0;
    for (; j + 8 <= n; j += 8) {
        for (ptrdiff_t u = 0; u < words; u += 8) {
            const ptrdiff_t count = words - u < 8 ? words - u : 8;
            __m256i a[8];
            for (int i = 0; i < 8; ++i)
                a[i] = _mm256_maskload_epi32(reinterpret_cast<const int*>(from + (j + i) * words + u),
                                             first_lanes(count));
            turn(a);
            for (ptrdiff_t i = 0; i < count; ++i)
                _mm256_storeu_si256(reinterpret_cast<__m256i*>(out + (u + i) * kBlock + j), a[i]);
        }
    }
    return j;
}
#else
MDENOISE_INLINE ptrdiff_t turn_vectors(ptrdiff_t, ptrdiff_t, const uint32_t*, uint32_t*) { return 0; }
#endif

#if defined(__AVX512F__) && defined(__GNUC__)
// Word u of 16 times 3 or 6 words: as `turn_vectors`, with fewer instructions for so few words.
template <int words, class Put>
MDENOISE_INLINE ptrdiff_t split_vectors(ptrdiff_t n, const uint32_t* from, Put put) {
    const __m512i lane = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    ptrdiff_t j = 0;
    for (; j + 16 <= n; j += 16) {
        __m512i a[words];
        for (int i = 0; i < words; ++i) a[i] = _mm512_loadu_si512(from + j * words + 16 * i);
        for (int u = 0; u < words; ++u) {  // a permutation takes the low five bits of an index, from two vectors
            const __m512i at = _mm512_add_epi32(_mm512_mullo_epi32(lane, _mm512_set1_epi32(words)), _mm512_set1_epi32(u));
            __m512i got = _mm512_permutex2var_epi32(a[0], at, a[1]);
            for (int i = 2; i < words; i += 2)
                got = _mm512_mask_mov_epi32(got, _mm512_cmpge_epi32_mask(at, _mm512_set1_epi32(16 * i)),
                                            _mm512_permutex2var_epi32(a[i], at, a[i + 1 < words ? i + 1 : i]));
            put(u, j, got);
        }
    }
    return j;
}
#endif

void load_pairs(ptrdiff_t n, const void* from, Type type, float* const out[6]) {
    const uint32_t* numbers = static_cast<const uint32_t*>(from);
    ptrdiff_t done = 0;
#if defined(__AVX512F__) && defined(__GNUC__)
    if (type == Type::f32)
        done = split_vectors<6>(n, numbers, [&](int u, ptrdiff_t j, __m512i word) { _mm512_storeu_si512(out[u] + j, word); });
    else
        done = split_vectors<3>(n, numbers, [&](int u, ptrdiff_t j, __m512i word) {
            _mm512_storeu_ps(out[2 * u] + j, _mm512_cvtph_ps(_mm512_cvtepi32_epi16(word)));
            _mm512_storeu_ps(out[2 * u + 1] + j, _mm512_cvtph_ps(_mm512_cvtepi32_epi16(_mm512_srli_epi32(word, 16))));
        });
#endif
    alignas(64) uint32_t words[6 * kBlock];
    for (ptrdiff_t start = done; start < n; start += kBlock) {
        const ptrdiff_t count = n - start < kBlock ? n - start : kBlock;
        if (type == Type::f32) {
            turn_words(count, turn_vectors(count, 6, numbers + 6 * start, words), 6, numbers + 6 * start, words);
            for (int u = 0; u < 6; ++u) std::memcpy(out[u] + start, words + u * kBlock, size_t(count) * 4);
            continue;
        }
        turn_words(count, turn_vectors(count, 3, numbers + 3 * start, words), 3, numbers + 3 * start, words);
        for (int u = 0; u < 3; ++u) {
            float *__restrict even = out[2 * u] + start, *__restrict odd = out[2 * u + 1] + start;
            const uint32_t* __restrict word = words + u * kBlock;
            for (ptrdiff_t j = 0; j < count; ++j) even[j] = from_half(word[j] & 0xffffu);
            for (ptrdiff_t j = 0; j < count; ++j) odd[j] = from_half(word[j] >> 16);
        }
    }
}

void quads(ptrdiff_t n, const void* from, ptrdiff_t stride, Type type, float* const out[4]) {
    for (ptrdiff_t start = 0; start < n; start += kBlock) {
        const ptrdiff_t count = n - start < kBlock ? n - start : kBlock;
        const char* here = static_cast<const char*>(from) + start * stride;
        if (type == Type::bf16) {
            uint64_t four[kBlock];
            collect(count, here, stride, four);
            for (int i = 0; i < 4; ++i) {
                float* __restrict to = out[i] + start;
                for (ptrdiff_t j = 0; j < count; ++j) to[j] = from_bits(uint32_t(four[j] >> (16 * i)) << 16);
            }
        } else {
            for (int i = 0; i < 4; ++i) collect(count, here + i * 4, stride, out[i] + start);
        }
    }
}

#if defined(__GNUC__)
#if defined(__AVX512F__)
constexpr ptrdiff_t kLanes = 16;
#elif defined(__AVX2__)
constexpr ptrdiff_t kLanes = 8;
#else
constexpr ptrdiff_t kLanes = 4;
#endif
typedef float Lanes __attribute__((vector_size(kLanes * sizeof(float))));
typedef uint32_t Words __attribute__((vector_size(kLanes * sizeof(float))));

template <class Vector = Lanes>
MDENOISE_INLINE Vector lanes(const void* from) {
    Vector values;
    std::memcpy(&values, from, sizeof values);
    return values;
}

// Four words of so many pixels as a vector has lanes, `pitch` words apart: word i of all of them to a[i].
MDENOISE_INLINE void turn_four(const uint32_t* from, ptrdiff_t pitch, Words (&a)[4]) {
    // Quarter q of vector i holds pixel 4 q + i, so that no word has to leave its quarter. Loads put them there.
    auto quarters = [&](int i) {
        const uint32_t* pixel = from + i * pitch;
#if defined(__AVX512F__)
        auto at = [&](int q) { return _mm_loadu_si128(reinterpret_cast<const __m128i*>(pixel + 4 * q * pitch)); };
        __m512i all = _mm512_castsi128_si512(at(0));
        all = _mm512_inserti32x4(all, at(1), 1);
        all = _mm512_inserti32x4(all, at(2), 2);
        return Words(_mm512_inserti32x4(all, at(3), 3));
#elif defined(__AVX2__)
        auto at = [&](int q) { return _mm_loadu_si128(reinterpret_cast<const __m128i*>(pixel + 4 * q * pitch)); };
        return Words(_mm256_inserti128_si256(_mm256_castsi128_si256(at(0)), at(1), 1));
#else
        return lanes<Words>(pixel);
#endif
    };
    const Words p = quarters(0), q = quarters(1), r = quarters(2), s = quarters(3);
#if defined(__AVX512F__)
    const __m512i b[4] = {_mm512_unpacklo_epi32(__m512i(p), __m512i(q)), _mm512_unpackhi_epi32(__m512i(p), __m512i(q)),
                          _mm512_unpacklo_epi32(__m512i(r), __m512i(s)), _mm512_unpackhi_epi32(__m512i(r), __m512i(s))};
    a[0] = Words(_mm512_unpacklo_epi64(b[0], b[2])), a[1] = Words(_mm512_unpackhi_epi64(b[0], b[2]));
    a[2] = Words(_mm512_unpacklo_epi64(b[1], b[3])), a[3] = Words(_mm512_unpackhi_epi64(b[1], b[3]));
#elif defined(__AVX2__)
    const __m256i b[4] = {_mm256_unpacklo_epi32(__m256i(p), __m256i(q)), _mm256_unpackhi_epi32(__m256i(p), __m256i(q)),
                          _mm256_unpacklo_epi32(__m256i(r), __m256i(s)), _mm256_unpackhi_epi32(__m256i(r), __m256i(s))};
    a[0] = Words(_mm256_unpacklo_epi64(b[0], b[2])), a[1] = Words(_mm256_unpackhi_epi64(b[0], b[2]));
    a[2] = Words(_mm256_unpacklo_epi64(b[1], b[3])), a[3] = Words(_mm256_unpackhi_epi64(b[1], b[3]));
#else
    a[0] = Words{p[0], q[0], r[0], s[0]}, a[1] = Words{p[1], q[1], r[1], s[1]};
    a[2] = Words{p[2], q[2], r[2], s[2]}, a[3] = Words{p[3], q[3], r[3], s[3]};
#endif
}

// Columns of `words` words, at least four, of pixels `pitch` words apart; answers for how many pixels.
MDENOISE_INLINE ptrdiff_t turn_rows(ptrdiff_t n, ptrdiff_t words, ptrdiff_t pitch, const uint32_t* from, uint32_t* out) {
    ptrdiff_t j = 0;
    for (; j + kLanes <= n; j += kLanes) {
        for (ptrdiff_t i = 0; i < words; i += 4) {
            const ptrdiff_t u = i < words - 4 ? i : words - 4;
            Words a[4];
            turn_four(from + j * pitch + u, pitch, a);
            for (ptrdiff_t w = 0; w < 4; ++w) std::memcpy(out + (u + w) * kBlock + j, a + w, sizeof a[w]);
        }
    }
    return j;
}
#else
MDENOISE_INLINE ptrdiff_t turn_rows(ptrdiff_t, ptrdiff_t, ptrdiff_t, const uint32_t*, uint32_t*) { return 0; }
#endif

void unpack(ptrdiff_t n, ptrdiff_t channels, ptrdiff_t pitch, ptrdiff_t paired, const void* from, Type type,
            float* __restrict out) {
    const bool pairs = type == Type::bf16 && channels % 2 == 0 && pitch % 2 == 0;
    if (type == Type::bf16 && !pairs) {
        for (ptrdiff_t c = 0; c < channels; ++c)
            load(n, static_cast<const uint16_t*>(from) + c, 2 * pitch, type, out + c * kBlock);
        return;
    }
    const ptrdiff_t words = pairs ? channels / 2 : channels, step = pairs ? pitch / 2 : pitch;
    // Words that become two rows take the second half, each row of which the loop below reads before it overwrites it.
    uint32_t* turned = reinterpret_cast<uint32_t*>(out) + (pairs && paired == 0 ? words * kBlock : 0);
    const uint32_t* numbers = static_cast<const uint32_t*>(from);
    for (ptrdiff_t j = turn_rows(n, words, step, numbers, turned); j < n; ++j)
        for (ptrdiff_t u = 0; u < words; ++u) std::memcpy(turned + u * kBlock + j, numbers + j * step + u, 4);
    if (!pairs) return;
    for (ptrdiff_t u = paired / 2; u < words; ++u) {
        uint32_t word[kBlock];
        std::memcpy(word, turned + u * kBlock, size_t(n) * 4);
        float *even = out + 2 * u * kBlock, *odd = even + kBlock;
        for (ptrdiff_t j = 0; j < n; ++j) even[j] = from_bits(word[j] << 16);
        for (ptrdiff_t j = 0; j < n; ++j) odd[j] = from_bits(word[j] & 0xffff0000u);
    }
}

#if defined(__AVX512F__) && defined(__GNUC__)
MDENOISE_INLINE ptrdiff_t return_vectors(ptrdiff_t n, ptrdiff_t words, const uint32_t* in, uint32_t* out, ptrdiff_t pitch) {
    ptrdiff_t j = 0;
    for (; j + 16 <= n; j += 16) {
        for (ptrdiff_t u = 0; u < words; u += 16) {
            const ptrdiff_t count = words - u < 16 ? words - u : 16;
            const __mmask16 some = __mmask16((1u << count) - 1);
            __m512i a[16];
            for (int i = 0; i < 16; ++i)
                a[i] = i < count ? _mm512_loadu_si512(in + (u + i) * kBlock + j) : _mm512_setzero_si512();
            turn(a);
            for (int i = 0; i < 16; ++i) _mm512_mask_storeu_epi32(out + (j + i) * pitch + u, some, a[i]);
        }
    }
    return j;
}
#elif defined(__AVX2__) && defined(__GNUC__)
MDENOISE_INLINE ptrdiff_t return_vectors(ptrdiff_t n, ptrdiff_t words, const uint32_t* in, uint32_t* out, ptrdiff_t pitch) {
    ptrdiff_t j = 0;
    for (; j + 8 <= n; j += 8) {
        for (ptrdiff_t u = 0; u < words; u += 8) {
            const ptrdiff_t count = words - u < 8 ? words - u : 8;
            __m256i a[8];
            for (int i = 0; i < 8; ++i)
                a[i] = i < count ? _mm256_loadu_si256(reinterpret_cast<const __m256i*>(in + (u + i) * kBlock + j))
                                 : _mm256_setzero_si256();
            turn(a);
            for (int i = 0; i < 8; ++i)
                _mm256_maskstore_epi32(reinterpret_cast<int*>(out + (j + i) * pitch + u), first_lanes(count), a[i]);
        }
    }
    return j;
}
#else
MDENOISE_INLINE ptrdiff_t return_vectors(ptrdiff_t, ptrdiff_t, const uint32_t*, uint32_t*, ptrdiff_t) { return 0; }
#endif

MDENOISE_INLINE uint32_t to_bits(float value) {
    uint32_t bits;
    std::memcpy(&bits, &value, sizeof bits);
    return bits;
}

MDENOISE_INLINE uint32_t to_bf16(float value) {  // a guide holds no NaN
    const uint32_t bits = to_bits(value);
    return (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
}

void pack(ptrdiff_t n, ptrdiff_t channels, const float* __restrict in, Type type, void* out) {
    uint32_t* numbers = static_cast<uint32_t*>(out);
    const uint32_t* words = reinterpret_cast<const uint32_t*>(in);
    alignas(64) uint32_t pairs[kPacked / 2 * kBlock];
    const ptrdiff_t count = type == Type::bf16 ? channels / 2 : channels;
    if (type == Type::bf16) {
        for (ptrdiff_t u = 0; u < count; ++u) {
            const float *even = in + 2 * u * kBlock, *odd = even + kBlock;
            uint32_t* pair = pairs + u * kBlock;
            for (ptrdiff_t j = 0; j < n; ++j) pair[j] = to_bf16(even[j]) | to_bf16(odd[j]) << 16;
        }
        words = pairs;
    }
    for (ptrdiff_t j = return_vectors(n, count, words, numbers, count); j < n; ++j)
        for (ptrdiff_t u = 0; u < count; ++u) std::memcpy(numbers + j * count + u, words + u * kBlock + j, 4);
}

MDENOISE_INLINE float magnitude(float x) { return from_bits(to_bits(x) & 0x7fffffffu); }

void limit(ptrdiff_t n, const float* const in[3], float absurd, float low, float high, float* const out[3],
           float* __restrict known) {
    const float *__restrict a = in[0], *__restrict b = in[1], *__restrict c = in[2];
    float *__restrict to_a = out[0], *__restrict to_b = out[1], *__restrict to_c = out[2];
    for (ptrdiff_t x = 0; x < n; ++x) {
        const bool all = (magnitude(a[x]) < absurd) & (magnitude(b[x]) < absurd) & (magnitude(c[x]) < absurd);
        known[x] = all ? 1.0f : 0.0f;
        to_a[x] = all ? min(max(a[x], low), high) : 0.0f;
        to_b[x] = all ? min(max(b[x], low), high) : 0.0f;
        to_c[x] = all ? min(max(c[x], low), high) : 0.0f;
    }
}

// Rounded to nearest even; beyond the largest half it becomes that.
MDENOISE_INLINE uint32_t to_half(float value) {
    const uint32_t sign = to_bits(value) >> 16 & 0x8000u;
    const float held = min(magnitude(value), 65504.0f);
    const uint32_t bits = to_bits(held);
    const uint32_t normal = (bits + 0x0fffu + (bits >> 13 & 1u) - (112u << 23)) >> 13;
    const uint32_t denormal = to_bits(held + 0.5f) - 0x3f000000u;  // the last bit of 1/2 is a half's smallest number
    return sign | (held < 6.103515625e-5f ? denormal : normal);
}

MDENOISE_INLINE void to_halves(ptrdiff_t n, const float* __restrict x, uint32_t* __restrict out) {
    ptrdiff_t j = 0;
#if defined(__AVX512F__) && defined(__GNUC__)
    const __m512 most = _mm512_set1_ps(65504.0f), least = _mm512_set1_ps(-65504.0f);
    for (; j + 16 <= n; j += 16) {
        const __m512 held = _mm512_max_ps(_mm512_min_ps(_mm512_loadu_ps(x + j), most), least);
        _mm512_storeu_si512(out + j, _mm512_cvtepu16_epi32(_mm512_cvtps_ph(held, _MM_FROUND_TO_NEAREST_INT)));
    }
#endif
    for (; j < n; ++j) out[j] = to_half(x[j]);
}

MDENOISE_INLINE uint32_t to_whole(float value, float most) {
    return uint32_t(int32_t(min(max(value, 0.0f), most) + 12582912.0f - 12582912.0f));  // 1.5 * 2^23 rounds to nearest even
}

template <class Number>
MDENOISE_INLINE void spread(ptrdiff_t n, const uint32_t* __restrict from, void* out, ptrdiff_t stride) {
    for (ptrdiff_t j = 0; j < n; ++j) {
        const Number number = Number(from[j]);
        std::memcpy(static_cast<char*>(out) + j * stride, &number, sizeof number);
    }
}

void store(ptrdiff_t n, const float* __restrict x, Type type, void* out, ptrdiff_t stride) {
    alignas(64) uint32_t numbers[kBlock];
    if (type == Type::f32) return spread<uint32_t>(n, reinterpret_cast<const uint32_t*>(x), out, stride);
    if (type == Type::f16) {
        to_halves(n, x, numbers);
        return spread<uint16_t>(n, numbers, out, stride);
    }
    const float most = type == Type::u8 ? 255.0f : 65535.0f;
    for (ptrdiff_t j = 0; j < n; ++j) numbers[j] = to_whole(x[j], most);
    if (type == Type::u8) return spread<uint8_t>(n, numbers, out, stride);
    spread<uint16_t>(n, numbers, out, stride);
}

void store_pairs(ptrdiff_t n, const float* __restrict x, Type type, void* out) {
    uint32_t* numbers = static_cast<uint32_t*>(out);
    const uint32_t* words = reinterpret_cast<const uint32_t*>(x);
    alignas(64) uint32_t halves[6 * kBlock];
    ptrdiff_t count = 6;
    if (type == Type::f16) {
        count = 3;
        for (int u = 0; u < 6; ++u) to_halves(n, x + u * kBlock, halves + u * kBlock);
        for (int u = 0; u < 3; ++u) {  // rows 2 u and 2 u + 1, which no earlier u has overwritten
            const uint32_t *low = halves + 2 * u * kBlock, *high = low + kBlock;
            uint32_t* word = halves + u * kBlock;
            for (ptrdiff_t j = 0; j < n; ++j) word[j] = low[j] | high[j] << 16;
        }
        words = halves;
    }
    for (ptrdiff_t j = return_vectors(n, count, words, numbers, count); j < n; ++j)
        for (ptrdiff_t u = 0; u < count; ++u) std::memcpy(numbers + j * count + u, words + u * kBlock + j, 4);
}

void sane(ptrdiff_t n, const float* __restrict x, float absurd, unsigned char* __restrict mask) {
    for (ptrdiff_t j = 0; j < n; ++j) mask[j] = mask[j] & (magnitude(x[j]) < absurd ? 1 : 0);
}

// log(1 + x) of x in [0, 2^20]; the logarithm after Cephes logf (Moshier), the last step undoes the rounding of 1 + x.
MDENOISE_INLINE float log_1_plus(float x) {
    const float whole = 1.0f + x;
    const uint32_t bits = to_bits(whole);
    const uint32_t above = bits - 0x3f3504f3u;  // of sqrt(1/2), where the mantissa's range begins
    const float exponent = float(int32_t(above) >> 23);
    const float m = from_bits(bits - (above & 0xff800000u)) - 1.0f;
    const float z = m * m;
    float p = 7.0376836292e-2f;
    p = p * m - 1.1514610310e-1f;
    p = p * m + 1.1676998740e-1f;
    p = p * m - 1.2420140846e-1f;
    p = p * m + 1.4249322787e-1f;
    p = p * m - 1.6668057665e-1f;
    p = p * m + 2.0000714765e-1f;
    p = p * m - 2.4999993993e-1f;
    p = p * m + 3.3333331174e-1f;
    float y = p * m * z - 2.12194440e-4f * exponent - 0.5f * z;
    y = m + y + 0.693359375f * exponent;
    const float step = whole - 1.0f;
    return step > 0.0f ? y * (x / (step > 0.0f ? step : 1.0f)) : x;
}

void expose(ptrdiff_t n, const float* const in[3], const unsigned char* __restrict shown, const Curve& curve,
            float* const out[3], float* __restrict shown_out, float* __restrict bright) {
    const float absurd = curve.absurd, exposure = curve.exposure, slope = curve.slope, most = curve.most;
    const float scale = curve.scale;
    const float *__restrict a = in[0], *__restrict b = in[1], *__restrict c = in[2];
    for (ptrdiff_t x = 0; x < n; ++x) {
        const bool all = (magnitude(a[x]) < absurd) & (magnitude(b[x]) < absurd) & (magnitude(c[x]) < absurd);
        shown_out[x] = all ? 1.0f : 0.0f;
        const float top = max(max(magnitude(a[x]), magnitude(b[x])), magnitude(c[x])) * exposure;
        bright[x] = all ? min(top, 1e30f) : 0.0f;
    }
    if (shown)
        for (ptrdiff_t x = 0; x < n; ++x) shown_out[x] = shown[x] ? shown_out[x] : 0.0f;
    for (int i = 0; i < 3; ++i) {
        const float* __restrict from = in[i];
        float* __restrict to = out[i];
        for (ptrdiff_t x = 0; x < n; ++x) {
            const float held = min(max(from[x] * exposure, 0.0f), most);
            to[x] = shown_out[x] > 0.0f ? log_1_plus(held * slope) * scale : 0.0f;
        }
    }
}

void demodulation(ptrdiff_t n, const float* const albedo[3], const float* const brightest[3], const Black& black,
                  float* __restrict out) {
    const float *__restrict above = brightest[0], *__restrict here = brightest[1], *__restrict below = brightest[2];
    const float low = black.low, range = black.high - black.low, floor = black.floor;
    float weight[kBlock];
    for (ptrdiff_t start = 0; start < n; start += kBlock) {
        const ptrdiff_t count = n - start < kBlock ? n - start : kBlock;
        for (ptrdiff_t i = 0; i < count; ++i) {
            const ptrdiff_t x = start + i;
            const float left = min(min(above[x - 1], here[x - 1]), below[x - 1]);
            const float middle = min(min(above[x], here[x]), below[x]);
            const float right = min(min(above[x + 1], here[x + 1]), below[x + 1]);
            const float t = min(max((min(min(left, middle), right) - low) / range, 0.0f), 1.0f);
            weight[i] = t * t * (3.0f - 2.0f * t);
        }
        for (int c = 0; c < 3; ++c) {
            const float* __restrict from = albedo[c] + start;
            float* __restrict to = out + 3 * start + c;
            for (ptrdiff_t i = 0; i < count; ++i)
                to[3 * i] = weight[i] * max(from[i], floor) + (1.0f - weight[i]);
        }
    }
}

void confide(ptrdiff_t n, const float* __restrict trust, const unsigned char* __restrict mask,
             const float* __restrict logit, float* __restrict c) {
    if (!mask) {
        for (ptrdiff_t j = 0; j < n; ++j) c[j] = trust[2 * j] * min(max(logit[j] / 6.0f + 0.5f, 0.0f), 1.0f);
        return;
    }
    for (ptrdiff_t j = 0; j < n; ++j) {
        const float whole = trust[2 * j] * min(max(logit[j] / 6.0f + 0.5f, 0.0f), 1.0f);
        c[j] = mask[2 * j] ? whole : 0.0f;
    }
}

void divide(ptrdiff_t n, const float* __restrict c, const float* __restrict factor, float* __restrict out) {
    for (ptrdiff_t j = 0; j < n; ++j) out[j] = c[j] / factor[j];
}

void weigh(ptrdiff_t n, const float* __restrict c, const float* __restrict x, float* __restrict out) {
    for (ptrdiff_t j = 0; j < n; ++j) {
        const float weighed = c[j] * x[j];
        out[j] = c[j] > 0.0f ? weighed : 0.0f;
    }
}

void multiply(ptrdiff_t n, const float* __restrict factor, float* __restrict x) {
    for (ptrdiff_t j = 0; j < n; ++j) x[j] *= factor[j];
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

// a / b, correctly rounded but for a fraction of a millionth of all pairs, from the reciprocal of b (Markstein 1990):
// that is divided once for all layers. A constant layer must come back exactly.
MDENOISE_INLINE float quotient(float a, float b, float inverse) {
#if defined(__FMA__) && defined(__GNUC__)
    const float q = a * inverse;
    return __builtin_fmaf(__builtin_fmaf(-q, b, a), inverse, q);
#else
    (void)inverse;
    return a / b;
#endif
}

#if defined(__GNUC__)
MDENOISE_INLINE Lanes max(Lanes a, Lanes b) {
#if defined(__AVX512F__)
    return Lanes(_mm512_max_ps(__m512(a), __m512(b)));
#elif defined(__AVX2__)
    return Lanes(_mm256_max_ps(__m256(a), __m256(b)));
#else
    return a > b ? a : b;
#endif
}

// Coefficients of the highest power first.
template <class... Rest>
MDENOISE_INLINE Lanes polynomial(Lanes x, float first, Rest... rest) {
    Lanes sum = Lanes{} + first;
    ((sum = sum * x + rest), ...);
    return sum;
}

// 2^(t - 5), exactly 0 where that is below e^-80 * 2^-5. The coefficients make the relative error the least possible:
// 2.6e-6, or 1e-7 when `exact`.
template <bool exact>
MDENOISE_INLINE Lanes power_of_two(Lanes t) {
    constexpr float least = -115.4f;
#if defined(__AVX512F__)
    constexpr float s = 0.03125f;
    const __m512 f = _mm512_reduce_ps(__m512(t), 0x09);  // t - floor(t)
    const Lanes p = exact ? polynomial(Lanes(f), s * 1.8775759e-3f, s * 8.9893419e-3f, s * 5.5826317e-2f, s * 2.4015362e-1f,
                                       s * 6.9315307e-1f, s * 9.9999993e-1f)
                          : polynomial(Lanes(f), s * 1.3534160e-2f, s * 5.2011475e-2f, s * 2.4144275e-1f, s * 6.9300384e-1f,
                                       s * 1.0000026f);
    const __mmask16 counts = _mm512_cmp_ps_mask(__m512(t), _mm512_set1_ps(least), _CMP_GE_OQ);
    return Lanes(_mm512_maskz_scalef_ps(counts, __m512(p), __m512(t)));  // p * 2^floor(t)
#else
    constexpr float magic = 12582907.0f;  // 1.5 * 2^23 - 5: adding it rounds to an integer, left in the low bits less 5
    const Lanes rounded = t + magic;
    const Lanes f = t - (rounded - magic);
    const Lanes p = exact ? polynomial(f, 1.3276467e-3f, 9.6755413e-3f, 5.5507133e-2f, 2.4022120e-1f, 6.9314697e-1f, 1.0000001f)
                          : polynomial(f, 9.5700967e-3f, 5.5917860e-2f, 2.4024745e-1f, 6.9312181e-1f, 9.9999926e-1f);
    const Words scaled = Words(p) + (Words(rounded) << 23);
    return Lanes(scaled & Words(t >= least));
#endif
}

struct Whole {
    static constexpr bool exact = true;
    static Lanes get(const float* from) { return lanes(from); }
};
struct Low {
    static constexpr bool exact = false;  // of 8 bits
    static Lanes get(const float* from) { return Lanes(lanes<Words>(from) << 16); }
};
struct High {
    static constexpr bool exact = false;
    static Lanes get(const float* from) { return Lanes(lanes<Words>(from) & 0xffff0000u); }
};

// Exponentials carry a factor 2^-5, which cancels: 25 taps of the largest float stay finite.
template <class Logit>
MDENOISE_INLINE void kernels_of(ptrdiff_t n, const float* logits, ptrdiff_t logit_stride, const float* confidence,
                                const ptrdiff_t* tap_offset, Soon soon, Kernels& made) {
    constexpr int vectors = 2;
    for (ptrdiff_t x = 0; x < n; x += vectors * kLanes) {
        Lanes top[vectors], total[vectors] = {}, sum[vectors] = {};
        for (int v = 0; v < vectors; ++v) top[v] = Logit::get(logits + x + v * kLanes);
        for (int k = 1; k < kTaps; ++k)
            for (int v = 0; v < vectors; ++v)
                top[v] = max(top[v], Logit::get(logits + k * logit_stride + x + v * kLanes));
        for (int v = 0; v < vectors; ++v) top[v] *= 1.44269504f;  // its rounding is a factor of all, which cancels
        const char* next = soon.data + x * soon.pixel;  // asked for while there is work to do meanwhile
        const char* const end = next + vectors * kLanes * soon.pixel;
        for (int k = 0; k < kTaps; ++k) {
            __builtin_prefetch(next + k * 64 < end ? next + k * 64 : end);
            for (int v = 0; v < vectors; ++v) {
                const ptrdiff_t at = x + v * kLanes;
                const Lanes logit = Logit::get(logits + k * logit_stride + at);
                const Lanes e = power_of_two<Logit::exact>(logit * 1.44269504f - top[v]);
                std::memcpy(made.weight[k] + at, &e, sizeof e);
                total[v] += e;
                sum[v] += e * lanes(confidence + tap_offset[k] + at);
            }
        }
        for (int v = 0; v < vectors; ++v) {
            const ptrdiff_t at = x + v * kLanes;
            const auto enough = sum[v] > kMinDenominator * total[v];
            const Lanes one = Lanes{} + 1.0f;
            const Lanes valid = enough ? one : Lanes{}, divisor = enough ? sum[v] : one, inverse = 1.0f / divisor;
            std::memcpy(made.valid + at, &valid, sizeof valid);
            std::memcpy(made.share + at, &valid, sizeof valid);
            std::memcpy(made.sum + at, &divisor, sizeof divisor);
            std::memcpy(made.sum_inverse + at, &inverse, sizeof inverse);
        }
    }
}

// Sums stay in registers, enough of them to hide the time that a product takes, and a weight that is loaded serves all
// planes. Up to 63 numbers beyond n are read and made. Every sum adds its taps in the order k = 0..24.
template <int planes>
MDENOISE_INLINE void window_sums(ptrdiff_t n, const float (*weight)[kBlock], const float* plane, ptrdiff_t stride,
                                 const ptrdiff_t* tap_offset, float* out) {
    constexpr int vectors = planes == 1 ? 4 : 2;
    for (ptrdiff_t x = 0; x < n; x += vectors * kLanes) {
        Lanes sum[planes][vectors] = {};
        for (int k = 0; k < kTaps; ++k) {
            const float* from = plane + tap_offset[k] + x;
            for (int v = 0; v < vectors; ++v) {
                const Lanes w = lanes(weight[k] + x + v * kLanes);
                for (int p = 0; p < planes; ++p) sum[p][v] += w * lanes(from + p * stride + v * kLanes);
            }
        }
        for (int p = 0; p < planes; ++p) std::memcpy(out + p * kBlock + x, sum[p], sizeof sum[p]);
    }
}

// The windows of a cell's four pixels share most of their taps, which lie across cache lines: each is loaded once.
template <int planes>
MDENOISE_INLINE void cell_sums(ptrdiff_t n, const Kernels* made, const float* plane, ptrdiff_t stride,
                               const ptrdiff_t* offset, float* out) {
    for (ptrdiff_t x = 0; x < n; x += kLanes) {
        Lanes sum[4][planes] = {};
#pragma GCC unroll 6
        for (int row = 0; row < 6; ++row) {
#pragma GCC unroll 6
            for (int column = 0; column < 6; ++column) {
                const float* from = plane + offset[6 * row + column] + x;
                Lanes value[planes];
                for (int p = 0; p < planes; ++p) value[p] = lanes(from + p * stride);
#pragma GCC unroll 4
                for (int sub = 0; sub < 4; ++sub) {
                    const int y = row - sub / 2, x_tap = column - sub % 2;
                    if (y < 0 || y > 4 || x_tap < 0 || x_tap > 4) continue;
                    const Lanes w = lanes(made[sub].weight[5 * y + x_tap] + x);
                    for (int p = 0; p < planes; ++p) sum[sub][p] += w * value[p];
                }
            }
        }
        for (int sub = 0; sub < 4; ++sub)
            for (int p = 0; p < planes; ++p) std::memcpy(out + (sub * 3 + p) * kBlock + x, &sum[sub][p], sizeof(Lanes));
    }
}
#else
struct Whole {
    static float get(float word) { return word; }
};
struct Low {
    static float get(float word) { return from_bits(to_bits(word) << 16); }
};
struct High {
    static float get(float word) { return from_bits(to_bits(word) & 0xffff0000u); }
};

template <int planes>
MDENOISE_INLINE void window_sums(ptrdiff_t n, const float (*weight)[kBlock], const float* plane, ptrdiff_t stride,
                                 const ptrdiff_t* tap_offset, float* out) {
    for (int p = 0; p < planes; ++p) {
        float* __restrict sum = out + p * kBlock;
        for (ptrdiff_t x = 0; x < n; ++x) sum[x] = 0.0f;
        for (int k = 0; k < kTaps; ++k) {
            const float* __restrict from = plane + p * stride + tap_offset[k];
            for (ptrdiff_t x = 0; x < n; ++x) sum[x] += weight[k][x] * from[x];
        }
    }
}

template <int planes>
MDENOISE_INLINE void cell_sums(ptrdiff_t n, const Kernels* made, const float* plane, ptrdiff_t stride,
                               const ptrdiff_t* offset, float* out) {
    for (int sub = 0; sub < 4; ++sub) {
        ptrdiff_t tap_offset[kTaps];
        for (int k = 0; k < kTaps; ++k) tap_offset[k] = offset[6 * (k / 5 + sub / 2) + k % 5 + sub % 2];
        window_sums<planes>(n, made[sub].weight, plane, stride, tap_offset, out + sub * 3 * kBlock);
    }
}

// Exponentials carry a factor 2^-5, which cancels: 25 taps of the largest float stay finite.
template <class Logit>
MDENOISE_INLINE void kernels_of(ptrdiff_t n, const float* logits, ptrdiff_t logit_stride, const float* confidence,
                                const ptrdiff_t* tap_offset, Soon soon, Kernels& made) {
    float top[kBlock], total[kBlock];
    for (int k = 0; k < kTaps; ++k) {
        const float* __restrict logit = logits + k * logit_stride;
        for (ptrdiff_t x = 0; x < n; ++x) {
            made.weight[k][x] = Logit::get(logit[x]);
            top[x] = k == 0 ? made.weight[0][x] : max(top[x], made.weight[k][x]);
        }
    }
    for (ptrdiff_t x = 0; x < n; ++x) total[x] = 0.0f;
    for (int k = 0; k < kTaps; ++k) {
        for (ptrdiff_t x = 0; x < n; ++x) {
            const float e = exp_scaled(made.weight[k][x] - top[x], -5);
            made.weight[k][x] = e;
            total[x] += e;
        }
    }
    window_sums<1>(n, made.weight, confidence, 0, tap_offset, made.sum);
    for (ptrdiff_t x = 0; x < n; ++x) {
        const bool enough = made.sum[x] > kMinDenominator * total[x];
        made.valid[x] = made.share[x] = enough ? 1.0f : 0.0f;
        made.sum[x] = enough ? made.sum[x] : 1.0f;
        made.sum_inverse[x] = 1.0f / made.sum[x];
    }
}
#endif

void kernels(ptrdiff_t n, const float* logits, ptrdiff_t logit_stride, Part part, const float* confidence,
             const ptrdiff_t* tap_offset, Soon soon, Kernels& made) {
    if (part == Part::low)
        kernels_of<Low>(n, logits, logit_stride, confidence, tap_offset, soon, made);
    else if (part == Part::high)
        kernels_of<High>(n, logits, logit_stride, confidence, tap_offset, soon, made);
    else
        kernels_of<Whole>(n, logits, logit_stride, confidence, tap_offset, soon, made);
}

void shares(ptrdiff_t n, const float* __restrict logit, const float* __restrict coarse_valid, Kernels& __restrict made) {
    for (ptrdiff_t x = 0; x < n; ++x) {
        const float v = coarse_valid[x];
        const float b = sigmoid(logit[x]);
        made.coarse[x] = v > 0.0f ? v : 1.0f;  // an invalid level holds 0, so that adding it changes nothing
        made.coarse_inverse[x] = 1.0f / made.coarse[x];
        made.share[x] = made.valid[x] > 0.0f ? (v > 0.0f ? b : 1.0f) : 0.0f;
        made.valid[x] = max(made.valid[x], v > 0.0f ? 1.0f : 0.0f);
    }
}

void gather(ptrdiff_t n, const Kernels& made, const float* planes, ptrdiff_t plane_stride, const ptrdiff_t* tap_offset,
            ptrdiff_t count, float* out) {
    if (count == 3)
        window_sums<3>(n, made.weight, planes, plane_stride, tap_offset, out);
    else if (count == 2)
        window_sums<2>(n, made.weight, planes, plane_stride, tap_offset, out);
    else
        window_sums<1>(n, made.weight, planes, plane_stride, tap_offset, out);
}

void gather_cells(ptrdiff_t n, const Kernels* made, const float* planes, ptrdiff_t plane_stride, const ptrdiff_t* offset,
                  ptrdiff_t count, float* out) {
    if (count == 3)
        cell_sums<3>(n, made, planes, plane_stride, offset, out);
    else if (count == 2)
        cell_sums<2>(n, made, planes, plane_stride, offset, out);
    else
        cell_sums<1>(n, made, planes, plane_stride, offset, out);
}

void blend(ptrdiff_t n, const Kernels& made, const float* __restrict sum, const float* __restrict coarse,
           float* __restrict out) {
    if (!coarse) {
        for (ptrdiff_t x = 0; x < n; ++x) out[x] = made.share[x] * quotient(sum[x], made.sum[x], made.sum_inverse[x]);
        return;
    }
    for (ptrdiff_t x = 0; x < n; ++x) {
        const float fine = quotient(sum[x], made.sum[x], made.sum_inverse[x]);
        const float u = quotient(coarse[x], made.coarse[x], made.coarse_inverse[x]);
        // Not u + share * (fine - u): a dark pixel beside a bright one would get the rounding of the latter.
        out[x] = (1.0f - made.share[x]) * u + made.share[x] * fine;
    }
}

void flag(ptrdiff_t n, const float* __restrict even, const float* __restrict odd, unsigned char* __restrict out) {
    for (ptrdiff_t j = 0; j < n; ++j) {
        const uint16_t both = uint16_t((even[j] > 0.0f ? 1 : 0) | (odd[j] > 0.0f ? 256 : 0));
        std::memcpy(out + 2 * j, &both, sizeof both);
    }
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
    MDENOISE_TEXT(MDENOISE_ISA), load, load_pairs, quads, unpack, confide, divide, weigh, multiply, store, store_pairs, pack,
    limit, sane, expose, demodulation, pool, kernels, shares, gather, gather_cells, blend, flag, upsample, interleave,
    outlier,
};

}  // namespace mdenoise
