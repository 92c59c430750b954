"""Everything that is to be known of a machine with a GPU, in eight minutes together: .ci/gpu [--data FOLDER]

The parts run one after the other: facts, tests, `minifa doctor`, the benchmark beside PyTorch, kernels of a step,
`minifa compare`, CIFAR-10. Each may take its share of the time that is left, so that what one part does not need goes
to the later ones, and no part can take all. A part whose package, device or data is missing is skipped with a line. The
folder gets one log per part and gpu.json (its form: tutorials/results/gpu/README.md), which is complete after every
part. The exit status is 1 if a part failed or ran out of time.

--dry-run runs the same on NumPy, with small settings, to check this script where there is no GPU.
"""

from __future__ import annotations

import argparse
import csv
import importlib.util
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
JOBS = Path(".ci") / "gpu_jobs.py"
MINUTES = 8.0
REPEATS = 15  # of every candidate of the benchmark
LEAST = 1.0  # seconds: with less time left a part is not started
KEPT = 40  # printed lines of each part; the log has all
Figures = dict[str, Any]


@dataclass(frozen=True)
class Part:
    """One command.

    Attributes:
        name: of the part, of its log and in the JSON.
        share: seconds that it is expected to need at most, relative to those of the other parts.
        command: the program and its arguments.
        read: its figures, from what it printed, also if it failed or was stopped.
        needs: what must be there, by the names of `missing`.
    """

    name: str
    share: float
    command: Sequence[str]
    read: Callable[[str], Figures] = lambda printed: {}
    needs: tuple[str, ...] = ()


@dataclass
class Result:
    """What became of a part: "ok", "failed", "out of time" or "skipped", with the reason if it is not "ok"."""

    status: str
    command: str
    reason: str = ""
    returncode: int | None = None
    seconds: float = 0.0
    log: str | None = None
    figures: Figures = field(default_factory=dict)


# The parts


def python(*arguments: object) -> list[str]:
    return [sys.executable, *map(str, arguments)]


def minifa(*arguments: object) -> list[str]:
    return python("-m", "minifa", *arguments)


def parts(out: Path, dry: bool) -> list[Part]:
    """The parts in the order in which they run; results of theirs that are files go to ``out``."""
    backend, device = ("numpy", ()) if dry else ("cupy", ("device",))
    doctor, kernels = out / "doctor.json", out / "kernels.csv"
    few = ("--models", "mlp", "--rules", "bp", "--optimizers", "sgd") if dry else ()
    settings = ("--rules", "bp,fa", "--epochs", 1) if dry else ()
    compare = minifa("compare", "--backend", backend, "--seeds", 1, "--jobs", 1, "--out", out / "compare", *settings)
    tests = [path.relative_to(ROOT) for path in sorted((ROOT / "tests" / "core").glob("*.py")) if has_gpu_mark(path)]
    return [
        Part("info", 60, python(JOBS, "facts"), last_line),
        Part(
            "tests",
            120,
            python("-m", "pytest", "-q", "-rs", "-m", "gpu", "-p", "no:cacheprovider", *tests),
            read_tests,
            (*device, "pytest"),
        ),
        Part(
            "doctor",
            60,
            minifa("doctor", "--quiet", "--backend", backend, "--out", doctor),
            lambda printed: read_doctor(doctor),
            device,
        ),
        *(bench(model, 128, backend, dry) for model in ("mlp", "cnn", "resnet20")),
        *(bench(model, 1024, backend, dry) for model in ("mlp", "cnn", "resnet20")),
        Part(
            "launches",
            60,
            python("-m", "standin.kernels", "--out", kernels, *few),
            lambda printed: {"rows": rows_of(kernels)},
            device,
        ),
        Part("compare", 60, compare, lambda printed: read_runs(out / "compare" / "runs.csv"), device),
        *(cifar(name, settings, backend, out, dry) for name, settings in CIFAR_RULES.items()),
    ]


def has_gpu_mark(path: Path) -> bool:
    return "pytest.mark.gpu" in path.read_text("utf-8")


def bench(model: str, batch_size: int, backend: str, dry: bool) -> Part:
    """A dry run has two of the six, with batches of 8 in place of 128 and 1024. Memory, which takes a process for each
    candidate, is measured with the smaller batch only."""
    in_dry_run = (model, batch_size) in (("mlp", 128), ("cnn", 1024))
    rules = "bp,fa,dfa" if batch_size == 128 and not dry else "bp"
    needs = (() if in_dry_run else ("full",)) if dry else ("device",)
    sizes, memory = (8, 1) if dry else (batch_size, REPEATS), "memory" if batch_size == 128 else "no-memory"
    command = python(JOBS, "bench", backend, model, rules, *sizes, memory)
    return Part(f"bench-{batch_size}-{model}", 45 if batch_size == 128 else 20, command, last_line, needs)


# The rows bp, usf-strict and fa-kernel of the recipe.
CIFAR_RULES = {
    "bp": ("rule=bp", "optimizer.weight_decay=0.0001"),
    "usf": ("rule=usf:scale=strict",),
    "fa": ("rule=fa:init=gaussian(0.01)", "optimizer.lr=0.0001"),
}


def cifar(name: str, settings: Sequence[str], backend: str, out: Path, dry: bool) -> Part:
    """The paper's network for five epochs; in a dry run for one epoch on 900 images."""
    settings = (*settings, *(("training.epochs=1", "data.validation=0.982") if dry else ("training.epochs=5",)))
    folder = out / f"cifar10-{name}"
    chosen = [word for one in settings for word in ("--set", one)]
    command = minifa(
        "train", "--quiet", "--backend", backend, "--recipe", "cifar10_moskovitz", *chosen, "--out", folder
    )
    needs = ("cifar10",) if dry else ("device", "cifar10")
    return Part(f"cifar10-{name}", 45, command, lambda printed: read_training(printed, folder / "history.csv"), needs)


def missing(need: str, facts: Figures) -> str:
    """Why this is not there, or nothing."""
    if need == "device":
        status = str(facts.get("cupy_status", "not usable: the part info did not tell"))
        return status if status.startswith("not usable") else ""
    if need == "cifar10":
        place = str(facts.get("cifar10", "not found"))
        return "" if place == "found" else f"CIFAR-10 {place}: name its folder by --data or MINIFA_DATA"
    if need == "pytest":
        return "" if importlib.util.find_spec("pytest") else "the package pytest is not installed"
    assert need == "full"
    return "left out of a dry run"


# Figures


def last_line(printed: str) -> Figures:
    """The JSON that ends the output of a job of gpu_jobs.py."""
    figures: Figures = json.loads(printed.strip().splitlines()[-1])
    return figures


def read_tests(printed: str) -> Figures:
    counts = re.findall(r"(\d+) (passed|failed|skipped|errors?|deselected)", printed.strip().splitlines()[-1])
    return {outcome: int(number) for number, outcome in counts}


def read_doctor(path: Path) -> Figures:
    """How many findings, which are wrong, and the largest difference by comparison."""
    report = json.loads(path.read_text("utf-8"))
    largest: dict[str, float] = {}
    for finding in report["findings"]:
        for name, value in finding["differences"].items():
            largest[name] = max(largest.get(name, 0.0), float(value))
    wrong = [f"{one['kind']} {one['name']}: {text}" for one in report["findings"] for text in one["wrong"]]
    return {"healthy": report["healthy"], "findings": len(report["findings"]), "wrong": wrong, "largest": largest}


def rows_of(path: Path) -> list[dict[str, str]]:
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def read_runs(path: Path) -> Figures:
    """By rule: test accuracy after the last epoch, and seconds of all epochs."""
    figures: Figures = {}
    for row in rows_of(path):
        one = figures.setdefault(row["rule"], {"seconds": 0.0})
        one["test_accuracy"] = float(row["test_accuracy"])
        one["seconds"] += float(row["seconds"] or 0)
    return figures


def read_training(printed: str, path: Path) -> Figures:
    """Numbers of every epoch, and the note on a copy of the data that is not the publisher's."""
    kept = ("epoch", "train_loss", "validation_accuracy", "seconds", "images_per_second")
    note = re.search(r"^CIFAR-10 from .*", printed, re.MULTILINE)
    epochs = [{key: float(row[key]) for key in kept if row.get(key)} for row in rows_of(path)]
    return {"epochs": epochs, "note": note[0] if note else ""}


def peak_memory(results: Mapping[str, Result]) -> Figures:
    """Peak memory in MiB of every candidate of the benchmark: on the device, or of the process in a dry run."""
    steps = {name: one.figures.get("steps", {}) for name, one in results.items()}
    peaks = {name: {label: row["peak_mib"] for label, row in rows.items()} for name, rows in steps.items()}
    return {name: by_label for name, by_label in peaks.items() if any(by_label.values())}


# Running


class Run:
    """Runs parts before one deadline and keeps the JSON file up to date."""

    def __init__(self, out: Path, seconds: float, environment: Mapping[str, str], about: Figures) -> None:
        self.out, self.environment, self.about = out, environment, about
        self.started = time.monotonic()
        self.end = self.started + seconds
        self.facts: Figures = {}
        self.results: dict[str, Result] = {}

    def all(self, todo: Sequence[Part]) -> None:
        self.results = {part.name: Result("out of time", self.shown(part), "not started") for part in todo}
        self.results["memory"] = Result("skipped", "from the parts bench-*", "no part bench-* succeeded")
        for i, part in enumerate(todo):
            self.results[part.name] = self.one(part, todo[i + 1 :])
            if part.name == "info":
                self.facts, self.results["info"].figures = self.results["info"].figures, {}
            if figures := peak_memory(self.results):
                self.results["memory"] = Result("ok", "from the parts bench-*", figures=figures)
            self.write()

    def one(self, part: Part, later: Sequence[Part]) -> Result:
        """Run a part, at most for its share of the time that is left; the parts that will be skipped have none."""
        command = self.shown(part)
        if reason := self.reason_to_skip(part):
            print(f"== {part.name}: skipped: {reason}", flush=True)
            return Result("skipped", command, reason)
        shares = part.share + sum(one.share for one in later if not (self.facts and self.reason_to_skip(one)))
        limit = (self.end - time.monotonic()) * part.share / shares
        if limit < LEAST:
            print(f"== {part.name}: no time left", flush=True)
            return Result("out of time", command, "no time left")
        print(f"== {part.name} (at most {limit:.0f} s): {command}", flush=True)
        result = self.finished(part, Result("ok", command, log=f"{part.name}.log"), limit)
        because = f": {result.reason}" if result.reason else ""
        print(f"-- {part.name}: {result.status}{because}, {result.seconds:.1f} s", flush=True)
        return result

    def shown(self, part: Part) -> str:
        """The command as it is printed and kept, without the paths of this machine."""
        return shlex.join(part.command).replace(sys.executable, "python").replace(str(self.out), "OUT")

    def reason_to_skip(self, part: Part) -> str:
        return next((why for need in part.needs if (why := missing(need, self.facts))), "")

    def finished(self, part: Part, result: Result, limit: float) -> Result:
        """The result of a part that is now run; the processes that it started end with it."""
        started, log = time.monotonic(), self.out / f"{part.name}.log"
        with open(log, "w", encoding="utf-8") as file:
            process = subprocess.Popen(
                part.command,
                cwd=ROOT,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            try:
                result.returncode = process.wait(limit)
            except subprocess.TimeoutExpired:
                result.status, result.reason = "out of time", f"stopped after {limit:.0f} s"
            finally:
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        result.seconds = round(time.monotonic() - started, 2)
        printed = log.read_text("utf-8", errors="replace")
        print("\n".join(printed.splitlines()[-KEPT:]), flush=True)
        if result.returncode:
            result.status, result.reason = "failed", f"exit status {result.returncode}"
        try:
            result.figures = part.read(printed)
        except (OSError, ValueError, LookupError, TypeError) as error:
            if result.status != "out of time":  # a part that was stopped may have none yet
                result.reason += f"{'; ' * bool(result.reason)}no figures: {type(error).__name__}: {error}"
                result.status = "failed"
        return result

    def write(self) -> None:
        """gpu.json, complete at any time."""
        report = {
            **self.about,
            "seconds": round(time.monotonic() - self.started, 1),
            "facts": self.facts,
            "parts": {name: asdict(result) for name, result in self.results.items()},
        }
        path = self.out / "gpu.json"
        new = path.with_suffix(".new")
        new.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
        new.replace(path)


def problems(path: Path) -> list[str]:
    """What is wrong with a gpu.json: parts that are not in it, failed or ran out of time."""
    report = json.loads(path.read_text("utf-8"))
    expected = [part.name for part in parts(path.parent, report["dry_run"])] + ["memory"]
    absent = [f"{name}: not in {path}" for name in expected if name not in report["parts"]]
    bad = {"failed", "out of time"}
    return absent + [
        f"{name}: {one['status']}: {one['reason']}" for name, one in report["parts"].items() if one["status"] in bad
    ]


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog=".ci/gpu", description=__doc__.split(":")[0])
    parser.add_argument(
        "--data",
        default=os.environ.get("MINIFA_DATA"),
        help="folder in which the loaders find CIFAR-10 (default: $MINIFA_DATA)",
    )
    parser.add_argument("--out", type=Path, help="folder of the results, new or empty (default: gpu-DATE-TIME)")
    parser.add_argument("--minutes", type=float, default=MINUTES, help="for all parts together (default: 8)")
    parser.add_argument("--dry-run", action="store_true", help="NumPy and small settings")
    parser.add_argument("--check", type=Path, metavar="gpu.json", help="whether it has every part and none failed")
    options = parser.parse_args(arguments)
    if options.check:
        print("\n".join(wrong := problems(options.check)) or "every part is there, and none failed")
        return bool(wrong)
    now = datetime.now(timezone.utc)
    out = (options.out or Path(f"gpu-{now:%Y%m%d-%H%M%S}")).resolve()
    if out.exists() and any(out.iterdir()):
        parser.error(f"the folder of the results must be new or empty, got {out}")
    out.mkdir(parents=True, exist_ok=True)
    run = Run(
        out,
        60 * options.minutes,
        environment_of_parts(options.dry_run, options.data),
        {"schema": 1, "date": f"{now:%Y-%m-%d %H:%M} UTC", "dry_run": options.dry_run, "minutes": options.minutes},
    )
    signal.signal(signal.SIGTERM, lambda *ignored: sys.exit("stopped"))
    run.all(parts(out, options.dry_run))
    for name, one in run.results.items():
        print(f"{name:20} {one.status:12} {one.seconds:6.1f} s  {one.reason}")
    print(f"written to {out / 'gpu.json'}")
    return bool(problems(out / "gpu.json"))


def environment_of_parts(dry: bool, data: str | None) -> dict[str, str]:
    paths = [str(ROOT), str(ROOT / "tests"), *filter(None, [os.environ.get("PYTHONPATH")])]
    chosen = {"MINIFA_BACKEND": "numpy" if dry else "cupy", "PYTHONPATH": os.pathsep.join(paths)}
    chosen |= {"PYTHONUNBUFFERED": "1", "COLUMNS": "200"}  # wide: no table is folded
    return {**os.environ, **chosen, **({"MINIFA_DATA": str(Path(data).resolve())} if data else {})}


if __name__ == "__main__":
    sys.exit(main())
