"""What Schemathesis is told of the service: who calls."""

import itertools
import os
from pathlib import Path
from typing import Any

import schemathesis

TOKENS = itertools.cycle(Path(os.environ["HOLDFAST_FUZZ_TOKENS"]).read_text().split())
"""Of many admins: signing out and disabling, which are tried too, put an end to one of them."""


@schemathesis.auth(refresh_interval=None)
class Admins:
    """Each request by the next admin, where a route asks who calls."""

    def get(self, case: Any, context: Any) -> str:
        return next(TOKENS)

    def set(self, case: Any, data: str, context: Any) -> None:
        if {} not in case.operation.definition.raw["security"]:
            case.headers["Authorization"] = f"Bearer {data}"
