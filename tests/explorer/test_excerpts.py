"""What a page keeps of large arrays: a part that is exact, told as a part, and small enough."""

from __future__ import annotations

import base64
import json
import math
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from checks import assert_same_bits

from minifa import data
from minifa.experiments import Experiment
from minifa.explorer import excerpts, films, page, runs
from minifa.explorer.arrays import ArrayTable
from minifa.tracing.stepper import Replay

CNN = Experiment(
    data="digits", model="cnn", model_options={"depth": 2, "batch_norm": True}, lr=0.05, batch_size=8,
    optimizer_options={"momentum": 0.0},
)  # fmt: skip


def decoded(arrays, place):
    shape, kind, text, *_ = arrays[place]
    return np.frombuffer(base64.b64decode(text), f"<{kind}").reshape(shape)


@pytest.fixture(scope="module")
def traces():
    replay = Replay(CNN, data.load("digits"))
    return [replay.trace(name) for name in ("fa", "usf")]


def film_of(trace, excerpt):
    table = ArrayTable()
    film = films.film(trace, {}, table, excerpt)
    return json.loads(json.dumps(film)), table.packed()


# The parts


@pytest.mark.parametrize(
    "shape, most, kept",
    [
        ((7,), 5, (5,)),
        ((100, 100), 100, (10, 10)),
        ((1000, 4), 100, (25, 4)),
        ((4, 1000), 100, (4, 25)),
        ((3, 3, 1, 16), 72, (3, 3, 1, 8)),
        ((3, 3, 64, 64), 600, (3, 3, 8, 8)),
        ((6, 6, 3, 3, 2, 4), 72, (1, 1, 3, 3, 2, 4)),
        ((6, 6, 3, 3, 2, 4), 10_000, (6, 6, 3, 3, 2, 4)),
        ((50, 50), 1, (1, 1)),
    ],
)
def test_a_block_has_about_as_many_rows_as_columns(shape, most, kept):
    block = np.zeros(shape)[excerpts.block(shape, most)]
    assert block.shape == kept and block.size <= max(most, 1)


def test_a_block_is_never_larger_than_asked_for():
    rng = np.random.default_rng(0)
    for _ in range(200):
        shape = (*rng.integers(1, 5, rng.integers(0, 5)), *rng.integers(1, 40, 2))
        most = int(rng.integers(1, 3000))
        block = excerpts.block(shape, most)
        size = math.prod(part.stop for part in block)
        assert size <= most
        assert all(1 <= part.stop <= whole for part, whole in zip(block, shape, strict=True))


def test_the_largest_cut_fits_and_is_the_largest():
    rng = np.random.default_rng(1)
    for _ in range(100):
        sizes = rng.integers(1, 5000, rng.integers(1, 20)).tolist()
        entries = int(rng.integers(64 * len(sizes), 60_000))
        cut = excerpts.largest_cut(sizes, entries)
        if sum(sizes) <= entries:
            assert cut >= max(sizes)
        else:
            assert sum(min(size, cut) for size in sizes) <= entries < sum(min(size, cut + 1) for size in sizes)
    assert excerpts.largest_cut([10_000] * 50, 100) == excerpts.LEAST


# Films


def test_small_networks_are_kept_whole():
    mlp = Experiment(
        data="digits", model="mlp", model_options={"hidden": (16, 12)}, lr=0.05, batch_size=8, optimizer_options={}
    )
    traces = [Replay(mlp, data.load("digits")).trace("fa")]
    excerpt = excerpts.of_films(traces)
    film, _ = film_of(traces[0], excerpt)
    assert film == film_of(traces[0], excerpts.Excerpt())[0]
    assert not any("cut" in moment or "of" in json.dumps(moment["terms"]) for moment in film)


def test_two_examples_of_feature_maps_are_exact(traces):
    excerpt = excerpts.of_films(traces)
    assert excerpt.examples == 2 and excerpt.is_map(np.zeros((8, 8, 8, 16)))
    assert not excerpt.is_map(np.zeros((3, 3, 16, 16))) and not excerpt.is_map(np.zeros((8, 10)))
    for trace in traces:
        film, arrays = film_of(trace, excerpt)
        for moment, shown in zip(trace, film, strict=True):
            for name, place in shown["new"].items():
                whole, kept = np.asarray(moment.arrays[name]), decoded(arrays, place)
                if whole.ndim == 4 and len(whole) == 8:
                    assert_same_bits({"a": kept}, {"a": whole[:2]})
                    assert shown["cut"][name] == list(whole.shape)
                else:
                    assert kept.shape == whole.shape and name not in shown.get("cut", {})


def test_a_term_is_partial_where_a_sum_needs_the_other_examples(traces):
    film, _ = film_of(traces[0], excerpts.of_films(traces))

    def partial(kind, layer):
        (moment,) = [one for one in film if (one["kind"], one["layer"]) == (kind, layer)]
        return {symbol for symbol, term in moment["terms"].items() if isinstance(term, dict) and term.get("partial")}

    assert partial("forward", "conv2") == set()  # an output is computed from its own example
    assert partial("carry", "conv2") == set()
    assert partial("backward", "relu1") == set()
    assert partial("gradients", "conv2") == {"x", "delta"}
    assert {"delta", "delta_below"} <= partial("backward", "batchnorm1")  # mean(delta) is over the batch
    cut = [term for one in film for term in one["terms"].values() if isinstance(term, dict) and "of" in term]
    assert cut and all(term["of"][0] == 8 for term in cut)


def test_a_part_of_a_matrix_is_partial_everywhere(traces):
    film, arrays = film_of(traces[0], replace(excerpts.of_films(traces), most=600))
    forward = next(one for one in film if (one["kind"], one["layer"]) == ("forward", "conv2"))
    term = forward["terms"]["W"]
    assert term["of"] == [3, 3, 16, 16] and term["partial"] is True and term["name"] == "conv2.W"
    W = traces[0][0].arrays["conv2.W"]
    assert_same_bits({"W": decoded(arrays, term["array"])}, {"W": W[:, :, :8, :8]})
    for moment in film:  # all arrays of a shape are cut in the same way, so that they fit together
        for term in moment["terms"].values():
            if isinstance(term, dict) and term.get("of") == [3, 3, 16, 16]:
                assert decoded(arrays, term["array"]).shape == (3, 3, 8, 8) and term["partial"]


def test_larger_networks_keep_one_example_and_smaller_parts(traces, monkeypatch):
    monkeypatch.setattr(excerpts, "FILM_BYTES", 100_000)
    excerpt = excerpts.of_films(traces)
    assert excerpt.examples == 1 and excerpt.most < 2304
    _, arrays = film_of(traces[0], excerpt)
    assert sum(len(text) for _, _, text in arrays) < sum(
        len(text) for _, _, text in film_of(traces[0], excerpts.Excerpt())[1]
    )


# Runs


def test_a_run_keeps_a_part_of_large_matrices_and_the_measures_of_the_whole():
    one = replace(CNN, rule="fa")
    digits = data.load("digits")
    small, whole = ArrayTable(), ArrayTable()
    excerpt = excerpts.Excerpt(most=600)
    parts = runs.run(one, digits, 3, small, lambda: None, excerpt)
    full = runs.run(one, digits, 3, whole, lambda: None)
    parts_arrays, full_arrays = small.packed(), whole.packed()
    for some, everything in zip(parts, full, strict=True):
        for layer, shown in some["layers"].items():
            known = everything["layers"][layer]
            for key in ("weight_angle", "true_angle", "sign_agreement"):
                assert shown[key] == known[key]
            W, kept = decoded(full_arrays, known["W"]["array"]), decoded(parts_arrays, shown["W"]["array"])
            assert shown["W"]["moved"] == known["W"]["moved"]
            assert_same_bits({"W": kept}, {"W": W[excerpts.block(W.shape, 600)] if W.size > 600 else W})
            assert shown["W"].get("of", kept.shape) == W.shape and "of" not in known["W"]
        assert some["feedback"]["conv2"]["of"] == (3, 3, 16, 16)


def test_the_matrices_of_a_run_fit_into_the_budget(traces):
    for snapshots in (5, 30):
        excerpt = excerpts.of_runs(traces, snapshots)
        sizes = [
            excerpt.of(array).size
            for trace in traces
            for name, array in trace[-1].arrays.items()
            if array is not None and name.endswith((".W", ".B"))
        ]
        assert sum(sizes) * snapshots * excerpts.BYTES_OF_ENTRY <= excerpts.RUN_BYTES
    assert excerpts.of_runs(traces, 1).most > 10_240  # the largest matrix


# Pages


@pytest.mark.long
def test_the_page_of_a_convolutional_network_is_small():
    text = page.explore(
        replace(CNN, model_options={"depth": 2}), data.load("digits"), ["bp", "fa", "usf", "dfa"], 0, 12
    )
    assert len(text) < 5_000_000 * 0.75  # a run of 1000 updates has more snapshots, of at most RUN_BYTES together


def test_angles_of_chance_say_how_they_were_found(traces):
    bands = {"relu1": SimpleNamespace(low=80.0, high=100.0)}
    film = films.film(traces[0], bands, ArrayTable())
    hows = [moment["chance_how"] for moment in film]
    assert all(set(how) == set(moment["chance"]) for how, moment in zip(hows, film, strict=True))
    assert {(label, words) for how in hows for label, words in how.items()} == {
        ("W and B", "from the number of entries"),
        ("this delta and backpropagation's", "from 40 other draws of B"),
    }
    assert runs.CHANCE_HOW == {"weight_angle": "from the number of entries", "true_angle": "from 40 other draws of B"}
    feedback = next(one for one in film if one["kind"] == "feedback" and one["layer"] == "conv2")
    low, high = feedback["chance"]["W and B"]
    assert (high - low) / 4 == pytest.approx(57.3 / math.sqrt(3 * 3 * 16 * 16), rel=1e-3)


def test_equal_kernels_are_no_independent_entries():
    """With B equal at all positions of a locally connected layer, its number of entries is that of one kernel."""
    untied = replace(CNN, model_options={"depth": 2, "untied": True, "equal_start": True})
    replay = Replay(untied, data.load("digits"))
    film = films.film(replay.trace("fa"), {}, ArrayTable())
    low, high = next(one for one in film if one["kind"] == "feedback" and one["layer"] != "linear1")["chance"][
        "W and B"
    ]
    assert (high - low) / 4 == pytest.approx(57.3 / math.sqrt(3 * 3 * 16 * 16), rel=1e-3)
    chance = runs.chance_of_run(replace(untied, rule="fa"), data.load("digits"))
    assert any(band["weight_angle"] == pytest.approx([low, high]) for band in chance.values())
