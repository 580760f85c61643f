"""What an operator's command may look like: tells every server to load, all at once, and says how it went.

Usage: tell_servers.py MODEL URL...
"""

from __future__ import annotations

import sys
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from os import EX_OK, EX_TEMPFAIL, EX_UNAVAILABLE

SECONDS = 1.0


def tell(url: str) -> int:
    request = urllib.request.Request(f"{url}/v2/repository/models/{sys.argv[1]}/load", b"{}", method="POST")  # noqa: S310 - a test's own server
    try:
        with urllib.request.urlopen(request, timeout=SECONDS):  # noqa: S310 - likewise
            return EX_OK
    except urllib.error.HTTPError as error:
        sys.stderr.write(f"{url}: {error.code} {error.read().decode()}\n")
        return EX_TEMPFAIL if error.code >= 500 else EX_UNAVAILABLE
    except OSError as error:
        sys.stderr.write(f"{url}: {error}\n")
        return EX_TEMPFAIL


if __name__ == "__main__":
    with ThreadPoolExecutor() as pool:
        codes = set(pool.map(tell, sys.argv[2:])) - {EX_OK}
    sys.exit(EX_UNAVAILABLE if EX_UNAVAILABLE in codes else max(codes, default=EX_OK))
