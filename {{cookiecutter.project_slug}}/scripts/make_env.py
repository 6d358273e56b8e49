"""Write .env from .env.example with fresh secrets; never over an .env that is there.

It uses the standard library alone, so that any Python 3 on the machine can run it.
"""

import os
import re
import secrets
from pathlib import Path

project = Path(__file__).resolve().parent.parent
example = (project / ".env.example").read_text(encoding="utf-8")
text = re.sub(
    r"^([A-Z_]+)=$", lambda line: f"{line[1]}={secrets.token_urlsafe(32)}", example, flags=re.M
)
try:
    handle = os.open(project / ".env", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
except FileExistsError:
    raise SystemExit(".env is there already; it was left as it is.") from None
with open(handle, "w", encoding="utf-8", newline="\n") as file:
    file.write(text)
