"""A runtime for MLServer that serves what the registry's `serving` pointer names, and nothing that is not verified.

It runs in MLServer's own environment, with Tocsin's packages on its path; `parameters.uri` of model-settings.json is
the registry's folder. Loading reads the pointer: after a move, a load makes MLServer serve the new version.
Signatures are checked with the trial keys beside the registry; for keys of your own use `Keys.from_files`.
"""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

import msgspec
from mlserver import MLModel
from mlserver.errors import InferenceError, MLServerError
from mlserver.types import InferenceRequest, InferenceResponse, ResponseOutput

from rollback.registry.file import FileRegistry
from rollback.reload.v2_tensors import Tensor, TensorError, from_inputs
from rollback.signing.keys import Keys


class TocsinModel(MLModel):
    """The version that the pointer named when it was loaded."""

    async def load(self) -> bool:
        """Read and verify; what served before goes on until this has ended."""
        bundle, self._scorer = await asyncio.to_thread(self._read)
        self._schema = bundle.schema
        self._settings.parameters.version = bundle.manifest.version
        self._settings.versions = [bundle.manifest.version]
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        """Scores [N, k] in class order, for one input of N values per feature."""
        inputs = [msgspec.convert(each.model_dump(exclude={"parameters"}), _Input) for each in payload.inputs]
        tensors = [Tensor(i.name, i.shape, i.datatype, msgspec.Raw(msgspec.json.encode(i.data))) for i in inputs]
        try:
            scores = self._scorer(from_inputs(self._schema, tensors))
        except TensorError as error:
            raise InferenceError(str(error)) from error
        data = scores.ravel().tolist()
        output = ResponseOutput(name="scores", shape=list(scores.shape), datatype="FP64", data=data)
        return InferenceResponse(model_name=self.name, model_version=self.version, outputs=[output])

    def _read(self) -> Any:
        root = Path(self._settings.parameters.uri)
        registry = FileRegistry(root, self.name, Keys.trial(root), time.time)
        version = registry.pointers().serving
        if version is None:
            raise MLServerError(f"no version of {self.name} serves")
        bundle = registry.load(version)
        scorer = bundle.scorer()
        if scorer is None:
            raise MLServerError(f"version {version} of {self.name} has no model")
        return bundle, scorer


class _Input(msgspec.Struct):
    name: str
    shape: tuple[int, ...]
    datatype: str
    data: Any
