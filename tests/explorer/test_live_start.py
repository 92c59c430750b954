"""What the engine in the page starts from: the engine's own draws, and checks that the engine in the page can pass.

The network is trained here once more from the content alone, as `minifa.explorer.live_start` describes it.
"""

from __future__ import annotations

import base64
import json
import re
from dataclasses import replace

import numpy as np
import pytest
from checks import assert_same_bits

from minifa import data
from minifa.data.base import Dataset, Examples
from minifa.experiments import Experiment, build
from minifa.explorer import live_start as live
from minifa.explorer.arrays import ArrayTable
from minifa.tracing.stepper import Replay


class Content:
    """The content of a page about its engine, read back from JSON."""

    def __init__(self, name="digits"):
        table = ArrayTable()
        made = live.live_start(Experiment(data=name), data.load(name), table)
        self.live, self.arrays = json.loads(json.dumps([made, table.packed()], allow_nan=False))

    def array(self, place):
        shape, kind, *texts = self.arrays[place]
        bits = [base64.b64decode(text) for text in texts]
        if kind.startswith("u1"):
            table = np.frombuffer(bits[1], f"<{kind[2:]}")
            return table[np.frombuffer(bits[0], np.uint8)].reshape(shape)
        return np.frombuffer(bits[0], f"<{kind}").reshape(shape)

    def start(self, seed, depth, width):
        def same(one):
            return (one["seed"], one["depth"], one["width"]) == (seed, depth, width)

        (start,) = [one for one in self.live["starts"] if same(one)]
        return start["layers"]


@pytest.fixture(scope="module")
def content():
    return Content()


def experiment(seed=0, hidden=(8, 8), rule="bp", lr=0.02):
    return Experiment(
        data="digits", model="mlp", model_options={"hidden": hidden}, rule=rule, lr=lr, batch_size=8, seed=seed,
        optimizer_options={"momentum": 0.0},
    )  # fmt: skip


def trained(one, updates):
    """The network and rule after some updates, as the explorer's training runs make them."""
    net, rule, loss, optimizer = build(one, data.load("digits"))
    batches = Replay(one, data.load("digits"))
    for batches.step in range(updates):
        batch = batches.batch()
        rule.gradients(net, batch.x, batch.y, loss)
        optimizer.step(net, rule)
    return net, rule


class Copy:
    """The same training in plain NumPy, from the content."""

    def __init__(self, content, seed, depth, width, rule, angle=None, M_t=None):
        self.content, self.seed, self.rule, self.M_t = content, seed, rule, M_t
        layers = content.start(seed, depth, width)
        self.W, self.M, self.N, self.F = (
            [None if one[key] is None else content.array(one[key]) for one in layers] for key in "WMNF"
        )
        self.b = [np.zeros(W.shape[1], W.dtype) for W in self.W]
        self.B, self.W_0 = list(self.M), list(self.W)
        if angle is not None:
            self.B = [None if N is None else at_angle(W, N, angle) for W, N in zip(self.W, self.N, strict=True)]
        self.decay = content.live["weight_decay"].get(rule, 0)

    def matrix(self, layer, update):
        W, sign = self.W[layer], np.sign(self.W[layer])
        return {
            "bp": lambda: W,
            "fa": lambda: self.B[layer],
            "kolen_pollack": lambda: self.B[layer],
            "usf": lambda: sign * (np.linalg.norm(W) / np.sqrt((W != 0).sum())),
            "frsf": lambda: abs(self.M[layer]) * sign,
            "brsf": lambda: self.content.array(self.M_t[layer])[update] * sign,
        }[self.rule]()

    def update(self, update, lr):
        live = self.content.live
        order = self.content.array(live["orders"][str(self.seed)])
        epoch, k = divmod(update, -(-order.shape[1] // live["batch_size"]))
        rows = order[epoch][k * live["batch_size"] :][: live["batch_size"]]
        x, y = (self.content.array(live[key])[rows] for key in "xy")
        h = [x]
        for W, b in zip(self.W, self.b, strict=True):
            h.append(np.maximum(h[-1] @ W + b, 0) if W is not self.W[-1] else h[-1] @ W + b)
        powers = np.exp(h[-1] - h[-1].max(axis=1, keepdims=True))
        e = (powers / powers.sum(axis=1, keepdims=True) - (y[:, None] == np.arange(live["classes"]))) / len(rows)
        deltas = [e]
        for layer in range(len(self.W) - 1, 0, -1):
            below = e @ self.F[layer - 1].T if self.rule == "dfa" else deltas[0] @ self.matrix(layer, update).T
            deltas.insert(0, below * (h[layer] > 0))
        for layer, delta in enumerate(deltas):
            dW = h[layer].T @ delta
            if self.rule == "kolen_pollack" and layer > 0:
                self.B[layer] = self.B[layer] - lr * (dW + self.decay * self.B[layer])
            self.W[layer] = self.W[layer] - lr * (dW + self.decay * self.W[layer])
            self.b[layer] = self.b[layer] - lr * (delta.sum(axis=0) + self.decay * self.b[layer])


def at_angle(W, N, degrees):
    a = np.radians(degrees)
    return (np.cos(a) * W.astype(float) + np.sin(a) * N.astype(float)).astype(np.float32)


def relative(these, others):
    return max(float(np.linalg.norm(a - b) / np.linalg.norm(b)) for a, b in zip(these, others, strict=True))


# The checks


def test_the_content_alone_passes_the_checks(content):
    checks = content.live["checks"]
    assert [(one["rule"], one["angle"]) for one in checks["rules"]] == [
        ("bp", None), ("fa", None), ("fa", 30.0), ("fa", 120.0), ("usf", None), ("frsf", None), ("brsf", None),
        ("dfa", None), ("kolen_pollack", None),
    ]  # fmt: skip
    for one in checks["rules"]:
        copy = Copy(
            content, *(checks[key] for key in ("seed", "depth", "width")), one["rule"], one["angle"], checks["M_t"]
        )
        assert copy.decay == one["weight_decay"]
        done = 0
        for updates, most, after in zip(checks["updates"], checks["tolerance"], one["after"], strict=True):
            while done < updates:
                copy.update(done, checks["lr"])
                done += 1
            for key in ("W", "b"):
                expected = [content.array(place) for place in after[key]]
                assert relative(getattr(copy, key), expected) <= most, (one, updates, key)


def test_the_checks_tell_the_rules_apart(content):
    """Two rules, or a rule and a training without feedback, differ by far more than the tolerance."""
    checks = content.live["checks"]
    for number, most in enumerate(checks["tolerance"]):
        W = [content.array(one["after"][number]["W"][0]) for one in checks["rules"]]
        for i, first in enumerate(W):
            for other in W[:i]:
                alike = number == 0 and relative([first], [other]) == 0  # frsf and brsf draw the same M in update 0
                if not alike:
                    assert relative([first], [other]) > 10 * most


def test_the_checks_are_the_weights_of_the_engine(content):
    checks = content.live["checks"]
    hidden = (checks["width"],) * checks["depth"]
    for one in checks["rules"]:
        name = one["rule"] if one["angle"] is None else f"{one['rule']}:angle={one['angle']:g}"
        for updates, after in zip(checks["updates"], one["after"], strict=True):
            net, _ = trained(experiment(checks["seed"], hidden, name, checks["lr"]), updates)
            for key in ("W", "b"):
                kept = {layer.name: content.array(place) for layer, place in zip(net.weighted, after[key], strict=True)}
                assert_same_bits(kept, {layer.name: getattr(layer, key) for layer in net.weighted})


# The draws


@pytest.mark.parametrize("seed, depth, width", [(0, 1, 8), (1, 2, 16), (2, 3, 32)])
def test_starts_are_the_engine_s_draws(content, seed, depth, width):
    def attached(name):
        return build(experiment(seed, (width,) * depth, name), data.load("digits"))[:2]

    net, fa = attached("fa")
    layers = content.start(seed, depth, width)
    assert [one["name"] for one in layers] == [layer.name for layer in net.weighted]
    get = {key: {one["name"]: content.array(one[key]) for one in layers if one[key] is not None} for key in "WMNF"}
    assert_same_bits(get["W"], {layer.name: layer.W for layer in net.weighted})
    assert all(not layer.b.any() for layer in net.weighted)
    assert_same_bits(get["M"], dict(fa.B))
    assert_same_bits(get["M"], attached("kolen_pollack")[1].state())
    assert_same_bits({key: abs(M) for key, M in get["M"].items()}, attached("frsf")[1].state())
    for degrees in (0, 30, 90, 150, 180):
        B = {key: at_angle(get["W"][key], N, degrees) for key, N in get["N"].items()}
        assert_same_bits(B, dict(attached(f"fa:angle={degrees}")[1].B))
    direct = attached("dfa")[1].B
    assert_same_bits({key.replace("linear", "relu"): F for key, F in get["F"].items()}, dict(direct))
    assert [one["sd"] for one in layers] == [layer.init.sd(*layer.fans) for layer in net.weighted]


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_batches_are_those_of_a_training(content, seed):
    live, digits = content.live, data.load("digits")
    x, y, order = (content.array(place) for place in (live["x"], live["y"], live["orders"][str(seed)]))
    replay = Replay(experiment(seed), digits)
    per_epoch = -(-len(y) // live["batch_size"])
    assert len(order) * per_epoch >= 1000
    for update in (0, 1, per_epoch - 1, per_epoch, 999):
        replay.step = update
        batch = replay.batch()
        epoch, k = divmod(update, per_epoch)
        rows = order[epoch][k * live["batch_size"] :][: live["batch_size"]]
        assert_same_bits({"x": x[rows]}, {"x": batch.x.reshape(len(batch), -1)})
        assert y[rows].tolist() == batch.y.tolist()


def test_examples_are_exact_and_small(content):
    live, digits = content.live, data.load("digits")
    for part, x, y in ((digits.train, "x", "y"), (digits.test, "test_x", "test_y")):
        assert_same_bits({"x": content.array(live[x])}, {"x": part.x.reshape(len(part), -1)})
        assert content.array(live[y]).tolist() == part.y.tolist()
        assert content.arrays[live[x]][1] == "u1f4" and len(content.arrays[live[x]][2]) == -(-part.x.size // 3) * 4


def test_wrong_labels_are_wrong_and_as_many_as_asked_for(content):
    digits = data.load("digits").train
    for seed in (0, 1):
        noise = content.live["noise"][str(seed)]
        order, labels = content.array(noise["order"]), content.array(noise["labels"])
        assert sorted(order.tolist()) == list(range(len(digits)))
        assert (labels != digits.y).all() and set(labels.tolist()) == set(range(10))
        for share in (0.0, 0.25, 1.0):
            changed = live.wrong_labels(digits.y, 10, seed, share)
            count = int(np.floor(share * len(digits) + 0.5))
            expected = digits.y.copy()
            expected[order[:count]] = labels[order[:count]]
            assert changed.tolist() == expected.tolist() and (changed != digits.y).sum() == count
    first, second = (content.live["noise"][str(seed)]["order"] for seed in (0, 1))
    assert content.array(first).tolist() != content.array(second).tolist()


# What a page can hold


def test_the_start_takes_at_most_700_kB(content):
    assert len(json.dumps([content.live, content.arrays], separators=(",", ":"))) < 700_000


def test_data_on_which_the_engine_in_the_page_cannot_train_have_none(monkeypatch):
    def start(dataset):
        return live.live_start(Experiment(), dataset, ArrayTable())

    digits = data.load("digits")
    assert start(digits) is not None
    assert start(digits.reconstruction()) is None  # no classes
    assert start(data.load("digits_parity")) is None  # a single output
    rng = np.random.default_rng(0)
    many = Examples(rng.normal(size=(300, 2)).astype(np.float32), rng.integers(0, 2, 300))
    assert start(Dataset("many values", many, many, ("a", "b"))) is None
    monkeypatch.setattr(live, "MOST_VALUES", 1000)
    assert start(digits) is None


def test_in_double_precision_there_is_none(float64):
    assert live.live_start(Experiment(), data.load("digits"), ArrayTable()) is None


def test_the_page_s_own_options_do_not_matter():
    """The engine in the page trains its own networks, whatever network the page shows."""
    table = ArrayTable()
    one = replace(experiment(seed=7), lr=3.0, rule="dfa", schedule="cosine:epochs=3")
    live.live_start(one, data.load("digits"), table)
    other = ArrayTable()
    live.live_start(Experiment(), data.load("digits"), other)
    assert table.packed() == other.packed()


# Arrays


def test_codes_keep_every_bit():
    table = ArrayTable()
    special = np.array([[0.0, -0.0, np.inf], [-np.inf, 1 / 3, np.float32(1e-45)]], np.float32)
    place = table.index_coded(special)
    shape, kind, codes, values = table.packed()[place]
    assert (shape, kind) == ((2, 3), "u1f4")
    decoded = np.frombuffer(base64.b64decode(values), "<f4")[np.frombuffer(base64.b64decode(codes), np.uint8)]
    assert_same_bits({"a": decoded.reshape(shape)}, {"a": special})
    assert table.index_coded(special.copy()) == place and table.index(special) != place
    with pytest.raises(ValueError, match="at most 256 values, got 257"):
        table.index_coded(np.arange(257.0))
    assert table.index_coded(np.arange(256.0)) == 2


def test_integers_of_two_bytes():
    table = ArrayTable()
    place = table.index_integers(np.array([0, 65535]))
    _, kind, text = table.packed()[place]
    assert kind == "u2" and np.frombuffer(base64.b64decode(text), "<u2").tolist() == [0, 65535]
    for wrong in ([-1], [65536]):
        with pytest.raises(ValueError, match="must lie in 0..65535"):
            table.index_integers(np.array(wrong))


def test_the_page_has_the_start_and_space_for_its_code(text_of):
    """Code and the grid of runs take at most 150 kB each; the default page at most 2 MB."""
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', text_of("default"), re.S)
    made = json.loads(found.group(1))
    assert made["live"]["checks"]["lr"] == 0.02 and len(made["live"]["starts"]) == 27
    made["grid"] = None
    assert len(json.dumps(made, separators=(",", ":"))) < 1_700_000
