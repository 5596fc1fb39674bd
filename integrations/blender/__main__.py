"""`python -m mdenoise.integrations.blender [FOLDER]`: pack the extension for Blender and print where it is."""

import sys
from pathlib import Path

from mdenoise.errors import MDenoiseError
from mdenoise.integrations import blender


def main(arguments: list[str]) -> int:
    if len(arguments) > 1 or any(argument.startswith("-") for argument in arguments):
        sys.stderr.write("usage: python -m mdenoise.integrations.blender [FOLDER]\n")
        return 2
    try:
        sys.stdout.write(f"{blender.build(Path(arguments[0] if arguments else 'dist'))}\n")
    except MDenoiseError as error:
        sys.stderr.write(f"mdenoise: {error}\n")
        return error.exit_code
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
