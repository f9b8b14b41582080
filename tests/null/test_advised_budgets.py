"""What a refusal or a plan advises is accepted when it is asked for, and is the same whatever was asked."""

import contextlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from re import search

import pytest

from sixgig.cli.main import main
from sixgig.hardware import load_machine
from sixgig.inference import Adapter, EngineOptions
from sixgig.inference.dry_load import checkpoint_bytes
from sixgig.inference.memory import arrange
from sixgig.inference.request import MemoryRequest, PagingOptions
from sixgig.inference.serving import serving_needs
from sixgig.jobs import machines
from sixgig.modelfile import open_model
from sixgig.planning import Refusal
from tests.tune.adapters import ATTENTION, random_lora, written

MIB, GIB = 1 << 20, 1 << 30
SAME_BYTES = 6 * MIB  # what a process that did the same before may take otherwise
MIXTURE = {"n_layers": 4, "n_experts": 64}
MODES = {"auto": PagingOptions(), "paged": PagingOptions(always=True), "unpaged": PagingOptions(never=True)}


def requests(path: Path, mode: str, adapter: Path | None, sequences: int) -> MemoryRequest:
    model = open_model(path)
    options = EngineOptions(context=1024, ubatch=64, threads=1, sequences=sequences)
    return MemoryRequest(
        model,
        options=options,
        paging=MODES[mode],
        adapter=Adapter.open(adapter, model) if adapter else None,
        beside=serving_needs(model, options, checkpoint_bytes(model, options)) if sequences > 1 else (),
    )


def refusal(request: MemoryRequest, ram_bytes: int) -> Refusal:
    with pytest.raises(Refusal) as refused:
        arrange(replace(request, ram_bytes=ram_bytes)).close()
    return refused.value


@pytest.mark.parametrize("sequences", [1, 4])
@pytest.mark.parametrize("adapted", [False, True], ids=["plain", "adapted"])
@pytest.mark.parametrize(
    ("architecture", "mode"), [("llama", "auto"), *(("qwen35moe", mode) for mode in MODES)]
)
def test_what_a_refusal_names_is_accepted_and_the_same_whatever_was_asked_for(
    tiny: Callable[..., Path], tmp_path: Path, architecture: str, mode: str, adapted: bool, sequences: int
) -> None:
    path = tiny(architecture, **(MIXTURE if architecture != "llama" else {}))
    adapter = written(tmp_path / "lora.gguf", random_lora(path, ATTENTION)) if adapted else None
    request = requests(path, mode, adapter, sequences)
    refusal(request, MIB)  # once, for what the engine keeps of it
    refused = refusal(request, MIB)
    named = [refused.smallest_bytes]
    for asked in (request.model.size_bytes, refused.smallest_bytes - 40 * MIB):
        named.append(refusal(request, asked).smallest_bytes)
    assert max(named) - min(named) <= SAME_BYTES
    assert f"--ram {refused.smallest_bytes // MIB}M" in refused.cure
    with contextlib.closing(arrange(replace(request, ram_bytes=refused.smallest_bytes))) as arranged:
        plan = arranged.plan
        assert plan.predicted_peak_bytes + plan.margin_bytes <= refused.smallest_bytes


def test_a_shorter_context_that_a_refusal_names_is_accepted(tiny: Callable[..., Path]) -> None:
    request = requests(tiny("llama"), "auto", None, 1)
    long = replace(request, options=replace(request.options, context=65536))
    ram_bytes = refusal(long, MIB).smallest_bytes - 30 * MIB
    context = refusal(long, ram_bytes).context
    assert 0 < context < 65536
    options = replace(long.options, context=context)
    arrange(replace(long, ram_bytes=ram_bytes, options=options)).close()


@pytest.mark.parametrize("architecture", ["llama", "qwen35moe"])
def test_what_plan_advises_is_accepted_by_a_run(
    tiny: Callable[..., Path],
    architecture: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = tiny(architecture, **(MIXTURE if architecture != "llama" else {}))
    monkeypatch.setattr(machines, "this_machine", lambda *_, **__: load_machine("cpu-box-2c-24g"))
    assert main(["plan", str(path), "--ram", "20M", "--context", "1024", "--ubatch", "64"]) == 1
    found = search(r"--ram (\d+)M", capsys.readouterr().err)
    assert found is not None
    request = requests(path, "auto", None, 1)
    arrange(replace(request, ram_bytes=int(found[1]) * MIB)).close()
