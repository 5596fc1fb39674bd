"""The errors that mdenoise raises, each with the exit code of the command line."""


class MDenoiseError(Exception):
    """Base of every error raised on purpose; its text is the one line a user reads."""

    exit_code = 1


class UsageError(MDenoiseError):
    """An option or argument that cannot be used as given."""

    exit_code = 2


class InputError(MDenoiseError):
    """A file that cannot be read, or that holds nothing to denoise."""

    exit_code = 3


class OutputError(MDenoiseError):
    """A result that exists already or cannot be written."""

    exit_code = 4


class ModelError(MDenoiseError):
    """A model that is missing, damaged or of another contract."""

    exit_code = 5


class EngineError(MDenoiseError):
    """An inference engine that is missing or fails on this machine."""

    exit_code = 5


class Cancelled(MDenoiseError):
    """The caller asked to stop; nothing was written."""

    exit_code = 130
