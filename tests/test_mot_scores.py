"""Scores of tracked boxes against hand arithmetic and a second implementation (motmetrics)."""

from __future__ import annotations

import math
import shutil
import warnings
from importlib.util import find_spec
from pathlib import Path

import pytest
from mot_scene import walk, write_scene

from transfer.track.scores.mot_scores import score_boxes

pytest.importorskip("trackeval")
DISTRACTOR = "1,7,40,30,8,8,1,8,1"
TUD = {"TUD-Campus": 71, "TUD-Stadtmitte": 179}  # frames


def write_tracks(root: Path, name: str, lines: list[str]) -> Path:
    folder = root / "tracks"
    folder.mkdir(exist_ok=True)
    text = [",".join([*line.split(",")[:6], "1", "-1", "-1", "-1"]) + "\n" for line in lines]
    (folder / f"{name}.txt").write_text("".join(text))
    return folder


def renamed(lines: list[str], frame: int, identity: int) -> list[str]:
    cells = [line.split(",") for line in lines]
    return [",".join([c[0], str(identity), *c[2:]] if int(c[0]) == frame else c) for c in cells]


def test_scores_are_those_of_the_definitions(tmp_path: Path) -> None:
    for name in ("A", "B"):
        write_scene(tmp_path, name, walk(1, 4))
    write_tracks(tmp_path, "A", renamed(walk(1, 4), frame=4, identity=9))
    pooled, each = score_boxes(tmp_path, write_tracks(tmp_path, "B", walk(1, 4)), ["A", "B"])
    # Of A's four boxes all are found, three with the identity of the longer match.
    association = (3 * (3 / (3 + 1 + 0)) + 1 * (1 / (1 + 3 + 0))) / 4
    assert each["A"] == pytest.approx(
        {
            "mota": 100 * (1 - 1 / 4),
            "idf1": 100 * 2 * 3 / (2 * 3 + 1 + 1),
            "hota": 100 * math.sqrt(association),
            "id_switches": 1,
        }
    )
    assert each["B"] == pytest.approx({"mota": 100, "idf1": 100, "hota": 100, "id_switches": 0})
    assert pooled["mota"] == pytest.approx(100 * (1 - 1 / 8))
    assert pooled["idf1"] == pytest.approx(100 * 2 * 7 / (2 * 7 + 1 + 1))
    assert pooled["id_switches"] == 1


def test_nothing_found_is_zero_and_a_sequence_without_a_target_has_no_number(tmp_path: Path) -> None:
    write_scene(tmp_path, "A", walk(1, 4))
    write_scene(tmp_path, "B", [DISTRACTOR])
    write_tracks(tmp_path, "A", [])
    pooled, each = score_boxes(tmp_path, write_tracks(tmp_path, "B", []), ["A", "B"])
    assert pooled == {"mota": 0.0, "idf1": 0.0, "hota": 0.0, "id_switches": 0.0}
    assert each["B"] == {"mota": None, "idf1": None, "hota": None, "id_switches": None}


def test_files_older_than_nine_columns_score_the_same(tmp_path: Path) -> None:
    tracks = renamed(walk(1, 4), frame=3, identity=5)
    found = []
    for columns in ("1,1,1", "1,-1,-1,-1"):
        root = tmp_path / columns
        lines = [",".join(line.split(",")[:6]) + f",{columns}" for line in walk(1, 4)]
        write_scene(root, "A", lines)
        found.append(score_boxes(root, write_tracks(root, "A", tracks), ["A"]))
    assert found[0] == found[1]


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([*walk(1, 4), "9,1,4,4,16,16"], "timesteps"),
        ([*walk(1, 4), walk(1, 4)[0]], "same ID more than once"),
    ],
)
def test_what_the_benchmark_refuses_is_refused(tmp_path: Path, lines: list[str], message: str) -> None:
    write_scene(tmp_path, "A", walk(1, 4))
    with pytest.raises(ValueError, match=message):
        score_boxes(tmp_path, write_tracks(tmp_path, "A", lines), ["A"])


def test_no_target_anywhere_is_an_error_and_not_a_zero(tmp_path: Path) -> None:
    write_scene(tmp_path, "A", [DISTRACTOR])
    with pytest.raises(ValueError, match="no target box in the ground truth of A"):
        score_boxes(tmp_path, write_tracks(tmp_path, "A", walk(1, 4)), ["A"])


def lay_out_tud(root: Path) -> Path:
    """The two sequences that motmetrics ships: ground truth and one tracker's output."""
    spec = find_spec("motmetrics")
    assert spec is not None
    assert spec.origin is not None
    shipped = Path(spec.origin).parent / "data"
    (root / "tracks").mkdir()
    for name, num_frames in TUD.items():
        (root / name / "gt").mkdir(parents=True)
        shutil.copyfile(shipped / name / "gt.txt", root / name / "gt" / "gt.txt")
        shutil.copyfile(shipped / name / "test.txt", root / "tracks" / f"{name}.txt")
        (root / name / "seqinfo.ini").write_text(
            f"[Sequence]\nname={name}\nimDir=img1\nframeRate=25\nseqLength={num_frames}\n"
            "imWidth=640\nimHeight=480\nimExt=.jpg\n"
        )
    return root


def by_motmetrics(root: Path) -> dict[str, dict[str, float]]:
    import motmetrics

    accumulators = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of pandas, about motmetrics' own lines
        for name in TUD:
            truth = motmetrics.io.loadtxt(root / name / "gt" / "gt.txt")
            tracks = motmetrics.io.loadtxt(root / "tracks" / f"{name}.txt")
            accumulators.append(motmetrics.utils.compare_to_groundtruth(truth, tracks, "iou", distth=0.5))
        table = motmetrics.metrics.create().compute_many(
            accumulators,
            metrics=["mota", "idf1", "num_switches"],
            names=list(TUD),
            generate_overall=True,
        )
    return {str(name): {**row} for name, row in table.T.items()}


def test_a_second_implementation_agrees_on_real_tracks(tmp_path: Path) -> None:
    pytest.importorskip("motmetrics")
    root = lay_out_tud(tmp_path)
    pooled, each = score_boxes(root, root / "tracks", list(TUD))
    second = by_motmetrics(root)
    for found, expected in ((each[name], second[name]) for name in TUD):
        assert found["mota"] == pytest.approx(100 * expected["mota"])
        assert found["idf1"] == pytest.approx(100 * expected["idf1"])
        assert found["id_switches"] == expected["num_switches"]
    assert pooled["mota"] == pytest.approx(100 * second["OVERALL"]["mota"])
    assert pooled["idf1"] == pytest.approx(100 * second["OVERALL"]["idf1"])
    assert each["TUD-Campus"]["mota"] == pytest.approx(52.6, abs=0.05)  # as motmetrics' own pages say
