"""How this folder was made, by minifa at commit 619e373; parts that say the same were left out afterwards."""

import pathlib

import numpy as np

import minifa as mf
from minifa import checkpoints, cli, experiments
from minifa.experiments import recipes, reproduce, tuning
from minifa.training import Callback


def main():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((90, 4)).astype("f4")
    np.savez("mine.npz", x=x, y=(x[:, 0] * x[:, 1] > 0).astype(np.int64))
    recipe = recipes.read("table.toml")
    tasks = reproduce.plan(recipe, "table")
    print(reproduce.make(tasks[0]).result)

    class Stop(Callback):
        def on_step(self, trainer, examples):
            if trainer.net.step == 13:
                trainer.stop()

    real = experiments.fit

    def fit(experiment, data, trainer):
        trainer.callbacks.append(Stop())
        return real(experiment, data, trainer)

    experiments.fit = fit
    for task in tasks[1:2]:
        try:
            reproduce.make(task)
        except Exception as e:
            print(type(e), e)
    experiments.fit = real
    assert cli.main(["sweep", "sweep.toml", "--out", "sweep", "--jobs", "1"]) == 0
    lines = pathlib.Path("sweep/sweep.csv").read_bytes().splitlines(keepends=True)
    pathlib.Path("sweep/sweep.csv").write_bytes(b"".join(lines[:3]))
    assert (
        cli.main(["sweep", "sweep.toml", "--out", "kept", "--jobs", "1", "--keep-runs", "--set", "training.epochs=1"])
        == 0
    )
    tuning.RATES = range(-4, -1)
    assert (
        cli.main(
            [
                "tune",
                "--data",
                "mine.npz",
                "--model",
                "mlp",
                "--hidden",
                "5",
                "--epochs",
                "1",
                "--rules",
                "bp",
                "--jobs",
                "1",
                "--rates",
                "1e-2:3e-2",
                "--seeds",
                "2",
                "--out",
                "tune",
            ]
        )
        == 0
    )

    # a training in Python, with every kind of layer and a rule that learns its feedback
    def trainer():
        net = mf.Network([mf.Linear(4, 6), mf.BatchNorm(6), mf.Tanh(), mf.Dropout(0.3), mf.Linear(6, 2)], seed=3)
        net.freeze("linear1")
        rule = mf.rules.KolenPollack(seed=3).attach(net)
        return mf.Trainer(
            net, rule, mf.SoftmaxCrossEntropy(), mf.SGD(0.05, momentum=0.9), mf.schedules.step_decay(2, 0.5), seed=3
        )

    data = mf.data.load("mine.npz")
    one = trainer()
    one.fit(data.train, 3, batch_size=16)
    checkpoints.save("python.ckpt", one)
    one.fit(data.train, 1, batch_size=16)
    print(repr(one.history[-1]))


if __name__ == "__main__":
    main()
