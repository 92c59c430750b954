"""Why do sdfa and drtp learn nothing in six convolutions without batch norm? Test of the size of the hidden updates.

The error that these rules send does not shrink with the output error, so that hidden weights never converge. Here F is
multiplied by a small factor, which under SGD is a smaller rate for the hidden layers alone. If their updates are too
large at every rate at which the output layer learns, a small factor raises the accuracy to that of `shallow`, which
does not train hidden layers; an accuracy above it would be learned by the hidden layers.

    python tutorials/results/why/constant_drive.py > tutorials/results/why/constant_drive.txt
"""

import statistics

import minifa as mf

SEEDS, RATES, FACTORS = range(3), (0.01, 0.1), (1, 0.1, 0.01, 0.001, 0.0001)


def scaled(kind, factor, seed):
    """The rule with every F multiplied by a factor."""

    class Scaled(kind):
        def _draw_matrix(self, name, units, n_out, net):
            return factor * super()._draw_matrix(name, units, n_out, net)

    return Scaled(seed)


def accuracy(rule, rate, seed):
    net = mf.Network(mf.models.cnn(data.input_shape, data.n_out), seed=seed, input_shape=data.input_shape)
    trainer = mf.Trainer(net, rule.attach(net), mf.SoftmaxCrossEntropy(), mf.SGD(rate, momentum=0.9), seed=seed)
    trainer.fit(data.train, 15)
    return trainer.evaluate(data.test)["accuracy"]


mf.use("numpy", threads=1)
data = mf.data.load("digits")
print(f"digits, six convolutions, 15 epochs, batch 64, SGD with momentum 0.9, test accuracy, seeds 0 to {SEEDS[-1]}\n")
print("rule     F times   " + "".join(f"rate {rate:<14}" for rate in RATES))


def show(name, factor, make):
    cells = []
    for rate in RATES:
        scores = [accuracy(make(seed), rate, seed) for seed in SEEDS]
        cells.append(f"{statistics.fmean(scores):.3f} ± {statistics.stdev(scores):.3f}")
    print(f"{name:8} {factor:<9} " + "".join(f"{cell:19}" for cell in cells), flush=True)


for kind in (mf.rules.DFA, mf.rules.SignDFA, mf.rules.DRTP):
    for factor in FACTORS:
        show(kind.name, factor, lambda seed, kind=kind, factor=factor: scaled(kind, factor, seed))
show("shallow", "", lambda seed: mf.rules.make("shallow", seed=seed))
