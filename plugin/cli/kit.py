"""`mdenoise prepare|train|evaluate|export`: the training kit's own programs, mounted only when named."""

from __future__ import annotations

import importlib

import click

from mdenoise.errors import EngineError

_PASS_ON = {"ignore_unknown_options": True, "allow_interspersed_args": False, "help_option_names": []}
_OURS = ("mdenoise", "training", "exporters")


def _start(command: str, module: str, extra: str, arguments: tuple[str, ...]) -> int:
    try:
        program = importlib.import_module(module)
        return program.main(list(arguments)) or 0
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package in _OURS:
            raise
        raise EngineError(f'mdenoise {command} needs {package}: pip install "mdenoise[{extra}]"') from None


@click.command(context_settings=_PASS_ON, short_help="Make your own images ready for training (extra: train).")
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def prepare(arguments: tuple[str, ...]) -> int:
    return _start("prepare", "mdenoise.training.prepare", "train", arguments)


@click.command(context_settings=_PASS_ON, short_help="Train a model (extra: train).")
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def train(arguments: tuple[str, ...]) -> int:
    return _start("train", "mdenoise.training.train", "train", arguments)


@click.command(context_settings=_PASS_ON, short_help="Measure a model on whole suites (extra: eval).")
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def evaluate(arguments: tuple[str, ...]) -> int:
    return _start("evaluate", "mdenoise.training.evaluate", "eval", arguments)


@click.command(context_settings=_PASS_ON, short_help="Turn trained weights into an ONNX model (extra: train).")
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def export(arguments: tuple[str, ...]) -> int:
    return _start("export", "mdenoise.exporters.onnx", "train", arguments)
