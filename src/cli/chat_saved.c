/* The chat's part of a session file: its messages, one after the other as role and text, each with a 32-bit length. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "cli/chat_session.h"

static unsigned char *put(unsigned char *p, const char *text, size_t n) {
  const uint32_t length = (uint32_t)n;
  memcpy(p, &length, 4);
  memcpy(p + 4, text, n);
  return p + 4 + n;
}

void chat_save(struct chat_session *s) {
  struct tb_error err;
  size_t bytes = 0, length;
  const char *role, *text;
  if (!s->args->session) return;
  for (size_t i = 0; i < tb_chat_count(s->chat); i++) {
    tb_chat_get(s->chat, i, &role, &text, &length);
    bytes += 8 + strlen(role) + length;
  }
  unsigned char *messages = malloc(bytes + 1), *p = messages;
  for (size_t i = 0; messages && i < tb_chat_count(s->chat); i++) {
    tb_chat_get(s->chat, i, &role, &text, &length);
    p = put(put(p, role, strlen(role)), text, length);
  }
  cli_autosave_begin(&s->autosave, s->answered);
  if (!messages) snprintf(err.text, sizeof err.text, "out of memory");
  const bool saved = messages && tb_session_save(s->ctx, s->args->session, messages, bytes, &err) == TB_OK;
  if (!saved && !s->unsaved)
    fprintf(stderr, "thimble %s: --session: the conversation is not saved: %s\n", s->args->verb, err.text);
  s->unsaved = !saved;
  cli_autosave_end(&s->autosave);
  free(messages);
}

void chat_save_partial(struct chat_session *s, const char *answer, size_t length) {
  struct tb_error err;
  const size_t n = tb_chat_count(s->chat);
  if (tb_chat_add(s->chat, "assistant", answer, length, &err) != TB_OK) return; /* saved at the end, then */
  chat_save(s);
  tb_chat_keep(s->chat, n);
}

/* The next length-prefixed piece; false at the end or when the length is wrong. */
static bool take(const unsigned char **p, const unsigned char *end, const char **text, size_t *n) {
  uint32_t length;
  if (end - *p < 4) return false;
  memcpy(&length, *p, 4);
  *p += 4;
  if ((size_t)(end - *p) < length) return false;
  *text = (const char *)*p;
  *n = length;
  *p += length;
  return true;
}

static bool restore_messages(struct chat_session *s, const unsigned char *data, size_t bytes, struct tb_error *err) {
  const unsigned char *p = data, *end = data + bytes;
  const char *role, *text;
  size_t n_role, n_text;
  tb_chat_keep(s->chat, 0);
  while (p < end) {
    char name[32];
    if (!take(&p, end, &role, &n_role) || !take(&p, end, &text, &n_text) || n_role >= sizeof name) {
      snprintf(err->text, sizeof err->text, "%s: its messages are damaged", s->args->session);
      return false;
    }
    memcpy(name, role, n_role);
    name[n_role] = '\0';
    if (tb_chat_add(s->chat, name, text, n_text, err) != TB_OK) return false;
  }
  return true;
}

bool chat_restore(struct chat_session *s) {
  struct tb_error err;
  void *extra = NULL;
  size_t bytes;
  if (!s->args->session || (access(s->args->session, F_OK) != 0 && errno == ENOENT)) return true;
  bool ok = tb_session_load(s->ctx, s->args->session, &extra, &bytes, &err) == TB_OK &&
            restore_messages(s, extra, bytes, &err);
  tb_session_free_extra(s->ctx, extra);
  if (!ok)
    fprintf(stderr, "thimble %s: --session: %s\n", s->args->verb, err.text);
  else if (s->interactive)
    fprintf(stderr, "[restored %zu messages from %s]\n", tb_chat_count(s->chat), s->args->session);
  return ok;
}
