# %% [markdown]
# # 14 · The same on a GPU
#
# **The networks, rules and training loops of all these tutorials run on a GPU without a changed line, from the same
# random draws. What changes is where arrays live, how time is measured, and the last bits of every number. You will
# see a stopwatch that misses a third of the work, a single last bit that turns a run into another run, and the size
# below which no GPU can help.**
#
# **Honesty first.** The outputs kept here were made on a CPU, and minifa has not been run on a real GPU yet: its CuPy
# path is tested on a strict stand-in that refuses what CuPy would refuse, which proves no number and no speed. If you
# have an NVIDIA GPU and `pip install ".[cuda13]"` (or `cuda12`), the cell below finds it, and you see what
# nobody has.

# %%
import time
from concurrent.futures import ThreadPoolExecutor

import matplotlib.pyplot as plt
import numpy as np

import minifa as mf
from minifa import backend, figures
from minifa.parallel import chunks

plt.rcParams.update(figures.STYLE)
BLUE, ORANGE, GREEN, PINK = figures.COLOURS[:4]
GREY = "#666666"

try:
    mf.use("cupy", dtype="float32")
except backend.BackendError as reason:
    mf.use("numpy", dtype="float32")
    print("no GPU here:", reason)
print("this notebook runs on", backend.name())

# %% [markdown]
# That is the whole switch: `mf.use("cupy")` before you make a network. (`--backend cupy` on the command line,
# `MINIFA_BACKEND=cupy` in the environment.) It fails loudly, and says whether the package, the driver or the device
# is missing.
#
# ## The same draws
#
# A GPU has its own random generator: the same seed would give other numbers there, and no run could be compared with
# any other. So minifa draws everything **on the host, in double precision**, each array from a generator named by
# (seed, purpose, layer, step), and only then rounds and moves it. Which machine computes, which layers there are
# besides, which precision is used: none of it touches the draw.

# %%
data = mf.data.load("digits")
loss = mf.SoftmaxCrossEntropy()


def build(hidden=(100,), seed=0):
    return mf.Network(mf.models.mlp(data.input_shape, 10, hidden), seed=seed, input_shape=data.input_shape)


here = build()
B = mf.to_host(mf.rules.FA(seed=1).attach(here).B["linear2"])  # made on this backend, brought to the host
with mf.using("numpy", "float64"):
    other = mf.Network([mf.Flatten(), mf.Linear(64, 100), mf.Dropout(0.5), mf.ReLU(), mf.Linear(100, 10)])
    B64 = mf.rules.FA(seed=1).attach(other).B["linear2"]  # on the CPU, in float64, in a net with one layer more
np.testing.assert_array_equal(B, B64.astype("float32"))
np.testing.assert_array_equal(mf.to_host(here["linear1"].W), other["linear1"].W.astype("float32"))
print(f"B of linear2: {B.dtype} {B.shape} on {backend.name()}, the same numbers as in float64 on the CPU, rounded")

# %% [markdown]
# ## What a training loop may do
#
# Here is a loop that runs at full speed on both. Three habits make it so:
#
# 1. Arrays move at the border only: `mf.asarray(x)` in, `mf.to_host(x)` out. Labels stay on the host; minifa wants them
#    there.
# 2. **Nobody reads a number inside a step.** `float(value)`, `print(value)` and `if value > 1` make the host wait until
#    the device has computed it. The loss is added up where it is, and read once per epoch.
# 3. The first step is no measure: CuPy compiles every kernel when it is first used, and keeps it.


# %%
def train(net, rule, lr, epochs=6, after_step=lambda: None):
    rule.attach(net)
    optimizer, rng = mf.SGD(lr, momentum=0.9), np.random.default_rng(0)
    for _ in range(epochs):
        order, total = rng.permutation(len(data.train)), 0.0
        for i in range(22):
            rows = order[64 * i : 64 * i + 64]
            x, y = mf.asarray(data.train.x[rows]), data.train.y[rows]  # to the device; labels stay
            total = total + rule.gradients(net, x, y, loss)  # a number on the device: added, not read
            optimizer.step(net, rule)
            after_step()
        last = float(total) / 22  # the one read of the epoch: here the host waits
    accuracy = float((net.predict(data.test.x).argmax(axis=1) == data.test.y).mean())
    return last, accuracy


net = build()
value, accuracy = train(net, mf.rules.FA(), lr=0.03)
print(f"mean loss of the last epoch {value:.3f}, test accuracy {accuracy:.3f}, W is a {type(net['linear1'].W)}")
assert accuracy > 0.9  # seen with seeds 0 to 3: 0.944 to 0.969

# %% [markdown]
# ## A stopwatch that lies
#
# A GPU works through a queue. A call such as `x @ W` puts an entry into it and returns at once; host and device run
# side by side until the host asks for a number. We can build that on any machine: a worker thread as the device,
# sleep as work. Each of eight steps costs the host 10 ms (preparing, Python) and the device 15 ms. We run them
# without reading, and reading a number after every step.


# %%
def imitate(steps=8, host=0.010, device=0.015, read_every=None):
    """Returns (what a naive stopwatch says, the true time), and who was busy when, in seconds."""
    busy, started = {"host": [], "device": []}, time.perf_counter()

    def work(who, seconds):
        begun = time.perf_counter() - started
        time.sleep(seconds)
        busy[who].append((begun, time.perf_counter() - started - begun))

    with ThreadPoolExecutor(1) as queue:  # one worker, first in first out: a stream, as GPUs call it
        for step in range(steps):
            work("host", host)
            entry = queue.submit(work, "device", device)  # returns at once
            if read_every and (step + 1) % read_every == 0:
                entry.result()  # float(loss): wait for the device
        naive = time.perf_counter() - started  # stopped when the last call returned
        entry.result()  # synchronise
        return naive, time.perf_counter() - started, busy


def quickest(**options):
    return min((imitate(**options) for _ in range(3)), key=lambda run: run[1])  # other programs only make it slower


free, stalled = quickest(), quickest(read_every=1)
for name, (naive, true, _) in (("nobody reads", free), ("a read in every step", stalled)):
    print(f"{name:21} naive stopwatch {1000 * naive:4.0f} ms, all done after {1000 * true:4.0f} ms")
assert free[0] < 0.85 * free[1] < 0.85 * stalled[1]  # seen, busy machine included: 0.62 and 0.65

# %%
fig, axes = plt.subplots(2, 1, figsize=(9, 3.6), layout="constrained", sharex=True)
for ax, (naive, true, busy), name in zip(axes, (free, stalled), ("nobody reads", "a read in every step"), strict=True):
    for y, (who, colour) in enumerate((("host", BLUE), ("device", ORANGE))):
        ax.broken_barh([(1000 * a, 1000 * b) for a, b in busy[who]], (y - 0.38, 0.76), color=colour, edgecolor="white")
    ax.axvline(1000 * naive, color=GREY, linestyle="--", linewidth=1.4)
    ax.axvline(1000 * true, color="black", linewidth=1.4)
    ax.set_yticks((0, 1), ("host", "device"))
    ax.set(ylim=(-0.6, 1.6), title=name)
    ax.grid(axis="y", visible=False)
for words, moment, row in (("naive stopwatch", free[0], 0), ("all done", free[1], 1)):
    axes[0].annotate(words, (1000 * moment, row), (5, 0), textcoords="offset points", va="center", fontsize=9)
axes[1].set(
    xlabel="milliseconds (an imitation: eight steps of 10 ms on the host and 15 ms on the device)",
    xlim=(0, 1150 * stalled[1]),
)
plt.show()

# %% [markdown]
# Two lessons in one picture. The upper stopwatch stopped while the device was still working: whoever times a GPU like
# this measures Python. And below, the gaps are the price of reading a number in each step: both sides wait for each
# other in turn. So this is how to time, on either backend: warm up (the first call compiles, allocates, loads), then
# synchronise before and after, and take a median.


# %%
def seconds(action, repeats=7):
    action()  # warm up
    found = []
    for _ in range(repeats):
        backend.synchronise()  # nothing to wait for on a CPU
        started = time.perf_counter()
        action()
        backend.synchronise()
        found.append(time.perf_counter() - started)
    return float(np.median(found))


# %% [markdown]
# ## The last bits
#
# On a CPU minifa gives the same bits with one thread and with sixteen, because work is cut into pieces by its size
# alone and added up in a fixed order. A GPU adds in another order, and floating-point addition cares: $(a + b) + c$
# and $a + (b + c)$ differ in the last bit. So **equal bits are promised on one machine, not between machines**. Does
# a last bit matter?

# %%
numbers = np.random.default_rng(0).standard_normal(100_000).astype("float32")
forwards, backwards = np.add.accumulate(numbers)[-1], np.add.accumulate(numbers[::-1])[-1]
print(f"the same 100,000 numbers, added from the left {forwards:.5f}, from the right {backwards:.5f}")
assert forwards != backwards and abs(forwards - backwards) < 0.01

if backend.name() == "numpy":
    ends = []
    for threads in (1, 2):
        mf.use("numpy", threads=threads)
        net = mf.Network(mf.models.cnn(data.input_shape, 10, depth=2), input_shape=data.input_shape)
        train(net, mf.rules.USF(), lr=0.01, epochs=1)
        ends.append(net.state())
    for name in ends[0]:
        np.testing.assert_array_equal(ends[0][name], ends[1][name])
    print("one thread and two: the same bits in every weight")

# %% [markdown]
# To see what "another machine" does, we change one single weight of the first layer by one unit in its last place, at
# the very start, and train twice. Once with a gentle setting, and once near the edge of what the learning rate
# allows.


# %%
def nudged(hidden, lr, which=None, seed=0):
    """(weights after every step, accuracy); with `which`, that weight starts one float32 step away."""
    net, path = build(hidden, seed), []
    if which is not None:
        W = mf.to_host(net["linear1"].W).copy()
        W.flat[which] = np.nextafter(W.flat[which], np.float32(np.inf))
        net["linear1"].W = mf.asarray(W)

    def remember():
        path.append(np.concatenate([array.ravel() for array in net.state().values()]))

    return (path, *train(net, mf.rules.FA(seed=seed), lr, after_step=remember)[1:])


SETTINGS = {"gentle: one hidden layer, rate 0.03": ((100,), 0.03), "at the edge: two, rate 0.1": ((100, 100), 0.1)}
apart, scores = {}, {}
for name, (hidden, lr) in SETTINGS.items():
    (path, accuracy), runs = nudged(hidden, lr), [nudged(hidden, lr, which) for which in (2800, 2904, 3008, 3512, 3616)]
    scale = np.linalg.norm(path, axis=1)
    apart[name] = [np.linalg.norm(np.subtract(path, one), axis=1) / scale for one, _ in runs]
    scores[name] = (
        accuracy,
        [score for _, score in runs],
        [nudged(hidden, lr, seed=seed)[1] for seed in (1, 2, 3, 4, 5)],
    )
    print(f"{name}: after 132 steps apart by {np.median([one[-1] for one in apart[name]]):.0e} of the weights' norm")
    print("    accuracy", *(f"{score:.3f}" for score in (accuracy, *scores[name][1])), "(the first one not nudged)")
gentle, edge = (np.array(curves) for curves in apart.values())
# seen with seeds 0 to 2: gentle at most 2e-7; at the edge at least 0.3, but for one bit of fifteen, which healed
assert gentle.max() < 1e-5 and np.median(edge[:, -1]) > 1e-2

# %%
fig, (left, right) = plt.subplots(1, 2, figsize=(9, 3.7), layout="constrained", width_ratios=(1.5, 1))
for curves, colour in zip(apart.values(), (BLUE, ORANGE), strict=True):
    for curve in curves:
        left.semilogy(range(1, 133), np.maximum(curve, 1e-11), color=colour, linewidth=1.1, alpha=0.8)
left.axhline(np.finfo("float32").eps, color=GREY, linestyle=":", linewidth=1.2)
left.text(133, np.finfo("float32").eps * 1.4, "one last bit of every weight", color=GREY, fontsize=9, ha="right")
left.set(xlabel="updates", ylabel="distance of the two runs / norm", title="Two runs that began one bit apart")
left.text(45, 3e-3, "at the edge: two hidden layers, rate 0.1", color=ORANGE, fontsize=9)
left.text(55, 1e-8, "gentle: one hidden layer, rate 0.03", color=BLUE, fontsize=9)
for row, (plain, bits, seeds) in enumerate(scores.values()):
    colour = (BLUE, ORANGE)[row]
    right.plot(bits, [row + 0.12] * 5, "o", color=colour, markersize=7, alpha=0.7)
    right.plot(seeds, [row - 0.12] * 5, "D", color=colour, markersize=6, alpha=0.7, fillstyle="none")
    right.plot(plain, row + 0.12, "k|", markersize=14)
right.plot([], [], "o", color=GREY, label="one bit")
right.plot([], [], "D", color=GREY, fillstyle="none", label="other seeds")
right.plot([], [], "k|", markersize=12, label="not nudged")
right.set_yticks((0, 1), ("gentle", "at the edge"))
right.set(xlabel="test accuracy", ylim=(-0.5, 2.1), title="What it does to the result")
right.legend(loc="upper right", ncols=2)
plt.show()

# %% [markdown]
# Gentle training keeps a lost bit as small as it was. At the edge the same bit grows a hundredfold every few updates,
# until the two runs share nothing but their statistics (unless it falls on a unit that hardly ever speaks, and is
# forgotten). Neither is a bug, and neither run is the right one. It tells you what to compare between a CPU and a
# GPU: single steps, to rounding, and results over several seeds; not the weights after training. And a result that
# hangs on the machine hangs on the seed as well.
#
# ## When does it pay?
#
# A step costs a floor, whatever its size (Python, and the bookkeeping of every array operation), and then its
# multiply-adds. The engine counts those. We time one update of a 64-$w$-$w$-10 network on 128 examples for growing
# widths $w$.

# %%
widths = (8, 16, 32, 64, 128, 256, 512, 1024)
x, y = mf.asarray(data.train.x[:128]), data.train.y[:128]
cost, work = [], []
for width in widths:
    net = build((width, width))
    rule, optimizer = mf.rules.FA().attach(net), mf.SGD(0.001)

    def step(net=net, rule=rule, optimizer=optimizer):
        rule.gradients(net, x, y, loss)
        optimizer.step(net, rule)

    with chunks.counting_products() as made:
        step()
    work.append(sum(made))
    cost.append(seconds(step, repeats=15))
cost, work = np.array(cost), np.array(work)
floor, rate = cost[:3].min(), (work[-1] - work[0]) / (cost[-1] - cost[0])
for width, products, one in zip(widths, work, cost, strict=True):
    print(f"width {width:4}: {products / 1e6:6.1f} million multiply-adds, {1000 * one:6.2f} ms")
print(f"floor {1000 * floor:.2f} ms, then {rate / 1e9:.0f} billion multiply-adds per second")
assert cost[0] / work[0] > 10 * cost[-1] / work[-1]  # one multiply-add costs much more in a small network

# %% [markdown]
# Now suppose a device that multiplies 100 times faster, while the floor stays. (It does, at best: it is the host's. A
# launch on a real device adds a price of its own to every operation.) **This is arithmetic, not a measurement of any
# GPU.** The gain can never exceed time now / floor.

# %%
fig, (left, right) = plt.subplots(1, 2, figsize=(9, 3.7), layout="constrained")
fine = np.geomspace(work[0], 200 * work[-1], 200)
left.loglog(work / 1e6, 1000 * cost, "o", color=BLUE, label=f"measured on {backend.name()}")
left.loglog(fine / 1e6, 1000 * (floor + fine / rate), color=BLUE, linewidth=1.3, label="floor + work / rate")
left.loglog(
    fine / 1e6, 1000 * (floor + fine / rate / 100), "--", color=ORANGE, label="the same floor, 100 times the rate"
)
left.axhline(1000 * floor, color=GREY, linestyle=":", linewidth=1.2)
left.set(xlabel="multiply-adds per update (millions)", ylabel="milliseconds per update", title="A floor, then work")
left.legend(loc="upper left")
for times, colour in ((10, GREEN), (100, ORANGE)):
    right.semilogx(
        fine / 1e6,
        (floor + fine / rate) / (floor + fine / rate / times),
        color=colour,
        label=f"products {times} times faster",
    )
right.axhline(1, color=GREY, linestyle=":", linewidth=1.2)
for width, one in [(widths[i], work[i]) for i in (0, 3, 5, 7)]:
    right.annotate(
        f"w = {width}", (one / 1e6, 1), (0, -14), textcoords="offset points", ha="center", fontsize=8.5, color=GREY
    )
right.set(xlabel="multiply-adds per update (millions)", ylabel="whole update faster by", yscale="log", ylim=(0.6, 130))
right.set_yticks((1, 10, 100), ("1", "10", "100"))
right.set_title("What the update gains (a model)")
right.legend(loc="upper left")
plt.show()

gain = (floor + work / rate) / (floor + work / rate / 100)
assert gain[0] < 1.5 < gain[-1]

# %% [markdown]
# The networks of these tutorials lie at the left end: on them a GPU would be no faster, and probably slower. Large
# layers, large batches and convolutions on real images lie at the right. Before you move to a GPU, look at one
# number: the time of your step beside the time of the same step at batch size 1.

# %% [markdown]
# ## What you have seen
#
# One switch; the same draws, made on the host; arrays that move at the border only, numbers that are read once per
# epoch. Time is measured between two synchronisations, or it is not measured. Bits are equal on one machine, results
# are equal over seeds. And below a certain size no device helps, because the time is not where the device could take
# it away.

# %% [markdown]
# ## Exercises
#
# **1. Read every fourth step.** You want a progress bar, and so the loss now and then. Predict the time of eight
# imitated steps (10 ms host, 15 ms device) when it is read after every fourth. Then measure.
#
# <details><summary>Solution</summary>
#
# ```python
# # Between two reads: the host's first 10 ms, then the device is busy without a gap for 4 * 15 ms.
# predicted = 2 * (0.010 + 4 * 0.015)
# _, true, _ = quickest(read_every=4)
# print(f"predicted {1000 * predicted:.0f} ms, measured {1000 * true:.0f} ms")
# assert abs(true - predicted) < 0.04 and true < stalled[1]
# ```
#
# 140 ms, against 130 without any read and 200 with one in every step. minifa's progress bar reads twice a second at
# most, for this reason.
# </details>
#
# **2. How large a batch fits?** What a training step must keep on the device is: parameters, feedback, gradients, and
# for every example what the layers cached. Measure the last for the network `bench_cnn` on images of 32 x 32 x 3 and
# say how many examples fit into 8 GiB.
#
# <details><summary>Solution</summary>
#
# ```python
# def size_of(thing):
#     if isinstance(thing, (tuple, list)):
#         return sum(map(size_of, thing))
#     return getattr(thing, "nbytes", 0)
#
# net = mf.Network(mf.models.bench_cnn((32, 32, 3), 10), input_shape=(32, 32, 3))
# kept = {}
# for n in (2, 4, 8):
#     net.forward(mf.asarray(np.zeros((n, 32, 32, 3), "float32")), mf.Pass(training=True))
#     kept[n] = sum(size_of(layer.cache) for layer in net)
# each = (kept[8] - kept[4]) / 4
# assert each == (kept[4] - kept[2]) / 2  # straight in the number of examples
# print(f"{each / 2**20:.2f} MiB for each example: about {2**33 / each:,.0f} examples in 8 GiB")
# ```
#
# An upper bound: patches of a convolution and the errors on their way down need room as well, on a GPU for the whole
# batch at once (the CPU cuts it into pieces, a GPU takes one). Try half of it first.
# </details>
