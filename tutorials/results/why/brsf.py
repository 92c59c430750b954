"""Why does brsf vary from seed to seed in six convolutions? Test of the noise of its magnitudes.

brsf draws a new M for every update. An average over r draws keeps the mean of the magnitudes and reduces the noise; in
the limit of large r it is a usf, with one magnitude for all. If the noise is the cause, brsf approaches this usf with
more draws.

    python tutorials/results/why/brsf.py > tutorials/results/why/brsf.txt
"""

import math
import statistics

import minifa as mf

SEEDS, RATES, DRAWS = range(5), (0.003, 0.01), (1, 4, 16)
MEAN = math.sqrt(2 / math.pi)  # mean of |m| for a normal m, in units of its standard deviation


class Averaged(mf.rules.BRSF):
    """brsf with the mean of r draws of |M|."""

    def __init__(self, r, seed=0):
        super().__init__(seed)
        self.parts = [mf.rules.BRSF(seed + 1000 * i) for i in range(r)]

    def attach(self, net):
        for part in self.parts:
            part.attach(net)
        return super().attach(net)

    def magnitude(self, layer):
        return sum(part.magnitude(layer) for part in self.parts) / len(self.parts)


class MeanMagnitude(mf.rules.USF):
    """usf with the mean of brsf's magnitudes in every layer."""

    def magnitude(self, layer):
        return MEAN * layer.init.sd(*layer.fans)


def accuracy(rule, rate, seed):
    net = mf.Network(mf.models.cnn(data.input_shape, data.n_out), seed=seed, input_shape=data.input_shape)
    trainer = mf.Trainer(net, rule.attach(net), mf.SoftmaxCrossEntropy(), mf.SGD(rate, momentum=0.9), seed=seed)
    trainer.fit(data.train, 15)
    return trainer.evaluate(data.test)["accuracy"]


mf.use("numpy", threads=1)
data = mf.data.load("digits")
print(f"digits, six convolutions, 15 epochs, batch 64, SGD with momentum 0.9, test accuracy, seeds 0 to {SEEDS[-1]}\n")
print("magnitudes             rate   mean ± sd        seeds")
for name, make in (
    *((f"mean of {r:2} draws", lambda seed, r=r: Averaged(r, seed)) for r in DRAWS),
    ("their mean (a usf)", lambda seed: MeanMagnitude(seed)),
):
    for rate in RATES:
        scores = [accuracy(make(seed), rate, seed) for seed in SEEDS]
        by_seed = " ".join(f"{score:.3f}" for score in scores)
        print(
            f"{name:22} {rate:<6} {statistics.fmean(scores):.3f} ± {statistics.stdev(scores):.3f}    {by_seed}",
            flush=True,
        )
