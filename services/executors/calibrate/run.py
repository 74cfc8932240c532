"""The measurement itself: requests of fixed length, so many at a time, under the meter that live executors use."""

from __future__ import annotations

import asyncio
import random
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field

from services.executors.llm.engine import Engine, EngineError, GenerateRequest, GenerateResult, Sampling
from services.executors.llm.step_meter import StepMeter
from services.profiler.core.calibration import Calibration, DecodeSteps, Report
from services.profiler.core.calibrator import Calibrator

#: Common words, a token each in most vocabularies.
_TEXT = """
time year people way day man thing woman life child world school state family student group country problem hand part
place case week company system program question work government number night point home water room mother area money
"""
_WORDS = _TEXT.split()
_SHORT_PROMPT = 32
_WARM_UP_TOKENS = 8
#: Tokens a message: few messages, so that reading them does not disturb an engine on the same machine.
_INTERVAL = 4

Tell = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What to measure."""

    batches: tuple[int, ...] = (1, 2, 4, 8, 16)
    """Ascending."""
    output_tokens: int = 64
    prompts: tuple[int, ...] = (64, 256, 1024)
    """Lengths in tokens, about: texts are made of that many words."""
    repeats: int = 2
    request_seconds: float = 300.0
    """A request that takes longer ends the run."""

    @property
    def check(self) -> int | None:
        """A batch size that is measured but not learned from: in the middle of the widest gap between the others."""
        gaps = [(high - low, low) for low, high in zip(self.batches, self.batches[1:], strict=False) if high - low > 1]
        if not gaps:
            return None
        gap, low = max(gaps)
        return low + gap // 2

    @property
    def parts(self) -> int:
        """How often `tell` is called."""
        sizes = len(self.batches) + (self.check is not None)
        return 1 + self.repeats * (sizes + len(self.prompts))


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """Requests of one size, sent at once."""

    batch: int
    prompt_tokens: float  #: mean
    output_tokens: float  #: mean
    seconds: float  #: mean, from sending a request to having its answer


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompt:
    """A prompt that had the engine to itself."""

    tokens: int
    seconds: float  #: until its first output token


@dataclass(slots=True, kw_only=True)
class Measured:
    """What came out."""

    learned: Report = field(default_factory=Report)  #: without the check
    check: DecodeSteps | None = None
    answered: list[Answered] = field(default_factory=list)  #: the check's too
    prompts: list[Prompt] = field(default_factory=list)

    def calibration(self) -> Calibration:
        """What the measurements say of the engine."""
        calibrator = Calibrator()
        calibrator.observe(self.learned)
        return calibrator.calibration(max(each.batch for each in self.answered))


async def measure(engine: Engine, plan: Plan, tell: Tell) -> Measured:
    """Runs the plan. `tell` hears what comes next. Raises EngineError."""
    run = _Run(engine, plan)
    measured = Measured()
    tell("warming up")
    await run.batch(plan.batches[-1], _WARM_UP_TOKENS)
    run.meter.take()
    for _ in range(plan.repeats):
        for length in plan.prompts:
            tell(f"a prompt of {length} words")
            measured.prompts.append(await run.prompt(length))
        measured.learned = measured.learned.plus(run.meter.take())
        for size in sorted({*plan.batches, *([plan.check] if plan.check else [])}):
            tell(f"{size} at a time")
            measured.answered.append(await run.batch(size, plan.output_tokens))
            seen = run.meter.take()
            if size == plan.check:
                measured.check = next((steps for steps in seen.decode if steps.batch == size), measured.check)
            else:
                measured.learned = measured.learned.plus(_without(plan.check, seen))
    return measured


def text(rng: random.Random, words: int) -> str:
    """So many words that no engine has in its prefix cache."""
    return f"{uuid.uuid4().hex[:8]} " + " ".join(rng.choice(_WORDS) for _ in range(words))


class _Run:
    """Requests, and the meter that watches them."""

    def __init__(self, engine: Engine, plan: Plan) -> None:
        self._engine = engine
        self._plan = plan
        self._random = random.Random(0)
        self.meter = StepMeter()

    async def batch(self, size: int, tokens: int) -> Answered:
        calls: list[asyncio.Task[GenerateResult]] = []
        try:
            async with asyncio.TaskGroup() as group:
                calls = [group.create_task(self._call(_SHORT_PROMPT, tokens)) for _ in range(size)]
        except* EngineError as errors:
            raise errors.exceptions[0] from None
        results = [call.result() for call in calls]
        return Answered(
            batch=size,
            prompt_tokens=sum(result.prompt_tokens - result.cached_tokens for result in results) / size,
            output_tokens=sum(result.completion_tokens for result in results) / size,
            seconds=sum(result.timings.total_seconds for result in results) / size,
        )

    async def prompt(self, words: int) -> Prompt:
        result = await self._call(words, 1)
        return Prompt(tokens=result.prompt_tokens - result.cached_tokens, seconds=result.timings.prefill_seconds)

    async def _call(self, words: int, tokens: int) -> GenerateResult:
        request = GenerateRequest(
            rid=f"calibrate-{uuid.uuid4().hex}",
            prompt=text(self._random, words),
            sampling=Sampling(max_tokens=tokens, temperature=0.0, ignore_eos=True),
            timeout=self._plan.request_seconds,
            interval=_INTERVAL,
        )
        with self.meter.watching() as watched:
            result = await self._engine.generate(request, lambda _, written: watched.wrote(written))
            watched.done(result)
            return result


def _without(batch: int | None, report: Report) -> Report:
    return Report(decode=tuple(each for each in report.decode if each.batch != batch), prefill=report.prefill)
