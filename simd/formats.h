/* Number formats of stored tensors: plain data, shared by io/ (sizes), core/ and simd/ (kernel slots). */
#ifndef TB_SIMD_FORMATS_H
#define TB_SIMD_FORMATS_H

#include <stddef.h>
#include <stdint.h>

enum tb_format {
#define TB_FORMAT(name, id, values, bytes) TB_FMT_##name,
#include "simd/formats.def"
#undef TB_FORMAT
  TB_FMT_COUNT,
};

struct tb_format_info {
  const char *name;       /* lower case, llama.cpp's spelling: "q4_0" */
  uint32_t gguf_id;       /* ggml type number in a GGUF file */
  uint32_t block_values;  /* values per block; a row is a whole number of blocks */
  uint32_t block_bytes;
};

/* Indexed by enum tb_format. */
extern const struct tb_format_info tb_formats[TB_FMT_COUNT];

/* The format of a GGUF type id, or TB_FMT_COUNT when it is unknown. */
enum tb_format tb_format_of_gguf(uint32_t gguf_id);
/* The format called `name`, or TB_FMT_COUNT. */
enum tb_format tb_format_of_name(const char *name);
/* Bytes of a row of k values; k must be a multiple of block_values. */
static inline size_t tb_row_bytes(enum tb_format f, size_t k) {
  return k / tb_formats[f].block_values * tb_formats[f].block_bytes;
}

#endif
