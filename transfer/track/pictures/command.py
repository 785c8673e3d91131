"""Look at what a tracker does: frames with tracks and truth as contact sheets, one page, or videos.

    tools/show_tracks.py runs/sot                        -> pictures/<protocol>/<sequence>.png in it
    tools/show_tracks.py runs/mot --format page          -> pictures/<protocol>.html: all sequences
    tools/show_tracks.py runs/vos --format video --sequence libby --protocol unitrack-layer3

Takes the run folder of frozen-sot, frozen-vos, frozen-mot, frozen-mots, frozen-pose or sot: the tracks in
it, and sequences.json, which says where frames and ground truth lie. A track has the colour of its number;
the truth is drawn in thin white. A video is an MP4 where OpenCV is installed, otherwise a GIF.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from PIL import Image

from transfer.track.pictures.draw import draw_frame
from transfer.track.pictures.read import Index, read_index, read_tracks, read_truth
from transfer.track.pictures.read import Sequence as Video
from transfer.track.pictures.write import choose_frames, video_suffix, write_page, write_sheet, write_video

FORMATS = ("sheet", "page", "video", "mp4", "gif")


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; exit status 0 when everything is written, 2 for unusable input."""
    parser = _parser()
    args = parser.parse_args(argv)
    for name, least in (("num_frames", 1), ("columns", 1), ("max_side", 32)):
        if getattr(args, name) < least:
            parser.error(f"--{name.replace('_', '-')}: expected {least} or more, found {getattr(args, name)}")
    if not (math.isfinite(args.fps) and args.fps > 0):
        parser.error(f"--fps: expected frames per second above 0, found {args.fps}")
    try:
        index = read_index(args.folder)
        protocols = _chosen("protocol", args.protocol, index.protocols)
        names = _chosen("sequence", args.sequence, [video.name for video in index.sequences])
        videos = [video for video in index.sequences if video.name in names]
        for protocol in protocols:
            for path in build(index, protocol, videos, args):
                print(f"{path} written, {path.stat().st_size / 1e6:.1f} MB", flush=True)
    except (OSError, ValueError) as error:
        print(f"show_tracks: {error}", file=sys.stderr)
        return 2
    return 0


def build(index: Index, protocol: str, videos: Sequence[Video], args: argparse.Namespace) -> Iterator[Path]:
    """Write the files of one protocol, and give the path of each as it is complete.

    Raises:
        OSError, ValueError: what cannot be read; the message gives the file.
    """
    out = args.out or index.folder.parent / "pictures"
    sections = []
    for video in videos:
        if args.format in ("sheet", "page"):
            numbers = choose_frames(len(video.frames), args.num_frames)
            drawn = list(_pictures(index, protocol, video, numbers, args))
            captions = [f"{number + 1} of {len(video.frames)}" for number in numbers]
            captioned = list(zip(captions, drawn, strict=True))
            sections.append((video.name, captioned))
            if args.format == "sheet":
                path = out / protocol / f"{video.name}.png"
                write_sheet(path, captioned, args.columns)
                yield path
        else:
            suffix = video_suffix() if args.format == "video" else f".{args.format}"
            path = out / protocol / f"{video.name}{suffix}"
            write_video(path, _pictures(index, protocol, video, range(len(video.frames)), args), args.fps)
            yield path
    if args.format == "page":
        path = out / f"{protocol}.html"
        write_page(path, f"Tracks: {protocol}", sections)
        yield path


def _pictures(
    index: Index, protocol: str, video: Video, numbers: Sequence[int], args: argparse.Namespace
) -> Iterator[Image.Image]:
    tracks = read_tracks(index, protocol, video)
    truths = [()] * len(video.frames) if args.no_truth else read_truth(index, video)
    for number in numbers:
        yield draw_frame(video.frames[number], tracks[number], truths[number], args.max_side)


def _chosen(what: str, wanted: Sequence[str], there: Sequence[str]) -> list[str]:
    unknown = [name for name in wanted if name not in there]
    if unknown:
        raise ValueError(f"--{what} {unknown[0]}: not in this run, which has {', '.join(there)}")
    return list(wanted or there)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="tools/show_tracks.py",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("folder", type=Path, metavar="RUN", help="a run folder of a frozen-feature task")
    add("--format", choices=FORMATS, default="sheet", help="what to write (default: %(default)s)")
    add("--protocol", action="append", default=[], metavar="ID", help="only this one; may be repeated")
    add("--sequence", action="append", default=[], metavar="NAME", help="only this one; may be repeated")
    add("--out", type=Path, metavar="DIR", help="where to (default: pictures in the run folder)")
    add("--num-frames", type=int, default=12, metavar="N", help="of a sheet or page (default: %(default)s)")
    add("--columns", type=int, default=4, metavar="N", help="of a sheet (default: %(default)s)")
    add("--max-side", type=int, default=480, metavar="PX", help="of each picture (default: %(default)s)")
    add("--fps", type=float, default=10.0, help="of a video (default: %(default)s)")
    add("--no-truth", action="store_true", help="tracks alone")
    return parser
