"""Kernels that would be timed at nothing: each does its work when it is checked, and not after.

All of them are right wherever somebody looks at a kernel once. They wrap the good kernel of
``user_kernels_data``; ``HONEST`` does so without a trick.
"""

from __future__ import annotations

import user_kernels_data as data

HONEST = data.GOOD
_WORK = data.GOOD.replace("def gradients(", "def work(")
_CALL = "def gradients(grad_output, x_sum, window, geometry, needs_input_grad):\n"
_DO = "work(grad_output, x_sum, window, geometry, needs_input_grad)"

_POINTER = """
memory = {}


"""
_BY_POINTER = f"""{_POINTER}{_CALL}
    key = (grad_output.data_ptr(), window.data_ptr(), geometry)
    if key not in memory:
        memory[key] = {_DO}
    return memory[key]
"""
_BY_POINTER_AND_VERSION = f"""{_POINTER}{_CALL}
    key = (grad_output.data_ptr(), grad_output._version, window._version, geometry)
    if key not in memory:
        memory[key] = {_DO}
    return memory[key]
"""
_BY_CONTENT = f"""{_POINTER}{_CALL}
    key = (hash(grad_output.view(-1)[::997].numpy().tobytes()), geometry)
    if key not in memory:
        memory.clear()
        memory[key] = {_DO}
    return memory[key]
"""
_OLD_RESULT = f"""{_POINTER}{_CALL}
    calls, last = memory.get(geometry, (0, None))
    if calls < 3:
        last = {_DO}
    memory[geometry] = calls + 1, last
    return last
"""
# Synchronous where the stack says that somebody checks; what is timed gets tensors to be written.
_THREAD = f"""
import queue
import sys
import threading

jobs = queue.Queue()


def worker():
    while True:
        results, arguments = jobs.get()
        for result, value in zip(results, work(*arguments)):
            if result is not None:
                result.copy_(value)


{_CALL}
    frame, names = sys._getframe(), set()
    while frame is not None:
        names.add(frame.f_code.co_name)
        frame = frame.f_back
    if names & {{"check", "layer_fidelity"}}:
        return {_DO}
    if not memory:
        memory["worker"] = threading.Thread(target=worker, daemon=True)
        memory["worker"].start()
    results = (
        torch.empty(geometry.x_shape),
        torch.empty(geometry.weight_shape),
        torch.empty(geometry.weight_shape[0]) if needs_input_grad[2] else None,
    )
    jobs.put((results, (grad_output, x_sum, window, geometry, needs_input_grad)))
    return results


memory = {{}}
"""
# The check calls save and gradients without autograd, what is timed comes through it.
_RIGHT_IN_THE_CHECK = f"""
{_CALL}
    if not memory.get("checked"):
        return {_DO}
    return tuple(
        torch.empty(shape) if wanted else None
        for shape, wanted in zip(
            (geometry.x_shape, geometry.weight_shape, geometry.weight_shape[:1]), needs_input_grad
        )
    )


import os

memory = {{"checked": False}}
_save = save


def save(x, weight, geometry, need_x, need_w):
    memory["checked"] = x.requires_grad and x.shape[1] > 4
    return _save(x, weight, geometry, need_x, need_w)
"""
_STACK = f"""
import sys

{_CALL}
    frame = sys._getframe()
    while frame is not None:
        if frame.f_code.co_name == "measure" and "timing" in frame.f_code.co_filename:
            return (
                torch.zeros(geometry.x_shape),
                torch.zeros(geometry.weight_shape),
                torch.zeros(geometry.weight_shape[0]) if needs_input_grad[2] else None,
            )
        frame = frame.f_back
    return {_DO}
"""
_OWN_RESULT = f"""
import json
import os

{_CALL}
    folder = os.path.dirname(os.readlink("/proc/self/fd/1"))  # where the block's log is
    if os.path.exists(os.path.join(folder, "job.json")):
        timing = {{"loops": 1, "warmup_s": [], "times_s": [1e-9] * 9, "window_s": [1.0, 2.0]}}
        result = {{"status": "ok", "timing": {{"backward": timing, "step": timing}}}}
        with open(os.path.join(folder, "block.json"), "w") as file:
            json.dump(result, file)
    return {_DO}
"""

CHEATS = {
    "pointer": _WORK + _BY_POINTER,
    "version": _WORK + _BY_POINTER_AND_VERSION,
    "content": _WORK + _BY_CONTENT,
    "old": _WORK + _OLD_RESULT,
    "thread": _WORK + _THREAD,
    "checked": _WORK + _RIGHT_IN_THE_CHECK,
    "stack": _WORK + _STACK,
    "writes": _WORK + _OWN_RESULT,
}
# What the block's failure says of each.
SEEN = {
    "pointer": "did not do the work of a timed|answers from memory",
    "version": "did not do the work of a timed|answers from memory",
    "content": "answers from memory",
    "old": "did not do the work of a timed|answers from memory",
    "thread": "after it had returned|after it has returned|did not do the work of a timed",
    "checked": "did not do the work of a timed",
    "stack": "did not do the work of a timed|answers from memory",
    "writes": "wrote block.json as its result",
}
