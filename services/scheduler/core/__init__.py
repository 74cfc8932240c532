"""The scheduling core: which task of which job runs next, and where. Pure, and shared with the simulator.

Rules of this package:

1. Standard library (and `sortedcontainers`) only, and of that nothing that waits, reads or draws: no clock, no I/O, no
   logging, no randomness. Time comes in with each event. What looks random is a hash of a seed and a number that grows.
   Of the other cores it knows `profiler.core.statistics`: values that policies may be given.
2. Events in, effects out: `SchedulerMachine.handle` is the only way to change anything. An event that does not fit
   is refused and changes nothing.
3. Equal events give equal effects, in whatever process: nothing depends on hash seeds, object ids or wall time.
4. The state can be left and entered at any moment through `JobSnapshot`; nothing else about a job is kept.

Where things are: `model` values, `events` and `effects` the two directions, `transitions` the tables of states,
`machine` the entrance, `lifecycle` what happens to jobs, `jobs` their memory, `graph` what the planner must not say,
`executors` slots and placement, `queue` order, `policies` ranking, `invariants` what must always hold, `replay` what a
recorded run says about today's code.
"""

from services.scheduler.core.machine import SchedulerMachine
from services.scheduler.core.model import PolicySettings
from services.scheduler.core.policies import POLICIES, UnknownPolicy, make_policy

__all__ = ["POLICIES", "PolicySettings", "SchedulerMachine", "UnknownPolicy", "make_policy"]
