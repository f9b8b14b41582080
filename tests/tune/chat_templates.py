"""Small chat templates of the kinds that models have, for a vocabulary with <|im_start|> and <|im_end|>."""

_ASK = "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
_TOOLS = (
    "{% if tools %}{{ '<|im_start|>tools\n' }}{% for t in tools %}{{ t | tojson }}{% endfor %}"
    "{{ '<|im_end|>\n' }}{% endif %}"
)
_SAID = "{{ '<|im_start|>' + m.role + '\n' + m.content }}"

# Writes any role and knows no tools.
PLAIN = "{% for m in messages %}" + _SAID + "{{ '<|im_end|>\n' }}{% endfor %}" + _ASK
# Writes the roles it knows, and passes over others.
THREE_ROLES = (
    "{% for m in messages %}{% if m.role in ('system', 'user', 'assistant') %}"
    + _SAID
    + "{{ '<|im_end|>\n' }}{% endif %}{% endfor %}"
    + _ASK
)
# Calls as JSON of objects, beside the text (Qwen's and Hermes' kind).
CALLS = (
    _TOOLS
    + "{% for m in messages %}"
    + _SAID
    + "{% for c in m.tool_calls or [] %}{{ '<call>' + c.function | tojson + '</call>' }}{% endfor %}"
    "{{ '<|im_end|>\n' }}{% endfor %}" + _ASK
)
# Arguments put together as text (DeepSeek's kind).
CALLS_OF_TEXT = CALLS.replace("c.function | tojson", "c.function.name + ' ' + c.function.arguments")
# Calls instead of the text beside them (Llama 3's kind).
CALLS_ALONE = (
    _TOOLS + "{% for m in messages %}{% if m.tool_calls %}{{ '<|im_start|>assistant\n' }}"
    "{% for c in m.tool_calls %}{{ c.function | tojson }}{% endfor %}{% else %}" + _SAID + "{% endif %}"
    "{{ '<|im_end|>\n' }}{% endfor %}" + _ASK
)
# What follows a tool's answer closes it (Hermes' kind).
CLOSED_LATE = (
    _TOOLS
    + "{% for m in messages %}"
    + _SAID
    + "{% for c in m.tool_calls or [] %}{{ '<call>' + c.function | tojson + '</call>' }}{% endfor %}"
    "{% if m.role != 'tool' or not loop.last %}{{ '<|im_end|>\n' }}{% endif %}{% endfor %}" + _ASK
)
# The system message stands at the last question (Mistral's kind).
SYSTEM_LAST = (
    "{% if messages[0].role == 'system' %}{% set system, rest = messages[0].content, messages[1:] %}"
    "{% else %}{% set system, rest = '', messages %}{% endif %}"
    "{% for m in rest %}{% if m.role == 'user' %}{{ '[INST]' }}"
    "{% if loop.last and system %}{{ system + '\n\n' }}{% endif %}{{ m.content + '[/INST]' }}"
    "{% elif m.role == 'assistant' %}{{ m.content + '<|im_end|>' }}"
    "{% else %}{{ raise_exception('no such role') }}{% endif %}{% endfor %}"
)
# Reasoning of the turn to be answered only, opened by the prompt (Qwen 3.5's kind).
REASONS = (
    "{% set ns = namespace(last=0) %}"
    "{% for m in messages %}{% if m.role == 'user' %}{% set ns.last = loop.index0 %}{% endif %}{% endfor %}"
    "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' }}"
    "{% if m.role == 'assistant' and loop.index0 > ns.last %}"
    "{{ '<think>\n' + (m.reasoning_content or '') + '\n</think>\n\n' }}{% endif %}"
    "{{ m.content + '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n<think>\n' }}{% endif %}"
)
# The prompt opens reasoning that the past has none of (DeepSeek-R1's kind).
DROPS_REASONS = (
    "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' }}"
    "{{ m.content.split('</think>')[-1] + '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n<think>\n' }}{% endif %}"
)
# No token ends a turn.
UNENDED = (
    "{% for m in messages %}{{ m.role + ': ' + m.content + '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ 'assistant: ' }}{% endif %}"
)
ALL = {
    "plain": PLAIN,
    "three roles": THREE_ROLES,
    "calls": CALLS,
    "calls of text": CALLS_OF_TEXT,
    "calls alone": CALLS_ALONE,
    "closed late": CLOSED_LATE,
    "system last": SYSTEM_LAST,
    "reasons": REASONS,
    "drops reasons": DROPS_REASONS,
    "unended": UNENDED,
}
