/* thimble template: how a conversation is written for a model. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include "cli/cli.h"

/* A short conversation for a first look. */
static const char *const sample[][2] = {{"user", "Hello"}, {"assistant", "Hi there"}, {"user", "How are you?"}};

struct template_args {
  const char *model, *system, *template_name, *think;
  struct cli_list turns; /* user, assistant, user, … */
  bool no_generate, help;
};

static bool write_text(void *user, const char *text, size_t length) {
  (void)user;
  return fwrite(text, 1, length, stdout) == length;
}

static enum tb_status add_messages(const struct template_args *a, struct tb_chat *chat, struct tb_error *err) {
  enum tb_status s = TB_OK;
  if (a->system) s = tb_chat_add(chat, "system", a->system, strlen(a->system), err);
  const size_t n = a->turns.n ? a->turns.n : sizeof sample / sizeof sample[0];
  for (size_t i = 0; !s && i < n; i++) {
    const char *role = i % 2 ? "assistant" : "user", *text = a->turns.n ? a->turns.items[i] : sample[i][1];
    s = tb_chat_add(chat, role, text, strlen(text), err);
  }
  return s;
}

static int render(const struct template_args *a, const struct tb_model *model) {
  struct tb_error err;
  struct tb_chat *chat = NULL;
  struct tb_chat_options o = {.thinking = -1, .time = (int64_t)time(NULL), .template_name = a->template_name};
  char *text = NULL;
  size_t length;
  if (a->think) o.thinking = strcmp(a->think, "on") == 0;
  if (a->template_name && access(a->template_name, R_OK) == 0) {
    if (!(text = cli_read_file("template", a->template_name, &length))) return CLI_FAILED;
    o.template_name = NULL;
    o.template_text = text;
  }
  enum tb_status s = tb_chat_create(&chat, model, &o, &err);
  if (!s) s = add_messages(a, chat, &err);
  if (!s) s = tb_chat_render(chat, !a->no_generate, write_text, NULL, &err);
  tb_chat_free(chat);
  free(text);
  return s ? cli_report("template", &err) : CLI_OK;
}

int cmd_template(int argc, char **argv) {
  struct template_args a = {0};
  const struct cli_option options[] = {
      {"-m", "--model", CLI_STRING, &a.model, 0, 0, "FILE", "GGUF file (default: the bundled model)"},
      {"-p", "--prompt", CLI_LIST, &a.turns, 0, 0, "TEXT", "a message: user, assistant, user ... in turn (several)"},
      {"-sys", "--system-prompt", CLI_STRING, &a.system, 0, 0, "TEXT", "system message"},
      {NULL, "--chat-template", CLI_STRING, &a.template_name, 0, 0, "NAME", "built-in template or a file instead"},
      {NULL, "--think", CLI_STRING, &a.think, 0, 0, "on|off", "let the model think or not"},
      {NULL, "--no-generate", CLI_FLAG, &a.no_generate, 0, 0, NULL, "without the opening of the answer"},
      {"-h", "--help", CLI_FLAG, &a.help, 0, 0, NULL, "this text"},
      {0},
  };
  size_t n_rest;
  if (!cli_parse("template", options, argc, argv, NULL, 0, &n_rest)) return CLI_USAGE;
  if (a.help) {
    puts("usage: thimble template [-m FILE] [-sys TEXT] [-p TEXT ...]; prints what the model would read");
    cli_print_options(options);
    fputs("\nBuilt-in templates:", stdout);
    for (const char *const *n = tb_chat_template_names(); *n; n++)
      printf(" %s", *n);
    putchar('\n');
    return CLI_OK;
  }
  if (a.think && strcmp(a.think, "on") != 0 && strcmp(a.think, "off") != 0) {
    fprintf(stderr, "thimble template: --think: '%s' is not on or off\n", a.think);
    return CLI_USAGE;
  }
  struct tb_model *model = cli_open_model("template", a.model);
  if (!model) return CLI_FAILED;
  int code = render(&a, model);
  tb_model_free(model);
  return code;
}
