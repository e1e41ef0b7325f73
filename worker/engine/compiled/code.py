"""A file of compiled code as a function of tensors, on a CPU or a CUDA device.

It is called through the C interface of torch's ahead-of-time compiler: torch's own Python binding
keeps the interpreter's lock while the code runs, and every other thread of the worker would wait.
Source: torch/csrc/inductor/aoti_runtime/interface.h and aoti_torch/c/shim.h of torch.
"""

import ctypes
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

_POINTER = ctypes.pythonapi.PyCapsule_GetPointer
_POINTER.restype, _POINTER.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]
_CAPSULE = ctypes.pythonapi.PyCapsule_New
_CAPSULE.restype = ctypes.py_object
_CAPSULE.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p]


class CannotLoad(Exception):
    """Raised for a file that is no code of this torch."""


class Code:
    """One function from tensors to one tensor. Belongs to one thread at a time."""

    def __init__(self, path: Path, device: torch.device) -> None:
        self._torch: Any = getattr(torch._C, "_aoti", None)
        if not hasattr(self._torch, "unsafe_alloc_void_ptrs_from_tensors"):
            raise CannotLoad(f"torch {torch.__version__} has no interface for compiled code")
        try:
            library = ctypes.CDLL(str(path))
            create = library.AOTInductorModelContainerCreateWithDevice
            # The variant for one thread records no events, which a CUDA graph could not capture.
            run = library.AOTInductorModelContainerRunSingleThreaded
            self._free = library.aoti_torch_delete_tensor_object
        except (OSError, AttributeError) as error:
            raise CannotLoad(str(error)) from error
        self._handle = ctypes.c_void_p()
        if create(ctypes.byref(self._handle), ctypes.c_size_t(1), str(device).encode(), None):
            raise CannotLoad(f"{path} does not start")
        self._run, self._device = run, device

    def __call__(self, inputs: Sequence[torch.Tensor]) -> torch.Tensor:
        """The function's value. Raises RuntimeError if the code fails."""
        count = len(inputs)
        held = self._torch.unsafe_alloc_void_ptrs_from_tensors(list(inputs))
        given = (ctypes.c_void_p * count)(*[_POINTER(each, None) for each in held])
        taken = (ctypes.c_void_p * 1)()
        one = ctypes.c_size_t(1)
        # The code frees the handles that it is given; that of the value is ours to free.
        if self._run(self._handle, given, ctypes.c_size_t(count), taken, one, self._stream(), None):
            raise RuntimeError("compiled code failed")
        value: torch.Tensor = self._torch.alloc_tensor_by_stealing_from_void_ptr(
            _CAPSULE(taken[0], None, None)
        )
        self._free(ctypes.c_void_p(taken[0]))
        return value

    def _stream(self) -> ctypes.c_void_p | None:
        """The stream on which torch computes now; that of a capture while a graph is captured."""
        if self._device.type != "cuda":
            return None
        return ctypes.c_void_p(torch.cuda.current_stream(self._device).cuda_stream)
