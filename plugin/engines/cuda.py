"""The part of CUDA that runs a compiled model: one GPU, pinned memory, streams and graphs, by NVIDIA's bindings."""

from __future__ import annotations

import ctypes
import os
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from mdenoise.errors import EngineError

EXTRA = 'pip install "cuda-bindings>=12.8"'


def missing() -> str | None:
    """Why there is no NVIDIA GPU to use, or None; asks the driver alone, in milliseconds where there is none."""
    name = "nvcuda.dll" if os.name == "nt" else "libcuda.so.1"
    try:
        driver = ctypes.CDLL(name)
    except OSError:
        return f"no NVIDIA driver is installed ({name} is missing)"
    code = driver.cuInit(0)
    if code != 0:
        return f"the NVIDIA driver does not start (CUDA error {code})"
    count = ctypes.c_int(0)
    code = driver.cuDeviceGetCount(ctypes.byref(count))
    return None if code == 0 and count.value > 0 else "the NVIDIA driver finds no GPU"


def runtime() -> Any:
    try:
        from cuda.bindings import runtime as bindings
    except (ImportError, OSError, RuntimeError) as error:
        raise EngineError(f"NVIDIA's CUDA bindings cannot be loaded ({_line(error)}): {EXTRA}") from None
    return bindings


def call(function: Callable[..., Any], *arguments: Any) -> Any:
    """The result of a call of the CUDA runtime; an error code becomes an EngineError."""
    code, *results = function(*arguments)
    if int(code) != 0:
        raise EngineError(f"{function.__name__} failed on the GPU: {code.name}")
    return results[0] if len(results) == 1 else tuple(results)


@dataclass(frozen=True)
class Gpu:
    """One GPU: its number, name, compute capability as "9.0", and the driver's CUDA version as "13.0"."""

    index: int
    name: str
    capability: str
    driver: str


def open_gpu(index: int) -> Gpu:
    """Raises EngineError where there is no such GPU."""
    cudart = runtime()
    count = call(cudart.cudaGetDeviceCount)
    if index >= count:
        raise EngineError(f"there is no GPU {index}: this machine has {count}, counted from 0")
    call(cudart.cudaSetDevice, index)
    facts = call(cudart.cudaGetDeviceProperties, index)
    version = call(cudart.cudaDriverGetVersion)
    name = facts.name.decode() if isinstance(facts.name, bytes) else str(facts.name)
    driver = f"{version // 1000}.{version % 1000 // 10}"
    return Gpu(index, name.rstrip("\0"), f"{facts.major}.{facts.minor}", driver)


class Memory:
    """Bytes on the GPU; `address` is theirs. Given back with the object."""

    def __init__(self, size: int):
        cudart = runtime()
        self.size = size
        self.address = int(call(cudart.cudaMalloc, max(size, 1)))
        weakref.finalize(self, cudart.cudaFree, self.address)


class Tensor:
    """An array in page-locked memory of the host, `host`, and its twin on the GPU, `device`."""

    def __init__(self, shape: tuple[int, ...], dtype: Any):
        cudart = runtime()
        count = int(np.prod(shape))
        self.size = count * np.dtype(dtype).itemsize
        address = int(call(cudart.cudaHostAlloc, self.size, cudart.cudaHostAllocDefault))
        memory = (ctypes.c_ubyte * self.size).from_address(address)
        self.host = np.frombuffer(memory, dtype, count).reshape(shape)
        self.device = Memory(self.size)
        self._address = address
        weakref.finalize(self, cudart.cudaFreeHost, address)

    def upload(self, stream: Any) -> None:
        cudart = runtime()
        kind = cudart.cudaMemcpyKind.cudaMemcpyHostToDevice
        call(cudart.cudaMemcpyAsync, self.device.address, self._address, self.size, kind, stream)

    def download(self, stream: Any) -> None:
        cudart = runtime()
        kind = cudart.cudaMemcpyKind.cudaMemcpyDeviceToHost
        call(cudart.cudaMemcpyAsync, self._address, self.device.address, self.size, kind, stream)


class Stream:
    """A queue of work of its own; `handle` is CUDA's."""

    def __init__(self, index: int):
        cudart = runtime()
        call(cudart.cudaSetDevice, index)
        self.handle = call(cudart.cudaStreamCreateWithFlags, cudart.cudaStreamNonBlocking)
        weakref.finalize(self, cudart.cudaStreamDestroy, self.handle)

    def wait(self) -> None:
        call(runtime().cudaStreamSynchronize, self.handle)

    def capture(self, work: Callable[[], None]) -> Graph:
        """What `work` puts into this stream, recorded instead of run."""
        cudart = runtime()
        call(cudart.cudaStreamBeginCapture, self.handle, cudart.cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal)
        try:
            work()
        except EngineError:
            _, graph = cudart.cudaStreamEndCapture(self.handle)  # takes the stream out of its recording state
            if graph is not None:
                cudart.cudaGraphDestroy(graph)
            raise
        return Graph(call(cudart.cudaStreamEndCapture, self.handle))


class Graph:
    """Recorded work that is started with one call."""

    def __init__(self, graph: Any):
        cudart = runtime()
        try:
            self._handle = call(cudart.cudaGraphInstantiate, graph, 0)
        finally:
            cudart.cudaGraphDestroy(graph)
        weakref.finalize(self, cudart.cudaGraphExecDestroy, self._handle)

    def launch(self, stream: Stream) -> None:
        call(runtime().cudaGraphLaunch, self._handle, stream.handle)


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())[:200]
