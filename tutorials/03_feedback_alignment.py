# %% [markdown]
# # 03 · Swap W for B: feedback alignment
#
# **Change one letter of backpropagation, `delta @ W.T` into `delta @ B.T`, with a random B that never changes. The
# network still learns: without being told to, the weights turn towards B, from an angle of 90 degrees to about 30,
# and what B carries down becomes a good enough error.** (Lillicrap, Cownden, Tweed & Akerman 2016.)
#
# [Tutorial 02](02_backpropagation_and_transport.ipynb) ended with a surprise: a way back through mere noise taught a
# network. Now we look at the smallest case in which that happens.

# %%
import math

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.patches import Wedge

import minifa as mf

plt.rcParams.update(mf.figures.STYLE)
mf.use("numpy", dtype="float64")
BLUE, ORANGE, GREEN = mf.figures.COLOURS[:3]
GREY = "#555555"


def angle(a, b):
    """Degrees between two arrays read as long vectors."""
    cosine = (a * b).sum() / math.sqrt((a * a).sum() * (b * b).sum())
    return math.degrees(math.acos(np.clip(cosine, -1, 1)))  # rounding can push it just outside


# %% [markdown]
# ## The task
#
# Feedback alignment was first shown on this one: a hidden linear map $T$ from 30 numbers to 10 is to be found from
# examples $t = xT$. The student has two layers without any nonlinearity, $h = xW_1$ (20 numbers) and $y = hW_2$, and
# starts almost at zero. It sees 2000 examples, one at a time, once. Progress is the **normalised squared error**,
# NSE: 1 for a student that always answers 0, and 0 for a perfect one.
#
# The way back is a matrix $B$ of $W_2$'s shape, drawn once, 50 times as large as $W_2$ at the start.


# %%
def start(seed):
    """W1, W2 and B as Lillicrap et al. drew them."""
    rng = np.random.default_rng(seed)
    W1, W2 = rng.uniform(-0.01, 0.01, (30, 20)), rng.uniform(-0.01, 0.01, (20, 10))
    return W1, W2, rng.uniform(-0.5, 0.5, (20, 10))


def examples(seed):
    """2000 examples to learn from and 500 to measure on, in double precision: x, t, x_test, t_test."""
    task = mf.data.lillicrap(seed)
    return [array.astype("float64") for part in (task.train, task.test) for array in (part.x, part.y)]


def angles_of_rows(a, b):
    """Degrees between each row of a and the same row of b."""
    cosines = (a * b).sum(axis=1) / np.sqrt((a * a).sum(axis=1) * (b * b).sum(axis=1))
    return np.degrees(np.arccos(np.clip(cosines, -1, 1)))


# %% [markdown]
# ## The one letter
#
# This is the loop of tutorial 02 for two linear layers, with the 500 test examples as a gauge beside it. The whole
# difference between backpropagation and feedback alignment is the letter in `e @ W2.T`, `e @ B.T`. Every 20 steps we
# note the NSE and two angles: between $W_2$ and $B$, and between the errors that the two *would* deliver at the
# hidden layer, `e @ B.T` and `e @ W2.T`, averaged over the test examples.


# %%
def learn(letter, seed, steps=2000, lr=0.001):
    W1, W2, B = start(seed)
    x_all, t_all, x_test, t_test = examples(seed)
    history = []
    for step in range(steps + 1):
        if step % 20 == 0:
            e = x_test @ W1 @ W2 - t_test
            between_errors = angles_of_rows(e @ B.T, e @ W2.T).mean()
            history.append((step, (e**2).sum() / (t_test**2).sum(), angle(W2, B), between_errors))
        if step == steps:
            return np.array(history), W1, W2, B
        x, t = x_all[step : step + 1], t_all[step : step + 1]

        h = x @ W1  # forward
        e = h @ W2 - t  # the error at the output
        delta = e @ {"W": W2, "B": B}[letter].T  # the error at the hidden layer: the one letter
        W2 -= lr * h.T @ e  # learn
        W1 -= lr * x.T @ delta


seeds = range(10)
runs = {letter: [learn(letter, seed) for seed in seeds] for letter in "WB"}
curves = {letter: np.array([run[0] for run in some]) for letter, some in runs.items()}  # (10, 101, 4)
for letter, name in (("W", "backpropagation"), ("B", "feedback alignment")):
    first, last = curves[letter][:, 0].mean(axis=0), curves[letter][:, -1].mean(axis=0)
    print(f"{name:19} NSE {first[1]:.2f} -> {last[1]:.4f}   W2 and B {first[2]:.0f} -> {last[2]:.0f} degrees")

# %% [markdown]
# Both learn. And look at the angles.

# %%
fig, (left, right) = plt.subplots(1, 2, figsize=(9, 3.9), layout="constrained")


def band(ax, letter, column, colour, label, **style):
    values, steps = curves[letter][:, :, column], curves[letter][0, :, 0]
    ax.plot(steps, values.mean(axis=0), color=colour, label=label, linewidth=2, **style)
    ax.fill_between(steps, values.min(axis=0), values.max(axis=0), color=colour, alpha=0.18, linewidth=0)


for letter, colour, name in (("W", BLUE, "backpropagation"), ("B", ORANGE, "feedback alignment")):
    band(left, letter, 1, colour, name)
    band(right, letter, 2, colour, f"W2 and B, {name}")
band(right, "B", 3, GREEN, "the errors they carry, feedback alignment", linestyle="--")
left.set(yscale="log", ylabel="NSE on test examples", title="The error, ten seeds")
left.legend(loc="lower left")
right.set(ylabel="degrees", ylim=(0, 120), yticks=range(0, 121, 30), title="The angles")
right.legend(loc="upper right")
for ax in (left, right):
    ax.set(xlabel="examples seen", xticks=range(0, 2001, 500))

# %%
seen = {int(row[0]): row for row in curves["B"].mean(axis=0)}  # means over seeds
print("W2 and B after 0, 100, 200, 2000 examples: " + ", ".join(f"{seen[k][2]:.1f}" for k in (0, 100, 200, 2000)))
print("errors   after 0, 100, 200, 2000 examples: " + ", ".join(f"{seen[k][3]:.1f}" for k in (0, 100, 200, 2000)))
assert abs(seen[0][2] - 90) < 4 and abs(seen[0][3] - 90) < 4
assert 24 < seen[2000][2] < 36 and 24 < seen[2000][3] < 36  # with three other sets of ten: 28 to 32
assert curves["B"][:, -1, 1].max() < 0.02, "the NSE fell fiftyfold at least with every seed"  # seen with 40: 0.009
assert seen[100][2] < 55 and seen[100][1] > 0.95, "aligned before anything was learned"
assert abs(curves["W"][:, -1, 2].mean() - 90) < 4, "under backpropagation W2 does not care about B"

# %% [markdown]
# Read the two panels together. After 100 examples the angle has fallen from 90 to below 50 degrees, while the NSE is
# still at 0.98: **first the weights align, then the network learns**. Under backpropagation $W_2$ stays perpendicular
# to $B$: it has no reason to care. (That backpropagation comes later here says nothing about its worth; exercise 1.)
#
# Nobody copies $B$ into $W_2$: the update of $W_2$ does not even mention $B$. Here are the two after training.

# %%
_, W1, W2, B = runs["B"][0]
mf.figures.matrices(W2, B, "After 2000 examples: the readout W2 and the feedback B, which were drawn independently")

# %% [markdown]
# ## How does B get into W2?
#
# In three steps, and you can read them off the updates. At the start the weights are almost zero and the error is
# $e \approx -t$. Write $M = x^\top t$, summed over the examples seen so far.
#
# 1. $W_1$ learns $-x^\top e B^\top$, so it soon is nearly a multiple of $M B^\top$: **B has left its print in W1**.
# 2. $W_2$ learns $-h^\top e$ with $h = x W_1$: a multiple of $W_1^\top x^\top t = B\,(M^\top M)$. The print comes out.
# 3. Is that towards $B$? The inner product of $B$ with $B M^\top M$ is $\lVert M B^\top \rVert^2$, a square. **It
#    cannot be negative**: the first thing that $W_2$ learns makes an acute angle with $B$, whatever $B$ is.

# %%
for seed in range(5):
    x, t, *_ = examples(seed)
    _, _, B = start(seed)
    W1 = x.T @ t @ B.T / len(x)  # one step of size 1 from zero, with the whole batch
    first = (x @ W1).T @ t / len(x)  # what W2 learns in the next one
    print(f"seed {seed}: the first thing that W2 learns stands at {angle(first, B):.1f} degrees to B")
    assert angle(first, B) < 45  # certain is below 90; seen with 30 seeds: 24 to 36

# %% [markdown]
# ## What does the angle mean?
#
# The true gradient says which way is steepest. Pass a small step in another direction, at an angle $\theta$ to it,
# and the loss falls by $\cos\theta$ of what the steepest step of that length would have given: by all of it at 0
# degrees, by 87 % at 30, by half at 60. At 90 degrees you walk along a level line, and beyond that you climb. **Any
# angle below 90 degrees is downhill**, and 30 is a good one. (Two random directions among many weights are at 90
# degrees, nearly: that is chance.)

# %%
fig, ax = plt.subplots(figsize=(9, 3.6), layout="constrained")
u, v = np.meshgrid(np.linspace(-4.5, 4.5, 300), np.linspace(-1.6, 2.0, 300))
ax.contour(u, v, 0.3 * u**2 + v**2, levels=14, colors="#b9bfc6", linewidths=0.9)
here = np.array([1.9, 0.6])
steepest = np.degrees(np.arctan2(-2 * here[1], -0.6 * here[0]))
ax.add_patch(Wedge(here, 9, steepest + 90, steepest + 270, color="#eeeeee", zorder=0))
for degrees, name in ((0, "0°, steepest"), (30, "30°"), (60, "60°"), (90, "90°"), (120, "120°")):
    direction = np.array([np.cos(np.radians(steepest - degrees)), np.sin(np.radians(steepest - degrees))])
    colour = BLUE if degrees == 0 else ORANGE if degrees < 90 else GREY
    ax.annotate("", here + 1.0 * direction, here, arrowprops={"arrowstyle": "-|>", "color": colour, "lw": 2})
    ax.text(*(here + 1.14 * direction), name, ha="right", va="center", color=colour, fontsize=9)
ax.plot(0, 0, "k+", markersize=9)
ax.text(4.4, 1.9, "uphill", ha="right", va="top", color=GREY)
ax.text(-4.4, -1.5, "downhill", color=GREY)
ax.set(xlim=(-4.5, 4.5), ylim=(-1.6, 2.0), xticks=[], yticks=[], aspect="equal")
ax.set_title("A bowl seen from above: five steps from one place")
ax.grid(visible=False)

# %% [markdown]
# And measured, on our task: at some moments of learning we take $W_1$'s step under feedback alignment and, from the
# same place, a step of the same length under backpropagation, and compare by how much the loss falls.


# %%
def descent(W1, W2, direction, x, t, eps=1e-6):
    """How fast the mean loss falls when W1 moves along a direction, per unit of length."""
    step = eps * direction / np.linalg.norm(direction)
    before, after = (0.5 * ((x @ (W1 + s * step) @ W2 - t) ** 2).sum(axis=1).mean() for s in (-1, 1))
    return (before - after) / (2 * eps)


fig, ax = plt.subplots(figsize=(9, 3.6), layout="constrained")
curve = np.linspace(0, 100, 200)
ax.plot(curve, np.cos(np.radians(curve)), color="#b9bfc6", label="cosine of the angle")
ax.axhline(0, color=GREY, linewidth=1)
for i, steps in enumerate((0, 20, 40, 60, 100, 2000)):
    for seed in range(5):
        _, _, x, t = examples(seed)
        _, W1, W2, B = learn("B", seed, steps)
        e = (x @ W1 @ W2 - t) / len(x)
        by_fa, by_bp = -x.T @ (e @ B.T), -x.T @ (e @ W2.T)
        turned, share = angle(by_fa, by_bp), descent(W1, W2, by_fa, x, t) / descent(W1, W2, by_bp, x, t)
        shade = {"color": plt.get_cmap("viridis")(i / 6), "marker": mf.figures.MARKERS[i]}
        ax.plot(turned, share, linestyle="", label=f"after {steps} examples" if seed == 0 else None, **shade)
        assert abs(share - math.cos(math.radians(turned))) < 1e-3
ax.set(xlabel="angle between W1's two steps, degrees", ylabel="descent / steepest descent", xticks=range(0, 101, 10))
ax.set_title("What a step of feedback alignment is worth, five seeds")
_ = ax.legend(loc="upper right")

# %% [markdown]
# ## The same loop in minifa
#
# In minifa the letter is the rule's answer to *what carries the error down through this weight?* A rule that gives
# Lillicrap's answer takes four lines. `rules.FA` is the one that is built in (with options); `rules.Sham` is a
# control: feedback alignment's machinery with $B$ set to $W$ before every pass, which must be backpropagation. The
# loop stays as it is: `rule.gradients` goes forward and calls `net.backward(error, rule)`.


# %%
class OneLetter(mf.rules.Rule):
    name = "one_letter"

    def draw(self, net):
        self.memory = {layer.name: self.draw_matrix(layer) for layer in self.layers_with_feedback(net)}

    def feedback(self, layer):
        return self.memory[layer.name]


# %%
def in_minifa(rule, seed, steps=2000):
    net = mf.Network(mf.models.linear_task((30,), 10))
    W1, W2, B = start(seed)
    net["linear1"].W, net["linear2"].W = W1, W2
    rule.attach(net)
    if "linear2" in rule.memory:
        rule.set_feedback("linear2", B)
    x, t, *_ = examples(seed)
    loss, optimizer = mf.HalfSquaredError(), mf.SGD(0.001)
    for step in range(steps):
        rule.gradients(net, x[step : step + 1], t[step : step + 1], loss)
        optimizer.step(net, rule)
    return net


for letter, rule in (("W", mf.rules.BP()), ("W", mf.rules.Sham()), ("B", mf.rules.FA()), ("B", OneLetter())):
    net = in_minifa(rule, seed=0)
    _, W1, W2, B = runs[letter][0]
    off = max(np.abs(net["linear1"].W - W1).max(), np.abs(net["linear2"].W - W2).max())
    print(f"{rule.name:11} after 2000 steps differs from our loop with {letter} by {off:.0e} at most")
    assert off < 1e-12

# %% [markdown]
# ## Not only linear
#
# A network with rectifiers on the digits, 64-30-10, under backpropagation, feedback alignment, and without any error
# for the hidden layer (`shallow`, so that we know what the output layer reaches alone). `mf.metrics.alignment`
# measures the angles for you.

# %%
data, loss = mf.data.load("digits"), mf.SoftmaxCrossEntropy()
x_test, y_test = data.test.x.astype("float64"), data.test.y


def trained(name, seed, epochs=15):
    net = mf.Network(mf.models.mlp(data.input_shape, data.n_out, hidden=(30,)), seed, data.input_shape)
    rule = mf.rules.make(name, seed=seed).attach(net)
    if epochs:
        mf.train(net, rule, data.train, loss, mf.SGD(0.03, momentum=0.9), epochs, progress=False)
    return net, rule, (net.predict(x_test).argmax(axis=1) == y_test).mean()


after = {(name, seed): trained(name, seed) for name in ("bp", "fa", "shallow") for seed in range(3)}
scores = {name: [after[name, seed][2] for seed in range(3)] for name in ("bp", "fa", "shallow")}
for name, values in scores.items():
    print(f"{name:8} test accuracy " + "  ".join(f"{value:.3f}" for value in values))
assert min(scores["fa"]) > max(scores["shallow"]) + 0.05 and np.mean(scores["fa"]) > np.mean(scores["bp"]) - 0.03

for seed in range(3):
    for epochs, (net, rule, _) in ((0, trained("fa", seed, 0)), (15, after["fa", seed])):
        found = mf.metrics.alignment(net, rule, x_test, y_test, loss)
        angles = found["linear2"]["weight_angle"], found["linear1"]["true_angle"]
        print(f"seed {seed}, {epochs:2} epochs: W and B {angles[0]:.0f}°, error at the hidden layer {angles[1]:.0f}°")
    assert angles[0] < 75 and angles[1] < 70  # seen with eight seeds: 58 to 71 and 51 to 60
    downhill = (angles_of_rows(*mf.metrics.errors(net, rule, x_test, y_test, loss)["linear1"]) < 90).mean()
    print(f"seed {seed}: {100 * downhill:.0f} % of the test digits have an error below 90 degrees")
    assert downhill > 0.95  # seen with eight seeds: at least 0.997

# %% [markdown]
# An average hides how different the examples are. This is the angle between feedback alignment's error and
# backpropagation's for each of the 360 test digits, at the output layer (where both are the same) and at the hidden
# one, for the first seed. Nearly all of them lie below 90 degrees, with each of the three seeds.

# %%
net, rule, _ = after["fa", 0]
mf.figures.angle_histogram(net, rule, x_test, y_test, loss, "After 15 epochs of feedback alignment")

# %% [markdown]
# ## What you have seen
#
# $B$ is a fixed random matrix that carries the error back in the place of $W$. In the two shallow networks here
# learning works anyway because the weights come to agree with $B$: it leaves its print in the layer below, and the
# layer above learns from that print. The angle says how good the agreement is: below 90 degrees is downhill, and the
# descent is its cosine. Why must it fall? [Tutorial 04](04_align_then_memorise.ipynb) answers with an equation.

# %% [markdown]
# ## Exercises
#
# **1. A fair race.** In the first picture feedback alignment was faster at the same learning rate. Is it better?
# Think about how large the error is that reaches $W_1$ in either case at the start, then give backpropagation a rate
# of its own.
#
# <details><summary>Solution</summary>
#
# ```python
# for lr in (0.001, 0.002, 0.003, 0.005):
#     after = [learn("W", seed, lr=lr)[0][-1, 1] for seed in range(5)]
#     print(f"backpropagation at {lr}: NSE {np.mean(after):.5f}")
# assert np.mean(after) < np.mean([run[0][-1, 1] for run in runs["B"][:5]])
# ```
#
# At the start $W_2$ is 50 times smaller than $B$, so backpropagation's hidden layer gets a 50 times smaller error and
# has to wait until $W_2$ has grown. With a rate of 0.005 it overtakes, in the mean of five seeds.
# </details>
#
# **2. A hostile start.** Begin with $W_2 = -B$: an angle of 180 degrees, every error arrives with the wrong sign.
# What does the NSE do, and where does the angle end?
#
# <details><summary>Solution</summary>
#
# ```python
# usual_start = start
#
# def start(seed):
#     W1, W2, B = usual_start(seed)
#     return W1, -B, B
#
# for seed in range(5):
#     history, *_ = learn("B", seed)
#     worst, (_, error, degrees, _) = history[:, 1].max(), history[-1]
#     print(f"NSE at most {worst:.2f}, at the end {error:.4f}; W2 and B at the end {degrees:.0f} degrees")
#     assert worst > 1.2 and error < 0.05 and degrees < 60
#
# start = usual_start
# ```
#
# First it gets worse, as it must: the hidden layer learns the wrong way. But a hidden layer with a print of $B$ in
# it, right or wrong, teaches $W_2$ to turn, and then all is well. Tutorial 04 shows the whole journey in one picture.
# </details>
