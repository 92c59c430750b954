"""Can modules that have learned on one task train the network on another, in forward passes alone? A test of the claim
of Neven et al. 2020 about static modules of synthetic gradients.

The network and its modules learn the digits. Then it is tuned for 5 epochs on changed images, under static modules,
under the same modules with their entries in a random order (is their size enough?), and under other rules. In the last
block the modules have seen five classes and must teach ten.

    python tutorials/results/why/static_modules.py > tutorials/results/why/static_modules.txt
"""

import statistics

import numpy as np

import minifa as mf
from minifa.data import Examples

SEEDS = range(5)
CHANGES = {
    "transposed": lambda x: x.transpose(0, 2, 1, 3),
    "shifted by a pixel": lambda x: np.roll(x, 1, axis=2),
    "rotated by 180°": lambda x: x[:, ::-1, ::-1],
}
RULES = {
    "static modules": "synthetic:static=true",
    "shuffled modules": "synthetic:static=true",
    "learning modules": "synthetic",
    "bp": "bp",
    "dfa": "dfa",
    "shallow": "shallow",
}


def train(net, rule, examples, lr, epochs, seed):
    trainer = mf.Trainer(net, rule, mf.SoftmaxCrossEntropy(), mf.Adam(lr), seed=seed)
    trainer.fit(examples, epochs)
    return trainer


def learned(examples, seed):
    """The network and its rule after 20 epochs."""
    layers = [mf.Flatten(), mf.Linear(64, 128), mf.ReLU(), mf.Linear(128, 128), mf.ReLU(), mf.Linear(128, 10)]
    net = mf.Network(layers, seed=seed, input_shape=(8, 8, 1))
    rule = mf.rules.make("synthetic").attach(net)
    train(net, rule, examples, 1e-3, 20, seed)
    return net, rule


def shuffled(modules, seed):
    rng = np.random.default_rng(seed)
    return {key: rng.permutation(array.ravel()).reshape(array.shape) for key, array in modules.items()}


def tuned(net, modules, name, examples, test, seed):
    """The test accuracy after 5 epochs under this rule, from these weights, which are restored."""
    weights = net.state()
    rule = mf.rules.make(RULES[name], seed=seed).attach(net)
    if name.endswith("modules"):
        rule.load_state(shuffled(modules, seed) if name.startswith("shuffled") else modules)
    accuracy = train(net, rule, examples, 3e-4, 5, seed).evaluate(test)["accuracy"]
    net.load_state(weights)
    return accuracy


def show(task, rule, scores):
    by_seed = " ".join(f"{score:.3f}" for score in scores)
    mean, sd = statistics.fmean(scores), statistics.stdev(scores)
    print(f"{task:18}  {rule:16}  {mean:.3f} ± {sd:.3f}    {by_seed}", flush=True)


def compare(task, nets, examples, test):
    """Print a line for each rule, and one for the network before it is tuned."""
    before = [(net.classify(test.x) == test.y).mean() for net, _ in nets]
    show(task, "before", before)
    for name in RULES:
        show(
            task, name, [tuned(net, rule.state(), name, examples, test, seed) for seed, (net, rule) in enumerate(nets)]
        )


mf.use("numpy", threads=1)
digits = mf.data.load("digits")
print("digits, 64-128-128-10, ReLU, batch 64; 20 epochs of synthetic, Adam 0.001; then 5 epochs, Adam 0.0003")
print(f"test accuracy on the second task, seeds 0 to {SEEDS[-1]}\n")
print("second task         rule              mean ± sd        seeds")
nets = [learned(digits.train, seed) for seed in SEEDS]
for task, change in CHANGES.items():
    compare(task, nets, *(Examples(np.ascontiguousarray(change(one.x)), one.y) for one in (digits.train, digits.test)))
five = digits.train.take(np.flatnonzero(digits.train.y < 5))
nets = [learned(five, seed) for seed in SEEDS]
compare("0-9 after 0-4", nets, digits.train, digits.test)
