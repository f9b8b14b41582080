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
    least_engine,
    paged_needs,
    plan_memory,
    table_bytes,
    unpaged_needs,
)

CHEAP_BYTES = 32 << 20  # so much the engine may take to say exactly what it needs
# What opening the engine's library adds to a process. Measured: LOG.md.
LIBRARY_BYTES, LIBRARY_FILE_BYTES = 8 << 20, 16 << 20


def allowed(ram_bytes: int | None) -> Allowance:
    """What this process may plan with now, of what was asked for or, None, of what is free."""
    give_back()
    return allowance(ram_bytes, machine_memory(), memory_limit(), process_memory().resident_bytes)


def require_context(
    model: ModelFile,
    allowance: Allowance,
    options: EngineOptions,
    task: Task,
    paged: bool,
    beside: tuple[Tier, ...] = (),
) -> None:
    """Refuse by the header what cannot fit, where asking the engine would take memory that is not there.

    It notes something of each position, and holds the logits it may be asked for, even where it allocates
    nothing else. Only where half of what is no more than estimated would be too much; of an architecture
    without a declaration the weights count alone. Raises Refusal.
    """
    outputs = 4 * options.ubatch * model.n_vocab if options.all_logits else 0
    asking, now = table_bytes(task) + outputs, process_memory()
    cramped = allowance.limit is not None and allowance.ram_bytes < now.resident_bytes
    if asking < CHEAP_BYTES and not cramped:
        return
    parts = anatomy(model)
    known = model.family.declared
    engine = estimated_engine(parts, task, Placement(), paged) if known else least_engine(parts, paged)
    certain = now.resident_bytes + asking + engine.weights_bytes + engine.context_bytes
    if certain + engine.compute_bytes // 2 <= allowance.ram_bytes:
        return
    itself = now.anonymous_bytes + now.shared_bytes + LIBRARY_BYTES, now.file_bytes + LIBRARY_FILE_BYTES
    process = estimated_process(parts, task, itself)
    process = replace(process, anonymous_bytes=process.anonymous_bytes + table_bytes(task))
    needs = (paged_needs if paged else unpaged_needs)(model, task, engine, process)
    more = (*beside, Tier("outputs", outputs)) if outputs else beside
    plan_memory(needs.with_tiers(more), allowance.ram_bytes, modes=("paged",) if paged else ("unpaged",))
