"""A request as the engine understands it: what it would pass over in silence is refused, told or put into its
words. By the declaration of `fields`; pure.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from sixgig.engines import ModelCard
from sixgig.errors import UsageError
from sixgig.gateway.call import Call
from sixgig.gateway.fields import (
    CHAT,
    COMPLETIONS,
    COUNT,
    EMBEDDINGS,
    FIELDS,
    MESSAGES,
    RESPONSES,
    cure,
    given,
)
from sixgig.gateway.schemas import MARKS, undoing, unheld

IGNORED_HEADER = "x-sixgig-ignored"
_NAME = re.compile(r"[A-Za-z0-9_.$-]{1,60}", re.ASCII)
_MOST_IGNORED = 20
_ANTHROPIC, _INFILL = (MESSAGES, COUNT), "/infill"
# Blocks that the engine reads; thinking that is hidden is lost with every model but Anthropic's.
_BLOCKS = {"text", "thinking", "image", "tool_use", "tool_result"}
_LOST_BLOCKS = {"redacted_thinking"}
Fields = dict[str, Any]
_SHAPES: dict[type, str] = {dict: "an object", list: "a list", str: "a text"}


@dataclass(frozen=True)
class Prepared:
    """body: for the engine, the client's own bytes unless something was put into other words. told: names of
    what does nothing. stops: stop sequences, where the answer is to say that one ended it.
    """

    body: bytes
    told: tuple[str, ...] = ()
    stops: tuple[str, ...] = ()


def prepared(call: Call, fields: Fields, card: ModelCard) -> Prepared:
    """fields: the body read. Raises UsageError, naming one, where the answer would be another than asked."""
    if call.path not in (*FIELDS, _INFILL):
        return Prepared(call.body)
    if call.path != COUNT:
        require_purpose(card, embeds=call.path == EMBEDDINGS)
    if call.path in (COMPLETIONS, _INFILL):
        _check_text_schema(fields.get("json_schema"))
        if call.path == _INFILL:
            return Prepared(call.body)
    for name in given(call.path, fields, "refused"):
        raise _refusal(name, cure(call.path, name))
    _check_shapes(call.path, fields)
    _check_logit_bias(fields.get("logit_bias"))
    told = given(call.path, fields, "told")
    if call.path in _ANTHROPIC:
        told += _block_faults(fields)
        config = fields.get("output_config")
        if isinstance(config, dict) and config.get("format") is not None:
            raise _refusal("output_config.format", cure(call.path, "output_format"))
    told += _schema_faults(call, fields)
    changes = _tool_changes(call, fields, card, told) | _text_changes(call.path, fields, told)
    changes |= _thinking_changes(call.path, fields, card)
    body = json.dumps(fields | changes).encode() if changes else call.body
    stops = fields.get("stop_sequences") if call.path == MESSAGES else None
    asked = tuple(stop for stop in stops if isinstance(stop, str)) if isinstance(stops, list) else ()
    return Prepared(body, tuple(dict.fromkeys(told)), asked)


def require_purpose(card: ModelCard, embeds: bool) -> None:
    """Raises UsageError for a model that is made for the other one."""
    if embeds and card.pooling is None:
        cure = f"ask an embedding model, or set pooling in [models.{card.name}]"
        raise UsageError(f"{card.name} gives no embeddings", cure=cure)
    if not embeds and card.pooling is not None:
        raise UsageError(f"{card.name} gives embeddings only", cure="ask it for embeddings")


def ignored_header(names: Iterable[str]) -> dict[str, str]:
    """A header that names what was given and does nothing; empty where that is nothing."""
    shown = [name for name in names if _NAME.fullmatch(name)][:_MOST_IGNORED]
    return {IGNORED_HEADER: ", ".join(shown)} if shown else {}


def _refusal(name: str, cure: str) -> UsageError:
    return UsageError(f"{name[:80]} is not possible with the models here", cure=cure)


def _check_shapes(path: str, fields: Fields) -> None:
    """What the engine would take for something else, or for nothing."""
    shapes: dict[str, tuple[type, ...]] = {"response_format": (dict,)}
    if path in _ANTHROPIC:
        shapes |= {"messages": (list,), "system": (str, list), "stop_sequences": (list,)}
    for name, shape in shapes.items():
        if fields.get(name) is not None and not isinstance(fields[name], shape):
            kinds = " or ".join(_SHAPES[kind] for kind in shape)
            raise UsageError(f"{name} must be {kinds}", f"it is {type(fields[name]).__name__}")
    limit = fields.get("max_tokens")
    if path == MESSAGES and limit is not None and not (isinstance(limit, int) and limit >= 1):
        raise UsageError("max_tokens must be a whole number", f"{str(limit)[:40]} given, at least 1")


def _check_logit_bias(bias: Any) -> None:
    """The engine takes {token or text: number or false} and such pairs, and passes over what is neither."""
    pairs = list(bias.items()) if isinstance(bias, dict) else bias if isinstance(bias, list) else None
    sound = bias is None or (pairs is not None and all(map(_is_bias, pairs)))
    if not sound:
        raise UsageError("logit_bias cannot be read", cure="send an object of token numbers and numbers")


def _is_bias(pair: Any) -> bool:
    if not isinstance(pair, list | tuple) or len(pair) != 2:
        return False
    token, bias = pair
    known = isinstance(token, int | str) and not isinstance(token, bool)
    return known and (bias is False or (isinstance(bias, int | float) and not isinstance(bias, bool)))


def _block_faults(fields: Fields) -> list[str]:
    """Raises UsageError for a block of Anthropic's that the engine leaves out; names of those it may."""
    system = fields.get("system")
    for block in system if isinstance(system, list) else ():
        _require_block(block, {"text"}, "system")
    lost = []
    for message in fields["messages"] if isinstance(fields.get("messages"), list) else ():
        content = message.get("content") if isinstance(message, dict) else None
        for block in content if isinstance(content, list) else ():
            if isinstance(block, dict) and block.get("type") in _LOST_BLOCKS:
                lost.append(f"messages.{block['type']}")
                continue
            _require_block(block, _BLOCKS, "messages")
            inner = block.get("content") if block["type"] == "tool_result" else None
            for part in inner if isinstance(inner, list) else ():
                _require_block(part, {"text", "image"}, "tool_result")
    return lost


def _require_block(block: Any, known: set[str], place: str) -> None:
    kind = block.get("type") if isinstance(block, dict) else None
    if kind not in known:
        raise _refusal(f"a block of type {str(kind)[:40]!a} in {place}", "send its text in a text block")


def _check_text_schema(schema: Any) -> None:
    if faults := undoing(schema):
        raise _refusal(f"json_schema with {', '.join(faults[:5])}", "leave it out, or ask for a chat")


def _schema_faults(call: Call, fields: Fields) -> list[str]:
    """Keywords that an answer may break; raises UsageError where it was to keep to them strictly."""
    told = []
    for name, schema, strict in _answer_schemas(call, fields):
        faults = unheld(schema)
        if faults and strict:
            raise _refusal(f"{name} with {', '.join(faults[:5])}", "leave it out, or let strict be false")
        told += [f"{name}.{fault}" for fault in faults]
    tools = fields.get("tools")
    if isinstance(tools, list) and MARKS.search(call.body):
        schemas = (tool.get("function", tool) for tool in tools if isinstance(tool, dict))
        parameters = [s.get("parameters", s.get("input_schema")) for s in schemas if isinstance(s, dict)]
        told += [f"tools.{fault}" for schema in parameters for fault in unheld(schema)]
    return told


def _answer_schemas(call: Call, fields: Fields) -> Iterator[tuple[str, Any, bool]]:
    if isinstance(fields.get("json_schema"), dict) and call.path != COMPLETIONS:
        yield "json_schema", fields["json_schema"], False
    form = fields.get("response_format")
    if isinstance(form, dict):
        wrapper = form.get("json_schema") if form.get("type") == "json_schema" else form
        if isinstance(wrapper, dict) and isinstance(wrapper.get("schema"), dict):
            yield "response_format", wrapper["schema"], wrapper.get("strict") is True
    text = fields.get("text")
    form = text.get("format") if isinstance(text, dict) else None
    if isinstance(form, dict) and isinstance(form.get("schema"), dict):
        yield "text.format", form["schema"], form.get("strict") is True


def _text_changes(path: str, fields: Fields, told: list[str]) -> Fields:
    """Responses' text.format as response_format, by which the engine knows it."""
    text = fields.get("text")
    if path != RESPONSES or not isinstance(text, dict):
        return {}
    told += [f"text.{name}" for name, value in text.items() if name != "format" and value is not None]
    form = text.get("format")
    if not isinstance(form, dict) or form.get("type") == "text":
        return {}
    if form.get("type") == "json_schema":
        return {"response_format": {"type": "json_schema", "json_schema": {"schema": form.get("schema")}}}
    return {"response_format": {"type": form.get("type")}}


def _thinking_changes(path: str, fields: Fields, card: ModelCard) -> Fields:
    """Anthropic's word for an answer without thinking, in that of chat templates."""
    thinking, kwargs = fields.get("thinking"), fields.get("chat_template_kwargs") or {}
    disabled = isinstance(thinking, dict) and thinking.get("type") == "disabled"
    if path not in _ANTHROPIC or not disabled or "enable_thinking" not in (card.chat_template or ""):
        return {}
    return {"chat_template_kwargs": {"enable_thinking": False} | kwargs} if isinstance(kwargs, dict) else {}


def _tool_changes(call: Call, fields: Fields, card: ModelCard, told: list[str]) -> Fields:
    """Tools and the choice among them in the engine's words: it knows no choice of a single one."""
    tools, choice = fields.get("tools"), fields.get("tool_choice")
    offered = _offered(call.path, tools, told)
    kind, name = _choice(call.path, choice)
    if offered and kind != "none":
        _require_template(card, kind, told)
    if not offered and kind in ("any", "one"):
        raise _refusal("tool_choice without tools", "send tools")
    if isinstance(choice, dict) and choice.get("disable_parallel_tool_use"):
        told.append("tool_choice.disable_parallel_tool_use")
    if kind == "none" and call.path in _ANTHROPIC:
        return {"tools": [], "tool_choice": {"type": "auto"}}
    if kind != "one":
        return {}
    wanted = [tool for tool in offered if _tool_name(tool) == name]
    if not wanted:
        raise UsageError(
            f"tool_choice names {name[:60]!a}, which is none of the tools", cure="name one of them"
        )
    return {"tools": wanted, "tool_choice": {"type": "any"} if call.path in _ANTHROPIC else "required"}


def _offered(path: str, tools: Any, told: list[str]) -> list[Fields]:
    """Those that the model may call. Servers' own tools are left out of Responses, as the engine does."""
    if not isinstance(tools, list):
        return []
    known = [tool for tool in tools if isinstance(tool, dict)]
    if path == RESPONSES:
        told += [f"tools.{tool.get('type')}" for tool in known if tool.get("type") != "function"]
        return [tool for tool in known if tool.get("type") == "function"]
    for tool in known if path in _ANTHROPIC else ():
        if tool.get("type") not in (None, "custom"):
            raise _refusal(f"a tool of type {str(tool['type'])[:40]!a}", "describe it by an input_schema")
    return known


def _choice(path: str, choice: Any) -> tuple[str, str]:
    """(auto, none, any or one; its name). Raises UsageError for a kind that the engine takes for auto."""
    if not isinstance(choice, dict):
        return {"required": "any", "none": "none"}.get(str(choice), "auto"), ""
    kind, named = choice.get("type"), choice
    if path in _ANTHROPIC:
        if kind in ("auto", "any", "none"):
            return str(kind), ""
        wanted = "tool"
    else:
        wanted, named = "function", choice.get("function", choice) if path == CHAT else choice
    if kind != wanted or not isinstance(named, Mapping) or not isinstance(named.get("name"), str):
        raise _refusal(f"tool_choice of type {str(kind)[:40]!a}", "name one tool, or let the model choose")
    return "one", named["name"]


def _tool_name(tool: Fields) -> Any:
    function = tool.get("function", tool)
    return function.get("name") if isinstance(function, dict) else None


def _require_template(card: ModelCard, kind: str, told: list[str]) -> None:
    """The model hears of no tool where its template has no place for them: it may not have to call one."""
    if card.shows_tools:
        return
    if kind in ("any", "one"):
        what = f"{card.name} knows no tools: its chat template has no place for them"
        raise UsageError(what, cure="let the model choose, or ask another one")
    told.append("tools")
