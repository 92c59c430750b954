"""A notebook, executed in a kernel of its own: what its cells show."""

import os
from pathlib import Path

import pytest

CELLS = """
import sys
import minifa as mf
data = mf.data.load("digits")
data
---
net = mf.Network(mf.models.mlp(data.input_shape, data.n_out, hidden=(20,)), seed=0, input_shape=data.input_shape)
rule = mf.rules.FA(seed=0).attach(net)
rule.B
---
sys.modules["ipywidgets"] = None  # as if it were not installed
history = mf.train(net, rule, data.train, mf.SoftmaxCrossEntropy(), mf.SGD(0.01), epochs=2)
---
history
---
history.plot()
---
assert "matplotlib.pyplot" not in sys.modules and sys.modules["matplotlib"].rcParams["axes.titlesize"] == "large"
"""


def execute(cells):
    """The outputs of each cell."""
    import nbformat.v4
    from jupyter_client.kernelspec import KernelSpecManager
    from jupyter_client.manager import AsyncKernelManager
    from nbclient import NotebookClient

    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    manager = AsyncKernelManager(kernel_name="python3", kernel_spec_manager=KernelSpecManager(kernel_dirs=[]))
    client = NotebookClient(notebook, km=manager, timeout=100, extra_arguments=["--log-level=CRITICAL"])
    checkout = str(Path(__file__).parents[2])
    client.execute(env={**os.environ, "PYTHONPATH": checkout}, cleanup_kc=True)
    return [cell.outputs for cell in notebook.cells]


@pytest.mark.long
@pytest.mark.filterwarnings("default")  # of the packages that execute it
def test_a_notebook_shows_tables_pictures_and_one_line_of_progress():
    for package in ("nbclient", "ipykernel"):
        pytest.importorskip(package, reason=f"{package} is not installed: nothing can be executed")
    data, matrices, bar, history, curves, nothing = execute(CELLS.split("---\n"))
    for (shown,) in (data, matrices, history):
        assert "<table" in shown["data"]["text/html"] and "data:image/png;base64," in shown["data"]["text/html"]
    assert [one["output_type"] for one in bar] == ["display_data"] and "fa: 100%" in bar[0]["data"]["text/plain"]
    assert "image/png" in curves[0]["data"] and nothing == []
