"""Cases of faults of a set: each kind counted, its first cases in words."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from transfer.findings import FAULTS, Finding

NUM_NAMED = 3  # cases of one kind
WHAT = {  # is counted, by the kind of fault
    "empty-set": "reasons",
    "missing-image": "images",
    "unreadable-image": "images",
    "image-size": "images",
    "unreadable-annotations": "images",
    "annotation-fields": "entries",
    "annotation-id": "annotations",
    "duplicate-id": "entries",
    "category-gaps": "lists",
    "absent-class": "classes",
}
ADVICE = {
    "missing-image": "complete the folder, or take them out of the annotations",
    "unreadable-image": "get them again",
    "image-size": "the images are of another version than the annotations, or were turned or scaled",
    "absent-class": "test on a set with all 20 classes",
}


@dataclass
class Cases:
    """What was found in one set so far."""

    counts: Counter[str] = field(default_factory=Counter)
    first: dict[str, list[str]] = field(default_factory=dict)

    def add(self, kind: str, words: str, *values: object) -> None:
        """Count one case of a kind; ``words % values`` names it, if it is among the first."""
        self.counts[kind] += 1
        named = self.first.setdefault(kind, [])
        if len(named) < NUM_NAMED:
            named.append(words % values)

    def extend(self, other: Cases) -> None:
        """Take over what another look at the same set found."""
        self.counts += other.counts
        for kind, named in other.first.items():
            self.first[kind] = (self.first.get(kind, []) + named)[:NUM_NAMED]

    def findings(self, setting: str) -> list[Finding]:
        """One finding a kind, in the order of FAULTS."""
        found = []
        for kind in FAULTS:
            if number := self.counts[kind]:
                named = ", ".join(self.first[kind])
                shown = f"{number} {WHAT.get(kind, 'annotations')}, the first: {named}"
                found.append(Finding(kind, setting, shown, "none", advice=ADVICE.get(kind, "")))
        return found
