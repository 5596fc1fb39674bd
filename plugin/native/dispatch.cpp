// Which variant of the row loops this processor runs.
#include <cstring>

#include "gradient.h"
#include "rows.h"

#if defined(_MSC_VER) && (defined(MDENOISE_HAS_AVX2) || defined(MDENOISE_HAS_AVX512))
#include <immintrin.h>
#include <intrin.h>
#endif

namespace mdenoise {
namespace {

struct Processor {
    bool avx2 = false;
    bool avx512 = false;
};

#if defined(MDENOISE_HAS_AVX2) || defined(MDENOISE_HAS_AVX512)
#if defined(_MSC_VER)
Processor processor() {
    Processor found;
    int leaf0[4], leaf1[4], leaf7[4];
    __cpuid(leaf0, 0);
    if (leaf0[0] < 7) return found;
    __cpuid(leaf1, 1);
    __cpuidex(leaf7, 7, 0);
    const bool fma = leaf1[2] & (1 << 12), osxsave = leaf1[2] & (1 << 27);
    if (!osxsave) return found;
    const unsigned long long state = _xgetbv(0);  // the registers must also be saved by the operating system
    found.avx2 = fma && (leaf7[1] & (1 << 5)) && (state & 0x06) == 0x06;
    const int f_dq_bw_vl = (1 << 16) | (1 << 17) | (1 << 30) | int(1u << 31);
    found.avx512 = found.avx2 && (leaf7[1] & f_dq_bw_vl) == f_dq_bw_vl && (state & 0xe6) == 0xe6;
    return found;
}
#else
Processor processor() {
    __builtin_cpu_init();
    Processor found;
    found.avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
    found.avx512 = found.avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
                   __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl");
    return found;
}
#endif
#else
Processor processor() { return {}; }
#endif

enum class Isa { none, base, avx2, avx512 };

Isa find_isa(const char* isa) {
    static const Processor can = processor();
    (void)can;
    const bool best = isa[0] == '\0';
#if defined(MDENOISE_HAS_AVX512)
    if (can.avx512 && (best || std::strcmp(isa, "avx512") == 0)) return Isa::avx512;
#endif
#if defined(MDENOISE_HAS_AVX2)
    if (can.avx2 && (best || std::strcmp(isa, "avx2") == 0)) return Isa::avx2;
#endif
    return best || std::strcmp(isa, "base") == 0 ? Isa::base : Isa::none;
}

}  // namespace

const Rows* find_rows(const char* isa) {
    switch (find_isa(isa)) {
#if defined(MDENOISE_HAS_AVX512)
        case Isa::avx512: return &rows_avx512;
#endif
#if defined(MDENOISE_HAS_AVX2)
        case Isa::avx2: return &rows_avx2;
#endif
        case Isa::base: return &rows_base;
        default: return nullptr;
    }
}

const GradientRows* find_gradient_rows(const char* isa) {
    switch (find_isa(isa)) {
#if defined(MDENOISE_HAS_AVX512)
        case Isa::avx512: return &gradient_rows_avx512;
#endif
#if defined(MDENOISE_HAS_AVX2)
        case Isa::avx2: return &gradient_rows_avx2;
#endif
        case Isa::base: return &gradient_rows_base;
        default: return nullptr;
    }
}

}  // namespace mdenoise
