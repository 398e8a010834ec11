/* LongChat's line retrieval; only in builds with a JSON library. */
#ifndef TB_CLI_EVAL_LINES_H
#define TB_CLI_EVAL_LINES_H

#include <jansson.h>
#include "cli/eval.h"

/* One case: {"prompt": …, "expected_number": N, "num_lines": …}. The prompt goes through the model's chat template, or
 * is continued as it stands when there is none; greedy, at most 48 tokens. */
bool eval_lines(struct eval *e, const json_t *root, const char *where);

#endif
