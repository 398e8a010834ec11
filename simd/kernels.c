#include "simd/kernels.h"

#include <string.h>
#include "simd/isa.h"

void tb_kernels_init(struct tb_kernels *k, unsigned isa_mask) {
  memset(k, 0, sizeof *k);
/* ref is tier 0, always in; the lists name lower tiers first, so that the best one is written last. */
#define TB_ROW(fn, isa) if ((isa_mask & TB_ISA_##isa) == TB_ISA_##isa) k->fn = tb_##fn##_##isa;
#define TB_ROW_FMT(fn, fmt, isa) if ((isa_mask & TB_ISA_##isa) == TB_ISA_##isa) k->fn[TB_FMT_##fmt] = tb_##fn##_##fmt##_##isa;
#include "simd/kernels.def"
#undef TB_ROW
#undef TB_ROW_FMT
}
