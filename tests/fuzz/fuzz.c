#include "tests/fuzz/fuzz.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

void fuzz_broken(const char *file, int line, const char *what) {
  fprintf(stderr, "%s:%d: broken: %s\n", file, line, what);
  abort();
}

uint8_t fuzz_u8(struct fuzz_input *in) {
  if (in->n == 0) return 0;
  in->n--;
  return *in->p++;
}

uint32_t fuzz_u32(struct fuzz_input *in) {
  uint32_t v = 0;
  for (int i = 0; i < 4; i++) v |= (uint32_t)fuzz_u8(in) << 8 * i;
  return v;
}

uint32_t fuzz_below(struct fuzz_input *in, uint32_t below) {
  return below <= 256 ? fuzz_u8(in) % below : fuzz_u32(in) % below;
}

static char scratch[8][256];
static size_t n_scratch;

static void remove_scratch(void) {
  for (size_t i = 0; i < n_scratch; i++) unlink(scratch[i]);
}

const char *fuzz_scratch(const char *name) {
  const char *base = getenv("TMPDIR");
  if (!base || !*base) base = access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp";
  FUZZ_CHECK(n_scratch < sizeof scratch / sizeof scratch[0]);
  if (n_scratch == 0) atexit(remove_scratch);
  char *path = scratch[n_scratch++];
  snprintf(path, sizeof scratch[0], "%s/thimble-fuzz.%ld.%s", base, (long)getpid(), name);
  return path;
}

void fuzz_write(const char *path, const void *data, size_t n) {
  FILE *f = fopen(path, "wb");
  FUZZ_CHECK(f && fwrite(data, 1, n, f) == n);
  FUZZ_CHECK(fclose(f) == 0);
}
