# %% [markdown]
# # 06 · What a sign is worth
#
# **Keep only the signs of W and discard all magnitudes: the angle between this matrix and W is 37 degrees, or 30,
# depending on the distribution of W; with random magnitudes it is 50, or 41. These four numbers follow from a
# derivation of three lines, and so do the angles when only a part of the signs agrees, or when the error passes many
# layers. Such feedback is enough to train a network.**
#
# Why this matters: exact copies of weights for the backward pass are implausible in a brain and expensive on a chip. A
# sign is one bit. That feedback with the correct signs trains deep networks was found by Liao, Leibo & Poggio (2016)
# and, for deep convolutional networks, by Moskovitz, Litwin-Kumar & Abbott (2018).
#
# **Sign feedback in the explorer:** `minifa explore --rules usf,frsf,bp -o page.html`, then open
# `page.html#step/usf/10` ("Feedback matrix of linear3: B"): $W$ beside $B$. In the terminal, a step of a smaller
# network: `minifa step --rule usf`.

# %%
import matplotlib.pyplot as plt
import numpy as np

import minifa as mf
from minifa.experiments import Experiment, run
from minifa.initialisers import INITIALISERS

plt.rcParams.update(mf.figures.STYLE)
mf.use("numpy", threads=1)  # layers as small as these gain nothing from a second thread
BLUE, ORANGE, GREEN, PINK = mf.figures.COLOURS[:4]
GREY = "#777777"
STYLES = {  # one style for each rule and distribution of weights, in all figures
    ("usf", "normal"): {"color": BLUE, "marker": "o"},
    ("frsf", "normal"): {"color": ORANGE, "marker": "s"},
    ("usf", "uniform"): {"color": GREEN, "marker": "^"},
    ("frsf", "uniform"): {"color": PINK, "marker": "D"},
}
data, loss = mf.data.load("digits"), mf.SoftmaxCrossEntropy()


def degrees(cosine):
    return np.degrees(np.arccos(cosine))


def mark_chance(ax):
    ax.axhline(90, color="#555555", linewidth=1, linestyle=(0, (4, 3)), label="chance")


# %% [markdown]
# ## Four feedback matrices
#
# Split a large Gaussian W into signs and magnitudes. There are four candidates for B: one that is independent of W, one
# with W's magnitudes and random signs, one with W's signs and the same magnitude everywhere (`usf`, *uniform*
# sign-concordant feedback), and one with W's signs and random magnitudes (`frsf`, *fixed random* ones). Flatten each
# matrix into a vector and measure its angle to W.
#
# > **Predict, then run.** Which is closer to W: the B with W's signs and one magnitude for all entries, or the B with
# > W's magnitudes and random signs? (a) The one with the signs. (b) The one with the magnitudes. (c) Both are at 45
# > degrees.

# %%
rng = np.random.default_rng(0)
W, M = rng.standard_normal((2, 1000, 1000))
candidates = {
    "nothing of W:\nall random": M,
    "W's magnitudes,\nrandom signs": abs(W) * np.sign(M),
    "W's signs,\none magnitude (usf)": np.sign(W),
    "W's signs, random\nmagnitudes (frsf)": abs(M) * np.sign(W),
}
angles = {name: float(mf.metrics.angle(W, B)) for name, B in candidates.items()}

# %% [figure]
fig, axes = plt.subplots(
    1, 4, figsize=(9, 2.9), layout="constrained", sharex=True, sharey=True
)
for ax, (name, B), colour in zip(
    axes, candidates.items(), (GREY, PINK, BLUE, ORANGE), strict=True
):
    ax.plot(W.flat[:1500], B.flat[:1500], ".", color=colour, markersize=2, alpha=0.6)
    ax.set_title(f"{name}\n{angles[name]:.2f}°", fontsize=10, loc="center")
    ax.set(xlabel="entry of W", aspect="equal", xlim=(-3.4, 3.4), ylim=(-3.4, 3.4))
first = axes[0].set_ylabel("the same entry of B")

# %% [markdown]
# The answer is (a). Every dot is one entry. The correlation of the two coordinates determines the angle: a B equal to W
# would lie on the diagonal. The magnitudes alone contribute nothing, **90 degrees**: with random signs the
# contributions cancel. The signs alone give most of the agreement.
#
# ## The derivation
#
# Write every entry of W as sign times magnitude, $w = s\,|w|$. With $B = s$ for every entry the signs cancel,
# $s^2 = 1$, in all $n$ products of $\langle W, B\rangle$:
#
# $$\cos(W, \mathrm{sign}\,W) = \frac{\sum |w|}{\sqrt{\sum w^2}\,\sqrt{n}} \longrightarrow
# \frac{\mathrm E|w|}{\sqrt{\mathrm E\,w^2}} =: c_0$$
#
# $$\cos(W, |M|\,\mathrm{sign}\,W) \longrightarrow
# \frac{\mathrm E|w| \; \mathrm E|m|}{\sqrt{\mathrm E\,w^2\;\mathrm E\,m^2}} = c_0^2
# \qquad\text{if W and M are drawn alike}$$
#
# $$c_0 = \sqrt{2/\pi} \;\text{ for Gaussian weights}, \qquad c_0 = \sqrt{3}/2 \;\text{ for uniform ones}$$
#
# (A Gaussian of sd 1 has mean magnitude $\sqrt{2/\pi}$; between -1 and 1 the mean magnitude is $1/2$ and the root mean
# square $1/\sqrt3$.)

# %%
c0 = {"normal": np.sqrt(2 / np.pi), "uniform": np.sqrt(3) / 2}
for family, c in c0.items():
    W, M = (
        rng.standard_normal((2, 1000, 1000))
        if family == "normal"
        else rng.uniform(-1, 1, (2, 1000, 1000))
    )
    for name, B, cosine in (
        ("usf ", np.sign(W), c),
        ("frsf", abs(M) * np.sign(W), c**2),
    ):
        measured = float(mf.metrics.angle(W, B))
        print(
            f"{name} {family:8} by the formula {degrees(cosine):.2f}°   measured "
            f"{measured:.2f}°"
        )
        # of 10⁶ entries; five seeds: 0.07 at most
        assert abs(measured - degrees(cosine)) < 0.2

# %% [markdown]
# Only the ratio of mean magnitude to root mean square matters: how *equal* the magnitudes are. The magnitudes of
# uniform weights are more equal than those of Gaussian ones, so a single magnitude describes them better. The scale of
# B does not matter here: an angle does not depend on the norm of B (tutorial 07 is about this norm).
#
# ## The layers of a network
#
# We measure the same angles in minifa's default network, six convolutions and a linear layer, with He initialisation
# from both distributions. These matrices have between 640 and 2304 entries, so each layer deviates a little from the
# line.


# %%
def measured_at_start(rule, init, seed=0):
    """The values of `mf.metrics.alignment` for every layer, before training."""
    net = mf.Network(
        mf.models.cnn(data.input_shape, 10), seed=seed, input_shape=data.input_shape
    )
    for layer in net.weighted:
        layer.init = INITIALISERS[init]
        layer.initialise(seed)
    rule = mf.rules.make(rule, seed=seed).attach(net)
    return mf.metrics.alignment(net, rule, data.train.x[:256], data.train.y[:256], loss)


layer_angles = {}  # of the layers that have a B
for rule, family in STYLES:
    rows = measured_at_start(rule, f"he_{family}").items()
    layer_angles[rule, family] = {
        name: row["weight_angle"]
        for name, row in rows
        if row["weight_angle"] is not None
    }
    found = np.array(list(layer_angles[rule, family].values()))
    expected = degrees(c0[family] ** (1 if rule == "usf" else 2))
    print(
        f"{rule:4} {family:7} by the formula {expected:.1f}, measured", found.round(1)
    )
    assert abs(found - expected).max() < 4.5  # five seeds: 2.3 at most

# %% [figure]
fig, ax = plt.subplots(figsize=(9, 3.6), layout="constrained")
for (rule, family), measured in layer_angles.items():
    style, expected = (
        STYLES[rule, family],
        degrees(c0[family] ** (1 if rule == "usf" else 2)),
    )
    ax.plot(measured.keys(), measured.values(), **style, linestyle="none", markersize=8)
    ax.hlines(expected, -0.4, len(measured) - 0.6, color=style["color"], linewidth=1.5)
    text, place = f"{rule}, {family}\n{expected:.2f}°", (len(measured) - 0.5, expected)
    ax.text(*place, text, va="center", color=style["color"])
ax.set(ylabel="angle between W and B (degrees)", ylim=(25, 56), xlim=(-0.4, 6.2))
_ = ax.set_title("Four angles, by formula (lines) and layer by layer")

# %% [markdown]
# The lowest layer, `conv1`, has no B: there is no layer below it that needs an error.
#
# ## Partial agreement of signs
#
# Let each sign be correct with probability $p$. A correct sign contributes as before, a wrong one with the opposite
# sign, so on average
#
# $$\cos = p\,c_0 - (1-p)\,c_0 = (2p - 1)\,c_0$$
#
# With $p = \frac12$ the signs are random, and the angle is 90 degrees. With $p = \frac34$ half of the cosine is left.
# In minifa this is the option `concordance`; the entries that disagree are drawn once.
#
# > **Predict, then run.** If three signs in four are right, `usf` is at (a) about 46 degrees, a quarter more than 37;
# > (b) about 66; (c) about 80.

# %%
agreement = np.array([0.5, 0.6, 0.7, 0.75, 0.8, 0.9, 1.0])
partial = {}
for rule, power in (("usf", 1), ("frsf", 2)):
    options = [f"{rule}:concordance={p}" for p in agreement]
    rows = [measured_at_start(option, "he_normal")["conv3"] for option in options]
    partial[rule] = np.array([row["weight_angle"] for row in rows])
    expected = degrees((2 * agreement - 1) * c0["normal"] ** power)
    print(
        f"{rule:4} by the formula",
        expected.round(1),
        "measured",
        partial[rule].round(1),
    )
    assert abs(partial[rule] - expected).max() < 6  # five seeds: 2.2 at most

# %% [figure]
fig, ax = plt.subplots(figsize=(9, 3.6), layout="constrained")
curve = np.linspace(0.5, 1, 101)
for rule, power in (("usf", 1), ("frsf", 2)):
    style, label = STYLES[rule, "normal"], f"{rule}, measured at conv3"
    law = degrees((2 * curve - 1) * c0["normal"] ** power)
    ax.plot(curve, law, color=style["color"])
    ax.plot(agreement, partial[rule], **style, linestyle="none", label=label)
mark_chance(ax)
ax.set(xlabel="probability p that a sign agrees", ylim=(30, 95))
ax.set(ylabel="angle between W and B (degrees)")
ax.set_title("Fewer right signs, a wider angle: lines by formula")
_ = ax.legend(loc="lower left")

# %% [markdown]
# The answer is (b): the cosine is halved, the angle nearly doubled.
#
# ## Many layers
#
# So far we compared matrices. A layer learns from the **error** that it receives, and this error has passed all layers
# above. Let $\rho$ be the cosine between W and B. A delta carried by B then has a component of the relative size $\rho$
# along the delta that W would have carried; the remainder is unrelated to it. At the next layer this component shrinks
# by a factor $\rho$ again, and the remainder stays unrelated. After $k$ layers
#
# $$\cos(\delta_{\text{rule}}, \delta_{\text{BP}}) = \rho^k$$
#
# The argument assumes wide linear layers. We measure it there, and then in the convolutional network with its ReLUs,
# pooling and 16 channels, where the law need not hold.
#
# > **Predict, then run.** With `usf` and Gaussian weights $\rho = 0.80$. At which angle is the error after six layers?
# > (a) At 37 degrees: every layer has the right signs. (b) At about 75. (c) At 90, chance.

# %%
depth = 8


def deep_linear(rule, init, seed=0):
    """The angle between the rule's and backpropagation's delta, from the output down,
    in a deep linear network."""
    layers = [mf.Flatten(), mf.Linear(64, 512, init=init)]
    layers += [mf.Linear(512, 512, init=init) for _ in range(depth - 1)] + [
        mf.Linear(512, 10, init=init)
    ]
    net = mf.Network(layers, seed=seed, input_shape=data.input_shape)
    rule = mf.rules.make(rule, seed=seed).attach(net)
    alignment = mf.metrics.alignment(
        net, rule, data.train.x[:128], data.train.y[:128], loss
    )
    return np.array([row["true_angle"] for row in alignment.values()][::-1])


crossed = np.arange(depth + 1)
carried = {}  # law, deep linear network, convolutional network
for rule, family in (("usf", "uniform"), ("usf", "normal"), ("frsf", "normal")):
    law = degrees((c0[family] ** (1 if rule == "usf" else 2)) ** crossed)
    linear = deep_linear(rule, f"he_{family}")
    rows = measured_at_start(rule, f"he_{family}").values()
    cnn = np.array([row["true_angle"] for row in rows][::-1])
    carried[rule, family] = law, linear, cnn
    print(f"{rule:4} {family:7} after 6 layers: {law[6]:.0f} by the law,", end=" ")
    print(
        f"{linear[6]:.0f} in the linear network, {cnn[6]:.0f} in the convolutional one"
    )
    assert abs(linear - law).max() < 6  # five seeds: 3.2 at most
    assert abs(cnn - law[:7]).max() < 13  # five seeds: 7.6 at most

# %% [figure]
fig, ax = plt.subplots(figsize=(9, 4), layout="constrained")
for (rule, family), (law, linear, cnn) in carried.items():
    rho = c0[family] ** (1 if rule == "usf" else 2)
    style = {**STYLES[rule, family], "linestyle": "none", "markersize": 7, "mew": 1.5}
    ax.plot(
        crossed, law, color=style["color"], label=f"{rule}, {family}: ρ = {rho:.2f}"
    )
    ax.plot(crossed, linear, **style)
    ax.plot(crossed[:7], cnn, **style, markerfacecolor="none")
mark_chance(ax)
style = {"marker": "o", "linestyle": "none", "color": GREY, "mew": 1.5}
ax.plot([], [], **style, label="deep linear network, 512 wide")
ax.plot([], [], **style, markerfacecolor="none", label="convolutional network")
ax.set(xlabel="layers crossed on the way down", ylim=(-3, 95))
ax.set(ylabel="angle to backpropagation's delta (degrees)")
ax.set_title("The error loses a factor ρ per layer")
_ = ax.legend(ncols=2, loc="lower right")

# %% [markdown]
# The answer is (b). With a single sign bit per weight the angle after six layers is 75 degrees: a cosine of one
# quarter. This may seem small, but in a space of thousands of dimensions it is far from chance, and an error at less
# than 90 degrees still gives a descent direction.
#
# ## Training with signs
#
# We train six convolutions for six epochs with `usf`, of whose signs a fraction $p$ is correct, with and without batch
# norm, with two seeds each. With batch norm the learning rate is 0.01 for all. Without it, each $p$ has the one that
# was best for it of 0.001, 0.003 and 0.01 (test accuracy, seeds 0 to 4), and $p = 0.7$ is trained a second time: 60
# epochs at a small rate, one seed. There are two controls: backpropagation (`bp`), two seeds, and an output layer
# trained alone (`shallow`) on untrained features, 20 epochs and one seed.

# %%
agreement = (0.5, 0.7, 0.85, 1.0)
networks = {
    "with batch norm": ({"batch_norm": True}, (0.01, 0.01, 0.01, 0.01)),
    "without": ({}, (0.001, 0.001, 0.003, 0.01)),
}


def scores(rule, rate, options, seeds=2, epochs=6):
    plan = {
        "data": "digits",
        "model_options": options,
        "epochs": epochs,
        "alignment": False,
    }
    # with random signs and no batch norm, numbers may grow without bound
    with np.errstate(all="ignore"):
        return [
            run(Experiment(rule=rule, lr=rate, seed=seed, **plan), data)[0].score
            for seed in range(seeds)
        ]


accuracy, bp, shallow = {}, {}, {}
for name, (options, rates) in networks.items():
    parts = zip(agreement, rates, strict=True)
    accuracy[name] = np.array(
        [scores(f"usf:concordance={p}", rate, options) for p, rate in parts]
    )
    bp[name] = np.mean(scores("bp", 0.01, options))
    shallow[name] = scores("shallow", 0.1, options, seeds=1, epochs=20)[0]
    print(
        f"{name:16}",
        *(
            f"p={p}: {seeds.mean():.3f} "
            for p, seeds in zip(agreement, accuracy[name], strict=True)
        ),
    )
    print(" " * 16, f"bp: {bp[name]:.3f}  shallow, 20 epochs: {shallow[name]:.3f}")
longer = scores("usf:concordance=0.7", 0.0003, {}, seeds=1, epochs=60)[0]
print(f"without, p=0.7, 60 epochs at 0.0003, one seed: {longer:.3f}")
with_norm, without = (accuracy[name].mean(axis=1) for name in networks)
# five seeds: 0.97 to 0.98 with batch norm, backpropagation 0.97 to 0.99, in each seed
# 0.01 apart at most
assert with_norm[-1] > 0.94 and abs(with_norm[-1] - bp["with batch norm"]) < 0.03
# p = 0.7: 0.82 to 0.89, p = 0.5: 0.34 to 0.76
assert with_norm[-1] > with_norm[1] + 0.03 and with_norm[1] > with_norm[0] + 0.03
# without batch norm, five seeds: 0.84 to 0.94; the output layer alone 0.70 to 0.76; p =
# 0.7: 0.22 to 0.30, and 0.81 to 0.92 after 60 epochs
assert without[-1] > shallow["without"] + 0.03 and shallow["without"] > without[1] + 0.3
assert longer > without[1] + 0.35

# %% [figure]
fig, ax = plt.subplots(figsize=(9, 4), layout="constrained")
for i, (name, values) in enumerate(accuracy.items()):
    colour, marker = mf.figures.COLOURS[i], mf.figures.MARKERS[i]
    ax.plot(agreement, values.mean(axis=1), color=colour)
    ax.plot(agreement, values, marker, color=colour, markersize=5)
    ax.axhline(shallow[name], color=colour, linestyle=(0, (1, 2)))
    ax.text(1.012, values[-1].mean(), f"usf, {name}", color=colour, va="center")
ax.text(
    1.012, min(shallow.values()) - 0.01, "output layer\nalone", color=GREY, va="top"
)
ax.plot(0.7, longer, "*", color=mf.figures.COLOURS[1], markersize=11)
note = ax.text(
    0.69,
    longer,
    "60 epochs",
    color=mf.figures.COLOURS[1],
    va="center",
    ha="right",
)
ax.set(
    xlabel="probability p that a sign agrees",
    ylabel="test accuracy",
    ylim=(0, 1.02),
    xlim=(0.49, 1.15),
)
ax.set_xticks(agreement)
title = ax.set_title("Six epochs: the more signs agree, the better (a dot per seed)")

# %% [markdown]
# With all signs correct and batch norm, one bit per weight ends within 0.01 of backpropagation in each of five seeds
# (0.97 to 0.98; 360 test images alone give a standard error of 0.008). Now compare the slopes. With batch norm every
# increase of the fraction of correct signs helps, and 85 in 100 give 0.93 to 0.97. Without it, after six epochs with
# three signs in ten wrong the network is far below an output layer on untrained features. But learning is only slow
# there, and depends on the rate: at 0.0003 the same feedback exceeds this control within 60 epochs (0.81 to 0.92, five
# seeds; the output layer alone 0.70 to 0.76 after 20 epochs and 0.73 to 0.81 after 60), while at 0.001 three seeds of
# three fell back to chance within 30 (`minifa compare --rules usf:concordance=0.7 --lr 0.001 --epochs 30 --seeds 3`).
# Tutorial 07 explains the effect of batch norm.
#
# ## Summary
#
# - $\cos(W, \mathrm{sign}\,W) = \mathrm E|w| / \sqrt{\mathrm E w^2}$: 37.07 degrees for Gaussian weights, 30.00 for
#   uniform ones; random magnitudes square it: 50.46 and 41.41. Magnitudes without signs are at 90 degrees to W.
# - Signs that agree with probability $p$ leave $(2p-1)$ of the cosine, and $k$ layers leave $\rho^k$.
# - This is enough to train six convolutions.
#
# ## Exercises
#
# Replace each `...`, then run the cell: it checks your answer.
#
# **1. Unequal magnitudes.** Draw W from a Laplace distribution (many small weights, a few large ones): at scale 1,
# $\mathrm E|w| = 1$ and $\mathrm E w^2 = 2$. Fill in the angles of `usf` and `frsf` (M is drawn like W). For which W is
# `usf` at 0 degrees?

# %%
usf_angle, frsf_angle = ..., ...  # degrees

# Check
if usf_angle is ... or frsf_angle is ...:
    print("not filled in yet")
else:
    W, M = np.random.default_rng(0).laplace(size=(2, 1000, 1000))
    usf_found = float(mf.metrics.angle(W, np.sign(W)))
    frsf_found = float(mf.metrics.angle(W, abs(M) * np.sign(W)))
    print(f"measured: usf {usf_found:.2f} degrees, frsf {frsf_found:.2f}")
    assert abs(usf_found - usf_angle) < 0.3, "another angle for usf"
    assert abs(frsf_found - frsf_angle) < 0.3, "another angle for frsf"
    print("right")

# %% [markdown]
# <details><summary>Solution</summary>
#
# ```python
# usf_angle = degrees(1 / np.sqrt(2))  # 45
# frsf_angle = degrees(1 / 2)  # 60
# ```
#
# The less equal the magnitudes are, the larger is the angle. If all magnitudes are equal (W of +1 and -1), it is 0.
# </details>
#
# **2. Leave out the small weights.** Small weights have signs too, and `usf` gives them the same magnitude as the
# others. Let B be zero where $|w| < t$ and sign(w) elsewhere, and write this B. Which threshold $t$ gives the smallest
# angle for Gaussian weights of sd 1, and how large is it? ([Tutorial 12](12_write_your_own_rule.ipynb) makes a rule of
# it.)


# %%
def strong_signs(W, t):
    """sign(W) where |W| is at least t, 0 elsewhere; an array of W's shape."""
    return ...


# Check
if strong_signs(np.ones(1), 0.5) is ...:
    print("not filled in yet")
else:
    assert (strong_signs(np.array([-2, 0.1, 3]), 1) == [-1, 0, 1]).all(), "another B"
    W = np.random.default_rng(0).standard_normal(1_000_000)
    thresholds = np.arange(0, 1.5, 0.05)
    angles = [float(mf.metrics.angle(W, strong_signs(W, t))) for t in thresholds]
    best = int(np.argmin(angles))
    zeros = np.mean(abs(W) < thresholds[best])
    print(f"t = {thresholds[best]:.2f}: {angles[best]:.1f} degrees, ", end="")
    print(f"{zeros:.0%} of B is zero")
    assert 0.5 < thresholds[best] < 0.75 and abs(angles[best] - 25.9) < 0.3
    print("right")

# %% [markdown]
# <details><summary>Solution</summary>
#
# ```python
# def strong_signs(W, t):
#     return np.sign(W) * (abs(W) >= t)
# ```
#
# Without the smallest 45 % or so, the angle falls from 37.1 to 25.9 degrees: three values per weight (-1, 0, +1) agree
# with W much better than two.
# </details>
