"""Places by key and day, of which the nearest is looked up and taken: for pairing many alike.

Promises that a look-up costs about the same however many are alike.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict, deque
from collections.abc import Hashable, Iterable
from datetime import date


class Nearest:
    """Places under keys, each on a day or, where that is None, on any day.

    A place may stand under several keys; once it is taken, it is gone under all of them.
    """

    def __init__(self) -> None:
        self._taken: set[int] = set()
        self._days: dict[Hashable, dict[int | None, deque[int]]] = defaultdict(dict)
        self._order: dict[Hashable, list[int]] = {}

    def __bool__(self) -> bool:
        return bool(self._days)

    def __contains__(self, key: Hashable) -> bool:
        return key in self._days

    def add(self, key: Hashable, day: date | None, place: int) -> None:
        """Put a place under a key; all are added in ascending order, and before any look-up."""
        number = None if day is None else day.toordinal()
        days = self._days[key]
        if number in days:
            days[number].append(place)
        else:
            days[number] = deque((place,))

    def take(self, place: int) -> None:
        """Leave it out from now on."""
        self._taken.add(place)

    def apart(self, keys: Iterable[Hashable], day: date | None, away: int) -> int | None:
        """The first place under any of the keys that is ``away`` days from the day."""
        found: list[int | None] = []
        for key in keys:
            if day is None:
                found += [self._on(key, one) for one in ([*self._days[key]] if not away else ())]
            else:
                number = day.toordinal()
                found += [self._on(key, number - away), self._on(key, number + away)]
                found += [] if away else [self._on(key, None)]
        return min((place for place in found if place is not None), default=None)

    def within(self, key: Hashable, day: date, most: int | None) -> tuple[int, int] | None:
        """(days apart, place) of the nearest under a key, ``most`` days away; None: any number."""
        if key not in self._days:
            return None
        if most is None:
            return self._anywhen(key, day.toordinal())
        ways = ((away, self.apart((key,), day, away)) for away in range(most + 1))
        return next(((away, place) for away, place in ways if place is not None), None)

    def _anywhen(self, key: Hashable, day: int) -> tuple[int, int] | None:
        if key not in self._order:
            self._order[key] = sorted(one for one in self._days[key] if one is not None)
        order, found = self._order[key], []
        for back in (1, 0):
            while 0 <= (at := bisect_left(order, day) - back) < len(order):
                place = self._on(key, order[at])
                if place is not None:
                    found.append((abs(order[at] - day), place))
                    break
                del order[at]
        return min(found, default=None)

    def _on(self, key: Hashable, day: int | None) -> int | None:
        """The first place that is left of a key and day."""
        places = self._days[key].get(day)
        while places:
            if places[0] not in self._taken:
                return places[0]
            places.popleft()
        if places is not None:
            del self._days[key][day]
        return None
