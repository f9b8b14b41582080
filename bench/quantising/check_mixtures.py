"""Ask llama-quantize itself for its types, by dry runs, and keep the answers in oracle/.

    python -m bench.quantising.check_mixtures build/bin/llama-quantize
    python -m bench.quantising.check_mixtures build/bin/llama-quantize --also model-BF16.gguf

The binary must be of the pinned version. Without --also the tables of MODELS are written anew; with it,
nothing is: that model's types are compared with ours.

Layers that agree share a row of a table: "blk.{0-2,4}.ffn_up.weight".
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import gguf
import numpy as np

from bench.quantising.mixtures import MIXTURES
from bench.quantising.peers import REST_OF_ROUTED, peer_types
from sixgig.modelfile import open_model
from tests import described
from tests.described import families
from tests.tiny.models import build

ORACLE = Path(__file__).parent / "oracle"
DEMO = Path(__file__).resolve().parents[2] / "sixgig" / "demo" / "pep-moe-31m.gguf"
PEERS = (*MIXTURES, "uniform:Q3_K", "uniform:Q4_K", "uniform:IQ3_S", "routed:IQ2_XXS", "routed:Q4_K")
Table = dict[str, dict[str, str]]
_LINE = re.compile(r"\[ *\d+/ *\d+\] +(\S+) +- \[.*\], type = +(\w+), size = .*?(?:\((\w+)\))?$", re.M)
_LAYERS = re.compile(r"\{([\d,-]+)\}")


def _tiny(architecture: str, path: Path, **options: int) -> Path:
    return build(architecture, path, "F32", **options)


def _described(name: str, path: Path, without: str = "", **metadata: int) -> Path:
    """A model of a real size in F16; `without` a tensor of every layer; `metadata` replace its own."""
    description = described.describe(name)
    named = [row for row in description["tensors"] if row["name"].removeprefix("blk.{layer}.") != without]
    description["tensors"] = named
    for key, value in metadata.items():
        description["metadata"]["ARCH." + key.replace("__", ".")] = value
    return described.write_description(description, name, path, routed="F16", dense="F16")


# The demo model's names and shapes are those of the model it was made from, and dry runs look at no more.
MODELS: dict[str, Callable[[Path], Path]] = {
    "pep-moe-31m": lambda _: DEMO,
    "tiny-llama": partial(_tiny, "llama", n_layers=16, expert_width=96),
    "tiny-qwen3": partial(_tiny, "qwen3", n_layers=9, width=320, expert_width=40),
    "tiny-mixtral": partial(_tiny, "mixtral", n_layers=8),
    "tiny-qwen3moe": partial(_tiny, "qwen3moe", n_layers=8, n_experts=16, expert_width=64),
    "tiny-qwen35moe": partial(_tiny, "qwen35moe", n_layers=8, n_experts=4, expert_width=128),
    "tiny-gpt-oss": partial(_tiny, "gpt-oss", width=288, expert_width=288, n_experts=3),
    "tiny-deepseek2": partial(_tiny, "deepseek2", n_layers=8, expert_width=64),
    **{f"family-{name}": partial(families.write, name) for name in families.FAMILIES},
    "deepseek-v2-lite": partial(_described, "deepseek-v2-lite"),
    "gpt-oss-20b": partial(_described, "gpt-oss-20b"),
    "llama-8b": partial(_described, "llama-8b"),
    "llama-8b-tied": partial(_described, "llama-8b", without="output.weight"),
    "llama-65b": partial(_described, "llama-8b", block_count=80, attention__head_count_kv=32),
    "llama-70b": partial(_described, "llama-8b", block_count=80),
    "mixtral-8x7b": partial(_described, "mixtral-8x7b"),
    "qwen2-of-80-layers": partial(families.write, "qwen2", block_count=80),
    "qwen3-8b-tied": partial(_described, "qwen3-8b", without="output.weight", attention__head_count_kv=32),
    "qwen3-30b": partial(_described, "qwen3-30b"),
    "qwen3.5-122b": partial(_described, "qwen3.5-122b"),
    "fewer-values-than-layers": partial(_described, "qwen3.5-35b", without="attn_qkv.weight"),
}


def recorded(name: str) -> Table:
    """The kept table of a model: type by tensor name, for each peer."""
    kept = json.loads((ORACLE / f"{name}.json").read_text())
    table: Table = {peer: {} for peer in kept["peers"]}
    for row, kinds in kept["types"].items():
        for tensor in _names(row):
            for peer, kind in zip(kept["peers"], kinds.split(), strict=True):
                table[peer][tensor] = kind
    return table


def ask(tool: Path, model: Path, peer: str, importance: Path) -> dict[str, str]:
    """llama-quantize's own types for a peer."""
    command = [tool, "--dry-run", "--imatrix", importance, *_options(peer, model)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return {
        name: (after or before).upper() for name, before, after in _LINE.findall(done.stdout + done.stderr)
    }


def write_importance(path: Path) -> Path:
    """The least importance matrix llama-quantize takes: its presence changes types, its numbers do not."""
    writer = gguf.GGUFWriter(path, "")
    writer.add_array("imatrix.datasets", ["none"])
    writer.add_uint32("imatrix.chunk_count", 1)
    writer.add_uint32("imatrix.chunk_size", 1)
    writer.add_tensor("none.weight.in_sum2", np.ones((1, 32), np.float32))
    writer.add_tensor("none.weight.counts", np.ones((1, 1), np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _options(peer: str, model: Path) -> list[str | Path]:
    """The end of the command: a mixture is a file type, the others are all Q6_K but for patterns."""
    rule, _, kind = peer.partition(":")
    if not kind:
        return [model, peer]
    pattern = "weight" if rule == "uniform" else r"_exps\.weight"
    return ["--pure", "--tensor-type", f"{pattern}={kind}", model, REST_OF_ROUTED]


def _record(name: str, table: Table) -> None:
    rows: dict[tuple[str, str], list[int]] = defaultdict(list)
    for tensor in table[PEERS[0]]:
        layer = re.match(r"blk\.(\d+)\.", tensor)
        stem = tensor if layer is None else tensor.replace(layer.group(), "blk.{}.", 1)
        rows[stem, " ".join(table[peer][tensor] for peer in PEERS)] += [int(layer[1])] if layer else []
    types = {stem.replace("{}", f"{{{_ranges(layers)}}}"): kinds for (stem, kinds), layers in rows.items()}
    kept = {"peers": list(PEERS), "types": types}
    (ORACLE / f"{name}.json").write_text(json.dumps(kept, indent=1) + "\n")


def _ranges(layers: Sequence[int]) -> str:
    """Ascending numbers as "0-2,4"."""
    runs: list[list[int]] = []
    for layer in layers:
        if runs and runs[-1][-1] == layer - 1:
            runs[-1].append(layer)
        else:
            runs.append([layer])
    return ",".join(f"{run[0]}-{run[-1]}" if len(run) > 1 else f"{run[0]}" for run in runs)


def _names(row: str) -> list[str]:
    """The tensors of a row."""
    found = _LAYERS.search(row)
    if found is None:
        return [row]
    ends = [[int(end) for end in part.split("-")] for part in found[1].split(",")]
    layers = [layer for run in ends for layer in range(run[0], run[-1] + 1)]
    return [row.replace(found[0], str(layer)) for layer in layers]


def _compare(model: Path, answers: Table) -> int:
    """Print where our types differ; how many do."""
    ours = {peer: peer_types(open_model(model), peer) for peer in PEERS}
    wrong = [
        f"{peer}: {name} is {answers[peer].get(name)}, ours {kind}"
        for peer in PEERS
        for name, kind in ours[peer].items()
        if answers[peer].get(name) != kind
    ]
    print(*wrong, f"{model.name}: {len(wrong)} differences", sep="\n")
    return len(wrong)


def main() -> int:
    """Read the arguments; ask, then write or compare."""
    parser = argparse.ArgumentParser(description="Ask llama-quantize for its types.")
    parser.add_argument("tool", type=Path, help="llama-quantize of the pinned version")
    parser.add_argument("--also", type=Path, help="a model to compare instead, F32, F16 or BF16")
    asked = parser.parse_args()
    with TemporaryDirectory() as folder:
        importance = write_importance(Path(folder, "importance.gguf"))
        made: Mapping[str, Callable[[Path], Path]] = MODELS
        if asked.also:
            made = {asked.also.stem: lambda _: asked.also}
        wrong = 0
        for name, make in made.items():
            model = make(Path(folder, f"{name}.gguf"))
            table = {peer: ask(asked.tool, model, peer, importance) for peer in PEERS}
            wrong += _compare(model, table)
            if not asked.also:
                _record(name, table)
    return int(wrong > 0)


if __name__ == "__main__":
    raise SystemExit(main())
