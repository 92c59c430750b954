"""``index.html`` of run folders: complete without a server, for every state of a run and for hostile names."""

import html.parser
import json
from pathlib import Path

import numpy as np
import pytest

from minifa import cli
from minifa.experiments import Experiment, resume, run_page
from minifa.training import History

HOSTILE = "<script>alert(1)</script>&\"'"


class Reader(html.parser.HTMLParser):
    """The tags, links and text of a page."""

    def __init__(self, page):
        super().__init__()
        self.tags, self.links, self.texts = [], [], []
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.links += [value for key, value in attributes if key in ("href", "src", "srcset")]
        assert not any(key.startswith("on") for key, _ in attributes)

    def handle_data(self, data):
        self.texts.append(data)

    @property
    def text(self):
        return " ".join(self.texts)


def read(folder):
    page = Reader((Path(folder) / "index.html").read_text(encoding="utf-8"))
    assert "script" not in page.tags and not any(":" in link.split("%")[0] for link in page.links)
    return page


def run_with(folder, epochs=3, rows=(), **settings):
    folder.mkdir(parents=True)
    experiment = {**Experiment(epochs=epochs).as_config(), **settings}
    (folder / "config.json").write_text(json.dumps({"experiment": experiment}), encoding="utf-8")
    if rows:
        History(rows).save_csv(folder / "history.csv")
    (folder / "log.jsonl").touch()
    return folder


ROWS = [
    {"epoch": i, "test_loss": 1.0 / (i + 1), "test_accuracy": 0.3 * i, "linear2.weight_angle": 88.5} for i in range(4)
]


@pytest.mark.parametrize(
    "rows, status",
    [
        (ROWS, "finished, 3 epochs"),
        (ROWS[:2], "interrupted after epoch 1 of 3"),
        ([], "interrupted after epoch 0 of 3"),
        ([*ROWS[:2], {"epoch": 2, "test_loss": 1e9, "diverged": 1}], "diverged in epoch 2"),
    ],
)
def test_the_page_says_how_the_run_ended(rows, status, tmp_path):
    folder = run_with(tmp_path / "run", rows=rows)
    assert run_page.write(folder) == folder / "index.html"
    assert status in read(folder).text


def test_names_and_values_are_escaped(tmp_path):
    rows = [{"epoch": 0, f"{HOSTILE}.weight_angle": 90.0, "test_accuracy": 0.5}]
    folder = run_with(tmp_path / HOSTILE.replace("/", "_"), rows=rows, data=HOSTILE)
    (folder / "figures").mkdir()
    (folder / "figures" / f"matrices-{HOSTILE.replace('/', '_')}.png").touch()
    run_page.write(folder)
    page = read(folder)
    assert HOSTILE in page.text and "figures/matrices-%3Cscript%3Ealert%281%29%3C_script%3E%26%22%27.png" in page.links


def test_a_page_without_pictures_draws_the_curve_itself(tmp_path):
    folder = run_with(tmp_path / "run", rows=ROWS)
    run_page.write(folder)
    page = read(folder)
    assert "polyline" in page.tags and "test accuracy during training" in page.text and "88.5°" in page.text
    assert {"config.json", "history.csv"} <= set(page.links)
    (folder / "figures").mkdir()
    for name in ("training.png", "training-dark.png"):
        (folder / "figures" / name).touch()
    run_page.write(folder)
    page = read(folder)
    assert "polyline" not in page.tags and {"figures/training.png", "figures/training-dark.png"} <= set(page.links)


@pytest.mark.parametrize("name", ["config.json", "history.csv"])
def test_damaged_files_are_left_out(name, tmp_path):
    folder = run_with(tmp_path / "run", rows=ROWS)
    (folder / name).write_bytes(b"\xff{[")
    run_page.write(folder)
    assert "run" in read(folder).text


def test_commands_write_the_page_and_its_links_lead_to_files(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    setting = ["--data", "xor", "--model", "tiny", "--lr", "0.5"]
    assert cli.main(["train", "--rule", "fa", *setting, "--epochs", "1", "--out", "one"]) == 0
    assert "finished, 1 epoch" in read("one").text
    assert cli.main(["train", "--resume", "one", "--epochs", "2"]) == 0
    assert "finished, 2 epochs" in read("one").text
    assert cli.main(["compare", "--rules", "fa,bp", *setting, "--epochs", "1", "--jobs", "1", "--out", "both"]) == 0
    page = read("both")
    assert "6 runs" in page.text and "true angle" in page.text
    resume.run_in_folder("all/a", Experiment(data="xor", model="tiny", lr=0.5, epochs=1))
    run_page.write("all")
    for folder, link in (("one", "figures/training.png"), ("both", "figures/comparison.png"), ("all", "a/index.html")):
        page = read(folder)
        assert link in page.links
        assert all((Path(folder) / one).is_file() for one in page.links)


def test_the_page_is_written_even_if_no_picture_can_be_drawn(tmp_path, monkeypatch):
    def fail(*_, **__):
        raise RuntimeError("no fonts")

    monkeypatch.setattr("minifa.figures.training_curves", fail)
    out = str(tmp_path / "run")
    assert cli.main(["train", "--data", "xor", "--model", "tiny", "--epochs", "2", "--lr", "0.5", "--out", out]) == 0
    assert "polyline" in read(out).tags


def test_a_diverged_run_has_a_page(tmp_path):
    out = tmp_path / "run"
    with np.errstate(all="ignore"):
        cli.main(["train", "--model", "mlp", "--rule", "fa", "--lr", "1e20", "--epochs", "2", "--out", str(out)])
    assert "diverged in epoch 1" in read(out).text
