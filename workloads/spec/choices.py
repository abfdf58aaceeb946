"""Which of a network's convolutions are meant: all, the last few, or those named; no torch."""

import re
from typing import Sequence, Tuple, Union

Choice = Union[int, str, Sequence[str]]
_SHOWN = 4  # names in a message


def chosen_names(names: Sequence[str], choice: Choice, argument: str) -> Tuple[str, ...]:
    """Return those of the names that are chosen, in their own order.

    Args:
        names: of all convolutions, in the order in which they run.
        choice: "all", 4 or "last:4" for the last four, or names.
        argument: what the choice is called where it was made, for messages.

    Raises:
        ValueError: the choice is none of these, or there is no such convolution.
    """
    if isinstance(choice, int):
        return _last_names(names, choice, argument)
    if not isinstance(choice, str):
        check_names(names, choice, argument)
        return tuple(name for name in names if name in choice)
    if choice == "all":
        return tuple(names)
    last = re.match(r"last:([0-9]+)$", choice)
    if last is None:
        raise ValueError(
            '%s must be "all", "last:4" or the like, or names, not %r' % (argument, choice)
        )
    return _last_names(names, int(last.group(1)), argument)


def check_names(names: Sequence[str], asked: Sequence[str], argument: str) -> None:
    """Raise ValueError if one of the convolutions asked for is not there, with some that are."""
    for name in asked:
        if name not in names:
            known = ", ".join(repr(known) for known in names[:_SHOWN])
            more = len(names) - _SHOWN
            if more > 0:
                known += " and %d more" % more
            raise ValueError(
                "%s: no convolution is named %r; choose from %s" % (argument, name, known)
            )


def _last_names(names: Sequence[str], number: int, argument: str) -> Tuple[str, ...]:
    if not 0 <= number <= len(names):
        raise ValueError(
            "%s must be 0 to %d, the number of convolutions, not %d"
            % (argument, len(names), number)
        )
    return tuple(names[len(names) - number :])
