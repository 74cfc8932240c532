"""`llmsched reproduce`: published results, computed anew and printed beside the published ones."""

from __future__ import annotations

from llmsched.cli.plugins import LazyGroup

reproduce = LazyGroup(
    "reproduce",
    help="Compute published results anew and show them beside the published ones.",
    own={"poster": "simulator.cli.poster:poster", "llmsched": "simulator.cli.evaluate:evaluate"},
    prefix="reproduce.",
)
