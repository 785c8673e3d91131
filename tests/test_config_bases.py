"""A configuration that names a base is the merged one; chains that cannot be are named whole."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest
from omegaconf import OmegaConf
from omegaconf.errors import ConfigKeyError, InterpolationResolutionError

from transfer import provenance
from transfer.base_files import read_with_bases
from transfer.evaluate import load_config
from transfer.identity import identity
from transfer.tasks import TASKS

BASE = (
    "dataset: large\nprotocol: knn-k20\ndata_dir: ${oc.env:SLURM_TMPDIR}/large\n"
    "image_size: 224\nbatch_size: 64\n"
)


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def test_a_base_gives_what_the_file_leaves_out(tmp_path: Path) -> None:
    write(tmp_path / "shared/base.yaml", BASE)
    middle = write(tmp_path / "middle.yaml", "base: shared/base.yaml\ndata_dir: here\nimage_size: 64\n")
    top = write(tmp_path / "deep/er/top.yaml", "base: ../../middle.yaml\nimage_size: 32\n")
    config = load_config(TASKS["knn"], top, ["seed=3"])
    assert (config.dataset, config.data_dir, config.image_size) == ("large", "here", 32)
    assert (config.batch_size, config.seed) == (64, 3)
    assert load_config(TASKS["knn"], middle).image_size == 64  # what a file says does not reach its base


def test_an_interpolation_of_a_base_is_looked_up_only_where_it_is_used(tmp_path: Path) -> None:
    write(tmp_path / "base.yaml", BASE)
    elsewhere = write(tmp_path / "elsewhere.yaml", "base: base.yaml\ndata_dir: data\n")
    assert load_config(TASKS["knn"], elsewhere).data_dir == "data"
    with pytest.raises(InterpolationResolutionError, match="SLURM_TMPDIR"):
        load_config(TASKS["knn"], tmp_path / "base.yaml")


def test_the_digest_is_that_of_the_merged_configuration(tmp_path: Path) -> None:
    write(tmp_path / "base.yaml", BASE)
    layered = write(tmp_path / "layered.yaml", "base: base.yaml\ndata_dir: data\n")
    flat = write(tmp_path / "flat.yaml", BASE.replace("${oc.env:SLURM_TMPDIR}/large", "data"))
    other = write(tmp_path / "other.yaml", "base: base.yaml\ndata_dir: data\nbatch_size: 65\n")
    digests = [
        provenance.config_sha256(identity(load_config(TASKS["knn"], path))) for path in (layered, flat, other)
    ]
    assert digests[0] == digests[1] != digests[2]


def test_lists_are_replaced_not_joined(tmp_path: Path) -> None:
    write(tmp_path / "base.yaml", "milestones: [60, 80]\n")
    merged = read_with_bases(write(tmp_path / "top.yaml", "base: base.yaml\nmilestones: [15]\n"))
    assert merged == {"milestones": [15]}


def test_an_unknown_key_of_a_base_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "base.yaml", BASE + "crop: 3\n")
    top = write(tmp_path / "top.yaml", "base: base.yaml\ndata_dir: data\n")
    with pytest.raises(ConfigKeyError, match="crop"):
        load_config(TASKS["knn"], top)


def test_a_chain_that_comes_back_is_named_whole(tmp_path: Path) -> None:
    first = write(tmp_path / "first.yaml", "base: folder/second.yaml\n")
    write(tmp_path / "folder/second.yaml", "base: ../first.yaml\n")
    with pytest.raises(
        ValueError, match=r"first\.yaml, whose base is .*second\.yaml, whose base is .*first\.yaml"
    ):
        read_with_bases(first)
    with pytest.raises(ValueError, match="never ends"):
        read_with_bases(write(tmp_path / "self.yaml", "base: self.yaml\n"))


def test_a_base_that_is_not_there_is_named_with_the_file_that_wants_it(tmp_path: Path) -> None:
    top = write(tmp_path / "top.yaml", "base: gone.yaml\n")
    with pytest.raises(
        FileNotFoundError, match=r"top\.yaml, whose base is .*gone\.yaml: no such configuration"
    ):
        read_with_bases(top)
    with pytest.raises(FileNotFoundError, match=r"absent\.yaml: no such configuration"):
        read_with_bases(tmp_path / "absent.yaml")


@pytest.mark.parametrize("text", ["base: 3\n", "base: ''\n", "base: [a.yaml]\n"])
def test_a_base_that_is_no_path_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(ValueError, match=r"top\.yaml: base: expected the path of a configuration"):
        read_with_bases(write(tmp_path / "top.yaml", text))


def test_a_file_of_a_list_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "list.yaml", "- a\n")
    with pytest.raises(ValueError, match=r"list\.yaml: expected keys and values, found ListConfig"):
        read_with_bases(write(tmp_path / "top.yaml", "base: list.yaml\n"))


def test_every_field_may_be_given_by_a_base() -> None:
    """No task has a field of the name that means the base."""
    for name, task in TASKS.items():
        if task.module.startswith("transfer.classify"):
            schema = OmegaConf.structured(importlib.import_module(task.module).Config)
            assert "base" not in schema, name
