"""Which lumps are the sum of pieces that are known: one money, told whole and told apart (P-26).

Decides on the amounts of one account, one booking day and one side: ``lumps``, which say nothing of
whose money they are, and ``pieces``, which nothing else claims. Proven is only what leaves no other
choice of pieces: a statement that makes its closing balance tells all that moved on its day, so a
piece that it does not tell stands in one of its lumps. What merely may be so is doubtful.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

SUMS_MAX: Final = 4_096
"""Different sums that are looked at; beyond them only equal amounts and whole totals count."""


@dataclass(frozen=True, slots=True)
class Explained:
    """By the places that were given: the pieces of each lump that is proven, and what is doubtful.

    Where lumps are made up by pieces together, the first of them has all these pieces.
    """

    pieces: Mapping[int, tuple[int, ...]]
    doubtful: frozenset[int] = frozenset()


class _Sum(NamedTuple):
    """Pieces that make a sum, and whether any that do are left over."""

    pieces: tuple[int, ...]
    with_left: bool


def explain(lumps: Sequence[int], pieces: Sequence[int]) -> Explained:
    """Explain ``lumps`` by ``pieces``, both in minor units above 0, each piece used once.

    Which piece stands in which lump plays no part where all of them are explained together.
    """
    if not lumps or not pieces:
        return Explained({})
    found: dict[int, tuple[int, ...]] = {}
    for equals_first in (False, True):
        found = _assign(lumps, pieces, equals_first=equals_first)
        if sum(map(len, found.values())) == len(pieces):
            return Explained(found)
    left = set(range(len(pieces))) - {place for some in found.values() for place in some}
    doubtful = _doubtful(lumps, pieces, found, left)
    sure = {n: some for n, some in found.items() if n not in doubtful}
    return Explained(sure, frozenset(doubtful))


def _assign(
    lumps: Sequence[int], pieces: Sequence[int], *, equals_first: bool
) -> dict[int, tuple[int, ...]]:
    """Some pieces for each lump that has any, the largest first; each piece once."""
    found: dict[int, tuple[int, ...]] = {}
    left = dict.fromkeys(range(len(pieces)))
    if equals_first:
        found = _equals(lumps, pieces)
        taken = {place for (place,) in found.values()}
        left = {place: None for place in left if place not in taken}
    rest = sorted((n for n in range(len(lumps)) if n not in found), key=lambda n: -lumps[n])
    sums = _sums(pieces, [*left], set())
    for n in rest:
        whole = sum(pieces[place] for place in left)
        way = (*left,) if whole == lumps[n] else None
        if way is None and sums is not None and lumps[n] in sums:
            way = sums[lumps[n]].pieces
        if way:
            found[n] = way
            left = {place: None for place in left if place not in way}
            sums = _sums(pieces, [*left], set())
    rest = [n for n in rest if n not in found]
    if left and sums is None and sum(lumps[n] for n in rest) == sum(pieces[p] for p in left):
        found |= dict.fromkeys(rest, ()) | {rest[0]: (*left,)}
    return found


def _equals(lumps: Sequence[int], pieces: Sequence[int]) -> dict[int, tuple[int, ...]]:
    """Lumps of one piece each, by equal amounts."""
    places: dict[int, list[int]] = defaultdict(list)
    for place in reversed(range(len(pieces))):
        places[pieces[place]].append(place)
    return {n: (places[lump].pop(),) for n, lump in enumerate(lumps) if places.get(lump)}


def _doubtful(
    lumps: Sequence[int],
    pieces: Sequence[int],
    found: Mapping[int, tuple[int, ...]],
    left: set[int],
) -> set[int]:
    """Lumps that other pieces may make up too, such as nothing else explains.

    Where there are too many sums to look at them all, equal amounts alone decide.
    """
    sums = _sums(pieces, range(len(pieces)), left)
    if sums is not None:
        ways = {n: sums[lump] for n, lump in enumerate(lumps) if lump in sums}
        other = {n for n, way in ways.items() if way.with_left or n not in found}
        return set(ways) if other else set()
    amounts = {pieces[place] for place in left}
    return {n for n in found if lumps[n] in amounts}


def _sums(pieces: Sequence[int], places: Sequence[int], left: set[int]) -> dict[int, _Sum] | None:
    """Every sum that some of these pieces make; None: there are more than are looked at."""
    found: dict[int, _Sum] = {}
    for place in places:
        alone = _Sum((place,), place in left)
        more = {pieces[place]: alone}
        for total, way in found.items():
            more[total + pieces[place]] = _Sum((*way.pieces, place), way.with_left or place in left)
        for total, way in more.items():
            known = found.get(total)
            found[total] = way if known is None else known._replace(
                with_left=known.with_left or way.with_left
            )  # fmt: skip
        if len(found) > SUMS_MAX:
            return None
    return found
