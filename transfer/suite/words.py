"""What comes from outside before it becomes a folder, an argument or a line of a batch script.

Standard library only: workers and the status import it.
"""

from __future__ import annotations

import errno
import os
import re
import stat
from collections.abc import Sequence
from pathlib import Path

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
SLURM_KEY = re.compile(r"[a-z][a-z0-9_]{0,39}")
# With what constraints ([a|b]&c*2), node lists (n[1-3,7]), gres (gpu:a100:2) and times are written.
SLURM_VALUE = re.compile(r"[A-Za-z0-9_.@/\[(][A-Za-z0-9_.,:@%+=/|&*()\[\]~!^-]{0,199}")
# Of submitit's parameters: commands that the batch script runs, and what would write lines of it unchecked.
PROGRAMS = ("setup", "teardown", "srun_args", "additional_parameters", "python", "command", "folder", "wrap")
# What submitit or the suite decides; another value would lose the workers' output or their number.
DECIDED = (
    *("array", "output", "error", "open_mode", "signal", "chdir", "requeue", "job_name", "export"),
    *("partition", "account", "time", "nodes", "ntasks_per_node", "array_parallelism"),
)


def check_name(name: str) -> str:
    """A suite's name, refused where it is not one plain folder name: its run folder is ``runs/<name>``.

    Raises:
        ValueError: separators, a leading dot or dash, spaces, no ASCII, or more than 100 characters.
    """
    if not NAME.fullmatch(name):
        raise ValueError(
            "name: expected at most 100 letters, digits, '.', '_' and '-', the first a letter or digit, "
            f"found {_shown(name)}; it names the run folder runs/<name>"
        )
    return name


def check_slurm_word(key: str, value: str, named: bool = False) -> None:
    """Refuse a parameter of SLURM that could add a line to the batch script.

    submitit quotes a value as a shell does, but inside ``#SBATCH --key=value``, a comment: a line break ends
    it and what follows is a command (submitit 1.5.4, ``_as_sbatch_flag``). Keys are not quoted at all.

    Args:
        key: submitit's name without ``slurm_``: ``partition``, ``account``, ``qos``, ``constraint``.
        value: as given on the command line.
        named: given by an option of its own, not by ``--slurm KEY=VALUE``.

    Raises:
        ValueError: a key that is no such name, whose value is a program or is decided otherwise, or a value
            with white space, quotes, ``;``, ``$``, a backslash or a leading dash.
    """
    if not SLURM_KEY.fullmatch(key):
        raise ValueError(f"slurm parameter: expected a name like qos or mail_user, found {_shown(key)}")
    if key in PROGRAMS:
        raise ValueError(f"slurm parameter {key}: refused, its value would be run or written unchecked")
    if key in DECIDED and not named:
        raise ValueError(
            f"slurm parameter {key}: refused, it is decided otherwise; --partition, --account, --time, "
            "--num-machines and --array-parallelism have options of their own"
        )
    if not SLURM_VALUE.fullmatch(value):
        raise ValueError(
            f"slurm parameter {key}: expected at most 200 letters, digits and any of _.,:@%+=/|&*()[]~!^- "
            f"without a leading dash, found {_shown(value)}"
        )


def check_path(path: str | Path, what: str) -> None:
    """Refuse a path that messages, CSV files and job files cannot hold as it is.

    Spaces, quotes, leading dashes and all scripts are fine.

    Args:
        path: of a file or folder that somebody gave.
        what: opens the message, for example ``--backbone``.

    Raises:
        ValueError: empty, or with control characters (line breaks, escapes), or bytes that are no UTF-8.
    """
    text = str(path)
    if not text or any(_is_unfit(character) for character in text):
        raise ValueError(
            f"{what}: expected a path without line breaks, control characters and bytes that are no UTF-8, "
            f"found {_shown(text)}; rename it"
        )


def check_seeds(seeds: Sequence[int], what: str) -> None:
    """Refuse seeds that PyTorch or NumPy would not take.

    Raises:
        ValueError: one below 0 or above 2**32 - 1.
    """
    for seed in seeds:
        if not 0 <= seed < 1 << 32:
            raise ValueError(f"{what}: expected seeds from 0 to {(1 << 32) - 1}, found {str(seed)[:40]}")


def check_count(count: int, what: str) -> None:
    """Refuse a number of things that is none.

    Raises:
        ValueError: below 1 or above 10,000.
    """
    if not 1 <= count <= 10_000:
        raise ValueError(f"{what}: expected a number from 1 to 10000, found {str(count)[:40]}")


def as_word(path: str | Path) -> str:
    """The path as an argument that no parser takes for an option: ``-x.yaml`` is ``./-x.yaml``."""
    text = str(path)
    return f"./{text}" if text.startswith("-") else text


def as_folder(text: str) -> str:
    """What a checkpoint's header says, as a part of a folder's name: anything unusual becomes ``_``."""
    return re.sub(r"[^A-Za-z0-9._-]", "_", text)[:100]


def check_inside(path: Path, root: Path) -> None:
    """Refuse a path that a link leads out of ``root``, where nothing may be written.

    Raises:
        ValueError: names where it leads.
    """
    if not path.resolve().is_relative_to(root.resolve()):
        raise ValueError(f"{path}: a link leads out of {root}, to {path.resolve()}; remove the link")


def read_plain(path: Path) -> str:
    """The text of a file that another process may have put there: never waits, follows no link.

    Raises:
        FileNotFoundError: no such file.
        ValueError: a link, folder, pipe or device in its place, or no UTF-8.
    """
    try:
        opened = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENXIO):  # a link; a socket
            raise ValueError(f"{path}: expected a plain file, found a link or a socket; remove it") from None
        raise
    if not stat.S_ISREG(os.fstat(opened).st_mode):
        os.close(opened)
        raise ValueError(f"{path}: expected a plain file, found a folder, pipe or device; remove it")
    with open(opened, encoding="utf-8", newline="") as file:
        return file.read()


def one_line(message: object) -> str:
    """A message, or an exception's, as one line of characters that a terminal shows."""
    text = " ".join(str(message).split())
    return "".join(ascii(character)[1:-1] if _is_unfit(character) else character for character in text)


def _is_unfit(character: str) -> bool:
    """Control characters, line and paragraph separators, the overrides of text direction, lone surrogates."""
    code = ord(character)
    return (
        code < 0x20
        or 0x7F <= code < 0xA0
        or code in (0x2028, 0x2029)
        or 0x202A <= code <= 0x202E
        or 0x2066 <= code <= 0x2069
        or 0xD800 <= code <= 0xDFFF
    )


def _shown(text: str) -> str:
    return ascii(text if len(text) <= 80 else text[:80] + "...")
