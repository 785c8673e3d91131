"""Prove that this interpreter's environment is the locked one and that its compiled parts work.

    python tools/prove_environment.py             everything, about 20 seconds
    python tools/prove_environment.py --versions  only the versions, under a second, silent when they agree

Exit status 0 when all is well, 1 with the reason on standard error.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable
from importlib import metadata
from pathlib import Path

LOCKS_DIR = Path(__file__).resolve().parent.parent / "locks"
LOCK_NAMES = ("uv.txt", "requirements.txt", "mmcv.txt")
PIN = re.compile(r"^([A-Za-z0-9._-]+)==([^\s\\;]+)")


def read_pins(path: Path) -> dict[str, str]:
    """The pins of a lock file, normalised name -> version.

    Raises:
        ValueError: a line that is neither a pin, a hash nor a comment.
    """
    pins = {}
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        if not line.strip() or line.lstrip().startswith(("#", "--hash=sha256:")):
            continue
        match = PIN.match(line)
        if match is None:
            raise ValueError(f"{path}:{number}: expected name==version or a hash, found {line!r}")
        pins[normalised(match[1])] = match[2]
    return pins


def normalised(name: str) -> str:
    """A distribution's name as PEP 503 compares it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def version_faults(pins: dict[str, str]) -> list[str]:
    """One sentence for each pin that is not installed in exactly that version.

    A local version label does not count: torch 2.11.0+cu130 satisfies 2.11.0.
    """
    installed = {
        normalised(d.metadata["Name"]): d.version for d in metadata.distributions() if d.metadata["Name"]
    }
    faults = []
    for name, version in pins.items():
        found = installed.get(name)
        if found is None:
            faults.append(f"{name} {version} is not installed")
        elif found.split("+")[0] != version.split("+")[0]:
            faults.append(f"{name}: expected {version}, found {found}")
    return faults


def prove_torchvision_nms() -> str:
    """Of three boxes, the second overlaps the first by 81/119 and must go."""
    import torch
    import torchvision

    boxes = torch.tensor([[0.0, 0, 10, 10], [1, 1, 11, 11], [20, 20, 30, 30]])
    kept = torchvision.ops.nms(boxes, torch.tensor([0.9, 0.8, 0.7]), 0.5).tolist()
    expect("indices kept by torchvision's NMS", [0, 2], kept)
    return f"torchvision {torchvision.__version__} on torch {torch.__version__}: NMS"


def prove_mmcv_operators() -> str:
    """The same boxes through mmcv's NMS, and the mean of a ramp through its RoIAlign."""
    import mmcv
    import torch
    from mmcv.ops import nms, roi_align

    boxes = torch.tensor([[0.0, 0, 10, 10], [1, 1, 11, 11], [20, 20, 30, 30]])
    _, kept = nms(boxes, torch.tensor([0.9, 0.8, 0.7]), 0.5)
    expect("indices kept by mmcv's NMS", [0, 2], kept.tolist())
    # The value is the column. Contiguous, because mmcv's operator reads memory in order whatever the strides.
    ramp = torch.arange(8.0).repeat(8, 1)[None, None]
    # Columns 1.5 to 5.5 in two bins of two samples: (2 + 3) / 2 and (4 + 5) / 2.
    pooled = roi_align(ramp, torch.tensor([[0.0, 2, 2, 6, 6]]), (2, 2), 1.0, 2, "avg", True)
    expect("means pooled by mmcv's RoIAlign", [[2.5, 4.5], [2.5, 4.5]], pooled[0, 0].tolist())
    return f"mmcv-full {mmcv.__version__}: NMS and RoIAlign"


def prove_detectron2_model() -> str:
    """A Mask R-CNN of the zoo builds and carries the weights its config promises."""
    from detectron2 import model_zoo
    from detectron2.modeling import build_model

    config = model_zoo.get_config("COCO-InstanceSegmentation/mask_rcnn_R_50_FPN_1x.yaml")
    config.MODEL.DEVICE = "cpu"
    model = build_model(config)
    shape = tuple(model.state_dict()["backbone.bottom_up.res5.2.conv3.weight"].shape)
    expect("shape of the last convolution of res5", (2048, 512, 1, 1), shape)
    return f"detectron2 {distribution_version('sal-detectron2', 'detectron2')}: Mask R-CNN built from the zoo"


def prove_mmtrack_model() -> str:
    """mmtrack's packaged SiamRPN++ config loads and its model builds."""
    import mmtrack
    from mmcv import Config
    from mmtrack.models import build_model

    packaged = Path(mmtrack.__file__).parent / ".mim/configs/sot/siamese_rpn/siamese_rpn_r50_20e_lasot.py"
    config = Config.fromfile(str(packaged))
    model = build_model(config.model)
    expect("class of the model", "SiamRPN", type(model).__name__)
    return f"mmtrack {mmtrack.__version__}: SiamRPN++ built from its packaged config"


PROOFS: tuple[Callable[[], str], ...] = (
    prove_torchvision_nms,
    prove_mmcv_operators,
    prove_detectron2_model,
    prove_mmtrack_model,
)


def expect(what: str, expected: object, found: object) -> None:
    """Raise ValueError unless the two are equal."""
    if expected != found:
        raise ValueError(f"{what}: expected {expected}, found {found}")


def distribution_version(*names: str) -> str:
    """Version of the first of these distributions that is installed."""
    for name in names:
        try:
            return f"{metadata.version(name)} ({name})"
        except metadata.PackageNotFoundError:
            continue
    raise ValueError(f"none of {', '.join(names)} is installed")


def main() -> int:
    """Entry point; returns the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--versions", action="store_true", help="compare versions only; import nothing heavy")
    args = parser.parse_args()
    pins = {name: version for lock in LOCK_NAMES for name, version in read_pins(LOCKS_DIR / lock).items()}
    faults = version_faults(pins)
    if faults:
        print("environment differs from locks/:\n  " + "\n  ".join(faults), file=sys.stderr)
        return 1
    if args.versions:
        return 0
    print(f"       {len(pins)} packages are exactly those in locks/")
    for proof in PROOFS:
        try:
            print(f"       {proof()}", flush=True)
        except Exception as error:
            print(f"{proof.__name__}: {type(error).__name__}: {error}", file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
