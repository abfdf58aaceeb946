"""A network compiled by torch.compile, where this torch and this machine can."""

import os
import shutil
import sysconfig
from typing import Optional

import torch
from torch import nn


def why_not_compiled() -> Optional[str]:
    """Return why torch.compile cannot run here; None if it can."""
    if not hasattr(torch, "compile"):
        return "torch %s has no torch.compile, which came with torch 2.0" % torch.__version__
    from torch._dynamo.eval_frame import check_if_dynamo_supported

    try:
        check_if_dynamo_supported()
    except RuntimeError as error:
        return str(error)
    compiler = os.environ.get("CXX", "g++")  # as torch's own compiler looks for it
    if shutil.which(compiler) is None:
        return "no C++ compiler: %s is not on PATH; install it or name another in CXX" % compiler
    header = os.path.join(sysconfig.get_paths()["include"], "Python.h")
    if not os.path.exists(header):
        return "Python's headers are missing: there is no %s" % header
    return None


def compiled(network: nn.Module) -> nn.Module:
    """Return a module that computes what the network does, compiled in its first step.

    It is compiled in this process, forked or not, for the threads that torch has then. What is
    compiled is kept in the folder that TORCHINDUCTOR_CACHE_DIR names in the environment, where a
    later process finds it. A graph allows one backward, not several by ``retain_graph``. The
    network is laid out in channels-last, in place.

    Raises:
        ValueError: torch.compile cannot run here.
    """
    reason = why_not_compiled()
    if reason is not None:
        raise ValueError("baseline: %s" % reason)
    import torch._inductor.config as config

    config.compile_threads = 1  # others are started as processes, which stay
    laid_out = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return torch.compile(laid_out)  # type: ignore[return-value]
