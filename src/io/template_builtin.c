/* Chat formats by name, for files that carry no template or a wrong one. What each family was trained on is published
 * with the models; the texts here are our own. */
#include "io/template.h"

#include <string.h>

#define LOOP_BEGIN "{% for message in messages %}"
#define LOOP_END "{% endfor %}"
#define PROMPT(text) "{% if add_generation_prompt %}" text "{% endif %}"

/* Formats without a system role of their own put the system text before the first user message. */
#define SYSTEM_INTO_USER(open, close)                                                                                  \
  "{% set ns = namespace(system='') %}" LOOP_BEGIN                                                                     \
  "{% if message.role == 'system' %}{% set ns.system = " open " ~ message.content ~ " close " %}"

static const struct {
  const char *name, *text;
} builtin[] = {
    {"chatml", LOOP_BEGIN "{{ '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>\\n' }}" LOOP_END
                          PROMPT("{{ '<|im_start|>assistant\\n' }}")},
    {"llama2", SYSTEM_INTO_USER("'<<SYS>>\\n'", "'\\n<</SYS>>\\n\\n'")
               "{% elif message.role == 'user' %}{{ bos_token }}{{ '[INST] ' + ns.system + (message.content|trim) + ' [/INST]' }}"
               "{% set ns.system = '' %}"
               "{% else %}{{ ' ' + (message.content|trim) + ' ' }}{{ eos_token }}{% endif %}" LOOP_END},
    {"llama3", "{{ bos_token }}" LOOP_BEGIN
               "{{ '<|start_header_id|>' + message.role + '<|end_header_id|>\\n\\n' + (message.content|trim) + '<|eot_id|>' }}"
               LOOP_END PROMPT("{{ '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}")},
    {"gemma", "{{ bos_token }}" SYSTEM_INTO_USER("''", "'\\n\\n'")
              "{% else %}{{ '<start_of_turn>' + ('model' if message.role == 'assistant' else message.role) + '\\n' "
              "+ ns.system + (message.content|trim) + '<end_of_turn>\\n' }}{% set ns.system = '' %}{% endif %}" LOOP_END
              PROMPT("{{ '<start_of_turn>model\\n' }}")},
    {"mistral", "{{ bos_token }}" SYSTEM_INTO_USER("''", "'\\n\\n'")
                "{% elif message.role == 'user' %}{{ '[INST] ' + ns.system + message.content + '[/INST]' }}{% set ns.system = '' %}"
                "{% else %}{{ ' ' + (message.content|trim) }}{{ eos_token }}{% endif %}" LOOP_END},
    {"zephyr", LOOP_BEGIN "{{ '<|' + message.role + '|>\\n' + message.content }}{{ eos_token }}{{ '\\n' }}" LOOP_END
                          PROMPT("{{ '<|assistant|>\\n' }}")},
    {"phi3", LOOP_BEGIN "{{ '<|' + message.role + '|>\\n' + message.content + '<|end|>\\n' }}" LOOP_END
                        PROMPT("{{ '<|assistant|>\\n' }}")},
    {"granite", LOOP_BEGIN
                "{{ '<|start_of_role|>' + message.role + '<|end_of_role|>' + message.content + '<|end_of_text|>\\n' }}" LOOP_END
                PROMPT("{{ '<|start_of_role|>assistant<|end_of_role|>' }}")},
    {"vicuna", "{{ bos_token }}" LOOP_BEGIN
               "{% if message.role == 'system' %}{{ message.content + '\\n\\n' }}"
               "{% elif message.role == 'user' %}{{ 'USER: ' + message.content + '\\n' }}"
               "{% else %}{{ 'ASSISTANT: ' + message.content }}{{ eos_token }}{{ '\\n' }}{% endif %}" LOOP_END
               PROMPT("{{ 'ASSISTANT:' }}")},
    {"alpaca", "{{ bos_token }}" LOOP_BEGIN
               "{% if message.role == 'system' %}{{ message.content + '\\n\\n' }}"
               "{% elif message.role == 'user' %}{{ '### Instruction:\\n' + message.content + '\\n\\n' }}"
               "{% else %}{{ '### Response:\\n' + message.content }}{{ eos_token }}{{ '\\n\\n' }}{% endif %}" LOOP_END
               PROMPT("{{ '### Response:\\n' }}")},
};

enum { COUNT = sizeof builtin / sizeof builtin[0] };

const char *tb_template_builtin(const char *name) {
  for (size_t i = 0; i < COUNT; i++)
    if (strcmp(builtin[i].name, name) == 0) return builtin[i].text;
  return NULL;
}

const char *const *tb_template_builtin_names(void) {
  static const char *const names[] = {"chatml", "llama2", "llama3",  "gemma",  "mistral", "zephyr",
                                      "phi3",   "granite", "vicuna", "alpaca", NULL};
  _Static_assert(sizeof names / sizeof names[0] == COUNT + 1, "one name per template");
  return names;
}
