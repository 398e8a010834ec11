#include "models/arch.h"

#include <stddef.h>
#include <string.h>

/* A new architecture adds its file and a line here. */
#define ARCHS(X) X(llama) X(qwen2) X(qwen3)

#define DECLARE(name) extern const struct tb_arch tb_arch_##name;
ARCHS(DECLARE)

#define ENTRY(name) &tb_arch_##name,
static const struct tb_arch *const archs[] = {ARCHS(ENTRY)};

const struct tb_arch *tb_arch_find(const char *name) {
  for (size_t i = 0; i < sizeof archs / sizeof archs[0]; i++)
    if (strcmp(archs[i]->name, name) == 0) return archs[i];
  return NULL;
}

#define NAME(name) " " #name
const char *tb_arch_list(void) {
  static const char list[] = ARCHS(NAME);
  return list + 1; /* without the first blank */
}
