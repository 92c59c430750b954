"""Copy finished runs of `minifa reproduce` into this folder: settings, epochs, result, and the best weights of some.

    python tutorials/results/collect.py RUNS tutorials/results/cifar10-50 --weights bp,usf-strict,frsf,brsf

Files of every finished run ROW-seedN: config.json (settings, versions, machine, date), history.csv (a row per epoch
with the alignment of every layer), result.json (test scores at the best epoch, the accuracy of every class). For the
rows named by --weights, seed 0: best.safetensors, the network that was best on held-out images, without the optimizer's
state. An existing copy of a run is not changed. Needs safetensors for the weights.
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

from minifa import weights
from minifa.experiments import resume

FILES = ("config.json", "history.csv", "result.json")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path)
    parser.add_argument("target", type=Path)
    parser.add_argument("--weights", default="", help="rows whose best weights of seed 0 are kept")
    args = parser.parse_args()
    wanted = {f"{row}-seed0" for row in args.weights.split(",") if row}
    for run in sorted(path.parent for path in args.runs.glob("*-seed*/result.json")):
        copy = args.target / run.name
        if not (copy / "result.json").exists():
            copy.mkdir(parents=True, exist_ok=True)
            for name in FILES:
                shutil.copyfile(run / name, copy / name)
            print(copy)
        exported = copy / "best.safetensors"
        if run.name in wanted and not exported.exists():
            weights.save(resume.open_checkpoint(run / "best.ckpt")[0], exported)
            print(exported)


if __name__ == "__main__":
    main()
