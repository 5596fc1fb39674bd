"""The command group: `mdenoise INPUT...` is `mdenoise denoise INPUT...`; every error ends in one line here."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable

import click

from mdenoise.cli import console
from mdenoise.errors import Cancelled, MDenoiseError

_COMMANDS = (
    "denoise", "info", "budget", "watch", "hook", "post",
    "farm", "warmup", "prepare", "train", "evaluate", "export",
)  # fmt: skip
_CLASHES_SHOWN = 20


class App(click.Group):
    """A group whose commands load when named, and that takes `denoise` when the first word names none."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in _COMMANDS:
            return None
        module = "kit" if name in ("prepare", "train", "evaluate", "export") else name
        return getattr(importlib.import_module(f"mdenoise.cli.{module}"), name)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if not args:
            raise click.UsageError("no input. Try mdenoise --help")
        if args[0] not in (*_COMMANDS, "-h", "--help", "--version"):
            args = ["denoise", *args]
        return super().parse_args(ctx, args)

    def format_help(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        command = self.get_command(ctx, "denoise")
        assert command is not None
        inner = click.Context(command, info_name=ctx.info_name, help_option_names=ctx.help_option_names)
        command.format_help(inner, formatter)
        self.format_commands(ctx, formatter)
        formatter.write_paragraph()
        formatter.write_text(
            "`mdenoise COMMAND --help` tells more; a file that is named like a command is ./watch. "
            "`mdenoise --version` shows the version."
        )


def _version(ctx: click.Context, parameter: click.Parameter, wanted: bool) -> None:
    if wanted:
        from mdenoise import __version__

        console.result(f"mdenoise {__version__}")
        ctx.exit()


@click.group(cls=App, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--version", is_flag=True, is_eager=True, expose_value=False, callback=_version, help="Show the version.")
def app() -> None:
    """Denoise renders."""


def run(arguments: list[str], interrupted: Callable[[], bool]) -> int:
    """Parse and run; returns the exit code. Every error has become one line on stderr."""
    console.relay("-q" in arguments or "--quiet" in arguments)
    try:
        code = app.main(arguments, prog_name="mdenoise", standalone_mode=False, obj=interrupted)
        sys.stdout.flush()
        if code and interrupted():  # a failure that is the echo of a swallowed interruption
            raise Cancelled
        return code if isinstance(code, int) else 0
    except Cancelled:
        return console.fail("interrupted", 130)
    except click.ClickException as error:
        return console.fail(error.format_message(), error.exit_code)
    except BrokenPipeError:  # who read our stdout went away: say nothing, and keep the flush at exit from failing
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except MDenoiseError as error:
        clashes = getattr(error, "clashes", ())
        for line in clashes[:_CLASHES_SHOWN] if len(clashes) > 1 else ():
            console.say(line)
        return console.fail(str(error), error.exit_code)
    except Exception as error:
        if interrupted():
            return console.fail("interrupted", 130)
        if "-v" in arguments or "--verbose" in arguments:
            console.traceback(error)
        return console.fail(console.internal(error), 1)
