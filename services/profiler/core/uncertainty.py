"""R(X|E) of a job's ready stages: how much the end of each would reduce what is uncertain about the stages after it.

The stages are the network's variables for their units (X and Y of LLMSched, Eq. 6), and the variables that count rounds
and generated stages, which structure makes as uncertain as any duration (ours). A state's value is the seconds of work
that it means: of the tasks that the stage is expected to have, or of the rounds of a count.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

import numpy as np

from services.profiler.core.belief import Belief
from services.profiler.core.evidence import may_grow
from services.profiler.core.information import Information, Reduction
from services.profiler.core.junction_tree import Impossible
from services.profiler.core.profile import Profile
from services.profiler.core.variables import Aspect, Canonical

#: Draws for where exact information would be too much to compute, and their seed.
DRAWS, SEED = 512, 20250404


def information(profile: Profile) -> Information:
    """Compiles the profile's network."""
    count = len(profile.variables)
    return Information(profile.network, np.random.default_rng([SEED, count]).random((DRAWS, count)))


def reductions(belief: Belief, compiled: Information, ready: Collection[Canonical]) -> Mapping[Canonical, Reduction]:
    """R(X|E) of the ready stages; of those without a variable of their own there is none.

    Args: `compiled` is `information` of the belief's profile.
    """
    index = belief.profile.index
    variables = {index[Aspect.UNITS, stage]: stage for stage in ready if (Aspect.UNITS, stage) in index}
    if not variables:
        return {}
    done = {stage.canonical for stage in belief.job.stages if stage.done}
    growing = may_grow(belief.profile, belief.job)
    unfinished = {
        place
        for place, variable in enumerate(belief.profile.variables)
        if (variable.aspect is Aspect.COUNT and growing)
        or (variable.aspect is Aspect.UNITS and variable.stage not in done)
    }
    after = frozenset[int]().union(*map(belief.profile.network.descendants, variables))
    values = {place: belief.state_seconds(place) for place in unfinished & after}
    absent = {place: 0 for place in unfinished if belief.profile.variables[place].optional}
    try:
        found = compiled.reductions(variables.keys(), unfinished, belief.likelihoods, values, absent)
    except Impossible:  # no job before was like this one
        return {}
    return {variables[place]: reduction for place, reduction in found.items()}
