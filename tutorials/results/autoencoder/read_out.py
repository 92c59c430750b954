"""A stack of encoders trained by recirculation, pair by pair, then a supervised read-out; beside random features.

    cd tutorials/results/autoencoder && python read_out.py read_out.csv > read_out.txt

    1. the autoencoder 64-32-16-32-64 learns to reconstruct the digits, without labels: first its outer pair, then its
       inner pair
    2. a classifier 64-32-16-10 takes over the encoders and freezes them; its last layer learns the labels

random: the same classifier on encoders as they are drawn. bp: all layers of the classifier learn the labels. Test
accuracy after the last epoch, mean and standard deviation over the seeds. The rates of the classifiers were chosen on
15 % of the training part, under seeds 100 and 101 (``--search``, read_out_rates.txt). read_out.csv has a line for each
run.
"""

from __future__ import annotations

import argparse
import csv
import statistics

import minifa as mf

PAIRS = (("outer pair", "linear2,linear3"), ("inner pair", "linear1,linear4"))  # names, and the layers that are frozen
HIDDEN, EPOCHS, READ_OUT_EPOCHS, RATE = (32, 16), 60, 60, 0.03
RATES = {"recirculation": 0.3, "random": 0.3, "bp": 0.3}  # of the classifier


def encoders(seed, train):
    """The autoencoder after both phases."""
    x = mf.data.Examples(train.x, train.x.reshape(len(train), -1))
    net = mf.Network(mf.models.autoencoder((8, 8, 1), 64, HIDDEN), seed=seed, input_shape=(8, 8, 1))
    trainer = None
    for name, frozen in PAIRS:
        net.unfreeze("linear1", "linear2", "linear3", "linear4")
        net.freeze(*frozen.split(","))
        rule, optimizer = mf.rules.Recirculation().attach(net), mf.SGD(RATE, momentum=0.9, weight_decay=0.001)
        if trainer is None:
            trainer = mf.Trainer(net, rule, mf.HalfSquaredError(), optimizer, seed=seed, phase=name)
        else:
            trainer.begin_phase(name, rule, optimizer)
        trainer.fit(x, EPOCHS)
    return net


def accuracy(kind, seed, rate, train, test):
    """Test accuracy of the classifier 64-32-16-10 on these encoders."""
    layers = mf.models.mlp((8, 8, 1), 10, HIDDEN, activation="sigmoid")
    net = mf.Network(layers, seed=seed, input_shape=(8, 8, 1))
    if kind == "recirculation":
        trained = encoders(seed, train)
        for name in ("linear1", "linear2"):
            net[name].W, net[name].b = trained[name].W, trained[name].b
    if kind != "bp":
        net.freeze("linear1", "linear2")
    rule, optimizer = mf.rules.BP().attach(net), mf.SGD(rate, momentum=0.9)
    trainer = mf.Trainer(net, rule, mf.SoftmaxCrossEntropy(), optimizer, seed=seed)
    trainer.fit(train, READ_OUT_EPOCHS)
    return trainer.evaluate(test)["accuracy"]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("csv", nargs="?", default="read_out.csv", help="file of the runs (default: %(default)s)")
    parser.add_argument("--search", action="store_true", help="the search for the rates")
    given = parser.parse_args()
    data = mf.data.load("digits")
    if given.search:
        train, held_out = data.hold_out(0.15)
        for kind in RATES:
            for rate in (0.01, 0.03, 0.1, 0.3, 1.0):
                scores = [accuracy(kind, seed, rate, train, held_out) for seed in (100, 101)]
                print(f"{kind:13}  {rate:4}  {statistics.fmean(scores):.4f}", flush=True)
        return
    print("encoder        rate  test accuracy")
    lines = []
    for kind, rate in RATES.items():
        scores = [accuracy(kind, seed, rate, data.train, data.test) for seed in range(5)]
        print(f"{kind:13}  {rate:4}  {statistics.fmean(scores):.3f} ± {statistics.stdev(scores):.3f}", flush=True)
        lines += [(kind, rate, seed, f"{score:.6f}") for seed, score in enumerate(scores)]
    with open(given.csv, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("encoder", "rate", "seed", "test_accuracy"))
        writer.writerows(lines)


if __name__ == "__main__":
    main()
