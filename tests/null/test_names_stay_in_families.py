"""What tensors are called and which architecture a model is of: only families/ knows, all other rooms ask."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import sixgig
from sixgig.families import families

ROOT = Path(sixgig.__file__).parent
TENSOR = re.compile(
    r"(?<![a-z_])(blk\.|attn_(?!factor|logit|impl)|ffn_|ssm_|exp_probs|shortconv\.\w+_proj|nextn\."
    r"|token_embd|output_norm|rope_f(reqs|actors))|_(exps|shexp|chexps)\b|^output\.weight$"
)
# Files that have such words of another kind, and what they are there.
EXCEPTIONS = {
    "calibration/calibration.py": "names of arrays in a file of our own",
    "checkpoint/pretokenizers.py": "llama.cpp's names for ways of cutting text, some after a model",
    "checkpoint/vocabulary.py": "llama.cpp's names for kinds of tokenizers",
    "jobs/findings.py": "architectures of processors",
    "llamacpp/observe.py": "nodes of a graph, which no file holds",
}
ROOMS = sorted(path.name for path in ROOT.iterdir() if path.is_dir() and path.name[0] not in "_.")


def texts(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Every string and what f-strings have between their fields, without docstrings."""
    said = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and id(node) not in said:
            if isinstance(node.value, str):
                yield node.lineno, node.value
            if isinstance(node.value, bytes):
                yield node.lineno, node.value.decode(errors="replace")


def compared(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Comparisons of an architecture with a name, or with a list of names that the file has."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Compare):
            sides = [node.left, *node.comparators]
        elif isinstance(node, ast.Subscript):
            sides = [node.slice, node.value]
        else:
            continue
        asks = any(isinstance(side, ast.Attribute) and side.attr == "architecture" for side in sides)
        if asks and any(_known(inner) for side in sides for inner in ast.walk(side)):
            yield node.lineno, ast.unparse(node)


def _known(node: ast.AST) -> bool:
    """A string in the code, or a constant of the module."""
    if isinstance(node, ast.Constant):
        return isinstance(node.value, str)
    return isinstance(node, ast.Name) and node.id == node.id.upper()


def findings(source: str) -> list[str]:
    tree = ast.parse(source)
    named = [(line, text) for line, text in texts(tree) if TENSOR.search(text) or text in families()]
    return [f"line {line}: {text[:60]}" for line, text in [*named, *compared(tree)]]


@pytest.mark.parametrize("room", [room for room in ROOMS if room != "families"])
def test_no_room_spells_a_tensors_name_or_tells_architectures_apart(room: str) -> None:
    found = {
        path.relative_to(ROOT).as_posix(): lines
        for path in sorted((ROOT / room).rglob("*.py"))
        if (lines := findings(path.read_text()))
    }
    assert found.keys() == {name for name in EXCEPTIONS if name.startswith(f"{room}/")}, found


@pytest.mark.parametrize(
    ("source", "n_found"),
    [
        ('name = f"blk.{layer}.attn_q.weight"', 2),
        ('if name.endswith("ffn_down_exps.weight"): pass', 1),
        ('gated = model.architecture == "qwen35moe"', 2),
        ('interleaved = {"llama": True, "qwen3": False}', 2),
        ("known = model.architecture in ARCHITECTURES", 1),
        ("rule = TABLE[model.architecture]", 1),
        ('head = "output.weight"', 1),
        ('def f() -> None:\n    """Reads blk.0.attn_q.weight."""', 0),
        ("same = lora.architecture == model.architecture", 0),
        ('counts.number("rope.scaling.attn_factor", "ssm.conv_kernel", "nextn_predict_layers")', 0),
        ('fields = {"output": 1, "input_tokens": 2, "full_attention_interval": 3}', 0),
    ],
)
def test_what_counts_as_a_name(source: str, n_found: int) -> None:
    assert len(findings(source)) == n_found
