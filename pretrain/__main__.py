"""Pre-train a backbone by Maximum Entropy Coding.

    python -m pretrain CONFIG [key=value ...]
    torchrun --nproc-per-node 8 -m pretrain CONFIG [key=value ...]

Examples:
    python -m pretrain configs/pretrain/mini.yaml
    python -m pretrain configs/pretrain/mini.yaml out=runs/order1 objective.order=1
    python -m pretrain configs/pretrain/mini.yaml --dry-run
    torchrun --nproc-per-node 2 -m pretrain configs/pretrain/mini.yaml out=runs/two

The run folder gets config.json, metrics.jsonl, tensorboard/, checkpoints/ and, at the end,
backbone.safetensors. The same command resumes an interrupted run, on any number of processes. SIGTERM,
SIGUSR1 and Ctrl-C end it after the step that it is in, with a checkpoint.

Exit status: 0 done; 2 wrong recipe, input or file; 3 diverged (NaN, or the spectral norm outside the
series' disc of convergence); 75 stopped by a signal, to be resumed.
"""

from __future__ import annotations

import argparse
import errno
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from omegaconf.errors import OmegaConfBaseException

from pretrain.config import load_config, to_dict

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
DONE, UNUSABLE, DIVERGED, STOPPED = 0, 2, 3, 75  # 75: EX_TEMPFAIL of sysexits.h, try again


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m pretrain", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("config", type=Path, help="recipe, a YAML file under configs/pretrain/")
    parser.add_argument("--dry-run", action="store_true", help="print the resolved recipe and stop")
    parser.add_argument(
        "--resume",
        choices=("auto", "never"),
        default="auto",
        help="auto: go on from the newest whole checkpoint (default); never: refuse a used folder",
    )
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="recipe overrides")
    args = parser.parse_intermixed_args(argv)
    try:
        config = load_config(args.config, args.overrides)
        if args.dry_run:
            print(json.dumps(to_dict(config), indent=2))
            return DONE
        from pretrain.health import DivergedError
        from pretrain.train import StoppedError, train

        try:
            train(config, resume=args.resume == "auto")
        except OSError as error:
            if error.errno in FULL and error.filename is None:
                raise OSError(
                    f"{config.out}: {error.strerror}; give the same command again to go on"
                ) from error
            raise
        except StoppedError as stopped:
            _say(f"{stopped}; give the same command again to go on")
            return STOPPED
        except DivergedError as diverged:
            _say(str(diverged))
            return DIVERGED
    except (OSError, ValueError, OmegaConfBaseException) as error:
        print(f"pretrain: {error}", file=sys.stderr)
        return UNUSABLE
    return DONE


def _say(message: str) -> None:
    """What happened to all processes alike, once."""
    if os.environ.get("RANK", "0") == "0":
        print(f"pretrain: {message}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
