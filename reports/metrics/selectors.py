"""Choosing pairs of cases: ``kernel=torch`` against ``kernel=native``, the rest alike. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from reports.errors import GfbenchError
from workloads.spec.messages import Case

ATTRIBUTES: Mapping[str, Callable[[Case], str]] = {
    "workload": lambda case: case.workload.name,
    "method": lambda case: case.method,
    "patch_size": lambda case: "" if case.patch_size is None else str(case.patch_size),
    "kernel": lambda case: case.kernel,
    "device": lambda case: case.device,
    "dtype": lambda case: case.dtype,
    "batch": lambda case: str(case.batch),
    "revision": lambda case: case.revision,
}
MOST_CHOICES = 8


class SelectorError(GfbenchError):
    """A selector that selects nothing or too much; says what there is to choose from."""


@dataclass(frozen=True, kw_only=True)
class CasePair:
    """Two cases to be compared: new against base."""

    base: Case
    new: Case


def parse_selector(text: str) -> dict[str, str]:
    """Read ``key=value[,key=value]``.

    Raises:
        SelectorError: an unknown or repeated key, or no value.
    """
    chosen: dict[str, str] = {}
    for part in text.split(","):
        name, equals, value = (piece.strip() for piece in part.partition("="))
        if not equals or not value:
            raise SelectorError(f"{text!r} is not a selector — write key=value[,key=value]")
        if name not in ATTRIBUTES:
            raise SelectorError(
                f"{name!r} in {text!r} is not an attribute of a case — choose from "
                f"{_list(ATTRIBUTES)}"
            )
        if name in chosen:
            raise SelectorError(f"{text!r} names {name} twice")
        chosen[name] = value
    return chosen


def select_pairs(cases: Sequence[Case], base: str, new: str) -> tuple[CasePair, ...]:
    """Return the pairs in which base and new match and all else is alike, in order of ``cases``.

    What only one selector names, and what none names, must be equal in both cases; a case
    without patch size (``exact``) goes with any. A base case without a counterpart is left out.

    Raises:
        SelectorError: a selector matches no case, no two cases are alike, a base case has
            several counterparts, or both selectors mean the same case.
    """
    bases, news = _matching(cases, base), _matching(cases, new)
    both = parse_selector(base).keys() & parse_selector(new).keys()
    alike = [name for name in ATTRIBUTES if name not in both]
    pairs: list[CasePair] = []
    for one in bases:
        found = [other for other in news if _are_alike(one, other, alike)]
        _refuse_several(one, found, new)
        pairs += [CasePair(base=one, new=other) for other in found]
    _refuse_crowds(pairs, base)
    if not pairs:
        raise SelectorError(_nothing_alike(bases, news, alike, base, new))
    if any(pair.base == pair.new for pair in pairs):
        raise SelectorError(
            f"base {base!r} and new {new!r} mean the same case {pairs[0].base.key} — to compare "
            "a kernel with itself, run it under a second name: --kernel native --kernel "
            "again=native"
        )
    return tuple(pairs)


def _matching(cases: Sequence[Case], selector: str) -> list[Case]:
    """Return the cases that a selector selects."""
    chosen = parse_selector(selector)
    found = list(cases)
    for name, value in chosen.items():
        attribute = ATTRIBUTES[name]
        there = list(dict.fromkeys(attribute(case) for case in found if attribute(case)))
        found = [case for case in found if attribute(case) == value]
        if not found:
            raise SelectorError(
                f"no case of this run has {name}={value}, as {selector!r} asks — choose from "
                f"{_list(there)}"
            )
    return found


def _are_alike(one: Case, other: Case, names: Sequence[str]) -> bool:
    return all(_equal(name, ATTRIBUTES[name](one), ATTRIBUTES[name](other)) for name in names)


def _equal(name: str, one: str, other: str) -> bool:
    return one == other or (name == "patch_size" and "" in (one, other))


def _refuse_several(one: Case, found: Sequence[Case], selector: str) -> None:
    if len(found) > 1:
        raise SelectorError(
            f"{selector!r} is ambiguous: for {one.key} it could be {_list(_keys(found))} — "
            f"name {_list(_differing(found), 'or')} too"
        )


def _refuse_crowds(pairs: Sequence[CasePair], selector: str) -> None:
    """Refuse two base cases for one new case."""
    bases: dict[Case, list[Case]] = {}
    for pair in pairs:
        bases.setdefault(pair.new, []).append(pair.base)
    for new, several in bases.items():
        if len(several) > 1:
            raise SelectorError(
                f"{selector!r} is ambiguous: {new.key} could be compared with "
                f"{_list(_keys(several))} — name {_list(_differing(several), 'or')} too"
            )


def _nothing_alike(
    bases: Sequence[Case], news: Sequence[Case], alike: Sequence[str], base: str, new: str
) -> str:
    """Say which attributes keep all cases apart."""
    words = []
    for name in alike:
        ours = list(dict.fromkeys(ATTRIBUTES[name](case) for case in bases))
        theirs = list(dict.fromkeys(ATTRIBUTES[name](case) for case in news))
        if not any(_equal(name, one, other) for one in ours for other in theirs):
            words.append(f"{name} is {_list(ours)} in base and {_list(theirs)} in new")
    reason = "; ".join(words) or f"base has {_list(_keys(bases))}, new has {_list(_keys(news))}"
    return f"no case of {base!r} has a counterpart in {new!r}: {reason} — name it in both"


def _differing(cases: Sequence[Case]) -> list[str]:
    return [name for name, of in ATTRIBUTES.items() if len({of(case) for case in cases}) > 1]


def _keys(cases: Iterable[Case]) -> list[str]:
    return [case.key for case in cases]


def _list(names: Iterable[str], word: str = "and") -> str:
    """Return names as people list them; a long list is cut."""
    shown = [name or "none" for name in names]
    rest = len(shown) - MOST_CHOICES
    if rest > 0:
        return f"{', '.join(shown[:MOST_CHOICES])} {word} {rest} more"
    return f" {word} ".join([part for part in (", ".join(shown[:-1]), *shown[-1:]) if part])
