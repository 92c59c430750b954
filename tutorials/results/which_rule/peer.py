"""The classification of `minifa which-rule` with scikit-learn, written independently, and with a random forest beside
it, which Nayebi et al. 2020 used, too.

    minifa which-rule
    python tutorials/results/which_rule/peer.py runs/which-rule-which_rule/features.csv fa,information_alignment

Features and classes are read from features.csv; standardisation, splits and classifiers are scikit-learn's. Needs
``pip install scikit-learn``. The second argument has the classes that are also counted as one.
"""

import csv
import sys

import numpy as np
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import LeaveOneGroupOut, ShuffleSplit, cross_val_predict, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

DECAY = 0.01  # minifa's, of a mean over the examples; scikit-learn's C is 1 / (decay * examples)


def main(path: str, merged: str = "") -> None:
    with open(path, encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    features = [
        name for name in rows[0] if name.endswith(tuple("mean median quartile norm variance ness osis".split()))
    ]
    settings = [name for name in rows[0] if name not in ("id", "case", *features)]
    x = np.array([[float(row[name]) for name in features] for row in rows])
    y = np.array([row["case"] for row in rows])
    classes = merged.split(",")
    splits = {"75/25": (ShuffleSplit(10, test_size=0.25, random_state=0), None)}
    for setting in settings:
        values = {case: list(dict.fromkeys(row[setting] for row in rows if row["case"] == case)) for case in set(y)}
        groups = [values[row["case"]].index(row[setting]) for row in rows]
        splits[f"unseen {setting.rpartition('.')[2]}"] = (LeaveOneGroupOut(), groups)
    print(f"{len(rows)} runs, {len(features)} features")
    for name, (split, groups) in splits.items():
        fitted = len(next(split.split(x, y, groups))[0])
        regression = LogisticRegression(C=1 / (DECAY * fitted), tol=1e-6, max_iter=10_000)
        for classifier in (regression, RandomForestClassifier(500, random_state=0)):
            model = make_pipeline(StandardScaler(), classifier)
            scores = cross_val_score(model, x, y, cv=split, groups=groups)
            line = f"{name}, {type(classifier).__name__}: {scores.mean():.3f}"
            if merged and groups is not None:  # every run is predicted once
                predicted = cross_val_predict(model, x, y, cv=split, groups=groups)
                one, other = (np.where(np.isin(labels, classes), classes[0], labels) for labels in (predicted, y))
                line += f", merged {np.mean(one == other):.3f}"
            print(line, flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
