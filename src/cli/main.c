#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#ifdef __GLIBC__
#include <malloc.h>
#endif
#include "cli/cli.h"

static const struct verb {
  const char *name;
  int (*run)(int argc, char **argv);
  const char *help;
} verbs[] = {
    {"chat", cmd_chat, "talk with a model"},
    {"run", cmd_run, "answer one question, or continue a text"},
    {"calibrate", cmd_calibrate, "measure a model once, for cache types and the planner"},
    {"plan", cmd_plan, "say what fits in memory, and choose the cache types"},
    {"bench", cmd_bench, "measure tokens per second"},
    {"eval", cmd_eval, "measure what a compressed cache costs in quality"},
    {"template", cmd_template, "show how a conversation is written for a model"},
    {"tokenize", cmd_tokenize, "show the tokens of standard input"},
    {"inspect", cmd_inspect, "describe a GGUF file"},
    {"synth", cmd_synth, "write a model with random weights in the shape of a real one"},
};
enum { VERBS = sizeof verbs / sizeof verbs[0] };

static void print_help(void) {
  puts("thimble: runs language models on the CPU\n\nusage: thimble VERB [options]; thimble VERB --help\n");
  for (int i = 0; i < VERBS; i++)
    printf("  %-10s %s\n", verbs[i].name, verbs[i].help);
  puts("\nTB_ISA=NAME forces an instruction set tier:");
  for (const char *const *n = tb_isa_names(); *n; n++)
    printf(" %s", *n);
  puts("");
}

/* One heap, and large blocks mapped by themselves and given back when freed: otherwise glibc reserves 64 MiB of address
 * space per thread, and keeps what a tokenizer needed only while it was built. What is planned must be what is taken.
 */
static void tame_heap(void) {
#ifdef __GLIBC__
  mallopt(M_ARENA_MAX, 1);
  mallopt(M_MMAP_THRESHOLD, 128 << 10);
#endif
}

/* Kernels keep tiles of up to 50 KB on the stack. The limit is also the size of the stacks of threads to come, which glibc
 * reads before main: raising it here would not reach them. */
enum { STACK_KIB = 256 };
static bool stack_is_small(rlim_t *kib) {
  struct rlimit limit;
  if (getrlimit(RLIMIT_STACK, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY) return false;
  *kib = limit.rlim_cur >> 10;
  return *kib < STACK_KIB;
}

/* The verb's code, unless what it printed did not arrive. */
static int leave(const char *verb, int code) {
  if (fflush(stdout) == 0 && !ferror(stdout)) return code;
  fprintf(stderr, "thimble%s%s: cannot write to standard output\n", *verb ? " " : "", verb);
  return CLI_FAILED;
}

int main(int argc, char **argv) {
  tame_heap();
  cli_open_standard_files();
  cli_catch_faults();
  const char *verb = argc < 2 ? "" : argv[1];
  if (argc < 2 || strcmp(verb, "--help") == 0 || strcmp(verb, "-h") == 0 || strcmp(verb, "help") == 0) {
    print_help();
    return leave("", argc < 2 ? CLI_USAGE : CLI_OK);
  }
  if (strcmp(verb, "--version") == 0 || strcmp(verb, "version") == 0) {
    puts("thimble " TB_VERSION);
    return leave("", CLI_OK);
  }
  for (int i = 0; i < VERBS; i++) {
    if (strcmp(verb, verbs[i].name) != 0) continue;
    rlim_t kib;
    if (stack_is_small(&kib)) {
      fprintf(stderr, "thimble: the stack may have %llu KiB, thimble needs %d (ulimit -s)\n", (unsigned long long)kib, STACK_KIB);
      return CLI_FAILED;
    }
    return leave(verb, verbs[i].run(argc - 1, argv + 1));
  }
  fprintf(stderr, "thimble: unknown verb '%s' (thimble --help lists them)\n", verb);
  return CLI_USAGE;
}
