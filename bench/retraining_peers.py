"""Suspicion scores of ART's spectral signatures and activation clustering, and of cleanlab's confident learning.

    python3.11 -m venv PEERS && PEERS/bin/pip install adversarial-robustness-toolbox cleanlab
    python bench/retraining.py run ... --peers PEERS/bin/python

Run by `retraining.py` in an environment of its own, so that Tocsin depends on neither: it imports nothing of Tocsin.
Reads x [n, p] (numbers), y [n], classes, fresh bool[n] and seed from the first file; writes a score for every fresh row
and defence to the second. Larger is more suspicious; how many rows go is decided by the caller, the same number for
each. The network is scikit-learn's (64, 32), of all rows; its last hidden layer are the activations.
"""

import sys

import numpy as np
from art.defences.detector.poison import ActivationDefence, SpectralSignatureDefense
from cleanlab.rank import get_label_quality_scores
from sklearn.model_selection import cross_val_predict
from sklearn.neural_network import MLPClassifier

MAXIMUM = 0.33
"""ART's own bound on the share of poison in a class."""


class Network:
    """What ART asks of a classifier: activations and predictions."""

    layer_names = ("last hidden layer",)

    def __init__(self, model: MLPClassifier, classes: int) -> None:
        self._model = model
        self.nb_classes = classes

    def get_activations(self, x: np.ndarray, layer: object = 0, batch_size: int = 128, **more: object) -> np.ndarray:
        """Of the last hidden layer."""
        del layer, batch_size, more
        for weight, bias in zip(self._model.coefs_[:-1], self._model.intercepts_[:-1], strict=True):
            x = np.maximum(x @ weight + bias, 0)
        return x

    def predict(self, x: np.ndarray, **more: object) -> np.ndarray:
        """Probabilities of all classes."""
        del more
        return _full(self._model, self._model.predict_proba(x), self.nb_classes)


def _full(model: MLPClassifier, scores: np.ndarray, classes: int) -> np.ndarray:
    full = np.zeros((len(scores), classes))
    full[:, model.classes_.astype(int)] = scores
    return full


def spectral(network: Network, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """ART's scores, class by class: projections of the activations on their first singular vector."""
    defence = SpectralSignatureDefense(network, x, np.eye(network.nb_classes)[y], expected_pp_poison=MAXIMUM)
    scores = np.zeros(len(y))
    for label in np.unique(y):
        own = y == label
        found = defence.spectral_signature_scores(network.get_activations(x[own]))
        scores[own] = np.ravel(found) / max(float(np.max(found)), 1e-12)  # classes are of other scales
    return scores


def clustering(network: Network, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """ART's smaller cluster of each class, the smallest share first, and the farthest from the rest within it."""
    defence = ActivationDefence(network, x, np.eye(network.nb_classes)[y])
    report, is_clean = defence.detect_poison(nb_clusters=2, nb_dims=10, reduce="PCA", cluster_analysis="smaller")
    del report
    suspect = np.asarray(is_clean) == 0
    scores = np.zeros(len(y))
    for label in np.unique(y):
        own = y == label
        if not suspect[own].any() or suspect[own].all():
            continue
        inside = network.get_activations(x[own])
        middle = inside[~suspect[own]].mean(axis=0)
        far = np.linalg.norm(inside - middle, axis=1)
        scores[own] = suspect[own] * (2 - suspect[own].mean()) + far / max(far.max(), 1e-12) * 0.5
    return scores


def main() -> None:
    given, answer = sys.argv[1:]
    with np.load(given) as file:
        x, y, fresh = file["x"].astype(np.float32), file["y"].astype(int), file["fresh"]
        classes, seed = int(file["classes"]), int(file["seed"])
    make = MLPClassifier((64, 32), max_iter=60, early_stopping=True, random_state=seed)
    network = Network(make.fit(x, y), classes)
    out_of_fold = cross_val_predict(make, x, y, cv=3, method="predict_proba")
    known = np.unique(y)
    quality = get_label_quality_scores(np.searchsorted(known, y), out_of_fold, method="self_confidence")
    scores = {
        "art_spectral": spectral(network, x, y),
        "art_clustering": clustering(network, x, y),
        "cleanlab": 1 - quality,
    }
    np.savez(answer, **{name: score[fresh] for name, score in scores.items()})


if __name__ == "__main__":
    main()
