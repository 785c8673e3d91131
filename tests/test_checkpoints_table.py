"""docs/checkpoints.md is what these tests saw: every layout and every network, into every framework and back.

python -m pytest tests/test_checkpoints_table.py --write-docs    # after a change that is meant
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from layouts import FIXTURES, Fixture, backbone_state

from transfer.backbone import sources
from transfer.backbone.architecture import ARCHS
from transfer.backbone.contract import BackboneInfo, write_backbone
from transfer.backbone.convert import TARGETS, convert
from transfer.backbone.load import load_source
from transfer.backbone.naming import COUNTER
from transfer.backbone.sources import LAYOUTS

pytestmark = [
    pytest.mark.detectron2,
    pytest.mark.mmtrack,
    pytest.mark.filterwarnings("ignore:.*:DeprecationWarning"),  # mmcv and fvcore use old APIs
    pytest.mark.filterwarnings("ignore:.*:FutureWarning"),
    pytest.mark.filterwarnings("ignore:.*:ImportWarning"),  # mmcv moved an operator
    pytest.mark.filterwarnings("ignore:.*:UserWarning"),  # mmcv announces its own next major version
]
PAGE = Path(__file__).resolve().parent.parent / "docs" / "checkpoints.md"
BEGIN, END = "<!-- written by tests/test_checkpoints_table.py -->", "<!-- end of what the tests write -->"
TO = [name for name in TARGETS if name != "mmtrack-sot"]  # SOTResNet is a ResNet-50; see the second table
DETECTED = {  # fixture -> layout, where the two are not called the same
    "moco-v2-released": "moco-v2",
    "swav-released": "swav",
    "deepcluster-v2-released": "deepcluster-v2",
    "barlow-twins-released": "torchvision",
    "byol-lightning": "byol",
    "openselfsup-byol": "openselfsup",
    "openselfsup-extracted": "torchvision",
    "densecl": "openselfsup",
    "mmselfsup": "openselfsup",
    "mmpretrain": "mmselfsup",
    "mmpretrain-byol": "mmselfsup",
    "mmcv": "openmmlab",
    "mmdet-trained": "openmmlab",
    "mmtrack-trained": "mmtrack",
    "solo-learn-encoder": "solo-learn",
    "lightly-benchmark-moco": "lightly-benchmark-momentum",
    "lightly-benchmark-dino": "lightly-benchmark-momentum",
    "lightning-dictconfig": "solo-learn",
    "torchvision-old": "torchvision",
    "timm-safetensors": "torchvision",
    "timm-safetensors-plain": "torchvision",
    "detectron2-trained": "detectron2",
    "detectron2-trained-c4": "detectron2",
}
ABSENT = {  # (target, arch) -> what the refusal says
    **{
        (target, arch): "7x7"
        for target in ("detectron2", "mmcv", "timm")
        for arch in ("resnet18-cifar", "resnet18-cifar-w16")
    },
    **{("mmcv", arch): "get wider only together with groups" for arch in ARCHS if arch.startswith("wide")},
    **{("mmtrack-sot", arch): "is a resnet50 only" for arch in ARCHS if arch != "resnet50"},
    **{
        (target, arch): "stride in the 3x3 convolution"
        for target in ("torchvision", "timm")
        for arch in ("resnet50-caffe", "resnet101-caffe")
    },
}
layout_rows: dict[str, list[str]] = {}
arch_rows: dict[str, list[str]] = {}


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path
    shutil.rmtree(tmp_path)  # a hundred megabytes each


def assert_same(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor], counters: bool) -> None:
    assert found.keys() == expected.keys()
    for key, tensor in expected.items():
        if counters or not key.endswith(COUNTER):
            assert torch.equal(found[key], tensor), key


@pytest.mark.parametrize("name", list(FIXTURES))
def test_layout_is_detected_and_goes_everywhere_and_back(folder: Path, name: str) -> None:
    fixture = FIXTURES[name]
    arch = fixture.arch or "resnet18"
    path = fixture.write(folder, arch.removesuffix("-caffe"))
    for branch, seed in fixture.branches.items():
        first = branch == next(iter(fixture.branches))
        backbone = load_source(path, branch=None if first else branch)
        assert (backbone.info.layout, backbone.info.arch) == (DETECTED.get(name, name), arch)
        assert_same(backbone.state, backbone_state(arch, seed), fixture.counters)
    expected = load_source(path)
    cells = [convert_and_return(path, folder, target, expected.state, arch) for target in TO]
    layout_rows[name] = [
        f"`{name}`",
        f"`{expected.info.layout}`",
        ", ".join(branch or "only" for branch in fixture.branches),
        *cells,
    ]


def convert_and_return(
    path: Path, folder: Path, target: str, state: dict[str, torch.Tensor], arch: str
) -> str:
    """Convert with proof, read the result back, compare bit by bit; what the table says of it."""
    out = folder / f"converted{TARGETS[target].suffixes[0]}"
    if reason := ABSENT.get((target, arch)):
        with pytest.raises(ValueError, match=reason):
            convert(path, out, target)
        return "—"
    try:
        done = convert(path, out, target)
        assert done.proof
        back = load_source(out)
        assert back.info.arch == arch
        assert_same(back.state, state, counters=True)
    finally:
        out.unlink(missing_ok=True)
    return "✓"


@pytest.mark.parametrize("arch", list(ARCHS))
def test_network_goes_everywhere_and_back(folder: Path, arch: str) -> None:
    state = backbone_state(arch, 0)
    path = folder / "backbone.safetensors"
    write_backbone(path, state, BackboneInfo("mec", arch, "noise", "1", "online", "x", "0" * 64, "t"))
    cells = [convert_and_return(path, folder, target, state, arch) for target in TARGETS]
    arch_rows[arch] = [f"`{arch}`", *cells]


RULES = [
    (name, rule)
    for name in ("lightly", "huggingface", "detectron2", "mec", "caffe2")
    for rule in LAYOUTS[name].names
]


@pytest.mark.parametrize(("name", "rule"), RULES)
def test_reading_fails_without_any_one_rule(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch, name: str, rule: str
) -> None:
    path = once(tmp_path_factory, name)
    layout = LAYOUTS[name]
    fewer = {here: there for here, there in layout.names.items() if here != rule}
    # Detection looks at the first convolution's name, so that one stays known to it.
    monkeypatch.setitem(sources.LAYOUTS, name, replace(layout, names=fewer))
    if rule == "conv1.weight":
        with pytest.raises(KeyError):
            load_source(path, name)
        return
    with pytest.raises(ValueError, match=r"missing|belong to no known part|no ResNet"):
        load_source(path, name)
    monkeypatch.undo()
    assert load_source(path, name).info.arch == (FIXTURES[name].arch or "resnet50")


written: dict[str, Path] = {}


def once(factory: pytest.TempPathFactory, name: str) -> Path:
    if name not in written:
        fixture: Fixture = FIXTURES[name]
        written[name] = fixture.write(factory.mktemp(name), "resnet50")
    return written[name]


def table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def render() -> str:
    evidence = [[f"`{name}`", fixture.evidence] for name, fixture in FIXTURES.items()]
    return "\n\n".join(
        [
            BEGIN,
            "## Layouts",
            "Each file was built with the names and the container of its code base, as a ResNet-18 "
            "(`caffe2`: ResNet-50), and with what such files carry besides. ✓: converted; res2 to res5 "
            "inside the framework's own model equal torchvision's to 1e-5 of each stage's largest value; "
            "the file, read again, gives every tensor bit by bit. —: refused, the framework has no such "
            "network.",
            table(["file", "detected as", "branches, default first", *TO], list(layout_rows.values())),
            "## Networks",
            "✓ as above; for detectron2 in FPN and, bottlenecks, in C4. —: refused, the framework has no "
            "such network.",
            table(["network", *TARGETS], list(arch_rows.values())),
            "## Where the names were read",
            table(["file", "source"], evidence),
            END,
        ]
    )


def test_the_page_says_what_was_seen(request: pytest.FixtureRequest) -> None:
    if len(layout_rows) < len(FIXTURES) or len(arch_rows) < len(ARCHS):
        pytest.skip("some of the tests above failed or were not selected; run the whole file")
    page = PAGE.read_text(encoding="utf-8")
    before, rest = page.split(BEGIN)
    _, after = rest.split(END)
    fresh = before + render() + after
    if request.config.getoption("--write-docs"):
        PAGE.write_text(fresh, encoding="utf-8")
        return
    assert page == fresh, "docs/checkpoints.md is out of date: run this file with --write-docs"
