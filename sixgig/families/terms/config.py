"""A checkpoint's config.json: its text model's values, each checked when it is asked for."""

from typing import Any

from sixgig.errors import ModelFileError

_LARGEST = 3e38  # of float32, which GGUF keeps
ROPE_BESIDE = ("rope_theta", "partial_rotary_factor", "original_max_position_embeddings")
_EXPERTS = ("num_local_experts", "num_experts", "n_routed_experts", "moe_num_experts")


class Config:
    """Values by name. A multimodal model's text_config lies over the values beside it.

    `read` collects the name of every value that was asked for, "rope.factor" for a nested one: what nobody
    reads is not carried into the GGUF (checkpoint.settings). `notes`: what to tell about what is carried.
    """

    def __init__(self, values: dict[str, Any], above: "Config | None" = None, prefix: str = "") -> None:
        text = values.get("text_config")
        self.values = {**values, **text} if isinstance(text, dict) else values
        self.outer = values
        self.read: set[str] = above.read if above else set()
        self.notes: dict[str, None] = above.notes if above else {}
        self._prefix = prefix
        named = values.get("architectures") or self.values.get("architectures")
        self.architecture = str(named[0])[:80] if isinstance(named, list) and named else ""

    def or_else(self, defaults: dict[str, Any]) -> "Config":
        """The same, with what transformers' class takes for values that are not there."""
        return Config({**defaults, **self.outer}, self, self._prefix)

    def integer(self, *names: str, default: int | None = None) -> int:
        """The first of `names` there is, from 0 to 2**31 - 1; ModelFileError without it and a default.

        A list that says the same for every layer counts as that number.
        """
        value = self._first(names, default)
        if isinstance(value, list) and value and value.count(value[0]) == len(value):
            value = value[0]
        if type(value) is not int or not 0 <= value < 2**31:
            raise _wrong(names, value, "a whole number from 0")
        return value

    def number(self, *names: str, default: float | None = None) -> float:
        """The first of `names` there is as a number that float32 holds."""
        value = self._first(names, default)
        if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < _LARGEST:
            raise _wrong(names, value, "a number")
        return float(value)

    def flag(self, name: str, default: bool | None = None) -> bool:
        """A truth value."""
        value = self._first((name,), default)
        if not isinstance(value, bool):
            raise _wrong((name,), value, "true or false")
        return value

    def text(self, *names: str, default: str = "") -> str:
        """A string."""
        value = self._first(names, default)
        if not isinstance(value, str):
            raise _wrong(names, value, "a text")
        return value

    def items(self, name: str) -> list[Any]:
        """A list, empty where there is none."""
        value = self._first((name,), [])
        if not isinstance(value, list):
            raise _wrong((name,), value, "a list")
        return value

    @property
    def layer_kinds(self) -> list[str]:
        """What each layer is by "layer_types"; empty where that is not said."""
        kinds = self.items("layer_types")
        if kinds and (len(kinds) != self.n_layers or not all(isinstance(kind, str) for kind in kinds)):
            raise _wrong(("layer_types",), len(kinds), f"one name for each of {self.n_layers} layers")
        return kinds

    def has(self, name: str) -> bool:
        """Whether `name` is there and not null."""
        return self.values.get(name) is not None

    def note(self, line: str) -> None:
        """Something to tell once."""
        self.notes[line] = None

    def hear(self, *names: str) -> None:
        """Counts `names` as read: they are judged elsewhere."""
        self.read.update(self._prefix + name for name in names)

    def within(self, name: str) -> "Config":
        """The values of a nested object, none where there is none."""
        value = self._first((name,), {})
        if not isinstance(value, dict):
            raise _wrong((name,), value, "an object")
        return Config(value, self, f"{self._prefix}{name}.")

    @property
    def rope(self) -> "Config":
        """Rotary settings of full attention, from wherever releases of transformers have kept them."""
        nested = self.within("rope_parameters" if self.has("rope_parameters") else "rope_scaling")
        values = dict(nested.within("full_attention").values or nested.values)
        if values.get("rope_type") is None:
            values["rope_type"] = values.get("type")
        for name in ROPE_BESIDE:
            if values.get(name) is None:
                values[name] = self.values.get(name)
        if self.has("original_max_position_embeddings"):  # which wins in transformers
            values["original_max_position_embeddings"] = self.values["original_max_position_embeddings"]
        return Config(values, self, "rope.")

    def rope_of(self, kind: str) -> "Config":
        """Rotary settings of the layers that "layer_types" calls `kind`, where they have their own."""
        return self.within("rope_parameters").within(kind)

    @property
    def n_layers(self) -> int:
        """Layers without those that predict further tokens."""
        return self.integer("num_hidden_layers")

    @property
    def n_heads(self) -> int:
        """Query heads, at least 1."""
        return self._at_least_one("num_attention_heads")

    @property
    def n_kv_heads(self) -> int:
        """Key-value heads, at least 1; as many as query heads where nothing is said."""
        return self._at_least_one("num_key_value_heads", default=self.n_heads)

    @property
    def head_width(self) -> int:
        """Width of one head."""
        return self.integer("head_dim", default=self.integer("hidden_size") // self.n_heads)

    @property
    def n_rotary(self) -> int:
        """Channels of a head that are turned, all where nothing is said."""
        return int(self.head_width * self.rope.number("partial_rotary_factor", default=1.0))

    @property
    def n_experts(self) -> int:
        """Routed experts of a layer, 0 for a dense model."""
        return self.integer(*_EXPERTS, default=0)

    def _at_least_one(self, name: str, default: int | None = None) -> int:
        value = self.integer(name, default=default)
        if value == 0:
            raise _wrong((name,), value, "at least 1")
        return value

    def _first(self, names: tuple[str, ...], default: Any) -> Any:
        self.hear(*names)
        value = next((self.values[name] for name in names if self.has(name)), default)
        if value is None:
            raise ModelFileError(f"config.json has no {' or '.join(names)}", cure="fetch the folder again")
        return value


def _wrong(names: tuple[str, ...], value: object, wanted: str) -> ModelFileError:
    return ModelFileError(f"config.json: {names[0]} is no usable value", f"{str(value)[:60]}, not {wanted}")
