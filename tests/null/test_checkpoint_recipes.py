"""Each named transformation against a slow loop, and the declarations against families/."""

from typing import Any

import numpy as np
import pytest

from sixgig.checkpoint.conversion import recipe_of
from sixgig.checkpoint.pretokenizers import name_of, steps
from sixgig.errors import ModelFileError
from sixgig.families import Role, families, family, recipes
from sixgig.families.terms import delta_net
from sixgig.families.terms.config import Config
from sixgig.families.terms.recipe import Recipe, pattern_of
from sixgig.families.terms.transforms import Array, Transform, Unit

N_KEYS, PER_KEY, KEY, VALUE = 2, 3, 4, 5
DELTA = Config(
    {
        "linear_num_key_heads": N_KEYS,
        "linear_num_value_heads": N_KEYS * PER_KEY,
        "linear_key_head_dim": KEY,
        "linear_value_head_dim": VALUE,
    }
)


def numbered(*shape: int) -> Array:
    return np.arange(np.prod(shape), dtype=np.float32).reshape(shape)


def applied(transform: Transform, values: Array, config: Config) -> Array:
    """Also checks the shape that is announced before any data is read."""
    result = transform.apply(values, config)
    assert result.shape == transform.shape(values.shape, config)
    return result


def tiled_rows(values: Array, width: int) -> Array:
    """Value head v of key head k, from k * PER_KEY + v to v * N_KEYS + k."""
    out = np.empty_like(values)
    for key in range(N_KEYS):
        for value in range(PER_KEY):
            there, here = (key * PER_KEY + value) * width, (value * N_KEYS + key) * width
            out[here : here + width] = values[there : there + width]
    return out


def test_value_heads_are_tiled_along_rows_and_columns() -> None:
    n_rows = N_KEYS * PER_KEY * VALUE
    rows = numbered(n_rows, 7)
    assert (applied(delta_net.VALUE_HEADS, rows, DELTA) == tiled_rows(rows, VALUE)).all()
    columns = applied(delta_net.VALUE_HEAD_COLUMNS, rows.T, DELTA)
    assert (columns == tiled_rows(rows, VALUE).T).all()
    assert (applied(delta_net.VALUE_HEADS, rows[:6, 0], DELTA) == tiled_rows(rows[:6, 0], 1)).all()


def test_queries_and_keys_stay_where_they_are() -> None:
    fixed = 2 * N_KEYS * KEY
    rows = numbered(fixed + N_KEYS * PER_KEY * VALUE, 4)
    wanted = np.concatenate((rows[:fixed], tiled_rows(rows[fixed:], VALUE)))
    assert (applied(delta_net.QUERY_KEY_VALUE_HEADS, rows, DELTA) == wanted).all()
    assert (applied(delta_net.CONVOLUTION, rows[:, None, :], DELTA) == wanted).all()


def test_decay_is_the_negative_exponential() -> None:
    found = applied(delta_net.DECAY, numbered(6) / 3, DELTA)
    assert found.dtype == np.float32
    assert np.allclose(found, -np.exp(tiled_rows(numbered(6) / 3, 1)), rtol=1e-6)


def test_qwen3_next_is_ungrouped() -> None:
    """Each key head's group is its query, its key, its values, their gates."""
    group = 2 * KEY + 2 * PER_KEY * VALUE
    rows = numbered(N_KEYS * group, 3)
    parts: list[list[Any]] = [[], [], [], []]
    for key in range(N_KEYS):
        start = key * group
        for part, width in zip(parts, (KEY, KEY, PER_KEY * VALUE, PER_KEY * VALUE), strict=True):
            part.append(rows[start : start + width])
            start += width
    wanted = np.concatenate([row for part in parts[:3] for row in part])
    assert (applied(delta_net.UNGROUPED_QKV, rows, DELTA) == wanted).all()
    assert (applied(delta_net.UNGROUPED_GATE, rows, DELTA) == np.concatenate(parts[3])).all()


def rule(recipe: Recipe, target: str) -> Transform:
    """The last, which takes all experts at once where another takes them one by one."""
    return next(rule.transform for rule in reversed(recipe.rules) if rule.target == target)


def test_the_latent_projection_is_split_by_head() -> None:
    config = Config({"num_attention_heads": 2, "qk_nope_head_dim": 3, "v_head_dim": 4})
    rows = numbered(2 * (3 + 4), 5)
    recipe = recipes()["DeepseekV3ForCausalLM"]
    keys = applied(rule(recipe, "blk.{layer}.attn_k_b.weight"), rows, config)
    values = applied(rule(recipe, "blk.{layer}.attn_v_b.weight"), rows, config)
    for head in range(2):
        assert (keys[head] == rows[head * 7 : head * 7 + 3].T).all()
        assert (values[head] == rows[head * 7 + 3 : head * 7 + 7]).all()


def test_gates_and_ups_that_alternate_or_lie_side_by_side() -> None:
    stored = numbered(3, 8)  # inputs, outputs
    alternating, beside = recipes()["GptOssForCausalLM"], recipes()["Llama4ForCausalLM"]
    nothing = Config({})
    for number, name in enumerate(("gate", "up")):
        target = f"blk.{{layer}}.ffn_{name}_exps.weight"
        assert (applied(rule(alternating, target), stored, nothing) == stored.T[number::2]).all()
        half = applied(rule(beside, target), stored, nothing)
        assert (half == stored.T[4 * number : 4 * number + 4]).all()
        assert rule(beside, target).unit is Unit.EXPERT


def test_qwen3_vl_is_read_either_way_and_refused_where_the_shape_does_not_tell() -> None:
    recipe, target = recipes()["Qwen3VLMoeForConditionalGeneration"], "blk.{layer}.ffn_up_exps.weight"
    config = Config({"moe_intermediate_size": 2, "hidden_size": 3})
    stored = numbered(4, 3)
    for values in (stored, stored.T):
        assert (applied(rule(recipe, target), values, config) == stored[2:]).all()
    with pytest.raises(ModelFileError, match="does not tell"):
        rule(recipe, target).shape((4, 4), Config({"moe_intermediate_size": 2, "hidden_size": 4}))


@pytest.mark.parametrize("name", recipes())
def test_every_target_is_declared_in_its_family(name: str) -> None:
    recipe = recipes()[name]
    others = ("exps.bias", "token_embd_norm.weight", "rope_freqs.weight")
    for one in recipe.rules:
        role, layer = family(recipe.architecture).classify(one.target.replace("{layer}", "3"))
        assert role is not Role.OTHER or one.target.endswith(others) or one.target.endswith(".bias"), one
        assert (layer == 3) == ("{layer}" in one.target) == ("{layer}" in one.source)
        assert pattern_of(one.source.replace("{layer}", "7").replace("{expert}", "5"))[0] == one.source


def test_which_families_there_are() -> None:
    assert set(families()) - {recipe.architecture for recipe in recipes().values()} == {
        "bailingmoe2",
        "deci",
        "deepseek",
    }


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("Gemma3nForConditionalGeneration", ("can be: Gemma3ForConditionalGeneration",)),
        ("MysteryModel", ("families that can: cohere2", "qwen3moe")),
        ("", ("no named architecture",)),
    ],
)
def test_a_checkpoint_that_no_recipe_knows_is_refused_with_what_works(
    name: str, words: tuple[str, ...]
) -> None:
    with pytest.raises(ModelFileError) as caught:
        recipe_of(Config({"architectures": [name]}))
    for word in (name, *words, "any architecture that llama.cpp knows runs"):
        assert word in str(caught.value)


def test_patterns_take_the_first_two_numbers() -> None:
    name = "model.layers.13.mlp.experts.7.up_proj.weight"
    pattern = "model.layers.{layer}.mlp.experts.{expert}.up_proj.weight"
    assert pattern_of(name) == (pattern, 13, 7)
    assert pattern_of("model.norm.weight") == ("model.norm.weight", None, None)
    assert pattern_of("model.layers.07.x")[1] is None


def test_a_text_config_lies_over_its_surroundings() -> None:
    values = {"architectures": ["Qwen3_5MoeForConditionalGeneration"], "text_config": {"hidden_size": 8}}
    config = Config(values | {"hidden_size": 4})
    assert config.integer("hidden_size") == 8 and recipe_of(config).architecture == "qwen35moe"


def test_a_number_for_every_layer_may_be_a_list_that_agrees() -> None:
    assert Config({"moe_topk": [8, 8]}).integer("moe_topk") == 8
    with pytest.raises(ModelFileError, match="moe_topk"):
        Config({"moe_topk": [8, 4]}).integer("moe_topk")


QWEN2 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
LLAMA3 = QWEN2.replace(r"\p{N}|", r"\p{N}{1,3}|", 1)
SEED = QWEN2.replace(r"\p{N}|", r"\p{N}{1}|", 1).replace(r"\p{N}]+[\r\n]*", r"\p{N}\r\n]+")
QWEN35 = QWEN2.replace(r"?\p{L}+", r"?[\p{L}\p{M}]+").replace(r"[^\s\p{L}\p{N}]", r"[^\s\p{L}\p{M}\p{N}]")


def split(expression: str) -> dict[str, Any]:
    return {"type": "Split", "pattern": {"Regex": expression}, "behavior": "Isolated", "invert": False}


@pytest.mark.parametrize(
    ("cuts", "name"),
    [
        ([{"type": "ByteLevel", "use_regex": True}], "gpt-2"),
        ([{"type": "ByteLevel"}], "gpt-2"),
        ([{"type": "Digits", "individual_digits": True}, {"type": "ByteLevel"}], "refact"),
        ([split(QWEN2), {"type": "ByteLevel", "use_regex": False}], "qwen2"),
        ([split(LLAMA3), {"type": "ByteLevel", "use_regex": False}], "llama-bpe"),
        ([split(QWEN35), {"type": "ByteLevel", "use_regex": False}], "qwen35"),
        ([split(SEED), {"type": "ByteLevel", "use_regex": False}], "seed-coder"),
        ([split(QWEN2), {"type": "ByteLevel"}], None),
        ([split(QWEN2.replace("'s", "'z")), {"type": "ByteLevel", "use_regex": False}], None),
        ([{"type": "Whitespace"}], None),
        ([], None),
    ],
)
def test_ways_of_cutting(cuts: list[dict[str, Any]], name: str | None) -> None:
    assert name_of(steps({"type": "Sequence", "pretokenizers": cuts})) == name
    if len(cuts) == 1:
        assert name_of(steps(cuts[0])) == name
