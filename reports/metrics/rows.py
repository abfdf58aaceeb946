"""One figure of a run as the export shows it."""

from __future__ import annotations

from dataclasses import dataclass, fields

from reports.text.wording import method_label
from workloads.spec.messages import Case


@dataclass(frozen=True, kw_only=True)
class Row:
    """One figure of the export; the fields are its columns, in order."""

    run_id: str
    target: str
    platform: str
    workload: str
    method: str
    patch_size: int | None
    kernel: str
    device: str
    dtype: str
    batch: int
    phase: str
    metric: str
    unit: str
    value: float | None
    ci_low: float | None
    ci_high: float | None
    n: int
    status: str
    reason: str

    @property
    def case(self) -> tuple[str, str, str, int | None, str, str, str, int]:
        """What tells the cases of all targets apart."""
        return (
            self.target,
            self.workload,
            self.method,
            self.patch_size,
            self.kernel,
            self.device,
            self.dtype,
            self.batch,
        )


def row_case(target: str, case: Case) -> tuple[str, str, str, int | None, str, str, str, int]:
    """Return what ``Row.case`` is of the rows of this case."""
    return (
        target,
        case.workload.name,
        case.method,
        case.patch_size,
        case.kernel_label,
        case.device,
        case.dtype,
        case.batch,
    )


COLUMNS = tuple(field.name for field in fields(Row))


def row_case_label(row: Row) -> str:
    """Return the case of a row in words, without its target."""
    method = method_label(row.method, row.patch_size, row.kernel)
    return f"{row.workload} · {method} · {row.device} {row.dtype} batch {row.batch}"
