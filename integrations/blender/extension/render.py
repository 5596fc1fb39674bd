"""Frames are denoised when Blender has written them; a failure is reported and never costs a render."""

import sys
from pathlib import Path

import bpy
from bpy.app.handlers import persistent

from . import command, settings

messages = []  # of the running or last render: ("INFO" or "ERROR", text)


@persistent
def _on_start(scene, _=None):
    messages.clear()


@persistent
def _on_write(scene, _=None):
    if not scene.mdenoise.enabled:
        return
    try:
        if scene.render.image_settings.file_format not in settings.EXR:
            raise command.Failed("frames are not denoised: set the output to OpenEXR, best OpenEXR MultiLayer")
        preferences = settings.preferences()
        words = command.find(bpy.path.abspath(preferences.executable))
        for path in written_files(scene):
            run = command.Run(words, path, settings.flags(scene.mdenoise), scene.mdenoise.keep_original)
            say("INFO", f"denoised {run.wait(preferences.timeout_s)}")
    except command.Failed as error:
        say("ERROR", str(error))


def written_files(scene):
    """Files of the frame that was just written, one a view.

    For animations `frame_path` tells; for stills Blender writes the plain path, and does not expand # in it. The
    handler is not told which of the two it is, so the newer file is the one. Raises Failed when there is none.
    """
    render = scene.render
    plain = bpy.path.abspath(render.filepath)
    if render.use_file_extension and not plain.lower().endswith(render.file_extension):
        plain += render.file_extension
    plain = Path(plain)
    views = [("", "")]
    if render.use_multiview and render.image_settings.views_format == "INDIVIDUAL":
        views = [(view.name, view.file_suffix) for view in render.views if view.use]
    found = []
    for name, suffix in views:
        frame = Path(render.frame_path(frame=scene.frame_current, view=name))
        still = plain.with_name(f"{plain.stem}{suffix}{plain.suffix}")
        there = [path for path in (frame, still) if path.is_file()]
        if not there:
            raise command.Failed(f"{frame.name} is not denoised: Blender wrote no such file")
        found.append(max(there, key=lambda path: path.stat().st_mtime_ns))
    return found


def say(level, text):
    """Into the log, the panel, and for errors, where there is a window, the status bar."""
    messages.append((level, text))
    sys.stderr.write(f"mdenoise: {text}\n")
    sys.stderr.flush()
    if level == "ERROR" and not bpy.app.background and not bpy.app.timers.is_registered(_show_error):
        bpy.app.timers.register(_show_error)  # reports are for the main thread, and for operators


def _show_error():
    errors = [text for level, text in messages if level == "ERROR"]
    if errors:
        bpy.ops.mdenoise.report("INVOKE_DEFAULT", text=errors[-1])


_HANDLERS = (("render_init", _on_start), ("render_write", _on_write))


def add_handlers():
    for name, handler in _HANDLERS:
        getattr(bpy.app.handlers, name).append(handler)


def remove_handlers():
    for name, handler in _HANDLERS:
        handlers = getattr(bpy.app.handlers, name)
        if handler in handlers:
            handlers.remove(handler)
    if bpy.app.timers.is_registered(_show_error):
        bpy.app.timers.unregister(_show_error)
    messages.clear()
