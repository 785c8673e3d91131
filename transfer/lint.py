"""Check a training configuration against weights; list, refuse or repair what contradicts them."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import torch

from transfer.backbone.contract import Backbone
from transfer.backbone.load import load_source
from transfer.backbone.naming import COUNTER
from transfer.config_files import KINDS, Kind, kind_of, lint, one_line, read_config, repair
from transfer.findings import Sorted, Weights, concerns, sort_out
from transfer.trust import FLAG, trusting

PROGRAM = "lint_config"
EPILOG = """\
WEIGHTS is any checkpoint that the project reads: backbone.safetensors, a file that
tools/convert_to_d2.py or tools/convert_to_mm.py wrote, a method's own checkpoint. The
configuration must name a converted file; it is read and compared with WEIGHTS tensor by
tensor, so the name and the folder do not matter. Where WEIGHTS is itself not a file for the
framework, --fix names the converter's default beside it, and says so if it is not there yet.

CONFIG is a detectron2 YAML, a detectron2 LazyConfig (.py, or the YAML that detectron2 dumps of
one) or an mmcv-1 configuration of mmtrack or mmdet (.py). The frameworks' own loaders read it:
a .py is Python and is executed, and a YAML may call Python. Outside of this project's configs/
and the frameworks' own that takes --trust-config; give it for files that you would run.

--fix writes the same kind of file: a YAML keeps its _BASE_ and loses its comments; a LazyConfig
(as YAML) and an mmcv .py are written in full by the framework's own dump.

Levels, reasons and sources of all findings: docs/config_lint.md.

exit status: 0 no error (warnings and allowed findings are only listed), 1 an error is left,
2 wrong usage or a file that cannot be read

examples:
  python tools/lint_config.py mec.pkl configs/pascal_voc_R_50_C4_24k_mec.yaml
  python tools/lint_config.py backbone.safetensors my_lazy_config.py --fix fixed.yaml --trust-config
  python tools/lint_config.py mec.pth siamese_rpn_r50_20e_lasot.py --gpus 4 --fix fixed.py --trust-config
  python tools/lint_config.py mec.pth configs/track/mmtrack/deepsort_small.py --allow pretrained-url
"""


def weights_for(kind: Kind, backbone: Backbone) -> Weights:
    """The weights under test for a framework: a configured file is read and compared tensor by tensor."""

    @lru_cache
    def refusal(named: str, backbone_class: str) -> str:
        path = Path(named.partition("?")[0]).expanduser()  # detectron2 takes options behind a question mark
        advice = f"write it with `{kind.converter} {backbone.path} {path}`"
        if not path.is_file():
            return f"no such file; {advice}"
        try:
            other = load_source(path)
        except ValueError as error:
            return f"not readable as a backbone ({one_line(error)}); {advice}"
        if other.info.layout != kind.layout:
            layout = other.info.layout or "the contract"
            return f"not a file for this framework, its layout is {layout}; {advice}"
        difference = _difference(backbone, other)
        if difference:
            return f"{difference}; {advice}"
        return _sot_refusal(path, backbone_class) if kind.layout == "openmmlab" else ""

    path = backbone.path
    if refusal(str(path), "ResNet") and refusal(str(path), "SOTResNet"):
        stem = path.name.removesuffix(".tar").rsplit(".", 1)[0]
        path = path.with_name(stem + kind.suffix)
        if path == backbone.path:
            path = path.with_name(f"{stem}.{kind.target}{kind.suffix}")
    return Weights(backbone.info, str(path), refusal)


def _difference(backbone: Backbone, other: Backbone) -> str:
    """Where two backbones differ; batch norms' step counters take no part in inference."""
    if backbone.info.arch != other.info.arch:
        return f"it holds a {other.info.arch}, the weights under test are a {backbone.info.arch}"
    for key, tensor in backbone.state.items():
        if not key.endswith(COUNTER) and not torch.equal(tensor, other.state[key]):
            return f"its {key} is not that of {backbone.path}"
    return ""


def _sot_refusal(path: Path, backbone_class: str) -> str:
    """Why an mmcv file does not fit the class: mmtrack's SOTResNet has 3x3 shortcuts, others 1x1."""
    from transfer.backbone.checkpoint import read_checkpoint

    shapes = {
        tuple(tensor.shape[2:])
        for key, tensor in read_checkpoint(path).tensors.items()
        if key.endswith("layer2.0.downsample.0.weight")
    }
    if (shapes == {(3, 3)}) == (backbone_class == "SOTResNet"):
        return ""
    return (
        f"its shortcuts are not those of {backbone_class}; tools/convert_to_mm.py writes SOTResNet's "
        "with --sot-resnet"
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point of tools/lint_config.py; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog=PROGRAM, description=__doc__, epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("weights", type=Path, help="any checkpoint that the project reads")
    parser.add_argument("config", type=Path, help="detectron2 YAML or LazyConfig, or mmcv configuration")
    parser.add_argument("--fix", type=Path, metavar="OUT", help="write the corrected configuration")
    parser.add_argument(
        "--allow", action="append", default=[], metavar="NAME[:SETTING]", help="an exception; repeatable"
    )
    parser.add_argument(
        "--gpus", type=int, help="mmcv only: GPUs that will train (default: its gpu_ids, else 8 as published)"
    )
    parser.add_argument("--source", help="layout of the checkpoint (default: detected)")
    parser.add_argument("--branch", help="network inside the checkpoint, e.g. online or target")
    parser.add_argument(FLAG, action="store_true", help="execute a configuration from anywhere")
    args = parser.parse_args(argv)
    with trusting(args.trust_config):
        return _run(args)


def _run(args: argparse.Namespace) -> int:
    logging.getLogger("detectron2").setLevel(logging.ERROR)  # about the version of a YAML
    try:
        name = kind_of(args.config)
        kind = KINDS[name]
        if args.gpus is not None and (args.gpus < 1 or kind.layout != "openmmlab"):
            raise ValueError(
                f"--gpus {args.gpus}: expected at least 1, with an mmcv configuration; detectron2's batch is "
                "over all devices"
            )
        cfg = read_config(kind, args.config)
        weights = weights_for(kind, load_source(args.weights, args.source, args.branch))
        findings = lint(kind, cfg, weights, args.gpus)
        result = sort_out(findings, args.allow, str(args.config))
        print(f"{args.config}: {name}, against {args.weights} ({weights.info.method} {weights.info.arch})")
        _print(result)
        if args.fix:
            left = repair(kind, args.config, weights, args.allow, args.gpus, args.fix)
            needed = [entry for entry in args.allow if any(concerns(entry, finding) for finding in left)]
            result = sort_out(left, needed, str(args.fix))
            print(f"{args.fix}: written" + (", what is left takes a person:" if left else ", nothing left"))
            _print(result)
    except (FileNotFoundError, ValueError, ImportError, OSError) as error:
        print(f"{PROGRAM}: {error}", file=sys.stderr)
        return 2
    return 1 if result.errors else 0


def _print(result: Sorted) -> None:
    for word, findings in (
        ("error", result.errors),
        ("warning", result.warnings),
        ("allowed", result.allowed),
    ):
        for finding in findings:
            print(f"  {word:8}{finding}")
    if not (result.errors or result.warnings or result.allowed):
        print("  no findings")
