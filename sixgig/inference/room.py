"""What this process may take, and what cannot fit in it, whatever the engine would say."""

from dataclasses import replace

from sixgig.hardware import machine_memory, memory_limit, process_memory
from sixgig.hardware.memory import give_back
from sixgig.inference.options import EngineOptions
from sixgig.modelfile import ModelFile
from sixgig.plan import (
    Allowance,
    Placement,
    Task,
    Tier,
    allowance,
    anatomy,
    estimated_engine,
    estimated_process,
    paged_needs,
    plan_memory,
    table_bytes,
    unpaged_needs,
)


def allowed(ram_bytes: int | None) -> Allowance:
    """What this process may plan with now, of what was asked for or, None, of what is free."""
    give_back()
    return allowance(ram_bytes, machine_memory(), memory_limit(), process_memory().resident_bytes)


def require_context(
    model: ModelFile,
    ram_bytes: int,
    options: EngineOptions,
    task: Task,
    paged: bool,
    beside: tuple[Tier, ...] = (),
) -> None:
    """Refuse before the engine is asked, whose answer takes memory for each position and output.

    By the header, and only where half of what is no more than estimated would be too much. Raises Refusal.
    """
    outputs = 4 * options.ubatch * model.n_vocab if options.all_logits else 0
    parts = anatomy(model)
    engine = estimated_engine(parts, task, Placement(), paged)
    held = process_memory().resident_bytes
    certain = held + engine.weights_bytes + engine.context_bytes + table_bytes(task) + outputs
    if certain + engine.compute_bytes // 2 <= ram_bytes:
        return
    process = estimated_process(parts)
    process = replace(process, anonymous_bytes=process.anonymous_bytes + table_bytes(task))
    needs = (paged_needs if paged else unpaged_needs)(model, task, engine, process)
    more = (*beside, Tier("outputs", outputs)) if outputs else beside
    plan_memory(needs.with_tiers(more), ram_bytes, modes=("paged",) if paged else ("unpaged",))
