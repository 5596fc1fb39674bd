"""The names that renderers give to colour, albedo, normal, depth and variance, as `layers.plain` writes them.

Within a list the first name that a frame has wins. Sources: the renderers' manuals and example files; Cycles,
Mitsuba, pbrt and LuxCore from files that they wrote.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from mdenoise.adapters.layers import Named
from mdenoise.frame import Frame

COLOR = ("combined", "", "rgba", "rgb", "beauty", "c", "ci", "color", "colour", "main", "image", "rgbcolor", "cf")
ROLES: Mapping[str, tuple[str, ...]] = {
    "albedo": (
        "denoisingalbedo",
        "denoisealbedo",
        "albedo",
        "diffusealbedo",
        "visiblediffuse",
        "vraydiffusefilter",
        "diffusefilter",
        "basecolor",
        "diffcol",
        "diffusecolor",
        "denoisealbedonoisy",
        "optixalbedo",
        "alb",
        "diffuse",
    ),
    "normal": (
        "denoisingnormal",
        "denoisenormal",
        "vraybumpnormals",
        "bumpnormals",
        "normal",
        "normals",
        "ns",
        "n",
        "nn",
        "shnormal",
        "shadingnormal",
        "shadingnormals",
        "avgshadingnormal",
        "visiblenormals",
        "vraynormals",
        "optixnormals",
        "optixnormal",
        "ndenoise",
        "nnoice",
        "geonormal",
        "geometrynormal",
        "ng",
        "hitn",
        "npref",
    ),
    "depth": (
        "denoisingdepth",
        "denoisedepth",
        "depth",
        "z",
        "zdepth",
        "vrayzdepth",
        "zfiltered",
        "znoice",
        "pz",
        "hitpz",
        "zdepthcamera",
    ),
    "variance": ("variance", "mse", "colorvariance", "beautyvariance"),
}
# User-chosen names (Mitsuba) that contain the word, unless it is another thing of that family.
WORDS = {"albedo": "albedo", "normal": "normal", "depth": "depth"}
NOT_THAT = re.compile(r"var$|mse$|variance|specular|transmission|coat|sheen|sss|subsurface|refl|refr|focus|^m2")

DENOISED = re.compile(r"denois|effectsresult")
_DATA = re.compile(
    r"crypto|normal|albedo|basecolor|depth|position|pref$|^(n|ns|ng|nn|p|pw|pp|z|zd|st|uv|v|alb)$|pworld|worldp"
    r"|motion|velocity|vector|^forward|^backward|disparity|texcoord|^id$|(object|material|mat|instance|node|render|"
    r"asset|multimatte)id|index|mask|matte|variance|mse$|_?var$|sample|debug|filter$|(diff|gloss|trans|subsurface)col$"
    r"|(diffuse|glossy|transmission|subsurface)color$|denois|noiselevel|^m2|tangent|wire|^hit|mist$|noisy|defocus"
)
LIT_SIBLING = re.compile(
    r"^(specular|direct|indirect|emission|sss|coat|sheen|transmission|volume|gi|lighting|reflect(ions?)?|"
    r"refract(ions?)?|(diffuse|specular|glossy)_?(direct|indirect)|(direct|indirect)_?(diffuse|specular|glossy))$"
)

_FINGERPRINTS = (  # attribute name (a prefix when it ends in / or :), text in its value, renderer
    ("generatedBy", "mitsuba", "Mitsuba"),
    ("BlenderMultiChannel", "", "Cycles"),
    ("cycles.", "", "Cycles"),
    ("arnold/", "", "Arnold"),
    ("vrayInfo/", "", "V-Ray"),
    ("rs/", "", "Redshift"),
    ("husk:", "", "Karma"),
    ("karma:", "", "Karma"),
    ("renderman/", "", "RenderMan"),
    ("rmn_", "", "RenderMan"),
    ("rman", "", "RenderMan"),
    ("moonray", "", "MoonRay"),
    ("corona", "", "Corona"),
    ("octane", "", "Octane"),
    ("pbrt", "", "pbrt"),
)
_SOFTWARE = (
    ("arnold", "Arnold"),
    ("v-ray", "V-Ray"),
    ("vray", "V-Ray"),
    ("redshift", "Redshift"),
    ("karma", "Karma"),
    ("mantra", "Mantra"),
    ("renderman", "RenderMan"),
    ("prman", "RenderMan"),
    ("octane", "Octane"),
    ("corona", "Corona"),
    ("moonray", "MoonRay"),
    ("pbrt", "pbrt"),
    ("luxcore", "LuxCore"),
    ("mitsuba", "Mitsuba"),
    ("appleseed", "appleseed"),
    ("blender", "Cycles"),
)
_BY_LAYER = (
    ("denoisingalbedo", "Cycles"),
    ("denoisingnormal", "Cycles"),
    ("noisyimage", "Cycles"),
    ("vraydiffusefilter", "V-Ray"),
    ("vraybumpnormals", "V-Ray"),
    ("vraynormals", "V-Ray"),
    ("visiblenormals", "Corona"),
    ("visiblediffuse", "Corona"),
    ("ci", "RenderMan"),
    ("zfiltered", "RenderMan"),
    ("avgshadingnormal", "LuxCore"),
)
LIT_DIFFUSE = ("Arnold", "RenderMan", "Karma", "Mantra")


def is_data(key: str) -> bool:
    """True for the key of a layer that is no light: an id, a position, a normal, an albedo."""
    return bool(_DATA.search(key))


def readable(value: object) -> str:
    """An attribute in lower case, "" where it is bytes that are no text."""
    try:
        return str(value).lower()
    except UnicodeDecodeError:  # of a type that the library does not know
        return ""


def renderer_of(frame: Frame, named: Sequence[Named]) -> str:
    for part in frame.parts:
        for start, text, renderer in _FINGERPRINTS:
            for name, value in part.header.items():
                if name.startswith(start) and text in readable(value):
                    return renderer
        for name in ("Software", "software", "exr:Software", "renderer", "comments"):
            value = readable(part.header.get(name, ""))
            for text, renderer in _SOFTWARE:
                if text in value:
                    return renderer
    keys = {one.key for one in named}
    return next((renderer for key, renderer in _BY_LAYER if key in keys), "")
