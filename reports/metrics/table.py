"""The table of metrics, one entry each: everything that differs between them is here.

A new metric is one entry (and a function, if no figure like it is read yet): its rows are then in
the page, in every export, in stores and on a site, and a gate judges by its ``gate_name``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from reports.metrics.energy_rows import ENERGY_SENSOR, energy_rows, power_rows
from reports.metrics.metric import ByRound, Column, Metric
from reports.metrics.plain_rows import (
    fidelity_rows,
    floor_rows,
    forward_share_rows,
    input_fidelity_rows,
    memory_rows,
    memory_rows_if_measured,
    temperature_rows,
)
from reports.metrics.ratios import kernel_ratio_rows, kernel_speedups, speedup_rows, speedups
from reports.metrics.values import (
    SPECTRA,
    energies_j,
    fidelity_figures,
    floor_fractions,
    forward_shares,
    latencies_s,
    memory_figures,
    powers_w,
    temperatures_c,
)
from reports.results.records import TargetRun
from workloads.spec.messages import PHASES, Case


def _memory(field: str) -> ByRound:
    """Return the figures of a field of ``Memory``, which has no phase."""

    def by_round(target: TargetRun, case: Case, phase: str) -> dict[int, float]:
        return memory_figures(target, case, field)

    return by_round


def _fidelity(field: str) -> ByRound:
    """Return the figures of a field of ``Fidelity``; the phase is a spectrum."""
    return partial(fidelity_figures, metric=field)


# In the order of the export's rows.
METRICS: tuple[Metric, ...] = (
    Metric(
        name="latency_s", unit="s", label="latency", by_round=latencies_s, phases=PHASES,
        lower_is_better=True, history=True, against_exact=True,
        terminal=(
            Column(place=5, heading="time backward", phase="backward"),
            Column(place=6, heading="time step", phase="step"),
        ),
        markdown=(
            Column(place=1, heading="backward", phase="backward"),
            Column(place=2, heading="step", phase="step"),
        ),
        site=(
            Column(place=3, heading="step", phase="step"),
            Column(place=4, heading="backward", phase="backward"),
        ),
        gate_name="latency", worse="slower", better="faster",
    ),
    Metric(
        name="speedup", unit="1", label="speedup over exact", by_round=speedups,
        phases=("backward", "step", "train_step"), rows=speedup_rows, lower_is_better=False,
        speed_over="exact", history=True,
        terminal=(
            Column(place=1, heading="speedup backward", phase="backward", narrow=True),
            Column(place=2, heading="speedup step", phase="step", narrow=True),
        ),
        markdown=(
            Column(place=3, heading="speedup backward", phase="backward"),
            Column(place=4, heading="speedup step", phase="step"),
        ),
        site=(
            Column(place=1, heading="speedup of the step", phase="step"),
            Column(place=2, heading="speedup of the backward", phase="backward"),
        ),
    ),
    Metric(
        name="forward_share", unit="1", label="share of the step that is forward",
        by_round=forward_shares, rows=forward_share_rows, history=True,
    ),
    Metric(
        name="floor_fraction", unit="1", label="share of the floor reached",
        by_round=floor_fractions, phases=("backward",), rows=floor_rows, lower_is_better=False,
    ),
    Metric(
        name="kernel_ratio", unit="1", label="speed over kernel torch", by_round=kernel_speedups,
        phases=PHASES, rows=kernel_ratio_rows, lower_is_better=False, speed_over="torch",
        exported=False,
        terminal=(
            Column(
                place=7, heading="over torch backward", phase="backward", only_if_measured=True
            ),
        ),
    ),
    Metric(
        name="peak_rss_bytes", unit="B", label="peak memory of the process",
        by_round=_memory("peak_rss_bytes"), rows=memory_rows, lower_is_better=True,
        block_kind="memory", history=True, against_exact=True,
        site=(Column(place=6, heading="peak memory"),),
        gate_name="memory", worse="more memory", better="less memory", steady=True,
    ),
    Metric(
        name="cuda_peak_bytes", unit="B", label="peak memory of the CUDA allocator",
        by_round=_memory("cuda_peak_bytes"), rows=memory_rows_if_measured, lower_is_better=True,
        block_kind="memory", history=True, against_exact=True,
    ),
    Metric(
        name="inference_peak_rss_bytes", unit="B", label="peak memory of inference alone",
        by_round=_memory("inference_peak_rss_bytes"), rows=memory_rows_if_measured,
        lower_is_better=True, block_kind="memory",
    ),
    Metric(
        name="inference_cuda_peak_bytes", unit="B",
        label="peak memory of the CUDA allocator in inference alone",
        by_round=_memory("inference_cuda_peak_bytes"), rows=memory_rows_if_measured,
        lower_is_better=True, block_kind="memory",
    ),
    Metric(
        name="saved_bytes", unit="B", label="bytes saved for the backward",
        by_round=_memory("saved_bytes"), rows=memory_rows, lower_is_better=True,
        block_kind="memory", history=True, against_exact=True,
        terminal=(Column(place=8, heading="saved memory", only_if_measured=True),),
        markdown=(Column(place=5, heading="saved for backward"),),
        site=(Column(place=7, heading="saved bytes"),),
        gate_name="saved", worse="more saved bytes", better="fewer saved bytes", steady=True,
    ),
    Metric(
        name="system_dip_bytes", unit="B", label="dip of the system's free memory",
        by_round=_memory("system_dip_bytes"), rows=memory_rows_if_measured, lower_is_better=True,
        block_kind="memory", against_exact=True,
    ),
    Metric(
        name="cosine_gx", unit="1", label="cosine of g_x", by_round=_fidelity("cosine_gx"),
        phases=tuple(SPECTRA), rows=input_fidelity_rows, lower_is_better=False,
        block_kind="fidelity", group="fidelity", history=True,
        terminal=(Column(place=3, heading="cos g_x", narrow=True),),
        markdown=(Column(place=7, heading="cosine g_x"),),
        site=(Column(place=8, heading="cosine of g_x"),),
    ),
    Metric(
        name="scale_gx", unit="1", label="projection scale of g_x", by_round=_fidelity("scale_gx"),
        phases=tuple(SPECTRA), rows=input_fidelity_rows, block_kind="fidelity", group="fidelity",
    ),
    Metric(
        name="rel_error_gx", unit="1", label="relative error of g_x",
        by_round=_fidelity("rel_error_gx"), phases=tuple(SPECTRA), rows=input_fidelity_rows,
        lower_is_better=True, block_kind="fidelity", group="fidelity",
    ),
    Metric(
        name="cosine_gw", unit="1", label="cosine of g_w", by_round=_fidelity("cosine_gw"),
        phases=tuple(SPECTRA), rows=fidelity_rows, lower_is_better=False, block_kind="fidelity",
        group="fidelity", history=True,
        terminal=(Column(place=4, heading="cos g_w", narrow=True),),
        markdown=(Column(place=8, heading="cosine g_w"),),
        site=(Column(place=9, heading="cosine of g_w"),),
    ),
    Metric(
        name="scale_gw", unit="1", label="projection scale of g_w", by_round=_fidelity("scale_gw"),
        phases=tuple(SPECTRA), rows=fidelity_rows, block_kind="fidelity", group="fidelity",
    ),
    Metric(
        name="rel_error_gw", unit="1", label="relative error of g_w",
        by_round=_fidelity("rel_error_gw"), phases=tuple(SPECTRA), rows=fidelity_rows,
        lower_is_better=True, block_kind="fidelity", group="fidelity",
    ),
    Metric(
        name="energy_j", unit="J", label="energy", by_round=energies_j, phases=PHASES,
        rows=energy_rows, lower_is_better=True, group="energy", history=True, against_exact=True,
        terminal=(
            Column(place=9, heading="energy step", phase="step", only_if_measured=True),
        ),
        markdown=(Column(place=6, heading="energy of a step", phase="step"),),
        site=(Column(place=5, heading="energy of a step", phase="step"),),
        gate_name="energy", worse="more energy", better="less energy", sensor=ENERGY_SENSOR,
    ),
    Metric(
        name="power_w", unit="W", label="mean power", by_round=powers_w, phases=PHASES,
        rows=power_rows, group="energy",
    ),
    Metric(
        name="temperature_c", unit="degC", label="temperature after the block",
        by_round=temperatures_c, rows=temperature_rows,
    ),
)  # fmt: skip


def metric_of(name: str) -> Metric:
    """Return the metric of that name.

    Raises:
        KeyError: there is no such metric.
    """
    for metric in METRICS:
        if metric.name == name:
            return metric
    raise KeyError(name)


def metric_label(name: str) -> str:
    """Return a metric in words; one that another version wrote by its name."""
    return next((metric.label for metric in METRICS if metric.name == name), name)


def exported_metrics() -> tuple[Metric, ...]:
    """Return the metrics of the export, in its order."""
    return tuple(metric for metric in METRICS if metric.exported)


def lower_is_better(name: str) -> bool:
    """Tell whether a smaller figure of this metric is the better one."""
    return any(metric.name == name and bool(metric.lower_is_better) for metric in METRICS)


def judged_metrics() -> dict[str, Metric]:
    """Return the metrics that a gate can judge by their names there; what hardly scatters last."""
    judged = [metric for metric in METRICS if metric.gate_name]
    return {metric.gate_name: metric for metric in sorted(judged, key=lambda m: m.steady)}


def judged_by(gate_name: str) -> Metric:
    """Return the metric that a gate means by a name.

    Raises:
        KeyError: no gate judges such a metric.
    """
    return judged_metrics()[gate_name]


def gate_names() -> tuple[str, ...]:
    """Return what a gate can be asked for."""
    return tuple(judged_metrics())


def columns_of(columns: Callable[[Metric], Sequence[Column]]) -> list[tuple[Metric, Column]]:
    """Return the columns of a table with their metrics, in order.

    Args:
        columns: which table, such as ``lambda metric: metric.terminal``.
    """
    pairs = [(metric, column) for metric in METRICS for column in columns(metric)]
    return sorted(pairs, key=lambda pair: pair[1].place)
