"""A module of the kit run as a command: what goes wrong is one line and an exit code."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import NoReturn

from mdenoise.errors import EngineError, MDenoiseError


def run(main: Callable[[], int | None], name: str, extra: str) -> NoReturn:
    """Run `main` and exit. `extra` is the one of the package that has what `main` imports."""
    try:
        sys.exit(main())
    except MDenoiseError as error:
        print(f"{name}: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except ModuleNotFoundError as error:
        print(f'{name} needs {error.name}: pip install "mdenoise[{extra}]"', file=sys.stderr)
        sys.exit(EngineError.exit_code)
