/* qwen3: Qwen3 dense models (arXiv 2505.09388).
 * No biases; every query and key head is RMS-normalised with a learned gain before the rotation; the head size is
 * independent of the width. */
#include "core/model.h"
#include "core/ops.h"
#include "models/arch.h"

static enum tb_status load(struct tb_model *m, struct tb_error *err) {
  enum tb_status status = tb_load_hparams(m, true, err);
  return status ? status : tb_load_decoder(m, TB_LOAD_QK_NORM, TB_LOAD_QK_NORM, err);
}

static void forward(struct tb_pass *p) {
  for (uint32_t il = p->first; il < p->model->hp.n_layer; il++) {
    const struct tb_layer *l = &p->model->layers[il];

    tb_op_norm(p, l->attn_norm);
    tb_op_qkv(p, l);
    tb_op_head_norm(p, l);
    tb_op_rope(p, l);
    tb_op_attention(p, il);
    tb_op_add_linear(p, &l->wo, l->bo);

    tb_op_norm(p, l->ffn_norm);
    tb_op_swiglu(p, &l->gate, &l->up);
    tb_op_add_linear(p, &l->down, NULL);
  }
}

extern const struct tb_arch tb_arch_qwen3;
const struct tb_arch tb_arch_qwen3 = {.name = "qwen3", .load = load, .forward = forward};
