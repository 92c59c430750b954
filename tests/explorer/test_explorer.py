"""The explorer's page: its numbers against the arrays, and the properties that it must not have. test_page_*.py has the
page in browsers."""

from __future__ import annotations

import base64
import json
import re
from dataclasses import replace

import numpy as np
import pytest
from checks import assert_same_bits
from explorer_pages import HOSTILE, hostile_page

import minifa as mf
from minifa import cli, data, rules
from minifa.experiments import Experiment, build
from minifa.explorer import arrays, runs
from minifa.explorer import page as explorer
from minifa.testing.examples import model_for
from minifa.tracing import stepper

RULES = ["bp", "fa", "usf", "dfa"]
TINY = Experiment(data="xor", model="tiny", lr=0.5, batch_size=4, optimizer_options={"momentum": 0.0})


def content_of(page):
    """The page's JSON, and a function that decodes an array of it."""
    content = json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.S).group(1))

    def array(place):
        shape, kind, text = content["arrays"][place]
        return np.frombuffer(base64.b64decode(text), dtype=f"<{kind}").reshape(shape)

    return content, array


@pytest.fixture(scope="module")
def tiny_page():
    return explorer.explore(TINY, data.load("xor"), RULES, train_updates=20)


# The numbers


def test_every_array_of_the_film_is_in_the_page_bit_for_bit(tiny_page):
    content, array = content_of(tiny_page)
    replay = stepper.Replay(TINY, data.load("xor"))
    for rule in RULES:
        trace = replay.trace(rule)
        shown = content["films"][rule]
        assert [moment["title"] for moment in shown] == [moment.title for moment in trace]
        assert [moment["key"] for moment in shown] == [" ".join(map(str, key)) for key in trace.keys]
        for moment, there in zip(trace, shown, strict=True):
            assert tuple(there["new"]) == moment.new and there["angles"] == moment.angles
            new = {name: np.asarray(moment.arrays[name]) for name in moment.new}
            if "targets" in new:
                new["targets"] = new["targets"].astype(np.float64)  # JavaScript has no other number for labels
            assert_same_bits({name: array(place) for name, place in there["new"].items()}, new)
            for symbol, value in moment.terms.items():
                if value is None:
                    assert symbol not in there["terms"]
                elif np.ndim(value):
                    assert np.array_equal(array(there["terms"][symbol]["array"]), value)
                else:
                    assert there["terms"][symbol] == float(value)


def test_a_term_has_the_name_that_the_step_uses(tiny_page):
    content, array = content_of(tiny_page)
    carry = next(moment for moment in content["films"]["bp"] if moment["kind"] == "carry")
    assert {symbol: term["name"] for symbol, term in carry["terms"].items()} == {
        "delta": "linear2.delta",
        "B": "linear2.B",
        "W": "linear2.W",
        "delta_below": "tanh1.delta",
        "delta_bp": "tanh1.delta_bp",
    }  # under backpropagation W is B and both errors are equal, but their names still differ
    assert carry["terms"]["W"]["array"] == carry["terms"]["B"]["array"]
    teach = next(moment for moment in content["films"]["dfa"] if moment["kind"] == "teach")
    assert teach["terms"]["e"]["name"] == "e" and teach["terms"]["F"]["name"] == "tanh1.B"


def test_equal_arrays_of_two_layers_keep_their_names():
    alike = replace(TINY, model="mlp", model_options={"hidden": (2,)})  # two biases of two zeros
    content, _ = content_of(explorer.explore(alike, data.load("xor"), ["bp"], train_updates=1))
    forward = [moment for moment in content["films"]["bp"] if moment["kind"] == "forward" and "b" in moment["terms"]]
    biases = [moment["terms"]["b"] for moment in forward]
    assert [bias["name"] for bias in biases] == ["linear1.b", "linear2.b"]
    assert biases[0]["array"] == biases[1]["array"]


def test_an_error_that_is_not_propagated_further_is_left_out_of_the_page():
    """Below the lowest layer that learns."""
    net = replace(TINY, data="digits", model="cnn", model_options={"depth": 2, "batch_norm": True}, freeze="conv1")
    content, _ = content_of(explorer.explore(net, data.load("digits"), ["bp"], train_updates=1))
    back = {m["layer"]: m["terms"] for m in content["films"]["bp"] if m["kind"] == "backward"}
    assert [layer for layer, terms in back.items() if "delta_below" not in terms] == ["batchnorm1"]
    assert all(term is not None for terms in back.values() for term in terms.values())


def test_double_precision_is_preserved(float64):
    content, array = content_of(explorer.explore(TINY, data.load("xor"), ["fa"], train_updates=1))
    W = array(content["films"]["fa"][0]["new"]["linear1.W"])
    assert W.dtype == np.float64 and not np.array_equal(W, W.astype(np.float32))


def test_equal_arrays_are_stored_once(tiny_page):
    content, _ = content_of(tiny_page)
    kept = [(tuple(shape), *texts) for shape, *texts in content["arrays"]]
    assert len(kept) == len(set(kept))


@pytest.mark.parametrize("rule", RULES)
def test_the_training_run_is_the_trainer_s(tiny_page, rule):
    content, array = content_of(tiny_page)
    net, attached, loss, optimizer = build(replace(TINY, rule=rule), data.load("xor"))
    examples = data.load("xor").train
    mf.Trainer(net, attached, loss, optimizer).fit(examples, epochs=20, batch_size=4)  # a batch is an epoch here
    last = content["runs"][rule][-1]
    measured = mf.metrics.alignment(net, attached, examples.x, examples.y, loss)
    W = {name: array(layer["W"]["array"]) for name, layer in last["layers"].items()}
    assert_same_bits(W, {layer.name: layer.W for layer in net.weighted})
    for layer in net.weighted:
        for key in ("weight_angle", "true_angle", "sign_agreement"):
            assert last["layers"][layer.name][key] == measured[layer.name][key]
    with attached.preserved():
        attached.gradients(net, examples.x, examples.y, loss)
        assert_same_bits({name: array(one["array"]) for name, one in last["feedback"].items()}, dict(attached.B))


def test_snapshots_of_the_run_are_denser_at_the_start():
    for updates in (1, 2, 10, 1000):
        at = runs.snapshot_updates(updates)
        assert at[0] == 0 and at[1] == 1 and at[-1] == updates and at == sorted(set(at))
        assert len(at) <= runs.SNAPSHOTS
    gaps = np.diff(at)
    assert gaps[0] == 1 and gaps[-1] > 100 and len(at) > 20


def test_feedback_is_constant_or_changes_as_the_rule_says(tiny_page):
    content, _ = content_of(tiny_page)

    def moved(rule):
        last = content["runs"][rule][-1]
        return last["layers"]["linear2"]["W"]["moved"], {name: one["moved"] for name, one in last["feedback"].items()}

    for rule in ("fa", "dfa"):
        W, B = moved(rule)
        assert W > 0.1 and set(B.values()) == {0.0}
    assert moved("usf")[1]["linear2"] > 0.01
    W, B = moved("bp")
    assert B["linear2"] == W


def test_updates_before_the_step_are_made_under_the_first_rule():
    page = explorer.explore(TINY, data.load("xor"), ["fa", "bp"], updates=3, train_updates=1)
    content, array = content_of(page)
    replay = stepper.Replay(replace(TINY, rule="fa"), data.load("xor"), updates=3)
    for rule in ("fa", "bp"):
        W = array(content["films"][rule][0]["new"]["linear1.W"])
        assert_same_bits({"W": W}, {"W": replay.trace(rule)[0].arrays["linear1.W"]})
    assert "the step after 3 updates under fa" in content["facts"]


def test_targets_and_their_maps_are_in_the_page_of_a_rule_with_targets():
    content, array = content_of(explorer.explore(TINY, data.load("xor"), ["dtp", "dfa"], train_updates=2))
    assert [one["paired"] for one in content["rules"]] == [True, False]
    teach = next(m for m in content["films"]["dtp"] if m["kind"] == "teach" and m["layer"] == "tanh1")
    names = {"t": "tanh1.t", "t_above": "linear2.t", "h_above": "linear2.y", "g_t": "tanh1.g_t", "B": "linear2.B"}
    assert {symbol: teach["terms"][symbol]["name"] for symbol in names} == names
    start, *_, end = content["runs"]["dtp"]
    assert isinstance(start["layers"]["linear2"]["weight_angle"], float)
    matrices = [array(one["feedback"]["linear2"]["array"]) for one in (start, end)]
    assert (matrices[0] != matrices[1]).any() and end["feedback"]["linear2"]["moved"] > 0


def test_a_diverging_run_ends_at_the_divergence():
    regression = Experiment(data="lillicrap", model="linear_task", lr=100.0, batch_size=8)
    content, _ = content_of(explorer.explore(regression, data.load("lillicrap"), ["fa"], train_updates=60))
    assert 1 <= len(content["runs"]["fa"]) < len(content["at"])
    assert all(np.isfinite(one["loss"]) for one in content["runs"]["fa"])


@pytest.mark.long
def test_the_rules_have_pages_on_the_networks_that_they_accept():
    """Those of `TINY` together on one page."""
    pages: dict[tuple[str, str], list[str]] = {}
    for name in rules.RULES:
        model, options = model_for(name)
        pages.setdefault((model, str(options)), []).append(name)
    assert len(pages) == 6
    for names in pages.values():
        model, options = model_for(names[0])
        of_tiny = (model, options) == ("mlp", {})
        experiment = TINY if of_tiny else replace(TINY, model=model, model_options={"hidden": (4, 2), **options})
        some = data.load("digits" if "forward_forward" in names else "xor")  # its labels take one input for each class
        some = some.reconstruction() if model == "autoencoder" else some
        check_films(explorer.explore(replace(experiment, lr=0.1), some, names, train_updates=2), names)


def check_films(page, names):
    content, _ = content_of(page)
    assert list(content["films"]) == list(content["runs"]) == names


# Properties that the page must not have


def test_names_cannot_become_markup(tiny_page):
    page = hostile_page()
    for mark in ("<script", "</script", "<!--", "<img"):
        assert page.count(mark) == tiny_page.count(mark)
    content, _ = content_of(page)
    assert content["layers"][0]["name"] == HOSTILE and content["classes"][0].startswith("</script>")


def test_a_page_that_would_be_too_large_is_refused(monkeypatch):
    monkeypatch.setattr(arrays, "MOST_BYTES", 20_000)
    with pytest.raises(ValueError, match="larger than .* MB: use a smaller network"):
        explorer.explore(TINY, data.load("xor"), RULES, train_updates=20)


def test_an_existing_page_is_not_overwritten(tmp_path):
    written = [explorer.write(f"page {i}", tmp_path / "new" / "page.html") for i in range(3)]
    assert [path.name for path in written] == ["page.html", "page-2.html", "page-3.html"]
    assert [path.read_text(encoding="utf-8") for path in written] == ["page 0", "page 1", "page 2"]
    assert len(list((tmp_path / "new").iterdir())) == 3
    with pytest.raises(IsADirectoryError, match="page.html"):
        explorer.write("page", tmp_path / "new")


def test_an_interrupted_write_leaves_no_file(tmp_path, monkeypatch):
    def interrupt(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr("os.replace", interrupt)
    with pytest.raises(KeyboardInterrupt):
        explorer.write("page", tmp_path / "page.html")
    assert not list(tmp_path.iterdir())


def test_the_command_prints_the_path_of_the_page(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    arguments = ["explore", "--data", "xor", "--model", "tiny", "--rules", "fa,usf:scale=init", "--train-updates", "3"]
    assert cli.main(arguments) == 0
    page = tmp_path / "runs" / "explore-xor-tiny.html"
    printed = capsys.readouterr().out
    assert "runs" in printed and "MB)" in printed and page.resolve().as_uri() in printed
    content, _ = content_of(page.read_text(encoding="utf-8"))
    assert list(content["films"]) == ["fa", "usf:scale=init"]


@pytest.mark.parametrize(
    ("invalid", "message"),
    [
        (["--rules", "fa,usff"], "usf"),
        (["--rules", "fa,fa"], "twice"),
        (["--train-updates", "0"], "from 1 up"),
        (["--updates", "-1"], "from 0 up"),
        (["--model", "cnn", "--depth", "1", "--rules", "dfa:at=nowhere"], "nowhere"),
    ],
)
def test_invalid_arguments_are_refused_with_a_message(invalid, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    try:
        code = cli.main(["explore", *invalid])
    except SystemExit as left:
        code = left.code
    assert code == 2 and message in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
