"""Grammars by the engine's own code: a JSON schema's grammar, its rules, and the states that a text leads to.

Exported C++ functions of the pinned wheel, which keeps libstdc++'s older strings: a pointer to the
characters, before them length, capacity and a count of owners. What they throw ends the process
(std::terminate says it on stderr), and no string or document is freed: they are for a process that ends soon.
"""

from __future__ import annotations

import ctypes
import struct
from collections import Counter
from collections.abc import Callable
from ctypes import (
    CFUNCTYPE,
    POINTER,
    byref,
    c_bool,
    c_char_p,
    c_float,
    c_int32,
    c_int64,
    c_size_t,
    c_uint32,
    c_uint64,
    c_void_p,
)
from typing import Any, ClassVar

from sixgig.errors import EngineError
from sixgig.llamacpp.pin import CURE_DAMAGED

_PARSE_JSON = "_ZN11common_json5parseERKSs"
_TO_GRAMMAR = "_Z22json_schema_to_grammarRK11common_jsonb"
_NEW = "_Z23llama_grammar_init_implPK11llama_vocabPKcS3_bPS3_mPKim"
_ACCEPT = "_Z20llama_grammar_acceptP13llama_grammarj"
_RULES = "_Z23llama_grammar_get_rulesPK13llama_grammar"
_FREE = "_Z23llama_grammar_free_implP13llama_grammar"
STACKS = "_Z24llama_grammar_get_stacksP13llama_grammar"
ACCEPT_TOKEN = "_Z25llama_grammar_accept_implR13llama_grammari"
APPLY = "_Z24llama_grammar_apply_implRK13llama_grammarP22llama_token_data_array"
_REJECT = (
    "_Z41llama_grammar_reject_candidates_for_stackRKSt6vectorIS_I21llama_grammar_elementSaIS0_EESaIS2_EE"
    "RKS_IPKS0_SaIS8_EERKS_I23llama_grammar_candidateSaISD_EE"
)
_LLGUIDANCE = "_Z22llama_sampler_init_llgPK11llama_vocabPKcS3_"
_CHAR, _CHAR_NOT, _UPPER, _ALT, _ANY, _TOKEN = 3, 4, 5, 6, 7, 8  # llama_gretype
_HIGHEST = 0x10FFFF
_STRING_HEAD = struct.Struct("<QQq")
_SHARED_BY_NOBODY = -1  # copies of it are made anew
_VECTOR, _ELEMENT = struct.Struct("<QQQ"), struct.Struct("<II")

Class = tuple[bool, tuple[tuple[int, int], ...]]  # whether it is these characters, or all others


class _Object(ctypes.Structure):
    """Room for what a C++ function returns in memory; larger than two registers on every machine."""

    _fields_: ClassVar[Any] = [("words", c_uint64 * 32)]


class _Candidate(ctypes.Structure):
    _fields_: ClassVar[Any] = [("id", c_int32), ("logit", c_float), ("p", c_float)]


class _Candidates(ctypes.Structure):
    _fields_: ClassVar[Any] = [
        ("data", POINTER(_Candidate)),
        ("size", c_size_t),
        ("selected", c_int64),
        ("sorted", c_bool),
    ]


class _Token(ctypes.Structure):
    """llama_grammar_candidate: characters that one token has, and a zero."""

    _fields_: ClassVar[Any] = [
        ("index", c_size_t),
        ("characters", POINTER(c_uint32)),
        ("partial", c_uint32 * 2),
        ("id", c_int32),
    ]


class GrammarCode:
    """The functions. Raises EngineError where the library has them not."""

    def __init__(self, c: ctypes.CDLL) -> None:
        self.c = c
        self._parse_json = _function(c, _PARSE_JSON, _Object, c_void_p)
        self._to_grammar = _function(c, _TO_GRAMMAR, _Object, c_void_p, c_bool)
        self._new = _function(
            c, _NEW, c_void_p, c_void_p, c_char_p, c_char_p, c_bool, c_void_p, c_size_t, c_void_p, c_size_t
        )
        self._accept = _function(c, _ACCEPT, None, c_void_p, c_uint32)
        self._stacks = _function(c, STACKS, c_void_p, c_void_p)
        self._free = _function(c, _FREE, None, c_void_p)
        self._rules = _function(c, _RULES, c_void_p, c_void_p)
        self._reject = _function(c, _REJECT, _Object, c_void_p, c_void_p, c_void_p)
        self._llguidance = _function(c, _LLGUIDANCE, c_void_p, c_void_p, c_char_p, c_char_p)

    def grammar_of(self, schema: bytes) -> bytes:
        """The grammar that the engine makes of a JSON schema for a chat."""
        head = _STRING_HEAD.pack(len(schema), len(schema), _SHARED_BY_NOBODY)
        kept = ctypes.create_string_buffer(head + schema)  # and a zero
        text = c_void_p(ctypes.addressof(kept) + len(head))
        document = self._parse_json(ctypes.addressof(text))
        made = self._to_grammar(ctypes.addressof(document), True).words[0]
        length, _, _ = _STRING_HEAD.unpack(ctypes.string_at(made - len(head), len(head)))
        return ctypes.string_at(made, length)

    def compile(self, grammar: bytes) -> Grammar | None:
        """None where the engine refuses it. Tokens may be named by number only: there is no vocabulary."""
        made = self._new(None, grammar, b"root", False, None, 0, None, 0)
        return Grammar(self, made) if made else None

    def llguidance(self, vocabulary: int, n_tokens: int, grammar: bytes) -> Llguidance:
        """For what begins with "%llguidance", as the engine makes of a schema for a completion."""
        return Llguidance(self.c, self._llguidance(vocabulary, b"lark", grammar), vocabulary, n_tokens)


class Grammar:
    """A grammar and how far a text got in it: every way to read that text is a stack."""

    def __init__(self, code: GrammarCode, address: int) -> None:
        self._accept, self._free, self._reject = code._accept, code._free, code._reject
        self._address, self._at, self._rules = address, code._stacks(address), code._rules(address)
        self._classes: dict[int, Class] = {}

    @property
    def n_stacks(self) -> int:
        """Each time and space of its own, at every further step."""
        begin, end, _ = _VECTOR.unpack(ctypes.string_at(self._at, _VECTOR.size))
        return int(end - begin) // _VECTOR.size

    def accept(self, character: int) -> None:
        """Read on; no stack is left where nothing may be so."""
        self._accept(self._address, character)

    def try_token(self, characters: list[int]) -> None:
        """Ask whether a token of these may be next. One that may not is looked at in every way to read it;
        the grammar stays as it is.
        """
        text = (c_uint32 * (len(characters) + 1))(*characters, 0)
        token = _Token(0, text, (0, 0), 0)
        at = ctypes.addressof(token)
        tokens = ctypes.create_string_buffer(_VECTOR.pack(at, *[at + ctypes.sizeof(token)] * 2))
        begin, end, _ = _VECTOR.unpack(ctypes.string_at(self._at, _VECTOR.size))
        for stack in range(begin, end, _VECTOR.size):
            self._reject(self._rules, stack, ctypes.addressof(tokens))

    def expected(self) -> Counter[int]:
        """Which elements of rules may come next, by address, and in how many stacks."""
        begin, end, _ = _VECTOR.unpack(ctypes.string_at(self._at, _VECTOR.size))
        stacks = _VECTOR.iter_unpack(ctypes.string_at(begin, end - begin)) if end > begin else ()
        return Counter(c_uint64.from_address(last - 8).value for first, last, _ in stacks if last > first)

    def free(self) -> None:
        """Nothing else may be asked of it then."""
        self._free(self._address)

    def characters(self, address: int) -> Class:
        """What an expected element stands for; nothing for a token."""
        if address not in self._classes:
            self._classes[address] = _characters(address)
        return self._classes[address]


class Llguidance:
    """A grammar of the engine's other kind, as the sampler that the engine asks."""

    def __init__(self, c: ctypes.CDLL, sampler: int, vocabulary: int, n_tokens: int) -> None:
        self._c, self._sampler, self._vocabulary, self._n_tokens = c, sampler, vocabulary, n_tokens

    @property
    def given_up(self) -> bool:
        """Whether it follows its grammar no more: the engine would then go on without."""
        context = c_uint64.from_address(self._sampler + 8).value
        return c_uint64.from_address(context + 32).value == 0

    def allowed(self) -> list[int]:
        """The tokens that may come next, but those that end the text."""
        data = (_Candidate * self._n_tokens)()
        for token in range(self._n_tokens):
            data[token].id = token
        given = _Candidates(data, self._n_tokens, -1, False)
        _function(self._c, "llama_sampler_apply", None, c_void_p, c_void_p)(self._sampler, byref(given))
        ends = _function(self._c, "llama_vocab_is_eog", c_bool, c_void_p, c_int32)
        return [one.id for one in data if one.logit == 0 and not ends(self._vocabulary, one.id)]

    def accept(self, token: int) -> None:
        """Read on."""
        _function(self._c, "llama_sampler_accept", None, c_void_p, c_int32)(self._sampler, token)


def _characters(address: int) -> Class:
    kind, value = _ELEMENT.unpack(ctypes.string_at(address, _ELEMENT.size))
    if kind >= _TOKEN:
        return True, ()
    if kind == _ANY:
        return True, ((0, _HIGHEST),)
    ranges, positive = [[value, value]], kind == _CHAR
    while True:
        address += _ELEMENT.size
        kind, value = _ELEMENT.unpack(ctypes.string_at(address, _ELEMENT.size))
        if kind == _UPPER:
            ranges[-1][1] = value
        elif kind == _ALT:
            ranges.append([value, value])
        else:
            return positive, tuple((low, high) for low, high in ranges)


def _function(c: ctypes.CDLL, name: str, result: Any, *arguments: Any) -> Callable[..., Any]:
    """Of its own type, whatever the library's declared one is."""
    try:
        return CFUNCTYPE(result, *arguments)((name, c))
    except AttributeError as error:
        raise EngineError("the llama.cpp library lacks a function", name, CURE_DAMAGED) from error
