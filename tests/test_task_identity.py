"""What a row's config digest depends on, and what it does not."""

from __future__ import annotations

from pathlib import Path

import pytest

from transfer.evaluate import failures, load_config
from transfer.identity import identity
from transfer.provenance import config_sha256
from transfer.tasks import TASKS

CONFIG = """
dataset: tiny
protocol: p
tracker: {tracker}
options: {{detector: {{total_epochs: 3}}}}
test: {{root: val}}
train: {{root: "${{oc.env:MEC_TRANSFER_DATA}}/train"}}
"""


def digest(tmp_path: Path, *overrides: str, tracker: str = "configs/tracker.py") -> str:
    path = tmp_path / "mot.yaml"
    path.write_text(CONFIG.format(tracker=tracker))
    return config_sha256(identity(load_config(TASKS["mot"], path, overrides)))


@pytest.mark.usefixtures("trusted")
def test_digest_follows_values_and_named_files_but_not_the_place_of_the_data(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    tracker = tmp_path / "configs/tracker.py"
    tracker.parent.mkdir()
    tracker.write_text("model = 1\n")
    monkeypatch.setenv("MEC_TRANSFER_DATA", "/here")
    first = digest(tmp_path)
    assert digest(tmp_path) == first
    monkeypatch.setenv("MEC_TRANSFER_DATA", "/there")
    assert digest(tmp_path) == first
    assert digest(tmp_path, "options.detector.total_epochs=4") != first
    assert digest(tmp_path, "train.root=/elsewhere") != first
    tracker.write_text("model = 2\n")
    assert digest(tmp_path) != first


@pytest.mark.usefixtures("trusted")
def test_digest_follows_what_files_elsewhere_hold_not_where_they_lie(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A protocol of one's own need not lie below configs/, nor its base beside it."""
    monkeypatch.setenv("MEC_TRANSFER_DATA", "/here")

    def lay_out(name: str, base: str = "a: 1\n", top: str = "_BASE_: ../shared/base.yaml\n") -> str:
        for place, text in (("shared/base.yaml", base), ("own/top.yaml", top)):
            (tmp_path / name / place).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name / place).write_text(text)
        return str(tmp_path / name / "own/top.yaml")

    first = digest(tmp_path, tracker=lay_out("here"))
    assert digest(tmp_path, tracker=lay_out("there")) == first
    assert digest(tmp_path, tracker=lay_out("here", base="a: 2\n")) != first
    assert digest(tmp_path, tracker=lay_out("here", top="_BASE_: ../shared/base.yaml\nb: 3\n")) != first
    absolute = f'_BASE_: "{tmp_path}/there/shared/base.yaml"\n'
    before = digest(tmp_path, tracker=lay_out("here", top=absolute))
    (tmp_path / "there/shared/base.yaml").write_text("a: 4\n")
    assert digest(tmp_path, tracker=lay_out("here", top=absolute)) != before


def test_digest_leaves_out_how_a_machine_computes(tmp_path: Path) -> None:
    path = tmp_path / "linear.yaml"
    path.write_text("dataset: tiny\nprotocol: linear-sgd\ndata_dir: somewhere\n")

    def linear(*overrides: str) -> str:
        return config_sha256(identity(load_config(TASKS["linear"], path, overrides)))

    first = linear()
    assert linear("num_workers=9", "device=cpu", "cache_images=true", "check_images=false", "seed=5") == first
    assert len({first, *map(linear, ("bf16=true", "batch_size=64", "epochs=3", "layers=[layer3]"))}) == 5


def test_digest_follows_what_a_list_of_labels_holds_not_where_it_lies(tmp_path: Path) -> None:
    digests = []
    for name, text in (("a.txt", "x/1.png\n"), ("b.txt", "x/1.png\n"), ("c.txt", "x/2.png\n")):
        (tmp_path / name).write_text(text)
        config = load_config(
            TASKS["semisup"],
            Path("configs/classify/semisup_mini_10pct.yaml"),
            [f"subset_list={tmp_path / name}"],
        )
        digests.append(config_sha256(identity(config)))
    assert digests[0] == digests[1] != digests[2]


def test_a_failure_has_a_row_for_each_protocol_and_metric(tmp_path: Path) -> None:
    path = tmp_path / "knn.yaml"
    path.write_text("dataset: tiny\nprotocol: knn\ndata_dir: somewhere\nks: [10, 20]\n")
    found = failures("knn", load_config(TASKS["knn"], path, ["metric=mean_per_class"]), "no\nluck")
    assert [(m.protocol, m.metric) for m in found] == [
        (f"knn-k{k}", metric) for k in (10, 20) for metric in ("top1", "top5", "mean_per_class")
    ]
    assert {m.status for m in found} == {"failed: no luck"}
