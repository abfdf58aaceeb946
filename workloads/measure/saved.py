"""What autograd keeps for the backward: each tensor, and the bytes of all."""

from typing import Any, Callable, List, NamedTuple, Optional, Sequence, Tuple

import torch


class SavedTensor(NamedTuple):
    """A tensor that autograd keeps for the backward.

    Attributes:
        kept_by: what ran when it was saved.
        shape: the tensor's.
        bytes: its storage's, of which it may be a part.
    """

    kept_by: Any
    shape: Tuple[int, ...]
    bytes: int


def saved_bytes(forward: Callable[[], Any], parameters: Sequence[torch.Tensor]) -> Optional[int]:
    """Return the bytes that ``forward`` saves for the backward, as ``saved_tensors`` counts them.

    None where torch has no saved-tensor hooks (< 1.10).
    """
    saved = saved_tensors(forward, parameters)
    return None if saved is None else sum(tensor.bytes for tensor in saved)


def saved_tensors(
    forward: Callable[[], Any],
    parameters: Sequence[torch.Tensor],
    running: Callable[[], Any] = lambda: None,
) -> Optional[List[SavedTensor]]:
    """Return what ``forward`` saves for the backward, in order, each storage once.

    None where torch has no saved-tensor hooks (< 1.10).

    Args:
        forward: returns tensors with a graph.
        parameters: tensors whose storages are left out.
        running: returns what runs at this moment, as ``kept_by`` has it.
    """
    hooks = getattr(getattr(torch.autograd, "graph", None), "saved_tensors_hooks", None)
    if hooks is None:
        return None
    counted = set()
    for parameter in parameters:
        storage = _storage(parameter)
        counted.add(storage.data_ptr())
    saved: List[SavedTensor] = []

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        storage = _storage(tensor)
        size = _nbytes(storage)
        if size and storage.data_ptr() not in counted:
            counted.add(storage.data_ptr())
            saved.append(SavedTensor(running(), tuple(tensor.shape), size))
        return tensor

    with hooks(pack, lambda tensor: tensor):
        result = forward()
    del result  # until here it holds what was saved, so that no storage takes another's address
    return saved


def _nbytes(storage: Any) -> int:
    """Return a storage's bytes; torch 1.10 counts its elements instead."""
    if hasattr(storage, "nbytes"):
        return int(storage.nbytes())
    return len(storage) * int(storage.element_size())


def _storage(tensor: torch.Tensor) -> Any:
    if hasattr(tensor, "untyped_storage"):  # torch >= 2
        return tensor.untyped_storage()
    return tensor.storage()  # type: ignore[no-untyped-call]
