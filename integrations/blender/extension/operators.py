"""Denoise a file, or the Render Result, on request; with a window in the background, with progress and Esc."""

import json
import shutil
import tempfile
from pathlib import Path

import bpy
from bpy.props import StringProperty

from . import command, settings

RESULT_NAME = "Denoised Render"
_FORMAT = ("media_type", "file_format", "color_mode", "color_depth", "exr_codec")  # in the order they must be set


class _Following:
    """An operator that starts a run and follows it: `begin(context)` gives the run, `finish(path)` takes the result."""

    def execute(self, context):
        try:
            self._run = self.begin(context)
            if bpy.app.background or context.window is None:
                self.finish(self._run.wait(settings.preferences().timeout_s))
                return {"FINISHED"}
        except command.Failed as error:
            return self._fail(error)
        manager = context.window_manager
        self._timer = manager.event_timer_add(0.1, window=context.window)
        manager.progress_begin(0, 100)
        manager.modal_handler_add(self)
        return {"RUNNING_MODAL"}

    def modal(self, context, event):
        if event.type == "ESC":
            self._run.stop()
        if not self._run.done():
            context.window_manager.progress_update(self._run.percent)
            context.workspace.status_text_set(f"mdenoise: {self._run.percent} %   Esc: Cancel")
            return {"RUNNING_MODAL"} if event.type in ("TIMER", "ESC") else {"PASS_THROUGH"}
        context.window_manager.event_timer_remove(self._timer)
        context.window_manager.progress_end()
        context.workspace.status_text_set(None)
        try:
            self.finish(self._run.result())
        except command.Failed as error:
            return self._fail(error)
        return {"FINISHED"}

    def _fail(self, error):
        self.clean_up()
        self.report({"ERROR"}, str(error))
        return {"CANCELLED"}

    def clean_up(self):
        pass


class MDENOISE_OT_file(_Following, bpy.types.Operator):
    bl_idname = "mdenoise.denoise_file"
    bl_label = "Denoise File"
    bl_description = "Denoise an OpenEXR file on the disk with the settings of this scene"

    filepath: StringProperty(subtype="FILE_PATH")
    filter_glob: StringProperty(default="*.exr", options={"HIDDEN"})

    def invoke(self, context, event):
        context.window_manager.fileselect_add(self)
        return {"RUNNING_MODAL"}

    def begin(self, context):
        options = context.scene.mdenoise
        words = command.find(bpy.path.abspath(settings.preferences().executable))
        return command.Run(words, bpy.path.abspath(self.filepath), settings.flags(options), options.keep_original)

    def finish(self, path):
        self.report({"INFO"}, f"Denoised {path}")


class MDENOISE_OT_result(_Following, bpy.types.Operator):
    bl_idname = "mdenoise.denoise_result"
    bl_label = "Denoise Render Result"
    bl_description = "Denoise the last render into a new image; the Render Result stays as it is"

    @classmethod
    def poll(cls, context):
        return "Render Result" in bpy.data.images

    def begin(self, context):
        words = command.find(bpy.path.abspath(settings.preferences().executable))
        self._folder = Path(tempfile.mkdtemp(prefix="mdenoise-"))
        color, passes = self._folder / "render.exr", self._folder / "passes.exr"
        save_result(context.scene, color, "OPEN_EXR")
        save_result(context.scene, passes, "OPEN_EXR_MULTILAYER")
        # Blender loads no pixels of a multi-part file: the plain picture is denoised, the passes guide.
        roles = json.loads(command.ask(words, "info", "--json", str(passes)))["images"]
        guides = [
            f"--{role}={passes}:{roles[0]['roles'][role]}"
            for role in ("albedo", "normal", "depth")
            if roles and role in roles[0]["roles"]
        ]
        flags = [flag for flag in settings.flags(context.scene.mdenoise) if not flag.startswith("--layers")]
        return command.Run(words, color, [*flags, *guides])

    def finish(self, path):
        before = bpy.data.images.get(RESULT_NAME)
        image = bpy.data.images.load(str(path))
        image.pack()
        if before is not None:
            before.user_remap(image)
            bpy.data.images.remove(before)
        image.name = RESULT_NAME
        self.clean_up()
        self.report({"INFO"}, f"The result is the image {RESULT_NAME}")

    def clean_up(self):
        if hasattr(self, "_folder"):
            shutil.rmtree(self._folder, ignore_errors=True)


def save_result(scene, path, file_format):
    """Save the Render Result as 32-bit OpenEXR, whatever the scene's output is. Raises Failed when there is none."""
    format_ = scene.render.image_settings
    before = {name: getattr(format_, name) for name in _FORMAT if hasattr(format_, name)}
    try:
        if "media_type" in before:  # Blender 5
            format_.media_type = "MULTI_LAYER_IMAGE" if file_format == "OPEN_EXR_MULTILAYER" else "IMAGE"
        format_.file_format = file_format
        format_.color_depth, format_.exr_codec = "32", "ZIP"
        if file_format == "OPEN_EXR":
            format_.color_mode = "RGBA"
        bpy.data.images["Render Result"].save_render(str(path), scene=scene)
    except RuntimeError as error:
        raise command.Failed(f"the Render Result is not denoised: {str(error).strip()}") from None
    finally:
        for name, value in before.items():
            setattr(format_, name, value)


class MDENOISE_OT_multilayer(bpy.types.Operator):
    bl_idname = "mdenoise.use_multilayer"
    bl_label = "Use OpenEXR MultiLayer"
    bl_description = "Write frames with their passes, which the denoiser can then use"

    def execute(self, context):
        format_ = context.scene.render.image_settings
        if hasattr(format_, "media_type"):
            format_.media_type = "MULTI_LAYER_IMAGE"
        format_.file_format = "OPEN_EXR_MULTILAYER"
        return {"FINISHED"}


class MDENOISE_OT_check(bpy.types.Operator):
    bl_idname = "mdenoise.check"
    bl_label = "Check mdenoise"
    bl_description = "Start the mdenoise program and show its version"

    def execute(self, context):
        try:
            words = command.find(bpy.path.abspath(settings.preferences().executable))
            self.report({"INFO"}, f"{command.ask(words, '--version').strip()}: {' '.join(words)}")
        except command.Failed as error:
            self.report({"ERROR"}, str(error))
            return {"CANCELLED"}
        return {"FINISHED"}


class MDENOISE_OT_report(bpy.types.Operator):
    bl_idname = "mdenoise.report"
    bl_label = "mdenoise"
    bl_options = {"INTERNAL"}  # noqa: RUF012 (Blender wants a set)

    text: StringProperty()

    def invoke(self, context, event):
        self.report({"ERROR"}, self.text)
        return {"FINISHED"}


CLASSES = (MDENOISE_OT_file, MDENOISE_OT_result, MDENOISE_OT_multilayer, MDENOISE_OT_check, MDENOISE_OT_report)
