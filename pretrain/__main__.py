"""Pre-train a backbone by Maximum Entropy Coding.

    python -m pretrain CONFIG [key=value ...]

Examples:
    python -m pretrain configs/pretrain/mini.yaml
    python -m pretrain configs/pretrain/mini.yaml out=runs/order1 objective.order=1
    python -m pretrain configs/pretrain/mini.yaml --dry-run

The run folder gets config.json, metrics.jsonl, tensorboard/, checkpoint.pt after every epoch and,
at the end, backbone.safetensors. The same command resumes an interrupted run.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from omegaconf.errors import OmegaConfBaseException

from pretrain.config import load_config, to_dict


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit status: 0 done, 2 wrong recipe or input."""
    parser = argparse.ArgumentParser(
        prog="python -m pretrain", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("config", type=Path, help="recipe, a YAML file under configs/pretrain/")
    parser.add_argument("--dry-run", action="store_true", help="print the resolved recipe and stop")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="recipe overrides")
    args = parser.parse_args(argv)
    try:
        config = load_config(args.config, args.overrides)
        if args.dry_run:
            print(json.dumps(to_dict(config), indent=2))
            return 0
        from pretrain.train import train

        train(config)
    except (FileNotFoundError, ValueError, OmegaConfBaseException) as error:
        print(f"pretrain: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
