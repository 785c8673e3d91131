"""Convert a checkpoint for a framework, prove it inside that framework, or write nothing."""

from __future__ import annotations

import argparse
import importlib
import json
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from transfer.backbone.contract import Backbone
from transfer.backbone.sources import LAYOUTS, load_source
from transfer.backbone.targets import provenance, write_detectron2, write_mmcv
from transfer.backbone.verify import TOLERANCE, StageError, compare_features, probe_images, reference_features


@dataclass(frozen=True)
class Target:
    """A framework: its file suffix, our writer, and the module whose ``features`` is its own model."""

    suffix: str
    write: Callable[[Backbone, Path], None]
    adapter: str


TARGETS: dict[str, Target] = {
    "detectron2": Target(".pkl", write_detectron2, "transfer.detect.backbone"),
    "mmcv": Target(".pth", write_mmcv, "transfer.track.backbone"),
}


def convert(backbone: Backbone, out: Path, target_name: str) -> list[StageError]:
    """Write ``out`` for a framework after comparing features stage by stage inside that framework.

    The file is written under a temporary name, loaded by the framework's own model, compared, and
    only then renamed; the proof is written beside it as ``<out>.json``.

    Raises:
        ValueError: the file would not mean the same network; nothing is left behind.
        ImportError: the framework is not installed, so nothing can be proven.
    """
    target = TARGETS[target_name]
    if out.suffix != target.suffix:
        raise ValueError(f"{out}: {target_name} reads {target.suffix} files; name the output so")
    out.parent.mkdir(parents=True, exist_ok=True)
    temporary = out.with_name(f".{os.getpid()}.{out.name}")
    report = out.with_name(out.name + ".json")
    temporary_report = report.with_name(f".{os.getpid()}.{report.name}")
    images = probe_images()
    try:
        target.write(backbone, temporary)
        found = importlib.import_module(target.adapter).features(temporary, backbone.info, images)
        errors = compare_features(reference_features(backbone, images), found)
        proof = {
            "target": target_name,
            "tensors": len(backbone.state),
            "tolerance": TOLERANCE,
            "stages": {
                e.stage: {"relative": e.relative, "max_abs_difference": e.max_abs_difference} for e in errors
            },
            "provenance": provenance(backbone),
        }
        temporary_report.write_text(json.dumps(proof, indent=2) + "\n")
        temporary.replace(out)
        temporary_report.replace(report)
    finally:
        temporary.unlink(missing_ok=True)
        temporary_report.unlink(missing_ok=True)
    return errors


def main(target_name: str, argv: Sequence[str] | None = None) -> int:
    """Command line shared by tools/convert_to_d2.py and tools/convert_to_mm.py."""
    target = TARGETS[target_name]
    program = Path(sys.argv[0]).name
    parser = argparse.ArgumentParser(
        description=f"Hand a self-supervised checkpoint to {target_name}, proven or refused.",
        epilog=f"examples:\n  python tools/{program} backbone.safetensors\n"
        f"  python tools/{program} checkpoint_0099.pth.tar mec{target.suffix}\n"
        f"  python tools/{program} checkpoint_0099.pth.tar --branch target",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("checkpoint", type=Path, metavar="ckpt")
    parser.add_argument(
        "out", type=Path, nargs="?", help=f"default: the checkpoint's name with {target.suffix}"
    )
    parser.add_argument(
        "--source", choices=list(LAYOUTS), help="layout of the checkpoint (default: detected)"
    )
    parser.add_argument("--branch", help="network inside the checkpoint, e.g. online or target")
    args = parser.parse_args(argv)
    out = args.out or _default_out(args.checkpoint, target)
    try:
        backbone = load_source(args.checkpoint, args.source, args.branch)
        errors = convert(backbone, out, target_name)
    except (FileNotFoundError, ValueError) as error:
        print(f"{program}: {error}\nNothing was written.", file=sys.stderr)
        return 1
    except ImportError as error:
        print(
            f"{program}: {error}. The proof needs {target_name} itself; run tools/setup.sh. "
            "Nothing was written.",
            file=sys.stderr,
        )
        return 1
    info = backbone.info
    branch = info.branch or "only"
    print(f"{args.checkpoint}: {info.method} {info.arch}, branch {branch}, {len(backbone.state)} tensors")
    for e in errors:
        print(f"  {e.stage}: relative difference {e.relative:.1e} (allowed {TOLERANCE:.0e})")
    print(f"{out}: written, with its proof in {out.name}.json")
    return 0


def _default_out(checkpoint: Path, target: Target) -> Path:
    stem = checkpoint.name.removesuffix(".tar").rsplit(".", 1)[0]
    out = checkpoint.with_name(stem + target.suffix)
    return out if out != checkpoint else checkpoint.with_name(stem + ".mmcv" + target.suffix)
