# %% [markdown]
# # 26 · Exact curves
#
# **For three small systems the course of learning is known in advance, without a free parameter: two wide linear
# layers under feedback alignment, a network that learns a teacher online, and a single mode of two linear layers. We
# train minifa's networks and read three facts from the equations; in all pictures the lines are the theory, and the
# points are measured in training. Feedback that resembles the weights from the start aligns better and moves the
# features less. Weights that start small are aligned with B while most of the error is left. And feedback alignment
# learns the modes of a task in the order of B times T, not of T: a small mode with a large B comes first.**
#
# You need feedback alignment (tutorial 03) and its invariant (04). The curves are in `minifa.theory`, whose source
# states the equations and the papers: Bordelon & Pehlevan 2022, Refinetti, d'Ascoli, Ohana & Goldt 2021, Girotti,
# Mitliagkas & Gidel 2021, Saxe, McClelland & Ganguli 2014.
#
# **Alignment during training in the explorer:** `minifa explore --rules fa,bp -o page.html`, then open
# `page.html#training/fa/linear2/100` and play; the step itself: `page.html#step/fa/15` ("Backward through linear2").

# %%
import math

import matplotlib.pyplot as plt
import numpy as np

import minifa as mf
from minifa import theory
from minifa.initialisers import gaussian
from minifa.layers.activations import Activation

plt.rcParams.update(mf.figures.STYLE)
mf.use("numpy", dtype="float64", threads=1)
half = mf.HalfSquaredError()


def distance(t, curve, times, points):
    """The largest distance of the points to the curve."""
    return np.abs(np.interp(times, t, curve) - points).max()


# %% [markdown]
# ## Two wide linear layers
#
# $h = xW_1$ and $f = hW_2 / \gamma_0$ with $N$ hidden units, all weights drawn with the standard deviation $1/\sqrt
# N$, and feedback that is correlated with the readout, $B = \rho W_2(0) + \sqrt{1 - \rho^2}\, M$, where $M$ is drawn
# as $W_2(0)$ is. The number $\gamma_0$ says how far the features must move for the outputs to reach the targets $y$;
# time is the number of steps times their size. The inputs are orthonormal. Two numbers describe the network: the size
# of its features in the direction of the targets, and the overlap of readout and feedback,
#
# $$H = \frac{\lVert h^\top y \rVert^2}{\lVert y \rVert^2} \qquad G = \langle W_2, B \rangle$$
#
# At the start $H = 1$ and $G = \rho$. For $N \to \infty$ one number $a$, which starts at 0, determines everything
# (Bordelon & Pehlevan):
#
# $$\dot a = \gamma_0 \lVert y \rVert - \tfrac12 a^3 - (1 + \rho)\, a \qquad H = 1 + a^2 \qquad G = \rho +
# \tfrac12 a^2$$
#
# and under backpropagation, where $B$ is $W_2$ and $G$ its squared norm, $H = G = \sqrt{1 + u^2}$ with $u = \gamma_0
# \lVert f \rVert$. We train a network of 4,000 units with minifa's `fa:correlation=rho` and plain SGD in small steps,
# and measure $H$ and $G$.
#
# > **Predict, then run.** $B$ is correlated with $W_2$ from the start, $\rho = 0.5$ instead of $0$. What happens to the
# > features? (a) They move more, because the error is carried down better. (b) They move less. (c) They move as much.

# %%
targets, gamma0 = np.array([[1.0], [0.5], [-0.8]]), 3.0
size = float(np.linalg.norm(targets))


def wide_linear(name, units=4000, seed=0, until=3.0, dt=0.01):
    """Training of two linear layers: rows (t, error, H, G)."""
    init = gaussian(1 / math.sqrt(units))
    layers = [mf.Linear(3, units, False, init), mf.Linear(units, 1, False, init)]
    net = mf.Network(layers, seed)
    rule, optimizer = mf.rules.make(name, seed=seed).attach(net), mf.SGD(3 * dt)
    rows = []
    for step in range(round(until / dt) + 1):
        rule.gradients(net, np.eye(3), gamma0 * targets, half)
        h, W2, B = net["linear1"].W, net["linear2"].W, rule.B["linear2"]
        H, G = np.linalg.norm(targets.T @ h) ** 2 / size**2, (W2 * B).sum()
        rows.append((step * dt, np.linalg.norm(3 * rule.error) / gamma0, H, G))
        optimizer.step(net, rule)
    return np.array(rows)


# %%
flows = {
    "fa": theory.wide_linear_fa(size, 0.0, gamma0, until=3.0),
    "fa:correlation=0.5": theory.wide_linear_fa(size, 0.5, gamma0, until=3.0),
    "bp": theory.wide_linear_bp(size, gamma0, until=3.0),
}
points = {rule: wide_linear(rule) for rule in flows}
print("rule                 error, H, G at the end; their distances to the curves")
for rule, flow in flows.items():
    t, *measured = points[rule].T
    lines = flow.error, flow.H, flow.G
    off = np.array([distance(flow.t, lines[i], t, measured[i]) for i in range(3)])
    print(f"{rule:20}", points[rule][-1, 1:].round(3), "  ", off.round(3))
    assert off[0] < 0.02 and max(off) < 0.07  # measured with five seeds: 0.04 to 0.12
ends = {rule: flow.H[-1] for rule, flow in flows.items()}
assert ends["fa:correlation=0.5"] < ends["fa"] - 0.3
assert flows["fa:correlation=0.5"].G[-1] > flows["fa"].G[-1] + 0.2

# %% [figure]
fig, axes = plt.subplots(1, 3, figsize=(9, 3.2), layout="constrained")
for i, (rule, flow) in enumerate(flows.items()):
    style = mf.figures.look(i)
    for ax, line, column in zip(
        axes, (flow.error, flow.H, flow.G), (1, 2, 3), strict=True
    ):
        ax.plot(flow.t, line, color=style["color"], label=rule)
        t, value = points[rule][::20, [0, column]].T
        ax.plot(t, value, style["marker"], color=style["color"], mfc="white", ms=5)
for ax, title in zip(
    axes, ("Error", "Features, H", "Overlap of W2 and B, G"), strict=True
):
    ax.set(title=title, xlabel="time")
_ = axes[0].legend()

# %% [markdown]
# The answer is (b). At the end the outputs are the targets, so $\frac12 a^3 + (1 + \rho)\, a = \gamma_0 \lVert y
# \rVert$: with a larger $\rho$ a smaller $a$ is enough, because the same change of the hidden layer has more effect
# on the outputs. More alignment, less change of the features.
#
# A network of finite width is near the line, not on it. Its weights are random draws, so the outputs deviate by about
# $1/\sqrt N$ already at the start:

# %%
spread = {}
for units in (250, 1000, 4000):
    off = []
    for seed in range(6):
        t, error, _, _ = wide_linear("fa", units, seed, until=1.5).T
        off.append(distance(flows["fa"].t, flows["fa"].error, t, error))
    spread[units] = np.mean(off)
    print(f"{units:5} units: error {spread[units]:.3f} from its curve, mean of 6 seeds")
assert 2.5 < spread[250] / spread[4000] < 7  # 4 for 1 / sqrt(N)

# %% [markdown]
# ## Online learning of a teacher
#
# A network of two units $g(l) = \mathrm{erf}(l / \sqrt 2)$ learns a teacher of the same form. Every step brings a new
# example $x$ of $N$ dimensions, and a unit of time is $N$ steps. For $N \to \infty$ the test error is a function of the
# covariances of the fields $l = (xW_1, x W_1^\text{teacher})$ and of the readout $W_2$. These numbers follow
# differential equations, in which all means over $x$ have closed forms (`theory.online_erf`). Tutorial 04 showed the
# phases of such a network; now we know the curves. We start from weights of the size $1/\sqrt N$.
#
# > **Predict, then run.** When the cosine of $W_2$ and $B$ has reached $0.98$, how much of the error is left?
# > (a) About 5 %. (b) About 40 %. (c) About 80 %.


# %%
class Erf(Activation):
    kind = "erf"
    slope_of_input = True

    def f(self, y, x):
        y[...] = [[math.erf(value / math.sqrt(2)) for value in row] for row in x]

    def times_slope(self, below, delta, x):
        below[...] = delta * math.sqrt(2 / math.pi) * np.exp(-x * x / 2)


N = 500
rng = np.random.default_rng(0)
teacher, W1 = rng.standard_normal((2, N)).T, rng.standard_normal((2, N)).T / N**0.5
W2, B = rng.standard_normal((2, 1)) / N**0.5, rng.standard_normal((2, 1))
teacher_W2 = np.full((2, 1), 1 / math.sqrt(2))
networks = W1, W2, teacher, teacher_W2


# %%
def online(name, until=60, lr=0.1, seed=1):
    """A network that learns the teacher: rows (t, error, cosine of W2 and B)."""
    rng, rows = np.random.default_rng(seed), []
    net = mf.Network([mf.Linear(N, 2, False), Erf(), mf.Linear(2, 1, False)])
    net["linear1"].W, net["linear2"].W = W1, W2
    rule = mf.rules.make(name).attach(net)
    optimizer = mf.SGD(lr, lr_factors={"linear2": 1 / N})
    if name == "fa":
        rule.set_feedback("linear2", B)
    for step in range(until * N + 1):
        if step % N == 0:
            now = net["linear1"].W, net["linear2"].W
            cosine = (now[1] * B).sum() / np.linalg.norm(now[1]) / np.linalg.norm(B)
            rows.append((step / N, theory.online_error(*now, *networks[2:]), cosine))
        x = rng.standard_normal((1, N)) / math.sqrt(N)
        y = Erf().forward(x @ teacher, mf.Pass()) @ teacher_W2
        rule.gradients(net, x, y, half)
        optimizer.step(net, rule)
    return np.array(rows)


# %%
equations = {"fa": theory.online_erf(*networks, B), "bp": theory.online_erf(*networks)}
students = {rule: online(rule) for rule in equations}
for rule, curve in equations.items():
    t, error, cosine = students[rule].T
    off = distance(curve.t, curve.error, t, error)
    off_cosine = distance(curve.t, curve.cosine(B), t, cosine)
    print(
        f"{rule}: error within {off:.4f}, cosine within {off_cosine:.3f} of the curve"
    )
    assert off < 0.003 and off_cosine < 0.05
t, error, cosine = students["fa"].T
aligned = int(np.argmax(cosine > 0.98))
left = error[aligned] / error[0]
print(f"fa: cosine 0.98 at time {aligned}, with {100 * left:.0f} % of the error left")
assert 0.7 < left < 0.95 and error[-1] < 0.06 * error[0]
assert students["bp"][-1, 1] > 0.8 * error[0]

# %% [figure]
fig, axes = plt.subplots(1, 2, figsize=(9, 3.2), layout="constrained")
for i, (rule, curve) in enumerate(equations.items()):
    style = mf.figures.look(i)
    for ax, line, column in zip(
        axes, (curve.error, curve.cosine(B)), (1, 2), strict=True
    ):
        ax.plot(curve.t, line, color=style["color"], label=rule)
        t, value = students[rule][::3, [0, column]].T
        ax.plot(t, value, style["marker"], color=style["color"], mfc="white", ms=5)
axes[0].set(title="Test error", xlabel="time", ylim=(0, None))
axes[1].set(title="Cosine of W2 and B (bp does not use B)", xlabel="time")
_ = axes[0].legend()

# %% [markdown]
# The answer is (c): align, then memorise. Backpropagation carries the error through the small $W_2$ itself and has
# hardly left its plateau at time 60, while feedback alignment carries it through $B$, which is large from the start.
# This is a property of small initial weights, not of the rules in general.
#
# ## The time of a mode
#
# The smallest system: one hidden weight $A$, one readout $W$, target $T$, feedback $B$. From zero weights
# $W = A^2 / (2B)$ (the invariant of tutorial 04) and $\dot A = BT - A^3/2$, so a fraction $q$ of the target is learned
# after
#
# $$t(q) = 2\, |2BT|^{-2/3} \int_0^{q^{1/3}} \frac{du}{1 - u^3} \qquad t(\tfrac12) = 1.875\, |2BT|^{-2/3}$$
#
# Backpropagation from two equal weights follows a sigmoid (Saxe et al.), $\dot f = 2f(T - f)$, with the half-time
# $\log(T/f_0 - 1) / (2T)$: it grows without bound when the start $f_0$ becomes small. A linear network whose weights
# and feedback are diagonal is a set of such modes.
#
# > **Predict, then run.** Three modes have $T = 0.2, 1, 1$ and $B = 20, 1, 0.1$. In which order does feedback alignment
# > learn them? (a) The large targets first: the second and third, then the first. (b) First, second, third. (c) All at
# > the same time.

# %%
T, feedback = np.array([0.2, 1.0, 1.0]), np.array([20.0, 1.0, 0.1])


def learn_modes(name, start, until=8.0, dt=0.01):
    """Diagonal linear layers, task diag(T): times, fractions learned (steps, 3)."""
    net = mf.Network([mf.Linear(3, 3, False, "zero"), mf.Linear(3, 3, False, "zero")])
    for layer in net.weighted:
        layer.W = math.sqrt(start) * np.eye(3)
    rule, optimizer = mf.rules.make(name).attach(net), mf.SGD(3 * dt)
    if name == "fa":
        rule.set_feedback("linear2", np.diag(feedback))
    learned = []
    for _ in range(round(until / dt) + 1):
        rule.gradients(net, np.eye(3), np.diag(T), half)
        learned.append(np.diag(rule.output) / T)
        optimizer.step(net, rule)
    return dt * np.arange(len(learned)), np.array(learned)


# %%
def half_times(t, learned):
    return np.array([np.interp(0.5, fraction, t) for fraction in learned.T])


times, learned = learn_modes("fa", start=0.0)
measured = half_times(times, learned)
known = [theory.fa_learning_time(*mode) for mode in zip(T, feedback, strict=True)]
for mode in zip(T, feedback, measured, known, strict=True):
    print("T {:.1f}, B {:4.1f}: half-time {:.3f}, formula {:.3f}".format(*mode))
assert np.abs(measured - known).max() < 0.005
assert measured[0] < measured[1] < measured[2]

start = 1e-3
bp_times, bp_learned = learn_modes("bp", start, until=20.0)
bp_measured = half_times(bp_times, bp_learned)
bp_known = [theory.bp_learning_time(one, start) for one in T]
print("bp:", bp_measured.round(2), "formula:", np.round(bp_known, 2))
assert np.abs(bp_measured / bp_known - 1).max() < 0.01
assert bp_measured[0] > 3 * bp_measured[1], "the small target comes last"

# %% [figure]
fig, ax = plt.subplots(figsize=(9, 3.2), layout="constrained")
fractions = np.append(np.linspace(0, 0.8, 100) ** 3, 1 - np.geomspace(0.48, 1e-12, 400))
for i in range(3):
    style = mf.figures.look(i)
    line = [theory.fa_learning_time(T[i], feedback[i], one) for one in fractions]
    label = f"fa: T {T[i]:g}, B {feedback[i]:g}"
    ax.plot(line, fractions, color=style["color"], label=label)
    ax.plot(
        times[::25],
        learned[::25, i],
        style["marker"],
        color=style["color"],
        mfc="white",
        ms=5,
    )
style = mf.figures.look(3)
after = fractions[fractions > start]
line = [theory.bp_learning_time(1.0, start, one) for one in after]
ax.plot(line, after, color=style["color"], label="bp: T 1")
few = bp_times[:800:25], bp_learned[:800:25, 1]
ax.plot(*few, style["marker"], color=style["color"], mfc="white", ms=5)
ax.set(xlim=(0, 8), xlabel="time", title="Fraction of the target that is learned")
_ = ax.legend()

# %% [markdown]
# The answer is (b): $BT$ is $4$, $1$ and $0.1$. Under backpropagation the order is that of $T$, and the small target
# comes last. Girotti, Mitliagkas & Gidel describe that feedback alignment can learn negligible components before the
# principal ones, and call it implicit anti-regularisation; for decoupled modes the formula says when.
#
# ## Summary
#
# Three systems have exact curves, and minifa's rules follow them. A new rule or a new engine can be tested with them:
# a wrong factor moves the points off the line.
#
# ## Exercises
#
# **1. The end of training.** For $\rho = 0$ and $\gamma_0 \lVert y \rVert = 6$, fill in $H$ and $G$ at the end of
# training. (The cubic equation above has an integer solution.)

# %%
H_end, G_end = ..., ...

# Check
if H_end is ... or G_end is ...:
    print("not filled in yet")
else:
    flow = theory.wide_linear_fa(6.0, until=4.0)
    print(
        f"yours {H_end}, {G_end}; the flow ends at {flow.H[-1]:.4f}, {flow.G[-1]:.4f}"
    )
    assert abs(H_end - flow.H[-1]) < 1e-6, "a^3 / 2 + a = 6, H = 1 + a^2"
    assert abs(G_end - flow.G[-1]) < 1e-6, "G = a^2 / 2"
    print("right")

# %% [markdown]
# <details><summary>Solution</summary>
#
# ```python
# a = 2
# H_end, G_end = 1 + a**2, a**2 / 2
# assert a**3 / 2 + a == 6
# ```
# </details>
#
# **2. Two modes at the same time.** One mode has $T = 1$ and $B = 1$, another $T = 0.1$. Fill in the feedback of the
# second, so that both are learned at the same time.

# %%
second = ...

# Check
if second is ...:
    print("not filled in yet")
else:
    both = theory.fa_learning_time(1.0, 1.0), theory.fa_learning_time(0.1, second)
    print(f"half-times {both[0]:.4f} and {both[1]:.4f}")
    assert abs(both[0] - both[1]) < 1e-9, "the time depends on the product B T"
    print("right")

# %% [markdown]
# <details><summary>Solution</summary>
#
# ```python
# second = 1.0 * 1.0 / 0.1
# assert second == 10.0
# ```
#
# Since only $|BT|$ enters, $-10$ is right as well: then $A$ is negative and $W$ is too.
# </details>
