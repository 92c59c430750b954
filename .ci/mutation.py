"""Mutation testing of the engine: what the tests say of small changes to its layers, rules, losses and optimisers.

    pip install -e ".[test]" mutmut==3.8.1
    python .ci/mutation.py --mutants 600 --seed 1

mutmut makes every change that its operators know, one at a time (a sign, a comparison, an argument, a default, a text),
and runs the tests that reach the changed function until one fails. Of all these changes a sample is drawn by the seed.
Printed are how many were killed, with Wilson's 95 % interval for all of them, and the diff of each that survived.

It works in a copy, in a temporary folder, and writes nothing here. Six hundred mutants took an hour on two cores that
had other work, too.
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
# They look at other processes, which do not run the change, or at the source, which holds all changes at once.
LEFT_OUT = (
    "tests/test_determinism.py::test_another_process_with_another_number_of_threads_gives_the_same_bits",
    "tests/test_determinism.py::test_worker_processes_give_the_same_bits",
    "tests/test_recompute.py::test_the_commands_take_the_option",
    "tests/test_recompute.py::test_memory_does_not_grow_with_depth",
)
KILLED = ("killed", "timeout", "segfault")


def prepare(folder: Path) -> None:
    """A copy of what git knows, with mutmut's settings at the end of setup.cfg."""
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
        "pytest_add_cli_args_test_selection": [f"tests/test_{name}.py" for name in TESTS.split()],
    }
    with open(folder / "setup.cfg", "a", encoding="utf-8") as file:
        file.write("\n[mutmut]\nuse_git_change_detection = False\n")
        for key, values in settings.items():
            file.write(f"{key} =\n" + "".join(f"    {value}\n" for value in values))


def wilson(killed: int, n: int, z: float = 1.96) -> tuple[float, float]:
    """The 95 % interval of a share, in percent (Wilson 1927)."""
    share, wide = killed / n, z * z / n
    middle, half = share + wide / 2, z * math.sqrt(share * (1 - share) / n + wide / n / 4)
    return 100 * (middle - half) / (1 + wide), 100 * (middle + half) / (1 + wide)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mutants", type=int, default=1000, help="how many (default 1000)")
    parser.add_argument("--seed", type=int, default=1, help="of the sample (default 1)")
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
        everything = sorted(name for _, name, _ in mutmut.collect_source_file_mutation_data(mutant_names=())[0])
        sample = random.Random(options.seed).sample(everything, min(options.mutants, len(everything)))
        subprocess.run(
            [sys.executable, "-m", "mutmut", "run", "--max-children", str(options.jobs), *sample], check=True
        )

        found = {name: code for _, name, code in mutmut.collect_source_file_mutation_data(mutant_names=sample)[0]}
        statuses = {name: mutmut.status_by_exit_code[code] for name, code in found.items()}
        for name in sorted(name for name in sample if statuses[name] not in KILLED):
            lines = mutmut.get_diff_for_mutant(name, path=mutmut.find_mutant(name).path).splitlines()
            print(f"\n{statuses[name]}: {name}")
            print("\n".join(line for line in lines if line[:1] in "+-" and line[:3] not in ("---", "+++")))
    killed = sum(status in KILLED for status in statuses.values())
    low, high = wilson(killed, len(sample))
    print(f"\nseed {options.seed}: {len(sample)} of {len(everything)} mutants, {dict(Counter(statuses.values()))}")
    print(f"killed {killed / len(sample):.1%}, 95 % interval {low:.1f} to {high:.1f} %")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
