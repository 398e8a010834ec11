#include "state.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* ------------------------------------------------------------------------------------------------------- batches */

static struct {
  int *slot[2];
  bool full[2], ended;
  int current;
  size_t n; /* ids of a batch, and weights */
  pthread_mutex_t lock;
  pthread_cond_t changed;
} queue = {.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};
static volatile sig_atomic_t stopped;

static bool read_all(void *buffer, size_t bytes) {
  for (size_t done = 0; done < bytes;) {
    ssize_t n = read(STDIN_FILENO, (char *)buffer + done, bytes - done);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return false;
    done += (size_t)n;
  }
  return true;
}

static void *reader(void *unused) {
  (void)unused;
  for (int i = 0;; i ^= 1) {
    pthread_mutex_lock(&queue.lock);
    while (queue.full[i])
      pthread_cond_wait(&queue.changed, &queue.lock);
    pthread_mutex_unlock(&queue.lock);
    bool complete = read_all(queue.slot[i], queue.n * 8);
    pthread_mutex_lock(&queue.lock);
    queue.full[i] = complete;
    queue.ended = !complete;
    pthread_cond_broadcast(&queue.changed);
    pthread_mutex_unlock(&queue.lock);
    if (!complete) return NULL;
  }
}

void batches_start(int rows, int length) {
  pthread_t thread;
  queue.n = (size_t)rows * ((size_t)length + 1);
  for (int i = 0; i < 2; i++)
    queue.slot[i] = big_alloc(queue.n * 8);
  pthread_create(&thread, NULL, reader, NULL);
}

bool batches_take(const int **ids, const float **token_weights) {
  int i = queue.current;
  pthread_mutex_lock(&queue.lock);
  while (!queue.full[i] && !queue.ended && !stopped) { /* wakes up now and then to see a signal */
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    t.tv_sec++;
    pthread_cond_timedwait(&queue.changed, &queue.lock, &t);
  }
  bool taken = queue.full[i] && !stopped;
  pthread_mutex_unlock(&queue.lock);
  *ids = queue.slot[i];
  *token_weights = (const float *)(queue.slot[i] + queue.n);
  return taken;
}

void batches_give_back(void) {
  pthread_mutex_lock(&queue.lock);
  queue.full[queue.current] = false;
  queue.current ^= 1;
  pthread_cond_broadcast(&queue.changed);
  pthread_mutex_unlock(&queue.lock);
}

void batches_stop(void) {
  stopped = 1;
}
bool batches_stopped(void) {
  return stopped;
}

/* --------------------------------------------------------------------------------------------------- checkpoints */

_Static_assert(sizeof(struct progress) == 128, "the header has 128 bytes");

struct progress progress_new(void) {
  struct progress p = {.magic = "CTRN0001",
                       .vocab = VOCAB,
                       .width = WIDTH,
                       .layers = LAYERS,
                       .heads = HEADS,
                       .kv_heads = KV_HEADS,
                       .head = HEAD,
                       .hidden = HIDDEN,
                       .n_matrix = N_MATRIX,
                       .n_parameters = N_PARAMETERS,
                       .answer_loss = -1};
  return p;
}

void checkpoint_save(const char *path, struct progress *p, const float *values, const struct optimizer *o) {
  char temporary[4096];
  snprintf(temporary, sizeof temporary, "%s.tmp", path);
  p->adam_steps = o->adam_steps;
  FILE *f = fopen(temporary, "wb");
  bool ok = f && fwrite(p, sizeof *p, 1, f) == 1 && fwrite(values, 4, N_PARAMETERS, f) == N_PARAMETERS &&
            fwrite(o->momentum, 4, N_MATRIX, f) == N_MATRIX && fwrite(o->mean, 4, N_OTHER, f) == N_OTHER &&
            fwrite(o->mean_square, 4, N_OTHER, f) == N_OTHER && fflush(f) == 0 && fsync(fileno(f)) == 0;
  if (f) ok = fclose(f) == 0 && ok;
  if (!ok || rename(temporary, path) != 0) perror(path);
}

void checkpoint_load(const char *path, struct progress *p, float *values, struct optimizer *o) {
  struct progress expected = progress_new();
  FILE *f = fopen(path, "rb");
  if (!f) {
    perror(path);
    exit(1);
  }
  bool ok = fread(p, sizeof *p, 1, f) == 1 && memcmp(p, &expected, offsetof(struct progress, step)) == 0 &&
            p->n_matrix == N_MATRIX && p->n_parameters == N_PARAMETERS &&
            fread(values, 4, N_PARAMETERS, f) == N_PARAMETERS && fread(o->momentum, 4, N_MATRIX, f) == N_MATRIX &&
            fread(o->mean, 4, N_OTHER, f) == N_OTHER && fread(o->mean_square, 4, N_OTHER, f) == N_OTHER;
  fclose(f);
  if (!ok) {
    fprintf(stderr, "%s: not a checkpoint of this shape\n", path);
    exit(1);
  }
  o->adam_steps = p->adam_steps;
}
