"""Get one file over https, whole and checked, or not at all."""

from __future__ import annotations

import os
import shutil
import urllib.request
from collections.abc import Callable
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from typing import IO, Any
from urllib.parse import urlsplit

TIMEOUT_S = 30.0  # without a byte
MAX_BYTES = 1 << 26  # held in memory; no file that is fetched here comes near


def fetch(url: str, path: Path, check: Callable[[Path], object]) -> None:
    """Write what ``url`` gives to ``path``, which it reaches only after ``check`` raised nothing.

    Raises:
        ValueError: not https (http is for this machine's own addresses), a server that cannot be reached
            or that breaks off, or what ``check`` raises.
    """
    refuse_plain(url)
    opener = urllib.request.build_opener(_Redirects)
    try:
        with opener.open(url, timeout=TIMEOUT_S) as answer:
            content = _read(answer, url)
    except (OSError, HTTPException) as error:  # URLError and timeouts are OSErrors
        raise ValueError(f"{url}: cannot be fetched ({error}); get it by hand and give its folder") from error
    install(path, check, lambda handle: handle.write(content))


def copy(source: Path, path: Path, check: Callable[[Path], object]) -> None:
    """Copy a local file to ``path``, which it reaches only after ``check`` raised nothing.

    Raises:
        FileNotFoundError: no such file.
        ValueError: what ``check`` raises.
    """
    if not source.is_file():
        raise FileNotFoundError(f"{source}: no such file")
    with source.open("rb") as content:
        install(path, check, lambda handle: shutil.copyfileobj(content, handle))


def install(path: Path, check: Callable[[Path], object], write: Callable[[IO[bytes]], object]) -> None:
    """Write a file under another name, check it there and give it its own; on any failure nothing is left."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with temporary.open("xb") as handle:
            write(handle)
        check(temporary)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def refuse_plain(url: str) -> None:
    """Raise ValueError for anything but https, or http to this machine itself."""
    parts = urlsplit(url)
    own = parts.scheme == "http" and parts.hostname in ("127.0.0.1", "localhost", "::1")
    if parts.scheme != "https" and not own:
        raise ValueError(f"{url}: expected https, found {parts.scheme or 'no scheme'}")


class _Redirects(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, req: Any, fp: Any, code: Any, msg: Any, headers: Any, newurl: str) -> Any:
        refuse_plain(newurl)
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _read(answer: HTTPResponse, url: str) -> bytes:
    content = answer.read(MAX_BYTES + 1)  # raises nothing when the server breaks off: hence the length
    if len(content) > MAX_BYTES:
        raise ValueError(f"{url}: gave more than {MAX_BYTES} bytes")
    length = answer.headers.get("Content-Length")
    if length is not None and len(content) != int(length):
        raise ValueError(f"{url}: expected {length} bytes, found {len(content)}")
    return content
