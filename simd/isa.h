/* Tiers: few, cumulative bundles of instructions that real CPUs have. A tier's kernels override those of the tiers
 * before it; a slot without a kernel of its own keeps the lower tier's. */
#ifndef TB_SIMD_ISA_H
#define TB_SIMD_ISA_H

#include <stdbool.h>

/* Bits of an ISA mask. 0 is the reference alone. Both architectures' bits exist everywhere; a build only ever detects
 * its own. Names are the suffixes of kernels and files. */
enum tb_isa {
  TB_ISA_ref = 0,
  TB_ISA_avx2 = 1 << 0,    /* AVX2 + FMA + F16C (+ BMI2) */
  TB_ISA_avxvnni = 1 << 1, /* VEX-encoded VNNI: Intel client chips since 2021 */
  TB_ISA_avx512 = 1 << 2,  /* AVX-512 F BW VL DQ + VNNI */
  TB_ISA_avx512bf16 = 1 << 3, /* and AVX512-BF16: pairs of bf16 */
  TB_ISA_neon = 1 << 8,    /* ARMv8.0 */
  TB_ISA_dotprod = 1 << 9, /* ARMv8.2 sdot/udot */
  TB_ISA_i8mm = 1 << 10,   /* ARMv8.6 smmla */
};

/* What this CPU and operating system can run (cpuid and XCR0, or getauxval). */
unsigned tb_isa_detect(void);

/* Mask for a forced tier: that tier and every lower one. "ref" gives 0, "auto" or NULL what was detected. False when
 * the name is unknown to this build or the CPU lacks the tier (then *reason says which). */
bool tb_isa_select(const char *name, unsigned *mask, const char **reason);

/* Name of the highest tier in a mask; "ref" for 0. */
const char *tb_isa_name(unsigned mask);

/* Tiers of this architecture, lowest first, "ref" included, NULL-terminated. */
const char *const *tb_isa_list(void);

#endif
