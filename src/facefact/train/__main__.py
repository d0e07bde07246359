"""`python -m facefact.train CONFIG ...`: as `facefact train`, for launchers of several processes.

GPUs: `accelerate launch --num_processes 2 -m facefact.train configs/world.yaml`. CPU cores, which accelerate launches
on one machine as a single process: `torchrun --nproc-per-node 2 -m facefact.train configs/world.yaml`.
"""

from __future__ import annotations

import sys

from facefact.apps.cli import main

if __name__ == "__main__":
    sys.exit(main(["train", *sys.argv[1:]]))
