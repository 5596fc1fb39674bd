"""Items of HEIF and AVIF files taken away, or put in the place of others."""

from __future__ import annotations

from dataclasses import replace

from mdenoise.adapters.srgb_boxes import Container

_CODED = (b"av1C", b"hvcC", b"ispe", b"pixi", b"clap", b"a1lx", b"a1op", b"lsel")  # of the coded picture itself


def gain_maps(container: Container) -> list[int]:
    """Items that hold a gain map: Apple's auxiliary picture, or ISO 21496-1's derived one and what it is made from."""
    apple = [
        number
        for number in container.items
        if any(name == b"auxC" and b"hdrgainmap" in payload for name, payload in container.of(number))
    ]
    iso = [number for number, item in container.items.items() if item.kind == b"tmap"]
    made_from = [part for item in iso for part in container.parts(item) if part != container.primary]
    return [*apple, *iso, *made_from]


def without(container: Container, items: list[int]) -> Container:
    """The container without these items, what they are put together from and what describes them."""
    gone = set(items) | {part for item in items for part in container.parts(item)}
    gone |= {
        by
        for item in gone
        for name in (b"cdsc", b"thmb")
        for by in container.to(name, item)
        if all(
            end in gone for kind, start, ends in container.references if kind == name and start == by for end in ends
        )
    }
    gone.discard(container.primary)
    kept = tuple(
        (name, start, ends)
        for name, start, held in container.references
        if start not in gone and (ends := tuple(end for end in held if end not in gone))
    )
    return replace(
        container,
        items={n: item for n, item in container.items.items() if n not in gone},
        references=kept,
        associated={n: links for n, links in container.associated.items() if n not in gone},
        # Groups of alternatives, of which one was a gain map, are none any more.
        others=tuple(one for one in container.others if one[0] != b"grpl"),
    )


def swapped(source: Container, coded: Container) -> Container:
    """`source` with the main picture of `coded` (and its tiles) in place of its own."""
    shift = max(source.items)
    number = {n: source.primary if n == coded.primary else n + shift for n in coded.items}
    properties, base = list(source.properties), len(source.properties)
    properties += [
        _described(payload, source) if name == b"colr" else (name, payload) for name, payload in coded.properties
    ]
    own = [
        (index, essential)
        for index, essential in source.associated.get(source.primary, ())
        if index < base
        and source.properties[index][0] not in _CODED
        and not (source.properties[index][0] == b"colr" and source.properties[index][1][:4] == b"nclx")
    ]
    associated = dict(source.associated)
    for n, links in coded.associated.items():
        associated[number[n]] = tuple((base + index, essential) for index, essential in links)
    associated[source.primary] += tuple(own)  # turning comes after what is turned
    main = source.items[source.primary]
    items = dict(source.items) | {number[n]: item for n, item in coded.items.items()}
    items[source.primary] = replace(coded.items[coded.primary], flags=main.flags, info=main.info)
    references = tuple(one for one in source.references if one[:2] != (b"dimg", source.primary))
    references += tuple(
        (name, number[start], tuple(number[end] for end in ends)) for name, start, ends in coded.references
    )
    return replace(source, items=items, references=references, properties=tuple(properties), associated=associated)


def _described(payload: bytes, source: Container) -> tuple[bytes, bytes]:
    """How the picture was coded, of the encoder, and what its colours mean, of the source."""
    theirs = [one for name, one in source.of(source.primary) if name == b"colr"]
    meaning = next((one[4:8] for one in theirs if one[:4] == b"nclx"), None)
    if meaning is None:  # a profile says it; primaries and curve 2 are "unspecified"
        meaning = b"\0\2\0\2" if theirs else payload[4:8]
    return b"colr", payload[:4] + meaning + payload[8:] if payload[:4] == b"nclx" else payload
