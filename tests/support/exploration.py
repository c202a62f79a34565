"""Every state that a model can get into, and the way to one that is wrong."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from typing import TypeVar

StateT = TypeVar("StateT", bound=Hashable)


def explore(
    first: StateT,
    steps: Callable[[StateT], Iterable[StateT]],
    wrong: Callable[[StateT], object],
    ends: Callable[[StateT], bool] = lambda _: False,
) -> tuple[list[StateT], set[StateT]]:
    """Go from a state to all that can follow, and on from there.

    Args:
        first: the state at the beginning.
        steps: returns the states that can follow one.
        wrong: returns whether a state is wrong; nothing is looked at after the first that is.
        ends: returns whether to go no further from a state.

    Returns:
        The states on the way to the wrong one, or none; and all states that were met.
    """
    came: dict[StateT, StateT | None] = {first: None}
    todo = [first]
    while todo:
        state = todo.pop()
        for after in steps(state):
            met = len(came)
            came.setdefault(after, state)  # which hashes it once
            if len(came) == met:
                continue
            if wrong(after):
                return _path(came, after), set(came)
            if not ends(after):
                todo.append(after)
    return [], set(came)


def _path(came: dict[StateT, StateT | None], last: StateT) -> list[StateT]:
    path: list[StateT] = []
    at: StateT | None = last
    while at is not None:
        path.append(at)
        at = came[at]
    return path[::-1]
