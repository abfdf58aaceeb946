"""Why a case cannot be measured anywhere, known before any board is asked; no torch."""

from typing import Optional

from workloads.spec.architectures import trained_convolutions
from workloads.spec.messages import Case
from workloads.spec.methods import METHODS, refusal

NETWORK_DTYPES = ("float32", "float64")


def case_refusal(case: Case) -> Optional[str]:
    """Return why the case cannot be, in words that name the layer; None if it can."""
    if not case.is_network:
        reason = refusal(case.method, case.layer, case.patch_size or 1)
        return reason and "%s does not support this layer: %s" % (case.method, reason)
    if case.dtype not in NETWORK_DTYPES:
        return "networks are measured in %s; no kernel trains them in %s yet" % (
            " and ".join(NETWORK_DTYPES),
            case.dtype,
        )
    if case.method == "micro_batches" and not case.network.frozen_batch_norm:
        return "micro_batches is exact only where BatchNorm is frozen, and here it is trained"
    try:
        trained = trained_convolutions(case.network)
    except ValueError as error:
        return str(error)
    if METHODS[case.method].exact:
        return None
    patch_sizes = dict(case.network.patch_sizes)
    for layer in trained:
        reason = refusal(case.method, layer, patch_sizes.get(layer.name, case.patch_size or 1))
        if reason is not None:
            return "%s does not support the layer %s: %s" % (case.method, layer.name, reason)
    return None
