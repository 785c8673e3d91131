"""docs/classification.md holds the protocols as the configurations have them, and names only what is there.

python -m pytest tests/test_classification_docs.py --write-docs    # after a change that is meant
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from transfer.evaluate import load_config
from transfer.tasks import TASKS

ROOT = Path(__file__).resolve().parent.parent
CONFIGS = ROOT / "configs" / "classify"
PAGE = ROOT / "docs" / "classification.md"
BEGIN, END = "<!-- written by tests/test_classification_docs.py -->", "<!-- end of what the tests write -->"
LINEAR = ("mec", "mec_code", "simsiam", "simsiam_code", "barlow", "vicreg", "moco")
SEMISUP = ("mec", "simclr", "byol", "barlow", "barlow_code", "vicreg")


@pytest.fixture(autouse=True)
def elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEC_TRANSFER_DATA", "elsewhere")


def load(name: str) -> Any:
    return load_config(TASKS[name.split("_")[0]], CONFIGS / f"{name}.yaml")


def table(head: tuple[str, ...], lines: list[tuple[str, ...]]) -> str:
    rule = "|" + "---|" * len(head)
    return "\n".join(
        ["| " + " | ".join(head) + " |", rule, *("| " + " | ".join(cells) + " |" for cells in lines)]
    )


def schedule_of(config: Any) -> str:
    if config.schedule == "cosine":
        return "cosine"
    return f"x {config.gamma:g} after {' and '.join(map(str, config.milestones))}"


def rate(base: float, config: Any) -> str:
    return f"{base * config.batch_size / 256 if config.scale_lr else base:g}"


def linear_line(name: str) -> tuple[str, ...]:
    config, made = load(f"linear_imagenet_{name}"), load(f"linear_cifar10_{name}")
    return (
        f"`{config.protocol}`",
        {"lars": "LARS", "sgd": "SGD"}[config.optimiser],
        *(rate(config.base_lr, config), str(config.batch_size), str(config.epochs), schedule_of(config)),
        *(f"{config.weight_decay:g}", "yes" if config.feature_norm else "no", f"{config.min_scale:g}"),
        f"{rate(made.base_lr, made)}, {made.batch_size}, {made.epochs}",
    )


def semisup_line(name: str) -> tuple[str, ...]:
    one, ten = (load(f"semisup_imagenet_{percent}pct_{name}") for percent in (1, 10))
    made, made_ten = (load(f"semisup_cifar10_{percent}pct_{name}") for percent in (1, 10))
    assert (one.batch_size, schedule_of(one), one.nesterov) == (
        ten.batch_size,
        schedule_of(ten),
        ten.nesterov,
    )
    return (
        *(f"`{one.protocol}`", both(rates(one), rates(ten)), str(one.batch_size)),
        both(epochs(one), epochs(ten)),
        *(schedule_of(one), "yes" if one.nesterov else "no"),
        f"{one.holdout_images:,} unlabelled images" if one.holdout_images else "nothing",
        *(both(rates(made), rates(made_ten)), both(str(made.batch_size), str(made_ten.batch_size))),
    )


def rates(config: Any) -> str:
    if config.lrs:
        return "one of " + ", ".join(rate(base, config) for base in sorted(config.lrs))
    backbone, head = rate(config.lr_backbone, config), rate(config.lr_head, config)
    return backbone if backbone == head else f"{backbone} and {head}"


def epochs(config: Any) -> str:
    return f"{' or '.join(map(str, config.epochs_grid))}" if config.epochs_grid else str(config.epochs)


def both(one: str, ten: str) -> str:
    """What holds for 1 % and for 10 %."""
    return one if one == ten else f"{one}; {ten}"


def written() -> str:
    linear = ("protocol", "optimiser", "rate", "batch", "epochs", "schedule", "weight decay")
    linear += ("features normalised", "smallest crop", "CIFAR-10: rate, batch, epochs")
    semisup = ("protocol", "rate, or backbone's and classifier's", "batch", "epochs", "schedule", "Nesterov")
    semisup += ("chosen on", "CIFAR-10: rates", "CIFAR-10: batch")
    return "\n".join(
        [
            *(
                BEGIN,
                "",
                "Linear probe on ImageNet:",
                "",
                table(linear, [linear_line(name) for name in LINEAR]),
                "",
            ),
            "Semi-supervised on ImageNet (SGD, momentum 0.9, weight decay 0; 1 %, then 10 % of the labels,",
            *("where these differ):", "", table(semisup, [semisup_line(name) for name in SEMISUP]), "", END),
        ]
    )


def test_the_page_has_the_protocols_of_the_configurations(request: pytest.FixtureRequest) -> None:
    page = PAGE.read_text(encoding="utf-8")
    before, rest = page.split(BEGIN)
    fresh = before + written() + rest.split(END)[1]
    if request.config.getoption("--write-docs"):
        PAGE.write_text(fresh, encoding="utf-8")
        return
    assert page == fresh, "docs/classification.md is out of date: run this file with --write-docs"


def test_numbers_in_the_table_are_those_of_the_papers() -> None:
    """Read by eye from facts that were typed by hand: so the table is not only equal to itself."""
    assert linear_line("simsiam_code")[:6] == ("`simsiam-code-linear`", "LARS", "1.6", "4096", "90", "cosine")
    assert linear_line("moco")[2:6] == ("30", "256", "100", "x 0.1 after 60 and 80")
    assert semisup_line("simclr")[1:4] == ("0.8", "4096", "60; 30")
    assert semisup_line("vicreg")[1] == "0.03 and 0.08; 0.01 and 0.1"
    assert semisup_line("barlow")[4] == "x 0.2 after 12 and 16"


def test_every_file_that_the_page_names_is_there() -> None:
    text = PAGE.read_text(encoding="utf-8")
    named = set(re.findall(r"(?:configs|tools|transfer|tests|benchmarks|results)/[\w./]+\.\w+", text))
    assert len(named) > 6
    assert [name for name in sorted(named) if not (ROOT / name).is_file()] == []
    short = set(
        re.findall(r"`((?:linear|knn|semisup|finetune|fewshot)_(?:mini|cifar10)\w*?)(?:\.yaml)?`", text)
    )
    assert len(short) >= 6
    assert [name for name in sorted(short) if not (CONFIGS / f"{name}.yaml").is_file()] == []
