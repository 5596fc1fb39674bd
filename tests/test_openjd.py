"""The farm's job template under OpenJD's own runtime: chunks, progress, a killed task, a cancelled one."""

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import OpenEXR
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mdenoise import atomic, sequences
from mdenoise.cli import farm_lines

from .processes import alive, children_of, holding, wait_for

model = pytest.importorskip("openjd.model", reason="needs openjd-cli: pip install openjd-cli")
sessions = pytest.importorskip("openjd.sessions", reason="needs openjd-cli: pip install openjd-cli")

TEMPLATE = Path(__file__).resolve().parent.parent / "integrations" / "openjd" / "mdenoise.template.yaml"
SCRIPTS = Path(sys.executable).parent
EXTENSIONS = ["TASK_CHUNKING"]

pytestmark = pytest.mark.skipif(
    not (SCRIPTS / "openjd").exists() or not (SCRIPTS / "mdenoise").exists(),
    reason="needs the commands openjd and mdenoise beside this Python",
)


def render(path, size, seed):
    """A noisy frame with guides as Cycles names them, and an id that must come through."""
    rng = np.random.default_rng(seed)
    ramp = np.linspace(0.2, 1.0, size, dtype=np.float32) * np.ones((size, 1), np.float32)
    noisy = (ramp[..., None] * rng.gamma(2.0, 0.5, (size, size, 3))).astype(np.float32)
    planes = {f"ViewLayer.Combined.{c}": noisy[..., i] for i, c in enumerate("RGB")}
    planes |= {f"ViewLayer.Denoising Albedo.{c}": np.full((size, size), 0.5, np.float32) for c in "RGB"}
    planes["ViewLayer.IndexOB.X"] = rng.random((size, size)).astype(np.float32)
    OpenEXR.File({"compression": OpenEXR.ZIP_COMPRESSION, "type": OpenEXR.scanlineimage}, planes).write(str(path))


def content(path):
    """Pixels by channel, as bytes, and what the file says of its making."""
    with OpenEXR.File(str(path), separate_channels=True) as file:
        planes = {name: np.array(channel.pixels).tobytes() for name, channel in file.parts[0].channels.items()}
        return planes, {key: value for key, value in file.parts[0].header.items() if key.startswith("mdenoise:")}


def environment():
    return os.environ | {"PATH": f"{SCRIPTS}{os.pathsep}{os.environ['PATH']}"}


def parameters(rendered, out, **more):
    return {"InputDir": str(rendered), "InputPattern": "shot.####.exr", "OutputDir": str(out)} | more


def openjd(given_parameters, *more):
    command = [SCRIPTS / "openjd", "run", TEMPLATE, "--step", "Denoise"]
    for name, value in given_parameters.items():
        command += ["-p", f"{name}={value}"]
    return [*map(str, command), *more]


def run(command):
    return subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=800, check=False)


@pytest.fixture(scope="module")
def rendered(tmp_path_factory):
    """Twelve frames; writing a result takes long enough to be seen at it."""
    folder = tmp_path_factory.mktemp("rendered")
    for frame in range(1, 13):
        render(folder / f"shot.{frame:04d}.exr", 384, frame)
    return folder


@pytest.fixture(scope="module")
def expected(rendered, tmp_path_factory):
    """The same frames by one plain command: name -> content."""
    out = tmp_path_factory.mktemp("expected")
    done = run([str(SCRIPTS / "mdenoise"), str(rendered / "shot.####.exr"), "-o", f"{out}/"])
    assert done.returncode == 0, done.stderr
    return {path.name: content(path) for path in out.iterdir()}


def test_twelve_frames_in_chunks(rendered, expected, tmp_path):
    done = run(openjd(parameters(rendered, tmp_path / "out", Frames="1-12", FramesPerTask="4")))
    assert done.returncode == 0, done.stdout
    assert re.findall(r"Frames\(CHUNK\[INT\]\) = (\S+)", done.stdout) == ["1-4", "5-8", "9-12"]
    assert {path.name: content(path) for path in (tmp_path / "out").iterdir()} == expected
    source = content(rendered / "shot.0001.exr")[0]
    result = expected["shot.0001.exr"][0]
    assert result["ViewLayer.IndexOB.X"] == source["ViewLayer.IndexOB.X"]
    assert result["ViewLayer.Combined.R"] != source["ViewLayer.Combined.R"]


def test_stepped_frames(rendered, tmp_path):
    done = run(openjd(parameters(rendered, tmp_path / "out", Frames="1-9:2,12", FramesPerTask="3")))
    assert done.returncode == 0, done.stdout
    assert "Frames(CHUNK[INT]) = 1-5:2" in done.stdout
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        f"shot.{frame:04d}.exr" for frame in (1, 3, 5, 7, 9, 12)
    ]


# One that has half a result of the fourth frame on the disk stops there.
STOPS = """
import os, signal
from mdenoise import atomic
go_on = atomic._sync
def stop(path, flags):
    if path.name.startswith(".shot.0004."):
        os.truncate(path, path.stat().st_size // 2)
        os.kill(os.getpid(), signal.SIGSTOP)
    go_on(path, flags)
atomic._sync = stop
"""


def every_python(folder, code):
    """A search path by which every Python of a job runs `code` first."""
    (folder / "site").mkdir()
    (folder / "site" / "sitecustomize.py").write_text(code)
    return str(folder / "site")


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs Linux's /proc")
def test_killed_task_is_done_by_its_next_try(rendered, expected, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    given_parameters = parameters(rendered, out, Frames="1-12", FramesPerTask="12")
    task = ["-tp", "Frames=1-12"]
    command = openjd(given_parameters, *task)
    stopping = environment() | {"PYTHONPATH": every_python(tmp_path, STOPS)}
    job = subprocess.Popen(command, env=stopping, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    half = kill_while_writing(out)
    log = job.communicate(timeout=120)[0]
    assert job.returncode != 0, log
    assert half.exists()  # a killed process cannot clean up
    whole = {path.name: path.stat() for path in out.glob("shot.*.exr")}
    assert 0 < len(whole) < 12
    assert all(content(out / name) == expected[name] for name in whole)

    again = run(openjd(given_parameters, *task))
    assert again.returncode == 0, again.stdout
    assert sorted(path.name for path in out.iterdir()) == sorted(expected)  # whole, and nothing else
    assert {path.name: content(path) for path in out.iterdir()} == expected
    for name, before in whole.items():
        after = (out / name).stat()
        assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)  # not done twice
    assert len(re.findall(rf"^\S+\s+{re.escape(str(out))}/shot", again.stdout, re.M)) == 12 - len(whole)

    third = run(openjd(given_parameters, *task))
    assert third.returncode == 0
    assert "openjd_status: nothing left to do" in third.stdout and "openjd_progress: 100" in third.stdout


def kill_while_writing(out):
    """SIGKILL the process that stopped with half of a result on the disk, when another result is whole; and before it
    the command whose worker it is, which would clear up."""
    (half,) = wait_for(lambda: list(out.glob("shot.*.exr")) and list(out.glob(".shot.0004.*.tmp")))
    writer = int(half.name.split(".")[-3])
    _, command = wait_for(lambda: (facts := process_facts(writer))[0] == "T" and facts)
    workers = children_of(command)
    for process in (command, writer):
        os.kill(process, signal.SIGKILL)
    wait_for(lambda: not any(map(alive, workers)))  # they notice, and could write until then
    return half


def process_facts(pid):
    """How a process is, and whose child it is."""
    state, parent = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[:2]
    return state, int(parent)


class Task:
    """One task in an OpenJD session, as a worker agent runs it; `seen` are the states that the agent is told."""

    def __init__(self, monkeypatch, given_parameters, frames):
        monkeypatch.setenv("PATH", environment()["PATH"])
        import yaml

        template = model.decode_job_template(
            template=yaml.safe_load(TEMPLATE.read_text()), supported_extensions=EXTENSIONS
        )
        values = model.preprocess_job_parameters(
            job_template=template,
            job_parameter_values=given_parameters,
            job_template_dir=TEMPLATE.parent,
            current_working_dir=Path.cwd(),
        )
        self.job = model.create_job(job_template=template, job_parameter_values=values)
        self.seen = []
        self.session = sessions.Session(
            session_id="test",
            job_parameter_values=values,
            callback=lambda _, status: self.seen.append(status),
            revision_extensions=model.RevisionExtensions(
                spec_rev=model.SpecificationRevision.v2023_09, supported_extensions=EXTENSIONS
            ),
        )
        kind = model.ParameterValueType.CHUNK_INT
        self.session.run_task(
            step_script=self.job.steps[0].script,
            task_parameter_values={"Frames": model.ParameterValue(type=kind, value=frames)},
        )

    def wait_for(self, condition):
        wait_for(lambda: condition(self.seen))

    def end(self):
        self.wait_for(lambda seen: self.session.action_status.state.name != "RUNNING")
        self.wait_for(lambda seen: self.session.state.name != "RUNNING")
        status = self.session.action_status
        self.session.cleanup()
        return status


def test_progress_and_status_reach_the_agent(monkeypatch, rendered, tmp_path):
    task = Task(monkeypatch, parameters(rendered, tmp_path / "out"), "3-6")
    status = task.end()
    assert status.state.name == "SUCCESS" and status.exit_code == 0
    progress = [seen.progress for seen in task.seen if seen.progress is not None]
    assert progress == sorted(progress) and {25.0, 50.0, 75.0, 100.0} <= set(progress)
    said = {seen.status_message for seen in task.seen if seen.status_message}
    # Of lines that come within one look of the agent the last one counts.
    assert "4/4 shot.0006.exr" in said and said <= {f"{i + 1}/4 shot.{i + 3:04d}.exr" for i in range(4)}


def test_reason_of_a_failure_reaches_the_agent(monkeypatch, rendered, tmp_path):
    status = Task(monkeypatch, parameters(rendered, tmp_path / "out"), "11-14").end()
    assert status.state.name == "FAILED" and status.exit_code == 1
    assert "2 of 4 files failed" in status.fail_message and "shot.0013.exr: No such file" in status.fail_message
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["shot.0011.exr", "shot.0012.exr"]

    status = Task(monkeypatch, parameters(rendered, tmp_path / "two", Device="cuda:7"), "1-2").end()
    assert status.state.name == "FAILED" and "cuda" in status.fail_message


def test_cancelled_task_leaves_whole_files_only(monkeypatch, rendered, expected, tmp_path):
    out = tmp_path / "out"
    monkeypatch.setenv("PYTHONPATH", every_python(tmp_path, holding("shot.0012.exr")))
    task = Task(monkeypatch, parameters(rendered, out), "1-12")
    task.wait_for(lambda seen: any(status.progress for status in seen))
    task.session.cancel_action()
    status = task.end()
    assert status.state.name == "CANCELED"
    left = {path.name: content(path) for path in out.iterdir()}
    assert len(left) < 12 and all(expected[name] == found for name, found in left.items())


@settings(max_examples=200, deadline=None)
@given(st.sets(st.integers(-50, 300), min_size=1, max_size=30))
def test_frames_of_a_chunk_are_read_as_openjd_means_them(numbers):
    text = str(model.IntRangeExpr.from_list(sorted(numbers)))
    assert sorted(sequences.frame_range(farm_lines.frames(text))) == sorted(numbers)


def test_parameters_reach_the_result(rendered, tmp_path):
    """Every pixel option of the template ends up in the options that the result records."""
    given_parameters = parameters(
        rendered, tmp_path / "out", Frames="1", Strength="0.5", Quality="fast", Layers="additive", Device="cpu"
    )
    done = run(openjd(given_parameters))
    assert done.returncode == 0, done.stdout
    stamp = json.dumps(content(tmp_path / "out" / "shot.0001.exr")[1])
    assert all(part in stamp for part in ("strength=0.5", "quality=fast", "layers=additive", "device=cpu"))


def test_sweep_takes_leftovers_of_its_own_file_only(tmp_path):
    mine, other = ".shot.0001.exr.123.0a1b2c3d.tmp", ".shot.0002.exr.123.0a1b2c3d.tmp"
    keep = ["shot.0001.exr", other, ".shot.0001.exr.tmp", ".shot.0001.exr.x.0a1b2c3d.tmp", f"{mine}2"]
    for name in (mine, *keep):
        (tmp_path / name).write_bytes(b"x")
    atomic.sweep(tmp_path / "shot.0001.exr")
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(keep)
    atomic.sweep(tmp_path / "no such folder" / "shot.0001.exr")


def test_bundle_is_a_job_that_openjd_runs(rendered, expected, tmp_path):
    bundle, out = tmp_path / "bundle", tmp_path / "out"
    command = [str(SCRIPTS / "mdenoise"), "farm", "bundle", str(bundle), str(rendered / "shot.####.exr")]
    done = run([*command, "-o", str(out), "-f", "1-5x2,12", "--frames-per-task", "2"])
    assert done.returncode == 0 and done.stdout == f"{bundle}\n", done.stderr
    values = json.loads((bundle / "parameter_values.json").read_text())["parameterValues"]
    given_parameters = json.dumps({entry["name"]: entry["value"] for entry in values})
    job = [str(SCRIPTS / "openjd"), "run", str(bundle / "template.yaml"), "--step", "Denoise", "-p", given_parameters]
    done = run(job)
    assert done.returncode == 0, done.stdout
    names = [f"shot.{frame:04d}.exr" for frame in (1, 3, 5, 12)]
    assert {path.name: content(path) for path in out.iterdir()} == {name: expected[name] for name in names}


def test_template_command_prints_a_valid_template(tmp_path):
    done = run([str(SCRIPTS / "mdenoise"), "farm", "template"])
    assert done.returncode == 0
    (tmp_path / "t.yaml").write_text(done.stdout)
    assert run([str(SCRIPTS / "openjd"), "check", str(tmp_path / "t.yaml")]).returncode == 0


@pytest.mark.skipif(os.name != "posix", reason="the stand-in for the deadline command is a shell script")
def test_submit_hands_a_bundle_to_deadline(rendered, tmp_path):
    """Deadline Cloud's own command needs an account; here a stand-in keeps what it is given."""
    tool = tmp_path / "deadline"
    tool.write_text(f'#!/bin/sh\ncp -r "$3" "{tmp_path}/kept" && echo "$@" > "{tmp_path}/words"\nexit 7\n')
    tool.chmod(0o755)
    command = [
        SCRIPTS / "mdenoise",
        "farm",
        "submit",
        rendered / "shot.####.exr",
        "-o",
        tmp_path / "out",
        "-f",
        "1-12x3",
    ]
    more = ["--overwrite", "--strength", "0.5", "--", "--queue-id", "q", "--yes"]
    environment_ = os.environ | {"PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}"}
    words = [str(word) for word in [*command, *more]]
    done = subprocess.run(words, env=environment_, capture_output=True, text=True, check=False)
    assert done.returncode == 7, done.stderr
    assert re.fullmatch(r"bundle submit \S+ --queue-id q --yes\n", (tmp_path / "words").read_text())
    values = json.loads((tmp_path / "kept" / "parameter_values.json").read_text())["parameterValues"]
    assert {entry["name"]: entry["value"] for entry in values} == {
        "InputDir": str(rendered),
        "InputPattern": "shot.####.exr",
        "OutputDir": str(tmp_path / "out"),
        "Frames": "1-12:3",
        "Existing": "overwrite",
        "Strength": "0.5",
    }
    (tmp_path / "empty").mkdir()
    done = subprocess.run(
        words, env=os.environ | {"PATH": str(tmp_path / "empty")}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 5 and "pip install deadline" in done.stderr and done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (["shot.####.exr", "-o", ".", "-f", "1-4"], 2, "results keep their names"),
        (["shot.####.exr", "-o", "out", "-f", "1-4y2"], 2, "cannot read frames '1-4y2'"),
        (["shot.####.exr", "-o", "out"], 2, "--frames"),
    ],
)
def test_misuse_is_one_clear_line(tmp_path, arguments, code, text):
    words = [str(SCRIPTS / "mdenoise"), "farm", "bundle", "b", *arguments]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == code and text in done.stderr and done.stderr.count("\n") == 1, done.stderr
    assert not (tmp_path / "b").exists()
