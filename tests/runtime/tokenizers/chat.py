#!/usr/bin/env python3
"""Chat templates of the runtime against jinja2, set up as `transformers` sets it up: the same prompt, or a refusal.

SmolLM2's own template, some in the manner of Llama 3 and of Qwen 3, single expressions, and drawn combinations of
marks and white space.

usage: chat.py TOKENIZE SMOLLM2_DIR
"""
import json
import random
import subprocess
import sys

import jinja2.sandbox

TOKENIZE, MODEL = sys.argv[1:3]


def raise_exception(message):
    raise jinja2.exceptions.TemplateError(message)


ENVIRONMENT = jinja2.sandbox.ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
ENVIRONMENT.globals["raise_exception"] = raise_exception

# A header a turn; the day is that of the template, because a prompt must be the same tomorrow.
LLAMA = """{{- bos_token }}
{%- if custom is defined %}
    {%- set tools = custom %}
{%- endif %}
{%- if not day is defined %}
    {%- if strftime_now is defined %}
        {%- set day = strftime_now("%d %b %Y") %}
    {%- else %}
        {%- set day = "1 Jan 2024" %}
    {%- endif %}
{%- endif %}
{#- The system turn is taken out of the conversation. #}
{%- if messages[0]['role'] == 'system' %}
    {%- set opening = messages[0]['content'] | trim %}
    {%- set messages = messages[1:] %}
{%- else %}
    {%- set opening = "" %}
{%- endif %}
{{- "<|header|>system<|/header|>\\n\\n" }}
{%- if tools is not none %}
    {{- "Environment: " ~ (tools | tojson) + "\\n" }}
{%- endif %}
{{- "Day: " + day + "\\n\\n" }}
{{- opening }}
{{- "<|turn_end|>" }}
{%- for message in messages %}
    {%- if not (message.role == 'tool' or 'calls' in message) %}
        {{- '<|header|>' + message['role'] + '<|/header|>\\n\\n'+ message['content'] | trim + '<|turn_end|>' }}
    {%- elif 'calls' in message %}
        {%- if message.calls|length != 1 %}
            {{- raise_exception("one call a turn") }}
        {%- endif %}
        {{- message.calls[0].function | items | dictsort }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|header|>assistant<|/header|>\\n\\n' }}
{%- endif %}
"""

# The last turn that is no tool's answer is looked for from behind; thoughts of earlier turns are cut away.
QWEN = """{%- if tools %}
    {{- '<|im_start|>system\\n# Tools\\n' }}
    {%- for tool in tools %}
        {{- tool | tojson }}
    {%- endfor %}
{%- else %}
    {%- if messages[0].role == 'system' %}
        {{- '<|im_start|>system\\n' + messages[0].content + '<|im_end|>\\n' }}
    {%- endif %}
{%- endif %}
{%- set state = namespace(searching=true, last=messages|length - 1) %}
{%- for message in messages[::-1] %}
    {%- set at = (messages|length - 1) - loop.index0 %}
    {%- if state.searching and message.role == "user" and message.content is string and not(message.content.startswith('<answer>') and message.content.endswith('</answer>')) %}
        {%- set state.searching = false %}
        {%- set state.last = at %}
    {%- endif %}
{%- endfor %}
{%- for message in messages %}
    {%- set content = message.content if message.content is string else '' %}
    {%- if (message.role == "user") or (message.role == "system" and not loop.first) %}
        {{- '<|im_start|>' + message.role + '\\n' + content + '<|im_end|>' + '\\n' }}
    {%- elif message.role == "assistant" %}
        {%- set thoughts = '' %}
        {%- if '</think>' in content %}
            {%- set thoughts = content.split('</think>')[0].rstrip('\\n').split('<think>')[-1].lstrip('\\n') %}
            {%- set content = content.split('</think>')[-1].lstrip('\\n') %}
        {%- endif %}
        {%- if loop.index0 > state.last and (loop.last or thoughts) %}
            {{- '<|im_start|>assistant\\n<think>\\n' + thoughts.strip('\\n') + '\\n</think>\\n\\n' + content.lstrip('\\n') }}
        {%- else %}
            {{- '<|im_start|>assistant\\n' + content }}
        {%- endif %}
        {{- '<|im_end|>\\n' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\\n' }}
    {%- if thinking is defined and thinking is false %}
        {{- '<think>\\n\\n</think>\\n\\n' }}
    {%- endif %}
{%- endif %}"""

ALTERNATING = """{{ bos_token }}{% for message in messages %}
{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('user and assistant take turns') }}{% endif %}
{% if message['role'] == 'user' %}
{{ '[INST] ' + message['content'].strip() + ' [/INST]' }}
{% elif message['role'] == 'assistant' %}{{ message['content'] + eos_token }}
{% endif %}

{% endfor %}
"""

TALKS = [
    [("user", "What is 1 + 1?")],
    [("system", " Be brief. "), ("user", "  é中\u00a0\x1f \n")],
    [("user", "a"), ("assistant", "<think>\nhm\n</think>\n\nb"), ("user", "<answer>c</answer>"),
     ("assistant", "</think>{{ d }}")],
    [("user", ""), ("system", "later"), ("user", "{% if %}")],
    [("assistant", "first")],
]

EXPRESSIONS = """
1 + 2 * 3 - 4 // 3 % 2 | -3 + 5 | "a" ~ 1 ~ true ~ none | 'x' "y" | "\\n\\t\\\\\\"\\x41\\u00e9" | 'a\\qb' | 7 == 7.0
true and "yes" or "no" | false and missing.x or "no" | not missing | not "" and not [] | (1, 2)[1] | [1, 2, 3][-1]
[1, 2, 3][5] is defined | "héllo"[1:4] | "héllo"[::-1] | [1, 2, 3, 4][1:] | join | [1, 2, 3, 4][-3:-1] | last
[1, 2, 3, 4][::-2] | first | "a" in "cat" | "a" not in ["b", "c"] | 2 in [1, 2] | "k" in {"k": 1} | {"k": "v"}.k
{"k": "v"}["k"] | {"k": "v"}.get("q") | {"k": "v"}.get("q", "r") | {}.x is defined | "  a b ".strip() | "xxaxx".strip("x")
"xxaxx".rstrip("x") | "xxaxx".lstrip("x") | " a " | trim | length | "a,b,,c".split(",") | join("-") | "aXbX".split("X")[-1] | length
"abc".startswith("ab") | "abc".endswith("ab") | "ab".replace("b", "cc") | "Straße" | upper | "ÀB" | lower
"x" if 1 < 2 else "y" | "x" if false | missing | default("d") | "" | default("d", true) | none | d("x") | none is none
missing is defined | 1 is number | true is number | "a" is string | {} is mapping | [] is iterable | 3 is equalto 3
true is true | 0 is false | range(3) | join(",") | (1 if missing is undefined else 2) + 1 | "a" < "b" | "2" == 2 | true == 1
not 1 == 2 | not "a" in "b" | 5 - 2 - 1 | 2 * -3 | "%" | "'" | '"' | missing | first is defined | [[1, 2], [3]] | last | first
messages[0]["role"] | messages[0].content | length | messages | length | messages[-1].role | bos_token ~ eos_token
missing.x | none + 1 | "a" + 1 | unknown() | raise_exception("no") | 1 // 0 | messages.x.y | "a" * 2 < 3 | [1] + [2] | last
"ab" | list | last | "a" | string | "İ" | lower | length | "ß" in "Straße" | [none, 1][0] is none | loop is defined | 010
""".replace("\n", " | ").split(" | ")
# Of the pipes above some are filters: every run of up to three neighbours is tried, and what does not parse is refused.
PIECES = [piece.strip() for piece in EXPRESSIONS if piece.strip()]
JOINED = PIECES + [" | ".join(PIECES[i:i + n]) for n in (2, 3) for i in range(len(PIECES) - n + 1)]

MARKS = ["{% if yes %}", "{%- if yes %}", "{% if no -%}", "{%+ if yes +%}", "{% else %}", "{%- else -%}", "{% endif %}",
         "{%- endif %}", "{% endif -%}", "{% for x in [1, 2] %}", "{%- for x in list -%}", "{% endfor %}", "{%- endfor -%}",
         "{{ x }}", "{{- x -}}", "{{ yes -}}", "{# note #}", "{#- note -#}", "{# #}", "{% set y = 3 %}", "{%- set y = 4 -%}", "{{ y }}",
         "{% set z %}", "{% endset %}", "{{- z }}", "{{ '}}' }}", "{{ {'a': {'b': 1}}.a.b }}"]
BLANKS = ["", " ", "  ", "\n", "\n\n", " \n ", "\t", "a", " b ", "\nc", "d\n", "{", "}", "%}", "\r\n", "e\r\n  "]


def drawn(source):
    """A template that mostly parses: what is opened is closed."""
    parts, open_ = [], []
    for _ in range(source.randrange(1, 14)):
        parts.append(source.choice(BLANKS))
        mark = source.choice(MARKS)
        kind = mark.strip("{}%+-# ").split(" ")[0] if "%" in mark[:2] else ""
        if kind == "else" and (not open_ or open_[-1] not in ("if", "for")):
            continue
        if kind.startswith("end") and (not open_ or open_[-1].rstrip("+") != kind[3:]):
            continue
        if kind == "else":
            open_[-1] += "+"
        elif kind.startswith("end"):
            open_.pop()
        elif kind in ("if", "for") or mark == "{% set z %}":
            open_.append(kind)
        parts.append(mark)
    parts.append(source.choice(BLANKS))
    for kind in reversed(open_):
        parts += [source.choice(["{% end", "{%- end"]) + kind.rstrip("+") + source.choice([" %}", " -%}"]),
                  source.choice(BLANKS)]
    return "".join(parts)


def original(template, variables):
    try:
        return ENVIRONMENT.from_string(template).render(**variables)
    except Exception as error:  # a template may fail in any way
        return error


def main():
    names = {"bos_token": "<s>", "eos_token": "</s>", "tools": None, "documents": None}
    cases = []
    own = json.load(open(f"{MODEL}/tokenizer_config.json"))["chat_template"]
    for talk in TALKS:
        messages = [{"role": role, "content": content} for role, content in talk]
        for more in ({}, {"add_generation_prompt": False}, {"thinking": False, "day": "today"}):
            variables = {"add_generation_prompt": True, "messages": messages, **names, **more}
            cases += [(template, variables, True) for template in (own, LLAMA, QWEN)]
            cases.append((ALTERNATING, variables, talk[0][0] == "user" and len(talk) in (1, 3)))
    talk = {"messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "b"}], **names}
    cases += [("{{ " + expression + " }}", talk, False) for expression in JOINED]
    source = random.Random(5)
    variables = {"yes": True, "no": False, "list": ["p", "q", "r"], "x": "X"}
    cases += [(drawn(source), variables, False) for _ in range(6500)]

    result = subprocess.run([TOKENIZE, MODEL], text=True, capture_output=True, check=True, input="".join(
        json.dumps({"template": template, "variables": variables}) + "\n" for template, variables, _ in cases))
    rendered = refused = both = 0
    for (template, variables, must), line in zip(cases, result.stdout.split("\n")):
        answer, wanted = json.loads(line), original(template, variables)
        place = f"{template!r} with {variables}"
        if isinstance(wanted, Exception):
            assert "error" in answer, f"{place}: rendered as {answer}, which fails with {wanted!r} in jinja2"
            both += 1
        elif "error" in answer:
            assert not must, f"{place}: {answer['error']}"
            refused += 1
        else:
            assert answer["prompt"] == wanted, f"{place}: rendered as {answer['prompt']!r}, wanted is {wanted!r}"
            rendered += 1
    print(f"{rendered} renderings equal, {both} refused by both, {refused} by r1c alone")
    # Refusing everything would pass above.
    assert rendered > 4000 and refused < 30, (rendered, refused)


main()
