"""`--max-memory`: how large a tile or band may be."""

from __future__ import annotations

import math

from mdenoise.config import Options
from mdenoise.engines import Engine
from mdenoise.errors import UsageError
from mdenoise.predict import Work, compiled_reads

# Of a process that denoises: libraries, model and its graphs; and of each pixel of a tile or band, by whether compiled
# code builds the guide, and the precision. tests/test_memory.py measures what a process takes, and holds it to this.
START_MB = 260
BYTES_PX = {(True, "bf16"): 300, (True, "f32"): 600, (False, "bf16"): 900, (False, "f32"): 900}
LEAST_PX = 384 * 256


def largest_area(options: Options, engine: Engine, work: Work) -> float:
    """Pixels of a tile or band that the limit leaves room for, infinite where there is none. It counts all that a
    process takes but the planes that come in and go out.

    Raises UsageError where that is less than the smallest tile takes.
    """
    if options.max_memory_mb is None:
        return math.inf
    compiled = getattr(engine, "packed", None) is not None and all(map(compiled_reads, work.passes))
    each = BYTES_PX[compiled, "f32" if engine.precision in ("f32", "int8") else "bf16"]
    each += 8 * work.channels  # the results of a band, and the mean over passes
    room = (options.max_memory_mb - START_MB) * 2**20 / each
    if room < LEAST_PX:
        least = math.ceil(START_MB + LEAST_PX * each / 2**20)
        raise UsageError(
            f"max memory {options.max_memory_mb} MB cannot be kept: libraries, model and the smallest tile take "
            f"{least} MB. Use {least} or more"
        )
    return room
