/* Which matrix gets which format. The mixes follow llama.cpp's quantiser (llama-quant.cpp): more bits for the value and
 * down projections of some layers, six bits for the output matrix, formats of 32 where a row is not whole blocks of 256. */
#include <string.h>
#include "io/synth_impl.h"

enum mix { PURE, Q2_K_M, Q3_K_M, Q4_K_S, Q4_K_M, Q5_K_S, Q5_K_M };

/* The number that general.file_type has for a file made of mostly this format; k-quants: of its "S" mix. */
static const unsigned char pure_file_type[TB_FMT_COUNT] = {
    [TB_FMT_f32] = 0,   [TB_FMT_f16] = 1,   [TB_FMT_q4_0] = 2,  [TB_FMT_q4_1] = 3,    [TB_FMT_q5_0] = 8,
    [TB_FMT_q5_1] = 9,  [TB_FMT_q8_0] = 7,  [TB_FMT_q2_k] = 10, [TB_FMT_q3_k] = 11,   [TB_FMT_q4_k] = 14,
    [TB_FMT_q5_k] = 16, [TB_FMT_q6_k] = 18, [TB_FMT_iq4_nl] = 25, [TB_FMT_iq4_xs] = 30, [TB_FMT_bf16] = 32,
};

static const struct {
  const char *name;
  enum mix mix;
  enum tb_format base;
  uint32_t file_type;
} mixes[] = {
    {"q2_k_m", Q2_K_M, TB_FMT_q2_k, 10}, /* llama.cpp calls it Q2_K */
    {"q3_k_m", Q3_K_M, TB_FMT_q3_k, 12}, {"q4_k_s", Q4_K_S, TB_FMT_q4_k, 14}, {"q4_k_m", Q4_K_M, TB_FMT_q4_k, 15},
    {"q5_k_s", Q5_K_S, TB_FMT_q5_k, 16}, {"q5_k_m", Q5_K_M, TB_FMT_q5_k, 17},
};

static bool read_base(struct tb_synth_type *type, const char *name) {
  for (size_t i = 0; i < sizeof mixes / sizeof mixes[0]; i++) {
    if (strcmp(name, mixes[i].name) != 0) continue;
    type->mix = (int)mixes[i].mix;
    type->base = mixes[i].base;
    type->file_type = mixes[i].file_type;
    return true;
  }
  type->mix = PURE;
  type->base = tb_format_of_name(name);
  if (type->base == TB_FMT_COUNT) return false;
  type->file_type = pure_file_type[type->base];
  return true;
}

enum tb_status tb_synth_read_type(struct tb_synth_type *type, const char *name, struct tb_error *err) {
  char base[16];
  const char *plus = strchr(name, '+');
  size_t len = plus ? (size_t)(plus - name) : strlen(name);
  bool ok = len < sizeof base;
  if (ok) {
    memcpy(base, name, len);
    base[len] = '\0';
    ok = read_base(type, base);
  }
  type->head = plus ? tb_format_of_name(plus + 1) : TB_FMT_COUNT;
  if (ok && (!plus || type->head != TB_FMT_COUNT)) return TB_OK;
  return tb_fail(err, TB_E_ARG, "unknown type '%.40s'; a type is a format (q4_0), a mix (q4_k_m) or either with a format "
                                "for output and embedding (q4_0+q6_k)", name);
}

/* The layers that llama.cpp favours: the first and last eighth and every third between. */
static bool favoured(uint32_t layer, uint32_t n) {
  return layer < n / 8 || layer >= 7 * n / 8 || (layer - n / 8) % 3 == 2;
}

static enum tb_format of_value(const struct tb_synth_type *t, const struct tb_synth_shape *s, uint32_t layer) {
  switch (t->mix) {
  case Q2_K_M: return s->n_head / s->n_head_kv >= 4 ? TB_FMT_q4_k : TB_FMT_q3_k;
  case Q3_K_M: return layer < 2 ? TB_FMT_q5_k : TB_FMT_q4_k;
  case Q4_K_S: return layer < 4 ? TB_FMT_q5_k : t->base;
  case Q4_K_M:
  case Q5_K_M: return favoured(layer, s->n_layer) ? TB_FMT_q6_k : t->base;
  default: return t->base;
  }
}

static enum tb_format of_down(const struct tb_synth_type *t, const struct tb_synth_shape *s, uint32_t layer) {
  switch (t->mix) {
  case Q2_K_M: return TB_FMT_q3_k;
  case Q3_K_M: return layer < s->n_layer / 16 ? TB_FMT_q5_k : TB_FMT_q4_k;
  case Q4_K_S: return layer < s->n_layer / 8 ? TB_FMT_q5_k : t->base;
  case Q4_K_M:
  case Q5_K_M: return favoured(layer, s->n_layer) ? TB_FMT_q6_k : t->base;
  default: return t->base;
  }
}

static enum tb_format wanted(const struct tb_synth_type *t, const struct tb_synth_shape *s, enum tb_synth_role role,
                             uint32_t layer) {
  bool head = role == TB_ROLE_OUTPUT || (role == TB_ROLE_EMBEDDING && s->tied);
  if (t->head != TB_FMT_COUNT && (head || role == TB_ROLE_EMBEDDING)) return t->head;
  if (t->mix == PURE) return t->base;
  if (head) return TB_FMT_q6_k;
  if (role == TB_ROLE_V) return of_value(t, s, layer);
  if (role == TB_ROLE_DOWN) return of_down(t, s, layer);
  if (role == TB_ROLE_O && t->mix == Q2_K_M) return TB_FMT_q3_k;
  if (role == TB_ROLE_O && t->mix == Q3_K_M) return TB_FMT_q4_k;
  return t->base;
}

/* For rows that are not whole blocks of f. */
static enum tb_format fallback(enum tb_format f) {
  switch (f) {
  case TB_FMT_q2_k:
  case TB_FMT_q3_k: return TB_FMT_q4_0;
  case TB_FMT_q4_k: return TB_FMT_q5_0;
  case TB_FMT_q5_k: return TB_FMT_q5_1;
  case TB_FMT_q6_k: return TB_FMT_q8_0;
  case TB_FMT_iq4_xs: return TB_FMT_iq4_nl;
  default: return TB_FMT_f16;
  }
}

enum tb_format tb_synth_format(const struct tb_synth_type *type, const struct tb_synth_shape *shape,
                               enum tb_synth_role role, uint32_t layer, uint64_t row) {
  enum tb_format f = wanted(type, shape, role, layer);
  while (row % tb_formats[f].block_values != 0) f = fallback(f); /* ends at f16, whose blocks are single values */
  return f;
}
