/* A profile: what `calibrate` measured on a model, for stores and planner. A GGUF file with
 *
 *   thimble.profile.version  u32   1
 *   thimble.profile.model    u64   the model's identity (src/core/identity.c)
 *   thimble.profile.tokens   u64   tokens that were looked at
 *   blk.<layer>.<name>       F32   one tensor per statistic, fastest dimension last here; D = n_kv·d_k (keys) or n_kv·d_v
 *
 *   k.min k.max k.mean      [D]             keys before RoPE, biases and norms of heads included
 *   kr.mean                 [D]             keys with RoPE
 *   v.min v.max v.mean      [D]             values
 *   k.moment                [D][D]          E[k kᵀ] of all heads together, before RoPE, uncentred
 *   kr.moment               [n_kv][d_k][d_k]  E[k kᵀ] per head, with RoPE
 *   v.moment                [D][D]          E[v vᵀ]
 *   q.moment                [n_kv][d_k][d_k]  E[q qᵀ], with RoPE, summed over the query heads of a KV head
 *   o.metric                [n_kv][d_v][d_v]  Σ Wₒᵀ·Wₒ over the query heads: |Wₒ e|² is what an error e of the head's output costs
 *   k.gram v.gram           [D][D]          W·Wᵀ of k_proj and v_proj (rows are outputs): plain SVD
 *   k.asvd v.asvd           [D][D]          W·S²·Wᵀ, S = sqrt(mean|x|) of the input channels: ASVD (arXiv 2312.05821)
 *
 *   k.cross  [n_kv][n_kv][d_k]  v.cross  [n_kv][n_kv][d_v][d_v]   E[u wᵀ], u and w rows of the layer below and this one
 *                               scaled to length 1: cache/align.h
 *   merge.cosine            [4]             mean cosine of u and w: keys, keys once aligned, values, values once aligned
 *
 *   loss.<type>             [2]             what a cache type loses in this layer, keys and values, in nats of KL divergence of the
 *                                           next token's distribution; -1: the type does not suit that side
 *   loss.merge.up, .down    [2]             what sharing directions with the layer above or below loses, directions exact; -1: it cannot
 *   loss.recall             [2]             what recall loses for every token passed over for one attended to, keys exact; then -1
 *
 * and about the losses, for reports:
 *   thimble.profile.loss.scale  f32[1]      what the sum over layers was multiplied by to be what a whole run loses
 *                                           (src/core/calibrate_loss.c)
 *   thimble.profile.loss.check  f32[4]      all layers at about 2 and at about 4 bits: predicted and measured nats
 *
 * D × D tensors are left out when D > 1024. Others may join them; a name that is absent was not measured. All values are finite: checked when opened. */
#ifndef TB_CACHE_PROFILE_H
#define TB_CACHE_PROFILE_H

#include "base/alloc.h"
#include "base/status.h"
#include "io/gguf.h"

struct tb_profile;

enum tb_status tb_profile_open(struct tb_profile **out, const char *path, const struct tb_allocator *a,
                               struct tb_error *err);
/* From an open file, which is owned by the profile afterwards (freed on failure too). */
enum tb_status tb_profile_from_gguf(struct tb_profile **out, struct tb_gguf *g, const struct tb_allocator *a,
                                    struct tb_error *err);
void tb_profile_free(struct tb_profile *p);

uint64_t tb_profile_model(const struct tb_profile *p);
uint64_t tb_profile_tokens(const struct tb_profile *p);
/* Checksum of everything in it: two profiles with the same identity give the same cache. */
uint64_t tb_profile_identity(const struct tb_profile *p);

/* n numbers of the header; false when it has no such array. */
bool tb_profile_numbers(const struct tb_profile *p, const char *key, size_t n, double *out);

/* *out: n floats, valid as long as the profile; NULL when the statistic is absent (or p is NULL). TB_E_FORMAT, naming it,
 * when it has another size. */
enum tb_status tb_profile_get(const struct tb_profile *p, uint32_t layer, const char *name, size_t n, const float **out,
                              struct tb_error *err);

#endif
