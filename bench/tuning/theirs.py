"""One training by transformers and PEFT: `python -m bench.tuning.theirs TASK.json WAY`. A line of JSON.

plain: all in memory. checkpointing: transformers' gradient checkpointing. accumulating: that, and two
documents at a time. Ways to have weights on disk, all with checkpointing: disk_offload (accelerate's, then
PEFT), device_map (transformers', then PEFT), and by_hand: PEFT first, then accelerate's hooks on modules
without trainable weights, which nobody documents.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from accelerate import disk_offload
from accelerate.hooks import AlignDevicesHook, add_hook_to_module
from accelerate.utils import OffloadedWeightsLoader, PrefixedDataset, offload_state_dict
from peft import LoraConfig, PeftModel, get_peft_model
from torch import Tensor, nn
from transformers import Qwen3_5MoeForCausalLM

from bench.tuning.task import CLIP, INITIAL, Task, Told, imported, load_task
from sixgig.finetune.optimisers import clip

Model = Any  # transformers' and PEFT's are typed as modules that lack their own methods
CPU = torch.device("cpu")
ACCUMULATED = 2  # documents at a time


def resident(task: Task, _folder: str) -> Model:
    """All weights in memory."""
    return PeftModel.from_pretrained(loaded(task), Path(task.work, INITIAL), is_trainable=True)


def offloaded(task: Task, folder: str) -> Model:
    """First accelerate's disk_offload, then PEFT as for any training, with an adapter of its own."""
    return get_peft_model(disk_offload(loaded(task), folder, CPU), configuration(task))


def mapped(task: Task, folder: str) -> Model:
    """First transformers' device_map, then PEFT, with an adapter of its own."""
    base = loaded(task, device_map={"": "disk"}, offload_folder=folder)
    return get_peft_model(base, configuration(task))


def by_hand(task: Task, folder: str) -> Model:
    """Hooks only where nothing is trained: they turn trained weights into shapes without values."""
    model = resident(task, folder)
    frozen = {name: weight for name, weight in model.named_parameters() if not weight.requires_grad}
    offload_state_dict(folder, frozen)
    weights = OffloadedWeightsLoader(save_folder=folder)
    owners = {name.rpartition(".")[0] for name in frozen}
    del frozen
    for name in owners:
        hook = AlignDevicesHook(CPU, offload=True, weights_map=PrefixedDataset(weights, f"{name}."))
        add_hook_to_module(model.get_submodule(name), hook)
    return model


Make = Callable[[Task, str], Model]
WAYS: dict[str, tuple[Make, bool, bool]] = {
    "plain": (resident, False, False),
    "checkpointing": (resident, True, False),
    "accumulating": (resident, True, True),
    "disk_offload": (offloaded, True, False),
    "device_map": (mapped, True, False),
    "by_hand": (by_hand, True, False),
}


def loaded(task: Task, **options: Any) -> Model:
    """The base in float32."""
    model: Model = Qwen3_5MoeForCausalLM.from_pretrained(task.folder, dtype=torch.float32, **options)
    return model


def configuration(task: Task) -> LoraConfig:
    """That of the adapter to begin with."""
    found = LoraConfig.from_pretrained(Path(task.work, INITIAL))
    found.inference_mode = False
    return found


def train(task: Task, way: str) -> Told:
    """All steps of the task. Raises what the peer raises."""
    make, checkpointing, accumulating = WAYS[way]
    torch.set_num_threads(task.threads)
    told = imported()
    with tempfile.TemporaryDirectory(dir=task.work) as folder:
        model = make(task, folder)
        if checkpointing:
            model.gradient_checkpointing_enable()
            model.enable_input_require_grads()
        model.train()
        trained = [weight for weight in model.parameters() if weight.requires_grad]
        with told.training():
            run(task, told, model, trained, ACCUMULATED if accumulating else task.documents)
    told.more = {"n_weights": sum(weight.numel() for weight in trained)}
    return told


def run(task: Task, told: Told, model: Model, trained: list[nn.Parameter], at_once: int) -> None:
    """Step after step, with our schedule and our clipping."""
    optimiser = torch.optim.AdamW(trained, weight_decay=0.0)
    for step, batch in enumerate(torch.from_numpy(task.tokens).long()):
        optimiser.zero_grad(set_to_none=True)
        loss = gradients(model, batch, at_once)
        clip(trained, CLIP)
        optimiser.param_groups[0]["lr"] = task.rate_of(step)
        optimiser.step()
        told.stepped(loss)


def gradients(model: Model, batch: Tensor, at_once: int) -> float:
    """Of the mean loss over all documents, which are of one length."""
    total = 0.0
    for part in batch.split(at_once):
        loss = model(input_ids=part, labels=part, use_cache=False).loss * (len(part) / len(batch))
        loss.backward()
        total += loss.item()
    return total


def main() -> None:
    """Train and tell."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("task", type=Path)
    parser.add_argument("way", choices=WAYS)
    given = parser.parse_args()
    train(load_task(given.task), given.way).print()


if __name__ == "__main__":
    main()
