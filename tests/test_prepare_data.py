"""Data is what papers used, by checksum and count, or it is refused and nothing is left behind."""

from __future__ import annotations

import hashlib
import io
import os
import subprocess
import sys
import tarfile
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from classify_images import write_digits
from many_shot_sets import write_set

from transfer.data import fetch as fetching
from transfer.data import prepare
from transfer.data.fetch import fetch
from transfer.data.prepare import get_lists, unpack_cifar10, verify_imagenet
from transfer.data.subsets import SIMCLR_LISTS, PublishedList

CONTENT = b"n000_1.JPEG\nn001_7.JPEG\nn001_9.JPEG\n"
LISTS = {"1percent.txt": PublishedList(hashlib.sha256(CONTENT).hexdigest(), 3, 2)}


class Handler(BaseHTTPRequestHandler):
    """Serves the list, and what a server should not do."""

    def do_GET(self) -> None:
        content = CONTENT
        if self.path.startswith("/wrong"):
            content = CONTENT.replace(b"7", b"8")
        if self.path.startswith("/plain"):
            self.send_response(302)
            self.send_header("Location", "http://example.invalid/1percent.txt")
            self.end_headers()
            return
        if self.path.startswith("/absent"):
            self.send_error(404)
            return
        self.send_response(200)
        length = len(content) + (9 if self.path.startswith("/short") else 0)
        self.send_header("Content-Length", str(length))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()
        thread.join()


def test_lists_are_fetched_once_and_known_afterwards(tmp_path: Path, server: str) -> None:
    target = tmp_path / "new" / "lists"
    [line] = get_lists(target, url=f"{server}/good", lists=LISTS)
    assert "3 images of 2 classes, from http://127.0.0.1" in line
    assert (target / "1percent.txt").read_bytes() == CONTENT
    assert [path.name for path in target.iterdir()] == ["1percent.txt"]
    [line] = get_lists(target, url=f"{server}/absent", lists=LISTS)  # nothing is asked of the server
    assert line.endswith("is there already, and is the published list")
    (target / "1percent.txt").write_bytes(CONTENT[:12])
    with pytest.raises(ValueError, match="expected 3 images of 2 classes, found 1 of 1"):
        list(get_lists(target, url=f"{server}/good", lists=LISTS))
    assert (target / "1percent.txt").read_bytes() == CONTENT[:12]  # what someone put there is theirs


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("wrong", "/wrong/1percent.txt: expected sha256 .*; this is not the published list"),
        ("short", "/short/1percent.txt: expected 45 bytes, found 36"),
        ("absent", "/absent/1percent.txt: cannot be fetched .*404"),
        ("plain", "http://example.invalid/1percent.txt: expected https, found http"),
    ],
)
def test_failed_fetch_leaves_nothing(tmp_path: Path, server: str, path: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        list(get_lists(tmp_path, url=f"{server}/{path}", lists=LISTS))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "url", ["http://example.invalid/x", "ftp://127.0.0.1/x", "file:///etc/hostname", "x"]
)
def test_only_https_is_fetched(tmp_path: Path, url: str) -> None:
    with pytest.raises(ValueError, match="expected https, found"):
        fetch(url, tmp_path / "x", lambda _: None)
    assert prepare.LISTS_URL.startswith("https://")


def test_server_that_never_ends_or_never_answers_is_left(
    tmp_path: Path, server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetching, "MAX_BYTES", 10)
    with pytest.raises(ValueError, match="gave more than 10 bytes"):
        fetch(f"{server}/good", tmp_path / "x", lambda _: None)
    monkeypatch.setattr(fetching, "TIMEOUT_S", 0.2)
    with (
        ThreadingHTTPServer(("127.0.0.1", 0), Handler) as silent,  # listens, but nobody answers
        pytest.raises(ValueError, match=r"cannot be fetched .*timed out"),
    ):
        fetch(f"http://127.0.0.1:{silent.server_port}/x", tmp_path / "x", lambda _: None)
    assert list(tmp_path.iterdir()) == []


def test_lists_come_from_a_local_folder(tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    source.mkdir()
    with pytest.raises(FileNotFoundError, match=r"1percent.txt: no such file"):
        list(get_lists(target, source, lists=LISTS))
    (source / "1percent.txt").write_bytes(CONTENT + b"\n")
    with pytest.raises(ValueError, match=r"source/1percent.txt: expected sha256"):
        list(get_lists(target, source, lists=LISTS))
    (source / "1percent.txt").write_bytes(CONTENT)
    assert list(get_lists(target, source, dry_run=True, lists=LISTS)) == [
        f"{target / '1percent.txt'}: would be fetched from {source / '1percent.txt'}"
    ]
    assert not target.exists() or not list(target.iterdir())
    list(get_lists(target, source, lists=LISTS))
    assert (target / "1percent.txt").read_bytes() == CONTENT


def write_imagenet(root: Path) -> tuple[Path, Path, dict[str, PublishedList]]:
    """Three classes of 12 and 4 images, and a list of one image of each class."""
    data_dir = write_digits(root / "imagenet", 12, 4, num_classes=3)
    content = "".join(f"digit{label}/digit{label}_{label}.png\n" for label in range(3)).encode()
    (root / "lists").mkdir()
    (root / "lists" / "1percent.txt").write_bytes(content)
    published = PublishedList(hashlib.sha256(content).hexdigest(), 3, 3)
    return data_dir, root / "lists", {"1percent.txt": published}


def test_imagenet_folder_is_verified_to_the_last_image(tmp_path: Path) -> None:
    data_dir, lists_dir, lists = write_imagenet(tmp_path)
    lines = list(verify_imagenet(data_dir, lists_dir, (3, 36, 12), lists))
    assert lines[0].endswith(
        "3 classes, 36 training and 12 validation images, as published; no file is unusable"
    )
    assert lines[1].endswith("1percent.txt: all 3 images are in " + str(data_dir / "train"))

    with pytest.raises(ValueError, match="expected 1000 classes, 1281167 training and 50000 validation"):
        list(verify_imagenet(data_dir, lists_dir))
    (data_dir / "train" / "digit2" / "digit2_2.png").rename(data_dir / "train" / "digit2" / "renamed.png")
    with pytest.raises(ValueError, match=r"1 of 3 names are not in .* \['digit2/digit2_2.png'\]"):
        list(verify_imagenet(data_dir, lists_dir, (3, 36, 12), lists))
    (data_dir / "val" / "digit0" / "digit0_12.png").write_bytes(b"")
    with pytest.raises(ValueError, match="1 of 48 image files cannot be used"):
        list(verify_imagenet(data_dir, lists_dir, (3, 36, 12), lists))
    (data_dir / "val" / "digit0").rename(data_dir / "val" / "digit9")
    with pytest.raises(ValueError, match="disagree on the classes"):
        list(verify_imagenet(data_dir, lists_dir, (3, 36, 12), lists))


def test_archive_is_unpacked_and_verified_or_not_there(tmp_path: Path) -> None:
    source = write_digits(tmp_path / "source", 2, 1, num_classes=3)
    archive, target = tmp_path / "cifar10.tar.gz", tmp_path / "cifar10"
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(source / "train", "train")
        tar.add(source / "val", "test")
    before = sorted(path.name for path in tmp_path.iterdir())
    assert list(unpack_cifar10(archive, target, dry_run=True)) == [
        f"{target}: would be unpacked from {archive}"
    ]
    with pytest.raises(ValueError, match=r"cifar10.tar.gz: expected 10 classes, 50000 training"):
        list(unpack_cifar10(archive, target))
    assert sorted(path.name for path in tmp_path.iterdir()) == before
    [line] = unpack_cifar10(archive, target, expected=(3, 6, 3))
    assert line.startswith(f"{target}: 3 classes, 6 training and 3 validation images")
    assert list(unpack_cifar10(archive, target, expected=(3, 6, 3))) == [line]  # it knows its archive
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([*before, "cifar10"])
    with tarfile.open(archive, "w:gz") as tar:
        info = tarfile.TarInfo("train/other.png")
        tar.addfile(info, io.BytesIO())
    with pytest.raises(ValueError, match="exists, but was not unpacked from"):
        list(unpack_cifar10(archive, target, expected=(3, 6, 3)))
    assert (target / "train").is_dir()
    with pytest.raises(FileNotFoundError, match="no such archive"):
        list(unpack_cifar10(tmp_path / "absent.tar.gz", target, dry_run=True))


def test_many_shot_set_of_another_size_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_set("dtd", tmp_path, monkeypatch)
    assert prepare.main(["many-shot", "dtd", "--root", str(tmp_path)]) == 1
    expected = "expected 47 classes, 3760 training and 1880 validation images, found 3, 12 and 6"
    assert expected in capsys.readouterr().err


def test_tool_ends_with_what_is_wrong(tmp_path: Path) -> None:
    tool = Path(__file__).parent.parent / "tools" / "prepare_data.py"
    command = [sys.executable, str(tool), "many-shot", "pets", "--root", str(tmp_path)]
    failed = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (failed.returncode, failed.stdout) == (1, "")
    expected = "no such folder; pets expects there: annotations/{trainval,test}.txt, images/*.jpg"
    assert failed.stderr == f"prepare_data: {tmp_path / 'oxford-iiit-pet'}: {expected}\n"


@pytest.mark.parametrize("command", ["imagenet-lists", "imagenet", "cifar10", "many-shot", "coco", "voc"])
def test_every_command_has_an_example(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        prepare.main(["--help"])
    assert f"tools/prepare_data.py {command} " in capsys.readouterr().out
    with pytest.raises(SystemExit, match="0"):
        prepare.main([command, "--help"])


def test_every_many_shot_layout_is_in_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        prepare.main(["many-shot", "--help"])
    text = capsys.readouterr().out
    assert "voc07-classification: VOCdevkit/VOC2007/ with ImageSets/Main" in text
    assert "SUN397/ with ClassName.txt" in text


@pytest.mark.skipif("MEC_TRANSFER_DATA" not in os.environ, reason="MEC_TRANSFER_DATA is not set")
def test_real_lists_pass(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = Path(os.environ["MEC_TRANSFER_DATA"]) / "imagenet_subsets"
    assert prepare.main(["imagenet-lists", "--from", str(source), "--to", str(tmp_path)]) == 0
    assert "128116 images of 1000 classes" in capsys.readouterr().out
    assert {path.name for path in tmp_path.iterdir()} == set(SIMCLR_LISTS)


@pytest.mark.slow
@pytest.mark.skipif("MEC_TRANSFER_DATA" not in os.environ, reason="MEC_TRANSFER_DATA is not set")
def test_real_cifar10_passes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    archive = Path(os.environ["MEC_TRANSFER_DATA"]) / "cifar10.tar.gz"
    assert prepare.main(["cifar10", "--from", str(archive), "--to", str(tmp_path / "cifar10")]) == 0
    assert "10 classes, 50000 training and 10000 validation images" in capsys.readouterr().out
