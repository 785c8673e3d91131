"""A large archive is fetched on from where it broke off, and is the published one or not there."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from transfer.data import download as downloading
from transfer.data.download import Archive, check_md5, download, get_archives

CONTENT = bytes(range(256)) * 40
MD5 = hashlib.md5(CONTENT).hexdigest()


class Handler(BaseHTTPRequestHandler):
    """Serves the content from any byte on, and breaks off where the path says so."""

    asked: list[str | None] = []  # noqa: RUF012  # what came as Range, for the test

    def do_GET(self) -> None:
        asked = self.headers.get("Range")
        self.asked.append(asked)
        start = int(asked[len("bytes=") : -1]) if asked and not self.path.startswith("/whole") else 0
        if self.path.startswith("/absent"):
            self.send_error(404)
            return
        if start >= len(CONTENT):
            self.send_error(416)
            return
        rest = CONTENT[start:]
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(rest)))
        self.end_headers()
        self.wfile.write(rest[: 3000 if self.path.startswith("/breaks") else None])

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[str]:
    Handler.asked.clear()
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()
        thread.join()


def test_an_archive_is_fetched_on(tmp_path: Path, server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(downloading, "SECONDS_BETWEEN_LINES", 0.0)
    path = tmp_path / "new" / "a.zip"
    breaking = Archive("a.zip", f"{server}/breaks", MD5)
    with pytest.raises(ValueError, match=r"/breaks: (broke off at 3000 of 10240|cannot be fetched)"):
        list(download(breaking, path))
    assert [entry.name for entry in path.parent.iterdir()] == [".a.zip.part"]
    lines = list(download(Archive("a.zip", f"{server}/good", MD5), path))
    assert Handler.asked == [None, "bytes=3000-"]
    assert lines[-1] == f"{path}: 10240 bytes from {server}/good, the published file"
    assert lines[0].endswith(" of 0 MB")
    assert path.read_bytes() == CONTENT
    assert [entry.name for entry in path.parent.iterdir()] == ["a.zip"]


@pytest.mark.parametrize(("there", "place"), [(3000, "whole"), (len(CONTENT), "good")])
def test_servers_without_ranges_and_parts_that_are_whole(
    tmp_path: Path, server: str, there: int, place: str
) -> None:
    (tmp_path / ".a.zip.part").write_bytes(CONTENT[:there])
    list(download(Archive("a.zip", f"{server}/{place}", MD5), tmp_path / "a.zip"))
    assert (tmp_path / "a.zip").read_bytes() == CONTENT


def test_another_file_is_removed_and_a_failed_transfer_says_so(tmp_path: Path, server: str) -> None:
    with pytest.raises(ValueError, match=f"expected md5 0000 of a.zip, found {MD5}; get it again"):
        list(download(Archive("a.zip", f"{server}/good", "0000"), tmp_path / "a.zip"))
    with pytest.raises(ValueError, match=r"/absent: cannot be fetched .*404.*get the file by hand"):
        list(download(Archive("a.zip", f"{server}/absent", MD5), tmp_path / "a.zip"))
    with pytest.raises(ValueError, match="expected http or https"):
        list(download(Archive("a.zip", "file:///etc/hostname", MD5), tmp_path / "a.zip"))
    assert list(tmp_path.iterdir()) == []


def test_only_what_is_missing_is_fetched(tmp_path: Path, server: str) -> None:
    archives = (Archive("a.zip", f"{server}/good", MD5), Archive("b.zip", f"{server}/good", MD5))
    (tmp_path / "a.zip").write_bytes(CONTENT)
    with pytest.raises(FileNotFoundError, match=r"lacks b.zip; get them by hand, or by --download"):
        list(get_archives(archives, tmp_path, downloaded=False, dry_run=True))
    lines = list(get_archives(archives, tmp_path, downloaded=True, dry_run=True))
    assert lines == [
        f"{tmp_path}/a.zip: is there",
        f"{tmp_path}/b.zip: would be fetched from {server}/good",
    ]
    assert Handler.asked == []
    list(get_archives(archives, tmp_path, downloaded=True, dry_run=False))
    assert len(Handler.asked) == 1
    (tmp_path / "a.zip").write_bytes(CONTENT[:-1])
    with pytest.raises(ValueError, match=r"a.zip: expected md5"):
        list(get_archives(archives, tmp_path, downloaded=True, dry_run=False))
    with pytest.raises(ValueError, match=r"a.zip: expected md5"):
        check_md5(tmp_path / "a.zip", archives[0])
