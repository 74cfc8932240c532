"""Tools of claim checking: the claims of an answer, evidence for one of them, and the report."""

from __future__ import annotations

import re
from typing import Literal, get_args

from typing_extensions import TypedDict

from llmsched.applications.answers import read_list, read_object
from llmsched.applications.llm_compiler import facts
from llmsched.tools import tool

MAX_CLAIMS = 4
_MAX_CLAIM = 120
_SENTENCE_END = re.compile(r"(?<=[.!?])\s+")
#: As the schema of the application has them.
Verdict = Literal["supported", "refuted", "unknown"]
_VERDICTS: tuple[Verdict, ...] = get_args(Verdict)


class Claims(TypedDict):
    """What is to be checked."""

    claims: list[str]
    #: What was wrong with the model's list; null if nothing.
    problem: str | None


class Checked(TypedDict):
    """One claim and what came of it."""

    claim: str
    verdict: Verdict
    evidence: list[str]


class Report(TypedDict):
    """All claims; the text is factual if every claim is supported."""

    factual: bool
    supported: int
    refuted: int
    unknown: int
    claims: list[Checked]
    problems: list[str]


@tool(name="claims.read")
def read(answer: str, text: str) -> Claims:
    """Read the claims that a model found in a text; if it found none, every sentence of the text is one.

    Args:
        answer: The model's list, possibly cut off.
        text: The text that is checked.
    """
    found, problem = read_list(answer)
    claims = _distinct([item for item in found if isinstance(item, str)])
    if not claims:
        claims = _distinct(_SENTENCE_END.split(text))
        problem = f"{problem or 'the model found no claim'}; the sentences of the text are checked instead"
    return {"claims": claims[:MAX_CLAIMS], "problem": problem}


@tool(name="claims.evidence")
def evidence(query: str, claim: str, limit: int = 2) -> list[str]:
    """Find what is known about a claim, in a small table of facts on nature and geography; best match first.

    Args:
        query: What to look for.
        claim: Looked for where the query finds nothing.
        limit: How many facts at most, 1 to 5.
    """
    wanted = min(max(limit, 1), 5)
    found = facts.search(query, wanted) or facts.search(claim, wanted)
    return [fact.sentence for fact in found]


@tool(name="claims.report")
def report(claims: list[str], evidence: list[list[str]], verdicts: list[str], problem: str | None = None) -> Report:
    """Count verdicts and list claims with evidence. A verdict that cannot be read counts as unknown, and is told.

    Args:
        claims: The claims.
        evidence: What was found about each.
        verdicts: What a model said of each: an object with `verdict`, possibly cut off.
        problem: What was wrong with the list of claims.
    """
    checked: list[Checked] = []
    problems = [problem] if problem else []
    for claim, known, answer in zip(claims, evidence, verdicts, strict=True):
        found, flaw = read_object(answer)
        said = found.get("verdict")
        verdict: Verdict = said if said in _VERDICTS else "unknown"
        if verdict != said:
            problems.append(f"no verdict on {claim!r}: {flaw or f'there is no verdict {str(said)[:40]!r}'}")
        checked.append({"claim": claim, "verdict": verdict, "evidence": known})
    counts = {name: sum(each["verdict"] == name for each in checked) for name in _VERDICTS}
    return {
        "factual": bool(checked) and counts["supported"] == len(checked),
        "supported": counts["supported"],
        "refuted": counts["refuted"],
        "unknown": counts["unknown"],
        "claims": checked,
        "problems": problems,
    }


def _distinct(texts: list[str]) -> list[str]:
    """The texts that say something, each once, in their order."""
    return list(dict.fromkeys(short for text in texts if (short := " ".join(text.split())[:_MAX_CLAIM])))
