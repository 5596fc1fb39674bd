"""The folder `.mdenoise` in OUT: what workers, on one machine or many, tell each other about one watched folder.

    root           marks OUT, so that the empty mount point of a disk that is away is not taken for it
    claims/KEY     who is at work on a file: a lease, judged by each contender on its own clock
    tries/KEY      attempts begun at a version of a file, written before the work
    failed/KEY     why a version of a file is left alone
    work/KEY.N/    what the holder of claim N writes, until it is published
    journal/       history, see spool_journal

Which files are done is not in here: their results say it. Without this folder nothing is lost but counts and reasons.
Claims only save work: two workers that both believe in one publish the same pixels, each in one step.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import threading
import time
from contextlib import suppress
from pathlib import Path

from mdenoise import atomic
from mdenoise.errors import OutputError
from mdenoise.spool_owner import Owner, is_dead, myself
from mdenoise.spool_records import Record, entries, key_of, nonce_of, owner_of, parse, read, read_record

FOLDER = ".mdenoise"
_PARTS = ("claims", "tries", "failed", "work", "journal")
_PROBE_BYTES = 2**16


class Claim:
    """One file held by this process; leaving the `with` block gives it up and removes what was being made.

    A thread rewrites the claim every quarter of the lease, in the very file that was created and not by its name: a
    claim that was taken away is not taken back.
    """

    def __init__(self, path: Path, folder: Path, descriptor: int, owner: Owner, nonce: str, lease_s: float) -> None:
        self.path, self.folder, self.nonce = path, folder, nonce
        self._descriptor, self._owner, self._lease_s = descriptor, owner, lease_s
        self._ended = threading.Event()
        self._write(0)
        self._thread = threading.Thread(target=self._beat, daemon=True)
        self._thread.start()

    def __enter__(self) -> Claim:
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()
        os.close(self._descriptor)
        shutil.rmtree(self.folder, ignore_errors=True)  # before the claim goes: no work without a claim
        with suppress(OSError):
            if self.is_held():
                self.path.unlink()

    def is_held(self) -> bool:
        """Whether the claim is still ours; what its holder made is dropped when not."""
        return nonce_of(read(self.path)) == self.nonce

    def put(self, part: str, record: Record) -> None:
        """Write the record of the claimed file in one step, lasting. Raises OSError."""
        made = self.folder / "record"
        made.write_text(json.dumps(vars(record)))
        atomic.adopt(made, self.path.parent.parent / part / self.path.name, overwrite=True)

    def drop(self, part: str) -> None:
        """Remove the record of the claimed file, if there is one."""
        (self.path.parent.parent / part / self.path.name).unlink(missing_ok=True)

    def _write(self, beat: int) -> None:
        text = json.dumps(vars(self._owner) | {"nonce": self.nonce, "beat": f"{beat:012d}"})
        os.pwrite(self._descriptor, text.encode(), 0)
        os.fsync(self._descriptor)

    def _beat(self) -> None:
        beat = 0
        while not self._ended.wait(self._lease_s / 4):
            beat += 1
            with suppress(OSError):  # a full disk, a share that is away: the lease may run out, and `is_held` tells
                self._write(beat)


class Spool:
    """The claims and records of one OUT. Not for several threads."""

    def __init__(self, out: Path, lease_s: float = 60.0) -> None:
        """Raises OutputError when the folder cannot be made."""
        self.out, self.folder, self.lease_s = out, out / FOLDER, lease_s
        self.owner = myself()
        self._seen: dict[str, tuple[bytes, float]] = {}  # what others wrote, and since when on this clock
        self._cache: dict[str, dict[str, tuple[tuple[int, int], Record | None]]] = {}
        self._device = 0
        self._make()

    def check(self) -> None:
        """Raises OutputError while OUT is away; a folder that somebody deleted is made anew."""
        try:
            self._device = (self.folder / "root").stat().st_dev
            return
        except OSError:
            near = next(path for path in (self.out, *self.out.absolute().parents) if path.exists())
        if near.stat().st_dev != self._device:
            raise OutputError(f"cannot write to {self.out}: it is away, as a disk or share that is not mounted")
        self._make()

    def take(self, name: str) -> Claim | None:
        """Claim a file; None while another holds it. Raises OSError when OUT cannot be written."""
        path = self.folder / "claims" / key_of(name)
        for _ in range(2):
            try:
                descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
            except FileExistsError:
                if not self._free(path):
                    return None
                continue
            nonce = secrets.token_hex(8)
            folder = self.folder / "work" / f"{path.name}.{nonce}"
            try:
                claim = Claim(path, folder, descriptor, self.owner, nonce, self.lease_s)
            except OSError:  # a full disk
                os.close(descriptor)
                path.unlink(missing_ok=True)
                raise
            try:
                folder.mkdir()
            except OSError:
                claim.__exit__()
                raise
            return claim
        return None

    def sweep(self) -> None:
        """Remove claims whose holders are gone, and what killed processes left. Holds no claim meanwhile."""
        for path in entries(self.folder / "claims"):
            if path.name.startswith("."):  # of somebody killed while taking a claim away
                if self._is_old(path.name, read(path)):
                    path.unlink(missing_ok=True)
            else:
                self._free(path)
        for path in entries(self.folder / "work"):
            key, _, nonce = path.name.partition(".")
            held = nonce_of(read(self.folder / "claims" / key)) == nonce
            if not held and self._is_old(path.name, b""):
                shutil.rmtree(path, ignore_errors=True)

    def records(self, part: str) -> dict[str, Record]:
        """All records of "tries" or "failed", by key; those that cannot be read are left out. Raises OSError."""
        before, now = self._cache.get(part, {}), {}
        with os.scandir(self.folder / part) as listing:
            for entry in listing:
                with suppress(FileNotFoundError):
                    info = entry.stat()
                    version = (info.st_mtime_ns, info.st_ino)
                    known = before.get(entry.name)
                    now[entry.name] = (
                        known if known and known[0] == version else (version, read_record(Path(entry.path)))
                    )
        self._cache[part] = now
        return {key: record for key, (_, record) in now.items() if record is not None}

    def is_due(self, record: Record) -> bool:
        """Whether the pause after a failed attempt is over, counted from when this process first saw the record."""
        return record.wait_s <= 0 or self._is_old(
            f"tries/{key_of(record.source)}", repr(record).encode(), record.wait_s
        )

    def trouble(self, claim: Claim, need_bytes: int) -> str | None:
        """Why OUT takes no file of this size now; None when it does. Not by the error of a write: writers word it."""
        probe = claim.folder / "probe"
        try:
            free = shutil.disk_usage(self.out).free
            with probe.open("wb") as file:
                file.write(b"\1" * _PROBE_BYTES)
                file.flush()
                os.fsync(file.fileno())
            probe.unlink()
        except OSError as error:
            return error.strerror or str(error)
        return f"only {free // 2**20} MiB are free" if free < need_bytes else None

    def _make(self) -> None:
        try:
            for part in _PARTS:
                (self.folder / part).mkdir(parents=True, exist_ok=True)
            root = self.folder / "root"
            root.touch()
            self._device = root.stat().st_dev
        except OSError as error:
            raise OutputError(f"cannot write to {self.out}: {error.strerror}") from None

    def _free(self, path: Path) -> bool:
        """Take a claim away from a holder that is gone; whether the way is free now."""
        content = read(path)
        if content is None:
            self._seen.pop(path.name, None)
            return True
        facts = parse(content)
        dead = facts is not None and is_dead(owner_of(facts))
        if not dead and not self._is_old(path.name, content):
            return False
        aside = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
        try:
            path.rename(aside)  # of several contenders one wins
        except FileNotFoundError:
            return True
        if read(aside) != content:  # the holder lives, or it is a new one's: give it back
            with suppress(OSError):
                os.link(aside, path)
            aside.unlink(missing_ok=True)
            return False
        aside.unlink(missing_ok=True)
        self._seen.pop(path.name, None)
        if facts is not None:
            shutil.rmtree(self.folder / "work" / f"{path.name}.{facts.get('nonce')}", ignore_errors=True)
        return True

    def _is_old(self, what: str, content: bytes | None, age_s: float | None = None) -> bool:
        """Whether something has looked the same for a lease, or `age_s`, on this machine's own clock."""
        now_s = time.monotonic()
        before = self._seen.get(what)
        if before is None or before[0] != content:
            self._seen[what] = (content or b"", now_s)
            return False
        return now_s - before[1] >= (self.lease_s if age_s is None else age_s)
