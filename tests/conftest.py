from __future__ import annotations

import pytest

# Files take minutes or milliseconds. Two processes end together if the long ones come first.
LONG_FIRST = (
    "test_native_fuzz.py",
    "test_cheating_kernels.py",
    "test_cli.py",
    "test_page_browser.py",
    "test_runner.py",
    "test_run_over_ssh.py",
    "test_payload_python36.py",
    "test_kernels_on_a_target.py",
    "test_ci_gate.py",
    "test_until_decided.py",
    "test_revisions_on_this_machine.py",
    "test_fabric.py",
    "test_files.py",
    "test_board.py",
    "test_baselines.py",
    "test_network_page.py",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    def place(item: pytest.Item) -> int:
        name = item.path.name
        return LONG_FIRST.index(name) if name in LONG_FIRST else len(LONG_FIRST)

    items.sort(key=place)
