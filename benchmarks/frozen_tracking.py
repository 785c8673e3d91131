#!/usr/bin/env python3
"""Frozen-feature tracking in frames per second, against the plain way of the same constants.

    python benchmarks/frozen_tracking.py                       # SOT, VOS, MOT, memory; some minutes
    python benchmarks/frozen_tracking.py --tasks vos --frames 6
    python benchmarks/frozen_tracking.py --tasks --memory 8 32

Two videos of the bundled set's digits at 854x480, a ResNet of random weights (seed 0) or --backbone. Ours
computes all rows of a task at once (SOT: two heads on two layers; VOS: two layers; MOT: two layers with and
without motion cues), the videos side by side; the plain way (benchmarks/plain_tracking.py) one row after the
other. A frame counts once, when all rows have it; where other programs run, the processor's time says more
than the clock's. Both take turns in one process, decode the same files, and must find the same: SOT boxes of
IoU 0.99, 99.9 % of VOS pixels, MOT's very links. Then, in processes of their own, the peak memory of ours at
two lengths of a video. The plain VOS holds the whole affinity matrix: 1 GB at this size.

Exit status 1 where results differ, memory grows by more than a tenth, or a ratio is below --require.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np
import torch
from machine import hardware
from plain_tracking import PlainNetwork, link_boxes, propagate, track_dcf, track_xcorr
from tracking_videos import Videos, make_video

from transfer.backbone.architecture import empty_resnet
from transfer.backbone.contract import Backbone, BackboneInfo, read_backbone, write_backbone
from transfer.data.davis import read_mask
from transfer.track.frozen import mot_task, sot_task, vos_task
from transfer.track.frozen.appearance import AppearanceModel, build_appearance
from transfer.track.frozen.variants import list_variants
from transfer.track.frozen.videos import map_videos

SIZE = (854, 480)
NUM_VIDEOS = 2
FRAMES = {"sot": 4, "vos": 10, "mot": 10}
SOT = sot_task.Config(dataset="made-up", root="", floors=False)
VOS = vos_task.Config(dataset="made-up", root="", floors=False)
MOT = mot_task.Config(dataset="made-up", root="", floors=False)
GROWTH = 1.1
Result = dict[str, list[Any]]  # by row, of each video


def random_backbone(folder: Path, arch: str) -> Backbone:
    """A backbone file of random weights."""
    torch.manual_seed(0)
    state = {
        key: value for key, value in empty_resnet(arch).state_dict().items() if not key.startswith("fc.")
    }
    path = folder / "backbone.safetensors"
    info = BackboneInfo("random", arch, "none", "0", "online", "benchmark", "0" * 64, "0")
    write_backbone(path, state, info)
    return read_backbone(path)


def own(task: str, videos: Sequence[Videos], model: AppearanceModel, folder: Path) -> Result:
    """All rows of a task, ours."""
    found: list[dict[str, Any]] = []
    if task == "sot":
        boxes = [video.boxes for video in videos]
        found += map_videos(lambda sequence: sot_task.track_sequence(sequence, model, SOT).boxes, boxes)
    elif task == "vos":
        masks = [video.masks for video in videos]
        found += map_videos(lambda sequence: _segment(sequence, model, folder), masks)
    else:
        variants = list_variants(MOT, dict.fromkeys(MOT.layers, 0))
        for each in map_videos(
            lambda sequence: mot_task.track_boxes(sequence, model, variants, MOT),
            [video.mot for video in videos],
        ):
            found.append({protocol: _links(tracks) for protocol, tracks in each.items()})
    return {row: [each[row] for each in found] for row in found[0]}


def _links(tracks: mot_task.Tracks) -> list[list[tuple[int, int]]]:
    return [sorted((track.track_id, track.index) for track in frame) for frame in tracks.frames]


def _segment(sequence: Any, model: AppearanceModel, folder: Path) -> dict[str, list[Any]]:
    vos_task.Video(sequence, model, VOS, folder).propagate()
    return {
        row: [folder / "tracks" / row / sequence.name / f"{frame.stem}.png" for frame in sequence.frames[1:]]
        for row in VOS.protocols
    }


def plain(task: str, videos: Sequence[Videos], networks: dict[int, PlainNetwork]) -> Result:
    """The same, one row after the other."""
    if task == "sot":
        heads = {"xcorr": track_xcorr, "dcf": track_dcf}
        return {
            row: [heads[head](video.boxes, networks[layer], SOT) for video in videos]
            for row, (head, layer) in SOT.trackers.items()
        }
    if task == "vos":
        return {
            row: [propagate(video.masks, networks[layer], VOS.constants) for video in videos]
            for layer, row in VOS.by_layer.items()
        }
    return {
        variant.protocol: [
            link_boxes(video.mot, networks[variant.layer], variant.thresholds, MOT) for video in videos
        ]
        for variant in list_variants(MOT, dict.fromkeys(MOT.layers, 0))
        if variant.layer is not None
    }


def agreement(task: str, ours: Any, theirs: Any) -> float:
    """How far one row of one video agrees, 1 at best."""
    if task == "sot":
        return float(min(_iou(a, b) for a, b in zip(ours, theirs, strict=True)))
    if task == "vos":
        return float(np.mean([(read_mask(a) == b).mean() for a, b in zip(ours, theirs, strict=True)]))
    return float(np.mean([a == b for a, b in zip(ours, theirs, strict=True)]))


def _iou(a: np.ndarray, b: np.ndarray) -> float:  # type: ignore[type-arg]
    start, end = np.maximum(a[:2], b[:2]), np.minimum(a[:2] + a[2:], b[:2] + b[2:])
    inner = np.clip(end - start, 0, None).prod()
    return float(inner / (a[2:].prod() + b[2:].prod() - inner))


LEAST = {"sot": 0.99, "vos": 0.999, "mot": 1.0}


def compare(
    task: str, backbone: Backbone, folder: Path, num_frames: int, repeats: int, size: tuple[int, int]
) -> tuple[float, bool]:
    """Print a line; the ratio, and whether both found the same."""
    videos = [make_video(folder / task, k, size, num_frames) for k in range(NUM_VIDEOS)]
    model = build_appearance(backbone, (3, 4), torch.device("cpu"))
    networks = {layer: PlainNetwork(backbone, layer) for layer in (3, 4)}
    seconds: dict[str, list[float]] = {"ours": [], "plain": []}
    processor: dict[str, list[float]] = {"ours": [], "plain": []}

    def timed(name: str, work: Callable[[], Result]) -> Result:
        start, busy = time.perf_counter(), time.process_time()
        result = work()
        seconds[name].append(time.perf_counter() - start)
        processor[name].append(time.process_time() - busy)
        return result

    for _ in range(repeats):
        ours = timed("ours", lambda: own(task, videos, model, folder / task))
        theirs = timed("plain", lambda: plain(task, videos, networks))
    agreed = {
        row: min(agreement(task, *pair) for pair in zip(ours[row], theirs[row], strict=True)) for row in ours
    }
    frames = NUM_VIDEOS * num_frames
    rate = {name: frames / statistics.median(held) for name, held in seconds.items()}
    ratio = rate["ours"] / rate["plain"]
    busy = {name: statistics.median(held) / frames for name, held in processor.items()}
    same = min(agreed.values()) >= LEAST[task]
    print(
        f"{task}: {rate['ours']:.3f} frames/s, plain {rate['plain']:.3f}: {ratio:.2f} x; "
        f"processor {busy['ours']:.2f} s a frame, plain {busy['plain']:.2f}: "
        f"{busy['plain'] / busy['ours']:.2f} x; "
        + ("the same results" if same else "DIFFERENT RESULTS")
        + " ("
        + ", ".join(f"{row} {value:.5f}" for row, value in agreed.items())
        + ")",
        flush=True,
    )
    return ratio, same


def peak_mib(task: str, num_frames: int, backbone: Path, size: tuple[int, int]) -> float:
    """Peak memory of ours on one video, in a process of its own."""
    command = [sys.executable, __file__, "--measure", task, str(num_frames), "--backbone", str(backbone)]
    done = subprocess.run(
        [*command, "--size", *map(str, size)],
        capture_output=True,
        text=True,
        check=False,
        env=dict(os.environ),
    )
    if done.returncode:
        sys.exit(done.stderr)
    return float(done.stdout)


def measure(task: str, num_frames: int, backbone: Backbone, size: tuple[int, int]) -> float:
    """The peak of this very process, MiB."""
    with tempfile.TemporaryDirectory() as name:
        video = make_video(Path(name), 0, size, num_frames)
        own(task, [video], build_appearance(backbone, (3, 4), torch.device("cpu")), Path(name))
    status = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) for line in status if line.startswith("VmHWM")) / 1024


def main() -> int:
    """Entry point; exit status 1 where something is not as required."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--tasks", nargs="*", choices=FRAMES, default=list(FRAMES))
    add("--frames", type=int, help="of each video (default: 4 for sot, 10 for vos and mot)")
    add("--memory", type=int, nargs="*", default=[12, 36], metavar="N", help="lengths; none: not measured")
    add("--arch", default="resnet18", help="of random weights (default: %(default)s)")
    add("--backbone", type=Path, help="a backbone file instead")
    add("--size", type=int, nargs=2, default=SIZE, metavar=("W", "H"))
    add("--repeats", type=int, default=3)
    add("--require", type=float, default=0.0, metavar="X")
    add("--measure", nargs=2, help=argparse.SUPPRESS)
    args = parser.parse_args()
    size = (args.size[0], args.size[1])
    if args.measure:
        print(measure(args.measure[0], int(args.measure[1]), read_backbone(args.backbone), size))
        return 0
    print(hardware())
    fine = True
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        backbone = read_backbone(args.backbone) if args.backbone else random_backbone(folder, args.arch)
        for task in args.tasks:
            ratio, same = compare(task, backbone, folder, args.frames or FRAMES[task], args.repeats, size)
            fine &= same and ratio >= args.require
        for task in FRAMES if args.memory else ():
            peaks = [peak_mib(task, length, backbone.path, size) for length in args.memory]
            fine &= peaks[-1] <= GROWTH * peaks[0]
            print(
                f"{task}: peak memory "
                + ", ".join(
                    f"{peak:.0f} MiB at {length} frames"
                    for peak, length in zip(peaks, args.memory, strict=True)
                ),
                flush=True,
            )
    return 0 if fine else 1


if __name__ == "__main__":
    sys.exit(main())
