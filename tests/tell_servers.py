"""What an operator's command may look like: tells every server to load, all at once, and says how it went.

Usage: tell_servers.py SECONDS MODEL URL...
"""

from __future__ import annotations

import sys
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from os import EX_OK, EX_TEMPFAIL, EX_UNAVAILABLE


def tell(url: str) -> int:
    request = urllib.request.Request(f"{url}/v2/repository/models/{sys.argv[2]}/load", b"{}", method="POST")  # noqa: S310 - a test's own server
    try:
        with urllib.request.urlopen(request, timeout=float(sys.argv[1])):  # noqa: S310 - likewise
            return EX_OK
    except urllib.error.HTTPError as error:
        sys.stderr.write(f"{url}: {error.code} {error.read().decode()}\n")
        return EX_TEMPFAIL if error.code >= 500 else EX_UNAVAILABLE
    except OSError as error:
        sys.stderr.write(f"{url}: {error}\n")
        return EX_TEMPFAIL


if __name__ == "__main__":
    with ThreadPoolExecutor() as pool:
        codes = set(pool.map(tell, sys.argv[3:])) - {EX_OK}
    sys.exit(EX_UNAVAILABLE if EX_UNAVAILABLE in codes else max(codes, default=EX_OK))
