"""What to open, how, and within which budgets."""

from dataclasses import dataclass, field

from sixgig.hardware import Machine
from sixgig.inference.adapters import Adapter
from sixgig.inference.options import EngineOptions
from sixgig.modelfile import ModelFile
from sixgig.pager.pager import DEFAULT_READERS, CachePolicy
from sixgig.planning import Mode, ModelNeeds, Need, Task, anatomy
from sixgig.typed import settle


@dataclass(frozen=True)
class PagingOptions:
    """How experts are paged.

    always: page even a file that fits; never: refuse rather than page. policy: who leaves a full cache.
    readers: reader threads. read_ahead: guess the next layer's experts. cache_bytes: a smaller cache than the
    budget leaves.
    """

    always: bool = False
    never: bool = False
    policy: CachePolicy = CachePolicy.DECAYED_FREQUENCY
    readers: int = DEFAULT_READERS
    read_ahead: bool = True
    cache_bytes: int | None = None

    def __post_init__(self) -> None:
        """Refuse values of other types."""
        settle(self, "")


@dataclass(frozen=True)
class MemoryRequest:
    """A model and what it may take.

    ram_bytes: for the whole process; None: what is free, less a margin. vram_bytes: of the GPU of `machine`,
    on which the planner places it; without either everything is in main memory. adapter: a LoRA for it.
    beside: what else the process will hold.
    """

    model: ModelFile
    ram_bytes: int | None = None
    options: EngineOptions = field(default_factory=EngineOptions)
    paging: PagingOptions = field(default_factory=PagingOptions)
    vram_bytes: int = 0
    machine: Machine | None = None
    adapter: Adapter | None = None
    beside: tuple[Need, ...] = ()

    @property
    def modes(self) -> tuple[Mode, ...]:
        """What may be tried, in order of preference."""
        if self.paging.always:
            return ("paged",)
        return ("unpaged",) if self.paging.never or not self.model.routed_bytes else ("unpaged", "paged")

    @property
    def needs(self) -> ModelNeeds:
        """What it takes, whichever way it is held."""
        adapter = self.adapter.bytes if self.adapter else None
        return ModelNeeds(anatomy(self.model), self.task, adapter, self.beside)

    @property
    def task(self) -> Task:
        """It in a planner's words."""
        options = self.options
        return Task(
            context=options.context,
            sequences=options.sequences,
            ubatch=options.ubatch,
            type_k=options.type_k,
            type_v=options.type_v,
            read_ahead=self.paging.read_ahead,
        )
