"""Mutation testing of the engine: do the tests detect small changes to its layers, rules, losses and optimizers?

    pip install -e ".[test]" mutmut==3.8.1
    python .ci/mutation.py --mutants 600 --seed 1

mutmut makes every change that its operators define, one at a time (a sign, a comparison, an argument, a default, a
text), and runs the tests that reach the changed function until one fails. The seed draws a sample of these changes. The
script prints the number of killed mutants, with Wilson's 95 % interval for all of them, and the diff of every survivor.

It works in a copy in a temporary folder and changes no files here. Six hundred mutants took an hour on two cores with
other work beside them.
"""

from __future__ import annotations

import argparse
import math
import os
import random
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

HERE = Path(__file__).parent.parent
MUTATED = ("minifa/layers/*.py", "minifa/rules/*.py", "minifa/losses.py", "minifa/optim.py")
TESTS = (
    "backend batches behaviours bad_input defaults determinism divergence docs figures freezing known_answers layers "
    "losses metrics models network optim public_paths recompute rule_formulas rules sentences stepping tracing "
    "training weights windows"
)
# Tests of other processes, which do not run the change, or of the source, which contains all changes at once.
LEFT_OUT = (
    "tests/core/test_determinism.py::test_another_process_with_another_number_of_threads_gives_the_same_bits",
    "tests/core/test_determinism.py::test_worker_processes_give_the_same_bits",
    "tests/rules/test_recompute.py::test_the_commands_accept_the_option",
    "tests/rules/test_recompute.py::test_memory_does_not_grow_with_depth",
)
KILLED = ("killed", "timeout", "segfault")


def prepare(folder: Path) -> None:
    """Copy the files that git tracks, and append mutmut's settings to setup.cfg."""
    names = subprocess.run(["git", "ls-files", "-z"], cwd=HERE, check=True, capture_output=True).stdout.decode()
    for name in names.split("\0")[:-1]:
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(HERE / name, target)
    settings = {
        "source_paths": ["minifa"],
        "only_mutate": MUTATED,
        "also_copy": ["README.md", "tutorials"],
        "pytest_add_cli_args": ["-p", "no:cacheprovider", *(f"--deselect={test}" for test in LEFT_OUT)],
        "pytest_add_cli_args_test_selection": [
            path.relative_to(HERE).as_posix()
            for name in TESTS.split()
            for path in (HERE / "tests").rglob(f"test_{name}.py")
        ],
    }
    with open(folder / "setup.cfg", "a", encoding="utf-8") as file:
        file.write("\n[mutmut]\nuse_git_change_detection = False\n")
        for key, values in settings.items():
            file.write(f"{key} =\n" + "".join(f"    {value}\n" for value in values))


def wilson(killed: int, n: int, z: float = 1.96) -> tuple[float, float]:
    """The 95 % interval of a proportion, in percent (Wilson 1927)."""
    share, term = killed / n, z * z / n
    centre, half = share + term / 2, z * math.sqrt(share * (1 - share) / n + term / n / 4)
    return 100 * (centre - half) / (1 + term), 100 * (centre + half) / (1 + term)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mutants", type=int, default=1000, help="number of mutants (default 1000)")
    parser.add_argument("--seed", type=int, default=1, help="seed of the sample (default 1)")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="processes (default: one per core)")
    options = parser.parse_args()
    os.environ.update(MINIFA_THREADS="1", OPENBLAS_NUM_THREADS="1")
    with tempfile.TemporaryDirectory() as folder:
        prepare(Path(folder))
        os.chdir(folder)
        sys.argv = ["mutmut"]
        from mutmut import __main__ as mutmut

        mutmut.copy_src_dir()
        mutmut.copy_also_copy_files()
        mutmut.setup_source_paths()
        mutmut.create_mutants(options.jobs)
        mutants = sorted(name for _, name, _ in mutmut.collect_source_file_mutation_data(mutant_names=())[0])
        sample = random.Random(options.seed).sample(mutants, min(options.mutants, len(mutants)))
        subprocess.run(
            [sys.executable, "-m", "mutmut", "run", "--max-children", str(options.jobs), *sample], check=True
        )

        exit_codes = {name: code for _, name, code in mutmut.collect_source_file_mutation_data(mutant_names=sample)[0]}
        statuses = {name: mutmut.status_by_exit_code[code] for name, code in exit_codes.items()}
        for name in sorted(name for name in sample if statuses[name] not in KILLED):
            lines = mutmut.get_diff_for_mutant(name, path=mutmut.find_mutant(name).path).splitlines()
            print(f"\n{statuses[name]}: {name}")
            print("\n".join(line for line in lines if line[:1] in "+-" and line[:3] not in ("---", "+++")))
    killed = sum(status in KILLED for status in statuses.values())
    low, high = wilson(killed, len(sample))
    print(f"\nseed {options.seed}: {len(sample)} of {len(mutants)} mutants, {dict(Counter(statuses.values()))}")
    print(f"killed {killed / len(sample):.1%}, 95 % interval {low:.1f} to {high:.1f} %")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
