"""mdenoise in Blender: finished frames of renders are denoised by the `mdenoise` program, outside of Blender's Python.

Nothing is installed into Blender: install mdenoise with pip anywhere, and name its executable in the preferences of
this add-on when it is not on PATH.
"""

import bpy

from . import operators, panel, render, settings

_CLASSES = (*settings.CLASSES, *operators.CLASSES, *panel.CLASSES)


def register():
    for kind in _CLASSES:
        bpy.utils.register_class(kind)
    bpy.types.Scene.mdenoise = bpy.props.PointerProperty(type=settings.MDenoiseSettings)
    render.add_handlers()


def unregister():
    render.remove_handlers()
    del bpy.types.Scene.mdenoise
    for kind in reversed(_CLASSES):
        bpy.utils.unregister_class(kind)
