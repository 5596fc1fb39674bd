"""The network over bands of rows, from top to bottom, without computing a row twice.

Tiles need context on all sides: a 4K frame takes them four tenths more pixels than it has. A band needs none: what a
layer must see of the rows above it was computed with the band before, and its last rows are kept. Each band has a
graph of its own, cut out of the model's: every layer computes the rows that are new and that the answer asks for,
convolutions pad where the image ends and nowhere else, and windows stay where they are in the whole image. The numbers
are those of one tile as large as the image.

Rows are counted in the unit of each layer: at 1/2, 1/4 or 1/8 of the image's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

Span = tuple[int, int]  # rows first..end, the end excluded
WINDOW = 8
CHEAP_PX = 16  # so much of the image is sooner computed again than kept: joining rows is a copy of them all
SHAPES = frozenset({"ShapeOf", "Constant", "Result", "Parameter"})
BY_ROW = frozenset(
    {"Add", "Divide", "Erf", "FakeQuantize", "Gelu", "MatMul", "Multiply", "MVN", "PRelu", "Relu", "Subtract"}
)


class UnknownGraph(ValueError):
    """The model holds what these cuts are not made for."""


@dataclass(frozen=True)
class Step:
    """One operation on rows, or a whole attention.

    kind    same, conv (3x3), half (2x2, stride 2), double (pixel shuffle), windows (attention), join (its end, where
            what went in is added).
    reads   (node, number of its input, name of the step that it comes from).
    shape   of its output for the whole image; unit: image rows in one of its rows; axis: of its rows in `shape`.
    shift   of its windows, in rows; ends: the Pad and the Slice that shift them.
    """

    name: str
    kind: str
    reads: tuple[tuple[Any, int, str], ...]
    node: Any
    shape: tuple[int, ...]
    unit: int
    axis: int
    shift: int = 0
    ends: tuple[Any, Any] | None = None

    @property
    def rows(self) -> int:
        return self.shape[self.axis]

    def whole(self, span: Span) -> Span:
        """The rows that come of it when these are asked for: windows and shuffled rows come together."""
        first, end = span
        unit = {"windows": WINDOW, "join": WINDOW, "double": 2}.get(self.kind, 1)
        first, end = (first + self.shift) // unit * unit, -(-(end + self.shift) // unit) * unit
        return max(first - self.shift, 0), min(end - self.shift, self.rows)

    def needs(self, span: Span) -> Span:
        """Rows of what it reads, for whole rows of its own."""
        first, end = span
        if self.kind == "conv":
            return max(first - 1, 0), min(end + 1, self.rows)
        if self.kind == "half":
            return 2 * first, 2 * end
        return (first // 2, end // 2) if self.kind == "double" else span


@dataclass(frozen=True)
class Band:
    """What one band computes, by step: rows that are `new`, `kept` from the bands before and `left` for the next, and
    those of the `answers`. Graphs of equal `recipe` are the same."""

    new: dict[str, Span]
    kept: dict[str, Span]
    left: dict[str, Span]
    answers: dict[str, Span]
    recipe: tuple[Any, ...]


def trace(model: Any, names: Sequence[str]) -> list[Step]:
    """The steps from the parameter `guide`, (1, 4 G, H/2, W/2), to the answers, in their order and named by it, as
    OpenVINO names nodes differently each time. Raises UnknownGraph."""
    (guide,) = model.get_parameters()
    steps = {guide.get_friendly_name(): Step("guide", "same", (), guide, tuple(guide.shape), 2, 2)}
    inside: dict[str, tuple[Any, Step]] = {}  # operations of an attention: how it starts, and from what
    cuts: dict[str, Any] = {}
    for node in model.get_ordered_ops():
        kind, name = node.get_type_name(), node.get_friendly_name()
        if kind in SHAPES:
            continue
        sources = [value.get_node().get_friendly_name() for value in node.input_values()]
        reads = tuple((node, i, steps[source].name) for i, source in enumerate(sources) if source in steps)
        last = next((source for source in sources if source in inside), None)
        if last is not None and not (kind == "Add" and reads):
            inside[name] = start, _ = inside[last]
            if kind == "Slice" and node.input_value(4).get_node().data.tolist() == [1]:
                cuts[start.get_friendly_name()] = node
            continue
        if not reads:
            continue
        before = [steps[source] for source in sources if source in steps]
        unit, axis, shift, what = before[0].unit, before[0].axis, 0, "same"
        if last is not None:
            start, origin = inside[last]
            padded = start.get_type_name() == "Pad"
            ends = (start, cuts[start.get_friendly_name()]) if padded else None
            shift, what, number = WINDOW // 2 if padded else 0, "join", sources.index(last)
            ending, entry = node.input_value(number).get_node(), ((start, 0, origin.name),)
            steps[last] = Step(str(len(steps)), "windows", entry, ending, origin.shape, unit, axis, shift, ends)
            reads = (*reads, (node, number, steps[last].name))
        elif kind == "Convolution":
            size, stride = node.input_value(1).shape[2], node.get_attributes()["strides"][0]
            what = {(1, 1): "same", (3, 1): "conv", (2, 2): "half"}.get((size, stride), "")
            unit *= stride
        elif kind == "DepthToSpace":
            what, unit = "double", unit // 2
        elif kind == "Transpose":
            axis = {(0, 2, 3, 1): 1, (0, 3, 1, 2): 2}.get(tuple(node.input_value(1).get_node().data.tolist()), 0)
        elif kind in ("Pad", "Reshape"):
            inside[name] = node, before[0]
            continue
        elif kind not in BY_ROW:
            what = ""
        if not what or not axis or any(one.unit != before[0].unit for one in before):
            raise UnknownGraph(f"{kind} {name}")
        known = name if name in names else str(len(steps))
        steps[name] = Step(known, what, reads, node, tuple(node.output(0).shape), unit, axis, shift)
    if missing := [name for name in names if name not in steps]:
        raise UnknownGraph(f"no {missing[0]}")
    return list(steps.values())


def plan(steps: Sequence[Step], spans: Sequence[Span], names: Sequence[str]) -> list[Band]:
    """What every band computes so that its answers cover `spans`, rows of the image in multiples of 16."""
    readers = [source for step in steps for _, _, source in step.reads]
    keeps = [step for step in steps if readers.count(step.name) > 1]  # where ways part, one that is kept serves all
    draft = _plan(steps, spans, names, keeps)
    longest = {
        step: max(end - first for first, end in [band.kept.get(step.name, (0, 0)) for band in draft]) for step in keeps
    }
    return _plan(steps, spans, names, [step for step in keeps if longest[step] * step.unit > CHEAP_PX])


def _plan(steps: Sequence[Step], spans: Sequence[Span], names: Sequence[str], keeps: Sequence[Step]) -> list[Band]:
    done = {step.name: 0 for step in keeps}
    wanted: list[dict[str, Span]] = []
    made: list[tuple[dict[str, Span], dict[str, int]]] = []
    for first, end in spans:
        asked = {step.name: (first // step.unit, end // step.unit) for step in steps if step.name in names}
        new: dict[str, Span] = {}
        for step in reversed(steps):
            first, end = asked.get(step.name, (0, 0))
            first = max(first, done.get(step.name, 0))
            if first >= end:
                continue
            new[step.name] = span = step.whole((first, end))
            for _, _, source in step.reads:
                need = step.needs(span)
                have = asked.get(source, need)
                asked[source] = min(have[0], need[0]), max(have[1], need[1])
        done |= {name: new[name][1] for name in done if name in new}
        wanted.append(asked)
        made.append((new, dict(done)))
    bands: list[Band] = []
    kept: dict[str, Span] = {}
    for i, (new, ends) in enumerate(made):
        left = {}
        for name, end in ends.items():
            later = [asked[name][0] for asked in wanted[i + 1 :] if name in asked]
            if later and min(later) < end:
                left[name] = min(later), end
        answers = {name: wanted[i][name] for name in names}
        bands.append(Band(new, kept, left, answers, _recipe(steps, new, (kept, left, answers), spans[i][0])))
        kept = left
    return bands


def _recipe(
    steps: Sequence[Step], new: dict[str, Span], more: Sequence[dict[str, Span]], first: int
) -> tuple[Any, ...]:
    """All spans, told from the band's first row, and which of them end with the image."""
    return tuple(
        (step.name, *(span and tuple(row * step.unit - first for row in span) for span in spans), ends)
        for step in steps
        if any(spans := [table.get(step.name) for table in (new, *more)])
        for ends in [new.get(step.name) and (new[step.name][0] == 0, new[step.name][1] == step.rows)]
    )


def cut(steps: Sequence[Step], band: Band, names: Sequence[str], ops: Any) -> tuple[list[Any], list[Any]]:
    """Rewrite the graph of `steps` in place. Its parameters: the guide, where rows of it are new, and what is kept; its
    results: the answers in the order of `names`, and what is left. `ops` is an OpenVINO opset."""
    parameters: list[Any] = []
    rows: dict[str, list[tuple[Any, Span]]] = {}  # outputs, and the rows that each holds, without a gap
    axis = {step.name: step.axis for step in steps}

    def some(name: str, span: Span) -> Any:
        parts = []
        for output, (start, stop) in rows[name]:
            first, end = max(span[0], start), min(span[1], stop)
            if (first, end) != (start, stop) and first < end:
                output = ops.slice(output, [first - start], [end - start], [1], [axis[name]]).output(0)
            if first < end:
                parts.append(output)
        return parts[0] if len(parts) == 1 else ops.concat(parts, axis[name]).output(0)

    def parameter(step: Step, span: Span) -> Any:
        shape = list(step.shape)
        shape[step.axis] = span[1] - span[0]
        parameters.append(ops.parameter(shape, np.float32))
        return parameters[-1].output(0)

    for step in steps:
        span, kept = band.new.get(step.name), band.kept.get(step.name)
        rows[step.name] = [(parameter(step, kept), kept)] if kept else []
        if span and step.name == "guide":
            rows[step.name].append((parameter(step, span), span))
        elif span:
            for node, number, source in step.reads:
                node.input(number).replace_source_output(some(source, step.needs(span)))
            _pad(step, span, ops)
            rows[step.name].append((step.node.output(0), span))
    results = [some(name, band.answers[name]) for name in names]
    results += [some(name, span) for name, span in band.left.items()]
    return parameters, [ops.result(output) for output in results]


def _pad(step: Step, span: Span, ops: Any) -> None:
    """Padding above and below where the image ends, and nowhere else."""
    top, bottom = int(span[0] == 0), int(span[1] == step.rows)
    if step.kind == "conv":
        _, side = step.node.get_attributes()["pads_begin"]
        step.node.set_attribute("pads_begin", [top, side])
        step.node.set_attribute("pads_end", [bottom, side])
    elif step.kind == "windows" and step.ends:
        pad, back = step.ends
        top, bottom = top * step.shift, bottom * step.shift
        for number, edge in ((1, top), (2, bottom)):
            sides = ops.constant(np.array([0, edge, step.shift, 0], np.int64))
            pad.input(number).replace_source_output(sides.output(0))
        for number, row in ((1, top), (2, top + span[1] - span[0])):
            back.input(number).replace_source_output(ops.constant(np.array([row], np.int64)).output(0))
