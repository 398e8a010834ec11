"""Conversations and short templates for template_oracle.py."""
import copy

# Every text a caller gives holds this, so that the oracle can see where it ends up.
MARK = "\u2063"
SPECIALS = ("<|im_start|>", "<|im_end|>", "<s>", "</s>", "[INST]", "<|eot_id|>", "<bos>", "<start_of_turn>", "<think>",
            "<\uff5cUser\uff5c>", "<|end|>", "<|channel|>", "<|\"|>")


def u(text):
    """A caller's text: a marker between all characters would hide strings the templates look for; one at each end."""
    return MARK + text + MARK


WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": u("Get the \"current\" weather <in> a city & more\nsecond line"),
        "parameters": {
            "type": "object",
            "properties": {
                "city": {"type": "string", "description": u("The city, e.g. Z\u00fcrich")},
                "unit": {"type": "string", "enum": ["celsius", "fahrenheit"], "default": "celsius"},
                "days": {"type": "integer", "description": "how many", "default": 3, "nullable": True},
                "tags": {"type": "array", "items": {"type": "string"}},
                "exact": {"type": "boolean"},
                "where": {"type": "object", "description": "place", "required": ["lat"],
                          "properties": {"lat": {"type": "number"}, "lon": {"type": "number", "default": 1.5}}},
                "points": {"type": "array", "items": {"type": "object", "properties": {"x": {"type": "number"}},
                                                      "required": ["x"]}},
                "any": {"oneOf": [{"type": "string", "description": "s"}, {"type": "number", "default": 0.1}]},
                "union": {"type": ["string", "null"]},
            },
            "required": ["city"],
        },
        "return": {"type": "string"},
    },
}
NOTHING = {"type": "function", "function": {"name": "ping", "description": "Ping", "parameters": {"type": "object", "properties": {}}}}
TOOLS = [WEATHER, NOTHING]


def call(name, arguments, id_="abcdef123"):
    return {"id": id_, "type": "function", "function": {"name": name, "arguments": arguments}}


def msg(role, content=None, **more):
    m = {"role": role}
    m["content"] = u(content) if isinstance(content, str) else content
    m.update(more)
    return m


SYSTEM = msg("system", "You are a pirate.")
USER = msg("user", "Hello!")
ANSWER = msg("assistant", "Arr, hello.")
AGAIN = msg("user", "How are you?")
TRICKY = ("it's \"quoted\" \\n \\ {{ 7 * 7 }} {% if x %} {# c #}\n\n  indented\ttab\r\n" + " ".join(SPECIALS) +
          " \u00e9\u4e16\u754c \U0001f600 \u00a0end &<>'\x7f\u2028")
REASONED = msg("assistant", "<think>\nlet me\nthink\n</think>\n\nThe answer is 42.")
CALLS = msg("assistant", "", tool_calls=[call("get_weather", {"city": u("Z\u00fcrich \"x\" <a> & b"), "days": 2, "exact": True,
                                                              "none": None, "f": 0.1, "l": [1, "a", {"b": []}], "t": u("a\nb")})])
RESULT = msg("tool", "{\"temp\": 21.5}", tool_call_id="abcdef123", name="get_weather")
PARTS = [{"type": "text", "text": u("part one")}, {"type": "text", "text": u("part two")}]


def base_conversations():
    yield "user", [USER]
    yield "system, user", [SYSTEM, USER]
    yield "several turns", [SYSTEM, USER, ANSWER, AGAIN]
    yield "several turns, no system", [USER, ANSWER, AGAIN]
    yield "assistant last", [USER, ANSWER]
    yield "tricky text", [msg("system", TRICKY), msg("user", TRICKY), msg("assistant", TRICKY), msg("user", TRICKY)]
    yield "only special tokens", [msg("user", s) for s in SPECIALS[:1]]
    yield "white space", [msg("system", " \n\u3000s \n"), msg("user", "\n\n  x  \n\n"), msg("assistant", "\n\ny\n"), msg("user", "")]
    yield "raw empty", [{"role": "user", "content": ""}, {"role": "assistant", "content": ""}, {"role": "user", "content": " "}]
    yield "thinking in text", [USER, REASONED, AGAIN]
    yield "thinking last", [USER, REASONED]
    yield "reasoning_content", [USER, msg("assistant", "42", reasoning_content=u("because\n")), AGAIN,
                                msg("assistant", "43", reasoning_content=u("\nmore"), thinking=u("hm"))]
    yield "no_think", [msg("system", "Be brief. /no_think"), msg("user", "hi /think")]
    yield "tool call", [USER, CALLS, RESULT, ANSWER, AGAIN]
    yield "tool call, system", [SYSTEM, USER, CALLS, RESULT]
    yield "two results", [USER, msg("assistant", "Let me see.", tool_calls=CALLS["tool_calls"] + [call("ping", {}, "xyzxyz987")]),
                          RESULT, msg("tool", "pong", tool_call_id="xyzxyz987", name="ping"), msg("assistant", "done")]
    yield "call with text arguments", [USER, msg("assistant", None, tool_calls=[call("ping", "{\"a\": 1}")]), RESULT]
    yield "call open", [USER, CALLS]
    yield "developer", [msg("developer", "Rules."), USER]
    yield "other role", [msg("narrator", "Once."), USER]
    yield "two users", [USER, AGAIN]
    yield "two systems", [SYSTEM, SYSTEM, USER]
    yield "assistant first", [ANSWER, USER]
    yield "parts", [{"role": "system", "content": PARTS}, {"role": "user", "content": PARTS}]
    yield "image", [{"role": "user", "content": PARTS + [{"type": "image"}]}]
    yield "null content", [USER, {"role": "assistant", "content": None}, AGAIN]
    yield "no content", [USER, {"role": "assistant"}, AGAIN]
    yield "number content", [{"role": "user", "content": 12}]
    yield "empty", []
    yield "sep", [USER, msg("assistant", "a<tool_sep>b", tool_calls=CALLS["tool_calls"]), RESULT]


def conversations():
    """(name, context) of all: with and without tools, generation prompt, thinking."""
    variants = [
        ("", {}),
        ("prompt", {"add_generation_prompt": True}),
        ("tools", {"tools": TOOLS, "add_generation_prompt": True}),
        ("tools, no prompt", {"tools": TOOLS}),
        ("thinking", {"enable_thinking": True, "add_generation_prompt": True, "thinking": True}),
        ("no thinking", {"enable_thinking": False, "add_generation_prompt": True}),
        ("kwargs", {"documents": [{"doc_id": 1, "text": u("doc"), "title": "t"}], "controls": {"citations": True, "length": "short"},
                    "add_generation_prompt": True, "available_tools": TOOLS, "builtin_tools": ["browser", "python"],
                    "reasoning_effort": "high", "keep_past_thinking": True, "tools_in_user_message": False, "date_string": "1 May 2024",
                    "custom_tools": TOOLS, "add_vision_id": True, "model_identity": u("You are X.")}),
    ]
    for name, messages in base_conversations():
        for variant, more in variants:
            context = {"messages": messages, "tools": None, "documents": None, "add_generation_prompt": False,
                       "bos_token": "<s>", "eos_token": "</s>"}
            context.update(more)
            yield f"{name} ({variant})", copy.deepcopy(context)
        yield f"{name} (bare)", {"messages": copy.deepcopy(messages)}


def language():
    """(template, context) of short templates, one construct each."""
    context = {
        "s": u("Hello World"), "t": "a,b,,c", "n": 7, "f": 2.5, "neg": -3, "yes": True, "no": False, "nil": None,
        "l": [3, 1, 2], "words": ["banana", "Apple", "cherry"], "e": [], "d": {"b": 1, "a": 2, "C": 3}, "nested": {"x": {"y": [1, {"z": "deep"}]}},
        "users": [{"name": "Bob", "age": 30, "on": True}, {"name": "ann", "age": 25, "on": False}, {"name": "Cyd", "age": 30, "on": True}],
        "html": "<a href='x'>&\"", "uni": "\u00e9\u00df\u0130\u01c6 \u03a3\u03a3 \ufb01x", "ws": " \t\n x y \u3000", "lines": "a\nb\r\nc\n\nd",
        "key": "a", "items": [1], "q": "it's", "ctl": "\x00\x1f\x7f\u200b\u2028\ud7ff\ue000\U0001f600",
    }
    for template in template_list():
        yield template, context


def template_list():
    with open(__file__.replace("template_cases.py", "template_cases.txt"), encoding="utf-8") as f:
        text = f.read()
    for block in text.split("\n----\n"):
        body = "\n".join(line for line in block.split("\n") if not line.startswith("//"))
        lines = body.split("\n")
        # A block whose first line is ">>>" is one template; otherwise each line is one.
        if lines[0] == ">>>":
            yield "\n".join(lines[1:])
        else:
            yield from (line for line in lines if line)
