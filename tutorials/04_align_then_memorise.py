# %% [markdown]
# # 04 · Why it works: align, then memorise
#
# **Feedback alignment learns in two phases: first the weights turn towards B, then the error falls. With two linear
# layers this can be proved. A certain combination of W1, W2 and B stays constant during training, and it determines the
# alignment: from small weights, as soon as the hidden layer has changed, W2 and B are at an acute angle.**
#
# [Tutorial 03](03_feedback_alignment.ipynb) showed the two phases. This one explains their order.
#
# **The two phases in the explorer:** `minifa explore --rules fa,bp -o page.html`, then open
# `page.html#training/fa/linear2/100` and play: the angle of $W$ and $B$ beside the loss. The step itself:
# `page.html#step/fa/15` ("Backward through linear2"); in the terminal, a step of a smaller network: `minifa step --rule
# fa`.

# %%
import math

import matplotlib.pyplot as plt
import numpy as np

import minifa as mf
from minifa.figures.style import diverging
from minifa.initialisers import gaussian

plt.rcParams.update(mf.figures.STYLE)
mf.use("numpy", dtype="float64")
BLUE, ORANGE, GREEN = mf.figures.COLOURS[:3]
GREY = "#555555"


def angle(a, b):
    """Degrees between two arrays read as long vectors."""
    cosine = (a * b).sum() / math.sqrt((a * a).sum() * (b * b).sum())
    return math.degrees(math.acos(np.clip(cosine, -1, 1)))  # rounding can exceed 1


# %% [markdown]
# ## Which layer changes first?
#
# Let all weights be zero. Backpropagation cannot leave this point: the hidden layer's error `e @ W2.T` is zero, and so
# is the readout's gradient `h.T @ e`. The point is a saddle of the loss. Under feedback alignment the hidden layer's
# error is `e @ B.T`, which is not zero. So the hidden layer changes in the first step, its activations are no longer
# zero, and in the next step the readout changes too. We measure this in minifa (with a tanh network; linear layers
# behave in the same way).
#
# > **Predict, then run.** Which gradients are not zero in the first two steps of feedback alignment from zero weights?
# > (a) Both layers', from the first step. (b) $W_1$'s in the first step, both in the second. (c) $W_2$'s in the first
# > step, both in the second.

# %%
task = mf.data.lillicrap(seed=0)
x, t = task.train.x[:500].astype("float64"), task.train.y[:500].astype("float64")


def gradient_sizes(name, steps=2):
    """The norms of the gradients of W1 and W2 in the first steps from zero weights."""
    layers = [
        mf.Linear(30, 20, bias=False, init="zero"),
        mf.Tanh(),
        mf.Linear(20, 10, bias=False, init="zero"),
    ]
    net = mf.Network(layers)
    rule = (
        mf.rules.FA(seed=0, init="xavier_uniform") if name == "fa" else mf.rules.BP()
    ).attach(net)
    optimizer, sizes = mf.SGD(0.1), []
    for _ in range(steps):
        rule.gradients(net, x, t, mf.HalfSquaredError())
        sizes.append(
            [np.linalg.norm(net[layer].grads["W"]) for layer in ("linear1", "linear2")]
        )
        optimizer.step(net, rule)
    return sizes


for name in ("bp", "fa"):
    for step, (first, second) in enumerate(gradient_sizes(name), start=1):
        print(f"{name} step {step}: gradient of W1 {first:.3f}, of W2 {second:.3f}")
assert gradient_sizes("bp") == [[0, 0], [0, 0]]
(first, second), (_, second_later) = gradient_sizes("fa")
assert first > 0 and second == 0 and second_later > 0

# %% [markdown]
# The answer is (b).
#
# ## An invariant
#
# Two linear layers, $h = xW_1$ and $y = hW_2$, error $e$, learning rate $\eta$. The two updates are
#
# $$\Delta W_1 = -\eta\, x^\top e\, B^\top \qquad\qquad \Delta W_2 = -\eta\, h^\top e = -\eta\, W_1^\top x^\top e$$
#
# Multiply the left one by $W_1^\top$ from the left and the right one by $B^\top$ from the right: both become
# $-\eta\, W_1^\top x^\top e B^\top$. So $\Delta W_2\, B^\top = W_1^\top \Delta W_1$: an increase of $W_2$ along $B$
# equals an increase of the size of $W_1$. Adding the transpose of this equation shows that
#
# $$I = W_2 B^\top + B W_2^\top - W_1^\top W_1$$
#
# does not change, except by a term that is quadratic in the step: $\Delta I = -\Delta W_1^\top \Delta W_1$, exactly.
# (The argument goes back to Lillicrap et al. 2016.)


# %%
def invariant(W1, W2, B):
    return W2 @ B.T + B @ W2.T - W1.T @ W1


def learn(lr, until, size=0.0, seed=0):
    """Feedback alignment on the full batch, from uniform weights in [-size, size].
    Returns a row per step (time, NSE, |W1|, |W2|, angle of W2 and B), the initial I,
    the final weights, and B."""
    rng = np.random.default_rng(seed)
    B, W1, W2 = (
        rng.uniform(-0.5, 0.5, (20, 10)),
        rng.uniform(-size, size, (30, 20)),
        rng.uniform(-size, size, (20, 10)),
    )
    rows, at_start = [], invariant(W1, W2, B)
    for step in range(round(until / lr)):
        h, before = x @ W1, invariant(W1, W2, B)
        e = (h @ W2 - t) / len(x)
        if W2.any():
            nse = (e**2).sum() / ((t / len(x)) ** 2).sum()
            rows.append(
                (step * lr, nse, np.linalg.norm(W1), np.linalg.norm(W2), angle(W2, B))
            )
        dW1, dW2 = -lr * x.T @ (e @ B.T), -lr * h.T @ e
        W1, W2 = W1 + dW1, W2 + dW2
        # measured: 3e-15, with three seeds
        assert np.abs(invariant(W1, W2, B) - before + dW1.T @ dW1).max() < 1e-13
    return np.array(rows), at_start, W1, W2, B


drifts = {}
for lr in (0.02, 0.01, 0.005):
    _, _, W1, W2, B = learn(lr, until=3)
    drifts[lr] = np.linalg.norm(invariant(W1, W2, B))
    print(
        f"lr {lr}: I changed by {drifts[lr]:.3f} in total, while W1.T W1 grew to "
        f"{np.linalg.norm(W1.T @ W1):.1f}"
    )
assert (
    1.8 < drifts[0.02] / drifts[0.01] < 2.2 and 1.8 < drifts[0.01] / drifts[0.005] < 2.2
)

# %% [markdown]
# With half the learning rate the drift is halved: for small steps $I$ keeps its initial value. From zero weights this
# value is 0, so after training the first two matrices below **must** be equal:

# %%
_, _, W1, W2, B = learn(lr=0.002, until=3)
left, right = W2 @ B.T + B @ W2.T, W1.T @ W1
panels = {"W2 Bᵀ + B W2ᵀ": left, "W1ᵀ W1": right, "the difference, I": left - right}
assert np.linalg.norm(left - right) < 0.02 * np.linalg.norm(right)

# %% [figure]
fig, axes = plt.subplots(1, 3, figsize=(9, 3.3), layout="constrained")
for ax, (name, matrix) in zip(axes, panels.items(), strict=True):
    image = ax.imshow(
        matrix, cmap=diverging(), vmin=-np.abs(left).max(), vmax=np.abs(left).max()
    )
    ax.set(title=name, xticks=[], yticks=[])
    ax.grid(visible=False)
    ax.spines[:].set(visible=True, color="#bbbbbb")
axes[0].set_ylabel("hidden unit")
axes[0].set_xlabel("hidden unit")
_ = fig.colorbar(image, ax=axes, shrink=0.8)

# %% [markdown]
# ## The invariant implies alignment
#
# Take the trace. For $I$ it is twice the inner product of $W_2$ and $B$, minus the squared norm of $W_1$. From zero
# weights, where $I = 0$,
#
# $$2\, \langle W_2, B \rangle = \lVert W_1 \rVert^2 \;>\; 0 \qquad\text{so}\qquad
# \cos(\text{angle of } W_2 \text{ and } B) = \frac{\lVert W_1 \rVert^2}{2\, \lVert W_2 \rVert\, \lVert B \rVert}$$
#
# The angle is acute as soon as $W_1$ is not zero, and three **norms** determine it; no direction enters the formula.
# For other initial weights the initial trace of $I$ is added to $\lVert W_1 \rVert^2$, and it soon becomes negligible.
# The figure shows the random initialisation of tutorial 03: the angle falls from 90 degrees while the error stays high,
# and the norms predict it throughout training.
#
# > **Predict, then run.** How closely do the three norms alone, without any direction, predict the angle during the
# > whole training? (a) To about a degree. (b) To 10 degrees. (c) Not at all: an angle needs directions.

# %%
history, at_start, _, _, B = learn(lr=0.001, until=3, size=0.01)
time, nse, size1, size2, measured = history[1:].T
predicted = np.degrees(
    np.arccos((size1**2 + np.trace(at_start)) / (2 * size2 * np.linalg.norm(B)))
)
off = np.abs(predicted - measured).max()
print(f"prediction and measurement differ by at most {off:.2f} degrees")
assert off < 2  # it shrinks with the learning rate; measured with five seeds: at most 1
assert measured[0] > 80 and measured[nse > 0.95].min() < 45, (
    "aligned before a twentieth of the error is gone"
)

# %% [figure]
fig, (top, bottom) = plt.subplots(
    2, 1, figsize=(9, 4.8), layout="constrained", sharex=True
)
top.semilogx(time, measured, color=ORANGE, linewidth=3, label="measured")
top.semilogx(time, predicted, "k:", linewidth=2, label="predicted from the sizes")
top.set(
    ylabel="degrees",
    ylim=(0, 100),
    yticks=range(0, 91, 30),
    title="The angle between W2 and B",
)
top.legend(loc="upper right")
bottom.semilogx(time, nse, color=BLUE, linewidth=2)
_ = bottom.set(
    ylabel="NSE",
    xlabel="time, learning rate × steps",
    ylim=(0, 1.05),
    title="The error",
)

# %% [markdown]
# The answer is (a). Why does the error stay high at first? The output $xW_1W_2$ is a product of two small matrices.
# When both have grown to ten times their initial size, their directions are determined by learning, and the angle is
# close to its final value; but the product of two matrices of the size $10 \times 0.01$ is still small. **Directions
# are learned first, sizes later.**
#
# Why does an acute angle between the matrices imply useful errors? For an error $e$ with independent entries of equal
# variance, the mean of $(eB^\top) \cdot (eW_2^\top)$ is $\langle W_2, B \rangle$ times the mean square of the entries.
# It is positive: on average a descent direction.

# %% [markdown]
# ## The dynamics in a plane
#
# Let every quantity be a scalar: one input $x = 1$, hidden weight $A$, readout $W$, target $T = 1$, feedback $B = 1$.
# Now a network is a point in a plane, and learning is a flow:
#
# $$e = AW - T \qquad \dot W = -eA \qquad \dot A = -eW \;\text{ (backpropagation)} \quad\text{or}\quad \dot A = -eB
# \;\text{ (feedback alignment)}$$
#
# All points with $AW = 1$ are perfect networks. Feedback alignment's invariant is $2BW - A^2$, so its trajectories are
# parabolas. (Backpropagation has an invariant too, $A^2 - W^2$, and its trajectories are hyperbolas. The thin lines
# below are these curves.)
#
# > **Predict, then run.** Start at $A = 0$, $W = -1$: the readout is opposite to the feedback $B = 1$. Where does
# > feedback alignment end? (a) At a perfect network with $W > 0$. (b) At a perfect network with $W < 0$. (c) It
# > diverges.


# %%
def trajectory(rule, A, W, B=1.0, T=1.0, lr=0.005, steps=4000):
    """The path (A, W) of the scalar network, (steps + 1, 2)."""
    path = [(A, W)]
    for _ in range(steps):
        e = A * W - T
        A, W = A - lr * e * (W if rule == "bp" else B), W - lr * e * A
        path.append((A, W))
    return np.array(path)


starts = {"(0, 0)": (0.0, 0.0), "(0, -1)": (0.0, -1.0)}
paths = {
    (rule, name): trajectory(rule, *start)
    for rule in ("bp", "fa")
    for name, start in starts.items()
}
for (rule, name), path in paths.items():
    print(
        f"{rule} from {name:7} ends at A = {path[-1, 0]:+.3f}, W = {path[-1, 1]:+.3f}, "
        f"A W = {path[-1].prod():.3f}"
    )

A, W = paths["fa", "(0, 0)"][-1]  # known: A = (2BT)^(1/3), W = A^2 / 2B
assert abs(A - 2 ** (1 / 3)) < 0.01 and abs(W - 2 ** (2 / 3) / 2) < 0.01
assert (paths["bp", "(0, 0)"] == 0).all(), "backpropagation never leaves the saddle"
for name in starts:
    first, last = (2 * W - A**2 for A, W in paths["fa", name][[0, -1]])
    assert abs(last - first) < 0.02, "the invariant"

# %% [figure]
fig, axes = plt.subplots(1, 2, figsize=(9, 5.0), layout="constrained", sharey=True)
A, W = np.meshgrid(np.linspace(-2.2, 2.6, 241), np.linspace(-1.8, 2.4, 211))
few = np.s_[8::17, 8::17]  # the points with an arrow
for ax, rule, title in zip(
    axes, ("bp", "fa"), ("Backpropagation", "Feedback alignment, B = 1"), strict=True
):
    e, carried = A * W - 1, W if rule == "bp" else np.ones_like(W)
    # dL/dt = -e^2 (A^2 + carried W)
    ax.contourf(A, W, A**2 + carried * W < 0, levels=[0.5, 1.5], colors=["#f6dcc8"])
    constant = A**2 - W**2 if rule == "bp" else 2 * W - A**2
    ax.contour(
        A,
        W,
        constant,
        levels=np.arange(-9, 9, 0.5),
        colors="#b9bfc6",
        linewidths=0.8,
        linestyles="solid",
    )
    dA, dW = -e * carried, -e * A
    speed = np.hypot(dA, dW) + 1e-9
    ax.quiver(
        A[few],
        W[few],
        (dA / speed)[few],
        (dW / speed)[few],
        color="#7d858d",
        scale=32,
        width=0.004,
    )
    for side in (np.linspace(0.4, 2.6, 100), np.linspace(-2.2, -0.5, 100)):
        ax.plot(side, 1 / side, color=GREEN, linewidth=3)
    for name, colour, marker in (("(0, 0)", BLUE, "o"), ("(0, -1)", ORANGE, "s")):
        path = paths[rule, name]
        ax.plot(*path.T, color=colour, linewidth=2.5)
        ax.plot(*path[0], marker, color=colour, markersize=8, markeredgecolor="white")
        ax.plot(
            *path[-1],
            "*",
            color=colour,
            markersize=15,
            markeredgecolor="white",
            zorder=5,
        )
    ax.set(xlim=(-2.2, 2.6), ylim=(-1.8, 2.4), xlabel="A, hidden weight", title=title)
    ax.grid(visible=False)
axes[0].set_ylabel("W, readout")
axes[0].text(0.1, 0.06, "saddle", color=BLUE, fontsize=9, backgroundcolor="white")
axes[0].text(1.1, 1.15, "A W = 1", color=GREEN, fontsize=9, backgroundcolor="white")
_ = axes[1].text(
    0,
    -1.6,
    "the loss rises",
    color="#8a4a1c",
    fontsize=9,
    backgroundcolor="#f6dcc8",
    ha="center",
)

# %% [markdown]
# The green lines are the perfect networks; circles and squares mark the initial weights, stars the final ones. The
# answer is (a). **Left:** every step of backpropagation lowers the loss, and from zero (blue) there is no step. From
# $(0, -1)$ (orange) it learns with both weights negative. **Right:** from both initial points feedback alignment ends
# where $W$ has the sign of $B$. From zero it follows the parabola $W = A^2/2$. From $W = -1$, opposite to $B$, it has
# to cross the shaded region, where the loss **rises**: the hidden weight receives the error with the wrong sign. But
# this changes $A$, and the changed $A$ moves $W$ through zero. The loss rises before it falls. Exercise 2 of tutorial
# 03 showed the same with 800 weights.

# %% [figure]
fig, ax = plt.subplots(figsize=(9, 3.2), layout="constrained")
for (rule, name), path in paths.items():
    loss = 0.5 * (path.prod(axis=1) - 1) ** 2
    colour, line = BLUE if name == "(0, 0)" else ORANGE, "--" if rule == "bp" else "-"
    ax.plot(
        0.005 * np.arange(len(path)),
        loss,
        line,
        color=colour,
        label=f"{rule} from {name}",
    )
ax.set(
    xlabel="time",
    ylabel="loss",
    xlim=(0, 4),
    ylim=(0, 1.3),
    title="The loss along the four trajectories",
)
_ = ax.legend()

# %%
worst = (0.5 * (paths["fa", "(0, -1)"].prod(axis=1) - 1) ** 2).max()
print(
    f"feedback alignment from (0, -1): the loss rises from 0.5 to {worst:.2f} before "
    f"it falls"
)
# its largest value on W = A^2/2 - 1, at A^2 = 2/3
assert abs(worst - 0.5 * (1 + (2 / 3) ** 1.5) ** 2) < 0.01

# %% [markdown]
# ## Align, then memorise
#
# Do the two phases have the same order in a nonlinear network? Refinetti, d'Ascoli, Ohana & Goldt (2021) studied a
# student with two hidden units that learns from a teacher with two, and found that they do: the readout aligns with the
# feedback while most of the error is left, and then the error falls. (Their units are error functions, ours tanh; they
# train on single examples, we on batches of 30.) We measure the cosine between the readout and the feedback.


# %%
def student(name, seed, N=300, batch=30, until=100):
    """Error and cosine of readout and feedback at every unit of time (N examples)."""
    rng = np.random.default_rng(seed)
    teacher, B = rng.standard_normal((N, 2)) / math.sqrt(N), rng.standard_normal((2, 1))
    small, large = gaussian(1 / N), gaussian(1 / math.sqrt(N))
    net = mf.Network(
        [mf.Linear(N, 2, False, small), mf.Tanh(), mf.Linear(2, 1, False, large)], seed
    )
    rule, optimizer = mf.rules.make(name).attach(net), mf.SGD(0.1 / N * batch)
    if name == "fa":
        rule.set_feedback("linear2", B)

    def targets(x):
        return np.tanh(x @ teacher).sum(axis=1, keepdims=True) / math.sqrt(2)

    x_test, history = rng.standard_normal((1000, N)), []
    for step in range(until * N // batch + 1):
        if step * batch % N == 0:
            error = ((net.predict(x_test) - targets(x_test)) ** 2).mean()
            history.append((error, math.cos(math.radians(angle(net["linear2"].W, B)))))
        x = rng.standard_normal((batch, N))
        rule.gradients(net, x, targets(x), mf.HalfSquaredError())
        optimizer.step(net, rule)
    return np.array(history)


students = {
    name: np.array([student(name, seed) for seed in range(3)]) for name in ("fa", "bp")
}
for history in students["fa"]:
    aligned = int(np.argmax(history[:, 1] > 0.9))
    share = history[aligned, 0] / history[0, 0]
    print(
        f"feedback alignment: cosine above 0.9 at time {aligned}, with "
        f"{100 * share:.0f} % of the error left"
    )
    assert 0 < aligned <= 20 and share > 0.5 and history[-1, 0] < 0.12 * history[0, 0]
# measured with ten seeds: times 3 to 15, with 73 to 97 % of the error left in nine of
# them and 40 % in one
assert (
    students["fa"][0][0, 1] < -0.5
    and students["fa"][0][:, 0].max() > students["fa"][0][0, 0]
), "worse, then better"
for history in students["bp"]:
    assert np.ptp(history[:, 1]) < 0.15 and history[-1, 0] < 0.12 * history[0, 0]

# %% [figure]
fig, axes = plt.subplots(2, 1, figsize=(9, 4.8), layout="constrained", sharex=True)
for name, colour, label in (
    ("fa", ORANGE, "feedback alignment"),
    ("bp", BLUE, "backpropagation"),
):
    for seed, history in enumerate(students[name]):
        for ax, column, scale in ((axes[0], 1, 1), (axes[1], 0, history[0, 0])):
            ax.plot(
                history[:, column] / scale,
                color=colour,
                linewidth=1.8,
                label=label if seed == 0 else None,
            )
axes[0].set(ylabel="cosine", ylim=(-1.05, 1.05), title="Readout and feedback")
axes[1].set(
    ylabel="share of the error left",
    ylim=(0, 1.05),
    xlabel="time, examples / 300",
    title="The error",
)
_ = axes[1].legend()

# %% [markdown]
# In the student whose readout was opposite to its feedback at the start, the readout reverses its direction, and
# meanwhile the error rises a little, as on the orange trajectory in the plane. The task has several equally good
# solutions: if all incoming and outgoing weights of a hidden unit change sign, the output stays the same.
# Backpropagation keeps the initial direction of its readout. Feedback alignment first turns the readout towards $B$,
# and then learns **that** solution: alignment breaks the degeneracy.
#
# ## Summary
#
# From zero weights only the hidden layer can change at first, along $B$. In two linear layers
# $W_2 B^\top + B W_2^\top - W_1^\top W_1$ is constant, so $2 \langle W_2, B \rangle = \lVert W_1 \rVert^2$: the overlap
# of $W_2$ and $B$ equals the growth of the hidden layer. The plane shows how an adverse initialisation aligns, with a
# loss that rises at first. With nonlinear units the order is the same: align, then memorise.

# %% [markdown]
# ## Exercises
#
# Replace each `...`, then run the cell: it checks your answer.
#
# **1. Perfect, but not aligned.** In the scalar network, find initial weights from which feedback alignment ends in a
# perfect network whose readout $W$ keeps the sign **opposite** to $B = 1$. (The invariant gives a hint: what if
# $2BW - A^2$ is very negative?)

# %%
A_start, W_start = ..., ...

# Check
if A_start is ... or W_start is ...:
    print("not filled in yet")
else:
    path = trajectory("fa", A_start, W_start)
    A, W = path[-1]
    print(f"ends at A = {A:.3f}, W = {W:.3f}, A W = {A * W:.3f}")
    assert abs(A * W - 1) < 1e-6, "not a perfect network"
    assert W < 0, "W has the sign of B"
    losses = 0.5 * (path.prod(axis=1) - 1) ** 2
    print("did the loss rise on the way?", bool((np.diff(losses) > 1e-12).any()))
    print("right")

# %% [markdown]
# <details><summary>Solution</summary>
#
# ```python
# A_start, W_start = -2.0, 0.0
# ```
#
# If the hidden weight $A$ is large at the start, the readout alone can fit the target quickly, before $A$ changes its
# sign. All along this trajectory $A^2 + BW > 0$, so the loss falls although $A$ receives errors of the wrong sign.
# Networks with small initial weights align; with large initial weights they need not.
# </details>
#
# **2. Too narrow.** Take $x = $ the 20 unit vectors, a random target matrix $T$ (20, 15) and a hidden layer of only 3
# linear units, from zero. Which map does feedback alignment learn? From zero, the columns of $W_1$ stay in the span of
# the columns of $T B^\top$ (20, 3), for which `Q` is an orthonormal basis. Fill in the projection of $T$ on this span,
# the best map that such a network can reach. Is it the best of all networks of this width?

# %%
rng = np.random.default_rng(0)
T, B = rng.standard_normal((20, 15)), rng.standard_normal((3, 15)) / math.sqrt(15)
Q, _ = np.linalg.qr(T @ B.T)  # (20, 3), orthonormal columns

projection = ...  # (20, 15)

# Check
if projection is ...:
    print("not filled in yet")
else:
    W1, W2 = np.zeros((20, 3)), np.zeros((3, 15))
    for _ in range(20_000):
        e = (W1 @ W2 - T) / 20
        W1, W2 = W1 - 0.2 * e @ B.T, W2 - 0.2 * W1.T @ e
    difference = np.abs(W1 @ W2 - projection).max()
    reached = np.linalg.norm(W1 @ W2 - T)
    best = math.sqrt((np.linalg.svd(T)[1][3:] ** 2).sum())
    print(f"largest difference to the learned map {difference:.0e}")
    print(f"error: feedback alignment {reached:.2f}, best of rank 3 {best:.2f}")
    assert difference < 1e-3, "not the learned map"
    assert reached > 1.05 * best
    print("right")

# %% [markdown]
# <details><summary>Solution</summary>
#
# ```python
# projection = Q @ Q.T @ T
# ```
#
# $B$ is random, so a narrow network learns a random sketch of its task instead of the best approximation, which the
# three largest singular values of $T$ give. Garg & Vempala (2022) study this: feedback alignment is optimal when the
# hidden layer is at least as wide as the task's rank, and can be far from it below.
# </details>
