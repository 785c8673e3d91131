"""tools/show_tracks.py: marks land where the files say, in all five formats, and what it refuses."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from transfer.data.davis import write_mask
from transfer.data.mini.mots import write_mots
from transfer.data.mini.posetrack import write_posetrack
from transfer.data.posetrack import UNTRACKED
from transfer.track.frozen.results import IndexEntry, write_index
from transfer.track.pictures import main
from transfer.track.pictures.draw import TRUTH, colour_of, contour, draw_frame
from transfer.track.pictures.read import Index, Mark, Marks, read_index, read_tracks, read_truth
from transfer.track.pictures.write import choose_frames

ROOT = Path(__file__).resolve().parent.parent
WIDTH, HEIGHT, NUM_FRAMES = 80, 60, 5
GREY = (90, 90, 90)
PROTOCOL = "unitrack-layer3"


def frames_in(folder: Path, first: int = 1) -> list[Path]:
    folder.mkdir(parents=True)
    paths = [folder / f"{number:05d}.png" for number in range(first, first + NUM_FRAMES)]
    for path in paths:
        Image.new("RGB", (WIDTH, HEIGHT), GREY).save(path)
    return paths


def run_of(out: Path, kind: str, entries: list[IndexEntry]) -> Path:
    (out / "tracks" / PROTOCOL).mkdir(parents=True)
    write_index(out, kind, entries)
    return out


@pytest.fixture
def boxes(tmp_path: Path) -> Path:
    """A target that walks two pixels a frame and is gone in the last one; the track stands still."""
    truth = tmp_path / "truth.txt"
    lines = [f"{11 + 2 * k},21,20,10" for k in range(NUM_FRAMES - 1)]
    truth.write_text("\n".join([*lines, "0,0,0,0"]) + "\n")
    out = run_of(tmp_path / "run", "boxes", [IndexEntry("Walk", frames_in(tmp_path / "img"), truth)])
    (out / "tracks" / PROTOCOL / "Walk.txt").write_text("11,21,20,10\n" * NUM_FRAMES)
    return out


@pytest.fixture
def masks(tmp_path: Path) -> Path:
    entry = IndexEntry("two", frames_in(tmp_path / "img", first=0), tmp_path / "gt")
    out = run_of(tmp_path / "run", "masks", [entry])
    for number in range(NUM_FRAMES):
        ids = np.zeros((HEIGHT, WIDTH), np.uint8)
        ids[10:30, 10 + number : 30 + number] = 1
        ids[35:55, 40:70] = 2
        for folder in (tmp_path / "gt", out / "tracks" / PROTOCOL / "two"):
            write_mask(folder / f"{number:05d}.png", ids)
    return out


@pytest.fixture
def mot(tmp_path: Path) -> Path:
    truth = tmp_path / "gt.txt"
    truth.write_text("1,7,10,20,20,10,1,1,1\n3,7,12,20,20,10,1,1,1\n3,8,50,5,9,9,0,1,1\n3,9,50,5,9,9,1,3,1\n")
    out = run_of(tmp_path / "run", "mot", [IndexEntry("M-01", frames_in(tmp_path / "img"), truth)])
    (out / "tracks" / PROTOCOL / "M-01.txt").write_text("3,1,13,21,20,10,1,-1,-1,-1\n")
    return out


def marks(run: Path, which: Callable[..., Marks] = read_truth) -> Marks:
    index = read_index(run)
    (sequence,) = index.sequences
    return read_truth(index, sequence) if which is read_truth else read_tracks(index, PROTOCOL, sequence)


def perfect(root: Path, kind: str, entries: list[IndexEntry], suffix: str) -> Path:
    """A run whose tracks are the ground truth."""
    out = run_of(root / "run", kind, entries)
    for entry in entries:
        shutil.copy(entry.ground_truth, out / "tracks" / PROTOCOL / f"{entry.name}{suffix}")
    return out


def test_boxes_are_drawn_where_the_files_say_counted_from_one(boxes: Path) -> None:
    truth, tracks = marks(boxes), marks(boxes, read_tracks)
    assert [len(found) for found in truth] == [1, 1, 1, 1, 0]  # the last line says that it is gone
    assert truth[2][0].box is not None
    assert truth[2][0].box.tolist() == [14, 20, 20, 10]
    index = read_index(boxes)
    picture = draw_frame(index.sequences[0].frames[2], (), truth[2], 480)
    found = np.argwhere((np.asarray(picture) == TRUTH).all(axis=2))
    assert found.min(axis=0).tolist() == [20, 14]
    assert found.max(axis=0).tolist() == [29, 33]
    assert len(found) == 2 * 20 + 2 * 8
    picture = draw_frame(index.sequences[0].frames[2], tracks[2], (), 480)
    assert picture.getpixel((10, 25)) == colour_of(1)
    assert picture.getpixel((70, 50)) == GREY


def test_masks_are_tinted_and_their_truth_outlined(masks: Path) -> None:
    truth = marks(masks)
    assert [[mark.identity for mark in found] for found in truth] == [[1, 2]] * NUM_FRAMES
    path = read_index(masks).sequences[0].frames[0]
    picture = draw_frame(path, truth[0], (), 480)
    for mark, place in zip(truth[0], ((20, 20), (55, 45)), strict=True):
        assert picture.getpixel(place) == pytest.approx(
            [(g + c) / 2 for g, c in zip(GREY, colour_of(mark.identity), strict=True)], abs=1
        )
    assert draw_frame(path, (), truth[0], 480).getpixel((20, 20)) == GREY
    assert draw_frame(path, (), truth[0], 480).getpixel((10, 20)) == TRUTH


def test_contour_by_hand() -> None:
    mask = np.zeros((5, 6), dtype=bool)
    mask[1:4, 1:5] = True
    assert contour(mask).sum() == 12 - 2
    assert not contour(mask)[2, 2:4].any()
    assert contour(np.ones((3, 3), dtype=bool)).sum() == 8  # the border of the image is outside


def test_mot_shows_what_is_scored(mot: Path) -> None:
    truth = marks(mot)
    assert [[mark.identity for mark in found] for found in truth] == [[7], [], [7], [], []]
    (track,) = marks(mot, read_tracks)[2]
    assert track.box is not None
    assert (track.identity, track.box.tolist()) == (1, [13, 21, 20, 10])


def test_bundled_masks_and_poses_are_read_whole(tmp_path: Path) -> None:
    write_mots(tmp_path)
    write_posetrack(tmp_path)
    folder = tmp_path / "mots" / "val" / "MINI-06"
    entries = [IndexEntry("MINI-06", sorted((folder / "img1").iterdir()), folder / "gt" / "gt.txt")]
    run = perfect(tmp_path / "mots-run", "mots", entries, ".txt")
    lines = (folder / "gt" / "gt.txt").read_text().splitlines()
    assert sum(map(len, marks(run))) == sum(map(len, marks(run, read_tracks))) == len(lines)
    place = tmp_path / "posetrack"
    path = place / "annotations" / "val" / "figures-a.json"
    frames = sorted((place / "images" / "val" / "figures-a").iterdir())
    run = perfect(tmp_path / "pose-run", "pose", [IndexEntry("figures-a", frames, path)], ".json")
    people = json.loads(path.read_text())["annotations"]
    found = marks(run)
    assert sum(map(len, found)) == len(people)
    drawn = draw_frame(frames[0], found[0], (), 480)
    nose = people[0]["keypoints"][:2]
    assert drawn.getpixel(tuple(nose)) == colour_of(people[0]["track_id"])
    assert main([str(run), "--num-frames", "4"]) == 0
    with Image.open(run / "pictures" / PROTOCOL / "figures-a.png") as sheet:
        assert sheet.size == (4 * 244 + 4, 180 + 14 + 4 + 4)


def test_colours_of_neighbours_differ_and_stay() -> None:
    colours = [colour_of(k) for k in range(1, 13)]
    apart = [
        max(abs(a - b) for a, b in zip(one, other, strict=True))
        for k, one in enumerate(colours)
        for other in colours[k + 1 :]
    ]
    assert min(apart) > 20
    assert colour_of(5) == colour_of(5)


@pytest.mark.parametrize(
    ("num_frames", "shown", "expected"),
    [(10, 4, [0, 3, 6, 9]), (3, 12, [0, 1, 2]), (9, 1, [0]), (120, 2, [0, 119])],
)
def test_frames_at_equal_distances(num_frames: int, shown: int, expected: list[int]) -> None:
    assert choose_frames(num_frames, shown) == expected


@pytest.mark.parametrize("run_name", ["boxes", "masks", "mot"])
@pytest.mark.parametrize("form", ["sheet", "page", "gif", "mp4"])
def test_every_kind_in_every_form(run_name: str, form: str, request: pytest.FixtureRequest) -> None:
    if form == "mp4":
        pytest.importorskip("cv2")
    run: Path = request.getfixturevalue(run_name)
    assert main([str(run), "--format", form, "--out", str(run / "look"), "--num-frames", "3"]) == 0
    (written,) = [path for path in (run / "look").rglob("*") if path.is_file()]
    if form == "page":
        text = written.read_text()
        assert len(re.findall(r"<img src=\"data:image/jpeg;base64,", text)) == 3
        assert "http" not in text.replace("http-equiv", "")
    elif form == "mp4":
        import cv2

        video = cv2.VideoCapture(str(written))
        count = 0
        while video.read()[0]:
            count += 1
        assert count == NUM_FRAMES
    else:
        with Image.open(written) as image:
            assert image.format == {"sheet": "PNG", "gif": "GIF"}[form]
            assert form == "sheet" or 1 < getattr(image, "n_frames", 1) <= NUM_FRAMES


def test_a_hostile_name_stays_text(boxes: Path) -> None:
    index = boxes / "tracks" / "sequences.json"
    index.write_text(index.read_text().replace('"Walk"', '"<script>alert(1)<b>"'))
    (boxes / "tracks" / PROTOCOL / "Walk.txt").rename(boxes / "tracks" / PROTOCOL / "<script>alert(1)<b>.txt")
    assert main([str(boxes), "--format", "page"]) == 0
    text = (boxes / "pictures" / f"{PROTOCOL}.html").read_text()
    assert "<script" not in text
    assert "&lt;script&gt;" in text


def _drop_track(run: Path) -> None:
    (run / "tracks" / PROTOCOL / "Walk.txt").unlink()


def _cut_track(run: Path) -> None:
    (run / "tracks" / PROTOCOL / "Walk.txt").write_text("1,1,2,2\n" * 3)


def _drop_frame(run: Path) -> None:
    read_index(run).sequences[0].frames[0].unlink()


def _damage_frame(run: Path) -> None:
    read_index(run).sequences[0].frames[0].write_bytes(b"no image")


def _damage_index(run: Path) -> None:
    (run / "tracks" / "sequences.json").write_text('{"kind": "boxes"}')


def _other_kind(run: Path) -> None:
    (run / "tracks" / "sequences.json").write_text('{"kind": "cubes", "sequences": []}')


def _no_protocol(run: Path) -> None:
    shutil.rmtree(run / "tracks" / PROTOCOL)


def _drop_truth(run: Path) -> None:
    read_index(run).sequences[0].ground_truth.unlink()


def _bad_line(run: Path) -> None:
    path = run / "tracks" / PROTOCOL / "Walk.txt"
    path.write_text(path.read_text().replace("11,21,20,10", "nan,21,20,10", 1))


def _no_frames(run: Path) -> None:
    path = run / "tracks" / "sequences.json"
    content = json.loads(path.read_text())
    content["sequences"][0]["frames"] = []
    path.write_text(json.dumps(content))


def _name_that_leads_out(run: Path) -> None:
    path = run / "tracks" / "sequences.json"
    path.write_text(path.read_text().replace('"Walk"', '"../../Walk"'))


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (_bad_line, r"Walk: 1 lines of Walk\.txt are not four finite numbers .*line 1 \('nan,"),
        (_no_frames, r"sequences\.json: damaged.*'Walk' has no frames"),
        (_name_that_leads_out, r"sequences\.json: damaged.*is no name of a file"),
        (_drop_track, r"Walk\.txt: unitrack-layer3 left no tracks of Walk"),
        (_cut_track, r"Walk\.txt: expected 5 boxes, one a frame, found 3"),
        (_drop_frame, r"00001\.png: no such frame"),
        (_damage_frame, r"00001\.png: no image that can be read"),
        (_damage_index, r"sequences\.json: damaged.*run the task again"),
        (_other_kind, r"kind: expected one of boxes, .* found 'cubes'"),
        (_no_protocol, "no protocol has tracks here"),
        (_drop_truth, r"truth\.txt: no such ground truth; --no-truth"),
    ],
)
def test_what_cannot_be_shown_is_named(
    boxes: Path, damage: Callable[[Path], None], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(boxes)]) == 0  # the undamaged run
    shutil.rmtree(boxes / "pictures")
    damage(boxes)
    assert main([str(boxes)]) == 2
    assert re.search(says, capsys.readouterr().err)
    assert not list(boxes.rglob("*.png"))  # nothing half done


def test_without_truth_no_truth_is_read(boxes: Path) -> None:
    _drop_truth(boxes)
    assert main([str(boxes), "--no-truth"]) == 0


def test_a_mask_of_another_size_is_named(masks: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_mask(masks / "tracks" / PROTOCOL / "two" / "00002.png", np.ones((10, 12), np.uint8))
    assert main([str(masks)]) == 2
    assert "80x60 pixels, but its mask has 12x10" in capsys.readouterr().err


def test_a_mot_frame_that_does_not_exist_is_named(mot: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (mot / "tracks" / PROTOCOL / "M-01.txt").write_text("6,1,13,21,20,10,1,-1,-1,-1\n")
    assert main([str(mot)]) == 2
    assert "frame 6: expected 1 to 5" in capsys.readouterr().err


@pytest.mark.parametrize("option", ["--protocol", "--sequence"])
def test_unknown_choices_say_what_there_is(
    boxes: Path, option: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(boxes), option, "nothing"]) == 2
    assert f"{option} nothing: not in this run, which has " in capsys.readouterr().err


def test_index_of_the_tracks_folder_itself(boxes: Path) -> None:
    index = read_index(boxes / "tracks")
    assert isinstance(index, Index)
    assert index == read_index(boxes)


def test_the_tool_runs_from_anywhere(boxes: Path, tmp_path: Path) -> None:
    tool = ROOT / "tools" / "show_tracks.py"
    done = subprocess.run(
        [sys.executable, str(tool), str(boxes)], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert f"{PROTOCOL}/Walk.png written" in done.stdout


def test_the_truth_of_tiger1_begins_before_the_benchmarks_frames(boxes: Path) -> None:
    index = json.loads((boxes / "tracks" / "sequences.json").read_text())
    (entry,) = index["sequences"]
    entry.update(name="Tiger1", frames=[entry["frames"][0]] * 349)
    (boxes / "tracks" / "sequences.json").write_text(json.dumps(index))
    Path(entry["ground_truth"]).write_text("".join(f"{k},21,20,10\n" for k in range(1, 355)))
    truth = marks(boxes)
    assert len(truth) == 349
    assert truth[0][0].box is not None
    assert truth[0][0].box.tolist() == [5, 20, 20, 10]


def test_a_video_that_did_not_arrive_whole_is_refused(boxes: Path, tmp_path: Path) -> None:
    pytest.importorskip("cv2")
    program = (
        "import resource, signal, sys; from transfer.track.pictures import main;"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN);"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]),) * 2); sys.exit(main(sys.argv[2:]))"
    )
    for limit, status in ((10_000_000, 0), (300, 2)):
        shutil.rmtree(boxes / "pictures", ignore_errors=True)
        command = [sys.executable, "-c", program, str(limit), str(boxes), "--format", "mp4"]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        assert done.returncode == status, done.stderr
    assert [path for path in (boxes / "pictures").rglob("*") if path.is_file()] == []


def test_a_pose_that_no_track_holds_has_no_number(tmp_path: Path) -> None:
    path = frames_in(tmp_path / "img")[0]
    joints = np.full((15, 2), 30.0)
    dash, number, other = (
        np.asarray(draw_frame(path, (Mark(identity, joints=joints),), (), 480))
        for identity in (UNTRACKED, UNTRACKED - 2, 7)
    )
    width = [int((picture == 0).all(axis=2).any(axis=0).sum()) for picture in (dash, number, other)]
    assert width[0] <= width[2] < width[1]  # the dark ground of a label is as wide as its text
