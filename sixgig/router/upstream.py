"""One server elsewhere that speaks OpenAI's protocol."""

from __future__ import annotations

from fractions import Fraction
from math import ceil
from typing import Annotated, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, field_validator, model_validator

from sixgig.router.spending import Amount

ANY = "*"
_LONGEST_S = 86400.0


def _base_url(url: str) -> str:
    """Without a trailing slash; a bare host gets the "/v1" that these servers have."""
    if not (url.isascii() and url.isprintable()) or set(url) & set(' \\"<>'):
        raise ValueError("must be printable ASCII without spaces or backslashes")
    parts = urlsplit(url)  # raises ValueError for a broken IPv6 address
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.port == 0:
        raise ValueError(
            'must begin with http:// or https:// and name a host, as in "http://10.0.0.5:8000/v1"'
        )
    if "@" in parts.netloc:
        raise ValueError("must not contain credentials; name an environment variable in api_key_env")
    if "?" in url or "#" in url:
        raise ValueError("must end with its path, without '?' or '#'")
    return f"{parts.scheme}://{parts.netloc}{parts.path.rstrip('/') or '/v1'}"


def _variable_name(name: str) -> str:
    if not (name.isascii() and name.isidentifier() and name == name.upper()):
        raise ValueError(
            'must be the name of an environment variable, as in "VLLM_API_KEY", never the key itself'
        )
    return name


_Seconds = Annotated[float, Field(gt=0, le=_LONGEST_S)]


class Upstream(BaseModel):
    """`[[upstreams]]` of the configuration.

    models: the name a client asks for -> the upstream's own name; "*" = "*" passes any other name as it is.
    input_price, output_price: owner's currency for a million tokens, 0 for one's own server; never left out.
    context: tokens it takes, where the owner knows. max_output_tokens: what any answer is limited to.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, hide_input_in_errors=True)

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")
    base_url: Annotated[str, Field(max_length=500), AfterValidator(_base_url)]
    api_key_env: Annotated[str, Field(max_length=100), AfterValidator(_variable_name)] | None = None
    models: dict[str, str] = Field(min_length=1)
    input_price: Amount
    output_price: Amount
    context: int | None = Field(default=None, ge=2, le=10**9)
    max_output_tokens: int = Field(default=4096, ge=1, le=10**7)
    first_token_timeout_s: _Seconds = 60.0
    timeout_s: _Seconds = 600.0

    @field_validator("models")
    @classmethod
    def _names_are_sound(cls, models: dict[str, str]) -> dict[str, str]:
        if not all(name.strip() for pair in models.items() for name in pair):
            raise ValueError("has an empty name")
        if any((name == ANY) != (theirs == ANY) for name, theirs in models.items()):
            raise ValueError('"*" stands for any name as it is: write "*" = "*"')
        return models

    @model_validator(mode="after")
    def _first_token_comes_in_time(self) -> Self:
        if self.first_token_timeout_s > self.timeout_s:
            times = f"{self.first_token_timeout_s:g} s against {self.timeout_s:g} s"
            raise ValueError(f"first_token_timeout_s is longer than timeout_s: {times}; raise timeout_s")
        return self

    @property
    def has_price(self) -> bool:
        """Can an answer from it cost anything?"""
        return self.input_price > 0 or self.output_price > 0

    def model_for(self, asked: str) -> str | None:
        """Its own name for what a client calls `asked`; None where it does not serve that."""
        named = self.models.get(asked) if asked != ANY else None
        return named or (asked if ANY in self.models and asked != ANY else None)

    def micros(self, input_tokens: int, output_tokens: int) -> int:
        """What so many tokens cost, rounded up: a price for a million is micro-units for one."""
        return ceil(input_tokens * Fraction(self.input_price) + output_tokens * Fraction(self.output_price))
