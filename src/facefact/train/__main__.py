"""`python -m facefact.train CONFIG ...`: as `facefact train`, for launchers of several processes.

GPUs: `accelerate launch --num_processes 2 -m facefact.train configs/world.yaml`. CPU cores, which accelerate launches
on one machine as a single process: `torchrun --nproc-per-node 2 -m facefact.train configs/world.yaml`.
"""

from __future__ import annotations

import argparse
import sys

from facefact.train.command import add_arguments, run
from facefact.types import UserError


def main() -> int:
    parser = argparse.ArgumentParser(prog="facefact train", description="Train the bundled model from nothing.")
    add_arguments(parser)
    try:
        return run(parser.parse_args())
    except UserError as error:
        print(f"facefact: error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
