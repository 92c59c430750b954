"""The gradient by the inputs, adversarial examples and their report, against finite differences, PyTorch and known
answers."""

import math
from dataclasses import replace

import numpy as np
import pytest

import minifa as mf
from minifa import attacks, metrics
from minifa.attacks import Margin, Units, fgsm, measure, pgd, sign_noise, units_of
from minifa.metrics import NoInputGradient, input_gradient
from minifa.rules import make
from minifa.testing.examples import GEOMETRIES, batch, mlp, network, network_for

CE, HALF = mf.SoftmaxCrossEntropy(), mf.HalfSquaredError()


def trained(description, net=None, steps=3):
    """A small network and its rule after a few updates."""
    net = net or mlp()
    rule, optimizer = make(description, seed=1).attach(net), mf.SGD(0.1)
    for seed in range(steps):
        rule.gradients(net, *batch(shape=net.input_shape, seed=seed), CE)
        optimizer.step(net, rule)
    return net, rule


def with_statistics():
    """A network with batch norm, dropout, pooling and a residual block whose running statistics are not 0 and 1."""
    layers, shape = GEOMETRIES["a whole network"]
    net = network(layers(), shape)
    rule = make("bp").attach(net)
    for seed in range(2):
        rule.gradients(net, *batch(shape=shape, classes=4, seed=seed), CE)
    return net, rule


# --- the gradient -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("loss", [CE, Margin()], ids=["loss", "margin"])
def test_the_true_gradient_is_that_of_the_network_in_evaluation_mode(loss, float64):
    net, rule = with_statistics()
    x, y = batch(3, net.input_shape, classes=4, seed=7)
    found = input_gradient(net, rule, x, y, loss, "true")
    direction = np.random.default_rng(0).standard_normal(x.shape)

    def values(x):
        output = net.forward(x)
        return loss(output, loss.target(y, output))[0]

    step = 1e-6
    slopes = (values(x + step * direction) - values(x - step * direction)) / (2 * step)
    np.testing.assert_allclose((found * direction).reshape(3, -1).sum(axis=1), slopes, rtol=1e-6)


def test_the_gradient_of_an_example_does_not_depend_on_its_batch(float64):
    net, rule = with_statistics()
    x, y = batch(5, net.input_shape, classes=4, seed=7)
    for path in metrics.PATHS:
        together = input_gradient(net, rule, x, y, CE, path)
        np.testing.assert_allclose(together[1:2], input_gradient(net, rule, x[1:2], y[1:2], CE, path), atol=1e-12)


def test_sham_computes_backpropagation_s_gradient_bit_by_bit_and_fa_an_unrelated_one():
    x, y = batch(200, (64,), classes=10)

    def gradients(description, seed=0):
        net = mf.Network([mf.Linear(64, 64), mf.ReLU(), mf.Linear(64, 10)], seed)
        rule = make(description, seed).attach(net)
        return [input_gradient(net, rule, x, y, CE, path) for path in metrics.PATHS]

    own, true = gradients("sham")
    assert (own == true).all()
    cosines = [np.cos(np.radians(metrics.sample_angles(*gradients("fa", seed)))).mean() for seed in range(5)]
    assert abs(np.mean(cosines)) < 0.05


def test_a_network_made_without_input_error_gets_the_matrices_that_attach_draws(float64):
    x, y = batch(4, (4,))
    net, rule = trained("fa:normalise=init")
    full = mf.Network([mf.Linear(4, 5), mf.Tanh(), mf.Linear(5, 6), mf.Tanh(), mf.Linear(6, 3)], input_error=True)
    reference = make("fa:normalise=init", seed=1).attach(full)
    full.load_state(net.state())
    for name, array in rule.state().items():
        reference.set_feedback(name, array)
    own, theirs = (input_gradient(*pair, x, y, CE, "rule") for pair in ((net, rule), (full, reference)))
    assert metrics.mean_angle(own, theirs) < 1e-5  # the size of the lowest matrix is that of another W
    assert "linear1" not in rule.B


REFUSED = {
    "pepita": ("rule", "no backward pass"),
    "weight_perturbation": ("rule", "no backward pass"),
    "dfa": ("rule", "carries no error to the inputs"),
    "dense": ("rule", "carries no error to the inputs"),
    "shallow": ("rule", "carries no error to the inputs"),
    "fwdtp": ("rule", "carries no error to the inputs"),
    "local": ("rule", "carries no error to the inputs"),
    "kolen_pollack": ("rule", "no matrix for linear1, .* input_error=True"),
    "usf:signs=initial": ("rule", "no matrix for linear1"),
    "fa:correlation=0.5": ("rule", "no matrix for linear1"),
    "forward_forward": ("true", "the answer is not the network's output"),
}


@pytest.mark.parametrize("description", REFUSED)
def test_gradients_that_do_not_exist_are_refused_by_name(description):
    net, rule = trained(description, network_for(description) if description == "forward_forward" else None, steps=30)
    path, reason = REFUSED[description]
    x, y = batch(4, net.input_shape)
    with pytest.raises(NoInputGradient, match=f"{rule.label!r}.*{reason}"):
        input_gradient(net, rule, x, y, CE, path)
    if path == "rule":
        assert input_gradient(net, rule, x, y, CE, "true").shape == x.shape


def test_learned_feedback_carries_the_error_to_the_inputs_of_a_network_made_with_input_error():
    net, rule = trained("kolen_pollack", mf.Network([mf.Linear(4, 5), mf.Tanh(), mf.Linear(5, 3)], input_error=True))
    x, y = batch(4, (4,))
    below = input_gradient(net, rule, x, y, CE, "rule")
    rule.B["linear1"][...] *= -1
    np.testing.assert_array_equal(input_gradient(net, rule, x, y, CE, "rule"), -below)


def test_a_user_s_rule_that_sends_nothing_down_is_refused():
    class Nothing(mf.rules.Rule):
        requires_errors = False

        def feedback(self, layer):
            return None

    net = mlp()
    rule = Nothing().attach(net)
    with pytest.raises(NoInputGradient, match="'Nothing' carries no error"):
        input_gradient(net, rule, *batch(4, (4,)), CE, "rule")


# --- the margin -------------------------------------------------------------------------------------------------------


def test_the_margin_of_two_classes_with_one_output_is_that_of_the_outputs_0_and_a():
    output, loss = mf.asarray([[2.0], [2.0], [-3.0]]), Margin()
    values, errors = loss(output, loss.rows([1, 0, 1], 3, 1, "float32"))
    assert values.tolist() == [-2, 2, 3] and errors[:, 0].tolist() == [-1, 1, -1]


# --- attacks ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("loss", [CE, Margin()], ids=["loss", "margin"])
def test_fgsm_and_pgd_equal_pytorch_s(loss, float64):
    torch = pytest.importorskip("torch")
    net = mf.Network([mf.Conv2d(2, 4, 3, padding=1), mf.BatchNorm(4), mf.ReLU(), mf.GlobalAvgPool(), mf.Linear(4, 3)])
    rule = make("bp").attach(net)
    for seed in range(3):
        rule.gradients(net, *batch(seed=seed), CE)
    net["batchnorm1"].gamma = [0.5, 2.0, -1.0, 1.5]
    conv, norm, linear = torch.nn.Conv2d(2, 4, 3, padding=1), torch.nn.BatchNorm2d(4), torch.nn.Linear(4, 3)
    twin = torch.nn.Sequential(conv, norm, torch.nn.ReLU(), torch.nn.AvgPool2d(8), torch.nn.Flatten(), linear)
    twin.double().eval()
    _copy(net, conv, norm, linear, torch)
    (x, y), eps = batch(6, seed=9), 0.3
    x = np.clip(x, -1, 1.5)

    def attack(steps, step):
        start = torch.tensor(x).permute(0, 3, 1, 2)
        now = start.clone()
        for _ in range(steps):
            now.requires_grad_(True)
            output, labels = twin(now), torch.tensor(y)
            if loss is CE:
                value = torch.nn.functional.cross_entropy(output, labels, reduction="sum")
            else:
                true = torch.nn.functional.one_hot(labels, 3).bool()
                value = (output.masked_fill(true, -math.inf).amax(dim=1) - output[true]).sum()
            (gradient,) = torch.autograd.grad(value, now)
            with torch.no_grad():
                now = torch.clip(now + step * eps * gradient.sign(), start - eps, start + eps).clip(-1, 1.5)
        return now.permute(0, 2, 3, 1).numpy()

    arguments = net, rule, x, y, loss, "true", eps
    np.testing.assert_allclose(fgsm(*arguments, bounds=(-1, 1.5)), attack(1, 1.0), atol=1e-12)
    np.testing.assert_allclose(pgd(*arguments, bounds=(-1, 1.5)), attack(10, 0.25), atol=1e-12)


def _copy(net, conv, norm, linear, torch):
    with torch.no_grad():
        conv.weight.copy_(torch.tensor(net["conv1"].W.transpose(3, 2, 0, 1)))
        conv.bias.copy_(torch.tensor(net["conv1"].b))
        linear.weight.copy_(torch.tensor(net["linear1"].W.T))
        linear.bias.copy_(torch.tensor(net["linear1"].b))
        norm.weight.copy_(torch.tensor(net["batchnorm1"].gamma))
        norm.bias.copy_(torch.tensor(net["batchnorm1"].beta))
        norm.running_mean.copy_(torch.tensor(net["batchnorm1"].running_mean))
        norm.running_var.copy_(torch.tensor(net["batchnorm1"].running_var))


@pytest.mark.parametrize(
    ("description", "fraction"), [("fa", 0), ("fa:correlation=0.3", 0.3), ("fa:correlation=0.6", 0.6), ("usf", None)]
)
def test_an_attack_along_a_gradient_of_cosine_c_does_the_fraction_c_of_fgsm_s_damage(description, fraction, float64):
    """To first order and for Gaussian gradients; under sign-concordant feedback of one layer it is sqrt(2 / pi)."""
    net = mf.Network([mf.Linear(400, 64, bias=False)], input_error=True)
    rule = make(description).attach(net)
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((500, 400)), rng.standard_normal((500, 64)) * 100
    true = input_gradient(net, rule, x, y, HALF, "true")
    moved = fgsm(net, rule, x, y, HALF, "rule", 0.1) - x
    damage = (true * moved).sum() / (0.1 * np.abs(true).sum())
    assert damage == pytest.approx(math.sqrt(2 / math.pi) if fraction is None else fraction, abs=0.02)


@pytest.mark.parametrize("attack", [fgsm, pgd])
def test_no_input_moves_by_more_than_eps_or_out_of_the_bounds_and_none_without_a_gradient(attack, engine):
    net, rule = trained("bp")
    x, y = batch(20, (4,))
    low, high = [-1, -1, -1, -5], [1, 1, 1, 5]
    moved = mf.to_host(attack(net, rule, x, y, CE, "true", [0.1, 0.2, 0.0, 0.3], bounds=(low, high)))
    start = mf.to_host(x)
    change = np.abs(moved - start).max(axis=0)
    assert (change <= np.array([0.1, 0.2, 0, 0.3]) + 1e-6).all() and change[2] == 0 < change[3]
    assert (moved <= np.maximum(start, high)).all() and (moved >= np.minimum(start, low)).all()
    assert (attack(net, rule, x, y, CE, "true", 0.0, bounds=(low, high)) == x).all()
    net["linear1"].W = net["linear1"].W * mf.asarray([[1], [1], [1], [0]])
    still = mf.to_host(attack(net, rule, x, y, CE, "true", 0.3))
    assert (still[:, 3] == start[:, 3]).all() and (still[:, 0] != start[:, 0]).all()


def test_the_signs_of_the_noise_are_random_and_given_by_the_seed(engine):
    x = mf.asarray(np.zeros((500, 4)))
    noise = mf.to_host(sign_noise(x, 0.5, seed=3))
    assert set(np.unique(noise)) == {-0.5, 0.5} and abs(noise.mean()) < 0.05
    assert (mf.to_host(sign_noise(x, 0.5, seed=3)) == noise).all()
    assert (mf.to_host(sign_noise(x, 0.5, seed=3, batch=1)) != noise).any()
    assert mf.to_host(sign_noise(x, 0.5, 3, bounds=(0, 1))).min() == 0


WRONG = {
    "eps below 0": ({"eps": -0.1}, "eps must be finite and at least 0, got -0.1"),
    "eps of another shape": ({"eps": [0.1, 0.2]}, r"eps must be .* broadcast to the inputs \(20, 4\), got .*\(2,\)"),
    "no pair": ({"bounds": [1]}, r"bounds must be a pair \(low, high\)"),
    "no steps": ({"steps": 0}, "steps must be at least 1"),
    "another path": ({"path": "own"}, "path must be"),
}


@pytest.mark.parametrize("case", WRONG)
def test_invalid_arguments_are_refused(case):
    net, rule = trained("bp")
    changed, message = WRONG[case]
    x, y = batch(20, (4,))
    with pytest.raises(ValueError, match=message):
        pgd(**{"net": net, "rule": rule, "x": x, "y": y, "loss": CE, "path": "true", "eps": 0.1} | changed)


# --- units ------------------------------------------------------------------------------------------------------------


def test_eps_is_measured_in_pixels_of_the_data_set():
    data = mf.data.load("digits")
    units = units_of(data)
    pixels = data.test.x / units.size
    assert np.ptp(pixels) == pytest.approx(1)
    sizes = [8 / 255, 0.1, 0.2, 0, 1e-9]  # 0.2 is 51/255, but nobody writes it so
    assert [attacks.written(units, eps) for eps in sizes] == ["8/255", "0.1", "0.2", "0", "1e-09"]
    assert data.test.x.min() == pytest.approx(units.bounds[0]) and data.test.x.max() == pytest.approx(units.bounds[1])


@pytest.mark.parametrize("scale", ["standard", "unit", 1 / 255])
def test_of_the_user_s_images_the_type_gives_the_range_of_the_pixels(scale):
    images = np.random.default_rng(0).integers(0, 200, (20, 5, 5, 3), "uint8")
    data = mf.data.from_arrays(images, np.arange(20) % 2, scale=scale)
    units = units_of(data)
    np.testing.assert_allclose(data.pixel_scaling(images[:3].astype("f4") / 255), data.transform(images[:3]), atol=1e-5)
    assert np.all(units.bounds[1] - units.bounds[0] == pytest.approx(units.size))
    without = mf.data.from_arrays(images.astype("f4") / 255, np.arange(20) % 2, scale="standard")
    assert units_of(without).bounds is None and units_of(without).size == 1
    assert "not clipped" in units_of(without).name


# --- the report -------------------------------------------------------------------------------------------------------


def report_of(*descriptions, **options):
    data = mf.data.from_arrays(*two_classes(), name="blobs")
    networks = {}
    for description in descriptions:
        layers = [mf.Linear(6, 8), mf.ReLU(), mf.UnitLength(), mf.Linear(8, 2)]
        net = mf.Network(layers, 0, (6,))
        rule = make(description).attach(net)
        mf.train(net, rule, data.train, CE, mf.SGD(0.1), epochs=2, progress=False)
        networks[description] = net, rule, CE
    source = networks[descriptions[0]]
    return measure(networks, data.test, [0.1, 1.0], units_of(data), source=source, **options), networks, data


def two_classes():
    rng = np.random.default_rng(0)
    y = np.arange(80) % 2
    return rng.standard_normal((80, 6)) + y[:, None], y


def test_a_report_has_every_quantity_that_a_rule_defines_and_a_reason_for_the_others(tmp_path):
    report, networks, data = report_of("bp", "fa", "dfa")
    bp, fa, dfa = report.rows[1::2]
    assert [row["eps"] for row in report.rows] == [0.1, 1.0] * 3 and report.attacks == ["fgsm", "pgd"]
    net, rule, _ = networks["fa"]
    assert fa["clean"] == mf.evaluate(net, data.test)["accuracy"]
    x = mf.asarray(data.test.x)
    for path, loss, key in (("rule", CE, "own"), ("true", CE, "true"), ("true", Margin(), "margin")):
        moved = pgd(net, rule, x, data.test.y, loss, path, 1.0)
        assert fa[f"pgd_{key}"] == mf.evaluate(net, moved, data.test.y)["accuracy"]
    moved = fgsm(*networks["bp"][:2], x, data.test.y, CE, "true", 1.0)
    assert fa["fgsm_transfer"] == mf.evaluate(net, moved, data.test.y)["accuracy"]
    assert bp["cosine"] == 1 and bp["fgsm_own"] == bp["fgsm_true"] < bp["noise"] and bp["fgsm_transfer"] is None
    assert dfa["fgsm_own"] is dfa["cosine"] is None and dfa["fgsm_margin"] is not None
    printed = str(report)
    assert "dfa: the rule 'dfa' carries no error to the inputs" in printed
    assert f"elsewhere than the true one: fa {fa['cosine']:.2f} (cosine)" in printed.replace("\n", " ")
    report.save_csv(tmp_path / "attack.csv")
    assert mf.training.History.read_csv(tmp_path / "attack.csv")[1]["fgsm_own"] == bp["fgsm_own"]
    again, _, _ = report_of("bp", "fa", "dfa")
    assert again.rows == report.rows


def test_a_report_says_where_the_gradient_of_the_loss_is_zero(engine):
    report, networks, data = report_of("bp")
    for layer in networks["bp"][0].weighted:
        layer.W *= 1000  # the softmax of such outputs is exactly 1 in float32
    after = measure(networks, data.test, [1.0], units_of(data), ["fgsm"])
    assert report.rows[0]["zero_gradients"] == 0 and not report.notes()
    (row,) = after.rows
    assert row["zero_gradients"] > 0.3 and row["fgsm_margin"] < row["fgsm_true"] - 0.1
    assert "of the examples: read the margin" in after.notes()[0]


def test_a_report_of_a_rule_whose_answer_is_not_the_network_s_output_has_noise_and_transfer_only(engine):
    report, _, _ = report_of("bp", "forward_forward", attacks=["fgsm"])
    row = report.rows[-1]
    missing = {key for key, value in row.items() if value is None}
    assert missing == {"fgsm_own", "fgsm_true", "fgsm_margin", "cosine", "zero_gradients"}
    assert len(report.refusals["forward_forward"]) == 2


def test_examples_without_classes_and_unknown_attacks_are_refused(engine):
    net, rule = trained("bp")
    data = mf.data.from_arrays(*two_classes())
    targets = replace(data.test, y=np.zeros((len(data.test), 2), "f4"))
    for examples, sizes, names, message in (
        (targets, [0.1], ["fgsm"], "needs examples with classes"),
        (data.test, [], ["fgsm"], "eps must be a list of numbers of at least 0"),
        (data.test, [0.1], ["fgms"], "'fgms'"),
        (data.test, [0.1], [], "attacks must name one of fgsm, pgd"),
    ):
        with pytest.raises(ValueError, match=message):
            measure({"bp": (net, rule, CE)}, examples, sizes, Units("inputs"), names)
    with pytest.raises(ValueError, match=r"\(network, rule, loss\), got 2 values"):
        measure({"bp": (net, rule)}, data.test, [0.1], Units("inputs"))
    assert str(attacks.AttackReport(Units("inputs"))) == "no network was attacked"


def test_a_cosine_that_is_rounded_to_zero_has_no_sign(engine):
    report, _, _ = report_of("fa", attacks=["fgsm"])
    for row in report.rows:
        row["cosine"] = -0.001
    assert " 0.00 " in str(report) and "fa 0.00 (cosine)" in str(report) and "-0.00" not in str(report)


def test_what_has_no_gradient_is_refused_before_the_first_attack(engine):
    data = mf.data.from_arrays(*two_classes())
    nets = [mf.Network([mf.Linear(6, 8), mf.ReLU(), mf.UnitLength(), mf.Linear(8, 2)], 0, (6,)) for _ in range(2)]
    bp, other = (make(name).attach(net) for name, net in zip(("bp", "forward_forward"), nets, strict=True))
    unattached = make("fa")
    for source, networks, error, message in (
        ((nets[1], other, CE), {}, NoInputGradient, "of the transferred examples has no true gradient: .*'forward_for"),
        (None, {"second": (nets[1], unattached, CE)}, RuntimeError, "'fa' is not attached to this network"),
    ):
        report = attacks.AttackReport(Units("inputs"))
        rows = attacks.measure_into(
            report, {"first": (nets[0], bp, CE), **networks}, data.test, [0.1], ["fgsm"], 1, source, 0
        )
        with pytest.raises(error, match=message):
            next(rows)


def test_a_size_that_is_given_twice_is_attacked_once():
    net = mf.Network([mf.Linear(6, 2)], 0, (6,))
    rule = make("bp").attach(net)
    data = mf.data.from_arrays(*two_classes())
    report = measure({"bp": (net, rule, CE)}, data.test, [0.1, 0.2, 0.1], Units("inputs"), ["fgsm"])
    assert [row["eps"] for row in report.rows] == [0.1, 0.2]


def test_no_rule_s_gradient_depends_on_what_it_did_before(engine):
    """Own gradients twice, and after an attack: the same bits."""
    for description in ("fa", "brsf", "usf", "stale:every=2", "asap", "information_alignment"):
        net = network_for(description)
        rule = make(description).attach(net)
        x, y = batch(4, net.input_shape)
        first = mf.to_host(input_gradient(net, rule, x, y, CE, "rule"))
        fgsm(net, rule, x, y, CE, "rule", 0.1)
        assert (mf.to_host(input_gradient(net, rule, x, y, CE, "rule")) == first).all(), description
