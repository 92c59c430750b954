"""`.ci/gpu`: one deadline for all parts, parts that are skipped with a reason, and one JSON file of them all."""

import functools
import importlib.util
import json
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from standin import kernels

from minifa.bench import alternating, step_time

ROOT = Path(__file__).parents[2]


def load(name):
    spec = importlib.util.spec_from_file_location(name, ROOT / ".ci" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


gpu, gpu_jobs = load("gpu"), load("gpu_jobs")
NO_GPU = "not usable: no device"


def part(name, code, share=1.0, read=lambda printed: {"printed": printed.strip()}, needs=()):
    return gpu.Part(name, share, [sys.executable, "-c", code], read, needs)


def run(tmp_path, todo, seconds=60.0, facts=None):
    """The parts of gpu.json after a run of these parts."""
    one = gpu.Run(tmp_path, seconds, gpu.environment_of_parts(True, None), {"dry_run": True})
    one.facts = facts or {}
    one.all(todo)
    report = json.loads((tmp_path / "gpu.json").read_text("utf-8"))
    assert report["dry_run"] is True and report["seconds"] >= 0
    return report["parts"]


def test_every_part_is_recorded_with_its_command_and_figures(tmp_path):
    todo = [part("one", "print(1)"), part("two", "import sys; print('no'); sys.exit(3)"), part("three", "print(3)")]
    parts = run(tmp_path, todo)
    assert [*parts] == ["one", "two", "three", "memory"]
    assert parts["one"]["status"] == "ok" and parts["one"]["returncode"] == 0
    assert parts["one"]["figures"] == {"printed": "1"} and parts["one"]["command"] == "python -c 'print(1)'"
    assert (tmp_path / parts["one"]["log"]).read_text() == "1\n"
    assert parts["two"]["status"] == "failed" and parts["two"]["reason"] == "exit status 3"
    assert parts["two"]["returncode"] == 3 and parts["two"]["figures"] == {"printed": "no"}
    assert parts["three"]["status"] == "ok"  # a part that failed does not end the run
    assert parts["memory"]["status"] == "skipped"


def test_a_part_whose_output_has_no_figures_failed(tmp_path):
    parts = run(tmp_path, [part("one", "print('no JSON')", read=gpu.last_line)])
    assert parts["one"]["status"] == "failed" and "no figures: JSONDecodeError" in parts["one"]["reason"]


def ended(process_id):
    """Whether a process is gone or a zombie that nobody has waited for."""
    try:
        return Path(f"/proc/{process_id}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_a_part_may_take_its_share_of_the_time_and_the_next_ones_run(tmp_path):
    """The first part would sleep for ten minutes, and so would the process that it starts; two epochs of it are done.
    The second part has no figures yet."""
    history = tmp_path / "history.csv"
    history.write_text("epoch,train_loss,validation_accuracy,seconds\n0,,0.1,\n1,1.5,0.4,2.5\n")
    started = "import subprocess, sys\ncode = 'import time; time.sleep(600)'\n"
    started += "child = subprocess.Popen([sys.executable, '-c', code])\nprint(child.pid, flush=True)\nchild.wait()"
    todo = [
        part("slow", started, read=functools.partial(gpu.read_training, path=history)),
        part("silent", "import time; time.sleep(600)", share=0.4, read=gpu.last_line),
        part("next", "print(2)", share=1.6),
    ]
    parts = run(tmp_path, todo, seconds=9.0)
    assert parts["slow"]["status"] == "out of time" and parts["slow"]["reason"] == "stopped after 3 s"
    assert [one["validation_accuracy"] for one in parts["slow"]["figures"]["epochs"]] == [0.1, 0.4]
    assert parts["silent"]["status"] == "out of time" and parts["silent"]["reason"] == "stopped after 1 s"
    assert parts["silent"]["figures"] == {} and parts["next"]["status"] == "ok"
    assert ended(int((tmp_path / "slow.log").read_text()))


def test_without_time_left_no_part_starts(tmp_path):
    parts = run(tmp_path, [part("one", "print(1)"), part("two", "print(2)")], seconds=0.5)
    assert {one["status"] for name, one in parts.items() if name != "memory"} == {"out of time"}
    assert parts["two"]["reason"] == "no time left" and parts["two"]["log"] is None


def test_what_is_missing_is_skipped_with_a_line_and_has_no_share(tmp_path, capsys):
    todo = [
        part("device", "print(1)", needs=("device",)),
        part("data", "print(1)", needs=("cifar10",)),
        part("full", "print(1)", needs=("full",)),
        part("last", "print(1)", needs=("pytest",)),
    ]
    parts = run(tmp_path, todo, facts={"cupy_status": NO_GPU, "cifar10": "not found"})
    assert [one["status"] for one in parts.values()] == ["skipped"] * 3 + ["ok", "skipped"]
    assert parts["device"]["reason"] == NO_GPU and "name its folder by --data" in parts["data"]["reason"]
    printed = capsys.readouterr().out
    assert f"== device: skipped: {NO_GPU}\n" in printed and "== last (at most 60 s)" in printed


def test_what_is_there_is_not_skipped(monkeypatch):
    facts = {"cupy_status": "CuPy 14.2.0 on a card", "cifar10": "found"}
    assert not any(gpu.missing(need, facts) for need in ("device", "cifar10", "pytest"))
    assert "did not tell" in gpu.missing("device", {})  # the part info failed
    monkeypatch.setattr(gpu.importlib.util, "find_spec", lambda name: None)
    assert gpu.missing("pytest", facts) == "the package pytest is not installed"


def test_a_dry_run_has_the_parts_of_a_real_one(tmp_path):
    real, dry = (gpu.parts(tmp_path, dry=dry) for dry in (False, True))
    names = [one.name for one in real]
    assert names == [one.name for one in dry] and len({*names}) == len(names)
    assert {"info", "tests", "doctor", "bench-128-cnn", "bench-1024-resnet20", "launches", "compare"} < {*names}
    assert {"cifar10-bp", "cifar10-usf", "cifar10-fa"} < {*names}
    for one in real:
        assert one.name == "info" or "device" in one.needs, one.name
        assert "numpy" not in one.command
    for one in dry:
        assert "device" not in one.needs and "cupy" not in one.command, one.name
    (tests,) = (one for one in real if one.name == "tests")
    assert str(tests.command[-1]) == "tests/core/test_gpu.py"


def test_the_check_of_the_file_names_parts_that_are_absent_or_failed(tmp_path):
    every = {one.name: {"status": "ok", "reason": ""} for one in gpu.parts(tmp_path, True)}
    path = tmp_path / "gpu.json"

    def problems(parts):
        path.write_text(json.dumps({"dry_run": True, "parts": parts}))
        return gpu.problems(path)

    complete = {**every, "memory": {"status": "skipped", "reason": "no figures"}}
    assert problems(complete) == [] and gpu.main(["--check", str(path)]) == 0
    assert problems(every) == [f"memory: not in {path}"]
    assert problems({**complete, "doctor": {"status": "out of time", "reason": "no time left"}}) == [
        "doctor: out of time: no time left"
    ]
    assert gpu.main(["--check", str(path)]) == 1


def test_figures_are_read_from_what_the_commands_print(tmp_path):
    assert gpu.read_tests("....\n2 failed, 168 passed, 3 skipped in 40.1s\n") == {
        "failed": 2,
        "passed": 168,
        "skipped": 3,
    }
    (tmp_path / "runs.csv").write_text("rule,seconds,test_accuracy\nbp,,0.1\nbp,0.5,0.8\nbp,0.25,0.9\nfa,,0.1\n")
    assert gpu.read_runs(tmp_path / "runs.csv") == {
        "bp": {"seconds": 0.75, "test_accuracy": 0.9},
        "fa": {"seconds": 0.0, "test_accuracy": 0.1},
    }
    (tmp_path / "history.csv").write_text("epoch,train_loss,validation_accuracy,seconds\n0,,0.1,\n1,1.5,0.4,2.5\n")
    read = gpu.read_training("...\nCIFAR-10 from a copy.\n...", tmp_path / "history.csv")
    assert read["note"] == "CIFAR-10 from a copy." and read["epochs"][1]["seconds"] == 2.5
    bench = {"bench-128-mlp": gpu.Result("ok", "", figures={"steps": {"minifa bp": {"peak_mib": 7.0}}})}
    bench["bench-1024-mlp"] = gpu.Result("ok", "", figures={"steps": {"minifa bp": {"peak_mib": 0.0}}})
    assert gpu.peak_memory(bench) == {"bench-128-mlp": {"minifa bp": 7.0}}


def test_the_benchmark_has_figures_of_every_candidate_and_the_rate_of_matrix_products(monkeypatch, capsys):
    """The product, which gives the rate, is no candidate."""
    monkeypatch.setattr(step_time, "MATRIX", 64)
    monkeypatch.setattr(step_time, "_other_steps", lambda model, other, batch_size: {other: lambda: sum(range(2000))})
    monkeypatch.setattr(alternating, "wait_for_idle_threads", lambda: None)
    figures = gpu_jobs.bench("numpy", "small", "bp,fa", "4", "3", "no-memory")
    assert "small: mlp on 64, batch 4, medians of 3" in capsys.readouterr().out
    assert figures["batch_size"] == 4 and figures["gflops_of_matrix_products"] > 0
    assert [*figures["steps"]] == ["minifa bp", "minifa fa", "torch"]
    for one in figures["steps"].values():
        assert len(one["ms"]) == 3 and one["ms"] == sorted(one["ms"])
        assert one["of_matrix_rate"] > 0 and one["to_torch"] > 0 and one["peak_mib"] == 0
    assert figures["steps"]["torch"]["to_torch"] == 1


def test_a_benchmark_without_pytorch_has_no_ratio_to_it(monkeypatch):
    timings = [step_time.Timing("minifa bp", [0.5, 0.25, 1.0], 1e9, 3 << 20)]
    timings += [step_time.Timing("matrix product", [0.5, 0.5, 0.5], 4e9, 0)]
    monkeypatch.setattr(step_time, "measure", lambda *arguments, **options: timings)
    figures = gpu_jobs.bench("numpy", "small", "bp", "4", "3", "memory")
    only = {"ms": [375.0, 500.0, 750.0], "to_torch": None, "of_matrix_rate": 0.25, "peak_mib": 3.0}
    assert figures == {"gflops_of_matrix_products": 8.0, "batch_size": 4, "steps": {"minifa bp": only}}


def test_kernels_and_fills_are_counted_without_copies_and_annotations():
    def event(name, device="CUDA", note=False):
        return SimpleNamespace(name=name, device_type=SimpleNamespace(name=device), is_user_annotation=note)

    events = [event("cupy_add__float32"), event("Memset (Device)"), event("Memcpy HtoD (Pageable -> Device)")]
    events += [event("cudaLaunchKernel", "CPU"), event("Optimizer.step#SGD.step", note=True), event("sgemm")]
    assert kernels.number_of_kernels(events) == 3


def test_calls_are_counted_where_the_profiler_sees_no_kernels(monkeypatch, capsys):
    key = "mlp", "bp", "sgd"
    monkeypatch.setattr(kernels.launches, "operators_of", lambda pairs: (dict.fromkeys(pairs, 31), ""))
    calls = (*key, "calls", "62", "31", "2.00")
    monkeypatch.setattr(kernels.launches, "counted", lambda *arguments: SimpleNamespace(calls=[None] * 62))
    monkeypatch.setattr(kernels, "why_not", lambda: "no device")
    assert kernels.counts([key], 8) == [calls]
    monkeypatch.setattr(kernels, "why_not", lambda: "")
    monkeypatch.setattr(kernels, "kernels_of_all", lambda keys, pairs, batch_size: ({key: 0}, {key[::2]: 40}))
    assert kernels.counts([key], 8) == [calls]
    monkeypatch.setattr(kernels, "kernels_of_all", lambda keys, pairs, batch_size: ({key: 70}, {key[::2]: 40}))
    assert kernels.counts([key], 8) == [(*key, "kernels", "70", "40", "1.75")]
    assert "no device" in (printed := capsys.readouterr().out) and "saw no kernel of CuPy" in printed


def test_the_results_folder_describes_every_field():
    text = (ROOT / "tutorials" / "results" / "gpu" / "README.md").read_text("utf-8")
    fields = ["schema", "date", "dry_run", "minutes", "seconds", "facts", "parts"]
    fields += gpu.Result.__dataclass_fields__
    assert [one for one in fields if f"`{one}`" not in text] == []
    assert all(f"`{status}`" in text for status in ("ok", "failed", "out of time", "skipped"))
