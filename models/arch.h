/* An architecture: how a model of this kind is loaded and computed. One file each, listed in arch.c. */
#ifndef TB_MODELS_ARCH_H
#define TB_MODELS_ARCH_H

#include "base/status.h"

struct tb_model;
struct tb_pass;

struct tb_arch {
  const char *name; /* general.architecture */
  /* Reads hyper-parameters and binds the weights. */
  enum tb_status (*load)(struct tb_model *model, struct tb_error *err);
  /* One pass over the layers from p->first on: p->x holds what goes into that one (the embedded tokens into layer 0) and
   * leaves as the last layer's output (before the final norm), keys and values are in the cache. */
  void (*forward)(struct tb_pass *p);
};

/* NULL when the name is unknown. */
const struct tb_arch *tb_arch_find(const char *name);
/* "llama qwen2 …" for error messages. */
const char *tb_arch_list(void);

#endif
