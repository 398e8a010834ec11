/* Stands in for libFuzzer in builds of any compiler: runs every file and folder named on the command line, then
 * `-runs=N` mutations of each, the same ones every time. Prints one line; a finding ends the program. */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include "base/rng.h"
#include "tests/fuzz/fuzz.h"

enum { INPUT_BYTES = 1 << 16, MAX_FILES = 4096 };

extern size_t LLVMFuzzerCustomMutator(uint8_t *, size_t, size_t, unsigned) __attribute__((weak));

static struct tb_rng rng = {20260801};
static char *files[MAX_FILES];
static size_t n_files, runs;

static uint32_t below(size_t n) { return n ? (uint32_t)(tb_rng_next(&rng) % n) : 0; }

/* One small change: bits, a byte, a few bytes out, in or doubled. */
size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t max_size) {
  uint32_t at = below(size), n = 1 + below(8);
  switch (size ? below(6) : 4) {
  case 0: data[at] ^= (uint8_t)(1u << below(8)); break;
  case 1: data[at] = (uint8_t)tb_rng_next(&rng); break;
  case 2: data[at] = (uint8_t)(data[at] + below(9) - 4); break;
  case 3: /* out */
    if (n > size - at) n = (uint32_t)(size - at);
    memmove(data + at, data + at + n, size - at - n);
    return size - n;
  case 4: /* in */
    if (n > max_size - size) return size;
    memmove(data + at + n, data + at, size - at);
    for (uint32_t i = 0; i < n; i++) data[at + i] = (uint8_t)tb_rng_next(&rng);
    return size + n;
  case 5: /* from elsewhere */
    if (n > size - at) n = (uint32_t)(size - at);
    memmove(data + at, data + below(size - n + 1), n);
    break;
  }
  return size;
}

static size_t mutate(uint8_t *data, size_t size) {
  if (LLVMFuzzerCustomMutator) return LLVMFuzzerCustomMutator(data, size, INPUT_BYTES, (unsigned)tb_rng_next(&rng));
  for (uint32_t i = 1 + below(4); i > 0; i--) size = LLVMFuzzerMutate(data, size, INPUT_BYTES);
  return size;
}

/* The target gets a block of exactly that size, so that a sanitizer sees a read behind it. */
static void run(const uint8_t *data, size_t size) {
  uint8_t *exact = malloc(size ? size : 1);
  FUZZ_CHECK(exact);
  memcpy(exact, data, size);
  LLVMFuzzerTestOneInput(exact, size);
  free(exact);
}

static void add(const char *path) {
  struct stat st;
  FUZZ_CHECK(stat(path, &st) == 0 && n_files < MAX_FILES);
  if (!S_ISDIR(st.st_mode)) {
    files[n_files] = realpath(path, NULL); /* a target may change the folder */
    FUZZ_CHECK(files[n_files++]);
    return;
  }
  DIR *dir = opendir(path);
  FUZZ_CHECK(dir);
  for (struct dirent *e; (e = readdir(dir));) {
    char name[1024];
    snprintf(name, sizeof name, "%s/%s", path, e->d_name);
    if (e->d_name[0] != '.') add(name);
  }
  closedir(dir);
}

static int by_name(const void *a, const void *b) { return strcmp(*(char *const *)a, *(char *const *)b); }

static void replay(const char *path) {
  static uint8_t seed[INPUT_BYTES], data[INPUT_BYTES];
  FILE *f = fopen(path, "rb");
  FUZZ_CHECK(f);
  const size_t n = fread(seed, 1, sizeof seed, f);
  fclose(f);
  run(seed, n);
  memcpy(data, seed, n);
  size_t size = n;
  for (size_t i = 0; i < runs; i++) {
    if (i % 8 == 0) memcpy(data, seed, size = n); /* never far from the seed */
    size = mutate(data, size);
    run(data, size);
  }
}

int main(int argc, char **argv) {
  for (int i = 1; i < argc; i++) {
    if (strncmp(argv[i], "-runs=", 6) == 0) runs = (size_t)strtoul(argv[i] + 6, NULL, 10);
    else add(argv[i]);
  }
  if (getenv("QEMU_CPU") || getenv("TB_TEST_SHORT")) runs /= 20;
  qsort(files, n_files, sizeof *files, by_name);
  for (size_t i = 0; i < n_files; i++) {
    replay(files[i]);
    free(files[i]);
  }
  printf("%zu seeds, %zu mutations of each: no findings\n", n_files, runs);
  return n_files == 0;
}
