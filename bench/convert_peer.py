"""Our conversion of Hugging Face folders against transformers and against llama.cpp's own converter.

Three steps in two environments, all on one folder of tiny random models:

    TORCH_PYTHON -m bench.convert_peer make WORK [--only NAME ...]       models and transformers' logits
    TORCH_PYTHON -m bench.convert_peer convert WORK --llama-cpp SOURCE   llama.cpp's converter on them
    python -m bench.convert_peer compare WORK                            ours: logits, tensors against it

TORCH_PYTHON is an interpreter with torch and transformers; SOURCE a checkout of llama.cpp of the pinned
version. Weights and KV cache are float32, so what differs is the order of sums.
"""

from __future__ import annotations

import argparse
import json
import runpy
import sys
import traceback
from pathlib import Path
from typing import Any

import numpy as np

from bench.convert_cases import CASES, COMMON

N_TOKENS = 48
SEED = 20


def main() -> int:
    """Entry point; returns the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("step", choices=("make", "convert", "compare"))
    parser.add_argument("work", type=Path)
    parser.add_argument("--only", nargs="*", default=list(CASES))
    parser.add_argument("--llama-cpp", type=Path)
    options = parser.parse_args()
    if options.step == "convert" and options.llama_cpp is None:
        parser.error("convert needs --llama-cpp")
    failures = 0
    for name in options.only:
        folder = options.work / name
        if options.step == "make":
            make(name, folder)
        elif options.step == "convert":
            convert_by_peer(folder, options.llama_cpp)
        else:
            failures += not compare(name, folder)
    return min(failures, 1)


def make(name: str, folder: Path) -> None:
    """A tiny seeded model with weights large enough to matter, its tokenizer, and its logits."""
    import torch
    import transformers

    class_name, values = CASES[name]
    model_class = getattr(transformers, class_name)
    torch.manual_seed(SEED)
    if "text_config" in values:
        text = {"text_config": COMMON | values["text_config"]}
        whole = {"tie_word_embeddings": False} | values | text
    else:
        whole = COMMON | values
    configuration = model_class.config_class(**whole)
    model = model_class(configuration).float().eval()
    _randomise(model)
    model.save_pretrained(folder)
    if name.endswith("-turned"):
        _turn_experts(folder / "model.safetensors")
    (write_pieces if name.endswith("-sentencepiece") else write_tokenizer)(folder)
    _look_up_gelu(model)
    tokens = np.random.default_rng(SEED).integers(0, 256, N_TOKENS)
    with torch.no_grad():
        logits = model(torch.tensor(tokens)[None]).logits[0]
    np.savez(folder / "expected.npz", tokens=tokens, logits=logits.numpy())
    print(f"{name}: made, logits deviate by {logits.std():.2f}", flush=True)


def _randomise(model: Any) -> None:
    """Matrices normal over the root of their inputs, the rest as initialised and a tenth of noise."""
    import torch

    saved = model.state_dict().keys()
    for name, tensor in (*model.named_parameters(), *model.named_buffers()):
        if not tensor.dtype.is_floating_point or name not in saved:
            continue
        noise = torch.randn(tensor.shape)
        if tensor.dim() < 2:
            tensor.data += 0.1 * noise
        elif "embed_tokens" in name:
            tensor.data = noise
        else:
            tensor.data = noise / max(tensor.shape[-1], 8) ** 0.5


def _look_up_gelu(model: Any) -> None:
    """GELU's inputs and outputs in half precision, as llama.cpp takes them from a table on a CPU."""
    from transformers.activations import GELUTanh

    def in_half(module: Any, inputs: Any, output: Any) -> Any:
        looked_up = GELUTanh.forward(module, inputs[0].half().float()).half().float()
        return looked_up.where(inputs[0] > -10, 0.0).where(inputs[0] < 10, inputs[0])

    for module in model.modules():
        if isinstance(module, GELUTanh):
            module.register_forward_hook(in_half)


def _turn_experts(path: Path) -> None:
    """Experts' matrices as the first checkpoints of the family have them: (inputs, outputs)."""
    from safetensors.torch import load_file, save_file

    tensors = load_file(path)
    for name, tensor in tensors.items():
        if ".experts." in name:
            tensors[name] = tensor.transpose(1, 2).contiguous()
    save_file(tensors, path)


def write_tokenizer(folder: Path) -> None:
    """A byte-level tokenizer of 256 bytes, a few merges and one special token."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in printable]
    symbols = [chr(byte) for byte in printable] + [chr(256 + number) for number in range(len(others))]
    pairs = [("t", "h"), ("th", "e"), ("a", "n"), ("i", "n")]
    words = ["<|endoftext|>", *symbols, *(left + right for left, right in pairs)]
    added = {"id": 0, "content": words[0], "special": True, "normalized": False}
    cutting = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True}
    content = {
        "version": "1.0",
        "added_tokens": [{**added, "single_word": False, "lstrip": False, "rstrip": False}],
        "pre_tokenizer": cutting | {"use_regex": True},
        "decoder": cutting,
        "model": {
            "type": "BPE",
            "vocab": {word: number for number, word in enumerate(words)},
            "merges": [f"{left} {right}" for left, right in pairs],
        },
    }
    (folder / "tokenizer.json").write_text(json.dumps(content))
    settings = {
        "eos_token": words[0],
        "tokenizer_class": "PreTrainedTokenizerFast",
        "chat_template": "{{ 1 }}",
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))


def write_pieces(folder: Path) -> None:
    """A SentencePiece tokenizer, which needs that package, trained on this file; two tokens added."""
    import sentencepiece

    settings = {"model_type": "bpe", "byte_fallback": True, "vocab_size": 400, "minloglevel": 2}
    sentencepiece.SentencePieceTrainer.train(
        input=__file__, model_prefix=str(folder / "tokenizer"), user_defined_symbols=["<mine>"], **settings
    )
    decoder = {"400": {"content": "<|end|>"}, "401": {"content": "<tool>", "special": False}}
    config = {"bos_token": "<s>", "add_prefix_space": False, "added_tokens_decoder": decoder}
    (folder / "tokenizer_config.json").write_text(json.dumps(config))


def convert_by_peer(folder: Path, source: Path) -> None:
    """llama.cpp's converter on one folder; it cannot know our tokenizer, so it is told how to read it."""
    sys.path.insert(0, str(source))
    from conversion import base, ernie, gemma, glm, hunyuan, phi

    base.TextModel.get_vocab_base_pre = lambda self, tokenizer: "gpt-2"
    ernie.Ernie4_5Model.set_vocab = base.TextModel._set_vocab_gpt2
    hunyuan.HunYuanMoEModel.set_vocab = base.TextModel._set_vocab_gpt2
    for model in (phi.Phi3MiniModel, gemma.Gemma2Model, glm.Glm4Model):
        model.set_vocab = base.TextModel._set_vocab_gpt2
    base.TextModel._set_vocab_glm = base.TextModel._set_vocab_gpt2
    script = source / "convert_hf_to_gguf.py"
    out = folder / "peer.gguf"
    for more in (["--no-mtp"], []):
        sys.argv = [str(script), str(folder), "--outfile", str(out), "--outtype", "f32", *more]
        try:
            runpy.run_path(str(script), run_name="__main__")
        except SystemExit as end:
            if end.code:
                continue
        except Exception:
            traceback.print_exc()
        break
    print(f"{folder.name}: {'converted' if out.is_file() else 'FAILED'} by llama.cpp", flush=True)


def compare(name: str, folder: Path) -> bool:
    """Prints the largest differences of one case; True where they are small enough."""
    from sixgig.checkpoint import convert
    from sixgig.inference.engine import Engine
    from sixgig.inference.options import EngineOptions

    out = folder / "ours.gguf"
    convert(folder, out, tell=print)
    expected = np.load(folder / "expected.npz")
    options = EngineOptions(
        512,
        threads=1,
        type_k="F32",
        type_v="F32",
        flash_attention="off",
        extra_buffers=False,
        all_logits=True,
    )
    with Engine(out, options) as engine:
        n_tokens = min(N_TOKENS, engine.trained_context)
        logits = engine.all_logits(expected["tokens"][:n_tokens].tolist())
    wanted = expected["logits"][:n_tokens]
    worst = float(np.abs(logits - wanted).max())
    tensors = tensor_differences(out, folder / "peer.gguf")
    print(f"{name:20} logits differ by {worst:.2e} of {wanted.std():.2f}; {tensors}", flush=True)
    return worst < 2e-3 * float(wanted.std())


def tensor_differences(ours: Path, peer: Path) -> str:
    """How our tensors and metadata compare with those of llama.cpp's converter, where it has run."""
    if not peer.is_file():
        return "not converted by llama.cpp"
    from gguf import GGUFReader

    mine, other = GGUFReader(ours), GGUFReader(peer)
    own, theirs = ({t.name: t for t in file.tensors} for file in (mine, other))
    differing = sorted(set(own) ^ set(theirs))
    for name in set(own) & set(theirs):
        left, right = own[name], theirs[name]
        if list(left.shape) != list(right.shape) or left.data.tobytes() != right.data.tobytes():
            differing.append(name)
    if not differing:
        tensors = f"{len(own)} tensors equal"
    else:
        tensors = f"{len(differing)} tensors DIFFER: {differing[:4]}"
    return tensors + _key_differences(mine.fields, other.fields)


def _key_differences(own: dict[str, Any], theirs: dict[str, Any]) -> str:
    """Keys with other values, and keys on one side only."""
    ignored = ("GGUF.", "general.name", "general.alignment", "general.finetune", "general.basename")
    left, right = ({key: field.contents() for key, field in fields.items()} for fields in (own, theirs))
    differing = [
        f"{key}={str(left.get(key))[:40]}/{str(right.get(key))[:40]}"
        for key in sorted(set(left) | set(right))
        if not key.startswith(ignored) and left.get(key) != right.get(key)
    ]
    return f"; keys: {', '.join(differing)}" if differing else "; keys equal"


if __name__ == "__main__":
    sys.exit(main())
