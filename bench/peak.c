/* What one core can multiply at the most: independent sums that never leave the registers. */
#include <immintrin.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { SUMS = 12 };

static double seconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return now.tv_sec + now.tv_nsec * 1e-9;
}

#define MEASURE(name, instruction, operations)                                          \
    static double name(long rounds) {                                                   \
        __m512i a = _mm512_set1_epi32(0x3f813f91), b = _mm512_set1_epi32(0x3f213f31);   \
        __m512i s0 = a, s1 = a, s2 = a, s3 = a, s4 = a, s5 = a, s6 = a, s7 = a, s8 = a, \
                s9 = a, s10 = a, s11 = a;                                               \
        double began = seconds();                                                       \
        for (long i = 0; i < rounds; i++)                                               \
            __asm__ volatile(                                                           \
                instruction " %13, %12, %0\n" instruction " %13, %12, %1\n"             \
                instruction " %13, %12, %2\n" instruction " %13, %12, %3\n"             \
                instruction " %13, %12, %4\n" instruction " %13, %12, %5\n"             \
                instruction " %13, %12, %6\n" instruction " %13, %12, %7\n"             \
                instruction " %13, %12, %8\n" instruction " %13, %12, %9\n"             \
                instruction " %13, %12, %10\n" instruction " %13, %12, %11\n"           \
                : "+v"(s0), "+v"(s1), "+v"(s2), "+v"(s3), "+v"(s4), "+v"(s5), "+v"(s6), \
                  "+v"(s7), "+v"(s8), "+v"(s9), "+v"(s10), "+v"(s11)                    \
                : "v"(a), "v"(b));                                                      \
        return (double)(operations)*SUMS * rounds / (seconds() - began);                \
    }

MEASURE(fp32, "vfmadd231ps", 32)
MEASURE(bf16, "vdpbf16ps", 64)
MEASURE(int8, "vpdpbusd", 128)

int main(void) {
    for (int round = 0; round < 21; round++)
        printf("%.4g %.4g %.4g\n", fp32(4000000), bf16(4000000), int8(4000000));
}
