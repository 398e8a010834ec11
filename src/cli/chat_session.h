/* The turns of a conversation: render, read what is new, answer. */
#ifndef TB_CLI_CHAT_SESSION_H
#define TB_CLI_CHAT_SESSION_H

#include "cli/cli.h"

struct chat_args {
  const char *verb; /* for messages */
  const char *model, *system, *file, *template_name, *think, *session;
  int32_t n_predict;
  uint32_t threads, n_ctx, n_batch;
  struct tb_sampler_options sampler;
  struct cli_list stops;
  struct cli_cache cache;
  struct cli_memory memory;
  struct cli_cpus cpus;
  bool help;
};

struct chat_session {
  const struct chat_args *args;
  struct tb_model *model;
  struct tb_context *ctx;
  struct tb_chat *chat;
  struct tb_sampler *sampler;
  struct tb_plan *plan;
  tb_token *ids; /* of the whole conversation; owned */
  size_t cap;
  uint32_t n_ctx;
  struct cli_autosave autosave;
  int code; /* exit code of what failed while opening; CLI_OK: of another failure */
  bool unsaved; /* the last attempt to save failed */
  bool refused; /* the last question was taken back, or its answer broke off */
  bool colours, interactive, hide_thinking;
  /* of the last turn */
  size_t read, reused, answered;
  double read_seconds, answer_seconds;
};

enum chat_outcome { CHAT_GO_ON, CHAT_FAILED };

/* Opens model, template, context and sampler; reports errors itself. The session is zeroed before. */
bool chat_open(struct chat_session *s, const struct chat_args *args);
void chat_close(struct chat_session *s);
/* Restores args->session when that file exists; false (and a message) when it cannot be used. */
bool chat_restore(struct chat_session *s);
/* Saves to args->session; a failure is said, once in a row, and the conversation goes on. */
void chat_save(struct chat_session *s);
/* The same with an answer that is still being written. */
void chat_save_partial(struct chat_session *s, const char *answer, size_t length);
/* One question and its answer. What goes wrong with this question alone (it does not fit, it was stopped, the file of
 * --kv-spill failed) is said, the question is taken back, and the conversation goes on. */
enum chat_outcome chat_turn(struct chat_session *s, const char *text, size_t length);
/* Tokens of the conversation as it would be read next; 0 when it cannot be rendered. */
size_t chat_tokens(struct chat_session *s);
/* Speed and use of the context, one line to stderr. */
void chat_print_status(const struct chat_session *s);
/* Forgets all but the system message. */
void chat_reset(struct chat_session *s);
/* Replaces the system message (NULL or "": none) and forgets the rest. */
bool chat_set_system(struct chat_session *s, const char *text);

#endif
