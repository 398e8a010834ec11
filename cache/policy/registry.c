/* Which policy a plan line asks for: a new one adds a line here. */
#include "cache/policy/policy.h"

const struct tb_policy_ops *tb_policy_of(const struct tb_plan_layer *plan) {
  if (plan->merge.with) return &tb_policy_merge;
  return plan->recall ? &tb_policy_recall : &tb_policy_plain;
}
