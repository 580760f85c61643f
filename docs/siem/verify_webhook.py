"""Whether a message came from the Tocsin that shares this secret, and is not an old one sent again.

`headers` are the request's, `body` its bytes as they came, before anything parses them. Remember `webhook-id` for as
long as `TOLERANCE_SECONDS`: the same alert may come twice.
"""

import base64
import hmac
import time
from collections.abc import Mapping

TOLERANCE_SECONDS = 300


def is_genuine(headers: Mapping[str, str], body: bytes, secret: str, now: float | None = None) -> bool:
    """`now` is in seconds since the epoch, by default the clock's."""
    key = base64.b64decode(secret[6:]) if secret.startswith("whsec_") else secret.encode()
    uid, at = headers["webhook-id"], headers["webhook-timestamp"]
    signed = hmac.digest(key, f"{uid}.{at}.".encode() + body, "sha256")
    expected = "v1," + base64.b64encode(signed).decode()
    fresh = abs((time.time() if now is None else now) - int(at)) <= TOLERANCE_SECONDS
    return fresh and any(hmac.compare_digest(expected, one) for one in headers["webhook-signature"].split(" "))
