"""Our recipes against mmtrack's packaged files, setting by setting; what differs is listed here."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from mot_scene import FRAMEWORK_WARNINGS

pytestmark = [pytest.mark.mmtrack, *FRAMEWORK_WARNINGS]
RECIPES = Path("configs/track/mmtrack")
ABSENT = object()
# Keys that decide nothing here: an evaluation in between, mmtrack's launcher, names of variables.
IDLE = (
    *("evaluation", "search_metrics", "dist_params", "opencv_num_threads", "mp_start_method", "gpus"),
    *("train_pipeline", "test_pipeline", "img_norm_cfg", "dataset_type", "dataset_version", "data_root"),
    *("data.val", "data.test", "USE_MMDET", "TRAIN_REID", "log_config"),
)
CASES = {
    "faster_rcnn_r50_fpn_4e_mot17_half": ("det/faster-rcnn_r50_fpn_4e_mot17-half.py", {}),
    "reid_r50_6e_mot17_half": ("reid/resnet50_b32x8_MOT17.py", {}),
    "tracktor_mot17_private_half": (
        "mot/tracktor/tracktor_faster-rcnn_r50_fpn_4e_mot17-private-half.py",
        {"model.tracker.type": "BorderTracktorTracker", "lr_config": ABSENT, "total_epochs": ABSENT},
    ),
    "deepsort_mot17_private_half": (
        "mot/deepsort/deepsort_faster-rcnn_fpn_4e_mot17-private-half.py",
        {"model.tracker.type": "BorderSortTracker", "lr_config": ABSENT, "total_epochs": ABSENT},
    ),
    "qdtrack_mot17_private_half": (
        "mot/qdtrack/qdtrack_faster-rcnn_r50_fpn_4e_mot17-private-half.py",
        {
            "model.detector.backbone.style": "pytorch",
            "data.train.pipeline.6": {
                "type": "SeqNormalize",
                "mean": [123.675, 116.28, 103.53],
                "std": [58.395, 57.12, 57.375],
                "to_rgb": True,
            },
        },
    ),
    "masktrack_rcnn_r50_fpn_12e_youtubevis2019": (
        "vis/masktrack_rcnn/masktrack_rcnn_r50_fpn_12e_youtubevis2019.py",
        {
            "model.detector.rpn_head.bbox_coder.clip_border": True,  # mmdet's default
            "model.detector.roi_head.bbox_head.bbox_coder.clip_border": True,
        },
    ),
}


def flat(node: Any, path: str = "") -> dict[str, Any]:
    """Leaves by dotted path; a list of numbers is a leaf, a pipeline is not."""
    if hasattr(node, "items"):
        return {
            key: leaf for name, value in node.items() for key, leaf in flat(value, f"{path}.{name}").items()
        }
    if isinstance(node, list | tuple) and any(hasattr(entry, "items") for entry in node):
        return {key: leaf for i, value in enumerate(node) for key, leaf in flat(value, f"{path}.{i}").items()}
    return {path[1:]: list(node) if isinstance(node, list | tuple) else node}


def settings(path: Path) -> dict[str, Any]:
    from mmcv import Config

    found = flat(Config.fromfile(str(path))._cfg_dict)
    return {key: value for key, value in found.items() if not any(_below(key, idle) for idle in IDLE)}


def _below(key: str, parent: str) -> bool:
    return key == parent or key.startswith(f"{parent}.")


@pytest.mark.parametrize("name", CASES)
def test_a_recipe_is_mmtracks_but_for_what_is_listed(name: str) -> None:
    import mmtrack

    packaged, differs = CASES[name]
    theirs = settings(Path(mmtrack.__path__[0]) / ".mim/configs" / packaged)
    ours = settings(RECIPES / f"{name}.py")
    removed = [key for key in theirs if ".init_cfg." in key]
    assert any("://" in str(theirs[key]) for key in removed)
    assert not any("://" in str(value) for value in ours.values())
    for key in removed:
        del theirs[key]
    for key, value in differs.items():
        for gone in [found for found in theirs if _below(found, key)]:
            del theirs[gone]
        if value is not ABSENT:
            theirs.update(flat(value, f".{key}"))
    assert ours == theirs


def test_stages_and_trackers_have_one_network() -> None:
    for tracker in ("tracktor", "deepsort"):
        whole = settings(RECIPES / f"{tracker}_mot17_private_half.py")
        for stage in ("faster_rcnn_r50_fpn_4e_mot17_half", "reid_r50_6e_mot17_half"):
            part = {k: v for k, v in settings(RECIPES / f"{stage}.py").items() if k.startswith("model.")}
            assert part.items() <= whole.items()
