"""MEM-DFA runs the forward pass twice and caches neither: the bits of ordinary direct feedback, one block's memory."""

from __future__ import annotations

import numpy as np
import pytest
from checks import assert_same_bits, train_a_little, trained_on_numpy

import minifa as mf
from minifa import (
    BatchNorm,
    Conv2d,
    Dropout,
    GlobalAvgPool,
    Linear,
    Network,
    ReLU,
    Residual,
    Sigmoid,
    Tanh,
    cli,
    models,
)
from minifa.bench.memory import activation_bytes, deep_cnn
from minifa.rules import DFA, make
from minifa.testing.examples import batch, small_convnet

CE = mf.SoftmaxCrossEntropy()
RULES = ["dfa", "dfa:at=activation", "dfa:shared=true", "sdfa", "drtp", "direct_kolen_pollack"]
FLAT, IMAGE = (4,), (8, 8, 2)

# Special cases of the backward pass: a function that builds the network, and the shape of one example.
NETS = {
    "mlp": (lambda: models.mlp(IMAGE, 3, hidden=(9, 8, 7)), IMAGE),
    "mlp with batch norm": (lambda: models.mlp(FLAT, 3, hidden=(9, 8), batch_norm=True), FLAT),
    "cnn": (lambda: models.cnn(IMAGE, 3, depth=5, channels=3, batch_norm=True), IMAGE),
    "resnet20": (lambda: models.resnet20((8, 8, 3), 3, blocks=1), (8, 8, 3)),
    "dropout": (lambda: [Linear(4, 9), Dropout(0.4), Tanh(), Dropout(0.2), Linear(9, 8), ReLU(), Linear(8, 3)], FLAT),
    "no activation": (lambda: [Linear(4, 9), Linear(9, 8), Linear(8, 3)], FLAT),
    "identity shortcut below batch norm": (
        lambda: [
            Conv2d(2, 3, 3, padding=1),
            BatchNorm(3),
            Residual([Conv2d(3, 3, 3, padding=1), BatchNorm(3), ReLU(), Conv2d(3, 3, 1)]),
            ReLU(),
            GlobalAvgPool(),
            Linear(3, 3),
        ],
        IMAGE,
    ),
    "two taught in one branch, a weight in the other": (
        lambda: [
            Residual([Linear(4, 6), Tanh(), Linear(6, 5), BatchNorm(5), ReLU(), Linear(5, 3)], [Linear(4, 3), Tanh()]),
            Sigmoid(),
            Linear(3, 3),
        ],
        FLAT,
    ),
    "nested": (
        lambda: [
            Residual([Linear(4, 4), Residual([Tanh(), Linear(4, 4)]), Tanh()], [Residual([Linear(4, 4)])]),
            Residual([Residual([Residual([Linear(4, 4), BatchNorm(4), Tanh(), Linear(4, 4)]), BatchNorm(4)])]),
            Tanh(),
            Linear(4, 3),
        ],
        FLAT,
    ),
    "an error leaves its branch before the sum is taught": (
        lambda: [
            Linear(4, 4),
            BatchNorm(4),
            Residual([Residual([Linear(4, 4)]), Tanh(), Linear(4, 4), BatchNorm(4)]),
            Tanh(),
            Linear(4, 3),
        ],
        FLAT,
    ),
    "a branch begins with a taught block": (
        lambda: [
            Linear(4, 4),
            BatchNorm(4),
            Residual([Residual([Linear(4, 4), Tanh(), Linear(4, 4)]), Linear(4, 4), Tanh(), Linear(4, 4)]),
            Tanh(),
            Linear(4, 3),
        ],
        FLAT,
    ),
    "a branch without weights": (
        lambda: [Linear(4, 4), BatchNorm(4), Residual([Tanh(), BatchNorm(4)]), Tanh(), Linear(4, 3)],
        FLAT,
    ),
    "layers behind the output layer": (
        lambda: [Linear(4, 6), Tanh(), Linear(6, 3), BatchNorm(3), Tanh()],
        FLAT,
    ),
}


def recomputing(description):
    return description + ("," if ":" in description else ":") + "recompute=true"


def train(name, description, steps=2):
    """All state after a short training run: of net, optimizer and rule, gradients, and the values the rule has
    measured."""
    layers, shape = NETS[name]
    net = Network(layers(), seed=2, input_shape=shape)
    rule, optimizer = make(description, seed=1).attach(net), mf.SGD(0.05, momentum=0.9)
    losses = [float(rule.gradients(net, *batch(6, shape, seed=0), CE))]
    seen = {f"gradient of {key}": grad.copy() for key, grad in net.gradients().items()}
    for step in range(steps):
        optimizer.step(net, rule)
        losses.append(float(rule.gradients(net, *batch(6, shape, seed=step), CE)))
    seen.update({f"last gradient of {key}": grad for key, grad in net.gradients().items()})
    seen.update(error=rule.error, output=rule.output, target=rule.target, losses=np.array(losses))
    return {**seen, **net.state(), **optimizer.state(), **rule.state()}


@pytest.mark.parametrize("description", RULES)
@pytest.mark.parametrize("name", NETS)
def test_training_gives_the_same_bits(name, description):
    ordinary = train(name, description)
    assert len(ordinary) > 10 and all(np.isfinite(array).all() for array in ordinary.values())
    assert_same_bits(train(name, recomputing(description)), ordinary)


@pytest.mark.parametrize("description", RULES)
def test_training_gives_the_same_bits_on_every_engine(engine, description):
    assert_same_bits(train_a_little(recomputing(description)), trained_on_numpy(description))


def test_a_batch_large_enough_to_be_cut_into_chunks_gives_the_same_bits():
    ordinary = train_a_little("dfa", steps=2, n=256)
    assert_same_bits(train_a_little("dfa:recompute=true", steps=2, n=256), ordinary)


# Caches and their lifetime


def kept_at_every_teaching(net, rule, x, y):
    """By taught layer, the layers that have a cache when `teach` of the rule is called for it."""
    kept, teach = {}, rule.teach

    def record(layer, delta):
        if rule.teaches(layer):
            kept[layer.name] = [one.name for one in net if one.cache is not None]
        return teach(layer, delta)

    rule.teach = record
    rule.gradients(net, x, y, CE)
    return kept


def test_the_cache_of_a_block_is_freed_before_the_next_block():
    net = Network(NETS["mlp with batch norm"][0]())
    kept = kept_at_every_teaching(net, DFA(recompute=True).attach(net), *batch(6, FLAT))
    assert kept == {f"relu{i}": [f"linear{i}", f"batchnorm{i}", f"relu{i}"] for i in (1, 2)}
    assert [layer.name for layer in net if layer.cache is not None] == []
    everything = kept_at_every_teaching(net, DFA().attach(net), *batch(6, FLAT))
    assert everything == dict.fromkeys(("relu2", "relu1"), [layer.name for layer in net])


def test_the_cache_of_a_branch_is_kept_until_its_sum_is_taught():
    net = Network(NETS["identity shortcut below batch norm"][0](), input_shape=IMAGE)
    kept = kept_at_every_teaching(net, DFA(at="activation", recompute=True).attach(net), *batch(6, IMAGE))
    body = "residual1.body."
    assert kept == {
        "conv1": ["conv1"],
        f"{body}relu1": ["batchnorm1", f"{body}conv1", f"{body}batchnorm1", f"{body}relu1"],
        "relu1": ["batchnorm1", f"{body}conv2", "relu1"],  # batchnorm1 has not yet received the shortcut's error
    }


def test_only_the_first_pass_updates_running_statistics():
    net = Network([Linear(4, 4), BatchNorm(4, momentum=0.5), Tanh(), Linear(4, 3)])
    x, y = batch(6, FLAT)
    DFA(recompute=True).attach(net).gradients(net, x, y, CE)
    mean = (x @ net["linear1"].W).mean(axis=0)
    np.testing.assert_allclose(net["batchnorm1"].running_mean, mean / 2, rtol=1e-5, atol=1e-7)


def test_a_user_defined_pass_of_the_rule_runs_in_both_forward_passes():
    recorded = []

    class RecordingDFA(DFA):
        def training_pass(self, net, update_statistics=True):
            ctx = super().training_pass(net, update_statistics)
            ctx.after = lambda layer, y: recorded.append((layer.name, ctx.update_statistics)) or y
            return ctx

    net = Network([Linear(4, 5), Tanh(), Linear(5, 3)])
    RecordingDFA(recompute=True).attach(net).gradients(net, *batch(6, FLAT), CE)
    assert recorded == [(name, first) for first in (True, False) for name in ("linear1", "tanh1", "linear2")]


# Refused networks and options


def test_an_output_layer_inside_a_block_is_refused_by_name():
    net = Network([Linear(4, 3), Tanh(), Residual([Linear(3, 3)])])
    with pytest.raises(ValueError, match=r"must be outside of residual blocks, got Linear 'residual1\.body\.linear1'"):
        DFA(recompute=True).attach(net)
    DFA().attach(net).gradients(net, *batch(6, FLAT), CE)


def test_rules_that_are_not_direct_do_not_have_the_option():
    for name in ("bp", "fa", "dense"):
        with pytest.raises(ValueError, match="recompute|takes no options"):
            make(f"{name}:recompute=true")


def test_a_failed_pass_leaves_the_network_unchanged():
    net = Network([Linear(4, 4), BatchNorm(4), Tanh(), Linear(4, 3)])
    x, y = batch(6, FLAT)
    before = net.state()
    with pytest.raises(RuntimeError, match="not attached to this network"):
        DFA(recompute=True).gradients(net, x, y, CE)
    with pytest.raises(ValueError):
        DFA(recompute=True).attach(net).gradients(net, x[:, :2], y, CE)
    assert_same_bits(net.state(), before)


# Measurements and traces


def test_alignment_and_errors_equal_those_of_the_ordinary_rule():
    net = small_convnet()
    plain, again = DFA(seed=1).attach(net), DFA(seed=1, recompute=True).attach(net)
    x, y = batch()
    assert mf.metrics.alignment(net, again, x, y, CE) == mf.metrics.alignment(net, plain, x, y, CE)
    errors = [mf.metrics.errors(net, rule, x, y, CE) for rule in (again, plain)]
    assert_same_bits(*({name: own for name, (own, _) in result.items()} for result in errors))


@pytest.mark.parametrize("description", ["dfa:recompute=true", "direct_kolen_pollack:recompute=true"])
def test_a_traced_step_has_the_same_result_and_shows_both_passes(description):
    def watched(net, rule, x, y, loss, optimizer):
        return mf.trace(net, rule, x, y, loss, optimizer).value

    assert_same_bits(train_a_little(description, update=watched), train_a_little(description))
    net = Network([Linear(4, 5), Tanh(), Linear(5, 4), Tanh(), Linear(4, 3)])
    film = mf.trace(net, make(description).attach(net), *batch(6, FLAT), CE, mf.SGD(0.1))
    kinds = [(moment.kind, moment.layer) for moment in film]
    assert [layer for kind, layer in kinds if kind == "forward"] == 2 * [layer.name for layer in net]
    taught, above = kinds.index(("teach", "tanh1")), len(kinds) - 1 - kinds[::-1].index(("forward", "linear2"))
    assert kinds.index(("loss", "")) < taught < kinds.index(("gradients", "linear1")) < above
    assert kinds.index(("teach", "tanh2")) > above
    for moment in film:
        if moment.kind == "teach":  # e is known although the backward pass has not reached the output layer yet
            np.testing.assert_array_equal(moment.terms["e"], film[-1].arrays["e"])


@pytest.mark.usefixtures("draws_nothing")
def test_the_commands_accept_the_option(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    setting = ["--data", "xor", "--model", "tiny", "--lr", "0.5"]
    assert cli.main(["step", "--rule", "dfa:recompute=true"]) == 0
    assert "dfa:recompute=true · 1 of" in capsys.readouterr().out
    rules = "dfa,dfa:recompute=true"
    assert cli.main(["explore", *setting, "--rules", rules, "--train-updates", "3", "-o", "page.html"]) == 0
    given = ["--epochs", "3", "--rules", rules, "--seeds", "1", "--jobs", "1", "--out", "run"]
    assert cli.main(["compare", *setting, *given]) == 0
    rows = mf.training.History.read_csv("run/runs.csv")
    losses = [[row["test_loss"] for row in rows if row["rule"] == rule] for rule in ("dfa", "dfa:recompute=true")]
    assert len(losses[0]) == 4 and losses[0] == losses[1]


# Memory


def peak(name, depth, net_of=deep_cnn, shape=(16, 16, 3)):
    net = net_of(depth)
    return activation_bytes(net, make(name).attach(net), *batch(8, shape), CE)


def test_memory_does_not_grow_with_depth():
    ordinary = {depth: peak("dfa", depth) for depth in (16, 32)}
    recomputed = {depth: peak("dfa:recompute=true", depth) for depth in (16, 32)}
    layer = 8 * 16 * 16 * 16 * 4  # bytes of one layer's output
    assert ordinary[32] - ordinary[16] > 0.9 * 16 * 2 * layer  # the outputs of convolution and ReLU are cached
    assert recomputed[32] < ordinary[32] / 3
    assert abs(recomputed[32] - recomputed[16]) < 2 * layer


def test_memory_of_residual_blocks_does_not_grow_with_their_number():
    def resnet(blocks):
        body = [[Conv2d(8, 8, 3, padding=1), BatchNorm(8), ReLU(), Conv2d(8, 8, 3, padding=1)] for _ in range(blocks)]
        layers = [one for inner in body for one in (Residual(inner), ReLU())]
        return Network([*layers, GlobalAvgPool(), Linear(8, 3)], input_shape=(16, 16, 8))

    few, many = (peak("dfa:recompute=true", blocks, resnet, (16, 16, 8)) for blocks in (4, 12))
    assert abs(many - few) < 2 * 8 * 16 * 16 * 8 * 4
    assert many < peak("dfa", 12, resnet, (16, 16, 8)) / 3


def test_learned_matrices_keep_the_activities_of_their_update():
    few, many = (peak("direct_kolen_pollack:recompute=true", depth) for depth in (8, 24))
    layer = 8 * 16 * 16 * 16 * 4
    assert 0.9 * 16 * layer < many - few < 1.1 * 16 * layer  # one of the two outputs that would otherwise be cached


def test_measuring_memory_changes_nothing():
    net = small_convnet()
    rule, (x, y) = DFA(recompute=True).attach(net), batch()
    rule.gradients(net, x, y, CE)
    before, error = {**net.state(), **{k: g.copy() for k, g in net.gradients().items()}}, rule.error
    assert activation_bytes(net, rule, *batch(seed=9), CE) > 0
    assert_same_bits({**net.state(), **net.gradients()}, before)
    assert rule.error is error


def test_memory_is_measured_on_numpy_alone(engine):
    net = Network([Linear(4, 3)])
    if engine == "numpy":
        assert activation_bytes(net, make("bp").attach(net), *batch(6, FLAT), CE) > 0
    else:
        with pytest.raises(ValueError, match="must be 'numpy'"):
            activation_bytes(net, make("bp").attach(net), *batch(6, FLAT), CE)
