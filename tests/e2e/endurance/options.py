"""What a run is to do."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Options:
    """From the command line."""

    tries: int
    """How often a credential of each source is taken back."""
    runs: int
    """How many runs end."""
    cycles: int
    """How many bindings are created, rotated and deleted."""
    pods: int
    """Of the runtime that is given a binding; as far as the node allows."""
    additions: int
    """How many bindings it is given."""
    minutes: float
    """How long idle pods are watched."""
    at_once: int
    """Runtimes between which tries are shared."""
    seed: int
    """Of what is killed when."""
