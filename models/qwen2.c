/* qwen2: Qwen2 and Qwen2.5, DeepSeek-R1-Distill-Qwen (arXiv 2407.10671).
 * As llama, with biases on Q, K and V and rotary pairs half a head apart. */
#include "core/model.h"
#include "core/ops.h"
#include "models/arch.h"

static enum tb_status load(struct tb_model *m, struct tb_error *err) {
  enum tb_status status = tb_load_hparams(m, true, err);
  return status ? status : tb_load_decoder(m, TB_LOAD_QKV_BIAS, TB_LOAD_QKV_BIAS, err);
}

static void forward(struct tb_pass *p) {
  for (uint32_t il = p->first; il < p->model->hp.n_layer; il++) {
    const struct tb_layer *l = &p->model->layers[il];

    tb_op_norm(p, l->attn_norm);
    tb_op_qkv(p, l);
    tb_op_rope(p, l);
    tb_op_attention(p, il);
    tb_op_add_linear(p, &l->wo, l->bo);

    tb_op_norm(p, l->ffn_norm);
    tb_op_swiglu(p, &l->gate, &l->up);
    tb_op_add_linear(p, &l->down, NULL);
  }
}

extern const struct tb_arch tb_arch_qwen2;
const struct tb_arch tb_arch_qwen2 = {.name = "qwen2", .load = load, .forward = forward};
