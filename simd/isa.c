#include "simd/isa.h"

#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct tier {
  const char *name;
  unsigned bit;
};

#if defined(__x86_64__)

#include <cpuid.h>

static const struct tier tiers[] = {
    {"ref", 0}, {"avx2", TB_ISA_avx2}, {"avxvnni", TB_ISA_avxvnni}, {"avx512", TB_ISA_avx512},
    {"avx512bf16", TB_ISA_avx512bf16}};
static const char *const names[] = {"ref", "avx2", "avxvnni", "avx512", "avx512bf16", NULL};

static uint64_t xcr0(void) {
  uint32_t lo, hi;
  __asm__ volatile("xgetbv" : "=a"(lo), "=d"(hi) : "c"(0));
  return (uint64_t)hi << 32 | lo;
}

static bool all(uint32_t value, uint32_t bits) { return (value & bits) == bits; }

unsigned tb_isa_detect(void) {
  uint32_t a, b, c, d, a7, b7, c7, d7, a71 = 0, unused;
  if (!__get_cpuid(1, &a, &b, &c, &d) || !all(c, bit_OSXSAVE | bit_AVX | bit_FMA | bit_F16C)) return 0;
  if (!__get_cpuid_count(7, 0, &a7, &b7, &c7, &d7) || !all(b7, bit_AVX2)) return 0;
  if (a7 >= 1) __get_cpuid_count(7, 1, &a71, &unused, &unused, &unused);
  const uint64_t ymm_state = 0x6, zmm_state = 0xe6; /* XCR0: SSE+AVX, and opmask+ZMM on top */
  if ((xcr0() & ymm_state) != ymm_state) return 0;
  unsigned mask = TB_ISA_avx2;
  if (a71 & (1u << 4)) mask |= TB_ISA_avxvnni; /* leaf 7.1 EAX bit 4 */
  if ((xcr0() & zmm_state) == zmm_state && all(b7, bit_AVX512F | bit_AVX512BW | bit_AVX512VL | bit_AVX512DQ) &&
      all(c7, bit_AVX512VNNI))
    mask |= TB_ISA_avx512;
  if ((mask & TB_ISA_avx512) && (a71 & (1u << 5))) mask |= TB_ISA_avx512bf16; /* leaf 7.1 EAX bit 5 */
  return mask;
}

#elif defined(__aarch64__)

#include <sys/auxv.h>

static const struct tier tiers[] = {
    {"ref", 0}, {"neon", TB_ISA_neon}, {"dotprod", TB_ISA_dotprod}, {"i8mm", TB_ISA_i8mm}};
static const char *const names[] = {"ref", "neon", "dotprod", "i8mm", NULL};

unsigned tb_isa_detect(void) {
  /* Linux ABI bits (asm/hwcap.h), written out because old headers lack the second. */
  const unsigned long asimddp = 1ul << 20, i8mm = 1ul << 13;
  unsigned mask = TB_ISA_neon;
  if (getauxval(AT_HWCAP) & asimddp) mask |= TB_ISA_dotprod;
  if ((mask & TB_ISA_dotprod) && (getauxval(AT_HWCAP2) & i8mm)) mask |= TB_ISA_i8mm;
  return mask;
}

#else
#error "thimble runs on x86-64 and on 64-bit ARM"
#endif

enum { TIERS = sizeof tiers / sizeof tiers[0] };

bool tb_isa_select(const char *name, unsigned *mask, const char **reason) {
  unsigned have = tb_isa_detect();
  if (!name || strcmp(name, "auto") == 0) {
    *mask = have;
    return true;
  }
  unsigned upto = 0;
  for (int i = 0; i < TIERS; i++) {
    upto |= tiers[i].bit;
    if (strcmp(name, tiers[i].name) != 0) continue;
    *reason = "this CPU does not have it";
    *mask = have & upto;
    return (tiers[i].bit & ~have) == 0;
  }
  *reason = "no such tier in this build";
  return false;
}

const char *tb_isa_name(unsigned mask) {
  const char *best = "ref";
  for (int i = 0; i < TIERS; i++)
    if (tiers[i].bit & mask) best = tiers[i].name;
  return best;
}

const char *const *tb_isa_list(void) { return names; }
