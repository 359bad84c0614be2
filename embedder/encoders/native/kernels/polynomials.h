/* Coefficients that vectors of every width are computed with; compilers fold them into the code. */
#pragma once

/* 2^f on [-1/2, 1/2], minimax, from f^5 down. */
static const float EXP2[] = {1.339887440e-3f, 9.618437357e-3f, 5.550332471e-2f,
                             2.402264791e-1f, 6.931472028e-1f, 1.0f};

/* erf's formula 7.1.26 of Abramowitz and Stegun, 1.5e-7 of it: a polynomial of t = 1 / (1 + P z),
 * from t^4 down, times t e^(-z^2). */
static const float ERF_P = 0.3275911f;
static const float ERF[] = {1.061405429f, -1.453152027f, 1.421413741f, -0.284496736f, 0.254829592f};
