"""What a calibration fitted is read back as it was."""

from pathlib import Path

import numpy as np
from sklearn.ensemble import ExtraTreesRegressor
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from benchmarks.fitted import write_forest, write_network
from worker.job.small_forest import read_forest
from worker.job.small_network import read_network


def test_trees_answer_as_those_that_were_fitted(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    measures = random.normal(size=(60, 4))
    gains = np.stack([measures[:, 0] * 3, np.abs(measures[:, 1])], axis=1)
    model = ExtraTreesRegressor(5, min_samples_leaf=2, random_state=0).fit(measures, gains)

    write_forest(tmp_path / "trees.json", model, tried=["a", "b"])
    forest = read_forest(tmp_path / "trees.json")

    unseen = random.normal(size=(20, 4))
    answers = [forest.outputs(one) for one in unseen]
    np.testing.assert_allclose(answers, model.predict(unseen), atol=0.02)
    assert np.ptp(answers, axis=0).min() > 0.5
    assert forest.rest == {"tried": ["a", "b"]}


def test_a_network_answers_as_the_one_that_was_fitted(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    measures = random.normal(size=(60, 4))
    kinds = np.where(measures[:, 0] > 0, "x", np.where(measures[:, 1] > 0, "y", "z"))
    network = MLPClassifier(hidden_layer_sizes=(8,), max_iter=2000, random_state=0)
    model = make_pipeline(StandardScaler(), network).fit(measures, kinds)

    write_network(tmp_path / "network.json", model, kinds=["x", "y", "z"])
    read = read_network(tmp_path / "network.json")

    unseen = random.normal(size=(20, 4))
    scores = np.array([read.outputs(one) for one in unseen])
    likely = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(likely, model.predict_proba(unseen), atol=0.001)
