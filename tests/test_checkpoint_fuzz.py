"""Damaged and hostile inputs for the converters: each is refused in words, runs nothing and leaves nothing.

What damage can be noticed depends on the container. A zip has checksums: a changed bit is refused or lies
where it means nothing. safetensors has none over its data, but a header that accounts for every byte. A
pickle and PyTorch's older format have none at all: changed names, types, shapes and sizes are refused, but a
number that stays finite, a stride or an order flag gives other weights that nothing in the file contradicts.
"""

from __future__ import annotations

import copyreg
import faulthandler
import os
import pickle
import random
import re
import resource
import shutil
import signal
import sys
import warnings
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import pytest
import torch
from hostile import (
    FORMS,
    MARKER,
    SENTINEL,
    SUFFIXES,
    Case,
    in_forms,
    listing,
    mapping,
    number,
    pack,
    program,
    text,
)
from hostile_arrays import array_cases, tensor_cases
from hostile_files import (
    flip,
    flip_cases,
    other_cases,
    structure_bytes,
    truncation_cases,
    zip_cases,
)
from hostile_pickles import bomb_cases, program_cases, programs, trick_cases
from hostile_safetensors import safetensors_cases
from hostile_weights import contract_cases, good_state, header_cases, weight_cases, write_containers

from transfer.backbone.command import main
from transfer.backbone.load import load_source

LIMIT_S = 30  # an input that takes longer hangs
LIMIT_BYTES = 8 << 30  # of address space beyond what the process has
RUNS = ("os.system", "os.exec", "os.posix_spawn", "os.fork", "subprocess.Popen", "shutil.rmtree")

heard: list[str] = []  # audit events of running something, while an input is read
listening = False


class HangError(BaseException):
    """Took longer than LIMIT_S; no Exception, so that nobody takes it for a damaged file."""


def _listen(event: str, _: object) -> None:
    if listening and event in (*RUNS, "pickle.find_class"):
        heard.append(event)


sys.addaudithook(_listen)  # for the rest of the process; there is no way to remove one


@contextmanager
def limits() -> Iterator[None]:
    """Stop what hangs, by an exception in Python code and for good in C code; and what takes all memory."""

    def stop(signum: int, frame: FrameType | None) -> None:
        raise HangError

    pages = int(Path("/proc/self/statm").read_text().split()[0])
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + LIMIT_BYTES, before[1]))
    previous = signal.signal(signal.SIGALRM, stop)
    signal.alarm(LIMIT_S)
    faulthandler.dump_traceback_later(3 * LIMIT_S, exit=True, file=sys.__stderr__)
    try:
        yield
    finally:
        signal.alarm(0)
        faulthandler.cancel_dump_traceback_later()
        signal.signal(signal.SIGALRM, previous)
        resource.setrlimit(resource.RLIMIT_AS, before)


@contextmanager
def audited() -> Iterator[None]:
    """Collect in ``heard`` what runs meanwhile."""
    global listening
    heard.clear()
    listening = True
    try:
        yield
    finally:
        listening = False


def judge(case: Case, folder: Path, capsys: pytest.CaptureFixture[str]) -> list[str]:
    """What a converter did wrong with an input, as traceback, executed, output or message."""
    (folder / SENTINEL).mkdir(parents=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's and zipfile's, about odd tensors and names
        path = case.write(folder)
    before = listing(folder)
    out = folder / "out" / f"out{SUFFIXES.get(case.target, '.pth')}"
    status: object
    try:
        with limits(), audited():
            status = main(case.target, [str(path), str(out)])
    except BaseException as error:
        status = repr(error)
    said = capsys.readouterr().err
    faults = []
    if status != 1 or "Traceback" in said:
        faults.append(f"traceback: {str(status)[:300]}")
    elif not said.endswith("Nothing was written.\n") or not re.search(case.says, said):
        faults.append(f"message: {said[:600]}")
    elif "MemoryError" in said or "allocate" in said or not said.replace("\n", "").isprintable():
        faults.append(f"message: {said[:300]!r}")
    if heard or (folder / MARKER).exists() or not (folder / SENTINEL).exists():
        faults.append(f"executed: {heard}")
    if listing(folder) != before:
        faults.append(f"output: {listing(folder) ^ before}")
    shutil.rmtree(folder)
    return [f"{fault} <- {case.name}" for fault in faults]


def test_every_damaged_or_hostile_input_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], extension: None
) -> None:
    whole = write_containers(tmp_path)
    cases = [
        *truncation_cases(whole),
        *flip_cases({kind: whole[kind] for kind in ("zip", "contract", "safetensors")}),
        *(program_cases() + trick_cases() + bomb_cases() + array_cases() + tensor_cases()),
        *(zip_cases() + safetensors_cases() + other_cases()),
        *(weight_cases() + contract_cases() + header_cases()),
    ]
    faults = [fault for i, case in enumerate(cases) for fault in judge(case, tmp_path / str(i), capsys)]
    kinds = Counter(fault.split(":")[0] for fault in faults)
    with capsys.disabled():
        print(
            f"\nfuzz: {len(cases)} damaged or hostile inputs: {kinds['traceback']} tracebacks, "
            f"{kinds['executed']} executed, {kinds['output']} outputs"
        )
    assert not faults, "\n".join(faults)
    assert len(cases) >= 200
    assert len({case.name for case in cases}) == len(cases)


@pytest.fixture
def extension() -> Iterator[None]:
    """os.system under the code that one of the pickles uses, already looked up once by a careless reader."""
    copyreg.add_extension("posix", "system", 0xF0)
    pickle.loads(pickle.dumps(os.system, protocol=2))
    yield
    copyreg.remove_extension("posix", "system", 0xF0)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    "label",
    ["os.system", "builtins.eval", "builtins.__import__ and getattr", "functools.partial", "shutil.rmtree"],
)
def test_the_programs_run_when_loaded_carelessly(tmp_path: Path, label: str, form: str) -> None:
    (tmp_path / SENTINEL).mkdir()
    path = pack(program(mapping(text("model"), programs(tmp_path)[label])), form, tmp_path / "input.pth")
    with audited():
        if form == "pickle":
            pickle.loads(path.read_bytes())
        else:
            torch.load(path, weights_only=False)
    assert heard
    assert (tmp_path / MARKER).exists() or not (tmp_path / SENTINEL).exists()


def test_a_registered_code_runs_when_loaded_carelessly(extension: None) -> None:
    body = b"\x82\xf0" + text("true") + b"\x85R"
    with audited():
        pickle.loads(program(body))
    assert "os.system" in heard


def test_a_harmless_pickle_is_refused_for_its_content_only(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    harmless = program(mapping(text("epoch"), number(3)))
    for i, case in enumerate(in_forms("harmless", harmless, "holds no tensors; .* the keys .'epoch'.")):
        assert judge(case, tmp_path / str(i), capsys) == []


def test_judge_sees_a_crash_an_output_and_a_program(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    case = Case("good", lambda folder: shutil.copy(write_containers(tmp_path)["zip"], folder))
    assert [fault.split(":")[0] for fault in judge(case, tmp_path / "a", capsys)] == ["traceback", "output"]

    def careless(target: str, argv: list[str]) -> int:
        os.system("true")
        raise RuntimeError

    monkeypatch.setattr(sys.modules[__name__], "main", careless)
    assert [fault.split(":")[0] for fault in judge(case, tmp_path / "b", capsys)] == ["traceback", "executed"]


def test_a_changed_bit_of_the_structure_is_refused_or_means_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good, report = good_state(), []
    for kind, path in write_containers(tmp_path).items():
        draw, places = random.Random(kind), structure_bytes(path)
        counts: Counter[str] = Counter()
        for i in range(16):
            (folder := tmp_path / f"{kind}{i}").mkdir()
            try:
                with limits():
                    state = load_source(flip(path, folder, draw.choice(places), draw.randrange(8))).state
                same = all(torch.equal(good[key], state[key]) for key in good if key in state)
                counts["same" if same else "other"] += 1
            except ValueError:
                counts["refused"] += 1
            shutil.rmtree(folder)
        report.append(f"{kind} {dict(counts)}")
        if kind in ("zip", "contract", "safetensors"):
            assert not counts["other"], kind
    with capsys.disabled():
        print("\nfuzz: one changed bit of the structure:", "; ".join(report))


@pytest.mark.parametrize("target", ["torchvision", "timm"])
def test_tensors_that_share_memory_are_no_fault(tmp_path: Path, target: str) -> None:
    state = good_state()
    state["layer1.0.bn2.bias"] = state["layer1.0.bn1.bias"]
    torch.save(state, tmp_path / "tied.pth")
    assert (
        main(target, [str(tmp_path / "tied.pth"), str(tmp_path / f"out{SUFFIXES.get(target, '.pth')}")]) == 0
    )


@pytest.mark.detectron2
@pytest.mark.filterwarnings("ignore:.*:DeprecationWarning")  # of detectron2's dependencies, at import
def test_detectron2_refuses_the_same(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cases = program_cases()[:3] + bomb_cases()[:4] + contract_cases()[:2] + weight_cases()[:2]
    for i, case in enumerate(cases):
        one = Case(case.name, case.write, case.says, "detectron2")
        assert judge(one, tmp_path / str(i), capsys) == []
