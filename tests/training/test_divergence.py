"""A run with non-finite values ends and reports where they began, however late the check is."""

from __future__ import annotations

import numpy as np
import pytest
from checks import assert_same_bits

import minifa as mf
from minifa import Linear, Network, Trainer, checkpoints, experiments
from minifa.data import Examples
from minifa.experiments import Experiment
from minifa.testing.examples import small_convnet
from minifa.training import Callback, History, divergence
from minifa.training.divergence import COPY_EVERY, Divergence, Useless


def trainer(net, rule="bp", lr=0.1, optimizer=mf.SGD, loss=None, **options):
    rule = mf.rules.make(rule, seed=1).attach(net)
    return Trainer(net, rule, loss or mf.SoftmaxCrossEntropy(), optimizer(lr), seed=3, **options)


def two_layers(first=1.0, second=1.0):
    """Linear layers whose weights all have the same value."""
    net = Network([Linear(2, 3), Linear(3, 2)], seed=0)
    net["linear1"].W, net["linear2"].W = mf.asarray(np.full((2, 3), first)), mf.asarray(np.full((3, 2), second))
    return net


ONES = Examples(np.ones((4, 2), np.float32), np.array([0, 1, 1, 1]))
ZEROS = Examples(ONES.x, np.zeros((4, 2), np.float32))


def diverged(one, train=ONES, epochs=1, batch_size=4):
    one.fit(train, epochs, batch_size)
    assert one.diverged
    return one.divergence


def test_an_overflowing_output_is_reported():
    assert diverged(trainer(two_layers(1e20, 1e20))) == Divergence(1, "output", "linear2")
    assert diverged(trainer(two_layers(3e38, 1.0))) == Divergence(1, "output", "linear1")


def test_an_overflowing_update_is_reported():
    """The loss is still finite in the update that makes the weights non-finite; the next update detects it."""
    one = trainer(two_layers(1.0, 1.0), lr=3e38, loss=mf.HalfSquaredError())
    assert diverged(one, ZEROS, epochs=2) == Divergence(1, "weights", "linear1")


def test_an_overflowing_error_or_gradient_is_reported():
    one = trainer(two_layers(), "fa", loss=mf.HalfSquaredError())  # outputs of 6: errors of 1.5 each
    one.rule.set_feedback("linear2", np.full((3, 2), 3e38))
    assert diverged(one, ZEROS, epochs=3) == Divergence(1, "error at the input", "linear2")

    one = trainer(two_layers(1e-25), "fa")  # an error of 1e20 and an input of 1e25
    one.rule.set_feedback("linear2", np.full((3, 2), [1e20, -1e20]))
    large = Examples(np.full((4, 2), 1e25, np.float32), ONES.y)
    assert diverged(one, large, epochs=3) == Divergence(1, "gradient", "linear1")


def test_overflowing_feedback_and_losses_are_reported():
    one = trainer(two_layers(), "activation_alignment:rate=1e38")
    assert diverged(one, epochs=5).what == "feedback" and one.divergence.layer == "linear2"
    large = Examples(ONES.x, np.full((4, 2), 1e30, np.float32))
    assert diverged(trainer(two_layers(), loss=mf.HalfSquaredError()), large) == Divergence(1, "loss")


def test_the_gradient_of_a_perturbation_is_checked():
    one = trainer(two_layers(), "weight_perturbation:sigma=1e-30")
    assert diverged(one, epochs=3).what == "gradient"


def test_the_message_names_the_update_the_quantity_and_the_layer():
    assert str(Divergence(7, "loss")) == "in update 7 the first non-finite value appeared in the loss"
    message = str(Divergence(7, "output", "residual1.body.conv1"))
    assert message == "in update 7 the first non-finite value appeared in the output of 'residual1.body.conv1'"


# --- however late the check is
# -----------------------------------------------------------------------------------------


def images(n=30):
    rng = np.random.default_rng(8)
    return Examples(rng.standard_normal((n, 8, 8, 2)).astype("float32"), rng.integers(0, 3, n))


class Growing(Callback):
    """A rate that grows until the run diverges, and whether all weights were finite after each update."""

    def __init__(self):
        self.finite = [True]

    def on_step(self, trainer, examples):
        trainer.base_lr *= 1.4
        self.finite.append(all(np.isfinite(mf.to_host(array)).all() for array in trainer.net.parameters().values()))


RULES = [
    "bp",
    "fa",
    "usf",
    "brsf",
    "dfa",
    "kolen_pollack",
    "weight_mirror:warmup_phases=2,samples=8",
    "product",
    "pepita",
]


@pytest.mark.parametrize(
    "optimizer",
    [
        pytest.param(lambda lr: mf.SGD(lr, momentum=0.9, weight_decay=1e-3), id="sgd"),
        pytest.param(mf.Adam, id="adam", marks=pytest.mark.long),
    ],
)
@pytest.mark.parametrize("rule", RULES)
def test_the_origin_is_located_from_the_last_copy_at_every_check_interval(rule, optimizer, monkeypatch):
    monkeypatch.setattr("minifa.training.divergence.COPY_EVERY", 10)
    origins, looks = {}, (1, 4, 1000)
    for check_every in looks:
        growing = Growing()
        one = trainer(small_convnet(), rule, 1e-3, optimizer, callbacks=[growing], check_every=check_every)
        origins[check_every] = diverged(one, images(), epochs=60, batch_size=8)
        seen, spoiled = one.net.step, growing.finite.index(False)
    assert origins[1].layer and len(set(origins.values())) == 1
    assert (
        10 < origins[1].update <= spoiled <= seen
    )  # no later than the first update after which a weight is not finite
    assert all(growing.finite[: origins[1].update])


def test_the_replay_changes_nothing(monkeypatch):
    ended = []
    for find in (None, lambda self: Divergence(0, "loss")):
        with monkeypatch.context() as patch:
            if find:
                patch.setattr("minifa.training.divergence.DivergenceMonitor.locate", find)
            one = trainer(small_convnet(), "brsf", 1e-3, mf.Adam, callbacks=[Growing()], check_every=4)
            diverged(one, images(), epochs=60, batch_size=8)
        ended.append({**one.net.state(), **one.optimizer.state(), **one.rule.state()})
        assert one.net.step > 10
    for name, array in ended[0].items():
        np.testing.assert_array_equal(array, ended[1][name], err_msg=name)  # including NaN
    assert ended[0].keys() == ended[1].keys()


def test_a_finite_run_is_the_same_for_every_check_interval():
    ended = []
    for check_every in (1, 3, 1000):
        one = trainer(small_convnet(), "kolen_pollack", check_every=check_every)
        one.fit(images(), epochs=3, batch_size=8)
        assert not one.diverged and one.divergence is None
        ended.append({**one.net.state(), **one.rule.state(), "loss": np.array(one.history.column("train_loss")[1:])})
    assert_same_bits(ended[0], ended[1])
    assert_same_bits(ended[0], ended[2])


@pytest.mark.usefixtures("engine")
def test_a_run_ends_at_the_update_of_the_detecting_check_and_its_last_row_is_kept():
    for check_every, steps in ((1, 3), (4, 4), (50, 8)):
        net = two_layers()
        one = trainer(net, check_every=check_every, callbacks=[Spoil(at=2)])
        history = one.fit(Examples(np.ones((32, 2), np.float32), np.arange(32) % 2), epochs=5, batch_size=4)
        assert one.diverged and net.step == steps and history.column("epoch") == [0, 1]
        assert not np.isfinite(history[-1]["train_loss"])
        assert 0 <= history[-1]["train_accuracy"] <= 1


class Spoil(Callback):
    """Makes weights infinite outside the training step, so a replay cannot determine the cause."""

    def __init__(self, at):
        self.at = at

    def on_step(self, trainer, examples):
        if trainer.net.step == self.at:
            trainer.net["linear1"].W[...] = np.inf


def test_an_origin_that_cannot_be_located_is_reported_without_a_layer():
    divergence = diverged(trainer(two_layers(), callbacks=[Spoil(at=2)]), ONES, epochs=3, batch_size=2)
    assert divergence == Divergence(3, "loss")


def test_copies_are_few_and_dropped_by_the_next_fit():
    one = trainer(two_layers(), lr=1e-4)
    most = []

    class Count(Callback):
        def on_step(self, trainer, examples):
            kept = trainer.monitor.copies
            most.append((len(kept), sum(len(steps) for _, steps in kept)))

    one.callbacks.append(Count())
    one.fit(ONES, epochs=3 * COPY_EVERY, batch_size=2)
    assert max(copies for copies, _ in most) == 2
    assert max(steps for _, steps in most) == COPY_EVERY + 1
    first = one.monitor.copies[0][0]
    one.fit(ONES, epochs=1, batch_size=2)
    assert one.monitor.copies[0][0] is not first


def test_on_a_device_the_flag_is_read_at_intervals(engine):
    """The stand-in is a device: it refuses operations that mix its arrays with NumPy's."""
    one = trainer(small_convnet(), "kolen_pollack", 1e-3, mf.Adam, callbacks=[Growing()])
    assert one.monitor.check_every == (1 if engine == "numpy" else 50)
    origin = diverged(one, images(), epochs=60, batch_size=8)
    assert origin.layer and origin.update > 10
    assert engine == "numpy" or one.net.step % 4 == 0  # four updates per epoch, the last of which is always checked


@pytest.mark.usefixtures("engine")
def test_an_invalid_interval_is_refused():
    with pytest.raises(ValueError, match="check_every must be at least 1, got 0"):
        trainer(two_layers(), check_every=0)


# --- finite but useless ----------------------------------------------------------------------------------------------

DIGITS = mf.data.load("digits")


def trained(model, rule, optimizer, epochs, **options):
    """Trains with `minifa.train` on the digits."""
    net = Network(
        getattr(mf.models, model)(DIGITS.input_shape, DIGITS.n_out, **options), seed=0, input_shape=DIGITS.input_shape
    )
    loss = mf.SoftmaxCrossEntropy()
    return mf.train(net, mf.rules.make(rule).attach(net), DIGITS.train, loss, optimizer, epochs, progress=False)


@pytest.mark.usefixtures("engine")
def test_a_loss_far_above_its_start_at_chance_accuracy_gives_a_warning():
    with pytest.warns(RuntimeWarning, match=r"training diverged: in epoch 2 the loss was .*e\+\d+ \(2.5 at") as caught:
        history = trained("cnn", "fa", mf.SGD(1.0, momentum=0.9), epochs=2)
    assert len(caught) == 1 and caught[0].filename == __file__
    assert history.diverged and history.column("diverged") == [None, 1, 1]
    assert 1e20 < history[-1]["train_loss"] < np.inf and history[-1]["train_accuracy"] < 0.13


def test_a_loss_that_is_not_finite_gives_a_warning():
    with pytest.warns(RuntimeWarning, match=r"training diverged: in update \d+ the .* try a smaller learning rate$"):
        history = trained("mlp", "bp", mf.SGD(1e9), epochs=2)
    assert history.diverged and history.column("diverged") == [None, 1]


@pytest.mark.parametrize(
    ("rule", "optimizer", "best"),
    [("fa", mf.SGD(50.0), 0.75), ("bp", mf.RMSprop(1.0), 0.9), ("dfa", mf.SGD(1.0, momentum=0.9), 0.8)],
)
def test_a_network_that_learns_is_not_useless_whatever_its_loss(rule, optimizer, best):
    """Under feedback alignment the loss stays at 1e6 while the digits are classified; under RMSprop it falls again."""
    history = trained("mlp", rule, optimizer, epochs=3)
    losses = history.column("train_loss")[1:]
    assert max(losses) > 100 * np.log(10) and history[-1]["train_accuracy"] > best and not history.diverged


class Steered(mf.HalfSquaredError):
    """A loss with a planned value for each epoch, independent of the network."""

    def __init__(self, plan, updates):
        self.plan, self.updates, self.calls = plan, updates, 0

    def __call__(self, output, target):
        values, errors = super().__call__(output, target)
        epoch = min(self.calls // self.updates, len(self.plan) - 1)
        if not np.any(output):  # the zeros of the baseline
            return values, errors
        self.calls += 1
        return values * 0 + self.plan[epoch], errors * 0


def steered(plan, updates=250, **options):
    net = Network([Linear(2, 1)], seed=0)
    one = trainer(net, loss=Steered(plan, updates), **options)
    examples = Examples(np.ones((updates, 2), np.float32), np.ones((updates, 1), np.float32))
    one.fit(examples, len(plan), batch_size=1)
    return one


FAR, NEAR = 1.1e3, 0.9e3


def test_a_run_whose_loss_does_not_recover_ends():
    assert divergence.PATIENCE == (5, 1000)
    one = steered([1, 1, *[FAR] * 9])
    assert (
        one.diverged and one.cannot_continue and one.epoch == 7
    )  # the first epoch with a loss far above its start, and four more
    assert one.divergence == Useless(7, FAR, 1.0) and str(one.divergence) == (
        "in epoch 7 the loss was 1.1e+03 (1 at the start)"
    )
    one = steered([1, *[FAR] * 19], updates=100)  # fewer updates: more epochs
    assert one.diverged and one.epoch == 11


def test_a_run_whose_loss_recovers_continues():
    for plan in ([1, *[FAR] * 4, 1], [1, *[FAR] * 4, NEAR, *[FAR] * 4, NEAR], [NEAR] * 12, [5, *[4 * FAR] * 12]):
        one = steered(plan)
        assert not one.diverged and one.divergence is None and one.epoch == len(plan)
        assert one.history.column("diverged") == [None, *(1 if x == FAR else None for x in plan)]
    one = steered([1, *[FAR] * 30], updates=3)
    assert one.diverged and not one.cannot_continue and one.epoch == 31  # 90 updates: it ends only with its last epoch
    one.fit(Examples(np.ones((3, 2), np.float32), np.ones((3, 1), np.float32)), epochs=1, batch_size=1)
    assert one.epoch == 32


def test_the_reference_of_a_loss_is_at_least_the_loss_of_zero_outputs():
    """A pretrained network starts with a loss close to zero."""
    assert steered([1e-6, *[FAR / 3] * 5], updates=9).first_loss == 0.5  # half of the target's square
    ten = mf.asarray(np.zeros((4, 10)))
    start = divergence.start_of(0.1, mf.SoftmaxCrossEntropy(), np.arange(4), ten)
    assert start == pytest.approx(np.log(10)) and divergence.start_of(7.0, mf.SoftmaxCrossEntropy(), [0], ten) == 7.0
    assert divergence.start_of(7.0, mf.SoftmaxCrossEntropy(), [0], None) == 7.0
    assert not divergence.is_useless(1.0, 0.0, np.zeros(3), None)  # zero is not far above zero


def test_chance_is_the_share_of_the_commonest_class_plus_its_sampling_error():
    y = np.repeat([0, 1], [90, 10])
    useless = [divergence.is_useless(FAR, 1.0, y, accuracy) for accuracy in (0.1, 0.9, 0.95, 0.97)]
    assert useless == [True, True, True, False]  # 0.9 + 2 sqrt(0.9 * 0.1 / 100) = 0.96


def test_a_resumed_run_ends_where_the_uninterrupted_one_ends(tmp_path):
    plan = [1, *[FAR] * 9]
    whole = steered(plan)
    part = steered(plan[:4])
    assert part.diverged and not part.cannot_continue
    checkpoints.save(tmp_path / "part.ckpt", part)
    again = trainer(Network([Linear(2, 1)], seed=0), loss=Steered(plan[:4], 250))
    again.loss.calls = part.loss.calls  # which a checkpoint compares
    checkpoints.load(tmp_path / "part.ckpt", again)
    assert again.diverged and again.divergence == part.divergence and again.first_loss == 1.0
    again.loss.plan = plan
    again.fit(Examples(np.ones((250, 2), np.float32), np.ones((250, 1), np.float32)), 6, batch_size=1)
    assert again.epoch == whole.epoch == 6 and again.divergence == whole.divergence


def test_a_run_that_has_ended_trains_no_further_epoch(tmp_path, monkeypatch):
    monkeypatch.setattr("minifa.training.trainer.PATIENCE", (2, 40))
    experiment = Experiment(model="cnn", rule="fa", lr=1.0, epochs=6, alignment=False)
    first = experiments.trainer_for(experiment, DIGITS)
    assert experiments.fit(experiment, DIGITS, first).diverged and first.cannot_continue and first.epoch == 2
    checkpoints.save(tmp_path / "it.ckpt", first)
    second = experiments.trainer_for(experiment, DIGITS)
    checkpoints.load(tmp_path / "it.ckpt", second)
    result = experiments.fit(experiment, DIGITS, second)
    assert result.diverged and result.history == first.history and second.divergence == first.divergence


def test_an_older_checkpoint_is_resumed():
    """It does not contain the reference of the losses."""
    one = trainer(two_layers(), lr=1e-3)
    one.fit(ONES, 1)
    state = one.state()
    del state["first_loss"]
    other = trainer(two_layers(), lr=1e-3)
    other.load_state(state)
    other.fit(ONES, 1)
    assert other.first_loss == pytest.approx(np.log(2))


def test_a_history_records_how_the_run_ended(tmp_path):
    rows = [{"epoch": 0}, {"epoch": 1, "train_loss": 1e9, "diverged": 1}, {"epoch": 2, "train_loss": 0.5}]
    for length, expected in enumerate([False, False, True, False]):
        History(rows[:length]).save_csv(tmp_path / "history.csv")
        assert History(rows[:length]).diverged == expected
        assert not length or History.read_csv(tmp_path / "history.csv").diverged == expected
    assert History([{"epoch": 1, "train_loss": np.nan}]).diverged  # as in older histories
