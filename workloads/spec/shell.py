"""How a shell gets a command that may hold secrets: the list of processes shows its own to all."""

from typing import Dict, List, Tuple

_VARIABLE = "GFBENCH_COMMAND"
_SCRIPT = 'command=$%s; unset %s; eval "$command"' % (_VARIABLE, _VARIABLE)


def unseen(command: str) -> Tuple[List[str], Dict[str, str]]:
    """Return a command line that runs a shell's command and does not show it.

    The variables that are returned with it have to be in its environment.
    """
    return ["sh", "-c", _SCRIPT], {_VARIABLE: command}
