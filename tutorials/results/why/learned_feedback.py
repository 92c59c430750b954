"""Why do product feedback and information alignment vary from seed to seed in six convolutions? Test of their random
initial feedback.

Both begin with feedback at a right angle to the weights and learn it while the network trains. Here they also begin
with feedback computed from the weights: for product feedback R = W P, the fixed point of its learning, for information
alignment B = W. If the variation comes from the time without alignment, it disappears.

    python tutorials/results/why/learned_feedback.py > tutorials/results/why/learned_feedback.txt
"""

import statistics

import minifa as mf

SEEDS = range(5)
RATES = {"product": (0.001, 0.003), "information_alignment": (0.0003, 0.001)}


class AlignedProduct(mf.rules.Product):
    def draw(self, net):
        super().draw(net)
        for layer in self.layers_with_feedback(net):
            self.memory[f"{layer.name}/R"] = layer.W @ self.memory[f"{layer.name}/P"]


class AlignedInformation(mf.rules.InformationAlignment):
    def draw(self, net):
        self.memory = {layer.name: layer.W.copy() for layer in self.layers_with_feedback(net)}


STARTS = {
    "product": (mf.rules.Product, AlignedProduct),
    "information_alignment": (mf.rules.InformationAlignment, AlignedInformation),
}


def accuracy(rule, rate, seed):
    net = mf.Network(mf.models.cnn(data.input_shape, data.n_out), seed=seed, input_shape=data.input_shape)
    optimizer = mf.SGD(rate, momentum=0.9, weight_decay=rule.weight_decay)
    trainer = mf.Trainer(net, rule.attach(net), mf.SoftmaxCrossEntropy(), optimizer, seed=seed)
    trainer.fit(data.train, 15)
    return trainer.evaluate(data.test)["accuracy"]


mf.use("numpy", threads=1)
data = mf.data.load("digits")
print(f"digits, six convolutions, 15 epochs, batch 64, SGD with momentum 0.9, test accuracy, seeds 0 to {SEEDS[-1]}\n")
print("rule                   start     rate    mean ± sd        seeds")
for name, makes in STARTS.items():
    for start, make in zip(("random", "aligned"), makes, strict=True):
        for rate in RATES[name]:
            scores = [accuracy(make(seed=seed), rate, seed) for seed in SEEDS]
            by_seed = " ".join(f"{score:.3f}" for score in scores)
            mean, sd = statistics.fmean(scores), statistics.stdev(scores)
            print(f"{name:22} {start:9} {rate:<7} {mean:.3f} ± {sd:.3f}    {by_seed}", flush=True)
