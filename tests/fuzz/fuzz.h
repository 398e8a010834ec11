/* What the fuzz targets share. A target is one file fuzz_<name>.c that defines LLVMFuzzerTestOneInput and, where a plain
 * change of bytes would stop at the first checksum or length, LLVMFuzzerCustomMutator. With the preset `fuzz` (clang) it
 * is linked with libFuzzer; every other build links replay.c, which runs the seeds of corpus/<name>/ and a fixed number
 * of mutations of them. */
#ifndef TB_TESTS_FUZZ_H
#define TB_TESTS_FUZZ_H

#include <stddef.h>
#include <stdint.h>

/* Returns 0, always. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
/* Changes data in place and returns its new size, at most max_size. */
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned seed);
/* The engine's own mutation, for parts of an input. */
size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t max_size);

/* A finding: prints and aborts. */
_Noreturn void fuzz_broken(const char *file, int line, const char *what);
#define FUZZ_CHECK(condition)                                                                                          \
  do {                                                                                                                 \
    if (!(condition)) fuzz_broken(__FILE__, __LINE__, #condition);                                                     \
  } while (0)

/* Reads numbers from the front of an input; zeros behind its end. */
struct fuzz_input {
  const uint8_t *p;
  size_t n;
};
uint8_t fuzz_u8(struct fuzz_input *in);
uint32_t fuzz_u32(struct fuzz_input *in);
/* 0 … below-1. */
uint32_t fuzz_below(struct fuzz_input *in, uint32_t below);

/* A path for this process's scratch file, in TMPDIR or /tmp; removed at exit. Memory-backed where that is. */
const char *fuzz_scratch(const char *name);
void fuzz_write(const char *path, const void *data, size_t n);

/* Fields of the header of a GGUF file: changes one (or a few) so that the rest still parses. Starts from `sample` when
 * the input is no GGUF file at all. */
size_t fuzz_mutate_gguf(uint8_t *data, size_t size, size_t max_size, unsigned seed, const uint8_t *sample,
                        size_t sample_size);

#endif
