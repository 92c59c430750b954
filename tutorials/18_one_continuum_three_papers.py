# %% [markdown]
# # 18 · One continuum, three papers
#
# **Deep feedback control, predictive coding and dynamic inversion were published as three algorithms. In a linear
# network the first two give all layers the same errors, up to a common factor, and one number moves them between two
# ends: the leak of the controller, or the inverse of the nudge. One end is backpropagation, the other is minimum norm,
# the smallest change of all activities that removes the output error. With one hidden layer dynamic inversion is on the
# same curve, if its leak is at least 1. In deep networks it is not.**
#
# You need the errors of backpropagation (tutorial 02), angles between errors (tutorials 02 and 03), and targets with
# their $\eta$, `rule.targets` and the Gauss-Newton direction (tutorial 17). All three rules ask the same question: *how
# should the activities of the layers change, so that the output gets nearer to its target?* Each layer then learns to
# make its own part of the change. The papers: Meulemans et al. 2021 (deep feedback control, `dfc`), Whittington &
# Bogacz 2017 (predictive coding, `pc`) and Podlaski & Machens 2020 (dynamic inversion, `di`).
#
# **A step of both in the explorer:** `minifa explore --rules dfc,pc -o page.html`, then open `page.html#step/dfc/15`
# ("Teaching signal of linear2") and `page.html#step/pc/11` ("Teaching signal of linear2"). In the terminal,
# a step of a smaller network (2-4-2): `minifa step --rule dfc`.

# %%
from types import SimpleNamespace

import matplotlib.pyplot as plt
import numpy as np

import minifa as mf
from minifa.jacobians import jacobians
from minifa.target_metrics import minimum_norm, target_alignment

plt.rcParams.update(mf.figures.STYLE)
BLUE, ORANGE, GREEN, PINK = mf.figures.COLOURS[:4]
GREY = "#666666"
# formulas are checked to many digits: double precision
mf.use("numpy", dtype="float64", threads=1)
loss = mf.HalfSquaredError()
SEEDS = range(3)


def network(*sizes, seed=0, activation=None):
    """A dense network, linear without an activation."""
    layers = []
    for fan_in, fan_out in zip(sizes, sizes[1:], strict=False):
        layers += [mf.Linear(fan_in, fan_out), activation and activation()]
    return mf.Network([layer for layer in layers[:-1] if layer], seed=seed)


def inputs_and_errors(seed):
    """Random inputs (32, 15), and the output errors (32, 5) that we want to give."""
    rng = np.random.default_rng(seed)
    return rng.standard_normal((32, 15)), rng.standard_normal((32, 5))


def errors(net, rule, x, y):
    """The rule's error of every example at the outputs of all weighted layers, side by
    side, (n, units). minifa's targets are eta times this away, as in tutorial 17; eta
    is rule.eta: 0.1 for dfc, the nudge beta for nudged pc, 1 for the others here."""
    rule.attach(net).gradients(net, x, y, loss)
    a, t = rule.activities, rule.targets
    names = [layer.name for layer in net.weighted]
    return np.concatenate([(a[name] - t[name]) / rule.eta for name in names], axis=1)


def angle(a, b):
    """Mean angle over the examples, in degrees."""
    return float(mf.metrics.mean_angle(a, b))


# %% [markdown]
# ## Two ways to remove an error
#
# The names here: $a_l$ is the output of the weights of layer $l$, $h_l = f(a_l)$ the output of the layer. In this
# tutorial errors and changes are at $a_l$, which we call the layer's **activity** (in tutorial 17 it was $h_l$; in a
# linear network they are the same). $e$ and $\delta_l$ are the errors of one example, for the squared error $e$ is
# output minus target. (Tutorial 17 writes $n\,e$ and $n\,\delta_l$ for them.)
#
# As in tutorial 17, the output has the target $a_L - \eta\,e$, and a layer whose activity should change by
# $-\eta\,\delta_l$ has the error $\delta_l$. These changes are in addition to what the changes below them cause. If
# $J_l$ holds the derivatives of the output by the activities $a_l$, and $J = [J_1 \dots J_L]$ those of all layers side
# by side, the output changes by $-\eta\,\delta J^\top$. In a linear network $J_l^\top = W_{l+1} \cdots W_L$ (and $J_L$
# is the identity).
#
# - **Backpropagation:** $\delta = e\,J$. The loss falls fastest in this direction. Nothing says how far to go.
# - **Minimum norm:** $\delta = e\,S^{-1} J$ with $S = J J^\top$. The smallest change (sum of squares, all layers) with
#   which the output reaches its target.
#
# The two differ only by the small matrix $S$ between $e$ and $J$ (outputs x outputs).


# %%
cases = []  # one for each seed
for seed in SEEDS:
    net = network(15, 20, 12, 5, seed=seed)
    x, e = inputs_and_errors(seed)
    y = net.predict(x) - e  # targets that give the output errors e
    names = [layer.name for layer in net.weighted]
    # derivatives of the 5 outputs by all 37 units: equal for all examples
    J = np.concatenate([one[0] for one in jacobians(net, x, names).values()], axis=1)
    S = J @ J.T
    bp, smallest = e @ J, e @ np.linalg.inv(S) @ J
    cases.append(
        SimpleNamespace(net=net, x=x, y=y, e=e, J=J, S=S, bp=bp, smallest=smallest)
    )

    print(
        f"seed {seed}: {angle(bp, smallest):.0f} degrees apart; eigenvalues of S",
        *(f"{value:.1f}" for value in np.linalg.eigvalsh(S)),
    )
    # seeds 0 to 7: 26 to 37 degrees
    assert 20 < angle(bp, smallest) < 40 and np.linalg.eigvalsh(S)[0] > 1
    assert np.allclose(smallest @ J.T, e)  # all of the output error is removed
    # minifa gives the same
    assert np.allclose(bp, errors(net, mf.rules.BP(), x, y))
    parts = minimum_norm(net, x, y, loss, names).values()
    assert np.allclose(smallest, np.concatenate(list(parts), axis=1))

# %% [markdown]
# The ends are 27 to 34 degrees apart. $S$ is the sum of $J_l J_l^\top$ over the layers. All its eigenvalues are above
# 1, because the term of the output layer is the identity: this layer can always make a part of the change.
#
# ## Control: the leak
#
# In deep feedback control a **controller** at the output sends one signal $u$ to all layers, through feedback weights
# $Q_l$, and each layer adds $u\,Q_l^\top$ to its activity. The output follows. The controller increases $u$ as long as
# the output is not at its target, and a **leak** $\lambda$ pulls $u$ back to zero; it settles where target minus
# output equals $\lambda u$ (minifa computes this state). Then every layer learns from the change that the controller
# caused in it. We take $Q_l = J_l^\top$, in minifa `weights="product"`: the product of the weights above, which is
# $J_l^\top$ in linear networks only. With activation functions $J_l$ also contains their slopes.
#
# The target is $a_L - \eta\,e$, and minifa's `dfc` has $\eta = 0.1$: the controller is to move the output by a tenth of
# $e$. From this smaller change minifa computes the errors $\delta_l$, dividing by $\eta$. In a linear network $\eta$
# cancels. With a small leak the output reaches the target $a_L - \eta\,e$ almost exactly. With a large leak the
# controller hardly moves the output.
#
# > **Predict, then run.** With which leak do the layers receive the errors of backpropagation? (a) With a small leak:
# > exact control gives the exact gradient. (b) With a large leak, although the output hardly moves. (c) With a leak in
# > between: both extremes are wrong.

# %%
leaks = np.geomspace(1e-3, 1e4, 29)
to_bp, to_smallest, made = np.zeros((3, len(SEEDS), len(leaks)))
for case in cases:
    seed, identity = case.net.seed, np.eye(5)
    for i, leak in enumerate(leaks):
        rule = mf.rules.DFC(leak=leak, weights="product")
        control = errors(case.net, rule, case.x, case.y)
        to_bp[seed, i] = angle(control, case.bp)
        to_smallest[seed, i] = angle(control, case.smallest)
        goal = case.net.predict(case.x) - rule.eta * case.e
        left = np.linalg.norm(rule.controlled["linear3"] - goal)
        made[seed, i] = 1 - left / np.linalg.norm(rule.eta * case.e)
        u = -rule.eta * case.e @ np.linalg.inv(case.S + leak * identity)
        assert np.allclose(u, rule.u, rtol=1e-8)
        assert np.allclose(control, -(1 + leak) * u @ case.J / rule.eta, rtol=1e-8)

for i in range(0, len(leaks), 4):
    print(
        f"leak {leaks[i]:9.3f}: {to_bp[0, i]:5.2f} degrees to backpropagation, "
        f"{to_smallest[0, i]:5.2f} to minimum norm; "
        f"{made[0, i]:4.0%} of the way to the target"
    )
assert (np.diff(to_bp) < 0).all() and (np.diff(to_smallest) > 0).all()
assert to_smallest[:, 0].max() < 0.05 and to_bp[:, -1].max() < 0.05

halfway = [
    np.exp(np.interp(0, to_smallest[seed] - to_bp[seed], np.log(leaks)))
    for seed in SEEDS
]
print("both angles are equal at leaks of about", *(f"{leak:.1f}" for leak in halfway))
for seed in SEEDS:
    low, *_, high = np.linalg.eigvalsh(cases[seed].S)
    assert low < halfway[seed] < high

# %% [markdown]
# The answer is (b). The formulas that the cell checks say why. The control signal moves the output by $u\,S$, and the
# controller settles where target minus output, $-\eta\,e - u\,S$, equals $\lambda u$. So
#
# $$u = -\eta\,e\,(S + \lambda I)^{-1}$$
#
# $$\delta = -(1 + \lambda)\,u J / \eta = (1 + \lambda)\; e\,(S + \lambda I)^{-1} J$$
#
# (minifa's factor $1 + \lambda$ only changes the length.) For $\lambda \to 0$ this is minimum norm. For a large
# $\lambda$ the identity is all that counts in the bracket, and what is left is $e\,J$. The scale is set by the
# eigenvalues of $S$: the angles are equal at a leak between the smallest and the largest. Read it as **ridge
# regression**: $u\,J$ are the changes that minimise
#
# $$\lVert \text{distance of output to target} \rVert^2 + \lambda \sum_l \lVert \text{change of layer } l \rVert^2$$
#
# If changes are cheap, the whole distance is removed, in the cheapest way. If they are expensive, only the most
# effective ones are made, and these are along the gradient.
#
# ## Predictive coding: the nudge
#
# In predictive coding each layer has **value nodes** $x_l$, which start at the activities $a_l$ of the forward pass.
# The layer below predicts them, in a linear network as $\mu_l = x_{l-1} W_l + b_l$, and the nodes move until the sum of
# the squared prediction errors $\varepsilon_l = x_l - \mu_l$ is as small as possible. A term that draws the output to
# its target, with the strength $\beta$ (the **nudge**), keeps the sum from being zero:
#
# $$\tfrac12 \sum_l \lVert \varepsilon_l \rVert^2 + \tfrac{\beta}{2} \lVert x_L - (a_L - e) \rVert^2$$
#
# Each layer then learns from the error $\delta_l = -\varepsilon_l / \beta$.
#
# A prediction error is a change of a layer in addition to what the layers below cause, and $x_L - (a_L - e)$ is the
# distance of the output to its target. This is the same ridge regression with $\lambda = 1/\beta$. Here the target is a
# whole step $e$ away, without $\eta$. But a weak nudge makes the changes small, in proportion to $\beta$; so $\beta$
# has the place of $\eta$ in $\delta_l = -\varepsilon_l / \beta$, and minifa's `rule.eta` of the nudged `pc` is
# $\beta$. We let the nodes relax and compare.

# %%
betas = np.array([10.0, 1.0, 0.1, 0.01])
nudged_to_bp, nudged_to_smallest = np.zeros((2, len(SEEDS), len(betas)))
for case in cases:
    seed, net, x, y = case.net.seed, case.net, case.x, case.y
    for i, beta in enumerate(betas):
        coding = errors(net, mf.rules.PC(gamma=0.15, steps=2500, beta=beta), x, y)
        control = errors(net, mf.rules.DFC(leak=1 / beta, weights="product"), x, y)
        # coding has leak / (1 + leak) = 1 / (1 + beta) of the length of control
        difference = np.abs((1 + beta) * coding - control).max() / np.abs(control).max()
        nudged_to_bp[seed, i] = angle(coding, case.bp)
        nudged_to_smallest[seed, i] = angle(coding, case.smallest)
        if seed == 0:
            print(
                f"nudge {beta:5.2f}: {nudged_to_bp[0, i]:5.2f} degrees to "
                f"backpropagation; to control with the leak {1 / beta:5.1f} a relative "
                f"difference of {difference:.0e}"
            )
        assert difference < 1e-7

    clamped = errors(net, mf.rules.PC(gamma=0.15, steps=2500), x, y)
    zil = errors(net, mf.rules.ZIL(), x, y)
    assert np.allclose(clamped, case.smallest) and np.allclose(zil, case.bp)
print(f"clamped: {np.abs(clamped - case.smallest).max():.0e} from minimum norm")
print(f"zil:     {np.abs(zil - case.bp).max():.0e} from backpropagation")

# %% [markdown]
# Two rules, written down as different dynamics, agree to the precision to which the nodes have relaxed. The figure
# shows the continuum. The two ends are rules of their own:
#
# - `pc` without a nudge **clamps** the output at $a_L - e$. This is the limit $\beta \to \infty$, and minimum norm.
# - `zil` (Song et al. 2020) has the same clamp, but layer $L - t$ learns at step $t$ of the relaxation, when the error
#   has just arrived. This is backpropagation exactly. With the same nodes and the same clamp, the *time* of learning
#   decides between the two ends.
#
# (The equality is that of the errors. For weight gradients the layers of both rules use the changed activity below,
# which depends on the step size `eta` of control: they agree for `eta=1`. If the loss is not the squared error, minifa
# keeps the quadratic term for the target, so that nothing here depends on the loss.)

# %% [figure]
fig, (top, ax) = plt.subplots(
    2, 1, figsize=(9, 5.6), layout="constrained", sharex=True, height_ratios=(1, 2.6)
)
top.semilogx(leaks, 100 * made[0], color=GREEN, linewidth=2)
top.set(ylabel="percent", ylim=(-4, 104))
top.set_title("Share of the way to the target that the output makes, first network")
for curves, points, colour, marker, name in (
    (to_bp, nudged_to_bp, BLUE, "o", "to backpropagation"),
    (to_smallest, nudged_to_smallest, ORANGE, "s", "to minimum norm"),
):
    for seed in SEEDS:
        label = (None, None) if seed else (f"dfc, {name}", f"pc, {name}")
        width, size = (1, 5) if seed else (2.2, 9)
        ax.semilogx(leaks, curves[seed], color=colour, lw=width, label=label[0])
        ax.plot(1 / betas, points[seed], marker, color=colour, ms=size, label=label[1])
low, *_, high = np.linalg.eigvalsh(cases[0].S)
ax.axvspan(low, high, color=GREY, alpha=0.15, linewidth=0)
ax.text(
    (low * high) ** 0.5, 36, "eigenvalues of S", color=GREY, ha="center", fontsize=9
)
ax.text(1e-3, 1.5, "clamped pc", color=ORANGE, fontsize=9)
ax.text(1e4, 1.5, "zil", color=BLUE, fontsize=9, ha="right")
ax.set(xlabel="leak of control, 1 / nudge of predictive coding", ylabel="degrees")
ax.set(ylim=(-1, 39), title="Angles of all layers' errors: three networks")
_ = ax.legend(loc="center left")

# %% [markdown]
# ## A nearer clamp
#
# Usually predictive coding clamps its output. One may expect that the clamp gives backpropagation, too, if it is near
# enough: with small prediction errors the nodes hardly move away from the forward pass. So we clamp at $a_L - c\,e$
# with a small $c$, now in tanh networks. For comparison we nudge towards $a_L - e$ with $\beta = c$, and control with
# the leak $1/c$.
#
# > **Predict, then run.** The clamp moves to a tenth, a hundredth, a thousandth of the distance. What happens to the
# > angle between the errors and those of backpropagation? (a) It falls in proportion to $c$. (b) It hardly changes.
# > (c) It falls, but more slowly.

# %%
distances = np.array([1.0, 0.1, 0.01, 0.001])
rows = ("clamp", "nudge", "control", "clamp to minimum norm")
curved = {row: np.zeros((len(SEEDS), len(distances))) for row in rows}
for seed in SEEDS:
    net = network(15, 20, 12, 5, seed=seed, activation=mf.Tanh)
    x, e = inputs_and_errors(seed)
    out = net.predict(x)
    pairs = mf.metrics.errors(net, mf.rules.BP().attach(net), x, out - e, loss)
    bp = np.concatenate([true for _, true in pairs.values()], axis=1)
    names = [layer.name for layer in net.weighted]
    parts = minimum_norm(net, x, out - e, loss, names).values()
    smallest = np.concatenate(list(parts), axis=1)
    for i, c in enumerate(distances):
        clamped = errors(net, mf.rules.PC(gamma=0.15, steps=500), x, out - c * e)
        nudged = errors(net, mf.rules.PC(gamma=0.15, steps=500, beta=c), x, out - e)
        control = errors(net, mf.rules.DFC(leak=1 / c, weights="product"), x, out - e)
        curved["clamp"][seed, i] = angle(clamped, bp)
        curved["nudge"][seed, i] = angle(nudged, bp)
        curved["control"][seed, i] = angle(control, bp)
        curved["clamp to minimum norm"][seed, i] = angle(clamped, smallest)
    assert angle(errors(net, mf.rules.ZIL(), x, out - e), bp) < 1e-5

for i, c in enumerate(distances):
    print(f"c = {c:5.3f}:", *(f"{row} {curved[row][0, i]:5.2f} " for row in rows))
# seeds 0 to 7, at c = 1 and at 0.001: clamp 25 to 29 and 21 to 26, to minimum norm 12
# to 17 and 0.01 to 0.02; nudge 18 to 22 and 0.07 to 0.13; control 22 to 29 and 15 to 21
assert curved["clamp"].min() > 15 and curved["control"].min() > 10
assert curved["clamp to minimum norm"][:, -1].max() < 0.05
assert curved["nudge"][:, -1].max() < 0.3 and (np.diff(curved["nudge"]) < 0).all()

# %% [markdown]
# The answer is (b). However near the clamp is, the layers have to remove *all* of a now smaller error, and the smallest
# change that does it is minimum norm: the clamp's errors go **there** (last column). The nudge does not make the error
# smaller. It makes changes expensive, and if it is weak its angle to backpropagation falls in proportion to $\beta$.
# `zil` is at 0 degrees in these networks, too.
#
# The third curve shows a limit of the equality. Deep feedback control with the products of the weights stays away from
# backpropagation at all these leaks: with activation functions the product is not $J_l^\top$, which also contains the
# slopes of the layers above. Predictive coding uses them.

# %% [figure]
fig, ax = plt.subplots(figsize=(9, 3.9), layout="constrained")
for row, label, colour, marker in (
    ("control", "dfc, leak 1 / c", GREEN, "^"),
    ("clamp", "pc, clamped at c times the distance", ORANGE, "s"),
    ("nudge", "pc, nudge c", BLUE, "o"),
):
    for seed in SEEDS:
        style = {"color": colour, "marker": marker, "linewidth": 1 if seed else 2.2}
        ax.semilogx(
            distances, curved[row][seed], label=None if seed else label, **style
        )
ax.invert_xaxis()
ax.set(xlabel="c", ylabel="degrees", ylim=(-1, 30))
ax.set_title("Angle of all layers' errors to backpropagation: three tanh networks")
_ = fig.legend(loc="outside lower center", ncols=3)

# %% [markdown]
# ## Inversion, layer by layer
#
# In dynamic inversion the error goes down one layer at a time. A circuit at each layer settles to the change of the
# layer below that causes the change above, as far as the circuit's own leak $\lambda$ allows:
#
# $$\delta_{l-1} = \delta_l\,(W_l^\top W_l + \lambda I)^{-1}\, W_l^\top$$
#
# (before the slope of the activation function). This is ridge regression again, but of one layer by itself: although
# the output layer has received the error $e$, the hidden layer is to remove all of it, too.
#
# > **Predict, then run.** Take a linear network with one hidden layer. With which leak does dynamic inversion give the
# > hidden layer an error in the direction of deep feedback control with a leak of 1? (a) With a leak of 1. (b) With a
# > leak of 2. (c) With none: it is another direction.

# %%
shallow = [network(15, 20, 5, seed=seed) for seed in SEEDS]


def hidden(rule, seed=0):
    """The rule's errors at the hidden layer, (n, 20)."""
    x, e = inputs_and_errors(seed)
    return errors(shallow[seed], rule, x, shallow[seed].predict(x) - e)[:, :20]


for seed in SEEDS:
    control = hidden(mf.rules.DFC(leak=1.0, weights="product"), seed)
    apart = {
        leak: angle(hidden(mf.rules.DI(leak=leak), seed), control)
        for leak in (0.5, 1.0, 2.0, 4.0)
    }
    print(
        f"seed {seed}:",
        *(f"leak {leak}: {degrees:.4f} degrees " for leak, degrees in apart.items()),
    )
    assert apart.pop(2.0) < 1e-4 and min(apart.values()) > 1

# %% [markdown]
# The answer is (b). In this network $S = I + W_2^\top W_2$, so the bracket of control is
# $W_2^\top W_2 + (1 + \lambda) I$, with the leak $\lambda$ of control: **the leak of inversion is one more than the
# leak of control, $1 + \lambda = 1 + 1/\beta$.** The 1 is the output layer, which makes a part of the change under
# control and predictive coding. Inversion goes beyond their end: with a leak of 1 it meets minimum norm, and with a
# leak near 0 the hidden layer removes all of the error alone. This is `pbp`, the pseudo-inverse, and the
# **Gauss-Newton** direction of the hidden layer, $e\,(J_l^+)^\top$: the smallest change of this layer alone that
# removes the output error.
#
# In deep networks inversion leaves the curve. In the linear networks of the first sections we compare its errors at the
# lowest layer, for a leak of 1, with those of control for all its leaks:

# %%
off_curve = []
for case in cases:
    net, x, y = case.net, case.x, case.y
    inversion = errors(net, mf.rules.DI(leak=1.0), x, y)[:, :20]
    curve = [mf.rules.DFC(leak=leak, weights="product") for leak in leaks]
    apart = [angle(inversion, errors(net, rule, x, y)[:, :20]) for rule in curve]
    off_curve.append(min(apart))
print("degrees to the nearest point:", *(f"{degrees:.0f}" for degrees in off_curve))
# seeds 0 to 7: 17 to 23
assert min(off_curve) > 12

# %% [markdown]
# Where do its leaks lead then? We train three tanh networks with three hidden layers on the digits by backpropagation,
# and compare the errors of dynamic inversion with those of backpropagation and with Gauss-Newton's, here at the output
# $h_l$ of each layer, since the Gauss-Newton direction of tutorial 17 is there.

# %%
data, cross_entropy = mf.data.load("digits"), mf.SoftmaxCrossEntropy()
x, y = mf.asarray(data.test.x[:100]), data.test.y[:100]
places = ("tanh3", "tanh2", "tanh1")
circuit_leaks = np.geomspace(1e-3, 1e3, 7)
deep = {place: np.zeros((len(SEEDS), len(circuit_leaks))) for place in places}
newton = {place: np.zeros((len(SEEDS), len(circuit_leaks))) for place in places}
for seed in SEEDS:
    layers = [mf.Flatten()]
    for _ in range(3):
        layers += [mf.Linear(64, 64, init="gaussian(0.125)"), mf.Tanh()]
    layers += [mf.Linear(64, 10, init="gaussian(0.125)")]
    net = mf.Network(layers, seed, data.input_shape)
    rule, optimizer = mf.rules.BP().attach(net), mf.SGD(0.02, momentum=0.9)
    plan = {"epochs": 10, "seed": seed, "progress": False}
    mf.train(net, rule, data.train, cross_entropy, optimizer, **plan)
    for i, leak in enumerate(circuit_leaks):
        rule = mf.rules.DI(leak=leak).attach(net)
        found = target_alignment(net, rule, x, y, cross_entropy)
        for place in places:
            deep[place][seed, i] = found[place]["bp_angle"]
            newton[place][seed, i] = found[place]["gn_angle"]
    smallest = [
        np.linalg.eigvalsh(net[f"linear{i}"].W.T @ net[f"linear{i}"].W)[0]
        for i in (4, 3, 2)
    ]
    print(
        f"seed {seed}, smallest squared singular values of linear4, linear3, linear2:",
        *(f"{value:.4f}" for value in smallest),
    )

for place in places:
    for end, angles in (("backpropagation", deep), ("Gauss-Newton", newton)):
        print(
            f"{place}, degrees to {end:15}",
            *(f"{value:4.1f}" for value in angles[place].mean(axis=0)),
        )
    # seeds 0 to 7: every curve falls, to 0.1 degrees
    assert (np.diff(deep[place]) < 0).all() and deep[place][:, -1].max() < 0.5
assert newton["tanh3"][:, 0].max() < 0.5
assert min(newton["tanh2"][:, 0].min(), newton["tanh1"][:, 0].min()) > 40

# %% [figure]
fig, (left, right) = plt.subplots(1, 2, figsize=(9, 4.1), layout="constrained")
true, fine = hidden(mf.rules.BP()), np.geomspace(1e-3, 1e3, 40)
curve = [angle(hidden(mf.rules.DI(leak=leak)), true) for leak in fine]
left.semilogx(fine, curve, color=BLUE, linewidth=2, label="di")
for leak in (1.0, 4.0, 20.0, 100.0):
    control = hidden(mf.rules.DFC(leak=leak, weights="product"))
    coding = hidden(mf.rules.PC(gamma=0.15, steps=500, beta=1 / leak))
    left.plot(1 + leak, angle(control, true), "o", color=GREEN, ms=10)
    left.plot(1 + leak, angle(coding, true), "s", color=ORANGE, ms=5)
left.plot([], [], "o", color=GREEN, ms=10, label="dfc, its leak + 1")
left.plot([], [], "s", color=ORANGE, ms=5, label="pc, 1 / its nudge + 1")
clamped = angle(hidden(mf.rules.PC(gamma=0.15, steps=500)), true)
left.plot(1, clamped, "D", color=ORANGE, ms=9, mfc="white", label="pc, clamped")
inverse = angle(hidden(mf.rules.PBP()), true)
left.plot(1e-3, inverse, ">", color="black", ms=8, label="pbp, leak 0")
left.set(xlabel="leak of di", ylabel="degrees to backpropagation", ylim=(-1, 19))
left.set(yticks=range(0, 19, 3), title="One hidden layer, linear")
left.legend(loc="upper right")
for place, colour, marker in zip(places, (BLUE, GREEN, PINK), "os^", strict=True):
    for seed in SEEDS:
        style = {"color": colour, "marker": marker, "linewidth": 1 if seed else 2.2}
        label = None if seed else f"di, {place}"
        right.semilogx(circuit_leaks, deep[place][seed], label=label, **style)
right.set(xlabel="leak of di", ylabel="degrees to backpropagation", ylim=(-4, 98))
right.set_title("Three hidden layers, digits")
_ = right.legend(loc="upper right")

# %% [markdown]
# A large leak turns inversion into backpropagation at every layer. The other end is Gauss-Newton only at the highest
# hidden layer. Further down, at the smallest leak here, the errors are 74 and 87 degrees from it, and about as far from
# backpropagation's. The weights between the hidden layers have squared singular values near zero, and their inverse
# amplifies directions that hardly pass through them. But without such values inversion does not lead to Gauss-Newton
# either. We take networks of the same shape whose weights have singular values from 0.5 to 1.5, or all equal to 1, and
# a leak of $10^{-6}$.


# %%
def orthogonal(rng, rows, columns):
    return np.linalg.qr(rng.standard_normal((rows, rows)))[0][:, :columns]


leak, ends = 1e-6, {}
for activation in (None, mf.Tanh):
    for values in ((0.5, 1.5), (1.0, 1.0)):
        found = []
        for seed in SEEDS:
            net = network(64, 64, 64, 64, 10, seed=seed, activation=activation)
            rng = np.random.default_rng(seed)
            for layer in net.weighted:
                rows, columns = layer.W.shape
                between = np.linspace(*values, columns)
                left, right = (orthogonal(rng, n, columns) for n in (rows, columns))
                layer.W = mf.asarray(left * between @ right.T)
            if activation is None:  # the pseudo-inverse of a product of two layers
                A, B = net["linear3"].W, net["linear4"].W
                chain = np.linalg.pinv(B) @ np.linalg.pinv(A)
                of_product = np.linalg.pinv(A @ B)
                found.append(np.linalg.norm(chain - of_product) / np.linalg.norm(chain))
            aligned = target_alignment(
                net,
                mf.rules.DI(leak=leak).attach(net),
                x.reshape(100, 64),
                y,
                cross_entropy,
            )
            kind = "linear" if activation is None else "tanh"
            angles = [aligned[f"{kind}{i}"]["gn_angle"] for i in (1, 2, 3)]
            ends[kind, values[0], seed] = angles
            print(
                f"{kind:6} singular values {values[0]} to {values[1]}, seed {seed}: "
                "degrees to Gauss-Newton",
                *(f"{degrees:4.1f}" for degrees in angles),
                *(f"  B⁺A⁺ differs by {one:.0e} from (AB)⁺" for one in found[seed:]),
            )
for (kind, low, _), angles in ends.items():
    assert angles[2] < 0.1
    assert (min(angles[:2]) > 25) if low < 1 else (max(angles[:2]) < 20)
    assert (kind, low) != ("linear", 1.0) or max(angles) < 0.1

# %% [markdown]
# Even far from zero the singular values give 31 to 47 degrees in the two lower layers. Inversion multiplies the
# pseudo-inverses of the layers, and the pseudo-inverse of a product $A B$ is in general not $B^+ A^+$. They are equal,
# for example, if all layers are square and invertible, the output layer included, or if no layer is wider than the one
# below it and the singular values of each layer are equal, as in the linear networks at 0.0. With tanh the slopes are
# between the weights, and even equal singular values leave an angle. Control and predictive coding change all layers
# together: in a linear network their smallest leak gives the smallest change of all layers, whatever the weights are.
#
# ## Summary
#
# - In linear networks deep feedback control with $Q = J^\top$ and nudged predictive coding are the same ridge
#   regression, with $\lambda = 1/\beta$: minimum norm for a small leak, backpropagation for a large one.
# - A clamp that comes nearer leads to minimum norm, a nudge that becomes weaker to backpropagation. Z-IL is
#   backpropagation exactly, because each layer learns when the error arrives.
# - Dynamic inversion solves a ridge regression for one layer at a time. With one hidden layer and a leak of at least 1
#   it is on the same curve, at the leak of control plus 1; in deep networks it is not.
# - All this is about the direction of the errors, at given weights. Which end learns better is another question, which
#   nothing here measures.
#
# ## Exercises
#
# Replace each `...`, then run the cell: it checks your answer.
#
# **1. How far apart can the ends be?** For one error $e$ the cosine between minimum norm and backpropagation is
# $\lVert e \rVert^2 / \sqrt{(e S e^\top)(e S^{-1} e^\top)}$. It is smallest if $e$ has equal parts along the
# eigenvectors with the smallest and the largest eigenvalue of $S$, and nothing else. Fill in the largest angle in
# degrees, from these two eigenvalues.


# %%
def largest_angle(low, high):
    return ...


# Check
if largest_angle(1.0, 2.0) is ...:
    print("not filled in yet")
else:
    for case in cases:
        values, vectors = np.linalg.eigh(case.S)
        bound = largest_angle(values[0], values[-1])
        e = np.random.default_rng(0).standard_normal((10_000, 5))
        e[0] = vectors[:, 0] + vectors[:, -1]
        smallest = e @ np.linalg.inv(case.S) @ case.J
        found = mf.metrics.sample_angles(e @ case.J, smallest)
        print(f"first error {found[0]:.2f}, largest of 10,000 {np.max(found):.2f}")
        assert abs(bound - found[0]) < 1e-6, "not the angle of the first error"
        assert np.max(found) < bound + 1e-6
    print("right")

# %% [markdown]
# <details><summary>Solution</summary>
#
# ```python
# def largest_angle(low, high):
#     cosine = 2 * np.sqrt(low * high) / (low + high)
#     return np.degrees(np.arccos(cosine))
# ```
#
# With $e = (1, 1)$ along the two eigenvectors the cosine is $2/\sqrt{(p + q)(1/p + 1/q)} = 2\sqrt{p\,q}/(p + q)$, where
# $p$ and $q$ are the two eigenvalues. By Kantorovich's inequality no other error has a smaller one. Only the ratio of
# the eigenvalues counts: 53 degrees for a ratio of 9, 0 if they are equal.
# </details>
#
# **2. A leak for a purpose.** Let $e$ be along the eigenvector of $S$ with the eigenvalue $s$. How far does the output
# go on its way to the target? Fill in the leak of control with which it makes the given share of it, and the nudge
# $\beta$ with which predictive coding makes the same share. Then predict, before you run: with a leak that makes half
# of the way along the eigenvector with the *largest* eigenvalue, are the errors for random $e$ nearer to
# backpropagation or to minimum norm? And with the *smallest* eigenvalue?


# %%
def leak_for(share, s):
    return ...


def nudge_for(share, s):
    return ...


# Check
if ... in (leak_for(0.5, 2.0), nudge_for(0.5, 2.0)):
    print("not filled in yet")
else:
    case = cases[0]
    values, vectors = np.linalg.eigh(case.S)
    for k, share in ((0, 0.5), (0, 0.9), (-1, 0.5), (-1, 0.1)):
        e = np.tile(vectors[:, k], (32, 1))
        out = case.net.predict(case.x)
        leak, beta = leak_for(share, values[k]), nudge_for(share, values[k])
        control = mf.rules.DFC(leak=leak, weights="product")
        errors(case.net, control, case.x, out - e)
        coding = mf.rules.PC(gamma=0.15, steps=2500, beta=beta)
        errors(case.net, coding, case.x, out - e)
        reached = [
            np.linalg.norm(control.controlled["linear3"] - out, axis=1) / control.eta,
            np.linalg.norm(coding.nodes["linear3"] - out, axis=1),
        ]
        dfc, pc = (float(one.mean()) for one in reached)
        print(f"eigenvalue {values[k]:.1f}, share {share}: dfc {dfc:.3f}, pc {pc:.3f}")
        assert abs(dfc - share) < 1e-4, "another share under control"
        assert abs(pc - share) < 1e-4, "another share under predictive coding"
    for name, k in (("largest", -1), ("smallest", 0)):
        leak = leak_for(0.5, values[k])
        control = mf.rules.DFC(leak=leak, weights="product")
        found = errors(case.net, control, case.x, case.y)
        to_ends = [angle(found, end) for end in (case.bp, case.smallest)]
        print(f"half of the way, {name} eigenvalue, leak {leak:.1f}:", end=" ")
        print("{:.0f} degrees to bp, {:.0f} to minimum norm".format(*to_ends))
    print("right")

# %% [markdown]
# <details><summary>Solution</summary>
#
# ```python
# def leak_for(share, s):
#     return s * (1 - share) / share
#
#
# def nudge_for(share, s):
#     return 1 / leak_for(share, s)
# ```
#
# The output moves by $u\,S$, which for this $e$ is $-\eta\,e\,s/(s + \lambda)$: the share is $s/(s + \lambda)$. Half of
# the way takes $\lambda = s$. With the largest eigenvalue this leak is on the side of backpropagation, with the
# smallest on the side of minimum norm. The whole way would take a leak of 0 or an infinite nudge: this is the clamp.
# </details>
#
# **3. Weights for which it does not matter.** Exercise 1 shows when all of the continuum is backpropagation: if all
# eigenvalues of $S$ are equal. Fill in weights `W2` (20, 5) of the output layer, not zero, with which minimum norm,
# the pseudo-inverse and backpropagation give the hidden layer the same direction.

# %%
W2 = ...

# Check
if W2 is ...:
    print("not filled in yet")
else:
    net = network(15, 20, 5)
    net["linear2"].W = mf.asarray(W2)
    x, e = inputs_and_errors(0)
    y = net.predict(x) - e
    true = errors(net, mf.rules.BP(), x, y)[:, :20]
    assert np.linalg.norm(true) > 0, "weights of zero carry no error"
    for rule in (mf.rules.DFC(leak=1e-3, weights="product"), mf.rules.PBP()):
        apart = angle(errors(net, rule, x, y)[:, :20], true)
        print(f"{rule.label}: {apart:.4f} degrees to backpropagation")
        assert apart < 0.01, "another direction than backpropagation's"
    print("right")

# %% [markdown]
# <details><summary>Solution</summary>
#
# ```python
# W2, _ = np.linalg.qr(np.random.default_rng(0).standard_normal((20, 5)))
# ```
#
# The columns are orthogonal and have the same length, so $W_2^\top W_2$ is a multiple of the identity (any multiple
# will do), and so is $S$ between $e$ and $J$.
# </details>
