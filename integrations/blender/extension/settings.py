"""What the user sets: per scene in the render properties, per machine in the preferences."""

import bpy
from bpy.props import BoolProperty, EnumProperty, FloatProperty, IntProperty, StringProperty

EXR = {"OPEN_EXR", "OPEN_EXR_MULTILAYER"}
_CYCLES_PASS = "denoising_store_passes"
_OTHER_PASSES = ("use_pass_diffuse_color", "use_pass_normal")


def _switch_passes(settings, context):
    """Switch on the passes that help, and remember which, to switch off again no other than those."""
    scene = settings.id_data
    if settings.enabled:
        added = [f"{layer.name}\t{name}" for layer in scene.view_layers for name in _missing(scene, layer)]
        for entry in added:
            _set_pass(scene, *entry.split("\t"), True)
        settings.added = "\n".join(added)
    else:
        for entry in filter(None, settings.added.split("\n")):
            _set_pass(scene, *entry.split("\t"), False)
        settings.added = ""


def _missing(scene, layer):
    if scene.render.engine == "CYCLES":
        return [] if getattr(layer.cycles, _CYCLES_PASS) else [_CYCLES_PASS]
    return [name for name in _OTHER_PASSES if not getattr(layer, name)]


def _set_pass(scene, layer_name, name, value):
    layer = scene.view_layers.get(layer_name)
    if layer is not None:
        setattr(layer.cycles if name == _CYCLES_PASS else layer, name, value)


def notes(scene):
    """What the user should know about this scene, one line each."""
    settings = scene.mdenoise
    found = []
    layers = sorted({entry.split("\t")[0] for entry in filter(None, settings.added.split("\n"))})
    if layers:
        found.append(f"Albedo and normal passes switched on: {', '.join(layers)}")
    without = [layer.name for layer in scene.view_layers if layer.use and _missing(scene, layer)]
    if without:
        found.append(f"No albedo or normal pass, with which it is better: {', '.join(without)}")
    if scene.render.is_movie_format or scene.render.image_settings.file_format not in EXR:
        found.append("Output is not OpenEXR: frames will not be denoised")
    elif scene.render.image_settings.file_format != "OPEN_EXR_MULTILAYER":
        found.append("Output has no passes: OpenEXR MultiLayer gives better results")
    return found


def flags(settings):
    """The settings as options of the mdenoise command."""
    return [
        f"--quality={settings.quality}",
        f"--strength={settings.strength:.6g}",
        f"--layers={settings.layers}",
        f"--device={settings.device or 'auto'}",
    ]


class MDenoiseSettings(bpy.types.PropertyGroup):
    enabled: BoolProperty(
        name="Denoise with mdenoise",
        default=False,
        update=_switch_passes,
        description="Denoise every frame when it has been written; albedo and normal passes are switched on for it",
    )
    quality: EnumProperty(
        name="Quality",
        default="balanced",
        items=[
            ("fast", "Fast", "Less time"),
            ("balanced", "Balanced", "The usual choice"),
            ("best", "Best", "More passes, more time"),
        ],
    )
    strength: FloatProperty(
        name="Strength",
        default=1.0,
        min=0.0,
        max=1.0,
        subtype="FACTOR",
        description="Blend of the frame as rendered (0) and denoised (1)",
    )
    layers: EnumProperty(
        name="Layers",
        default="beauty",
        description="What is denoised; all else is kept as it was rendered",
        items=[
            ("beauty", "Beauty", "The combined image"),
            ("additive", "Additive", "Light passes and light groups, too: they still add up to the beauty"),
            ("all", "All", "Every colour pass"),
        ],
    )
    keep_original: BoolProperty(
        name="Keep Original",
        default=True,
        description="Write NAME.denoised.exr beside the rendered file; else the result takes the file's place",
    )
    device: StringProperty(name="Device", default="auto", description="auto, cpu, cuda or cuda:N")
    added: StringProperty(options={"HIDDEN"})


class MDenoisePreferences(bpy.types.AddonPreferences):
    bl_idname = __package__

    executable: StringProperty(
        name="Executable",
        subtype="FILE_PATH",
        description="The mdenoise program; empty: the one on PATH",
    )
    timeout_s: IntProperty(
        name="Time Limit",
        default=900,
        min=1,
        subtype="TIME_ABSOLUTE",
        description="Seconds after which the denoising of one frame is given up",
    )

    def draw(self, context):
        self.layout.prop(self, "executable")
        self.layout.prop(self, "timeout_s")
        self.layout.operator("mdenoise.check")


def preferences():
    return bpy.context.preferences.addons[__package__].preferences


CLASSES = (MDenoiseSettings, MDenoisePreferences)
