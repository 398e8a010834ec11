/* Memory against context and loss against memory, as the planner counts them. */
#ifndef TB_CLI_PLAN_PLOT_H
#define TB_CLI_PLAN_PLOT_H

#include "cli/cli.h"

struct plan_plot {
  const char *path, *title;
  const struct cli_list *caches; /* "K/V" or "TYPE"; none: every type that serves both */
  enum tb_status (*make)(void *source, const struct tb_plan_options *o, struct tb_plan **plan, struct tb_error *err);
  void *source;
};

/* Contexts from 1024 tokens to the model's, or -c when that is more; types of `base` do not matter. False on failure
 * (said). */
bool plan_plot(const struct plan_plot *p, const struct tb_plan_options *base);

/* Loss against memory at the context that was chosen: plans within less and more memory, the one that was chosen, and
 * each cache of the list for all layers. */
bool plan_plot_loss(const struct plan_plot *p, const struct tb_plan_options *base, const struct tb_plan_info *chosen);

#endif
