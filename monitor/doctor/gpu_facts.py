"""What torch says of this machine, as one line of JSON: a program of its own, so that nobody else imports torch."""

from __future__ import annotations

import json
import sys
from typing import Any


def facts() -> dict[str, Any]:
    """Version and devices; ``torch`` is None where it cannot be imported."""
    try:
        import torch  # noqa: PLC0415 - whether it can be imported is the question
    except ImportError as error:
        return {"torch": None, "why": str(error), "devices": []}
    devices = []
    for i in range(torch.cuda.device_count() if torch.cuda.is_available() else 0):
        free, total = torch.cuda.mem_get_info(i)
        devices.append({"name": torch.cuda.get_device_name(i), "free_bytes": free, "total_bytes": total})
    return {"torch": torch.__version__, "why": "", "devices": devices}


if __name__ == "__main__":
    sys.stdout.write(json.dumps(facts()) + "\n")
