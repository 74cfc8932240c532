"""When a profile is learned anew: often while little is known, then each time that the history has grown by a part."""

from __future__ import annotations

#: Jobs before the first profile.
FIRST = 10
#: Until it was learned from so many jobs, a profile waits for as many again; from then on for a quarter of them.
DOUBLING_UNTIL = 160
GROWTH = 0.25


def due(added: int, learned: int, kept: int) -> bool:
    """Whether enough is new: after 10 jobs, 20, 40, 80, 160, 200, 250 …, and at last after a quarter of the history.

    Args:
        added: jobs that the history has ever got.
        learned: `added` when the newest profile was learned; 0 if there is none.
        kept: jobs that the history has now; older ones were forgotten.
    """
    return added >= next_at(learned, kept)


def next_at(learned: int, kept: int) -> int:
    """The number of jobs ever added at which the next profile is due. Args as in `due`."""
    if learned < FIRST:
        return FIRST
    return learned + (learned if learned < DOUBLING_UNTIL else max(1, round(GROWTH * min(learned, kept))))
