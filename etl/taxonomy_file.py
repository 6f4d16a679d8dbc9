"""The taxonomy of a run: the packaged one, or the user's file."""

from __future__ import annotations

from pathlib import Path

from etl.config import Config, packaged
from etl.errors import UserError
from udfs.taxonomy import Taxonomy, TaxonomyError, load_taxonomy, parse_taxonomy

PACKAGED = "taxonomy.yaml"


def read_taxonomy(config: Config) -> Taxonomy:
    """Reads `annotate.taxonomy`. Raises UserError that names the file and the line when something is wrong."""
    name = config.annotate.taxonomy
    try:
        if name == PACKAGED:
            return parse_taxonomy(packaged(PACKAGED), f"conf/{PACKAGED}")
        path = Path(name).expanduser()
        if not path.is_file():
            raise UserError(f"annotate.taxonomy: there is no file {name}")
        return load_taxonomy(path)
    except TaxonomyError as err:
        raise UserError(f"annotate.taxonomy: {err}") from err
