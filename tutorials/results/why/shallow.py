"""Accuracy of a converged read-out of the random features of six convolutions, on which `shallow` trains 15 epochs.

Logistic regression of scikit-learn on the 64 features of the untrained network, for several inverse strengths C of its
L2 penalty, and `shallow` at rate 0.1 after 15 and after 100 epochs. The smallest C is the strongest penalty.

    python tutorials/results/why/shallow.py > tutorials/results/why/shallow.txt

Needs ``pip install scikit-learn``.
"""

import statistics

import numpy as np
from sklearn.linear_model import LogisticRegression

import minifa as mf

SEEDS, STRENGTHS = range(5), (0.1, 1, 10, 100, 1000)


class Features(mf.Pass):
    """A forward pass that keeps the input of the output layer."""

    def after(self, layer, y):
        if layer.kind == "flatten":
            self.features = y
        return y


def features(net, x):
    ctx = Features()
    net.forward(mf.asarray(x), ctx)
    return np.array(ctx.features)


mf.use("numpy", threads=1)
data = mf.data.load("digits")
print("digits, six convolutions, test accuracy, seeds 0 to 4\n\nread-out                    mean ± sd")
scores = {}
for seed in SEEDS:
    net = mf.Network(mf.models.cnn(data.input_shape, data.n_out), seed=seed, input_shape=data.input_shape)
    train, test = features(net, data.train.x), features(net, data.test.x)
    for C in STRENGTHS:
        model = LogisticRegression(C=C, max_iter=20_000).fit(train, data.train.y)
        scores.setdefault(f"scikit-learn, C = {C}", []).append(model.score(test, data.test.y))
    rule = mf.rules.make("shallow", seed=seed).attach(net)
    trainer = mf.Trainer(net, rule, mf.SoftmaxCrossEntropy(), mf.SGD(0.1, momentum=0.9), seed=seed)
    for epochs in (15, 85):
        trainer.fit(data.train, epochs)
        scores.setdefault(f"shallow, {trainer.epoch} epochs", []).append(trainer.evaluate(data.test)["accuracy"])
for name, values in scores.items():
    print(f"{name:27} {statistics.fmean(values):.3f} ± {statistics.stdev(values):.3f}")
