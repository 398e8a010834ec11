/* Step 3: trains the bundled model on a CPU with AVX-512 BF16.
 *
 *   make && ../batches.py --T 256 --B 64 | ./train --T 256 --B 64 --minutes 20 --out model.ck
 *
 * A micro-batch is one task: forward and backward on one thread with gradients of its own; they are summed, then the
 * optimisers share out the parameters. The learning rate rises over the first `--warm` of the time and falls to zero
 * over the last `--cool`. Ctrl-C writes the checkpoint and ends. */
#include <math.h>
#include <omp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include "state.h"

struct options {
  double T, B, minutes, lr, adam, warm, cool, decay, fixed, threads, seed, steps;
  const char *resume, *out;
};

static void parse(struct options *o, int argc, char **argv) {
  const struct {
    const char *name;
    double *number;
    const char **text;
  } known[] = {{"--T", &o->T, NULL},
               {"--B", &o->B, NULL},
               {"--minutes", &o->minutes, NULL},
               {"--lr", &o->lr, NULL},
               {"--adam", &o->adam, NULL},
               {"--warm", &o->warm, NULL},
               {"--cool", &o->cool, NULL},
               {"--decay", &o->decay, NULL},
               {"--fixed", &o->fixed, NULL},
               {"--threads", &o->threads, NULL},
               {"--seed", &o->seed, NULL},
               {"--steps", &o->steps, NULL},
               {"--resume", NULL, &o->resume},
               {"--out", NULL, &o->out}};
  enum { N = sizeof known / sizeof *known };
  for (int i = 1; i < argc; i += 2) {
    int k = 0;
    char *end = NULL;
    while (k < N && strcmp(argv[i], known[k].name) != 0)
      k++;
    bool ok = k < N && i + 1 < argc;
    if (ok && known[k].text)
      *known[k].text = argv[i + 1];
    else if (ok)
      *known[k].number = strtod(argv[i + 1], &end);
    if (ok && (!end || (end != argv[i + 1] && !*end))) continue;
    fprintf(stderr, "%s: unknown, or without a good value\n", argv[i]);
    exit(1);
  }
  if (o->T < 64 || fmod(o->T, 64) != 0 || o->B < 1 || o->threads < 1) {
    fprintf(stderr, "--T is a multiple of 64, --B and --threads are at least 1\n");
    exit(1);
  }
}

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void on_signal(int number) {
  (void)number;
  batches_stop();
}

/* Normal numbers by Box and Muller from SplitMix64. */
static double uniform(uint64_t *state) {
  uint64_t z = *state += 0x9E3779B97F4A7C15u;
  z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9u;
  z = (z ^ z >> 27) * 0x94D049BB133111EBu;
  z ^= z >> 31;
  return ((double)(z >> 11) + 0.5) / 9007199254740992.0;
}

static void fill_normal(float *p, int n, double deviation, uint64_t *state) {
  for (int i = 0; i < n; i++) {
    double radius = sqrt(-2 * log(uniform(state)));
    p[i] = (float)(deviation * radius * cos(6.283185307179586 * uniform(state)));
  }
}

/* Matrices that write to the residual stream start smaller, so that its variance does not grow with the depth. */
static void initialise(float *values, const struct matrix *matrices, double seed) {
  uint64_t state = (uint64_t)seed * 7919;
  for (int i = 0; i < N_MATRICES; i++) {
    int at = matrices[i].at % SIZE_LAYER;
    bool residual = at == AT_O || at == AT_DOWN;
    fill_normal(values + matrices[i].at, matrices[i].rows * matrices[i].columns,
                residual ? 0.02 / sqrt(2. * LAYERS) : 0.02, &state);
  }
  fill_normal(values + AT_EMBEDDING, VOCAB * WIDTH, 0.02, &state);
  for (int i = AT_ATTN_NORM; i < N_PARAMETERS; i++)
    values[i] = 1;
}

struct trainer {
  struct options options;
  struct weights weights;
  struct optimizer optimizer;
  struct matrix matrices[N_MATRICES];
  struct workspace *workspaces; /* one a thread */
  int rows_per_task;
};

/* Packs all weights; called by all threads. */
static void pack_weights(struct trainer *t, struct workspace *w) {
#pragma omp for schedule(dynamic, 1)
  for (int i = 0; i <= 4 * LAYERS; i++) {
    int at = i / 4 * SIZE_LAYER;
    if (i == 4 * LAYERS)
      pack_weight(&t->weights, AT_EMBEDDING, VOCAB, WIDTH, w->d_logits);
    else if (i % 4 == 0)
      pack_weight(&t->weights, at, QKV, WIDTH, w->d_logits);
    else if (i % 4 == 1)
      pack_weight(&t->weights, at + AT_O, WIDTH, ATTN, w->d_logits);
    else if (i % 4 == 2)
      pack_weight(&t->weights, at + AT_GATE_UP, 2 * HIDDEN, WIDTH, w->d_logits);
    else
      pack_weight(&t->weights, at + AT_DOWN, WIDTH, HIDDEN, w->d_logits);
  }
}

/* Adds the threads' gradients to the first one's, from … to-1; returns the sum of squares of what Adam will use. */
static float sum_gradients(struct trainer *t, int threads, int from, int to) {
  float *sum = t->workspaces[0].gradient, squares = 0;
  for (int k = 1; k < threads; k++)
    for (int i = from; i < to; i++)
      sum[i] += t->workspaces[k].gradient[i];
  for (int i = from > N_MATRIX ? from : N_MATRIX; i < to; i++)
    squares += sum[i] * sum[i];
  return squares;
}

/* One step of training; `rate` scales the learning rates. */
static void step(struct trainer *t, const int *ids, const float *token_weights, double rate) {
  enum { SUM_CHUNK = 65536, ADAM_CHUNK = 16384 };
  const struct options *o = &t->options;
  int rows = (int)o->B, row_tokens = (int)o->T + 1, per_task = t->rows_per_task;
  double weight_sum = 0, squares = 0;
  for (int i = 0; i < rows * row_tokens; i++)
    if (i % row_tokens) weight_sum += token_weights[i];
  float scale = (float)(1 / weight_sum);
#pragma omp parallel
  {
    struct workspace *w = t->workspaces + omp_get_thread_num();
    int threads = omp_get_num_threads();
    pack_weights(t, w);
    memset(w->gradient, 0, N_PARAMETERS * 4);
    w->loss = w->answer_loss = 0;
    w->n_answer = 0;
#pragma omp for schedule(dynamic, 1)
    for (int row = 0; row < rows; row += per_task)
      micro_batch(w, &t->weights, rows - row < per_task ? rows - row : per_task, ids + row * row_tokens,
                  token_weights + row * row_tokens, scale);
#pragma omp for schedule(dynamic, 1) reduction(+ : squares)
    for (int from = 0; from < N_PARAMETERS; from += SUM_CHUNK)
      squares += sum_gradients(t, threads, from, from + SUM_CHUNK < N_PARAMETERS ? from + SUM_CHUNK : N_PARAMETERS);
    const float *gradient = t->workspaces[0].gradient;
#pragma omp for schedule(dynamic, 1) nowait
    for (int i = 0; i < N_MATRICES; i++)
      muon_step(w->muon, &t->optimizer, t->weights.values, gradient, t->matrices[i], (float)(o->lr * rate),
                (float)o->decay);
    float clip = (float)fmin(1, 1 / (sqrt(squares) + 1e-6));
#pragma omp for schedule(dynamic, 1)
    for (int from = 0; from < N_OTHER; from += ADAM_CHUNK)
      adam_step(&t->optimizer, t->weights.values, gradient, from,
                from + ADAM_CHUNK < N_OTHER ? from + ADAM_CHUNK : N_OTHER, (float)(o->adam * rate), clip);
  }
  t->optimizer.adam_steps++;
}

/* Weighted loss of the last step, and the running mean of the answers' loss in `p`. */
static double take_losses(struct trainer *t, struct progress *p, const float *token_weights) {
  double loss = 0, answers = 0, weight_sum = 0;
  long n = 0;
  int row_tokens = (int)t->options.T + 1;
  for (int i = 0; i < (int)t->options.threads; i++) {
    loss += t->workspaces[i].loss;
    answers += t->workspaces[i].answer_loss;
    n += t->workspaces[i].n_answer;
  }
  for (int i = 0; i < (int)t->options.B * row_tokens; i++)
    if (i % row_tokens) weight_sum += token_weights[i];
  if (n) p->answer_loss = p->answer_loss < 0 ? answers / (double)n : 0.95 * p->answer_loss + 0.05 * answers / (double)n;
  return loss / weight_sum;
}

static void check_ids(const int *ids, size_t n) {
  for (size_t i = 0; i < n; i++)
    if (ids[i] < 0 || ids[i] >= VOCAB) {
      fprintf(stderr, "token id %d: do --T and --B of the batches differ?\n", ids[i]);
      exit(1);
    }
}

static void train(struct trainer *t, struct progress *p) {
  const struct options *o = &t->options;
  const int *ids;
  const float *token_weights;
  double start = now(), logged = start, saved = start;
  batches_start((int)o->B, (int)o->T);
  for (int done = 0; batches_take(&ids, &token_weights);) {
    double share = (now() - start) / (o->minutes * 60);
    if (o->fixed < 0 && share >= 1) break;
    double rate = o->fixed >= 0 ? o->fixed : fmin(1, share / o->warm) * fmin(1, (1 - share) / o->cool);
    check_ids(ids, (size_t)o->B * ((size_t)o->T + 1));
    step(t, ids, token_weights, rate);
    double loss = take_losses(t, p, token_weights), time = now();
    batches_give_back();
    p->step++;
    p->tokens += o->B * o->T;
    p->seconds = time - start;
    done++;
    bool last = done == (int)o->steps || batches_stopped();
    if (time - logged >= 30 || last || done == 1) {
      printf("step %d, %.1f minutes, %.2f M tokens (%.0f a second), loss %.4f, of answers %.4f\n", p->step,
             p->seconds / 60, p->tokens / 1e6, p->tokens / p->seconds, loss, p->answer_loss);
      fflush(stdout);
      logged = time;
    }
    if (time - saved >= 300) {
      checkpoint_save(o->out, p, t->weights.values, &t->optimizer);
      saved = now();
    }
    if (last) break;
  }
  checkpoint_save(o->out, p, t->weights.values, &t->optimizer);
}

int main(int argc, char **argv) {
  static struct trainer t = {.options = {.T = 512,
                                         .B = 16,
                                         .minutes = 60,
                                         .lr = 0.02,
                                         .adam = 0.003,
                                         .warm = 0.02,
                                         .cool = 0.4,
                                         .decay = 0.01,
                                         .fixed = -1,
                                         .threads = 2,
                                         .seed = 1,
                                         .out = "model.ck"}};
  struct options *o = &t.options;
  parse(o, argc, argv);
  int length = (int)o->T, threads = (int)o->threads, rows = (int)o->B;
  omp_set_num_threads(threads);
  struct sigaction action = {.sa_handler = on_signal};
  sigaction(SIGTERM, &action, NULL);
  sigaction(SIGINT, &action, NULL);

  t.weights.values = big_alloc(N_PARAMETERS * 4);
  t.weights.transposed = big_alloc((N_MATRIX + VOCAB * WIDTH) * 2);
  t.weights.plain = big_alloc((N_MATRIX + VOCAB * WIDTH) * 2);
  t.optimizer = (struct optimizer){big_alloc(N_MATRIX * 4), big_alloc(N_OTHER * 4), big_alloc(N_OTHER * 4), 0};
  list_matrices(t.matrices);
  rope_init(length);
  struct progress p = progress_new();
  if (o->resume) {
    checkpoint_load(o->resume, &p, t.weights.values, &t.optimizer);
    p.seconds = p.tokens = p.step = 0; /* a new phase with a schedule of its own */
  } else {
    initialise(t.weights.values, t.matrices, o->seed);
  }
  p.minutes = o->minutes;

  /* About 512 tokens a task, but work for every thread. */
  t.rows_per_task = length >= 512 ? 1 : 512 / length;
  if (t.rows_per_task > (rows + threads - 1) / threads) t.rows_per_task = (rows + threads - 1) / threads;
  t.workspaces = big_alloc((size_t)threads * sizeof *t.workspaces);
  for (int i = 0; i < threads; i++) {
    workspace_init(&t.workspaces[i], t.rows_per_task * length, length);
    t.workspaces[i].muon = muon_scratch_new();
  }
  train(&t, &p);
  _exit(0); /* the reader may still wait for input */
}
