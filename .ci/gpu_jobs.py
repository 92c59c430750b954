"""The jobs of gpu.py that are no command of minifa's, each in a process of its own. The last line printed is JSON.

python .ci/gpu_jobs.py facts
python .ci/gpu_jobs.py bench cupy cnn bp,fa,dfa 128 15 memory      backend, network, rules, batch size, repeats
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from importlib import metadata
from typing import Any

PACKAGES = ("numpy", "cupy-cuda13x", "cupy-cuda12x", "torch", "pytest")


def facts() -> dict[str, Any]:
    """Card, driver, versions, settings and data of this machine."""
    from minifa import backend, data, environment

    status = backend.cupy_status()
    place = data.find()["cifar10"]
    return {
        **environment.environment(),
        **card(),
        "cupy_status": status,
        **({} if status.startswith("not usable") else backend.device_facts()),
        "packages": {name: version for name in PACKAGES if (version := version_of(name))},
        "torch": torch_facts(),
        "cupy_tf32": os.environ.get("CUPY_TF32", "not set, so that products are float32"),
        "cifar10": "not found" if place.startswith("not found") else "found",
    }


def card() -> dict[str, str]:
    """Name, driver and memory of the first card; empty without nvidia-smi."""
    if shutil.which("nvidia-smi") is None:
        return {}
    query = ["nvidia-smi", "--query-gpu=name,driver_version,memory.total", "--format=csv,noheader"]
    printed = subprocess.run(query, capture_output=True, text=True, timeout=30).stdout.strip()
    values = printed.splitlines()[0].split(", ") if printed else []
    return dict(zip(("card", "driver", "card_memory"), values, strict=False))


def version_of(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def torch_facts() -> dict[str, Any] | str:
    """PyTorch's version, CUDA and TF32, which is left as its defaults have it."""
    try:
        import torch
    except ImportError:
        return "not installed"
    return {
        "version": torch.__version__,
        "cuda": torch.version.cuda if torch.cuda.is_available() else "this PyTorch cannot use a GPU here",
        "mode": "eager; TF32 as its defaults have it",
        "tf32_in_products": torch.backends.cuda.matmul.allow_tf32,
        "tf32_in_convolutions": torch.backends.cudnn.allow_tf32,
    }


def bench(backend_name: str, model: str, rules: str, batch_size: str, repeats: str, memory: str) -> dict[str, Any]:
    """A table of `minifa bench`, and its figures: milliseconds (quartiles), ratio to PyTorch, peak memory in MiB."""
    from minifa import backend
    from minifa.bench import step_time
    from minifa.bench.alternating import quartiles

    backend.use(backend_name)
    names, measured = rules.split(","), memory == "memory"
    timings = step_time.measure(model, names, int(batch_size), int(repeats), memory=measured, product=True)
    print(f"PyTorch: {torch_facts()}")
    print(step_time.table(model, timings, int(batch_size)))
    *candidates, product = timings
    torch = next((one for one in candidates if one.label == "torch"), None)
    steps = {}
    for one in candidates:
        lower, upper = quartiles(one.seconds)
        steps[one.label] = {
            "ms": [1e3 * seconds for seconds in (lower, one.median, upper)],
            "to_torch": None if torch is None else step_time.ratio(one, torch),
            "of_matrix_rate": step_time.share_of_rate(one, product),
            "peak_mib": one.bytes / 2**20,
        }
    rate = product.flops / product.median
    return {"gflops_of_matrix_products": rate / 1e9, "batch_size": int(batch_size), "steps": steps}


if __name__ == "__main__":
    job, *arguments = sys.argv[1:]
    print(json.dumps({"facts": facts, "bench": bench}[job](*arguments)))
