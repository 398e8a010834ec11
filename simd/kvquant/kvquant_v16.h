/* kvquant for every ISA (simd/kvquant/kvquant.h): include after the ISA's vec header. */
#include <math.h>
#include "simd/kernels.h"

/* y(v) of the contract; a NaN gives some level. */
TB_INLINE v16 level(v16 v, v16 centre) {
  const v16 u = v16_max(v16_rint(v16_add(v, centre)), v16_zero());
  return v16_sub(v16_min(u, v16_add(centre, centre)), centre);
}

/* u/4 of a whole u ≤ 15 is u/4 - 3/8, rounded. */
TB_INLINE void put(uint8_t *high, uint8_t *low, v16 y, v16 centre) {
  const v16 u = v16_add(y, centre);
  if (!low) {
    v16_store_i8(high, u);
    return;
  }
  const v16 top = v16_rint(v16_fma(u, v16_set1(0.25f), v16_set1(-0.375f)));
  v16_store_i8(high, top);
  v16_store_i8(low, v16_fma(top, v16_set1(-4.0f), u));
}

/* ---------------------------------------------------------------------------------------------------------- keys */

TB_INLINE v16 inverses(v16 step) { return v16_zero_below(v16_div(v16_set1(1.0f), step), step, 0x1p-100f); }
TB_INLINE v16 within_f16(v16 x) { return v16_max(v16_min(x, v16_set1(65504.0f)), v16_set1(-65504.0f)); }

/* One round for 16 channels. */
TB_INLINE void refit(v16 *step, v16 *mid, v16 start, const float *x, size_t ldx, v16 centre) {
  const v16 inverse = inverses(*step), n = v16_set1(TB_KV_BLOCK);
  v16 sy = v16_zero(), syy = sy, sd = sy, sdy = sy;
  for (size_t t = 0; t < TB_KV_BLOCK; t++, x += ldx) {
    const v16 v = v16_load(x), y = level(v16_mul(v16_sub(v, *mid), inverse), centre), d = v16_sub(v, start);
    sy = v16_add(sy, y);
    syy = v16_fma(y, y, syy);
    sd = v16_add(sd, d);
    sdy = v16_fma(d, y, sdy);
  }
  const v16 minus = v16_set1(-1.0f), whole = v16_fma(n, syy, v16_mul(v16_mul(sy, sy), minus));
  *step = v16_zero_below(v16_div(v16_fma(n, sdy, v16_mul(v16_mul(sd, sy), minus)), whole), whole, 0.5f);
  *mid = v16_add(start, v16_mul(v16_sub(sd, v16_mul(*step, sy)), v16_set1(1.0f / TB_KV_BLOCK)));
}

void TB_FN(kvquant_fit) TB_KVQUANT_FIT_ARGS {
  const float middle = (float)(levels - 1) / 2;
  const v16 half = v16_set1(0.5f), centre = v16_set1(middle), spread = v16_set1(clip / middle);
  for (size_t c = 0; c < planes; c += 16) {
    v16 least = v16_load(x + c), most = least;
    for (size_t t = 1; t < TB_KV_BLOCK; t++) {
      const v16 v = v16_load(x + t * ldx + c);
      least = v16_min(v, least);
      most = v16_max(v, most);
    }
    least = v16_mul(least, half);
    most = v16_mul(most, half);
    const v16 start = v16_add(v16_add(least, most), v16_zero());
    v16 centred = start, wide = v16_mul(v16_sub(most, least), spread);
    for (unsigned r = 0; r < rounds; r++) refit(&wide, &centred, start, x + c, ldx, centre);
    v16_store_f16(step + c, within_f16(wide));
    v16_store_f16(mid + c, within_f16(centred));
  }
}

void TB_FN(kvquant_keys) TB_KVQUANT_KEYS_ARGS {
  const v16 centre = v16_set1(low ? 7.5f : 1.5f);
  for (size_t c = 0; c < planes; c += 16) {
    const v16 inverse = inverses(v16_load_f16(step + c)), middle = v16_load_f16(mid + c);
    for (size_t t = 0; t < TB_KV_BLOCK; t++) {
      const v16 y = level(v16_mul(v16_sub(v16_load(x + t * ldx + c), middle), inverse), centre);
      put(high + t * planes + c, low ? low + t * planes + c : NULL, y, centre);
    }
  }
}

/* -------------------------------------------------------------------------------------------------------- values */

void TB_FN(kvquant_values) TB_KVQUANT_VALUES_ARGS {
  const v16 centre = v16_set1((float)(levels - 1) / 2);
  for (size_t t = 0; t < TB_KV_BLOCK; t++, x += ldx, high += planes) {
    v16 squares = v16_zero();
    for (size_t c = 0; c < planes; c += 16) {
      const v16 v = v16_load(x + c);
      squares = v16_fma(v, v, squares);
    }
    float step = tb_kvquant_best(levels) * sqrtf(v16_hsum(squares) / (float)planes);
    for (unsigned r = 0; r <= rounds; r++) {
      const v16 inverse = v16_set1(tb_kvquant_inverse(step));
      v16 xy = v16_zero(), yy = xy;
      for (size_t c = 0; c < planes; c += 16) {
        const v16 v = v16_load(x + c), y = level(v16_mul(v, inverse), centre);
        xy = v16_fma(v, y, xy);
        yy = v16_fma(y, y, yy);
        if (r == rounds) put(high + c, low ? low + t * planes + c : NULL, y, centre);
      }
      const float gain = v16_hsum(xy), energy = v16_hsum(yy);
      step = gain > 0 && energy > 0 ? gain / energy : 0;
    }
    scale[t] = step;
  }
}
