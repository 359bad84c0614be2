/* Weights as their file has them, for every kernel that reads it: panels of COLUMNS outputs.
 *
 * In bf16 [out / COLUMNS, in / 2, COLUMNS, 2], in int8 [out / COLUMNS, in / 4, COLUMNS, 4]. In int8
 * each output has a step for every GROUP of its weights, and their sum: [out / COLUMNS, in / GROUP,
 * COLUMNS] both. */
#pragma once

/* The version of all that; another is another file. */
enum { KERNELS = 1 };

enum { COLUMNS = 64, GROUP = 128 };
