"""Faults of a VOC set: its list, its XML files."""

from __future__ import annotations

import os
import xml.etree.ElementTree as ElementTree
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from xml.etree.ElementTree import Element

from transfer.data.scan import in_threads
from transfer.detect.cases import Cases
from transfer.detect.faults_boxes import check_box
from transfer.detect.faults_images import Entry
from transfer.detect.sets import VOC_CLASSES, SetFiles, list_path, read_names

CORNERS = ("xmin", "ymin", "xmax", "ymax")  # 1-based, ends included


@dataclass
class _Seen:
    entries: list[Entry] = field(default_factory=list)
    cases: Cases = field(default_factory=Cases)
    counting: Counter[str] = field(default_factory=Counter)  # usable objects of each class


def check_voc(files: SetFiles, training: bool, cases: Cases) -> list[Entry]:
    """Add the cases of every object of a VOC set; its images."""
    names = read_names(files)
    for name, times in Counter(names).items():
        if times > 1:
            cases.add("duplicate-id", "image %s, %d times", name, times)
    entries: list[Entry] = []
    counting: Counter[str] = Counter()
    for seen in in_threads(lambda chunk: _look_at(chunk, files.voc_dir, training), names):
        entries += seen.entries
        counting += seen.counting
        cases.extend(seen.cases)
    if not names:
        cases.add("empty-set", "no image in %s", list_path(files))
    elif not counting:
        cases.add("empty-set", "no object that counts in the %d images of %s", len(names), list_path(files))
    elif not training:
        for label in VOC_CLASSES:
            if not counting[label]:
                cases.add("absent-class", "%s", label)
    return entries


def _look_at(names: Sequence[str], voc_dir: str, training: bool) -> _Seen:
    seen = _Seen()
    for name in names:
        image_path = os.path.join(voc_dir, "JPEGImages", f"{name}.jpg")
        path = os.path.join(voc_dir, "Annotations", f"{name}.xml")
        try:
            root = ElementTree.parse(path).getroot()
            size = (_number(root, "size/width", int), _number(root, "size/height", int))
        except (OSError, ValueError, ElementTree.ParseError) as error:
            reason = error.strerror if isinstance(error, OSError) else error
            seen.cases.add("unreadable-annotations", "%s: %s", path, reason)
            seen.entries.append(Entry(image_path, None))
            continue
        seen.entries.append(Entry(image_path, size))
        for number, entry in enumerate(root.findall("object"), 1):
            where = f"object {number} of {name}"
            try:
                label, corners, difficult = _read_object(entry, training)
            except ValueError as error:
                seen.cases.add("annotation-fields", "%s %s", where, error)
                continue
            if label not in VOC_CLASSES:
                seen.cases.add("unknown-category", "%s: %s", where, label)
            elif check_box(corners, size, where, seen.cases) and not (difficult and not training):
                seen.counting[label] += 1
    return seen


def _read_object(entry: Element, training: bool) -> tuple[str, tuple[float, float, float, float], bool]:
    """Class; left, top, right, bottom as detectron2 takes them, from 0; whether difficult.

    Raises:
        ValueError: what detectron2 would stop at; its evaluation reads more fields than its training.
    """
    kind = float if training else int  # fractions of a pixel, in VOC2012, stop detectron2's evaluation only
    left, top, right, bottom = (_number(entry, f"bndbox/{key}", kind) for key in CORNERS)
    if not training:
        _text(entry, "pose")
        for key in ("truncated", "difficult"):
            _number(entry, key, int)
    difficult = (entry.findtext("difficult") or "0").strip() == "1"
    return _text(entry, "name"), (left - 1, top - 1, right, bottom), difficult


def _number(entry: Element, path: str, kind: type[float]) -> float:
    text = _text(entry, path)
    try:
        return kind(text)
    except ValueError:
        raise ValueError(f"has {text!r} as its {path}") from None


def _text(entry: Element, path: str) -> str:
    text = entry.findtext(path)
    if text is None:
        raise ValueError(f"lacks {path}")
    return text
