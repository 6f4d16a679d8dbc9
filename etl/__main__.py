"""Entry point of `python -m etl` and `spark-submit etl/__main__.py`."""

from __future__ import annotations

import os
import sys

# Spark puts the script's own folder first on the path, where `etl/tables.py` would be `tables` and `etl/config.py` `config` for every library.
# The package itself comes from --py-files or an installation, else from the folder above.
_HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:] = [path for path in sys.path if os.path.abspath(path) != _HERE]
sys.path.append(os.path.dirname(_HERE))

from etl.cli import main  # noqa: E402

if __name__ == "__main__":
    sys.exit(main())
