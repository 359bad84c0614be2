/* What one core can multiply at the most: independent sums that never leave the registers. */
#include <immintrin.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static double seconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return now.tv_sec + now.tv_nsec * 1e-9;
}

/* `add(sum)`: the instructions that add products of %12 and %13 to one of twelve sums. */
#define MEASURE(name, vector, set, add, operations)                                         \
    static double name(long rounds) {                                                       \
        vector a = set(0x3f813f91), b = set(0x3f213f31);                                    \
        vector s0 = a, s1 = a, s2 = a, s3 = a, s4 = a, s5 = a, s6 = a, s7 = a, s8 = a,      \
               s9 = a, s10 = a, s11 = a;                                                    \
        double began = seconds();                                                           \
        for (long i = 0; i < rounds; i++)                                                   \
            __asm__ volatile(add("%0") add("%1") add("%2") add("%3") add("%4") add("%5")    \
                             add("%6") add("%7") add("%8") add("%9") add("%10") add("%11")  \
                             : "+x"(s0), "+x"(s1), "+x"(s2), "+x"(s3), "+x"(s4), "+x"(s5),  \
                               "+x"(s6), "+x"(s7), "+x"(s8), "+x"(s9), "+x"(s10), "+x"(s11) \
                             : "x"(a), "x"(b)                                               \
                             : "xmm14", "xmm15");                                           \
        return (double)(operations)*12 * rounds / (seconds() - began);                      \
    }

#define FP32(sum) "vfmadd231ps %13, %12, " sum "\n"

#ifdef __AVX512F__
#define BF16(sum) "vdpbf16ps %13, %12, " sum "\n"
#define INT8(sum) "vpdpbusd %13, %12, " sum "\n"
MEASURE(fp32, __m512i, _mm512_set1_epi32, FP32, 32)
MEASURE(bf16, __m512i, _mm512_set1_epi32, BF16, 64)
MEASURE(int8, __m512i, _mm512_set1_epi32, INT8, 128)

int main(void) {
    for (int round = 0; round < 21; round++)
        printf("%.4g %.4g %.4g\n", fp32(4000000), bf16(4000000), int8(4000000));
}
#else
/* Bytes as words, two products of each at a time: see embedder/encoders/native/kernels/avx2.c. */
#define INT8(sum)                             \
    "vpaddw %13, %12, %%ymm14\n"              \
    "vpaddw %12, %13, %%ymm15\n"              \
    "vpmaddwd %%ymm15, %%ymm14, %%ymm14\n"    \
    "vpaddd %%ymm14, " sum ", " sum "\n"
MEASURE(fp32, __m256i, _mm256_set1_epi32, FP32, 16)
MEASURE(int8, __m256i, _mm256_set1_epi32, INT8, 64)

int main(void) {
    for (int round = 0; round < 21; round++)
        printf("%.4g %.4g\n", fp32(4000000), int8(4000000));
}
#endif
