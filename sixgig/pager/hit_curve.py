"""From a recorded trace to the hit rates that a cache of any size would have had."""

from sixgig.errors import UsageError
from sixgig.pager.policies import DecayedFrequency
from sixgig.pager.simulator import replay
from sixgig.pager.trace import TraceFile
from sixgig.planning import HitCurve

SHARES = (0.05, 0.10, 0.25, 0.50, 0.75)
FEWEST_VISITS = 50  # of each layer; below that most uses are first uses


def recorded_curve(trace: TraceFile) -> HitCurve:
    """Replays the default policy at SHARES of the experts' bytes; first uses count as misses.

    Raises UsageError for a trace too short to tell, ModelFileError for a damaged one.
    """
    loaded = trace.load()
    n_visits = len(loaded.visits) // max(1, loaded.shape.n_routed_layers)
    if n_visits < FEWEST_VISITS:
        numbers = f"{n_visits} visits of each layer, {FEWEST_VISITS} needed"
        raise UsageError(
            f"the trace {trace.path} is too short to tell hit rates", numbers, "record a longer run"
        )
    points = []
    for share in SHARES:
        budget = int(share * loaded.shape.routed_bytes)
        if budget >= max(loaded.shape.expert_bytes):
            points.append((share, replay(loaded, DecayedFrequency(loaded.shape), budget).hit_rate))
    return HitCurve.of(points, f"recorded in {trace.path.name}")
