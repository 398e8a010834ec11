/* thimble chat: a conversation with a model, in a terminal or through a pipe. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include "cli/chat_session.h"
#include "cli/line.h"

static const char commands[] =
    "  /help          this list\n"
    "  /reset         forget the conversation\n"
    "  /load FILE     ask with the text of a file\n"
    "  /system TEXT   set the system message and forget the conversation\n"
    "  /stats         speed and use of the context\n"
    "  /exit          leave (also Ctrl-D)\n"
    "A backslash at the end of a line goes on in the next one; \"\"\" opens and closes a longer text.\n"
    "Ctrl-C stops an answer, pressed again it leaves.\n";

enum command { NOT_A_COMMAND, DONE, ASK, LEAVE };

/* /load: the file's text replaces the line. */
static enum command load(char **line, size_t *length) {
  const char *path = *line + 5 + strspn(*line + 5, " ");
  size_t n;
  if (!*path) {
    fprintf(stderr, "/load needs a file name\n");
    return DONE;
  }
  char *text = cli_read_file("chat", path, &n);
  if (!text) return DONE;
  free(*line);
  *line = text;
  *length = n;
  return ASK;
}

static bool is_command(const char *line, const char *name) {
  size_t n = strlen(name);
  return strncmp(line, name, n) == 0 && (line[n] == '\0' || line[n] == ' ');
}

static enum command run_command(struct chat_session *s, struct chat_args *args, char **line, size_t *length,
                                char **system) {
  if (**line != '/') return NOT_A_COMMAND;
  if (is_command(*line, "/exit") || is_command(*line, "/quit")) return LEAVE;
  if (is_command(*line, "/load")) return load(line, length);
  if (is_command(*line, "/help")) {
    fputs(commands, stdout);
  } else if (is_command(*line, "/reset")) {
    chat_reset(s);
    puts("(the conversation is forgotten)");
  } else if (is_command(*line, "/stats")) {
    chat_print_status(s);
  } else if (is_command(*line, "/system")) {
    free(*system);
    *system = strdup(*line + 7 + strspn(*line + 7, " "));
    args->system = *system;
    chat_set_system(s, *system);
    puts(*system && **system ? "(system message set; the conversation is forgotten)"
                             : "(no system message; the conversation is forgotten)");
  } else {
    fprintf(stderr, "unknown command '%s'; /help lists them\n", *line);
  }
  return DONE;
}

static bool ask(struct chat_session *s, const char *text, size_t length) {
  enum chat_outcome outcome = chat_turn(s, text, length);
  if (isatty(STDERR_FILENO)) chat_print_status(s);
  return outcome == CHAT_GO_ON;
}

static int converse(struct chat_session *s, struct chat_args *args) {
  char *line, *system = NULL;
  size_t length;
  int code = CLI_OK;
  if (args->file) {
    char *text = cli_read_file("chat", args->file, &length);
    if (!text || !ask(s, text, length)) code = CLI_FAILED;
    free(text);
  }
  cli_resume();
  if (s->interactive && code == CLI_OK) puts("Ask something; /help lists the commands, /exit leaves.");
  while (code == CLI_OK && !cli_terminated() && (line = cli_read_line("> ", s->interactive, &length))) {
    enum command command = run_command(s, args, &line, &length, &system);
    if (length > 0 && (command == NOT_A_COMMAND || command == ASK) && !ask(s, line, length)) code = CLI_FAILED;
    free(line);
    cli_resume();
    if (command == LEAVE) break;
  }
  if (s->interactive) putchar('\n');
  free(system);
  return code;
}

static bool check_think(const char *think) {
  if (!think || strcmp(think, "on") == 0 || strcmp(think, "off") == 0 || strcmp(think, "hide") == 0) return true;
  fprintf(stderr, "thimble chat: --think: '%s' is not on, off or hide\n", think);
  return false;
}

int cmd_chat(int argc, char **argv) {
  struct chat_args a = {.verb = "chat", .n_predict = -1, .sampler = tb_sampler_defaults()};
  a.sampler.seed = (uint64_t)time(NULL);
  static const char no_gpu[] = "thimble computes on the CPU";
  const struct cli_option options[] = {
      {"-m", "--model", CLI_STRING, &a.model, 0, 0, "FILE", "GGUF file (default: the bundled model)"},
      {"-sys", "--system-prompt", CLI_STRING, &a.system, 0, 0, "TEXT", "system message"},
      {"-f", "--file", CLI_STRING, &a.file, 0, 0, "FILE", "begin by asking with the text of a file"},
      {NULL, "--session", CLI_STRING, &a.session, 0, 0, "FILE",
       "continue the conversation of this file and keep it there"},
      {NULL, "--chat-template", CLI_STRING, &a.template_name, 0, 0, "NAME",
       "built-in template or a file instead of the model's"},
      {NULL, "--think", CLI_STRING, &a.think, 0, 0, "on|off|hide", "let the model think, not think, or think unseen"},
      {"-n", "--predict", CLI_I32, &a.n_predict, -1, INT32_MAX, "N",
       "most tokens of an answer (-1: until the model ends)"},
      {"-c", "--ctx-size", CLI_U32, &a.n_ctx, 0, 1u << 30, "N", "context in tokens (0: the model's, as memory allows)"},
      {"-b", "--batch-size", CLI_U32, &a.n_batch, 1, 4096, "N", "prompt tokens computed together (512; small models 256)"},
      {"-t", "--threads", CLI_U32, &a.threads, 1, TB_MAX_THREADS, "N", "threads (default: the performance cores)"},
      CLI_CPU_OPTIONS(a.cpus),
      {"-s", "--seed", CLI_U64, &a.sampler.seed, 0, 0, "N", "seed of the sampler (default: from the clock)"},
      CLI_SAMPLER_OPTIONS(a.sampler),
      {"-r", "--stop", CLI_LIST, &a.stops, 0, 0, "TEXT", "end an answer when this text comes (several may be given)"},
      CLI_CACHE_TYPE_OPTIONS(a.cache),
      CLI_CACHE_OPTIONS(a.cache),
      CLI_MEMORY_OPTIONS(a.memory),
      {NULL, "--stats", CLI_FLAG, &a.memory.stats, 0, 0, NULL,
       "print at the end the memory that was planned and that was taken"},
      {"-ngl", "--n-gpu-layers", CLI_IGNORED, (void *)(uintptr_t)no_gpu, 0, 0, "N", "accepted for scripts and ignored"},
      {"-h", "--help", CLI_FLAG, &a.help, 0, 0, NULL, "this text"},
      {0},
  };
  size_t n_rest;
  if (!cli_parse("chat", options, argc, argv, NULL, 0, &n_rest) || !check_think(a.think)) return CLI_USAGE;
  if (a.help) {
    puts("usage: thimble chat [-m FILE] [-sys TEXT]; questions come from the terminal or standard input, a line each");
    cli_print_options(options);
    fputs("\nCommands in the chat:\n", stdout);
    fputs(commands, stdout);
    return CLI_OK;
  }
  if (!cli_cache_saved("chat", &a.cache, a.session)) return CLI_USAGE;
  if (!cli_use_cpus("chat", &a.cpus, a.threads > 0)) return CLI_USAGE;
  cli_catch_signals();
  struct chat_session s = {0};
  int code = chat_open(&s, &a) ? converse(&s, &a) : s.code ? s.code : CLI_FAILED;
  if (a.memory.stats && s.ctx) {
    cli_print_memory(s.plan);
    cli_print_recall(s.ctx);
  }
  if (s.unsaved && code == CLI_OK) code = CLI_FAILED; /* said when it happened */
  chat_close(&s);
  return code;
}
