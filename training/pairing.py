"""Find which noisy file belongs to which target, read both as the product would, and store their crops."""

from __future__ import annotations

import argparse
import json
import re
from collections import defaultdict
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np

from mdenoise import guide as g
from mdenoise.adapters import ADAPTERS, adapter_for
from mdenoise.config import Options
from mdenoise.errors import InputError, OutputError, UsageError
from mdenoise.frame import Planes
from mdenoise.training import pairs
from mdenoise.training.checkpoint import write_csv
from mdenoise.training.prepare import hold_out, open_target, read_photo

HALF_MAX = 65504.0
SAME = 1e-4  # mean difference, relative: two renders of one seed differ by less


@dataclass(frozen=True)
class Match:
    scene: str
    noisy: Path
    target: Path
    noisy_target: bool


# --- which file belongs to which ----------------------------------------------------------------------------------


def find(pattern: str) -> dict[tuple[tuple[str, str], ...], Path]:
    """Files by what the braces of the pattern stand for, as sorted (name, text). A folder is FOLDER/{scene} for every
    file below it, without its extension. Raises InputError, UsageError."""
    folder = Path(pattern)
    if folder.is_dir():
        files = sorted(p for p in folder.rglob("*") if p.is_file() and not p.name.startswith("."))
        return {(("scene", p.relative_to(folder).with_suffix("").as_posix()),): p for p in files}
    if "{scene}" not in pattern:
        raise UsageError(f"cannot match {pattern}: it is no folder, and names no {{scene}}")
    parts = Path(pattern).parts
    fixed = next(i for i, part in enumerate(parts) if "{" in part or "*" in part)
    root, rest = Path(*parts[:fixed]), "/".join(parts[fixed:])
    text, seen = "", set()
    for token in re.split(r"(\{\w+\}|\*)", rest):
        if token == "*":
            text += "[^/]*"
        elif token[:1] == "{":
            name = token[1:-1]
            kind = r"\d+" if name == "spp" else "[^/]+?"
            text += f"(?P={name})" if name in seen else f"(?P<{name}>{kind})"
            seen.add(name)
        else:
            text += re.escape(token)
    found = {}
    for path in sorted(p for p in root.rglob("*") if p.is_file()):
        if match := re.fullmatch(text, path.relative_to(root).as_posix()):
            found[tuple(sorted(match.groupdict().items()))] = path
    if not found:
        raise InputError(f"no file matches {pattern}")
    return found


def match(noisy: str, reference: str | None, second: str | None) -> tuple[list[Match], list[str]]:
    """Pairs, and one line for every noisy file without a partner."""
    files = find(noisy)
    if reference and second:
        raise UsageError("name the clean images with --reference, or other noisy ones with --second, not both")
    if not reference and not second:
        if "{run}" not in noisy:
            raise UsageError("nothing to learn from: name --reference or --second, or number the renders with {run}")
        return match_runs(files)
    partners = find(reference or second or "")
    names = {name for name, _ in next(iter(partners))}
    matches, alone = [], []
    for key, path in files.items():
        partner = partners.get(tuple((k, v) for k, v in key if k in names))
        if partner is None or partner == path:
            alone.append(f"{path.name}: no {'reference' if reference else 'second image'} for it")
            continue
        scene = dict(key)["scene"]
        matches.append(Match(scene, path, partner, bool(second)))
        if second:  # each is as good a target for the other
            matches.append(Match(scene, partner, path, True))
    return matches, alone


def match_runs(files: dict[tuple[tuple[str, str], ...], Path]) -> tuple[list[Match], list[str]]:
    """Every run with the next one of the same scene, samples and so on, both ways."""
    groups: dict[tuple, list[Path]] = defaultdict(list)
    for key, path in files.items():
        groups[tuple((k, v) for k, v in key if k != "run")].append(path)
    matches, alone = [], []
    for key, runs in groups.items():
        if len(runs) == 1:
            alone.append(f"{runs[0].name}: the only run of it")
        for a, b in pairwise(runs):
            matches += [Match(dict(key)["scene"], *two, True) for two in ((a, b), (b, a))]
    return matches, alone


# --- reading ------------------------------------------------------------------------------------------------------


def read(path: Path, options: Options) -> Planes:
    """The first image of a file as the product sees it; photographs come as encoded colour alone."""
    if path.suffix.lower() not in ADAPTERS:
        color = read_photo(path).astype(np.float32) / np.float32(255)
        return Planes(color, {"color": color}, encoding="srgb")
    adapter = adapter_for(path)
    return adapter.adapt(adapter.read(path), options)[0].planes


def stacked(noisy: Planes, target: Planes) -> tuple[np.ndarray, bool]:
    """The planes of `pairs.PLANES`, (20, H, W) float16, and whether the product would divide by the albedo."""
    height, width = noisy.color.shape[:2]
    linear = noisy.encoding == "linear"
    scale = np.float32(g.exposure(noisy.color) if linear else 1.0)
    out = np.zeros((pairs.CHANNELS, height, width), np.float32)
    inside = g.trusted_px(target.color)
    trusted = inside & g.trusted_px(noisy.color)
    for name, color, known in (("noisy", noisy.color, trusted), ("clean", target.color, inside)):
        exposed = np.where(known[..., None], color, np.float32(0)).astype(np.float32) * scale
        out[pairs.PLANES[name]] = np.moveaxis(exposed, -1, 0)
    flags = out[pairs.PLANES["flags"]]
    for i, (name, low) in enumerate((("albedo", 0.0), ("normal", -1.0))):
        plane = getattr(noisy, name)
        if plane is not None:
            known = g.trusted_px(plane)
            values = np.clip(np.where(known[..., None], plane, np.float32(0)), low, 1.0)
            out[pairs.PLANES[name]], flags[i] = np.moveaxis(values, -1, 0), known
    median = None if noisy.depth is None else g.depth_median(noisy.depth)
    if noisy.depth is not None and median is not None:
        flags[2] = ~np.isnan(noisy.depth)
        depth = np.asarray(noisy.depth, np.float32)
        out[pairs.PLANES["depth"]] = np.where(flags[2] > 0, g.relative_depth(depth, median), 0.0)
    if noisy.variance is not None and linear:
        variance = np.asarray(noisy.variance, np.float32) * scale**2
        flags[3] = np.isfinite(variance)
        lum = g.luminance(out[pairs.PLANES["noisy"]], axis=0)
        out[pairs.PLANES["variance"]] = np.where(flags[3] > 0, g.relative_variance(variance, lum), 0.0)
    out[pairs.PLANES["inside"]], out[pairs.PLANES["trusted"]] = inside, trusted
    demodulate = linear and noisy.albedo is not None and g.albedo_is_cleaner(noisy.color, noisy.albedo, float(scale))
    return np.clip(out, -HALF_MAX, HALF_MAX).astype(np.float16), demodulate


def check(one: Match, noisy: Planes, target: Planes) -> None:
    """Raises InputError for what could not be learnt from."""
    sizes = [f"{p.color.shape[1]}x{p.color.shape[0]}" for p in (noisy, target)]
    if sizes[0] != sizes[1] or noisy.encoding != target.encoding:
        what = f"{sizes[0]} and {sizes[1]}" if sizes[0] != sizes[1] else f"{noisy.encoding} and {target.encoding}"
        raise InputError(f"{one.noisy.name}: differs from {one.target.name} ({what})")
    known = g.trusted_px(noisy.color) & g.trusted_px(target.color)
    a, b = (p.color[known].astype(np.float64) for p in (noisy, target))
    if not known.any() or np.abs(a - b).mean() <= SAME * max(np.abs(a).mean(), 1e-12):
        raise InputError(f"{one.noisy.name}: the same pixels as {one.target.name}; render it with another seed")


def crops_of(planes: np.ndarray, side: int, count: int) -> np.ndarray:
    """(N, 20, side, side): crops that cover the image evenly; where there are more than `count`, every so many."""
    _, height, width = planes.shape
    planes = np.pad(planes, ((0, 0), (0, max(0, side - height)), (0, max(0, side - width))))  # 0 = masked

    def starts(length: int) -> np.ndarray:
        return np.linspace(0, length - side, -(-length // side)).astype(int)

    places = [(y, x) for y in starts(planes.shape[1]) for x in starts(planes.shape[2])]
    chosen = np.unique(np.linspace(0, len(places) - 1, min(count, len(places))).round().astype(int))
    return np.stack([planes[:, y : y + side, x : x + side] for y, x in (places[i] for i in chosen)])


def prepare(args: argparse.Namespace) -> list[str]:
    """Write pairs.csv and crops/; returns what was left out, one line each. Raises InputError when nothing is left."""
    if args.crop < 64 or args.crops < 1:
        raise UsageError("--crop must be at least 64 px, --crops at least 1")
    matches, left_out = match(args.noisy, args.reference, args.second)
    roles = {name: getattr(args, name) for name in ("color", "albedo", "normal", "depth", "variance")}
    roles = {name: value for name, value in roles.items() if value}
    options = Options(**roles)
    open_target(args.out, "pairs.csv", "crops", args.overwrite)
    rows = []
    for one in matches:
        try:
            noisy = read(one.noisy, options)
            target = read(one.target, options if one.noisy_target else Options())
            check(one, noisy, target)
        except InputError as error:
            left_out.append(str(error))
            continue
        planes, demodulate = stacked(noisy, target)
        file = f"{len(rows):05d}.npy"
        try:
            np.save(args.out / "crops" / file, crops_of(planes, args.crop, args.crops))
        except OSError as error:
            raise OutputError(f"cannot write {args.out / 'crops' / file}: {error.strerror or error}") from None
        kind = "noisy" if one.noisy_target else "reference"
        where = str(one.noisy.resolve()), str(one.target.resolve())
        values = (file, one.scene, "train", noisy.encoding, kind, int(demodulate), *where, json.dumps(roles))
        rows.append(dict(zip(pairs.COLUMNS, values, strict=True)))
    if not rows:
        raise InputError(f"no pair can be used: {left_out[0] if left_out else args.noisy}")
    chosen = tuple(name.strip() for name in args.held_out.split(",") if name.strip())
    held = hold_out((row["scene"] for row in rows), args.val, chosen)
    rows = [row | {"split": "val" if row["scene"] in held else "train"} for row in rows]
    write_csv(args.out / "pairs.csv", pairs.COLUMNS, rows)
    return left_out
