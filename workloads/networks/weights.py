"""A network's weights: random from a seed, or from a file."""

import inspect
import math
import pickle
import re
from typing import Any, Dict, List, Tuple

import torch
from torch import nn

_COUNTER = "num_batches_tracked"  # a BatchNorm's own; files of before torch 0.4.1 lack it
_SHOWN = 4  # names in a message
_OF_TENSORS = {
    ("collections", "OrderedDict"),
    ("torch._utils", "_rebuild_tensor_v2"),
    ("torch._utils", "_rebuild_parameter"),
}


def seed_weights(network: nn.Module, seed: int) -> None:
    """Give every layer new weights, the same bits for a seed on every torch and machine.

    Convolutions and linear layers are uniform with mean 0 and variance 1 / fan_in (LeCun et al.,
    "Efficient BackProp", 1998, section 4.6), biases are 0, and BatchNorm passes on what it gets.
    Activations and gradients then neither fade nor grow out of reach in the networks here while
    BatchNorm is frozen: with the variance 2 / fan_in of He et al., the sums along MobileNetV2's
    shortcuts end where ReLU6 is flat. Uniform, since torch computes normal numbers by logarithms
    and cosines, which differ between machines.
    """
    generator = torch.Generator().manual_seed(seed)
    for part in network.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.reset_parameters()
        elif isinstance(part, (nn.Conv2d, nn.Linear)):
            fan_in = part.weight[0].numel()
            drawn = torch.rand(part.weight.shape, generator=generator, dtype=torch.float32)
            with torch.no_grad():
                part.weight.copy_((2 * drawn - 1) * math.sqrt(3.0 / fan_in))
                if part.bias is not None:
                    part.bias.zero_()


def load_weights(network: nn.Module, path: str) -> None:
    """Load a state_dict that ``torch.save`` has written.

    Nothing but tensors is read from it, so that it cannot run anything.

    Raises:
        ValueError: the file cannot be read, or does not fit the network; which keys and shapes
            differ is said, and the network is as it was.
    """
    state = _read(path)
    wanted = network.state_dict()
    missing = [name for name in wanted if name not in state and not name.endswith(_COUNTER)]
    unexpected = [name for name in state if name not in wanted]
    shapes = [
        "%s is %s, not %s" % (name, _shape(state[name]), _shape(wanted[name]))
        for name in wanted
        if name in state and state[name].shape != wanted[name].shape
    ]
    problems = []
    for words, names in (
        ("missing", missing),
        ("unexpected", unexpected),
        ("of another shape", shapes),
    ):
        if names:
            problems.append("%s: %s" % (words, _some(names)))
    if problems:
        raise ValueError("weights: %s does not fit the network; %s" % (path, "; ".join(problems)))
    network.load_state_dict(state, strict=False)  # a counter may be missing, nothing else


def _read(path: str) -> Dict[str, torch.Tensor]:
    has_weights_only = "weights_only" in inspect.signature(torch.load).parameters
    safely: Dict[str, Any] = (
        {"weights_only": True} if has_weights_only else {"pickle_module": _PickleOfTensors}
    )
    try:
        state = torch.load(path, map_location="cpu", **safely)
    except Exception as error:  # whatever the bytes of a broken file lead to
        raise ValueError("weights: cannot read %s: %s" % (path, _first_line(error))) from error
    if not isinstance(state, dict) or not all(map(_is_entry, state.items())):
        raise ValueError(
            "weights: %s does not hold a state_dict, names with their dense tensors; write one "
            "with torch.save(network.state_dict(), path)" % path
        )
    return state


def _is_entry(item: Tuple[Any, Any]) -> bool:
    name, part = item
    return isinstance(name, str) and torch.is_tensor(part) and part.layout == torch.strided


class _TensorUnpickler(pickle.Unpickler):
    """Reads tensors and refuses all else, as ``weights_only`` does from torch 1.13 on."""

    def find_class(self, module: str, name: str) -> Any:
        """Return what a pickle names, if tensors need it."""
        is_storage = module == "torch" and re.match(r"[A-Za-z0-9]+Storage$", name) is not None
        if not is_storage and (module, name) not in _OF_TENSORS:
            raise pickle.UnpicklingError("it holds a %s.%s, not only tensors" % (module, name))
        return super().find_class(module, name)


class _PickleOfTensors:
    """What older versions of torch.load take in place of the module ``pickle``."""

    Unpickler = _TensorUnpickler

    @staticmethod
    def load(file: Any, **options: Any) -> Any:
        """Read one object."""
        return _TensorUnpickler(file, **options).load()


def _first_line(error: Exception) -> str:
    return (str(error) or type(error).__name__).strip().split("\n")[0]


def _some(names: List[str]) -> str:
    """Return the first names, and how many more there are."""
    shown = ", ".join(names[:_SHOWN])
    return shown if len(names) <= _SHOWN else "%s and %d more" % (shown, len(names) - _SHOWN)


def _shape(tensor: torch.Tensor) -> str:
    return " x ".join(str(size) for size in tensor.shape) or "a number"
