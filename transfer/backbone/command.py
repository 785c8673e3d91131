"""The command line shared by tools/convert_to_*.py."""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from types import FrameType

from transfer.backbone.architecture import expected_shapes
from transfer.backbone.convert import TARGETS, Conversion, convert
from transfer.backbone.sources import LAYOUTS
from transfer.backbone.verify import TOLERANCE


def main(target_name: str, argv: Sequence[str] | None = None) -> int:
    """Convert one checkpoint; returns the exit status: 0 written, 1 refused."""
    program = Path(sys.argv[0]).name
    parser = _parser(target_name, program)
    args = parser.parse_args(argv)
    if getattr(args, "sot_resnet", False):
        target_name = "mmtrack-sot"
    out = args.out or _default_out(args.checkpoint, target_name)
    previous = signal.signal(signal.SIGTERM, _stop)  # so that a kill also cleans up
    try:
        done = convert(
            args.checkpoint,
            out,
            target_name,
            source=args.source,
            branch=args.branch,
            ignore=args.ignore,
            verify=args.verify,
        )
    except (OSError, ValueError) as error:
        print(f"{program}: {printable(str(error))}\nNothing was written.", file=sys.stderr)
        return 1
    except ImportError as error:
        print(
            f"{program}: {error}. The proof needs {TARGETS[target_name].needs} itself: run tools/setup.sh, "
            "or write an unverified file with --no-verify. Nothing was written.",
            file=sys.stderr,
        )
        return 1
    finally:
        signal.signal(signal.SIGTERM, previous)
    _show(args.checkpoint, done)
    state = "proven" if done.proof else "UNVERIFIED"
    print(printable(f"{out}: written, {state}; see {out.name}.json"))
    return 0


def printable(text: str) -> str:
    """Text from a file, safe to print: codes that would steer a terminal are spelled out."""
    return "".join(
        char if char.isprintable() or char == "\n" else char.encode("unicode_escape").decode()
        for char in text
    )


def _show(checkpoint: Path, done: Conversion) -> None:
    info, origin = done.info, done.origin
    layout = f"layout {info.layout}" if origin else "backbone contract file"
    branch = f", branch {info.branch}" if info.branch else ""
    num_tensors = len(expected_shapes(info.arch))
    print(f"{printable(str(checkpoint))}: {layout}{branch}: {info.method} {info.arch}, {num_tensors} tensors")
    if origin:
        others = f"; other branches: {', '.join(origin.other_branches)}" if origin.other_branches else ""
        print(f"  read from {origin.container}; {origin.num_beside} tensors beside it{others}")
        for change in origin.changes:
            print(f"  note: {change}")
        for prefix in origin.ignored:
            print(f"  note: tensors under {prefix} were ignored as asked")
    for model, errors in done.proof.items():
        stages = ", ".join(f"{error.stage} {error.relative:.1e}" for error in errors)
        print(f"  {model}: {stages} (relative difference, allowed {TOLERANCE:.0e})")


def _parser(target_name: str, program: str) -> argparse.ArgumentParser:
    suffix = TARGETS[target_name].suffixes[0]
    parser = argparse.ArgumentParser(
        description=f"Hand a self-supervised checkpoint to {target_name}, proven inside it or refused. "
        f"Reads the layouts of {', '.join(LAYOUTS)} and backbone.safetensors; see docs/checkpoints.md.",
        epilog=f"examples:\n  python tools/{program} backbone.safetensors\n"
        f"  python tools/{program} checkpoint_0099.pth.tar mec{suffix}\n"
        f"  python tools/{program} checkpoint_0099.pth.tar --branch target",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("checkpoint", type=Path, metavar="ckpt")
    suffixes = " or ".join(TARGETS[target_name].suffixes)
    parser.add_argument(
        "out", type=Path, nargs="?", help=f"{suffixes}; default: the checkpoint's name with {suffix}"
    )
    parser.add_argument(
        "--source",
        choices=list(LAYOUTS),
        metavar="LAYOUT",
        help="layout of the checkpoint (default: detected)",
    )
    parser.add_argument("--branch", help="network inside the checkpoint, e.g. online or target")
    parser.add_argument(
        "--ignore",
        action="append",
        default=[],
        metavar="PREFIX",
        help="tensors that the layout does not know and that are no backbone (repeatable)",
    )
    parser.add_argument(
        "--no-verify",
        dest="verify",
        action="store_false",
        help=f"only where {TARGETS[target_name].needs} is not installed: write without proof, and say so",
    )
    if target_name == "mmcv":
        parser.add_argument(
            "--sot-resnet", action="store_true", help="for mmtrack's SOTResNet, whose shortcuts are 3x3"
        )
    return parser


def _stop(signum: int, frame: FrameType | None) -> None:
    raise SystemExit(128 + signum)


def _default_out(checkpoint: Path, target_name: str) -> Path:
    suffix = TARGETS[target_name].suffixes[0]
    stem = checkpoint.name.removesuffix(".tar").rsplit(".", 1)[0]
    out = checkpoint.with_name(stem + suffix)
    return out if out != checkpoint else checkpoint.with_name(f"{stem}.{target_name}{suffix}")
