"""The panel in the render properties."""

import bpy

from . import render, settings


class RENDER_PT_mdenoise(bpy.types.Panel):
    bl_label = "mdenoise"
    bl_space_type = "PROPERTIES"
    bl_region_type = "WINDOW"
    bl_context = "render"
    bl_options = {"DEFAULT_CLOSED"}  # noqa: RUF012 (Blender wants a set)

    def draw_header(self, context):
        self.layout.prop(context.scene.mdenoise, "enabled", text="")

    def draw(self, context):
        options = context.scene.mdenoise
        layout = self.layout
        layout.use_property_split = True
        column = layout.column()
        for name in ("quality", "strength", "layers", "keep_original", "device"):
            column.prop(options, name)
        if options.enabled:
            for note in settings.notes(context.scene):
                layout.label(text=note, icon="INFO")
            if context.scene.render.image_settings.file_format != "OPEN_EXR_MULTILAYER":
                layout.operator("mdenoise.use_multilayer")
        layout.operator("mdenoise.denoise_result")
        layout.operator("mdenoise.denoise_file")
        for level, text in render.messages[-3:]:
            layout.label(text=text, icon="ERROR" if level == "ERROR" else "CHECKMARK")


CLASSES = (RENDER_PT_mdenoise,)
