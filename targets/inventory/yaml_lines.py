"""YAML as plain data, with the line of every key, so that a complaint can point at it."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

import yaml

KeyPath = tuple[str | int, ...]
SURPRISE_REMEDY = (
    "Put quotes around it if you mean the text that stands there; else write it in plain digits."
)


class YamlProblem(Exception):
    """One thing wrong with the text: its line, its key if known, what, and what to do."""

    def __init__(self, line: int | None, key: str, message: str, remedy: str) -> None:
        """Keep the parts apart; who knows the file's name puts them together."""
        super().__init__(message)
        self.line = line
        self.key = key
        self.message = message
        self.remedy = remedy


@dataclass
class YamlDocument:
    """The data of one document, the line of each key, and what is wrong with it."""

    data: object = None
    lines: dict[KeyPath, int] = field(default_factory=dict)
    problems: list[YamlProblem] = field(default_factory=list)

    def line_of(self, path: KeyPath) -> int | None:
        """Return the line of the key, or of the nearest key around it."""
        for end in range(len(path), -1, -1):
            if path[:end] in self.lines:
                return self.lines[path[:end]]
        return None


def read_yaml(text: str) -> YamlDocument:
    """Parse one YAML document into plain data.

    Collected in `problems`: duplicate keys, keys that are not text, and numbers that YAML 1.1
    reads in its own way (0022 is 18, 22:22 is 1342, 1_000 is 1000).

    Raises:
        YamlProblem: The text is not YAML at all.
    """
    loader = yaml.SafeLoader("")
    try:
        loader = yaml.SafeLoader(text)
        root = loader.get_single_node()
        reader = _Reader(loader)
        document = reader.document
        document.data = reader.value(root, ()) if root is not None else None
    except yaml.MarkedYAMLError as error:
        raise _marked(error) from error
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise YamlProblem(
            line, "", f"not YAML: {error.reason}", "Save it as plain UTF-8."
        ) from None
    except RecursionError:
        raise YamlProblem(None, "", "nested too deeply", "Flatten it.") from None
    finally:
        loader.dispose()
    return document


def _marked(error: yaml.MarkedYAMLError) -> YamlProblem:
    mark = error.problem_mark or error.context_mark
    reason = ", ".join(part for part in (error.context, error.problem) if part)
    remedy = "Correct the YAML here or one line above: indentation, a colon, quotes, a bracket."
    return YamlProblem(mark.line + 1 if mark else None, "", f"not YAML: {reason}", remedy)


class _Reader:
    """Walks the nodes of one document once, keeping lines and problems."""

    def __init__(self, loader: yaml.SafeLoader) -> None:
        self.loader = loader
        self.document = YamlDocument()
        self.open: set[int] = set()  # the nodes around the present one, to see a loop of anchors

    def value(self, node: yaml.Node, path: KeyPath) -> object:
        line = node.start_mark.line + 1
        self.document.lines.setdefault(path, line)
        if isinstance(node, yaml.ScalarNode):
            value = self.scalar(node, path)
            self.number_as_written(node, value, path)
            return value
        if id(node) in self.open:
            raise YamlProblem(
                line, dotted(path), "an anchor contains itself", "Write it out in full."
            )
        self.open.add(id(node))
        try:
            if isinstance(node, yaml.SequenceNode):
                return [self.value(item, (*path, i)) for i, item in enumerate(node.value)]
            assert isinstance(node, yaml.MappingNode)
            return self.mapping(node, path)
        finally:
            self.open.discard(id(node))

    def scalar(self, node: yaml.ScalarNode, path: KeyPath) -> object:
        try:
            return self.loader.construct_object(node)
        except ValueError as error:  # a date like 2026-13-45
            message = f"{node.value!r} cannot be read ({error})"
            raise YamlProblem(
                node.start_mark.line + 1, dotted(path), message, "Quote it."
            ) from None

    def number_as_written(self, node: yaml.ScalarNode, value: object, path: KeyPath) -> None:
        """Complain of a number that YAML 1.1 reads in its own way."""
        if isinstance(value, (int, float)) and _is_surprising(node.value, value):
            message = f"YAML reads {node.value} as the number {value}"
            self.problem(node.start_mark.line + 1, path, message, SURPRISE_REMEDY)

    def mapping(self, node: yaml.MappingNode, path: KeyPath) -> dict[str, object]:
        own: dict[str, object] = {}
        merged: dict[str, object] = {}
        for key_node, value_node in node.value:
            if key_node.tag == "tag:yaml.org,2002:merge":
                merged.update(self.merge(value_node, path))
                continue
            key = self.key(key_node, path)
            here = (*path, key)
            line = key_node.start_mark.line + 1
            if key in own:
                first = self.document.lines[here]
                self.problem(line, here, f"given twice, first on line {first}", "Keep one of them.")
                continue
            self.document.lines[here] = line
            own[key] = self.value(value_node, here)
        return {**merged, **own}

    def merge(self, node: yaml.Node, path: KeyPath) -> dict[str, object]:
        parts = node.value[::-1] if isinstance(node, yaml.SequenceNode) else [node]
        merged: dict[str, object] = {}
        for part in parts:  # an earlier mapping of the list wins
            value = self.value(part, path)
            if isinstance(value, dict):
                merged.update(value)
            else:
                line = part.start_mark.line + 1
                self.problem(
                    line, (*path, "<<"), "only a mapping can be merged", "Merge the anchor of one."
                )
        return merged

    def key(self, node: yaml.Node, path: KeyPath) -> str:
        if isinstance(node, yaml.ScalarNode):
            if not isinstance(self.scalar(node, path), str):
                message = f"YAML reads the key {node.value} as a number, a date or a yes/no"
                self.problem(node.start_mark.line + 1, (*path, node.value), message, "Quote it.")
            return str(node.value)
        self.problem(node.start_mark.line + 1, path, "a key must be text", "Write a plain name.")
        return "?"

    def problem(self, line: int, path: KeyPath, message: str, remedy: str) -> None:
        self.document.problems.append(YamlProblem(line, dotted(path), message, remedy))


def _is_surprising(text: str, value: float) -> bool:
    """Return whether a number is written in another way than everybody writes it.

    That is octal, hexadecimal, binary, base 60 with colons, or with underscores or a plus.
    """
    if isinstance(value, bool):
        return False
    if isinstance(value, int):
        return str(value) != text
    return re.search("[:_]", text) is not None


def dotted(path: KeyPath) -> str:
    """Write a key path as the user would say it: targets.nano.env.PATH."""
    return ".".join(str(part) for part in path)
