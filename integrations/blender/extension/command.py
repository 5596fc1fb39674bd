"""The `mdenoise` program as a process: found, started, followed, stopped. Knows nothing of Blender."""

import importlib.util
import json
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

POLL_S = 0.05


class Failed(Exception):
    """What the user reads when a file was not denoised; the file is as it was."""


def find(executable=""):
    """The words that start mdenoise: the executable of the preferences, else on PATH, else Blender's Python has it."""
    if executable:
        if not shutil.which(executable):
            raise Failed(f"cannot start {executable}: no such program. Correct it in the preferences of mdenoise")
        return [executable]
    found = shutil.which("mdenoise")
    if found:
        return [found]
    if importlib.util.find_spec("mdenoise"):
        return [sys.executable, "-m", "mdenoise"]
    raise Failed(
        "cannot find mdenoise: install it (pip install mdenoise), or name its executable in the preferences of mdenoise"
    )


def ask(words, *arguments):
    """What a short command prints, e.g. `--version`."""
    try:
        done = subprocess.run(
            [*words, *arguments],
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            timeout=120,
            check=False,
            **_quietly(),
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Failed(f"cannot run {words[0]}: {error}") from None
    if done.returncode:
        raise Failed(_reason(done.stderr, done.returncode))
    return done.stdout


class Run:
    """One file being denoised: ask `done()` until it is, then `result()`; `percent` is how far it has come.

    keep     the result goes beside the file, as NAME.denoised.EXT; else it takes the file's place, once it is whole.
    """

    def __init__(self, words, path, flags, keep=True):
        self.path, self.keep, self.percent = Path(path), keep, 0
        self._temp = self.path.with_name(f".{self.path.stem}.mdenoise{self.path.suffix}")
        self._result, self._errors, self._stopped = None, [], ""
        output = [] if keep else ["-o", str(self._temp)]
        command = [*words, "--farm", "openjd", "--json", "-q", "--overwrite", *flags, *output, "--", str(self.path)]
        try:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                encoding="utf-8",
                errors="replace",
                **_quietly(),
            )
        except OSError as error:
            raise Failed(f"cannot run {words[0]}: {error.strerror or error}") from None
        self._readers = [threading.Thread(target=read, daemon=True) for read in (self._read_out, self._read_errors)]
        for reader in self._readers:
            reader.start()

    def _read_out(self):
        for line in self._process.stdout:
            if line.startswith("openjd_progress: "):
                self.percent = int(line.split()[1])
            elif line.startswith("{"):
                self._result = json.loads(line)

    def _read_errors(self):
        self._errors.extend(self._process.stderr)

    def done(self):
        return self._process.poll() is not None

    def wait(self, timeout_s):
        """Wait until it is done, and stop it when that takes too long."""
        end = time.monotonic() + timeout_s
        while not self.done():
            if time.monotonic() > end:
                self.stop(f"stopped after {timeout_s} s, the time limit in the preferences of mdenoise")
            time.sleep(POLL_S)
        return self.result()

    def stop(self, reason="cancelled"):
        self._stopped = reason
        self._process.terminate()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def result(self):
        """Path of the result. Raises Failed with the reason; the rendered file is then as it was."""
        code = self._process.wait()
        for reader in self._readers:
            reader.join()
        for stream in (self._process.stdout, self._process.stderr):
            stream.close()
        try:
            if self._stopped or code or not self._result:
                raise Failed(
                    f"{self.path.name} is not denoised: {self._stopped or _reason(''.join(self._errors), code)}"
                )
            if self.keep:
                return Path(self._result["dst"])
            try:
                self._temp.replace(self.path)
            except OSError as error:
                raise Failed(f"{self.path.name} is not denoised: cannot replace it: {error.strerror}") from None
            return self.path
        finally:
            if not self.keep:
                self._temp.unlink(missing_ok=True)


def _reason(errors, code):
    lines = [line.strip() for line in errors.splitlines() if line.strip()]
    return lines[-1].removeprefix("mdenoise: ") if lines else f"mdenoise ended with exit code {code}"


def _quietly():
    """No console window on Windows."""
    return {"creationflags": subprocess.CREATE_NO_WINDOW} if sys.platform == "win32" else {}
