"""What becomes of each field of a request that a model here answers, endpoint by endpoint: the declaration.

Fields are those of OpenAI's, Anthropic's and the engine's own documents. A field with one of its `neutral`
values, or null, asks for nothing and counts as not given.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

CHAT, COMPLETIONS, EMBEDDINGS = "/v1/chat/completions", "/v1/completions", "/v1/embeddings"
RESPONSES, MESSAGES, COUNT = "/v1/responses", "/v1/messages", "/v1/messages/count_tokens"

Fate = Literal["passed", "rewritten", "harmless", "told", "refused"]
MEANINGS: dict[Fate, str] = {
    "passed": "the engine heeds it",
    "rewritten": "the engine heeds it in other words, into which it is put",
    "harmless": "it does nothing, and the answer is what it would be",
    "told": "it does nothing, the answer is less than asked for, and `X-Sixgig-Ignored` names it",
    "refused": "the answer would be another than asked for: status 400 names it",
}


@dataclass(frozen=True)
class Field:
    """cure: what to do instead of a refused one."""

    fate: Fate
    neutral: tuple[Any, ...] = ()
    cure: str = "leave it out"


Fields = Mapping[str, Field]


def _all(fate: Fate, names: str) -> dict[str, Field]:
    return {name: Field(fate) for name in names.split()}


_ENGINES_OWN = _all("passed", """
    adaptive_decay adaptive_target add_generation_prompt backend_sampling cache_prompt chat_template_kwargs
    continue_final_message dry_allowed_length dry_base dry_multiplier dry_penalty_last_n
    dry_sequence_breakers dynatemp_exponent dynatemp_range grammar id_slot ignore_eos
    json_schema lora min_keep min_p mirostat mirostat_eta mirostat_tau n_cache_reuse n_cmpl n_discard
    n_indent n_keep n_predict n_probs post_sampling_probs reasoning_budget_message reasoning_budget_tokens
    reasoning_control reasoning_format repeat_last_n repeat_penalty return_progress return_tokens samplers
    sse_ping_interval t_max_predict_ms thinking_budget_tokens timings_per_token top_k top_n_sigma typical_p
    verbose xtc_probability xtc_threshold
""")  # fmt: skip
_SAMPLING = _ENGINES_OWN | _all("passed", """
    frequency_penalty logit_bias presence_penalty seed stop stream stream_options temperature top_p
""")  # fmt: skip
_BOOKKEEPING = _all("harmless", """
    metadata prompt_cache_key prompt_cache_retention safety_identifier service_tier user
""")  # fmt: skip
_TOOLS = {"tools": Field("passed"), "tool_choice": Field("rewritten"), "parallel_tool_calls": Field("passed")}
_AUDIO = "ask for text alone"

FIELDS: dict[str, Fields] = {
    CHAT: _SAMPLING | _BOOKKEEPING | _TOOLS | _all("passed", """
        model messages max_tokens max_completion_tokens n logprobs top_logprobs response_format
        reasoning_effort
    """) | _all("harmless", "prediction store") | {
        "echo": Field("passed"),
        "verbosity": Field("told"),
        "audio": Field("refused", cure=_AUDIO),
        "modalities": Field("refused", (["text"],), _AUDIO),
        "functions": Field("refused", ([],), "use tools"),
        "function_call": Field("refused", ("none", "auto"), "use tool_choice"),
        "web_search_options": Field("refused", cure="use a tool of your own"),
    },
    COMPLETIONS: _SAMPLING | _BOOKKEEPING | _all("passed", "model prompt max_tokens n logprobs") | {
        "echo": Field("refused", (False,), "put the prompt before the answer yourself"),
        "suffix": Field("refused", ("",), "use Ollama's /api/generate, which has it"),
        "best_of": Field("refused", (1,), "ask for n and choose"),
        "response_format": Field("refused", ({"type": "text"},), "use json_schema, or a chat"),
        "tools": Field("refused", ([],), "use a chat"),
    },
    EMBEDDINGS: _all("passed", "model input content encoding_format embd_normalize") | _BOOKKEEPING | {
        "dimensions": Field("refused", cure="shorten the vector yourself, or use Ollama's /api/embed"),
    },
    RESPONSES: _SAMPLING | _BOOKKEEPING | _TOOLS | _all("passed", """
        model input instructions max_output_tokens reasoning top_logprobs logprobs
        response_format
    """) | {
        "text": Field("rewritten"),
        "store": Field("harmless"),
        "include": Field("told", ([],)),
        "max_tool_calls": Field("told"),
        "truncation": Field("told", ("disabled",)),
        "context_management": Field("told", ([],)),
        "background": Field("refused", (False,), "wait for the answer"),
        "conversation": Field("refused", cure="send the turns as input"),
        "previous_response_id": Field("refused", cure="send the turns as input"),
        "prompt": Field("refused", cure="send its text as input"),
    },
    MESSAGES: _all("passed", """
        model messages max_tokens system temperature top_p top_k stream chat_template_kwargs tools
    """) | _all("harmless", "metadata service_tier inference_geo speed cache_control") | {
        "stop_sequences": Field("passed"),
        "tool_choice": Field("rewritten"),
        "thinking": Field("rewritten"),
        "context_management": Field("told"),
        "output_config": Field("told"),
        "output_format": Field("refused", cure="use a tool with this schema and tool_choice"),
        "container": Field("refused", cure="use tools of your own"),
        "mcp_servers": Field("refused", ([],), "use tools of your own"),
    },
}  # fmt: skip
FIELDS[COUNT] = FIELDS[MESSAGES]


def given(path: str, fields: Mapping[str, Any], fate: Fate) -> list[str]:
    """Names of fields with this fate that ask for something. Names nobody knows are told."""
    known = FIELDS.get(path)
    if known is None:
        return []
    unknown = Field("told")
    found = ((name, known.get(name, unknown), value) for name, value in fields.items() if value is not None)
    return [name for name, field, value in found if field.fate == fate and value not in field.neutral]


def cure(path: str, name: str) -> str:
    """What to do instead of a refused field."""
    return FIELDS[path][name].cure


def table() -> str:
    """The declaration as the manual shows it; the engine's own fields in one line."""
    lines = ["| endpoint | fields | what becomes of them |", "|---|---|---|"]
    for path, fields in FIELDS.items():
        if path == COUNT:
            continue
        for fate in MEANINGS:
            hidden = _ENGINES_OWN if fields.keys() >= _ENGINES_OWN.keys() else ()
            names = [n for n, f in sorted(fields.items()) if f.fate == fate and n not in hidden]
            if names:
                lines.append(f"| `{path}` | {', '.join(f'`{name}`' for name in names)} | {fate} |")
    own = ", ".join(f"`{name}`" for name in sorted(_ENGINES_OWN))
    return "\n".join([*lines, f"| all but embeddings and messages | {own} | passed |"])
