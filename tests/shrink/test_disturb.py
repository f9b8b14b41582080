"""What a disturber does to an evaluation: only what it was asked for, only from there on, paged or not."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sixgig.compress.distortion import Distortion
from sixgig.compress.sensitivity import Noise
from sixgig.errors import EngineError
from sixgig.inference.engine import Engine
from sixgig.inference.load import open_engine
from sixgig.inference.request import PagingOptions
from sixgig.llamacpp.disturb import Disturbance, Disturber, watch
from sixgig.llamacpp.observe import Observation
from sixgig.modelfile import open_model
from tests.paged.engines import OPTIONS, PROMPT, share_of_experts
from tests.shrink.capture import Capture

Tiny = Callable[..., Path]
Floats = np.ndarray
TOKENS = PROMPT[:40]
FAMILIES = ["qwen3moe", "qwen35moe", "gpt-oss", "deepseek2", "llama"]
ROOM = 4 << 30


class Watching(Noise):
    """Noise that keeps what every product gave, before and after."""

    def __init__(self, path: Path, power: float = 1.0, watched: bool = True) -> None:
        names = [tensor.name for tensor in open_model(path).tensors]
        super().__init__(names, {name: Distortion({}, power) for name in names})
        self.watched = watched
        self.given: list[tuple[str, Floats]] = []
        self.added: dict[str, list[Floats]] = {}

    def wants(self, weight: str) -> bool:
        return self.watched or super().wants(weight)

    def disturb(self, weight: str, outputs: Floats, looked_up: bool) -> None:
        before = outputs.copy()
        if super().wants(weight):
            super().disturb(weight, outputs, looked_up)
            self.added.setdefault(weight, []).append(outputs - before)
        self.given.append((weight, before))


def run(path: Path, levels: dict[str, float], noise: Watching | None = None) -> tuple[Floats, Watching]:
    noise = noise or Watching(path)
    noise.set(levels)
    with Engine(path, OPTIONS, observe=noise) as engine:
        return engine.all_logits(TOKENS), noise


@pytest.mark.parametrize("architecture", FAMILIES)
def test_nothing_wanted_and_noise_of_nothing_change_no_bit(tiny: Tiny, architecture: str) -> None:
    path = tiny(architecture)
    with Engine(path, OPTIONS) as engine:
        plain = engine.all_logits(TOKENS)
    names = [tensor.name for tensor in open_model(path).tensors]
    assert np.array_equal(run(path, {}, Watching(path, watched=False))[0], plain)
    assert np.array_equal(run(path, {})[0], plain), "watched, not changed"
    assert np.array_equal(run(path, dict.fromkeys(names, 0.0))[0], plain)


@pytest.mark.parametrize(
    ("architecture", "weight"),
    [
        ("llama", "token_embd.weight"),
        ("llama", "blk.2.ffn_up.weight"),
        ("llama", "output.weight"),
        ("qwen3moe", "blk.1.ffn_down_exps.weight"),
        ("qwen35moe", "blk.1.ssm_out.weight"),
        ("deepseek2", "blk.2.attn_output.weight"),
    ],
)
def test_noise_changes_only_what_comes_after_it(tiny: Tiny, architecture: str, weight: str) -> None:
    path = tiny(architecture)
    (plain, before), (noisy, after) = run(path, {}), run(path, {weight: 0.5})
    names = [name for name, _ in before.given]
    assert names == [name for name, _ in after.given] and list(after.added) == [weight]
    place = names.index(weight)
    pairs = list(zip(before.given, after.given, strict=True))
    same = [np.array_equal(a, b) for (_, a), (_, b) in pairs]
    assert all(same[: place + 1])
    layer = weight.split(".")[1]
    later = [name.startswith("blk.") and name.split(".")[1] > layer for name in names]
    assert not any(s for s, is_later in zip(same, later, strict=True) if is_later and layer.isdigit())
    assert not np.array_equal(plain, noisy)


@pytest.mark.parametrize("level", [0.25, 0.02])
@pytest.mark.parametrize("weight", ["blk.1.attn_q.weight", "blk.1.ffn_up_exps.weight"])
def test_the_error_has_the_power_asked_for(tiny: Tiny, weight: str, level: float) -> None:
    path = tiny("qwen3moe")
    noise = run(path, {weight: level}, Watching(path, power=3.0))[1]
    added = np.concatenate([each.ravel() for each in noise.added[weight]]).astype(float)
    assert np.mean(added**2) == pytest.approx(3.0 * level, rel=0.05)
    assert abs(np.mean(added)) < 0.05 * np.std(added)


def test_a_measured_power_is_that_of_the_products(tiny: Tiny) -> None:
    """Relative to what the weight really gives: power from inputs, as distortions measure it."""
    path, weight = tiny("llama", "F32"), "blk.1.ffn_up.weight"
    capture = Capture(open_model(path))
    with Engine(path, replace(OPTIONS, all_logits=False), observe=capture) as engine:
        engine.feed(TOKENS)
    inputs = capture.inputs(weight).astype(float)
    given = np.concatenate([g.ravel() for name, g in run(path, {})[1].given if name == weight])
    model = open_model(path)
    tensor = next(tensor for tensor in model.tensors if tensor.name == weight)
    rows = np.fromfile(path, np.float32, np.prod(tensor.shape), offset=tensor.offset)
    rows = rows.reshape(-1, tensor.shape[0]).astype(float)
    power = (rows**2 @ (inputs**2).mean(axis=0)).mean()
    assert np.mean(given.astype(float) ** 2) == pytest.approx(power, rel=0.2)


def test_rows_looked_up_are_disturbed_by_their_own_power(tiny: Tiny) -> None:
    path, weight = tiny("llama"), "token_embd.weight"
    noise = run(path, {weight: 0.1}, Watching(path, power=1e9))[1]
    rows = np.concatenate([g.ravel() for name, g in noise.given if name == weight]).astype(float)
    added = np.concatenate([each.ravel() for each in noise.added[weight]]).astype(float)
    assert np.mean(added**2) == pytest.approx(0.1 * np.mean(rows**2), rel=0.05)


@pytest.mark.parametrize("share", [0.0, 0.5])
@pytest.mark.parametrize("architecture", ["qwen3moe", "gpt-oss", "deepseek2"])
def test_paged_experts_are_disturbed_as_unpaged_ones(tiny: Tiny, architecture: str, share: float) -> None:
    path = tiny(architecture)
    weights = ["blk.1.ffn_up_exps.weight", "blk.2.ffn_down_exps.weight", "blk.2.attn_q.weight"]
    names = {tensor.name for tensor in open_model(path).tensors}
    levels = dict.fromkeys([name for name in weights if name in names], 0.1)
    expected, unpaged = run(path, levels)
    noise = Watching(path)
    noise.set(levels)
    paging = PagingOptions(always=True, cache_bytes=share_of_experts(path, share), read_ahead=True)
    with open_engine(path, ROOM, OPTIONS, paging, observe=noise) as engine:
        assert engine.pager is not None
        found = engine.all_logits(TOKENS)
    assert np.array_equal(found, expected)
    assert [name for name, _ in noise.given] == [name for name, _ in unpaged.given]
    assert set(noise.added) == set(levels)


@pytest.mark.parametrize("where", ["begin", "wants", "disturb"])
def test_what_a_disturber_raises_comes_out_of_feed(tiny: Tiny, where: str) -> None:
    path = tiny("qwen3moe")

    class Fussy(Watching):
        angry = True

    def refuse(self: Fussy, *arguments: Any) -> Any:
        if self.angry:
            raise ZeroDivisionError(where)
        return getattr(Watching, where)(self, *arguments)

    setattr(Fussy, where, refuse)
    noise = Fussy(path)
    with Engine(path, OPTIONS, observe=noise) as engine:
        with pytest.raises(ZeroDivisionError, match=where):
            engine.feed(TOKENS)
        assert engine.tokens == []
        noise.angry = False
        assert np.array_equal(engine.all_logits(TOKENS), run(path, {})[0]), "the next evaluation is right"


def test_a_branch_that_is_not_computed_is_left_alone(tiny: Tiny) -> None:
    """llama.cpp builds two ways to look up embeddings and runs one."""
    given = [name for name, _ in run(tiny("llama"), {})[1].given]
    assert given.count("token_embd.weight") == 1 and given.count("output.weight") == 1


def test_outputs_that_are_no_floats_are_refused(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tiny("llama")
    noise = Watching(path)
    with Engine(path, OPTIONS, observe=noise) as engine:
        assert engine._observation is not None
        told = Disturbance._tell_outputs

        def other_type(self: Disturbance, node: Any) -> None:
            before, node.type = node.type, 1
            try:
                told(self, node)
            finally:
                node.type = before

        monkeypatch.setattr(Disturbance, "_tell_outputs", other_type)
        with pytest.raises(EngineError, match="cannot be changed; its type is 1"):
            engine.feed(TOKENS)


def test_who_watches_is_told_by_what_it_can_do(tiny: Tiny) -> None:
    path = tiny("llama")
    with Engine(path, OPTIONS) as engine:
        assert isinstance(watch(engine._c, Watching(path)), Disturbance)
        observation = watch(engine._c, Capture(open_model(path)))
    assert isinstance(observation, Observation) and not isinstance(observation, Disturbance)
    assert isinstance(Watching(path), Disturber) and not isinstance(Capture(open_model(path)), Disturber)
