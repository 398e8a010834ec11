#include "simd/formats.h"

#include <string.h>

const struct tb_format_info tb_formats[TB_FMT_COUNT] = {
#define TB_FORMAT(name, id, values, bytes) [TB_FMT_##name] = {#name, id, values, bytes},
#include "simd/formats.def"
#undef TB_FORMAT
};

enum tb_format tb_format_of_gguf(uint32_t gguf_id) {
  int f = 0;
  while (f < TB_FMT_COUNT && tb_formats[f].gguf_id != gguf_id) f++;
  return (enum tb_format)f;
}

enum tb_format tb_format_of_name(const char *name) {
  int f = 0;
  while (f < TB_FMT_COUNT && strcmp(tb_formats[f].name, name) != 0) f++;
  return (enum tb_format)f;
}
