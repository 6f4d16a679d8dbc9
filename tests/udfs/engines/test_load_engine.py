"""The loader: one engine a process for each spec."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.udfs.engines.helpers import spec_for
from udfs.engines import FatalEngineError, load_engine

URL = "http://127.0.0.1:9/v1"


def test_equal_specs_share_an_engine() -> None:
    assert load_engine(spec_for(URL)) is load_engine(spec_for(URL))
    assert load_engine(spec_for(URL)) is not load_engine(spec_for(URL, max_in_flight=3))


def test_an_unknown_kind_is_named_with_the_choice() -> None:
    with pytest.raises(FatalEngineError, match="there is no engine 'magic'; use one of: openai"):
        load_engine(spec_for(URL, kind="magic"))


def test_a_spec_without_addresses_is_refused() -> None:
    with pytest.raises(FatalEngineError, match=r"llm\.base_urls is empty"):
        load_engine(spec_for())


def test_importing_the_engines_loads_no_client() -> None:
    code = "import sys, udfs.engines, udfs.tasks, udfs.engines.openai_compatible; print({'openai', 'aiohttp', 'json_repair'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
