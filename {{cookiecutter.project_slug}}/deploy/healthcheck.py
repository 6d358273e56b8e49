"""Exit with 0 if this container's server answers /healthz, with 1 and the reason if not."""

import os
import sys
from urllib.request import ProxyHandler, build_opener

url = f"http://127.0.0.1:{os.environ.get('PORT') or 8000}/healthz"

try:
    # Without a ProxyHandler of its own, urllib would ask the proxy that HTTP_PROXY names.
    build_opener(ProxyHandler({})).open(url, timeout=3)
except OSError as error:
    sys.exit(f"{url}: {error}")
