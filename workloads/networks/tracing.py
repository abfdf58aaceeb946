"""A network as a graph of its operations, in which some take the place of others."""

from typing import Any, Optional

from torch import fx, nn
from torch.nn.modules.batchnorm import _BatchNorm


class _Tracer(fx.Tracer):
    """Takes each convolution and BatchNorm as one operation, of a program's own subclass too."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        """Return whether a module is one operation of the graph."""
        if isinstance(m, (nn.Conv2d, _BatchNorm)):
            return True
        return bool(super().is_leaf_module(m, module_qualified_name))


def trace(network: nn.Module) -> fx.GraphModule:
    """Return the operations of a network as a module of its own, with the network's own layers.

    Raises:
        ValueError: torch.fx cannot trace it, as when a forward branches on what a tensor holds.
    """
    try:
        graph = _Tracer().trace(network)
    except Exception as error:  # whatever a forward does with what stands for a tensor
        reason = str(error).strip().split("\n")[0]
        raise ValueError("network: torch.fx cannot trace it: %s" % reason) from error
    return fx.GraphModule(network, graph)


def called_module(traced: fx.GraphModule, node: Any) -> Optional[nn.Module]:
    """Return the module that a node calls; None if it calls none, or is no node."""
    if not isinstance(node, fx.Node) or node.op != "call_module":
        return None
    return traced.get_submodule(str(node.target))


def only_user(node: fx.Node) -> Optional[fx.Node]:
    """Return the one node that reads a node's result; None if there are more, or none."""
    users = list(node.users)
    return users[0] if len(users) == 1 else None


def take_out(node: fx.Node, by: fx.Node) -> None:
    """Take a node out of its graph; what read its result reads that of ``by``."""
    node.replace_all_uses_with(by)
    node.graph.erase_node(node)


def recompiled(traced: fx.GraphModule) -> fx.GraphModule:
    """Return the module with its code as its graph is now, without layers that it calls no more."""
    traced.graph.lint()
    traced.delete_all_unused_submodules()
    traced.recompile()
    return traced
