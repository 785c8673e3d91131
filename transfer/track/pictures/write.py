"""Frames with their objects as files: a contact sheet, one HTML page, a video. Complete or absent."""

from __future__ import annotations

import base64
import html
import importlib.util
import io
import os
import secrets
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from transfer.writing import write_text

GAP = 4  # pixels between the pictures of a sheet
CAPTION = 14  # pixels above each
INK, PAPER = (230, 230, 230), (24, 24, 24)
QUALITY = 82  # of JPEG
STYLE = (
    "body { background: #181818; color: #e6e6e6; font: 15px/1.5 system-ui, sans-serif; margin: 1.5rem }"
    " h2 { font-size: 1.1rem; margin: 1.6rem 0 .4rem } .row { display: flex; flex-wrap: wrap; gap: .5rem }"
    " figure { margin: 0 } figcaption { color: #b0b0b0; font-size: .8rem }"
    " img { display: block; max-width: 100% }"
)


def choose_frames(num_frames: int, num_shown: int) -> list[int]:
    """Numbers (from 0) of frames at equal distances, the first and the last among them."""
    if num_shown >= num_frames:
        return list(range(num_frames))
    if num_shown == 1:
        return [0]
    return [round(k * (num_frames - 1) / (num_shown - 1)) for k in range(num_shown)]


def write_sheet(path: Path, pictures: Sequence[tuple[str, Image.Image]], columns: int) -> None:
    """One PNG of captioned pictures of the same size, row by row."""
    width, height = pictures[0][1].size
    columns = min(columns, len(pictures))
    rows = -(-len(pictures) // columns)
    sheet = Image.new("RGB", (columns * (width + GAP) + GAP, rows * (height + CAPTION + GAP) + GAP), PAPER)
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default()
    for k, (caption, picture) in enumerate(pictures):
        x, y = GAP + k % columns * (width + GAP), GAP + k // columns * (height + CAPTION + GAP)
        pen.text((x, y), caption, fill=INK, font=font)
        sheet.paste(picture, (x, y + CAPTION))
    _complete(path, lambda temporary: sheet.save(temporary, format="PNG"))


def write_page(
    path: Path, title: str, sections: Sequence[tuple[str, Sequence[tuple[str, Image.Image]]]]
) -> None:
    """One HTML file with the pictures inside: a heading and captioned pictures for each section."""
    parts = [
        "<!doctype html>",
        '<html lang="en"><head><meta charset="utf-8">',
        '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; img-src data:; '
        "style-src 'unsafe-inline'\">",
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>{html.escape(title)}</title><style>{STYLE}</style></head>",
        f"<body><h1>{html.escape(title)}</h1>",
        "<p>Tracks in the colour of their number, the truth in thin white.</p>",
    ]
    for heading, pictures in sections:
        parts.append(f'<section><h2>{html.escape(heading)}</h2><div class="row">')
        for caption, picture in pictures:
            words = html.escape(f"{heading}, {caption}")
            parts.append(
                f'<figure><img src="{_data_url(picture)}" width="{picture.width}" height="{picture.height}" '
                f'alt="{words}"><figcaption>{html.escape(caption)}</figcaption></figure>'
            )
        parts.append("</div></section>")
    write_text(path, "\n".join([*parts, "</body></html>"]) + "\n")


def video_suffix() -> str:
    """``.mp4`` where OpenCV is installed, otherwise ``.gif``."""
    return ".mp4" if importlib.util.find_spec("cv2") else ".gif"


def write_video(path: Path, pictures: Iterator[Image.Image], frame_rate: float) -> None:
    """An MP4 or, by the suffix, a GIF of pictures of one size; they are made one by one.

    Raises:
        OSError: OpenCV's build cannot write MP4.
    """
    writer = _mp4 if path.suffix == ".mp4" else _gif
    _complete(path, lambda temporary: writer(temporary, pictures, frame_rate))


def _mp4(path: Path, pictures: Iterator[Image.Image], frame_rate: float) -> None:
    import cv2

    video, count = None, 0
    try:
        for count, picture in enumerate(pictures, start=1):  # noqa: B007 - counted to the end
            even = picture.crop((0, 0, picture.width // 2 * 2, picture.height // 2 * 2))  # players want it
            if video is None:
                video = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), frame_rate, even.size)
                if not video.isOpened():
                    raise OSError(f"{path}: this OpenCV cannot write MP4; give --format gif")
            video.write(np.ascontiguousarray(np.asarray(even)[:, :, ::-1]))
    finally:
        if video is not None:
            video.release()
    written = _count_frames(path)
    if written != count:  # OpenCV says nothing of a full disk
        raise OSError(f"{path}: wrote {count} pictures, of which {written} arrived; is the disk full?")


def _count_frames(path: Path) -> int:
    import cv2

    video, count = cv2.VideoCapture(str(path)), 0
    while video.grab():
        count += 1
    video.release()
    return count


def _gif(path: Path, pictures: Iterator[Image.Image], frame_rate: float) -> None:
    first = next(pictures)
    first.save(
        path,
        format="GIF",
        save_all=True,
        append_images=pictures,
        duration=max(round(1000 / frame_rate), 20),  # players slow down below 20 ms
        loop=0,
    )


def _data_url(picture: Image.Image) -> str:
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=QUALITY)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()


def _complete(path: Path, write: Callable[[Path], None]) -> None:
    """Write a file under another name of the same suffix, which OpenCV goes by, and rename it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.stem}.{os.getpid()}.{secrets.token_hex(4)}{path.suffix}")
    try:
        write(temporary)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
