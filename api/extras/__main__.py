"""`python -m api.extras`: build the page's super-resolution from the packages that `npm ci`
installed.
"""

import sys
from pathlib import Path

from api.extras.install import install
from api.server.page_files import EXTRA

if __name__ == "__main__":
    modules = Path(sys.argv[1] if len(sys.argv) > 1 else "node_modules")
    try:
        print(f"super-resolution for the page was written to {install(modules, EXTRA)}")
    except FileNotFoundError as error:
        sys.exit(f"npm has not installed {error.filename}: run `npm ci` first")
