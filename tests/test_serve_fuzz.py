"""Requests that schemathesis makes of the OpenAPI document: nothing but documented answers.

pytest tests/test_serve_fuzz.py
HYPOTHESIS_PROFILE=long pytest tests/test_serve_fuzz.py     # for longer, by hand
"""

from __future__ import annotations

import os
from typing import Any

import jsonschema_rs
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.internal.conjecture import utils

schemathesis = pytest.importorskip("schemathesis")
pytest.importorskip("litserve")

from schemathesis import GenerationMode  # noqa: E402
from schemathesis.checks import CHECKS, load_all_checks  # noqa: E402
from schemathesis.specs.openapi import _hypothesis  # noqa: E402

from tests.serving import KEY, Running, running  # noqa: E402

ROUTES = [
    ("GET", "/health"), ("GET", "/metrics"), ("GET", "/v1/models"), ("GET", "/v1/models/{model}"),
    ("POST", "/generate"), ("POST", "/query"), ("POST", "/v1/chat/completions"),
    ("POST", "/domain/check"), ("POST", "/domain/apply"), ("POST", "/domain/text"),
    ("GET", "/page/begin"), ("POST", "/page/show"),
]  # fmt: skip
EXAMPLES = 500 if os.environ.get("HYPOTHESIS_PROFILE") == "long" else 6
# What is wrong with a request may lie beyond a schema: the user speaks last, a machine is possible.
BEYOND = ("positive_data_acceptance",)


def _more(elements: Any) -> bool:
    """hypothesis 6.170's `many` is iterated; hypothesis-jsonschema 0.23.1 still asks it for more."""
    if not hasattr(elements, "turns"):
        elements.__enter__()
        elements.turns = iter(elements)
    if next(elements.turns, elements) is not elements:
        return True
    elements.__exit__(None)
    return False


# The schemathesis that goes with the pinned jsonschema-rs is older than what it stands on: without
# its own way through schemas it takes hypothesis-jsonschema's.
if not hasattr(utils.many, "more"):
    utils.many.more = _more  # type: ignore[attr-defined]
if not hasattr(jsonschema_rs.canonicalize({}), "is_satisfiable"):
    _hypothesis._canonical_strategy_or_none = lambda *_: None  # type: ignore[assignment]


@pytest.fixture(scope="module")
def server() -> Running:
    return running("keys")


@pytest.fixture(scope="module")
def document(server: Running) -> Any:
    """The server's own, as schemathesis reads it."""
    load_all_checks()
    found = server.ask("GET", "/openapi.json").json()
    del found["security"]  # keys have tests of their own, and here they are always right
    return schemathesis.openapi.from_dict(found)


def test_every_route_of_the_document_is_tried(document: Any) -> None:
    """The list here is the document's."""
    found = [result.ok() for result in document.get_all_operations()]
    assert {(made.method.upper(), made.path) for made in found} == set(ROUTES)


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
@pytest.mark.parametrize(
    ("method", "path", "mode"),
    [(*route, mode) for route in ROUTES for mode in GenerationMode
     if route[0] == "POST" or mode is GenerationMode.POSITIVE],  # no body, nothing to get wrong
)  # fmt: skip
def test_answers_are_those_that_are_documented(
    server: Running, document: Any, method: str, path: str, mode: Any
) -> None:
    """No 5xx, no status, content type or shape that the document lacks; wrong requests are refused."""
    operation = document[path][method]
    excluded = CHECKS.get_by_names(list(BEYOND))
    tried = 0

    @settings(
        max_examples=EXAMPLES, database=None, phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(case=operation.as_strategy(generation_mode=mode))
    def talk(case: Any) -> None:
        nonlocal tried
        if (
            not path.startswith("/domain")
            and isinstance(case.body, dict)
            and "messages" in case.body
        ):
            case.body.setdefault("max_tokens", 4)
        case.call_and_validate(
            base_url=f"http://127.0.0.1:{server.port}",
            headers={"Authorization": f"Bearer {KEY}"},
            excluded_checks=excluded,
            timeout=60,
        )
        tried += 1

    talk()
    assert tried
