"""How large the files of a bundle may be: what is read is read into memory as a whole."""

from __future__ import annotations

from dataclasses import dataclass

MIB = 2**20


@dataclass(frozen=True, slots=True)
class BundleLimits:
    """Largest `model.onnx`, largest other file, and most files of a bundle. Raises `ValueError` for less than one."""

    model_bytes: int = 512 * MIB
    file_bytes: int = 512 * MIB
    files: int = 64

    def __post_init__(self) -> None:
        if min(self.model_bytes, self.file_bytes, self.files) < 1:
            raise ValueError("model_bytes, file_bytes, files: must be at least 1")

    def objection(self, name: str, size: int) -> str:
        """What is wrong with a file of that name and size; "" where nothing is.

        >>> BundleLimits(model_bytes=4).objection("model.onnx", 5)
        'has 5 bytes, more than the 4 that a model may have (bundles.max_model_mib)'
        """
        model = name == "model.onnx"
        most = self.model_bytes if model else self.file_bytes
        what = "a model may have (bundles.max_model_mib)" if model else "a file may have (bundles.max_file_mib)"
        return f"has {size} bytes, more than the {most} that {what}" if size > most else ""
