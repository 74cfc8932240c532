"""What a job is: its stages, and what becomes of each of them when it is ready.

Rules of this package: no I/O, clock, randomness, gRPC, Redis or protobuf. Everything is a function of the
application, the job's input and the outputs of its finished stages, so that repeating a call gives the same answer.

* `compile_job(app)` gives the stages that a job has when it arrives;
* `unfold(app, job_input, outputs, item)` turns a ready stage into tasks or further stages;
* `validate_input(app, job_input)` says what is wrong with an input;
* `dry_run(app, job_input, answer)` runs a whole job in memory;
* `estimated_tokens(prompt, contents)` says how long a prompt may be.
"""

from services.planner.core.compile import compile_job
from services.planner.core.dryrun import dry_run
from services.planner.core.inputs import validate_input
from services.planner.core.unfold import estimated_tokens, unfold

__all__ = ["compile_job", "dry_run", "estimated_tokens", "unfold", "validate_input"]
