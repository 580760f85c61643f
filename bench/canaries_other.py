"""The same file in another version of ONNX Runtime, in a process of that version's own."""

from __future__ import annotations

import subprocess
import tempfile
from pathlib import Path

import numpy as np
from canaries_models import Model

from detectors.batch import Floats
from rollback.scorer import Feeder, in_class_order, open_session

PROGRAM = """
import sys, numpy, onnxruntime
folder, output = sys.argv[1:]
feed = dict(numpy.load(folder + "/feed.npz"))
session = onnxruntime.InferenceSession(folder + "/model.onnx", providers=["CPUExecutionProvider"])
parts = [{name: value[i::8] for name, value in feed.items()} for i in range(8)]
answers = [session.run([output], part)[0] for part in [feed, *parts]]
numpy.savez(folder + "/answers.npz", *answers)
print(onnxruntime.__version__)
"""


def elsewhere(python: Path, model: Model, x: Floats) -> tuple[str, list[Floats]]:
    """The version of ONNX Runtime that ``python`` imports, and its answers to ``x``: in one request, and in eight."""
    spec = model.manifest.onnx
    if spec is None:
        raise ValueError("the manifest does not say how the model is fed")
    feed = Feeder(open_session(model.content), spec, model.manifest.features).feed(x)
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "model.onnx").write_bytes(model.content)
        np.savez(Path(folder) / "feed.npz", **feed)
        command = [str(python), "-c", PROGRAM, folder, spec.output]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise RuntimeError(f"{python} cannot run the model:\n{done.stderr[-2000:]}")
        with np.load(Path(folder) / "answers.npz", allow_pickle=False) as archive:
            whole, *parts = (in_class_order(archive[name], spec) for name in archive.files)
    joined = np.empty_like(whole)
    for i, part in enumerate(parts):
        joined[i::8] = part
    return done.stdout.strip(), [whole, joined]
