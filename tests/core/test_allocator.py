"""The process keeps freed memory for the next training step, unless the user configures the allocator."""

import os
import subprocess
import sys

import pytest

from minifa.parallel import allocator

STEPS = """
import resource
import numpy as np
import minifa as mf

layers = [mf.Conv2d(3, 32, 3, padding=1), mf.ReLU(), mf.GlobalAvgPool(), mf.Linear(32, 2)]
net = mf.Network(layers, input_shape=(32, 32, 3))
rule, loss = mf.rules.BP().attach(net), mf.SoftmaxCrossEntropy()
x, y = mf.asarray(np.ones((256, 32, 32, 3), "float32")), np.zeros(256, int)  # maps of 32 MiB

def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

for _ in range(3):
    rule.gradients(net, x, y, loss)
before = faults()
for _ in range(4):
    rule.gradients(net, x, y, loss)
print((faults() - before) / 4)
"""


def faults_per_step(**environment):
    kept = {name: value for name, value in os.environ.items() if name not in allocator.CHOSEN_BY_USER}
    command = [sys.executable, "-c", STEPS]
    return float(subprocess.run(command, env=kept | environment, check=True, capture_output=True, text=True).stdout)


def uses_glibc():
    try:
        return bool(os.confstr("CS_GNU_LIBC_VERSION"))
    except (AttributeError, ValueError):
        return False


@pytest.mark.long
@pytest.mark.skipif(not uses_glibc(), reason="the C library is not glibc")
def test_a_step_gets_its_memory_from_the_step_before():
    """The system provides a page, of 4 KiB or of 2 MiB, at its first use: a page fault."""
    assert faults_per_step() < 20
    assert faults_per_step(MALLOC_TRIM_THRESHOLD_="1000000") > 100  # the user's setting holds


def test_other_c_libraries_keep_their_rules(monkeypatch):
    def unknown(name):
        raise ValueError("unrecognized configuration name")

    monkeypatch.setattr(os, "confstr", unknown, raising=False)
    assert not allocator.keep_freed_memory()


@pytest.mark.parametrize("name", allocator.CHOSEN_BY_USER)
def test_the_setting_of_the_user_is_kept(monkeypatch, name):
    monkeypatch.setenv(name, "glibc.malloc.trim_threshold=1")
    assert not allocator.keep_freed_memory()


@pytest.mark.skipif(not uses_glibc(), reason="the C library is not glibc")
@pytest.mark.parametrize(("most", "expected"), [(1 << 30, [(-3, 1 << 30), (-1, 1 << 30)]), (32 << 20, None), (0, None)])
def test_older_versions_accept_smaller_arrays_only(monkeypatch, most, expected):
    """A trim threshold alone would end glibc's own choice of the other one, and make steps slower."""
    calls = []

    class Library:
        def mallopt(self, parameter, size):
            calls.append((parameter, size))
            return int(parameter == allocator.TRIM_THRESHOLD or size <= most)

    for name in allocator.CHOSEN_BY_USER:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(allocator.ctypes, "CDLL", lambda name: Library())
    assert allocator.keep_freed_memory() == (most > 0)
    tried = [(-3, 1 << 30), (-3, 32 << 20)]
    assert calls == (expected or [*tried, *[(-1, 1 << 30)] * (most > 0)])
