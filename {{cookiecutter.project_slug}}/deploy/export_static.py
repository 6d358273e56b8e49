"""Write the static files for a proxy: by the names that their URLs have, and compressed.

Usage: python deploy/export_static.py PACKAGE FOLDER
"""

import sys
from importlib import import_module
from pathlib import Path


def main(package: str, folder: Path) -> None:
    """Write `static/`, and the security headers as Caddy's directives."""
    assets = import_module(f"{package}.assets")
    security = import_module(f"{package}.security")
    source = Path(assets.__file__).parent / "static"
    for path in sorted(source.rglob("*")):
        if not path.is_file():
            continue
        # Only the hashed name: it means these bytes, whatever version runs behind the proxy.
        target = folder / "static" / assets.hashed_name(path.relative_to(source), path)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(path.read_bytes())
        if compressed := assets.read(path).compressed:
            target.with_name(f"{target.name}.gz").write_bytes(compressed)
    lines = [f'header {name} "{text}"\n' for name, text in security.HEADERS.items()]
    (folder / "headers.caddy").write_text("".join(lines))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
