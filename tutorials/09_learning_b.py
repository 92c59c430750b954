# %% [markdown]
# # 09 · Learning B: Kolen-Pollack, mirrors, product feedback
#
# **The feedback matrix $B$ can come to agree with the weights $W$ although $W$ is never copied into it. A formula gives
# the final agreement in each case: under Kolen-Pollack learning $W - B$ shrinks by exactly the factor of the weight
# decay; a weight mirror with $n$ noise samples has an angle with $\tan^2 = (n_\mathrm{in} + 1)/n$; product feedback
# stops at $\cos = 1/\sqrt{1 + N_\mathrm{out}/N_\mathrm{mid}}$. You will measure all three, and then compare two
# networks whose feedback is at 13 degrees, trained at the same rate: the one with the more recent feedback learns, the
# other ends at chance.**
#
# You need to know what $B$ is (tutorial 03): the matrix that carries the error down, `delta @ B.T`, where
# backpropagation takes `delta @ W.T`. Feedback alignment draws $B$ once and keeps it fixed. Here it learns.
#
# **A step that updates $B$ in the explorer:** `minifa explore --rules kolen_pollack,fa -o page.html`, then open
# `page.html#step/kolen_pollack/24` ("Update of linear2.B by the optimizer"), and the angle during training on
# `page.html#training/kolen_pollack/linear2/1000`. In the terminal, a step of a smaller network: `minifa step --rule
# kolen_pollack`.

# %%
import math

import matplotlib.pyplot as plt
import numpy as np

import minifa as mf
from minifa import experiments, figures

plt.rcParams.update(figures.STYLE)
BLUE, ORANGE, GREEN, PINK, _, SKY = figures.COLOURS[:6]
GREY = "#666666"
mf.use("numpy", dtype="float64")  # the first half checks formulas: double precision

data = mf.data.load("digits")
loss = mf.SoftmaxCrossEntropy()

# %% [markdown]
# ## Kolen-Pollack: the same update for both
#
# Update $B$ exactly as $W$: with the same gradient and the same **weight decay** $\lambda$, which moves every weight a
# little towards zero at each step (Kolen & Pollack 1994; Akrout et al. 2019).
#
# $$W \leftarrow W - \eta\,(dW + \lambda W) \qquad B \leftarrow B - \eta\,(dW + \lambda B)$$
#
# Subtract the two equations. The gradient cancels, whatever its value:
#
# $$W - B \;\leftarrow\; (1 - \eta \lambda)\,(W - B)
# \qquad\Rightarrow\qquad W_t - B_t = \prod_{s<t} (1 - \eta_s \lambda)\;(W_0 - B_0)$$
#
# This is exact, so the measurement must agree to within rounding, on any task and with any learning rates. The rule
# needs only the update of the forward synapse, dW, at the feedback synapse. It never needs $W$ itself.
#
# > **Predict, then run.** Without weight decay, $\lambda = 0$, the difference $W - B$ never changes. What happens to
# > the angle between $W$ and $B$ while the network learns? (a) It stays at 90 degrees. (b) It becomes smaller all the
# > same. (c) It grows.

# %%
x, y = mf.asarray(data.train.x), data.train.y


def train_and_measure(decay, steps=600, seed=0):
    """Train on the digits by Kolen-Pollack; returns the network, the rule, and the
    measurements at every step."""
    layers = [
        mf.Flatten(),
        mf.Linear(64, 40),
        mf.Tanh(),
        mf.Linear(40, 30),
        mf.Tanh(),
        mf.Linear(30, 10),
    ]
    net = mf.Network(layers, seed=seed, input_shape=data.input_shape)
    rule = mf.rules.KolenPollack(seed=seed).attach(net)
    optimizer = mf.SGD(lr=0.1, weight_decay=decay)
    # the arrays themselves: they change during training
    W, B = net["linear3"].W, rule.B["linear3"]
    start, factor, rows = W - B, 1.0, []
    for step in range(steps):
        error = np.abs((W - B) - factor * start).max()
        norms = [np.linalg.norm(matrix) for matrix in (W, B, W - B)]
        rows.append(
            [
                *norms,
                float(mf.metrics.angle(W, B)),
                factor * np.linalg.norm(start),
                error,
            ]
        )
        batch = slice(64 * step % 1408, 64 * step % 1408 + 64)
        # a learning rate that changes at every step: the product must still hold
        optimizer.lr = 0.1 / (1 + step / 200)
        rule.gradients(net, x[batch], y[batch], loss)
        optimizer.step(net, rule)
        factor *= 1 - optimizer.lr * decay
    return net, rule, np.array(rows)


net, rule, with_decay = train_and_measure(decay=0.1)
*_, without = train_and_measure(decay=0.0)
ends = [
    (
        train_and_measure(0.1, seed=seed)[2][-1, 3],
        train_and_measure(0.0, seed=seed)[2][-1, 3],
    )
    for seed in (1, 2)
]
print(
    "two more seeds, angles with and without decay:",
    ", ".join(f"{one:.1f} and {two:.1f}" for one, two in ends),
)
for name, rows in (("decay 0.1", with_decay), ("no decay", without)):
    print(
        f"{name}: |W - B| {rows[0, 2]:.3f} -> {rows[-1, 2]:.3f}, formula "
        f"{rows[-1, 4]:.3f}; largest difference of any "
        f"entry at any step {rows[:, 5].max():.1e}; angle {rows[0, 3]:.1f} -> "
        f"{rows[-1, 3]:.1f} degrees"
    )
    # rounding; measured with seeds 0 to 4: at most 4e-15
    assert rows[:, 5].max() < 1e-14
for one, two in [(with_decay[-1, 3], without[-1, 3]), *ends]:
    # measured with seeds 0 to 4: 6.7 to 7.4, and 45 to 50
    assert one < 12 and 35 < two < 60

# %% [markdown]
# The answer is (b). The figure shows two results. Without decay $W - B$ does not change at all, and yet the angle falls
# by half: both matrices receive the same updates, so the part that they *share* grows while their difference is
# constant. With decay the difference vanishes, as the formula (dots) predicts.

# %% [figure]
fig, (left, right) = plt.subplots(1, 2, figsize=(9, 3.5), layout="constrained")
steps = np.arange(len(with_decay))
for rows, colour, name in (
    (with_decay, BLUE, "decay 0.1"),
    (without, ORANGE, "no decay"),
):
    left.plot(steps, rows[:, 0], color=colour, linewidth=1.2, linestyle="--")
    left.plot(steps, rows[:, 2], color=colour, linewidth=2)
    left.plot(steps[::50], rows[::50, 4], "o", color=colour, markersize=5)
    right.plot(steps, rows[:, 3], color=colour, linewidth=2)
    right.annotate(
        name,
        (steps[-1], rows[-1, 3]),
        (-4, 9),
        textcoords="offset points",
        ha="right",
        color=colour,
    )
left.plot([], [], color=GREY, linestyle="--", linewidth=1.2, label="norm of W")
left.plot([], [], color=GREY, linewidth=2, label="norm of W - B")
left.plot([], [], "o", color=GREY, markersize=5, label="formula for W - B")
left.legend(loc="center right", bbox_to_anchor=(1, 0.66))
left.set(
    xlabel="updates",
    ylabel="Frobenius norm",
    ylim=(0, None),
    title="The difference follows the formula",
)
right.axhline(90, color=GREY, linewidth=1, linestyle=":")
right.text(0, 91, "chance", color=GREY, va="bottom", fontsize=9)
_ = right.set(
    xlabel="updates",
    ylabel="angle between W and B (degrees)",
    ylim=(0, 100),
    title="The angle falls either way",
)

# %% [markdown]
# Here are the matrices at the end of the run with decay: the output layer's $W$, the $B$ that carries its error down,
# and their difference. $B$ was initialised independently of $W$.

# %%
figures.matrices(
    net["linear3"].W, rule.B["linear3"], "Kolen-Pollack after 600 updates, decay 0.1"
)

# %% [markdown]
# ## The weight mirror: learning from noise
#
# Akrout et al. (2019) interrupt training by mirror phases. In a mirror phase each layer receives noise $x$ of mean
# zero, and the feedback synapse multiplies the signals on its two sides, the noise $x$ and the layer's output $y = xW$:
#
# $$B = \frac{1}{n}\, x^\top y = \Big(\frac{1}{n}\, x^\top x\Big) W$$
#
# For unit noise the expectation of $x^\top x / n$ is the identity, so that of $B$ is $W$. After $n$ samples the entries
# of $x^\top x / n$ have a standard deviation of $1/\sqrt n$ ($\sqrt{2/n}$ on the diagonal). The errors of
# $n_\mathrm{in}$ inputs add up in each entry of $B$, and the mean square of their sum is $(n_\mathrm{in}+1)/n$ of that
# of $W$:
#
# $$\tan(\mathrm{angle}) = \sqrt{(n_\mathrm{in} + 1)/n}$$
#
# With the option `rate=1` the rule keeps only its last mirror phase, as the formula assumes.
#
# > **Predict, then run.** A layer has 80 inputs. About how many noise samples are needed for an angle of 45 degrees?
# > (a) 9, the square root of 81. (b) 81. (c) 6561, its square.

# %%
widths, counts = (20, 80, 320), (1, 3, 10, 30, 100, 300, 1000, 3000, 10000)
sizes = [8, *widths, 10]
layers = [
    layer
    for a, b in zip(sizes, sizes[1:], strict=False)
    for layer in (mf.Linear(a, b), mf.Tanh())
][:-1]
mirrored = mf.Network(layers)
mirrored_layers = {
    mirrored[f"linear{i}"]: n_in for i, n_in in zip((2, 3, 4), widths, strict=True)
}

angles = {n_in: [] for n_in in widths}
for n in counts:
    mirrors = [
        mf.rules.WeightMirror(seed, rate=1.0, samples=n, warmup_phases=1).attach(
            mirrored
        )
        for seed in range(3)
    ]
    for layer, n_in in mirrored_layers.items():
        angles[n_in].append(
            np.mean(
                [mf.metrics.angle(layer.W, mirror.B[layer.name]) for mirror in mirrors]
            )
        )

predicted = {
    n_in: np.degrees(np.arctan(np.sqrt((n_in + 1) / np.array(counts))))
    for n_in in widths
}
for n_in in widths:
    print(f"n_in {n_in:3}: measured", *(f"{angle:5.1f}" for angle in angles[n_in]))
    print("          formula ", *(f"{angle:5.1f}" for angle in predicted[n_in]))
    # measured with three other sets of seeds: within 1.9 degrees from 30 samples on
    assert np.abs(np.array(angles[n_in]) - predicted[n_in])[3:].max() < 3.0

# %% [markdown]
# The answer is (b). The left panel shows the law; the right panel one layer of 80 inputs, with a dot for every weight
# and its feedback weight. With 30 samples $B$ is mostly noise, with 10,000 the dots lie close to the diagonal. A wide
# layer needs more samples, in proportion to its width.

# %%
fig = plt.figure(figsize=(9, 3.7), layout="constrained")
law, cloud = fig.subfigures(1, 2, width_ratios=(1.15, 1))
ax = law.subplots()
for n_in, colour, marker in zip(widths, (BLUE, ORANGE, GREEN), "os^", strict=True):
    fine = np.geomspace(1, 10000, 100)
    ax.semilogx(
        fine,
        np.degrees(np.arctan(np.sqrt((n_in + 1) / fine))),
        color=colour,
        linewidth=1.3,
    )
    ax.semilogx(
        counts,
        angles[n_in],
        marker,
        color=colour,
        markersize=6,
        label=f"$n_{{in}}$ = {n_in}",
    )
ax.legend(loc="upper right", title="dots measured,\nlines formula")
ax.set(xlabel="noise samples n", ylabel="angle between W and B (degrees)", ylim=(0, 92))
ax.set_title("How much noise a mirror needs")
for ax, n in zip(
    cloud.subplots(2, 2, sharex=True, sharey=True).ravel(),
    (30, 300, 3000, 10000),
    strict=True,
):
    B = (
        mf.rules.WeightMirror(0, rate=1.0, samples=n, warmup_phases=1)
        .attach(mirrored)
        .B["linear3"]
    )
    ax.plot(
        mirrored["linear3"].W.ravel()[::16],
        B.ravel()[::16],
        ".",
        color=BLUE,
        markersize=2,
        alpha=0.6,
    )
    ax.plot((-0.5, 0.5), (-0.5, 0.5), color=GREY, linewidth=0.8)
    ax.set(xlim=(-0.6, 0.6), ylim=(-1.2, 1.2))
    ax.set_title(f"n = {n:,}", fontsize=10, fontweight="normal")
cloud.supxlabel("weight", fontsize=9.5)
cloud.supylabel("its feedback", fontsize=9.5)

# %% [markdown]
# ## Product feedback: aligned, but never equal
#
# Both rules so far pair every forward synapse with one feedback synapse. Li & Benna (2024) remove the pairing: *two*
# matrices carry the error down, a fixed random $P$ ($N_\mathrm{out}$, $N_\mathrm{mid}$) and a learned $R$:
#
# $$B = R P^\top \qquad dR = dW\,P \;\text{ with the decay of } W
# \qquad\Rightarrow\qquad R \to W P,\quad B \to W\,(P P^\top)$$
#
# (It is Kolen-Pollack, projected by $P$.) This resembles the mirror: there $B$ was $(x^\top x/n)\,W$; here it is $W$
# times $P P^\top$, again a random matrix whose expectation is the identity. But $P$ is never drawn again, so its
# deviation from the identity is permanent, and only a larger $N_\mathrm{mid}$ makes it small:
#
# $$\cos(\mathrm{angle}) = 1/\sqrt{1 + N_\mathrm{out}/N_\mathrm{mid}}
# \qquad 45.0,\; 35.3,\; 17.5,\; 5.7 \text{ degrees at } N_\mathrm{mid}/N_\mathrm{out} = 1,\, 2,\, 10,\, 100$$
#
# > **Predict, then run.** $W$ and $B$ are both learned, and the decay removes the initial values. After a very long
# > training at the ratio 1, the angle is (a) 0: every error is corrected in the end; (b) still 45 degrees; (c) 90.

# %%
rng = np.random.default_rng(1)
x_task = rng.standard_normal((400, 20))
t_task = rng.standard_normal((400, 80))  # random targets: the gradient never vanishes


def settle(ratio, steps=60, with_gradient=True, seed=0):
    """The angle between W and B = R P^T at every step; with a strong decay, so that the
    initial values soon vanish."""
    net = mf.Network([mf.Linear(20, 100), mf.Tanh(), mf.Linear(100, 80)], seed=seed)
    rule = mf.rules.Product(seed=seed, ratio=ratio).attach(net)
    optimizer, upper, angles = mf.SGD(lr=0.05, weight_decay=4.0), net["linear2"], []
    for _ in range(steps):
        rule.gradients(net, x_task, t_task, mf.HalfSquaredError())
        angles.append(float(mf.metrics.angle(upper.W, rule.B["linear2"])))
        # the layer below is fixed: only W and B change
        net["linear1"].grads = {"W": None, "b": None}
        if not with_gradient:
            upper.grads["W"] = np.zeros_like(upper.W)
        optimizer.step(net, rule)
    return np.array(angles), net, rule


floors = {
    ratio: math.degrees(math.acos(1 / math.sqrt(1 + 1 / ratio)))
    for ratio in (1, 2, 10, 100)
}
settled = {ratio: settle(ratio)[0] for ratio in floors}
for ratio, floor in floors.items():
    print(
        f"N_mid / N_out = {ratio:3}: formula {floor:4.1f} degrees, measured "
        f"{settled[ratio][-1]:4.1f}"
    )
    assert abs(settled[ratio][-1] - floor) < 2  # measured with seeds 0 to 3: within 1.0

# %% [markdown]
# The answer is (b). The convergence $R \to WP$ has one condition: **$W$ must keep receiving gradients.** The decay
# reduces $W$ as fast as $R - WP$; only new updates are common to both. With `with_gradient=False` we set the gradient
# of $W$ to zero. Both matrices then decay together, and the angle between them stays constant.

# %%
faded, idle, _ = settle(10, with_gradient=False)
print(
    f"without a gradient: {faded[0]:.1f} -> {faded[-1]:.1f} degrees, norm of W "
    f"{np.linalg.norm(idle['linear2'].W):.0e}"
)
assert np.ptp(faded) < 1e-6

# %% [figure]
fig, ax = plt.subplots(figsize=(9, 3.6), layout="constrained")
for (ratio, floor), colour in zip(
    floors.items(), (ORANGE, PINK, BLUE, GREEN), strict=True
):
    ax.plot((0, 59), (floor, floor), color=colour, linewidth=1, linestyle=":")
    ax.plot(settled[ratio], color=colour, linewidth=2)
    ax.text(
        60,
        floor,
        f"ratio {ratio}, formula {floor:.1f}°",
        color=colour,
        va="center",
        fontsize=9,
    )
ax.plot(faded, color=GREY, linewidth=1.5, linestyle="--")
ax.text(60, faded[-1], "ratio 10, no gradient", color=GREY, va="center", fontsize=9)
ax.set(xlim=(0, 76), xticks=range(0, 61, 10), ylim=(0, 97))
_ = ax.set(
    xlabel="updates",
    ylabel="angle between W and B (degrees)",
    title="Each ratio reaches its own angle",
)

# %% [markdown]
# At ratio 1 a quarter of the feedback synapses keep the wrong *sign* permanently (45/180 of them), and yet $B$ as a
# whole is at 45 degrees to $W$. In this rule the individual synapses are not symmetric; this is its authors' point.
# Every light spot below is a wrong sign.

# %%
_, net, rule = settle(1)
agree = float(mf.metrics.sign_agreement(net["linear2"].W, rule.B["linear2"]))
assert abs(agree - 0.75) < 0.04  # measured with seeds 0 to 3: 0.750 to 0.759
figures.signs(
    net["linear2"].W[:50],
    rule.B["linear2"][:50],
    "Product feedback at ratio 1, after it has settled",
)

# %% [markdown]
# ## All rules on the digits
#
# Now a real task: a 64-100-100-10 network with rectifiers on the digits, with one learning rate and one decay for all
# rules, and one seed (and two more seeds of three rules, without the angles, to see whether their accuracies differ).
# The dotted lines are the angles that the formulas predict. minifa's mirror averages over its last mirror phases:
# `rate=0.1` with 128 samples each is equivalent to 2432 samples (exercise 1), which gives 11.5 degrees for 100 inputs.

# %%
mf.use("numpy", dtype="float32")
RULES = {
    "fa": GREY,
    "product:ratio=1": ORANGE,
    "product": PINK,
    "weight_mirror": GREEN,
    "kolen_pollack": BLUE,
}
common = {
    "model": "mlp",
    "model_options": {"hidden": (100, 100)},
    "lr": 0.03,
    "weight_decay": 0.03,
    "epochs": 20,
}
results = {
    name: experiments.run(experiments.Experiment(rule=name, **common))[0]
    for name in (*RULES, "bp")
}
limits = {
    "product:ratio=1": floors[1],
    "product": floors[10],  # its default ratio is 10
    "weight_mirror": math.degrees(math.atan(math.sqrt(101 / 2432))),
    "kolen_pollack": 0.0,
}
for name, result in results.items():
    end = result.history[-1]
    print(
        f"{name:16} test accuracy {result.score:.3f}, W and B of linear2 at "
        f"{end['linear2.weight_angle']:4.1f} degrees"
        f", error at linear1 at {end['linear1.true_angle']:4.1f}"
    )
for name, limit in limits.items():
    # measured, seeds 0-3: within 3.8
    assert abs(results[name].history[-1]["linear2.weight_angle"] - limit) < 6

common["alignment"] = False
scores = {
    name: [results[name].score]
    + [
        experiments.run(experiments.Experiment(rule=name, seed=seed, **common))[0].score
        for seed in (1, 2)
    ]
    for name in ("fa", "product:ratio=1", "bp")
}
for name, three in scores.items():
    print(
        f"{name:16} test accuracy with three seeds",
        *(f"{score:.3f}" for score in three),
    )
# measured with seeds 0 to 4: fa 0.950-0.972, bp 0.947-0.969; product at ratio 1
# 0.886-0.958, below fa with each of them
assert abs(np.mean(scores["fa"]) - np.mean(scores["bp"])) < 0.02
assert np.mean(scores["product:ratio=1"]) < np.mean(scores["fa"]) - 0.005

# %% [figure]
fig, axes = plt.subplots(1, 3, figsize=(9, 3.7), layout="constrained")
columns = ("linear2.weight_angle", "linear1.true_angle", "test_accuracy")
for name, colour in {**RULES, "bp": "black"}.items():
    for ax, column in zip(axes, columns, strict=True):
        curve = [row[column] for row in results[name].history]
        style = {"linestyle": "--", "zorder": 1} if name == "bp" else {"zorder": 2}
        ax.plot(
            curve, color=colour, linewidth=1.8, label=name.replace(":", ", "), **style
        )
    if name in limits:
        axes[0].axhline(limits[name], color=colour, linewidth=1, linestyle=":")
for ax, what in zip(
    axes,
    ("W against B, linear2", "error against bp's, linear1", "test accuracy"),
    strict=True,
):
    ax.set(xlabel="epoch", title=what, xticks=range(0, 21, 5), ylim=(-2, 97))
axes[0].set_ylabel("angle (degrees)")
axes[2].set_ylim(0.85, 1.0)
_ = fig.legend(
    *axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=6
)

# %% [markdown]
# Each rule reaches its predicted angle, within six degrees. The last panel shows that here the angle does not order the
# rules by accuracy: plain feedback alignment, whose $B$ stays at 75 degrees, ends where backpropagation does (0.962 and
# 0.961 in the mean of five seeds), and the product at 45 degrees is behind (0.936). To measure the value of a small
# angle we need a network in which feedback is difficult, and there another property matters first.
#
# ## The age of the feedback
#
# We train six convolutions at a learning rate of 0.01. A mirror with `rate=0.1` averages over about its last 10 mirror
# phases, one with `rate=0.5` over its last 2. The second one has 811 samples per phase, so that **both are equally
# exact**: $128 \cdot 1.9/0.1 \approx 811 \cdot 1.5/0.5$ (exercise 1). They differ only in the age of their information
# about $W$. For comparison we add `stale`, which copies $W$ every few updates (exact at first, then old), and `usf`,
# which takes only the signs of $W$: never closer than 37 degrees, but always current.

# %%
DEEP = {
    "bp": ("backpropagation", "black", "--"),
    "stale:every=3": ("copy, at most 3 updates old", SKY, "-"),
    "stale:every=30": ("copy, at most 30 updates old", BLUE, "-"),
    "weight_mirror:rate=0.5,samples=811": ("mirror, memory of 2 updates", GREEN, "-"),
    "weight_mirror": ("mirror, memory of 10 updates", ORANGE, "-"),
    "usf": ("signs of W only (usf)", PINK, "-"),
}
deep = {
    name: experiments.run(
        experiments.Experiment(model="cnn", rule=name, lr=0.01, epochs=6)
    )[0]
    for name in DEEP
}


def typical_angle(result):
    """Mean angle between W and B, over the upper convolutions and the first two epochs,
    before any divergence."""
    columns = [f"{layer}.weight_angle" for layer in result.layers[1:]]
    return np.mean([row[column] for row in result.history[1:3] for column in columns])


for name, result in deep.items():
    print(
        f"{name:36} accuracy {result.score:.3f}, W and B at "
        f"{typical_angle(result):4.1f} degrees in epochs 1 and 2"
    )
fresh, late = deep["weight_mirror:rate=0.5,samples=811"], deep["weight_mirror"]
assert abs(typical_angle(fresh) - typical_angle(late)) < 2
# measured with seeds 0 to 4: the fresh mirror 0.94 to 0.97, usf 0.84 to 0.94, the late
# mirror 0.10 to 0.24
assert fresh.score > 0.85 and deep["usf"].score > 0.7 and late.score < 0.5
# measured with seeds 0 to 4: copies at most 3 updates old 0.92 to 0.97, at most 30
# updates old 0.10 to 0.33
assert deep["stale:every=3"].score > 0.85 and deep["stale:every=30"].score < 0.5

# %% [figure]
fig, (left, right) = plt.subplots(
    1, 2, figsize=(9, 3.9), layout="constrained", width_ratios=(1, 1.1)
)
for (name, (label, colour, line)), marker in zip(
    DEEP.items(), figures.MARKERS, strict=False
):
    history = deep[name].history
    # an infinite or undefined loss is drawn at 8
    losses = np.fmin([row["train_loss"] for row in history[1:]], 8)
    left.plot(range(1, len(history)), losses, line, color=colour, linewidth=1.8)
    left.plot(len(losses), losses[-1], marker, color=colour, markersize=6)
    right.plot(
        typical_angle(deep[name]),
        deep[name].score,
        marker,
        color=colour,
        markersize=10,
        label=label,
    )
left.set(
    xlabel="epoch",
    ylabel="training loss (8: beyond)",
    xticks=range(1, 7),
    ylim=(0, 8.2),
    title="At a rate of 0.01",
)
right.set(
    xlabel="angle between W and B (degrees)",
    ylabel="test accuracy",
    xlim=(-2, 44),
    ylim=(0, 1.05),
)
right.set_title("The angle does not predict which rule learns")
_ = fig.legend(loc="outside lower center", ncols=3)

# %% [markdown]
# The figure shows one seed; four more gave the same result (the ranges are in the code above). The two mirrors have the
# same angle, but one learns and the other ends at chance. The copy that is up to 30 updates old has an angle of a few
# degrees and ends at chance; signs alone, at 37 degrees and always current, learn. Our interpretation, which nothing
# here tests: old feedback carries the error of *earlier* weights, and if the weights have changed much since then, a
# step is too large. It agrees with this that at a tenth of the rate the same mirror learns (exercise 2). How recent
# must the feedback be? We know no formula for it.

# %% [markdown]
# ## Summary
#
# $B$ can learn $W$ from signals that are available: from its updates (Kolen-Pollack, exact to rounding), from its
# responses to noise (mirror), or from randomly projected updates (product). A formula gives the angle for each rule,
# and the measurements agree with it. But the angle alone is not enough: in six convolutions at a rate of 0.01 it was
# the age of the feedback, not its angle, that separated the rules that learned from those that did not.

# %% [markdown]
# ## Exercises
#
# Replace each `...`, then run the cell: it checks your answer.
#
# **1. The accuracy of a running average.** A mirror with $B \leftarrow (1 - r) B + r\, x^\top y / n$ averages over many
# mirror phases. For fixed $W$ it is as exact in the long run as one phase with a larger number of samples. Fill in this
# number, from $r$ and $n$. (A phase that is $k$ updates old has the weight $r(1-r)^k$; the variance of the average is
# the sum of the squared weights times that of one phase.)


# %%
def equivalent_samples(r, n):
    return ...


# Check
if equivalent_samples(0.1, 128) is ...:
    print("not filled in yet")
else:
    mf.use("numpy", dtype="float64")
    running = mf.rules.WeightMirror(seed=5, warmup_phases=100).attach(mirrored)
    measured = float(mf.metrics.angle(mirrored["linear3"].W, running.B["linear3"]))
    equivalent = equivalent_samples(0.1, 128)  # minifa's defaults; 80 inputs
    formula = math.degrees(math.atan(math.sqrt(81 / equivalent)))
    print(f"equivalent to {equivalent:.0f} samples: ", end="")
    print(f"formula {formula:.1f} degrees, measured {measured:.1f}")
    assert abs(measured - formula) < 1, "another number of samples"
    print("right")

# %% [markdown]
# <details><summary>Solution</summary>
#
# ```python
# def equivalent_samples(r, n):
#     return n * (2 - r) / r
# ```
#
# The squares of the weights add up to $r^2 / (1 - (1-r)^2) = r/(2 - r)$, so the variance is that of one phase with
# $(2 - r)/r$ times as many samples.
# </details>
#
# **2. A smaller learning rate.** Lower the learning rate of the late mirror in the deep network from 0.01 to a tenth,
# for 15 epochs. Does it learn now, although its angle to $W$ is the same as before? Fill in a rate.

# %%
rate = ...

# Check
if rate is ...:
    print("not filled in yet")
else:
    mf.use("numpy", dtype="float32")
    plan = {"model": "cnn", "lr": rate, "epochs": 15}
    slow, slow_bp = (
        experiments.run(experiments.Experiment(rule=name, **plan))[0]
        for name in ("weight_mirror", "bp")
    )
    print(f"accuracy {slow.score:.3f} at {typical_angle(slow):.1f} degrees, ", end="")
    print(f"backpropagation {slow_bp.score:.3f}")
    assert slow.score > 0.8, "it does not learn yet"
    assert abs(typical_angle(slow) - typical_angle(late)) < 2
    assert slow.score > slow_bp.score - 0.06
    print("right")

# %% [markdown]
# <details><summary>Solution</summary>
#
# ```python
# rate = 0.001
# ```
#
# It does. With three seeds the mirror had 0.92 to 0.94, backpropagation at the same rate 0.94 to 0.95 (and after six
# epochs at 0.01, with five seeds, 0.96).
# </details>
