"""One HTML file of images with their objects: pictures, styles and script inside, nothing from elsewhere."""

from __future__ import annotations

import base64
import hashlib
import io
import json
from bisect import bisect_left
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files

from jinja2 import DictLoader, Environment, StrictUndefined
from markupsafe import Markup
from PIL import Image, ImageOps

from transfer.detect.pictures.contours import Shape, draw
from transfer.detect.pictures.identity import Identity
from transfer.detect.pictures.match import Box, Matching, Prediction, Truth, overlaps
from transfer.detect.pictures.read import ImageFile, ImageId, Scene

# Told apart by those who see no red or no green, and on photographs; right and false also differ by a sign.
COLOURS = {"truth": "#ffffff", "right": "#56c8ff", "false": "#ffa31a", "ignored": "#c4c4c4"}
SIGNS = {"right": "✓", "false": "✗", "ignored": "–"}
MAX_PREDICTIONS = 100  # an image, those of highest score; COCO's limit too
QUALITY = 82  # of JPEG
STYLES = ("colours.css", "page.css")  # of the results page
STEPS = 100  # of the score slider


@dataclass(frozen=True)
class Mark:
    """An object as drawn and listed. ``at`` is a prediction's score; of a truth, the score it is found at."""

    kind: str  # truth, or a prediction's verdict
    at: str
    shown: bool  # at the first minimum score
    box: tuple[str, str, str, str]
    area: float
    label: str
    label_x: str
    label_end: bool
    label_y: str
    words: str
    shape: Shape | None


@dataclass(frozen=True)
class Picture:
    """An image of the page."""

    name: str
    width: int
    height: int
    url: str
    truths: tuple[Mark, ...]
    predictions: tuple[Mark, ...]
    left_out: int  # predictions beyond MAX_PREDICTIONS
    counts: dict[str, int]
    ap: float | None = None  # of boxes, in percent, of this image alone


def count(
    matchings: Sequence[Matching], scores: Sequence[Sequence[float]], min_score: float
) -> dict[str, int]:
    """Objects found and missed, and predictions by verdict, at a minimum score."""
    counts = dict.fromkeys(("objects", "found", "missed", "predictions", "right", "false", "ignored"), 0)
    for matching, held in zip(matchings, scores, strict=True):
        for verdict, score in zip(matching.verdicts, held, strict=True):
            if score >= min_score:
                counts[verdict] += 1
                counts["predictions"] += 1
        counts["objects"] += sum(matching.counting)
    counts["found"] = counts["right"]
    counts["missed"] = counts["objects"] - counts["found"]
    return counts


def picture(
    image: ImageFile,
    truths: Sequence[Truth],
    predictions: Sequence[Prediction],
    matching: Matching,
    classes: Mapping[int, str],
    min_score: float,
    max_side: int,
) -> Picture:
    """An image with its marks in image pixels, the photograph itself no larger than ``max_side``.

    Raises:
        FileNotFoundError: no such image.
        ValueError: not an image, of another size than the annotations say, or with a mask that is none.
    """
    width, height, url = _embed(image, max_side)
    tolerance = max(1.0, max(width, height) / max_side)  # one pixel of the picture

    def shape(mask: object, kind: str) -> Shape | None:
        try:
            return None if mask is None else draw(mask, width, height, tolerance, COLOURS[kind])
        except ValueError as error:
            raise ValueError(f"{image.path}: {error}") from error

    order = sorted(range(len(predictions)), key=lambda i: -predictions[i].score)[:MAX_PREDICTIONS]
    ious = overlaps([p.box for p in predictions], [t.box for t in truths], [t.crowd for t in truths])
    true_marks = []
    for j, truth in enumerate(truths):
        found = matching.found_at[j]
        name = classes[truth.category]
        state = "a crowd region" if truth.crowd else "difficult, does not count" if truth.difficult else ""
        words = f"{name}: {state or ('never found' if found is None else f'found at {found:.2f}')}"
        kind = "aside" if state else "truth"
        label = f"({name})" if state else name
        true_marks.append(
            _mark(kind, found, True, truth.box, label, words, shape(truth.mask, "truth"), width, height)
        )
    marks = []
    for i in order:
        prediction, verdict = predictions[i], matching.verdicts[i]
        nearest = max(range(len(truths)), key=lambda j: ious[i, j], default=None)
        near = "nothing there"
        if nearest is not None and ious[i, nearest] > 0:
            measure = "share inside" if truths[nearest].crowd else "IoU"
            near = (
                f"nearest true object: {classes[truths[nearest].category]}, {measure} {ious[i, nearest]:.2f}"
            )
        name = f"{classes[prediction.category]} {prediction.score:.2f}"
        marks.append(
            _mark(
                verdict,
                prediction.score,
                prediction.score >= min_score,
                prediction.box,
                f"{SIGNS[verdict]} {name}",
                f"{name}: {verdict}; {near}",
                shape(prediction.mask, verdict),
                width,
                height,
            )
        )
    counts = count([matching], [[p.score for p in predictions]], min_score)
    left_out = len(predictions) - len(order)
    return Picture(image.path.name, width, height, url, tuple(true_marks), tuple(marks), left_out, counts)


def render(
    scene: Scene,
    matchings: Mapping[ImageId, Matching],
    pictures: Sequence[Picture],
    identity: Identity | None,
    order: str,
    min_score: float,
) -> str:
    """The page. ``matchings`` are those of all images of the set, ``pictures`` those to show."""
    style = "\n".join(
        [
            *(
                (files("transfer.report") / "page" / name).read_text(encoding="utf-8").strip()
                for name in STYLES
            ),
            ":root { " + " ".join(f"--{kind}: {colour};" for kind, colour in COLOURS.items()) + " }",
            _asset("pictures.css").strip(),
        ]
    )
    script = _asset("pictures.js").strip()
    scores = [[p.score for p in scene.predictions[key]] for key in scene.images]
    held = [matchings[key] for key in scene.images]
    environment = Environment(
        loader=DictLoader({"page": _asset("pictures.jinja")}),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    everything = [score for each in scores for score in each]
    return environment.get_template("page").render(
        scene=scene,
        num_images=len(scene.images),
        num_predictions=len(everything),
        highest=max(everything, default=None),
        by_class=_by_class(scene, held, min_score),
        counts=count(held, scores, min_score),
        pictures=pictures,
        identity=identity,
        order=order,
        min_score=f"{min_score:.2f}",
        has_masks=any(mark.shape for p in pictures for mark in (*p.truths, *p.predictions)),
        limit=MAX_PREDICTIONS,
        signs=SIGNS,
        style=Markup(style),
        script=Markup(script),
        totals=Markup(json.dumps(_totals(held, scores))),
        policy=_policy(script),
    )


def _by_class(
    scene: Scene, matchings: Sequence[Matching], min_score: float
) -> list[tuple[str, int, int, int]]:
    """Name, objects, found and false of every class that has any, the most frequent first."""
    objects, found, false = Counter[int](), Counter[int](), Counter[int]()
    for key, matching in zip(scene.images, matchings, strict=True):
        for truth in scene.truths[key]:
            objects[truth.category] += truth.counts
        for prediction, verdict in zip(scene.predictions[key], matching.verdicts, strict=True):
            if prediction.score >= min_score:
                found[prediction.category] += verdict == "right"
                false[prediction.category] += verdict == "false"
    lines = [(name, objects[k], found[k], false[k]) for k, name in scene.classes.items()]
    return sorted((line for line in lines if any(line[1:])), key=lambda line: (-line[1], -line[3]))


def _totals(matchings: Sequence[Matching], scores: Sequence[Sequence[float]]) -> dict[str, list[int]]:
    """How many predictions of each verdict the whole set has at every step of the slider."""
    totals = {}
    for verdict in SIGNS:
        held = sorted(
            score
            for matching, each in zip(matchings, scores, strict=True)
            for said, score in zip(matching.verdicts, each, strict=True)
            if said == verdict
        )
        totals[verdict] = [len(held) - bisect_left(held, k / STEPS) for k in range(STEPS + 1)]
    return totals


def _mark(
    kind: str,
    at: float | None,
    shown: bool,
    box: Box,
    label: str,
    words: str,
    shape: Shape | None,
    width: int,
    height: int,
) -> Mark:
    x, y, w, h = box
    # Where a label would leave the image on the right it ends with its box.
    end = x + w / 2 > 0.66 * width
    label_x = min(x + w, width) if end else max(x, 0)
    label_y = min(y + h, height) if kind in ("truth", "aside") else max(y, 0)
    corners = (_short(x), _short(y), _short(w), _short(h))
    said = "" if at is None else repr(at)
    return Mark(kind, said, shown, corners, w * h, label, _short(label_x), end, _short(label_y), words, shape)


def _short(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")


def _embed(image: ImageFile, max_side: int) -> tuple[int, int, str]:
    """Width and height of an image, and itself, smaller, as a data URL."""
    if not image.path.is_file():
        raise FileNotFoundError(f"{image.path}: no such image, but the annotations name it")
    try:
        with Image.open(image.path) as opened:
            # As detectron2 does before it predicts.
            pixels = ImageOps.exif_transpose(opened).convert("RGB")
    except Exception as error:  # damaged files make Pillow raise far more types than OSError
        raise ValueError(f"{image.path}: no image that can be read: {error}") from error
    if image.size is not None and pixels.size != image.size:
        stated, found = ("x".join(map(str, size)) for size in (image.size, pixels.size))
        raise ValueError(f"{image.path}: the annotations say {stated} pixels, the file has {found}")
    width, height = pixels.size
    pixels.thumbnail((max_side, max_side), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    pixels.save(buffer, "JPEG", quality=QUALITY, optimize=True)
    return width, height, "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()


def _asset(name: str) -> str:
    return (files("transfer.detect.pictures") / name).read_text(encoding="utf-8")


def _policy(script: str) -> str:
    """Only this script may run and nothing may be fetched, whatever text the sets bring."""
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return (
        f"default-src 'none'; script-src 'sha256-{digest}'; style-src 'unsafe-inline'; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )
