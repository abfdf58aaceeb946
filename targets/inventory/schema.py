"""The schema of inventory.yaml; its descriptions are what an editor and a complaint show.

Pydantic stays at this boundary: the rest of the program sees the dataclasses of the package.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from targets.platforms import PLATFORMS
from targets.sources import packages

NAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._-]*$"
ENV_NAME_PATTERN = r"^[A-Za-z_][A-Za-z0-9_]*$"
ONE_LINE = r"^[^\x00\r\n]+$"
PLAIN_WORD = r"^[^\s\x00-][^\s\x00]*$"  # no leading dash: it must never be read as an option

Name = Annotated[str, Field(pattern=NAME_PATTERN)]
EnvName = Annotated[str, Field(pattern=ENV_NAME_PATTERN)]
Line = Annotated[str, Field(pattern=ONE_LINE)]
Word = Annotated[str, Field(pattern=PLAIN_WORD)]
RemotePath = Annotated[str, Field(pattern=r"^(/|~(/|$))[^\x00\r\n]*$")]
Text = Annotated[str, Field(pattern=r"^[^\x00]*$")]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class PowerMeter(_Strict):
    """One source of power, by name: exactly one of the keys."""

    command: Line | None = Field(
        default=None, description="a program that prints watts, one a line"
    )
    csv: Line | None = Field(
        default=None, description="a meter's file with the columns time and watts"
    )
    rail: Line | None = Field(
        default=None, description="the name of one rail, as gfbench list sensors shows it"
    )

    @model_validator(mode="after")
    def exactly_one(self) -> PowerMeter:
        """Refuse none and several."""
        if len(self.model_dump(exclude_none=True)) != 1:
            raise ValueError("give one of command, csv and rail")
        return self


def _yaml_off(value: Any) -> Any:
    """Undo YAML 1.1, which reads a bare `off` as false."""
    return "off" if value is False else value


if TYPE_CHECKING:
    PlatformName = str
    PowerName = str
else:  # of the tables, so that a complaint, an editor and the schema list what there is
    PlatformName = Literal[("auto", *PLATFORMS)]
    PowerName = Literal[("auto", "off", *packages())]

PowerEntry = Annotated[PowerName | PowerMeter, BeforeValidator(_yaml_off)]


class Settings(_Strict):
    """What `defaults` may set for every target and a target may set for itself."""

    port: Annotated[int, Field(ge=1, le=65535)] | None = Field(
        default=None, description="a TCP port, 1 to 65535; without it ssh_config's, else 22"
    )
    user: Word | None = Field(
        default=None, description="a user name; without it ssh_config's, else yours"
    )
    identity_file: Line | None = Field(
        default=None,
        description="the path of a private key on this machine; without it ssh's own choice",
    )
    gateway: Word | None = Field(
        default=None,
        description="the machine to jump through: the name of a target, or user@host:port",
    )
    python: Line = Field(
        default="python3", description="the Python of the board, 3.6 or newer, with torch"
    )
    platform: PlatformName = Field(
        default="auto", description="auto, or the id of a platform family such as jetson-nano"
    )
    power: PowerEntry = Field(
        default="auto",
        description=f"auto, off, {', '.join(packages())}, {{command: PROGRAM}}, {{csv: FILE}} "
        "or {rail: NAME}",
    )
    env: dict[EnvName, Text | int] = Field(
        default={}, description="environment variables of the board's Python, as NAME: text"
    )
    tags: list[Name] = Field(
        default=[], description="a list of words to select by, such as [cuda, arm]"
    )
    labels: dict[Name, Text | int] = Field(
        default={}, description="facts for the report, as name: text, such as cooling: fan"
    )
    sysroot: RemotePath = Field(
        default="/",
        description="an absolute folder on the board under which /sys and /proc are read",
    )
    workdir: RemotePath = Field(
        default="~/.cache/gfbench", description="a folder on the board, absolute or below ~"
    )
    threads: Annotated[int, Field(ge=1, le=4096)] | None = Field(
        default=None, description="a number of threads, 1 or more; without it the physical cores"
    )
    min_window_s: Annotated[float, Field(gt=0, le=86400)] | None = Field(
        default=None,
        description="seconds above 0: the shortest measured window; without it the suite's",
    )
    setup: list[Line] = Field(
        default=[], description="a list of shell commands to run on the board before a session"
    )
    restore: list[Line] = Field(
        default=[], description="a list of shell commands to run on the board after a session"
    )
    import_s: Annotated[float, Field(gt=0, le=86400)] = Field(
        default=240.0,
        description="seconds above 0: how long importing torch may take on the board",
    )
    compile_s: Annotated[float, Field(gt=0, le=86400)] = Field(
        default=300.0,
        description="seconds above 0: how long compiling and trying the kernels may take there",
    )
    reconnect_s: Annotated[float, Field(ge=0, le=86400)] = Field(
        default=60.0,
        description="seconds, 0 or more: how long to try again after a lost connection",
    )


class TargetEntry(Settings):
    """One machine."""

    host: Word | None = Field(
        default=None,
        description="the machine's host name or address, a Host of ssh_config, or user@host:port",
    )


class InventoryFile(_Strict):
    """inventory.yaml: the machines that gfbench measures on."""

    defaults: Settings = Field(default=Settings(), description="settings for every target")
    targets: dict[Name, TargetEntry] = Field(description="a mapping of names to machines")
    groups: dict[Name, list[Name]] = Field(
        default={}, description="a mapping of names to lists of targets, selected with @name"
    )


def expected(loc: tuple[str | int, ...]) -> str:
    """Say what belongs at a key of the file, "" if the schema does not know it."""
    match loc:
        case ("defaults" | "targets" | "groups" as top,):
            return InventoryFile.model_fields[top].description or ""
        case ("targets", _):
            return "a mapping of keys such as host: 192.168.1.20"
        case ("groups", _, *_):
            return "a list of target names, such as [nano, orin]"
        case ("defaults", str(key), *_) | ("targets", _, str(key), *_):
            field = TargetEntry.model_fields.get(key)
            return (field.description or "") if field else ""
    return "the keys defaults, targets and groups"


def known_keys(loc: tuple[str | int, ...]) -> tuple[str, ...]:
    """List the keys that may stand where `loc` stands."""
    match loc:
        case ("defaults", _):
            return tuple(Settings.model_fields)
        case ("targets", _, _):
            return tuple(sorted(TargetEntry.model_fields))
    return tuple(InventoryFile.model_fields)
