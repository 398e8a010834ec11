/* A toy vocabulary for byte-level BPE. It encodes any text and looks like a real one to whoever loads the file. */
#include <string.h>
#include "io/synth_impl.h"

/* Pairs in the order of their rank, spelt as in merges.txt: U+0120 stands for the space. */
#define SP "\xc4\xa0"
static const char *const merges[] = {
    SP " t", SP " a", "h e",     "i n",  "r e",   "o n",   SP "t he", "e r",   SP " s", "a t",
    "e n",   "o r",   "i s",     "i t",  "o u",   "n d",   SP " w",   SP " o", SP " h", "in g",
    "a l",   "l l",   SP "a nd", "e d",  SP "o f", SP "t o", SP " in", SP " is", "v er", "l y",
};
static const char *const controls[] = {"<|endoftext|>", "<|im_start|>", "<|im_end|>"};

enum {
  N_MERGES = sizeof merges / sizeof merges[0],
  N_CONTROLS = sizeof controls / sizeof controls[0],
  END_OF_TEXT = 256 + N_MERGES,
  IM_END = END_OF_TEXT + 2,
  FIRST_WORD = END_OF_TEXT + N_CONTROLS,
  NORMAL = 1, CONTROL = 3, /* token types of tokenizer.ggml.token_type */
};

static const char chat_template[] =
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>' + '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant' + '\n' }}{% endif %}";

uint32_t tb_synth_min_vocab(void) { return FIRST_WORD; }

/* How byte-level BPE spells a byte: printable Latin-1 as itself, the others as U+0100 and on (GPT-2's encoder.py). */
static uint32_t code_point(unsigned byte) {
  static const unsigned char printable[][2] = {{33, 126}, {161, 172}, {174, 255}};
  uint32_t others = 0;
  for (unsigned i = 0; i < 3; i++) {
    if (byte >= printable[i][0] && byte <= printable[i][1]) return byte;
    if (byte > printable[i][1]) others += (uint32_t)(printable[i][1] - printable[i][0] + 1);
  }
  return 256 + byte - others;
}

static void add_byte(struct tb_gguf_writer *w, unsigned byte) {
  uint32_t c = code_point(byte);
  char text[2] = {(char)c};
  if (c >= 0x80) {
    text[0] = (char)(0xc0 | c >> 6);
    text[1] = (char)(0x80 | (c & 0x3f));
  }
  tb_gguf_add_element(w, text, c < 0x80 ? 1 : 2);
}

/* The merged token: its two halves without the space between. */
static void add_merged(struct tb_gguf_writer *w, const char *merge) {
  char text[16];
  size_t n = 0;
  for (; *merge; merge++)
    if (*merge != ' ') text[n++] = *merge;
  tb_gguf_add_element(w, text, n);
}

/* A space and at least three syllables: a number written in base 100, so no two words are equal. */
static void add_word(struct tb_gguf_writer *w, uint32_t number) {
  char text[16] = SP;
  size_t n = sizeof SP - 1;
  for (unsigned i = 0; i < 3 || number > 0; i++, number /= 100) {
    text[n++] = "bcdfghjklmnprstvwxyz"[number % 100 / 5];
    text[n++] = "aeiou"[number % 5];
  }
  tb_gguf_add_element(w, text, n);
}

static void add_tokens(struct tb_gguf_writer *w, uint32_t n_vocab) {
  tb_gguf_add_strings(w, "tokenizer.ggml.tokens", n_vocab);
  for (unsigned i = 0; i < 256; i++) add_byte(w, i);
  for (unsigned i = 0; i < N_MERGES; i++) add_merged(w, merges[i]);
  for (unsigned i = 0; i < N_CONTROLS; i++) tb_gguf_add_element(w, controls[i], strlen(controls[i]));
  for (uint32_t i = FIRST_WORD; i < n_vocab; i++) add_word(w, i - FIRST_WORD);
}

static void add_types(struct tb_gguf_writer *w, uint32_t n_vocab) {
  tb_gguf_add_array(w, "tokenizer.ggml.token_type", TB_GGUF_I32, NULL, n_vocab);
  for (uint32_t i = 0; i < n_vocab; i++) {
    int32_t type = i >= END_OF_TEXT && i < FIRST_WORD ? CONTROL : NORMAL;
    tb_gguf_add_values(w, TB_GGUF_I32, &type, 1);
  }
}

void tb_synth_add_vocab(struct tb_gguf_writer *w, const struct tb_synth_shape *shape) {
  tb_gguf_add_str(w, "tokenizer.ggml.model", "gpt2");
  tb_gguf_add_str(w, "tokenizer.ggml.pre", shape->pre);
  add_tokens(w, shape->n_vocab);
  add_types(w, shape->n_vocab);
  tb_gguf_add_strings(w, "tokenizer.ggml.merges", N_MERGES);
  for (unsigned i = 0; i < N_MERGES; i++) tb_gguf_add_element(w, merges[i], strlen(merges[i]));
  tb_gguf_add_u32(w, "tokenizer.ggml.bos_token_id", END_OF_TEXT);
  tb_gguf_add_u32(w, "tokenizer.ggml.eos_token_id", IM_END);
  tb_gguf_add_u32(w, "tokenizer.ggml.padding_token_id", END_OF_TEXT);
  tb_gguf_add_bool(w, "tokenizer.ggml.add_bos_token", shape->add_bos);
  tb_gguf_add_str(w, "tokenizer.chat_template", chat_template);
}
