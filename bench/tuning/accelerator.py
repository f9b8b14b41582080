"""`sixgig tune --vram` beside the processor and beside what the GPU and its bus could do.

    python -m bench.tuning.accelerator FOLDER --text FILE [--preset 6g-qwen3moe] [--vram 4G] [--json OUT]

The model is made in FOLDER and removed. The same steps run on the GPU and on the processor, all weights in
main memory. A step on the GPU copies every weight there twice and computes three products with each that is
used: forward, again from the layer's input, and the gradient. The floor is the slower of both at the rates
measured in this call, copies from pinned memory. The GPU's memory is sampled from outside, the driver's part
included.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from math import prod
from pathlib import Path
from time import perf_counter
from typing import Any

import torch

from bench.shrinking.large import made
from bench.synthetic.shape import PRESETS
from sixgig.modelfile import open_model
from sixgig.planning import anatomy
from sixgig.planning.pieces import pieces_of
from sixgig.units import format_bytes, format_rate, parse_size

COPIED_BYTES, PRODUCT, REPEATS = 256 << 20, 8192, 10
PASSES, SAMPLE_S, TIMEOUT_S = 3, 0.02, 1200.0
LEARNT_CHARACTERS, JUDGED_CHARACTERS = 1 << 18, 1000
Document = dict[str, Any]


@dataclass
class Used:
    """Bytes of the GPU's memory taken by others than this process, at most."""

    peak_bytes: int = 0


@contextmanager
def watched() -> Iterator[Used]:
    """Sample while the block runs."""
    used, ended, (before, _) = Used(), threading.Event(), torch.cuda.mem_get_info()

    def watch() -> None:
        while not ended.wait(SAMPLE_S):
            used.peak_bytes = max(used.peak_bytes, before - torch.cuda.mem_get_info()[0])

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield used
    finally:
        ended.set()
        thread.join()


def copy_rate(pinned: bool) -> float:
    """Bytes per second from main memory."""
    source = torch.ones(COPIED_BYTES, dtype=torch.uint8)
    source = source.pin_memory() if pinned else source
    target = torch.empty_like(source, device="cuda")
    return COPIED_BYTES / seconds_of(lambda: target.copy_(source))


def product_rate() -> float:
    """Operations per second of a large product in bfloat16."""
    matrix = torch.randn(PRODUCT, PRODUCT, device="cuda", dtype=torch.bfloat16)
    return 2 * PRODUCT**3 / seconds_of(lambda: matrix @ matrix)


def seconds_of(work: Any) -> float:
    """Of one call, the mean of several after a first."""
    work()
    torch.cuda.synchronize()
    began = perf_counter()
    for _ in range(REPEATS):
        work()
    torch.cuda.synchronize()
    return (perf_counter() - began) / REPEATS


def active_weights(model: Path) -> int:
    """Elements of the matrices that one token is multiplied with."""
    found = anatomy(open_model(model))
    used = found.model.n_experts_used / max(1, found.model.n_experts)
    dense = sum(prod(t.shape) for layer in found.layers for t in layer.dense if len(t.shape) == 2)
    return int(dense + used * sum(prod(t.shape) for layer in found.layers for t in layer.routed))


def tuned(options: argparse.Namespace, model: Path, folder: Path, *where: str) -> Document:
    """One run's document."""
    words = [str(model), str(folder / "learnt.txt"), "--held-out", str(folder / "judged.txt"), "--json"]
    words += ["-o", str(folder / (where[0] if where else "cpu").strip("-")), "--ram", options.ram]
    words += [f"--steps={options.steps}", f"--batch={options.batch}", f"--context={options.context}", *where]
    done = subprocess.run(
        [sys.executable, "-m", "sixgig", "tune", *words], capture_output=True, text=True, timeout=TIMEOUT_S
    )
    if done.returncode:
        raise SystemExit(done.stderr[-2000:])
    found: Document = json.loads(done.stdout)
    return found


def measured(options: argparse.Namespace, model: Path, folder: Path) -> Document:
    """Both runs, and the rates."""
    text = options.text.read_text()
    (folder / "learnt.txt").write_text(text[:LEARNT_CHARACTERS])
    (folder / "judged.txt").write_text(text[-JUDGED_CHARACTERS:])
    rates = {"pinned": copy_rate(True), "pageable": copy_rate(False), "product": product_rate()}
    torch.cuda.empty_cache()
    with watched() as used:
        gpu = tuned(options, model, folder, "--vram", options.vram)
    cpu = tuned(options, model, folder)
    step_bytes = sum(piece.size_bytes for piece in pieces_of(anatomy(open_model(model))).step())
    copying = step_bytes / rates["pinned"]
    computing = PASSES * 2 * active_weights(model) * options.batch / rates["product"]
    return {
        "device": torch.cuda.get_device_name(),
        "torch": torch.__version__,
        "rates": rates,
        "vram_peak_bytes": used.peak_bytes,
        "vram_bytes": parse_size(options.vram),
        "step_bytes": step_bytes,
        "copying_s": copying,
        "computing_s": computing,
        "gpu": gpu,
        "cpu": cpu,
    }


def show(found: Document, batch: int) -> str:
    """The report."""
    gpu, cpu, rates = found["gpu"], found["cpu"], found["rates"]
    step, slow = gpu["seconds_per_step"], cpu["seconds_per_step"]
    floor = max(found["copying_s"], found["computing_s"])
    taken, allowed = format_bytes(found["vram_peak_bytes"]), format_bytes(found["vram_bytes"])
    apart = max(abs(a - b) for a, b in zip(gpu["losses"], cpu["losses"], strict=True))
    return "\n".join(
        [
            f"{found['device']}, PyTorch {found['torch']}: copies {format_rate(rates['pinned'])} pinned, "
            f"{format_rate(rates['pageable'])} not; products {rates['product'] / 1e12:.0f} TFLOP/s",
            f"GPU: {step:.3f} s a step, {batch / step:.0f} tokens/s; processor: {slow:.2f} s, "
            f"{batch / slow:.0f} tokens/s; {slow / step:.1f} times",
            f"floor {floor:.3f} s: copying {format_bytes(found['step_bytes'])} {found['copying_s']:.3f} s, "
            f"computing {found['computing_s']:.3f} s; ratio {step / floor:.2f}",
            f"memory of the GPU: {taken} of {allowed}",
            *(
                f"main memory, {name}: {format_bytes(run['peak_memory_bytes'])}, "
                f"predicted {format_bytes(run['predicted_peak_memory_bytes'])}"
                for name, run in (("GPU", gpu), ("processor", cpu))
            ),
            f"losses: GPU {gpu['losses']}, processor {cpu['losses']}; at most {apart:.5f} nats apart",
        ]
    )


def main(arguments: list[str] | None = None) -> int:
    """Entry point; the exit status, 1 where more of the GPU was taken than it may."""
    options = _parser().parse_args(arguments)
    if not torch.cuda.is_available():
        print("PyTorch finds no CUDA device here", file=sys.stderr)
        return 1
    model = options.model or made(options.folder, options.preset, options.layers)
    try:
        with tempfile.TemporaryDirectory(dir=options.folder) as folder:
            found = measured(options, model, Path(folder))
    finally:
        if not options.model:
            model.unlink()
    if options.json:
        options.json.write_text(json.dumps(found, indent=1))
    print(show(found, options.batch))
    return int(found["vram_peak_bytes"] > found["vram_bytes"])


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--text", type=Path, required=True)
    parser.add_argument("--preset", choices=PRESETS, default="6g-qwen3moe")
    parser.add_argument("--model", type=Path, help="this model instead of the preset's")
    parser.add_argument("--layers", type=int)
    parser.add_argument("--ram", default="24G")
    parser.add_argument("--vram", default="4G")
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--batch", type=int, default=2048, help="tokens of a step")
    parser.add_argument("--context", type=int, default=512, help="tokens of a document at most")
    parser.add_argument("--json", type=Path, help="keep everything here")
    return parser


if __name__ == "__main__":
    sys.exit(main())
