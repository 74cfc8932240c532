"""What can be wrong with a recipe or with what it is made from."""

from __future__ import annotations

from collections.abc import Iterable


class RecipeError(ValueError):
    """No workload can be made. `problems` names every reason, each a line for people."""

    def __init__(self, problems: Iterable[str]) -> None:
        self.problems = list(problems)
        super().__init__("\n".join(self.problems))

    def __reduce__(self) -> tuple[type[RecipeError], tuple[list[str]]]:
        # Errors of other processes come pickled, and an exception pickles as its message.
        return type(self), (self.problems,)
