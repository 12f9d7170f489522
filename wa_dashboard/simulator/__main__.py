"""`python -m wa_dashboard.simulator --data-dir DIR --port N`: the simulator alone, without the product's settings."""

from __future__ import annotations

import argparse
import logging
import sys

from .server import main

if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="wa_dashboard.simulator")
    parser.add_argument("--data-dir", required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--approve-after", type=float, default=3.0)
    parser.add_argument("--scale", type=float, default=1.0)
    parser.add_argument("--seed", type=int, default=None)
    given = parser.parse_args()
    logging.basicConfig(level=logging.INFO, stream=sys.stderr)
    sys.exit(
        main(
            data_dir=given.data_dir,
            port=given.port,
            approve_after_s=given.approve_after,
            scale=given.scale,
            seed=given.seed,
        )
    )
