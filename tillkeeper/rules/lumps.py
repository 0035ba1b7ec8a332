"""Which lumps are the sum of pieces that are known: one money, told whole and told apart (P-26).

Decides on the amounts of one account, one booking day and one side: ``lumps``, which say nothing of
whose money they are, and ``pieces``, which nothing else claims. Explained is only what leaves no
other choice, neither of pieces nor of lumps, or all of both together. What merely may be so is
doubtful.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

STEPS_MAX: Final = 20_000
"""Sums that are tried for one day and side; beyond them only equal amounts and totals count."""


@dataclass(slots=True)
class Work:
    """How many sums may still be tried, for all that is asked together."""

    left: int = 50 * STEPS_MAX


@dataclass(frozen=True, slots=True)
class Explained:
    """By the places that were given: the pieces of explained lumps, and what is doubtful.

    Where lumps are made up by pieces together, the first of them has all these pieces.
    """

    pieces: Mapping[int, tuple[int, ...]]
    doubtful: frozenset[int] = frozenset()


class _Way(NamedTuple):
    """One way to make a sum: ``times`` an amount on top of another sum.

    ``many``: there are more ways. ``amounts`` are those of all ways, as bits.
    """

    before: int
    amount: int
    times: int
    many: bool
    amounts: int


def explain(lumps: Sequence[int], pieces: Sequence[int], work: Work | None = None) -> Explained:
    """Explain ``lumps`` by ``pieces``, both in minor units above 0, each piece used once.

    Which piece stands in which lump plays no part where all that could be meant are explained.
    """
    if not lumps or not pieces:
        return Explained({})
    stock = _stock(pieces)
    ways = _ways(stock, max(lumps), work or Work())
    made = _by_size(lumps, stock) if ways is None else _only_ways(lumps, stock, ways)
    found = {n: tuple(sorted(stock[one].pop() for one in some)) for n, some in made.items()}
    left = [place for places in stock.values() for place in places]
    rest = [n for n in range(len(lumps)) if n not in found]
    if not left or not rest:
        return Explained(found)
    possible = ways is None or all(lumps[n] in ways for n in rest)
    if possible and sum(lumps[n] for n in rest) == sum(pieces[place] for place in left):
        together = dict.fromkeys(rest, ()) | {rest[0]: tuple(sorted(left))}
        return Explained(found | together)
    smallest = min(pieces[place] for place in left)
    return Explained(
        found,
        frozenset(n for n in rest if (lumps[n] >= smallest if ways is None else lumps[n] in ways)),
    )


def makes_up(lump: int, pieces: Sequence[int], work: Work | None = None) -> tuple[int, ...] | None:
    """Any of ``pieces`` that are the lump's sum, by their places; None where none is found."""
    stock = _stock(pieces)
    if sum(pieces) == lump:
        return tuple(range(len(pieces)))
    if lump in stock:
        return (stock[lump][-1],)
    ways = _ways(stock, lump, work or Work())
    if ways is None or lump not in ways:
        return None
    return tuple(sorted(stock[amount].pop() for amount in _amounts(lump, ways)))


def _stock(pieces: Sequence[int]) -> dict[int, list[int]]:
    """The places of the pieces of each amount, the first one last."""
    found: dict[int, list[int]] = defaultdict(list)
    for place in reversed(range(len(pieces))):
        found[pieces[place]].append(place)
    return dict(found)


def _ways(stock: Mapping[int, Sequence[int]], most: int, work: Work) -> dict[int, _Way] | None:
    """Every sum up to ``most`` that some pieces make; None: there are more than are tried."""
    found = {0: _Way(0, 0, 0, many=False, amounts=0)}
    steps = min(work.left, STEPS_MAX)
    work.left -= steps
    for bit, amount in enumerate(sorted(stock)):
        if amount > most:
            break
        for total, way in list(found.items()):
            steps -= 1
            for times in range(1, len(stock[amount]) + 1):
                more = total + times * amount
                if more > most:
                    break
                steps -= 1
                amounts = way.amounts | 1 << bit
                known = found.get(more)
                if known is None:
                    found[more] = _Way(total, amount, times, way.many, amounts)
                else:
                    found[more] = known._replace(many=True, amounts=known.amounts | amounts)
            if steps < 0:
                return None
    work.left += steps
    return found


def _amounts(total: int, ways: Mapping[int, _Way]) -> list[int]:
    """The amounts of one way to make a sum."""
    found: list[int] = []
    while total:
        way = ways[total]
        found += [way.amount] * way.times
        total = way.before
    return found


def _only_ways(
    lumps: Sequence[int], stock: Mapping[int, Sequence[int]], ways: Mapping[int, _Way]
) -> dict[int, list[int]]:
    """The amounts of each lump that can be made in one way only, of pieces that all go so.

    Where a lump is in doubt, so is every other one that its amounts could be meant for.
    """
    made = {
        n: _amounts(lump, ways)
        for n, lump in enumerate(lumps) if lump in ways and not ways[lump].many
    }  # fmt: skip
    wanted = Counter(amount for some in made.values() for amount in some)
    users: dict[int, list[int]] = defaultdict(list)
    for n, some in made.items():
        for amount in set(some):
            users[amount].append(n)
    contested = 0
    for lump in set(lumps):
        if lump in ways and ways[lump].many:
            contested |= ways[lump].amounts
    doubted = [
        amount
        for bit, amount in enumerate(sorted(stock))
        if contested >> bit & 1 or wanted[amount] not in (0, len(stock[amount]))
    ]
    seen = set(doubted)
    while doubted:
        for n in users[doubted.pop()]:
            more = set(made.pop(n, ())) - seen
            seen |= more
            doubted += more
    return made


def _by_size(lumps: Sequence[int], stock: Mapping[int, Sequence[int]]) -> dict[int, list[int]]:
    """Lumps that have their equals among the pieces, as many as there are; or the sum of the rest.

    Among so many pieces nearly every amount is a sum by chance: that one is, says nothing.
    """
    times = Counter(lumps)
    found = {n: [lump] for n, lump in enumerate(lumps) if len(stock.get(lump, ())) == times[lump]}
    equal = {lumps[n] for n in found}
    left = [amount for amount, places in stock.items() if amount not in equal for _ in places]
    total = [n for n, lump in enumerate(lumps) if n not in found and left and lump == sum(left)]
    if len(total) == 1:
        found[total[0]] = left
    return found
