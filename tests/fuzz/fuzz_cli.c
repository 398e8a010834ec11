/* cli: any command line, with any standard input, in a folder of its own. An exit status of 0, 1 or 2, and nothing but
 * that. Words come from a list or from the input; a path cannot leave the folder. Verbs that measure are left out. */
#include "tests/fuzz/fuzz.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <unistd.h>
#include "thimble.h"

int thimble_main(int argc, char **argv); /* src/cli/main.c, renamed */

enum { MAX_WORDS = 24, WORD = 200 };

static const char *const verbs[] = {"run", "chat", "plan", "template", "tokenize", "inspect", "synth", "--help"};
static const char *const words[] = {
    "-m", "--model", "model.gguf", "-p", "hi", "-n", "1", "3", "-c", "32", "-b", "16", "-t", "2", "--temp", "0",
    "--top-k", "--top-p", "--min-p", "0.5", "--repeat-penalty", "--repeat-last-n", "-r", "x", "-ctk", "-ctv",
    "q8_0", "q4_0", "f32", "skvqx2", "--kv-plan", "plan.txt", "--kv-window", "--kv-sinks", "-1", "--ram", "1G",
    "64M", "0", "--prefer", "speed", "context", "--stats", "-q", "--raw", "-sys", "--session", "session",
    "--system-prompt", "--chat-template", "chatml", "template.txt", "--think", "off", "hide", "-f", "input.txt",
    "--tokens", "--logits", "logits.bin", "--all-logits", "--json", "--shape", "tiny-llama", "--type", "f16", "-o",
    "out.gguf", "--ids", "-h", "--no-escape", "--ignore-eos", "-ngl", "99", "-s", "--seed", "18446744073709551615",
    "--", "=", "--model=", "-",
};
static const char shape[] =
    "architecture = llama\nname = test\nn_layer = 1\nn_embd = 64\nn_head = 2\nn_head_kv = 1\nn_ff = 32\n"
    "n_vocab = 300\nn_ctx = 48\nrope_base = 10000\nrms_eps = 1e-5\ntied = yes\npre = smollm\n";

static char folder[256];

static void leave(void) {
  static const char *const all[] = {"model.gguf", "plan.txt", "input.txt", "template.txt", "session", "logits.bin", "out.gguf", "stdin"};
  for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) unlink(all[i]);
  if (chdir("/") == 0) rmdir(folder);
}

static void set_up(void) {
  struct tb_error err;
  const char *base = getenv("TMPDIR");
  snprintf(folder, sizeof folder, "%s/thimble-cli-XXXXXX", base && *base ? base : "/tmp");
  FUZZ_CHECK(mkdtemp(folder) && chdir(folder) == 0);
  atexit(leave);
  const struct tb_synth_options options = {.shape = shape, .type = "q8_0", .seed = 3};
  FUZZ_CHECK(tb_synth("model.gguf", &options, NULL, &err) == TB_OK);
  fuzz_write("plan.txt", "thimble-plan 1\n0 q8_0 f16\n", 26);
  fuzz_write("template.txt", "{% for m in messages %}{{ m.content }}{% endfor %}", 50);
}

/* A word of the list, or one of the input's own letters. */
static void next_word(struct fuzz_input *in, char *word) {
  const uint8_t how = fuzz_u8(in);
  if (how < 224) {
    snprintf(word, WORD, "%s", words[how % (sizeof words / sizeof words[0])]);
    return;
  }
  const size_t n = 1 + how % 32;
  for (size_t i = 0; i < n; i++) word[i] = (char)fuzz_u8(in);
  word[n] = '\0';
  for (char *p = word; *p; p++)
    if (*p == '/') *p = '_';
}

/* What would write elsewhere, take minutes or start hundreds of threads. */
static int unwanted(int n, char **argv) {
  for (int i = 2; i < n; i++) {
    const char *value = strchr(argv[i], '=') ? strchr(argv[i], '=') + 1 : i + 1 < n ? argv[i + 1] : "";
    if ((strcmp(argv[i], "-t") == 0 || strncmp(argv[i], "--threads", 9) == 0) && strtoul(value, NULL, 10) > 4) return 1;
    if (strcmp(argv[i], "-o") == 0 || strncmp(argv[i], "--output", 8) == 0 || strncmp(argv[i], "--logits", 8) == 0 ||
        strncmp(argv[i], "--session", 9) == 0) {
      static const char *const ours[] = {"out.gguf", "logits.bin", "session"};
      int known = 0;
      for (int k = 0; k < 3; k++) known |= strcmp(value, ours[k]) == 0;
      if (!known) return 1;
    }
  }
  return 0;
}

/* The program has a handler of its own for the signal that the engine's time-out comes by; meanwhile this is the limit. */
enum { LIMIT = 60 }; /* seconds of processor time */
static void on_limit(int number) {
  (void)number;
  fuzz_broken(__FILE__, __LINE__, "a minute for one command line");
}

static int guarded_main(int argc, char **argv) {
  struct sigaction engine;
  struct itimerval limit = {.it_value = {.tv_sec = LIMIT}};
  sigaction(SIGALRM, NULL, &engine);
  signal(SIGPROF, on_limit);
  setitimer(ITIMER_PROF, &limit, NULL);
  const int code = thimble_main(argc, argv);
  limit.it_value.tv_sec = 0;
  setitimer(ITIMER_PROF, &limit, NULL);
  sigaction(SIGALRM, &engine, NULL);
  return code;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  static char text[MAX_WORDS][WORD];
  char *argv[MAX_WORDS + 5];
  struct fuzz_input in = {data, size};
  int argc = 0;
  if (!folder[0]) set_up();
  argv[argc++] = text[0];
  snprintf(text[0], WORD, "thimble");
  argv[argc++] = text[1];
  snprintf(text[1], WORD, "%s", verbs[fuzz_u8(&in) % (sizeof verbs / sizeof verbs[0])]);
  const int n = fuzz_u8(&in) % (MAX_WORDS - 2);
  for (int i = 0; i < n && in.n > 0; i++) {
    next_word(&in, text[argc]);
    argv[argc] = text[argc];
    argc++;
  }
  static char model[] = "-m", name[] = "model.gguf";
  if (strcmp(argv[1], "--help") != 0 && strcmp(argv[1], "synth") != 0 && fuzz_u8(&in) % 4) argv[argc++] = model, argv[argc++] = name;
  argv[argc] = NULL;
  if (unwanted(argc, argv)) return 0;
  fuzz_write("stdin", in.p, in.n);
  fuzz_write("input.txt", in.p, in.n);
  FUZZ_CHECK(freopen("stdin", "rb", stdin));
  const int code = guarded_main(argc, argv);
  FUZZ_CHECK(code >= 0 && code <= 2);
  signal(SIGINT, SIG_DFL);
  signal(SIGTERM, SIG_DFL);
  signal(SIGBUS, SIG_DFL);
  unlink("session");
  unlink("out.gguf");
  return 0;
}
