/* The list of stores: a new one adds a line here. */
#include <string.h>
#include "cache/cache.h"

#define STORES(X) X(f32) X(f16) X(q8_0) X(q4_0) X(skvqx4) X(skvqx2) X(skvqx1_5) X(skvq2) X(skvq1_5) X(lowrank) X(cskv)

#define DECLARE(name) extern const struct tb_store_ops tb_store_##name;
STORES(DECLARE)

#define ENTRY(name) &tb_store_##name,
static const struct tb_store_ops *const stores[] = {STORES(ENTRY)};

/* As they are typed: a dot is no part of an identifier. */
static const char *const names[] = {"f32", "f16", "q8_0", "q4_0", "skvqx4", "skvqx2", "skvqx1.5", "skvq2", "skvq1.5", NULL};

const char *const *tb_store_names(void) { return names; }

const struct tb_store_ops *tb_store_find(const char *type) {
  size_t len = strcspn(type, ":");
  for (size_t i = 0; i < sizeof stores / sizeof stores[0]; i++)
    if (strlen(stores[i]->name) == len && memcmp(stores[i]->name, type, len) == 0) return stores[i];
  return NULL;
}
