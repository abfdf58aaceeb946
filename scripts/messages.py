"""Print every message that a user can see, so that one can read them all in a row.

A message is a text in the code of the four packages, or in the templates of the pages, that has a
space and a lower-case word. Docstrings and comments are not messages; the help text of a command
is, though it is a docstring. What else is not a message is listed below, in ``NOT_READ_BY_USERS``
(calls), ``NOT_PROSE`` (patterns) and ``ATTRIBUTES`` (of HTML).

A value that the code fills in stands in braces, ``{folder}``. A part of a message that depends on
a condition stands in brackets with the alternative, ``[one | other]``.
"""

from __future__ import annotations

import ast
import inspect
import re
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("harness", "targets", "reports", "workloads")
NOT_OURS = "vendor"  # the folder of Plotly

NOT_READ_BY_USERS = frozenset(  # calls whose positional arguments a program reads
    {"compile", "match", "search", "fullmatch", "findall", "finditer", "sub", "execute", "sql"}
    | {"split", "partition", "startswith", "endswith", "removeprefix", "removesuffix", "replace"}
    | {"getElementById", "querySelector", "querySelectorAll", "closest", "matchMedia"}
)
NOT_PROSE = re.compile(
    r"""
      ^\s*import\ \w | \w\ \|\ None\b           # Python
    | ^\s*(SELECT|SET|INSERT|CREATE)\b          # SQL
    | ;\ then\ exec\b | ^\s*(exec|eval|set\ --)\s  # shell
    | ;\s*\n                                    # C, JavaScript
    | ^<(\?xml|svg)\b | ^\s*</?[a-z]+[^>]*>\s*$  # XML, one tag of HTML
    | \bdefault-src\b                          # a content security policy
    | ^(top|bottom)\ (left|right|center)$      # where Plotly puts a text
    | ^[#.\[]?[\w-]+\[[\w="-]+\]                # CSS selectors
    """,
    re.VERBOSE,
)
ATTRIBUTES = frozenset(("title", "aria-label", "placeholder", "alt", "data-label", "data-title"))
INLINE = frozenset(("a", "b", "code", "em", "i", "small", "span", "strong"))  # of HTML

LONGEST_PLACEHOLDER = 48
IF, ELSE, END = "\ue000\ue001\ue002"  # around what depends on a condition, until it is printed
SHOWN = str.maketrans({IF: "[", ELSE: " | ", END: "]"})


@dataclass(frozen=True)
class Message:
    """One text, where it is, and the function that has it."""

    line: int
    function: str
    text: str


def is_message(text: str) -> bool:
    """Tell prose from names, paths, numbers and code."""
    if NOT_PROSE.search(text):
        return False
    for part in re.split(f"[{IF}{ELSE}{END}]", text):
        words = re.sub(r"\{.*?\}", "X", part).strip()
        if " " in words and re.search(r"\b[a-z]{2,}\b", words):
            return True
    return False


# Python


class PythonMessages(ast.NodeVisitor):
    """Gather the texts of one module. A text with the parts it is joined from counts as one."""

    def __init__(self) -> None:
        """Start without messages, outside every function."""
        self.found: list[Message] = []
        self.names: list[str] = []

    def visit(self, node: ast.AST) -> None:
        """Take a text whole, with the texts inside its placeholders; else look inside the node."""
        if isinstance(node, ast.expr) and is_text(node):
            text = Rendered(node)
            self.found.append(Message(node.lineno, ".".join(self.names), text.shown))
            for value in text.placeholders:
                self.visit(value)
        else:
            super().visit(node)

    def visit_Module(self, node: ast.Module) -> None:
        """Leave out the docstring, unless the module prints it."""
        printed = any(isinstance(n, ast.Name) and n.id == "__doc__" for n in ast.walk(node))
        self.visit_body(node, has_help=printed)

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        """Leave out the docstring."""
        self.names.append(node.name)
        self.visit_body(node, has_help=False)
        self.names.pop()

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        """Leave out the docstring, unless it is the help text of a command."""
        self.names.append(node.name)
        decorators = [ast.unparse(decorator) for decorator in node.decorator_list]
        is_command = any(re.match(r"\w+\.(command|callback)\b", text) for text in decorators)
        self.visit_body(node, has_help=is_command)
        self.names.pop()

    def visit_body(self, node: ast.Module | ast.ClassDef | ast.FunctionDef, has_help: bool) -> None:
        """Look through a body; every docstring in it is a bare expression."""
        first = node.body[0] if node.body else None
        for child in ast.iter_child_nodes(node):
            if not is_docstring(child) or (has_help and child is first):
                self.visit(child)

    def visit_Call(self, node: ast.Call) -> None:
        """Leave out what only a program reads."""
        name = ast.unparse(node.func).rpartition(".")[2]
        if name not in NOT_READ_BY_USERS:
            self.generic_visit(node)
            return
        for part in (node.func, *(keyword.value for keyword in node.keywords)):
            self.visit(part)

    def visit_Compare(self, node: ast.Compare) -> None:
        """Leave out the texts that others are compared with."""
        for operand in (node.left, *node.comparators):
            if not is_text(operand):
                self.visit(operand)


def is_docstring(node: ast.AST) -> bool:
    """Return whether the node is a text that stands alone."""
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


def is_text(node: ast.expr) -> bool:
    """Return whether an expression is put together from literal text."""
    if isinstance(node, ast.Constant):
        return isinstance(node.value, str)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return is_text(node.left) or is_text(node.right)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mod):
        return is_text(node.left)
    if isinstance(node, ast.IfExp):
        return is_text(node.body) or is_text(node.orelse)
    if isinstance(node, ast.BoolOp):
        return any(is_text(value) for value in node.values)
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
        return node.func.attr == "format" and is_text(node.func.value)
    return isinstance(node, ast.JoinedStr)


class Rendered:
    """A text as a user would read it, and the values that its placeholders stand for."""

    def __init__(self, node: ast.expr) -> None:
        """Render the expression."""
        self.placeholders: list[ast.expr] = []
        self.shown = self.text_of(node)

    def text_of(self, node: ast.expr) -> str:
        """Return the text of an expression, of a part of one, or a placeholder."""
        if isinstance(node, ast.Constant) and node.value is None:
            return ""
        if not is_text(node):
            return self.placeholder(node)
        if isinstance(node, ast.Constant):
            return str(node.value)
        if isinstance(node, ast.JoinedStr):
            return "".join(self.text_of(part) for part in map(unwrapped, node.values))
        if isinstance(node, ast.IfExp):
            return f"{IF}{self.text_of(node.body)}{ELSE}{self.text_of(node.orelse)}{END}"
        if isinstance(node, ast.BoolOp):
            return IF + ELSE.join(map(self.text_of, node.values)) + END
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mod):
            values = node.right.elts if isinstance(node.right, ast.Tuple) else [node.right]
            return self.filled(r"%[-+#0 ]*[\d.]*[a-z]", self.text_of(node.left), values)
        if isinstance(node, ast.BinOp):
            return self.text_of(node.left) + self.text_of(node.right)
        assert isinstance(node, ast.Call)
        assert isinstance(node.func, ast.Attribute)
        return self.filled(r"\{(?::[^}]*)?\}", self.text_of(node.func.value), node.args)

    def filled(self, pattern: str, text: str, values: Iterable[ast.expr]) -> str:
        """Return the text of ``%`` or ``.format`` with its values where they will stand."""
        rest = iter(values)

        def value(match: re.Match[str]) -> str:
            given = next(rest, None)
            return match[0] if given is None else self.text_of(given)

        return re.sub(pattern, value, text).replace("%%", "%")

    def placeholder(self, node: ast.expr) -> str:
        """Return the name of a value."""
        self.placeholders.append(node)
        return f"{{{name_of(node)}}}"


def unwrapped(node: ast.expr) -> ast.expr:
    """Return what stands between the braces of an f-string."""
    return node.value if isinstance(node, ast.FormattedValue) else node


def name_of(node: ast.expr) -> str:
    """Return a short name for a value: ``names, ...`` for a list that is joined."""
    if isinstance(node, ast.Call) and ast.unparse(node.func).endswith(".join"):
        return f"{name_of(node.args[0])}, ..."
    if isinstance(node, (ast.GeneratorExp, ast.ListComp)):
        return name_of(node.elt)
    return cut(ast.unparse(node))


def cut(source: str) -> str:
    """Return an expression on one line and not too long, for use as a placeholder."""
    name = " ".join(source.split())
    if len(name) > LONGEST_PLACEHOLDER:
        name = name[: LONGEST_PLACEHOLDER - 3] + "..."
    return name.replace("{", "(").replace("}", ")")


# JavaScript: strings and template literals, with those inside the templates' placeholders

JS_TOKEN = re.compile(
    r"""
      (?P<comment>//[^\n]*|/\*.*?\*/)
    | (?P<regex>((?<=[(,=:!&|?;\[])|(?<=\breturn))\ ?
        /(?![/*])(?:\\.|\[(?:\\.|[^\]\n])*\]|[^/\n\\\[])+/[a-z]*)
    | (?P<string>"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*')
    | (?P<template>`)
    | (?P<open>\{) | (?P<close>\})
    """,
    re.VERBOSE | re.DOTALL,
)
JS_CALLED = re.compile(r"\b(\w+)\($")
JS_CLASS = re.compile(r"\bclass: $")


class Script:
    """Gathers the texts of a piece of JavaScript."""

    def __init__(self, source: str) -> None:
        """Scan the source."""
        self.source = source
        self.found: list[Message] = []
        place = 0
        while place < len(source):
            place = self.scan(place) + 1

    def scan(self, start: int) -> int:
        """Gather texts up to the closing brace that belongs to an opening one before ``start``."""
        depth = 0
        place = start
        while match := JS_TOKEN.search(self.source, place):
            place = match.end()
            if match["open"]:
                depth += 1
            elif match["close"]:
                if depth == 0:
                    return match.start()
                depth -= 1
            elif match["template"]:
                place = self.template(place)
            elif match["string"]:
                self.add(match.start(), match["string"][1:-1])
        return len(self.source)

    def template(self, start: int) -> int:
        """Gather a template literal from behind its opening quote; return where it ends."""
        text = ""
        place = start
        while place < len(self.source) and self.source[place] != "`":
            if self.source.startswith("${", place):
                end = self.scan(place + 2)
                text += "{" + cut(self.source[place + 2 : end]) + "}"
                place = end + 1
            else:
                step = 2 if self.source[place] == "\\" else 1
                text += self.source[place : place + step]
                place += step
        self.add(start - 1, text)
        return place + 1

    def add(self, place: int, text: str) -> None:
        """Keep a text, unless it is an argument that only a program reads."""
        before = self.source[max(0, place - 40) : place]
        called = JS_CALLED.search(before)
        if (called and called[1] in NOT_READ_BY_USERS) or JS_CLASS.search(before):
            return
        line = self.source.count("\n", 0, place) + 1
        self.found.append(Message(line, "", text))


# Jinja in HTML

JINJA = re.compile(r"\{#.*?#\}|\{\{-?(?P<value>.*?)-?\}\}|\{%-?\s*(?P<tag>.*?)\s*-?%\}", re.DOTALL)
JINJA_STRING = re.compile(r'"([^"]*)"')
MARKS = {"if": IF, "elif": ELSE, "else": ELSE, "endif": END}


class Template(HTMLParser):
    """Gathers the sentences of a template: text between tags, and what attributes say."""

    def __init__(self, source: str) -> None:
        """Read the template."""
        super().__init__()
        self.found: list[Message] = []
        self.values: list[str] = []
        self.text = ""
        self.line = 0
        self.in_script = False
        self.feed(JINJA.sub(self.without_jinja, source))
        self.close()
        self.end_text()

    def without_jinja(self, match: re.Match[str]) -> str:
        """Put a mark that HTML leaves alone in the place of an expression or a tag of Jinja."""
        code = match["value"] or match["tag"] or ""
        line = match.string.count("\n", 0, match.start()) + 1
        self.found += (Message(line, "", text) for text in JINJA_STRING.findall(code))
        lines = "\n" * match[0].count("\n")
        if match["value"]:
            self.values.append(cut(code.strip()))
            return f"\ue003{len(self.values) - 1}\ue004" + lines
        word = code.partition(" ")[0]
        mark = "<hr>" if word.endswith("macro") else MARKS.get(word, "")
        return mark + lines

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """End the text in front of a block; take what the attributes say."""
        for name, value in attrs:
            if name in ATTRIBUTES and value:
                self.add(self.getpos()[0], value)
        if tag not in INLINE:
            self.end_text()
        self.in_script = tag in ("script", "style")

    def handle_endtag(self, tag: str) -> None:
        """End the text of a block."""
        if tag not in INLINE:
            self.end_text()
        self.in_script = False

    def handle_data(self, data: str) -> None:
        """Add to the text of the block."""
        if self.in_script:
            return
        if not self.text.strip():
            blank = data[: len(data) - len(data.lstrip())]
            self.line = self.getpos()[0] + blank.count("\n")
        self.text += data

    def end_text(self) -> None:
        """Keep the text of a block."""
        self.add(self.line, self.text)
        self.text = ""

    def add(self, line: int, text: str) -> None:
        """Keep a text with its placeholders and conditions as they are shown."""
        text = re.sub("\ue003(\\d+)\ue004", lambda match: f"{{{self.values[int(match[1])]}}}", text)
        text = balanced(" ".join(text.split()))
        self.found.append(Message(line, "", text))


def balanced(text: str) -> str:
    """Return the text without the conditions that begin or end outside it."""
    opened: list[int] = []
    kept = dict(enumerate(text))
    for place, sign in enumerate(text):
        if sign == IF:
            opened.append(place)
        elif sign == ELSE and not opened:
            del kept[place]
        elif sign == END:
            if opened:
                opened.pop()
            else:
                del kept[place]
    for place in opened:
        del kept[place]
    return "".join(kept.values()).strip()


# All files


def messages_of(path: Path) -> list[Message]:
    """Return the messages of a file in the order of its lines."""
    source = path.read_text(encoding="utf-8")
    if path.suffix == ".py":
        module = PythonMessages()
        module.visit(ast.parse(source))
        found = module.found
    elif path.suffix == ".js":
        found = Script(source).found
    elif path.suffix == ".j2":
        found = Template(source).found
    else:
        found = [
            Message(line, "description", text.partition(":")[2].strip())
            for line, text in enumerate(source.splitlines(), start=1)
            if text.startswith("description:")
        ]
    unique = dict.fromkeys(message for message in found if is_message(message.text))
    return sorted(unique, key=lambda message: message.line)


def files() -> Iterator[Path]:
    """Yield the files that can hold messages, package by package."""
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*")):
            if path.suffix in (".py", ".yaml", ".js", ".j2") and NOT_OURS not in path.parts:
                yield path


def main() -> None:
    """Print the messages of every file."""
    count = 0
    for path in files():
        found = messages_of(path)
        if not found:
            continue
        count += len(found)
        print(f"\n{path.relative_to(ROOT)}")
        for message in found:
            place = f"{message.line} {message.function}".strip()
            text = inspect.cleandoc(message.text).translate(SHOWN).replace("\n", "\n      ")
            print(f"  {place}: {text}")
    print(f"{count} messages", file=sys.stderr)


if __name__ == "__main__":
    main()
