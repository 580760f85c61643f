"""Whoever scores with ONNX Runtime tells its maker nothing: no id of the machine, no events, no place to keep them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from onnx import TensorProto, helper
from onnx_models import graph

SCORE = """
import sys
from pathlib import Path
from rollback.scorer import open_session
open_session(Path(sys.argv[1]).read_bytes())
"""


def test_scoring_leaves_nothing_in_the_home_folder(tmp_path: Path) -> None:
    model = tmp_path / "model.onnx"
    ends = [("x", TensorProto.FLOAT, [1])], [("y", TensorProto.FLOAT, [1])]
    model.write_bytes(graph([helper.make_node("Identity", ["x"], ["y"])], *ends, {}))
    home = tmp_path / "home"
    home.mkdir()
    environ = {name: value for name, value in os.environ.items() if name != "ORT_DISABLE_TELEMETRY"}
    environ |= {"HOME": str(home), "XDG_CACHE_HOME": str(home / "cache")}
    subprocess.run([sys.executable, "-c", SCORE, str(model)], env=environ, check=True)
    assert list(home.rglob("*")) == []
