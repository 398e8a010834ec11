/* The bridge between thimble.Engine (Kotlin) and thimble.h. One engine holds a model, a context and a sampler; its address
 * is the `handle` that Kotlin keeps. Errors become IllegalStateException with the library's line of text. */
#include <jni.h>
#include <stdlib.h>
#include <string.h>
#include "thimble.h"

struct engine {
  struct tb_model *model;
  struct tb_context *context;
  struct tb_sampler *sampler;
};

static void throw_text(JNIEnv *env, const char *text) {
  jclass type = (*env)->FindClass(env, "java/lang/IllegalStateException");
  if (type) (*env)->ThrowNew(env, type, text);
}

static void close_engine(struct engine *e) {
  if (!e) return;
  tb_sampler_free(e->sampler);
  tb_context_free(e->context);
  tb_model_free(e->model);
  free(e);
}

JNIEXPORT jlong JNICALL Java_thimble_Engine_open(JNIEnv *env, jclass type, jstring path, jint n_ctx) {
  (void)type;
  struct tb_error err = {.text = "out of memory"};
  const char *file = (*env)->GetStringUTFChars(env, path, NULL);
  if (!file) return 0; /* an exception is pending */
  struct engine *e = calloc(1, sizeof *e);
  const struct tb_context_options options = {.n_ctx = (uint32_t)n_ctx};
  const struct tb_sampler_options greedy = {.top_p = 1, .repeat_penalty = 1};
  bool ok = e && tb_model_open(&e->model, file, NULL, &err) == TB_OK &&
            tb_context_create(&e->context, e->model, &options, &err) == TB_OK &&
            tb_sampler_create(&e->sampler, e->model, &greedy, &err) == TB_OK;
  (*env)->ReleaseStringUTFChars(env, path, file);
  if (ok) return (jlong)(intptr_t)e;
  close_engine(e);
  throw_text(env, err.text);
  return 0;
}

JNIEXPORT void JNICALL Java_thimble_Engine_close(JNIEnv *env, jclass type, jlong handle) {
  (void)env, (void)type;
  close_engine((struct engine *)(intptr_t)handle);
}

/* Each question is a conversation of its own; what its beginning shares with the last one is not computed again. */
static enum tb_status ask(struct engine *e, const char *question, size_t length, struct tb_error *err) {
  struct tb_chat *chat;
  const struct tb_chat_options options = {.thinking = -1};
  enum tb_status status = tb_chat_create(&chat, e->model, &options, err);
  if (status) return status;
  tb_token *ids = NULL;
  size_t n = 0;
  status = tb_chat_add(chat, "user", question, length, err);
  if (!status) status = tb_chat_encode(chat, true, NULL, 0, &n, err);
  if (!status && !(ids = malloc((n + 1) * sizeof *ids))) {
    err->status = status = TB_E_NOMEM;
    memcpy(err->text, "out of memory", sizeof "out of memory");
  }
  if (!status) status = tb_chat_encode(chat, true, ids, n, &n, err);
  if (!status) status = tb_eval_prompt(e->context, ids, n, NULL, NULL, NULL, err);
  free(ids);
  tb_chat_free(chat);
  return status;
}

/* Starts an answer. The question is UTF-8: Java's own strings use another encoding for what lies beyond 16 bits. */
JNIEXPORT void JNICALL Java_thimble_Engine_ask(JNIEnv *env, jclass type, jlong handle, jbyteArray question) {
  (void)type;
  struct tb_error err;
  jbyte *bytes = (*env)->GetByteArrayElements(env, question, NULL);
  if (!bytes) return;
  enum tb_status status = ask((struct engine *)(intptr_t)handle, (const char *)bytes,
                              (size_t)(*env)->GetArrayLength(env, question), &err);
  (*env)->ReleaseByteArrayElements(env, question, bytes, JNI_ABORT);
  if (status) throw_text(env, err.text);
}

/* The bytes of the answer's next token, perhaps a part of a character; null when the answer is complete. */
JNIEXPORT jbyteArray JNICALL Java_thimble_Engine_next(JNIEnv *env, jclass type, jlong handle) {
  (void)type;
  struct engine *e = (struct engine *)(intptr_t)handle;
  struct tb_error err;
  char text[1024];
  tb_token token = tb_sampler_pick(e->sampler, tb_logits(e->context));
  if (tb_token_ends(e->model, token)) return NULL;
  size_t n = tb_token_text(e->model, token, false, text, sizeof text);
  if (n > sizeof text) n = sizeof text;
  enum tb_status status = tb_eval(e->context, &token, 1, NULL, NULL, &err);
  if (status == TB_E_CONTEXT) return NULL;
  if (status) {
    throw_text(env, err.text);
    return NULL;
  }
  jbyteArray out = (*env)->NewByteArray(env, (jsize)n);
  if (out) (*env)->SetByteArrayRegion(env, out, 0, (jsize)n, (const jbyte *)text);
  return out;
}
