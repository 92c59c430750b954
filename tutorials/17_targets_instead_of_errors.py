# %% [markdown]
# # 17 · Targets instead of errors
#
# **A layer can learn from a target, the activity that it should have had, instead of an error. A map $g$ sends the
# targets down, and this map decides what the rule is: with a fixed random matrix in it, two forms of $g$ are feedback
# alignment and direct feedback alignment exactly. If $g$ learns, one loss brings the targets to within about 33 degrees
# of backpropagation after one epoch, where feedback alignment is still beyond 77; another one brings them
# nearer to the Gauss-Newton direction than to backpropagation's. And $B = W$ does not make a target rule
# backpropagation: with ReLUs one form of $g$ stays at 31 to 55 degrees from it in the two lower of three hidden layers,
# however small the steps.**
#
# You need feedback alignment (tutorial 03), direct feedback (08) and, for the learned maps, the weight mirror (09). The
# rules are difference target propagation (Lee, Zhang, Fischer & Bengio 2015) and what followed: fixed maps (Shibuya et
# al. 2023), maps that learn the transposed Jacobian (Ernoult et al. 2022) or the pseudo-inverse (Meulemans et al.
# 2020).
#
# **A target in the explorer:** `minifa explore --rules ldrl,fa -o page.html`, then open `page.html#step/ldrl/12`
# ("Teaching signal of relu2"), which shows the activity and its target. In the terminal, a step of a smaller network
# (2-4-2): `minifa step --rule ldrl`.

# %%
import matplotlib.pyplot as plt
import numpy as np

import minifa as mf
from minifa.target_metrics import gauss_newton, target_alignment

plt.rcParams.update(mf.figures.STYLE)
BLUE, ORANGE, GREEN = mf.figures.COLOURS[:3]
GREY = "#666666"
mf.use("numpy", dtype="float64", threads=1)

data, loss = mf.data.load("digits"), mf.SoftmaxCrossEntropy()
x, y = mf.asarray(data.train.x[:256]), data.train.y[:256]
hidden = ("tanh1", "tanh2", "tanh3")


def network(seed=0, activation="tanh", init="lecun_normal"):
    """Three hidden layers of 64 units; 8 x 8 digits, ten outputs."""
    layers = mf.models.mlp(
        data.input_shape, 10, (64,) * 3, activation=activation, init=init
    )
    return mf.Network(layers, seed, data.input_shape)


def train(name, seed, epochs, callbacks=()):
    """Train a network under this rule; returns the trainer."""
    net = network(seed)
    rule = mf.rules.make(name, seed=seed).attach(net)
    optimizer = mf.SGD(0.02, momentum=0.9)
    trainer = mf.Trainer(net, rule, loss, optimizer, seed=seed, callbacks=callbacks)
    trainer.fit(data.train, epochs, batch_size=32)
    return trainer


def angles_to_bp(net, rule):
    """Mean angle between the steps h - t of this rule and of backpropagation, in
    degrees, in the three hidden layers."""
    steps = []
    for one in (rule, mf.rules.BP().attach(net)):
        one.gradients(net, x, y, loss)
        h, t = one.activities, one.targets
        steps.append([h[name] - t[name] for name in list(h)[:3]])
    return [
        float(mf.metrics.mean_angle(own, bp)) for own, bp in zip(*steps, strict=True)
    ]


# %% [markdown]
# ## What a target is
#
# The names here: $a_l$ is the output of the weights of layer $l$, $h_l = f(a_l)$ the output of the layer, which we call
# its **activity**. $e$ and $\delta_l$ are errors of the mean loss, as in tutorials 01 to 16: for a batch of $n$
# examples they contain the factor $1/n$. (Tutorial 18 writes $e$ and $\delta_l$ for $n\,e$ and $n\,\delta_l$, the
# errors of one example.)
#
# The output's **target** is one small step of each example against its own error, $n\,e$:
#
# $$t_L = h_L - \eta\, n\, e$$
#
# A hidden layer, with $a_l = h_{l-1} W_l + b_l$, receives a target $t_l$ as well, and learns from the loss
# $\lVert h_l - t_l \rVert^2 / (2 n \eta)$, which has the error
#
# $$\delta_l = \frac{h_l - t_l}{n\,\eta}$$
#
# at its output. This is an equation between targets and errors, and can be read in both directions. At the output it
# gives $e$ again, whatever $\eta$ is. For backpropagation it gives targets: $t_l = h_l - \eta\, n\, \delta_l$. In
# minifa every rule has `rule.activities` and `rule.targets`. **The $\eta$ of these targets is `rule.eta`: 1 under `bp`
# and `fa`, 0.1 under the rules of this tutorial, unless their option `eta` says otherwise.** So the steps of `bp` are
# ten times as long for equal errors. Compare directions, or multiply the lengths by $\eta$ as needed.
#
# What is new is how a target gets to the layers below. Difference target propagation has a map $g_l$ for each layer,
# from the layer's output to its input, and sends
#
# $$t_{l-1} = h_{l-1} + g_l(t_l) - g_l(h_l)$$
#
# Here it is by hand, with the published form $g_l(v) = \tanh(v B_l^\top)$, $B_l$ of the shape of $W_l$, random and
# fixed (the rule `fwdtp`).

# %%
net = network()
rule, eta, n = mf.rules.FWDTP(eta=0.1).attach(net), 0.1, len(x)
rule.gradients(net, x, y, loss)
h, e = rule.activities, rule.error  # by layer name; (256, 10)


def g(layer, v):
    """The map of this layer: from its output v to its input."""
    return np.tanh(v @ rule.B[layer].T)


t = {"linear4": h["linear4"] - eta * n * e}
t["tanh3"] = h["tanh3"] + g("linear4", t["linear4"]) - g("linear4", h["linear4"])
t["tanh2"] = h["tanh2"] + g("linear3", t["tanh3"]) - g("linear3", h["tanh3"])
t["tanh1"] = h["tanh1"] + g("linear2", t["tanh2"]) - g("linear2", h["tanh2"])
for layer, target in t.items():
    difference = np.abs(target - rule.targets[layer]).max()
    print(f"{layer:8} by hand and rule.targets differ by {difference:.0e}")
    assert difference < 1e-12
print("eta of bp's targets", mf.rules.BP().eta, "and of fwdtp's", rule.eta)

# the gradient of a weight: from the layer's own target and its input, nothing else
delta = (h["tanh3"] - t["tanh3"]) / (n * eta)
dW = h["tanh2"].T @ (delta * (1 - h["tanh3"] ** 2))
print(
    f"gradient of linear3 differs by {np.abs(dW - net['linear3'].grads['W']).max():.0e}"
)
assert np.abs(dW - net["linear3"].grads["W"]).max() < 1e-12

# %% [markdown]
# The picture shows one example, with a large $\eta$ of 1. The output's target has more of the right digit and less of
# the others. Each hidden unit has a target too. The blue arrows are backpropagation's targets, the orange ones those of
# the random map: at first they have nothing in common.

# %% [figure]
pictures = {"bp": mf.rules.BP(), "fwdtp": mf.rules.FWDTP(eta=1.0)}
for picture in pictures.values():
    picture.attach(net).gradients(net, x, y, loss)
fig, axes = plt.subplots(
    1, 2, figsize=(9, 3.2), layout="constrained", width_ratios=(1, 1.9)
)
for ax, layer, count in zip(axes, ("linear4", "tanh3"), (10, 24), strict=True):
    for shift, (name, colour) in zip(
        (-0.15, 0.15), (("bp", BLUE), ("fwdtp", ORANGE)), strict=True
    ):
        if layer == "linear4" and name == "fwdtp":
            continue  # the same target as under backpropagation
        start = pictures[name].activities[layer][0, :count]
        end = pictures[name].targets[layer][0, :count]
        at = np.arange(count) + (shift if layer == "tanh3" else 0)
        ax.plot(at, start, "o", color="black", markersize=3)
        ax.quiver(
            at,
            start,
            0 * at,
            end - start,
            color=colour,
            angles="xy",
            scale_units="xy",
            scale=1,
            width=0.006 if layer == "tanh3" else 0.012,
            zorder=3,
        )
axes[0].set(xticks=range(10), xlabel="output", ylabel="activity (dot) to target (tip)")
axes[0].set(ylim=(-1.1, 1.6))
axes[0].set_title(f"The output, digit {y[0]}")
axes[1].set(xlabel="first 24 units of the last hidden layer", ylim=(-1.05, 1.05))
axes[1].set_title("A hidden layer")
axes[1].plot([], [], color=BLUE, label="backpropagation")
axes[1].plot([], [], color=ORANGE, label="random map")
_ = axes[1].legend(loc="lower right", ncols=2)

# %% [markdown]
# ## Four forms of the map
#
# The published maps are built from one matrix $B_l$. They differ in the place of the activation:
#
# | form | $g_l(v)$ | |
# |---|---|---|
# | last | $f_{l-1}(v B_l^\top)$ | Lee et al., Meulemans et al., Shibuya et al. |
# | first | $f_l(v)\, B_l^\top$ | Ernoult et al. |
# | linear | $v\, B_l^\top$ | |
# | gated | $(v \cdot f_l'(a_l))\, B_l^\top$ | with the derivative at the pre-activation $a_l$ of the forward pass |
#
# > **Predict, then run.** Take `gated`, with a random $B$. How close are the gradients to those of feedback alignment
# > with the same $B$? (a) As far as those of two different rules. (b) They differ by a few percent, because $\eta$ is
# > not infinitely small. (c) They are equal, for every $\eta$.

# %%
fa = mf.rules.FA().attach(net)
fa.gradients(net, x, y, loss)
by_fa = [layer.grads["W"].copy() for layer in net.weighted]
for form in ("gated", "linear", "first", "last"):
    for eta in (1.0, 0.01):
        rule = mf.rules.FWDTP(eta=eta, g=form).attach(net)
        for name, matrix in fa.B.items():
            rule.set_feedback(name, matrix)
        rule.gradients(net, x, y, loss)
        relative = max(
            np.linalg.norm(layer.grads["W"] - other) / np.linalg.norm(other)
            for layer, other in zip(net.weighted, by_fa, strict=True)
        )
        print(f"{form:7} eta {eta:<5} relative difference to fa {relative:.0e}")
        # rounding, which the division by eta magnifies
        assert relative < 1e-11 if form == "gated" else relative > 0.05

# %% [markdown]
# The answer is (c). The gated $g$ is linear in $v$, so the step to the target is
# $t_{l-1} - h_{l-1} = ((t_l - h_l) \cdot f'(a_l)) B_l^\top$. With $\delta = (h - t)/(n\,\eta)$ in every layer this is
# $\delta_{l-1} = (\delta_l \cdot f'(a_l)) B_l^\top$, an error under feedback alignment. With the **linear** $g$ the
# derivative is missing as well: $t_{l-1} - h_{l-1} = (t_l - h_l) B_l^\top$, and from the output on, a product of
# matrices. A target rule with a linear map is direct feedback alignment, also exactly (exercise 1). So targets alone
# change nothing. A new rule needs a nonlinear $g$ or one that learns.
#
# ## Why the difference
#
# The oldest idea is simpler: let $g_l$ learn to invert the layer, and send $t_{l-1} = g_l(t_l)$. In minifa this is the
# control `tp`; `dtp` is Lee's rule with the difference. In both, $B$ learns after every update of the weights to
# reconstruct the noisy input of its layer from the layer's output.
#
# > **Predict, then run.** The reconstruction is learned, but not perfect. After three epochs with the usual $\eta$ of
# > 0.1, how does `tp`, without the difference, compare with `dtp`? (a) It is as good: the maps are the same. (b) It
# > lags behind by some percent. (c) It stays at chance, 10 %.

# %%
accuracy, trained = {}, {}
for name in ("dtp", "tp"):
    runs = [train(name, seed, epochs=3) for seed in range(3)]
    trained[name] = runs
    accuracy[name] = [run.evaluate(data.test)["accuracy"] for run in runs]
    print(f"{name:4} test accuracy", *(f"{value:.3f}" for value in accuracy[name]))
assert min(accuracy["dtp"]) > 0.85 and max(accuracy["tp"]) < 0.3

# in a network trained by dtp, with its maps: targets with and without the difference
net, dtp = trained["dtp"][0].net, trained["dtp"][0].rule
tp = mf.rules.TP().attach(net)
tp.load_state(dtp.state())
step = {}
for name, rule in (("dtp", dtp), ("tp", tp), ("bp", mf.rules.BP().attach(net))):
    step[name] = [target_alignment(net, rule, x, y, loss)[layer] for layer in hidden]
    for row in step[name]:  # backpropagation's targets have eta 1, the others 0.1
        row["target_size"] *= 0.1 if name == "bp" else 1
    print(
        f"{name:4} |t - h| / |h|:",
        *(f"{row['target_size']:.4f}" for row in step[name]),
        "   angle to backpropagation:",
        *(f"{row['bp_angle']:.0f}°" for row in step[name]),
    )

dtp.gradients(net, x, y, loss)
h, missed = dtp.activities, []
for layer, above in zip(hidden, ("tanh2", "tanh3", "linear4"), strict=True):
    reconstructed = np.tanh(h[above] @ dtp.B[f"linear{above[-1]}"].T)
    missed.append(np.linalg.norm(reconstructed - h[layer]) / np.linalg.norm(h[layer]))
print("the reconstruction misses h by", *(f"{value:.2f}" for value in missed), "of |h|")
# measured with five seeds: accuracy of dtp 0.92 to 0.96, of tp 0.10; steps of tp 46 to
# 84 times as long as backpropagation's, at 83 to 87 degrees to them
for without, exact in zip(step["tp"], step["bp"], strict=True):
    assert without["target_size"] > 20 * exact["target_size"]
    assert without["bp_angle"] > 75

# %% [figure]
fig, ax = plt.subplots(figsize=(9, 3), layout="constrained")
labels = {
    "bp": "backpropagation's",
    "dtp": "with the difference",
    "tp": "without the difference",
}
for i, (name, colour) in enumerate((("bp", BLUE), ("dtp", GREEN), ("tp", ORANGE))):
    sizes = [row["target_size"] for row in step[name]]
    ax.bar(np.arange(3) + 0.27 * (i - 1), sizes, 0.25, color=colour, label=labels[name])
    for j, row in enumerate(step[name]):
        ax.text(
            j + 0.27 * (i - 1),
            row["target_size"] * 1.15,
            f"{row['bp_angle']:.0f}°",
            ha="center",
            fontsize=9,
        )
ax.set(yscale="log", ylim=(0.001, 2), ylabel="|t - h| / |h|")
ax.set(xticks=range(3), xticklabels=[f"hidden layer {i}" for i in (1, 2, 3)])
ax.set_title("Steps from activity to target, and their angle to backpropagation's")
_ = ax.legend(loc="upper left", bbox_to_anchor=(1, 1))

# %% [markdown]
# The answer is (c). The figure is of the network that `dtp` has trained: the same network, the same maps and the same
# target of the output for all. The reconstruction $g_l(h_l)$ misses $h_{l-1}$ by 0.3 of its norm, although the map has
# been trained. This error is tens of times as long as the step that the layer should make, and without the difference
# it becomes part of the target. The difference $g_l(t_l) - g_l(h_l)$ cancels it: if the output has reached its target,
# no layer below has to change, however poor $g$ is.
#
# `dtp` learns, but at 55 to 62 degrees from backpropagation: a map that reconstructs is not one that carries gradients.
#
# What does `tp` do to its own network? We measure its hidden layers before training, after one epoch and after three,
# and train it again with a hundred times the $\eta$.


# %%
def collapse(net, rule):
    """In each hidden layer: the share of activities with |h| >= 0.99, their standard
    deviation over the examples, mean over units, and the mean of |t - h| / |h|."""
    rule.gradients(net, x, y, loss)
    h = rule.activities
    saturated = [float((np.abs(h[name]) >= 0.99).mean()) for name in hidden]
    spread = [float(h[name].std(axis=0).mean()) for name in hidden]
    size = [
        row["target_size"] for row in target_alignment(net, rule, x, y, loss).values()
    ]
    return saturated, spread, size[:3]


untrained, after_one = network(0), train("tp", 0, 1)
stages = {
    "tp, untrained": (untrained, mf.rules.TP().attach(untrained)),
    "tp, epoch 1": (after_one.net, after_one.rule),
}
for run in trained["tp"]:
    stages[f"tp, epoch 3, seed {run.seed}"] = (run.net, run.rule)
stages["dtp, epoch 3"] = (net, dtp)
for label, stage in stages.items():
    saturated, spread, size = collapse(*stage)
    print(
        f"{label:20} |h| >= 0.99:",
        *(f"{value:4.0%}" for value in saturated),
        "  sd over examples:",
        *(f"{value:.4f}" for value in spread),
        "  |t - h| / |h|:",
        *(f"{value:.3f}" for value in size),
    )
    if label.startswith("tp, epoch"):
        assert min(saturated) > 0.85 and max(spread) < 0.01 and max(size) < 0.15
    else:
        assert max(saturated) < 0.2 and min(spread) > 0.1

large = [train("tp:eta=10", seed, 3) for seed in range(3)]
with_large = [run.evaluate(data.test)["accuracy"] for run in large]
print("tp with eta 10, test accuracy", *(f"{value:.3f}" for value in with_large))
# measured with eta 1: 0.20 to 0.22; eta 10 and ten epochs, seeds 0 to 4: 0.94 to 0.98
assert min(with_large) > 0.8

# %% [markdown]
# At first $g$ is not trained, and the step is as long as the activity itself. The layer's error is this step divided by
# $n\,\eta$, so with $\eta = 0.1$ the updates are far too large: within one epoch nine in ten activities and more are
# beyond 0.99, where tanh is flat. They are now almost the same for every example. A constant is easy to reconstruct, so
# the step $t - h$ becomes short. But nothing of the input reaches the output: the accuracy is that of a guess.
#
# All this is so at $\eta = 0.1$. Of the step $t_l - h_l$ the useful part grows with $\eta$, the error of the
# reconstruction does not. After the division by $\eta$, $\delta_l$ contains the useful part at about the same size, and
# the reconstruction error times $1/\eta$. With $\eta = 10$ this is a hundredth of that at 0.1, and `tp` learns the
# digits, after three epochs less well than `dtp`. The difference makes it unnecessary to choose such an $\eta$.
#
# ## Learning the transposed Jacobian
#
# For a small step, only the derivative of $g$ counts: $t_{l-1} - h_{l-1} \approx g_l'(h_l)\,(t_l - h_l)$. The targets
# are backpropagation's if $g_l'$ is the **transposed Jacobian** of the layer, $f_l'^\top$. Ernoult et al. (2022) found
# a loss that has its minimum there, and that each layer can measure by itself with noise $\xi$ and $\zeta$ of standard
# deviation $\sigma$ (L-DRL, the local difference reconstruction loss; the rule `ldrl`):
#
# $$\frac{1}{\sigma^2} \Big(-2\, \xi \cdot [g(f(h + \xi)) - g(s)] + \lVert g(s + \zeta) - g(s) \rVert^2\Big)$$
#
# with $s = f(h)$, the output of the layer without noise.
#
# For a linear layer its gradient is, on average, $2(B - W)$: this is the weight mirror of tutorial 09, found from
# another side. We use the gated $g$ (minifa's default), so that `ldrl` is feedback alignment whose $B$ learns $W$.
#
# > **Predict, then run.** We train `fa` and `ldrl` for one epoch, 45 updates, with the same initial $W$ and $B$. `fa`
# > is still at about 80 degrees to backpropagation. And `ldrl`, in its worst layer? (a) About 70: learning has begun.
# > (b) About 30. (c) 0.


# %%
class Watch(mf.training.Callback):
    """Measures the angles of the targets after some of the updates."""

    def __init__(self, updates):
        self.updates, self.done, self.angles = updates, 0, []

    def measure(self, trainer):
        if self.done in self.updates:
            self.angles.append(angles_to_bp(trainer.net, trainer.rule))

    def on_start(self, trainer, epochs, batches):
        self.measure(trainer)

    def on_step(self, trainer, examples):
        self.done += 1
        self.measure(trainer)


updates = (0, 3, 6, 12, 24, 45)
first_epoch = {}
for name in ("fa", "ldrl"):
    watches = [Watch(updates) for _ in range(5)]
    trainers = [train(name, seed, 1, [watch]) for seed, watch in enumerate(watches)]
    first_epoch[name] = np.array([watch.angles for watch in watches])  # (5, 6, 3)
    weights = [
        float(mf.metrics.angle(one.net[layer].W, one.rule.B[layer]))
        for one in trainers
        for layer in ("linear2", "linear3", "linear4")
    ]
    ends = first_epoch[name][:, -1]
    print(
        f"{name:4} after one epoch, five seeds: layers 1 to 3 at",
        *(f"{a:.0f}-{b:.0f}°" for a, b in zip(ends.min(0), ends.max(0), strict=True)),
        f"  B and W at {min(weights):.0f}-{max(weights):.0f}°",
    )
more = train("ldrl:rate=0.01,steps=10", 0, 1)
print(
    "ldrl, ten smaller steps of B per update, seed 0: layers 1 to 3 at",
    *(f"{angle:.0f}°" for angle in angles_to_bp(more.net, more.rule)),
)
# measured with seeds 0 to 4: fa 77 to 88 degrees, ldrl 20 to 33
for seed in range(5):
    fa_angles, ldrl_angles = (first_epoch[name][seed, -1] for name in ("fa", "ldrl"))
    assert ldrl_angles.max() < 40 < 70 < fa_angles.min()

# %% [figure]
fig, axes = plt.subplots(1, 3, figsize=(9, 3.2), layout="constrained", sharey=True)
for j, ax in enumerate(axes):
    for name, colour in (("fa", ORANGE), ("ldrl", BLUE)):
        for seed in range(5):
            ax.plot(
                updates,
                first_epoch[name][seed, :, j],
                color=colour,
                alpha=0.7,
                label="" if seed or j else name,
            )
    ax.axhline(90, color=GREY, linewidth=1, linestyle=":")
    ax.set(title=f"Hidden layer {j + 1}", xlabel="updates", ylim=(0, 100))
axes[0].set_ylabel("targets' angle to\nbackpropagation's (degrees)")
_ = axes[0].legend(loc="lower left")

# %% [markdown]
# The answer is (b), in each of the five seeds. $W$ need not turn towards $B$: $B$ follows $W$. What remains is the
# noise of 32 samples per update, and the delay behind a $W$ that moves: with ten steps of $B$ per update of $W$, at a
# fifth of the rate, the angles are about half as large.
#
# ## Another aim: the pseudo-inverse
#
# Backpropagation asks: in which direction of $h$ does the loss of an example fall fastest? The answer is $-n e\, J$,
# where $J$ has the derivatives of the outputs by $h$. One can also ask: **which is the smallest change of $h$ that
# gives the output its target $h_L - \eta\, n e$?** To first order this is $-\eta\, n e\,(J^+)^\top$, with the
# pseudo-inverse $J^+$ (exercise 2). Its direction is the **Gauss-Newton** direction.
#
# Meulemans et al. (2020) showed that targets from exact inverses of the layers go this way, in networks whose layers
# are all invertible, and so square. In other networks even the pseudo-inverse of each layer does not lead there: the
# pseudo-inverse of a product $A B$ is in general not $B^+ A^+$ (tutorial 18 measures this). Their rule `ddtp` has one
# matrix $Q_l$ from the outputs directly to each layer, $t_l = h_l + (t_L - h_L)\, Q_l^\top$. It is direct feedback
# alignment with matrices that learn, from noise $\sigma\xi$ at $h_l$ and its effect on the outputs: $Q_l$ reconstructs
# the noise from the effect. The best $Q_l$ is $J^+$, for inputs that have the same $J$.
#
# We train four rules for four epochs and draw the targets of each hidden layer as a point: the angle to
# backpropagation's direction, and the angle to the Gauss-Newton direction. (Both are means over single examples. For a
# *batch* such targets are not the Gauss-Newton step of the weights.)

# %%
names, places = ("bp", "fa", "ldrl", "ddtp"), {}
for name in names:
    places[name], accuracies = [], []
    for seed in range(3):
        watch = mf.training.RecordTargets(data.train.head(64))
        trainer = train(name, seed, 4, [watch])
        places[name].append(
            [
                [trainer.history.column(f"{layer}.{angle}") for layer in hidden]
                for angle in ("bp_angle", "gn_angle")
            ]
        )
        accuracies.append(trainer.evaluate(data.test)["accuracy"])
    # (3 seeds, angles to backpropagation and to Gauss-Newton, 3 layers, 5 epochs)
    places[name] = np.array(places[name])
    to_bp, to_gn = places[name][..., -1].mean(axis=0)
    print(
        f"{name:5} to backpropagation",
        *(f"{angle:3.0f}°" for angle in to_bp),
        "   to Gauss-Newton",
        *(f"{angle:3.0f}°" for angle in to_gn),
        f"   test accuracy {np.mean(accuracies):.3f}",
    )
    assert min(accuracies) > 0.85
# measured with five seeds: ddtp is nearer to Gauss-Newton by 5 to 10 degrees in layer
# 1, by 11 to 12 in layer 2 and by 14 to 16 in layer 3
nearer = {name: places[name][:, 0, :, -1] - places[name][:, 1, :, -1] for name in names}
assert (nearer["ddtp"] > 2).all() and (nearer["ddtp"][:, 2] > 8).all()
assert all((nearer[name] < 0).all() for name in ("bp", "fa", "ldrl"))

# %% [figure]
fig, ax = plt.subplots(figsize=(6.4, 5.4), layout="constrained")
ax.plot((0, 95), (0, 95), color=GREY, linewidth=1, linestyle=":")
ax.text(70, 67, "equally near", color=GREY, rotation=45, ha="center", va="center")
for name, colour, shape in zip(
    names, (GREY, ORANGE, BLUE, GREEN), mf.figures.MARKERS, strict=False
):
    for j in range(3):
        to_bp, to_gn = places[name][:, :, j].mean(axis=0)
        ax.plot(to_bp, to_gn, color=colour, linewidth=1, alpha=0.6)
        ax.plot(to_bp[-1], to_gn[-1], shape, color=colour, label="" if j else name)
        ax.text(to_bp[-1] - 4, to_gn[-1] - 1, str(j + 1), color=colour, fontsize=9)
ax.set(xlim=(-6, 97), ylim=(0, 97), xlabel="angle to backpropagation (degrees)")
ax.set(
    ylabel="angle to Gauss-Newton (degrees)", title="Four epochs, hidden layers 1 to 3"
)
_ = ax.legend(loc="lower right")

# %% [markdown]
# Each line begins at the untrained network and ends at a marker with the number of the layer (means of three seeds).
# Backpropagation is at 0 on the horizontal axis, and the network that it trains moves away from the Gauss-Newton
# direction. `ldrl` goes to backpropagation; `ddtp` is the only one that crosses the diagonal, in every layer and seed:
# its targets end nearer to Gauss-Newton. All of these networks learn the digits. A rule need not approximate the
# gradient in order to learn.
#
# ## Matching weights is not matching Jacobians
#
# `ldrl` learns $B \to W$ with the gated map. It is tempting to conclude: whatever the form of $g$, with $B = W$ a
# target rule follows backpropagation. But what must match is the *Jacobian*. With the form `first`,
#
# $$g'(h) = \mathrm{diag}(f'(h))\, B^\top \qquad\text{instead of}\qquad \mathrm{diag}(f'(a))\, W^\top:$$
#
# the derivative is taken at the activity $h = f(a)$, not at the pre-activation $a$.
#
# > **Predict, then run.** Set $B = W$ exactly, in a network of ReLUs and with the form `first`, and let $\eta$ go to
# > zero. (A ReLU's derivative at $h > 0$ and at its $a > 0$ is the same, 1.) The targets' angle to backpropagation's in
# > the lowest hidden layer (a) is 0; (b) goes to 0 with $\eta$; (c) stays at 40 degrees and more.

# %%
etas = (1.0, 0.1, 1e-2, 1e-3, 1e-4, 1e-5)
units = {"tanh": "lecun_normal", "leakyrelu": "he_normal", "relu": "he_normal"}


def with_copies(activation, form, seed):
    """Angles to backpropagation's targets with B = W, for each eta and hidden layer."""
    net, angles = network(seed, activation, units[activation]), []
    for eta in etas:
        rule = mf.rules.FWDTP(eta=eta, g=form).attach(net)
        for layer in net.weighted[1:]:
            rule.set_feedback(layer.name, layer.W)
        angles.append(angles_to_bp(net, rule))
    return angles


copies = {}  # (5 seeds, 6 etas, 3 layers)
for activation in units:
    for form in ("gated", "first"):
        copies[activation, form] = np.array(
            [with_copies(activation, form, seed) for seed in range(5)]
        )
        ends = copies[activation, form][:, -1]
        print(
            f"{activation:9} {form:5} at eta 1e-5, layers 1 to 3:",
            *(
                f"{a:.1f}-{b:.1f}°"
                for a, b in zip(ends.min(0), ends.max(0), strict=True)
            ),
        )
    assert copies[activation, "gated"].max() < 1e-4
assert copies["leakyrelu", "first"][:, -1].max() < 1
assert copies["relu", "first"][:, -1, 0].min() > 30
assert copies["relu", "first"][:, -1, 1].min() > 25
assert 2 < copies["tanh", "first"][:, -1, 0].min()

# %% [figure]
fig, (left, right) = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
for activation, name, colour in (
    ("relu", "ReLU", ORANGE),
    ("tanh", "tanh", BLUE),
    ("leakyrelu", "leaky ReLU", GREEN),
):
    for seed in range(5):
        left.plot(
            etas,
            copies[activation, "first"][seed, :, 0],
            "o-",
            color=colour,
            markersize=4,
            label="" if seed else f"first, {name}",
        )
left.plot(
    etas, copies["relu", "gated"][0, :, 0], "s-", color=GREY, label="gated, all three"
)
left.set(xscale="log", xlabel="η", ylabel="angle to backpropagation (degrees)")
left.set(xlim=(2, 5e-6), ylim=(-3, 70), title="B = W, lowest hidden layer")
left.legend(loc="upper center", ncols=2, fontsize=8.5)
pre = np.linspace(-1, 1, 201)
right.plot(pre, np.maximum(pre, 0), color=GREY)
right.plot(-0.6, 0, "o", color=ORANGE, markersize=9)
right.annotate("a = -0.6: f'(a) = 0", (-0.6, 0.05), (-0.95, 0.3), color=ORANGE)
right.plot(0, 0, "s", color=BLUE, markersize=8)
right.annotate(
    "h = f(a) = 0: g takes f'(h) here,\nand a target t > 0 passes",
    (0.02, 0.02),
    (-0.32, -0.3),
    color=BLUE,
)
right.annotate(
    "",
    (0.35, 0.35),
    (0.03, 0.03),
    arrowprops={"arrowstyle": "->", "color": BLUE, "lw": 2},
)
right.set(xlabel="a or h", ylabel="f", xlim=(-1, 1), ylim=(-0.45, 1))
_ = right.set_title("An inactive ReLU is on the kink")

# %% [markdown]
# The answer is (c). An inactive ReLU has $a < 0$, a derivative of 0 and an activity of exactly 0, the kink of $f$. If
# its target is above 0, $f(t) - f(h) = t > 0$ goes down as if the unit were active, and no smaller $\eta$ helps,
# because the unit is always on the kink. This is so for about half of the inactive units. A leaky ReLU has activities
# on both sides of its kink, and there a small step remains on its side: the angle goes to 0. With tanh the derivative
# is always taken at the wrong place, $h$ instead of $a$, which costs some degrees. Only the gated form has the layer's
# Jacobian for every activation: there $B = W$ is backpropagation for every $\eta$. In the highest hidden layer both
# forms are right: the output layer above it has no activation.

# %%
net = network(0, "relu", "he_normal")
rule = mf.rules.FWDTP(eta=1e-5, g="first").attach(net)
for layer in net.weighted[1:]:
    rule.set_feedback(layer.name, layer.W)
rule.gradients(net, x, y, loss)
h, t = rule.activities["relu3"], rule.targets["relu3"]
inactive = h == 0
passed = np.maximum(t, 0) != np.maximum(h, 0)
print(
    f"{100 * inactive.mean():.0f} % of the units of layer 3 are inactive; "
    f"{100 * passed[inactive].mean():.0f} % of these pass their step down"
)
# measured with five seeds: 43 to 54 % inactive, 50 to 52 % of them pass it
assert 0.3 < passed[inactive].mean() < 0.7

# %% [markdown]
# ## Summary
#
# - A target is an error written as an activity: $\delta = (h - t)/(n\eta)$. What defines the rule is the map $g$ that
#   sends targets down. Gated and fixed, it is feedback alignment; linear and fixed, direct feedback alignment.
# - The difference $g(t) - g(h)$ cancels the error of the reconstruction. Without it, `tp` stayed at chance at the usual
#   $\eta$ of 0.1, because the division by $\eta$ makes this error large; at $\eta = 10$ it learned.
# - Maps that learn the transposed Jacobian give backpropagation's targets (`ldrl`), maps that learn the pseudo-inverse
#   through the output give targets nearer to Gauss-Newton (`ddtp`). Both learn the digits.
# - What must match is the Jacobian of the layer. $B = W$ ensures it, for every activation, in the gated form alone.
#
# ## Exercises
#
# Replace each `...`, then run the cell: it checks your answer.
#
# **1. The linear map.** With a fixed linear $g$, `fwdtp` is direct feedback alignment (tutorial 08): the error at
# hidden layer $l$ is $e\, F_l^\top$ with a matrix $F_l$ (64, 10). Fill in the three matrices, from $B_2$, $B_3$ (64,
# 64) and $B_4$ (64, 10).

# %%
net = network()
rule = mf.rules.FWDTP(g="linear").attach(net)
B2, B3, B4 = (rule.B[name] for name in ("linear2", "linear3", "linear4"))

F1, F2, F3 = ..., ..., ...

# Check
if any(F is ... for F in (F1, F2, F3)):
    print("not filled in yet")
else:
    dfa = mf.rules.DFA().attach(net)
    for name, F in zip(("tanh1", "tanh2", "tanh3"), (F1, F2, F3), strict=True):
        dfa.set_feedback(name, F)
    both = []
    for one in (rule, dfa):
        one.gradients(net, x, y, loss)
        both.append([layer.grads["W"].copy() for layer in net.weighted])
    relative = [
        np.linalg.norm(own - other) / np.linalg.norm(own)
        for own, other in zip(*both, strict=True)
    ]
    print("relative differences", *(f"{value:.0e}" for value in relative))
    assert max(relative) < 1e-10, "not the gradients of the linear map"
    print("right")

# %% [markdown]
# <details><summary>Solution</summary>
#
# ```python
# F1, F2, F3 = B2 @ B3 @ B4, B3 @ B4, B4
# ```
#
# $t_3 - h_3 = (t_4 - h_4) B_4^\top$, then times $B_3^\top$ and $B_2^\top$; so the error is
# $e B_4^\top B_3^\top B_2^\top = e\,(B_2 B_3 B_4)^\top$. The activations of the layers above do not appear: that is
# what makes the path direct.
# </details>
#
# **2. The smallest step.** For every example, `J` has the derivatives of the ten outputs by the 64 units of the last
# but one hidden layer, and `error` is $n e$. Fill in the directions `newton` (256, 64), whose step $h - \eta\,$`newton`
# changes the outputs by $-\eta\, n e$, to first order, and is the shortest one that does. (`np.linalg.pinv(J)` has
# one matrix for each example: (256, 64, 10). Each row of `error` belongs to its own matrix: `np.einsum`.)

# %%
net = network()
bp = mf.rules.BP().attach(net)
bp.gradients(net, x, y, loss)
error, h = len(x) * bp.error, bp.activities["tanh2"]  # (256, 10), (256, 64)
J = mf.jacobians.jacobians(net, x, ["tanh2"])["tanh2"]  # (256, 10, 64)

newton = ...

# Check
if newton is ...:
    print("not filled in yet")
else:

    def outputs(h):
        return np.tanh(
            net["linear3"].project(h, net["linear3"].W, net["linear3"].b)
        ) @ (net["linear4"].W)

    assert np.shape(newton) == h.shape, (
        f"newton must have the shape {h.shape}, one row for each example, got "
        f"{np.shape(newton)}: multiply row i of error by matrix i of pinv(J) alone"
    )
    gradient = np.einsum("no,nou->nu", error, J)  # backpropagation's direction
    for name, direction in (("gradient", gradient), ("newton", newton)):
        change = (outputs(h - 1e-4 * direction) - outputs(h)) / 1e-4
        miss = np.linalg.norm(change + error) / np.linalg.norm(error)
        length = np.linalg.norm(direction) / np.linalg.norm(gradient)
        print(
            f"{name:8} misses the outputs' targets by {miss:.4f}, length {length:.2f}"
        )
    assert miss < 0.01, "the outputs do not reach their targets"
    exact = gauss_newton(net, x, y, loss, ["tanh2"])["tanh2"]
    assert np.abs(newton - exact).max() < 1e-8, "a longer step than necessary"
    print("right")

# %% [markdown]
# <details><summary>Solution</summary>
#
# ```python
# newton = np.einsum("no,nuo->nu", error, np.linalg.pinv(J))
# ```
#
# The pseudo-inverse gives the solution of least norm: any other one has a part that does not change the outputs. A step
# along the gradient, $n e\, J$, changes the outputs by $-\eta\, n e\, J J^\top$ instead of $-\eta\, n e$.
# </details>
