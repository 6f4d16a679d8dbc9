"""The endpoint of a run: configured addresses as they are, or one stand-in teacher that lives as long as the run and only if it is asked."""

from __future__ import annotations

import json
from urllib.error import URLError
from urllib.request import urlopen

import pytest

from etl.config import LlmConfig
from etl.endpoint import Endpoint
from tests.etl.tiny import make_config

URLS = ["http://10.0.0.1:8000/v1", "http://10.0.0.2:8000/v1"]


def llm(**changes: object) -> LlmConfig:
    return make_config("warehouse", llm=changes).llm


def served(base_url: str) -> str:
    with urlopen(f"{base_url}/models", timeout=20) as reply:
        return str(json.load(reply)["data"][0]["id"])


def test_configured_addresses_are_given_as_they_are() -> None:
    config = llm(endpoint="urls", base_urls=URLS)
    with Endpoint(config) as endpoint:
        endpoint.base_urls().clear()
        assert endpoint.base_urls() == URLS


def test_the_stand_in_is_started_once_and_stopped_with_the_run() -> None:
    with Endpoint(llm(endpoint="stand-in", base_urls=URLS)) as endpoint:
        (first,) = endpoint.base_urls()
        assert endpoint.base_urls() == [first]
        assert served(first) == "stand-in"
    with pytest.raises(URLError):
        served(first)


def test_a_run_that_fails_stops_it_too_and_keeps_its_own_error() -> None:
    started: list[str] = []

    def fails() -> None:
        with Endpoint(llm(endpoint="stand-in")) as endpoint:
            started.extend(endpoint.base_urls())
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fails()
    with pytest.raises(URLError):
        served(started[0])
