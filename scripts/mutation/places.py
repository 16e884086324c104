"""Places where the RTL can be broken, found by themselves: a small set of operators on the syntax trees of all modules.

pyslang reads the files under fpga/rtl but `gen`, as synthesis sees them: SYNTHESIS is defined, so assertions are not there. Only
behaviour is changed: what processes, functions, assignments and connections of ports read, and whether they do. Declarations,
types, parameters, checks at elaboration, conditions of what is generated, heads of loops and indices of slices stay as they are.

A place is named module.line.operator: the module without its `kvcpu_`, six digits of the hash of its line without the
indentation, the operator, and a number from the second of the same name on, as in `fifo.8c01d2.and2`. So a name stays as long as
its line does, wherever in its file that goes. `sample` draws by names, too: a new place takes at most the place of one other.

`design` puts many places into one set of sources, where a number says which of them counts (none: 0).
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Callable, Container, Iterator, Mapping
from itertools import chain, islice, zip_longest
from pathlib import Path
from typing import NamedTuple

from pyslang import Bag, SourceManager
from pyslang.ast import Compilation, CompilationOptions
from pyslang.parsing import PreprocessorOptions, Token
from pyslang.syntax import SyntaxKind, SyntaxNode, SyntaxTree

from scripts.mutation.quick_build import CHOICE

KIND = SyntaxKind


class Place(NamedTuple):
    """Bytes `start` to `end` of `file`, which is anywhere below fpga/rtl, become `new`. `line` counts from 1. Bytes `first` to
    `last` are the smallest expression around them."""

    name: str
    file: str
    line: int
    operator: str
    start: int
    end: int
    old: str
    new: str
    first: int
    last: int

    def applied(self, text: str) -> str:
        """The text of the file with this place changed. Every other line stays where it is."""
        data = text.encode()
        return (data[: self.start] + self.new.encode() + data[self.end :]).decode()


class Change(NamedTuple):
    """What an operator does to a node. `at`: the byte whose line names the place. `whole`: the expression, if the change is only
    a part of it."""

    start: int
    end: int
    new: str
    at: int
    whole: SyntaxNode | None = None


# ---- operators -----------------------------------------------------------------------------------------------------
class Source:
    """A file's tree and text. `behind`: the constant that comes next in its enum, of each that the file may use."""

    def __init__(self, text: str, behind: Mapping[str, str]):
        options = PreprocessorOptions()
        options.predefines = ["SYNTHESIS=1"]
        self.data, self.behind = text.encode(), behind
        self.tree = SyntaxTree.fromText(text, SourceManager(), options=Bag([options]))
        self.root = self.tree.root

    def text(self, node: SyntaxNode) -> str:
        return self.data[node.sourceRange.start.offset : node.sourceRange.end.offset].decode()

    def replace(self, node: SyntaxNode | Token, new: str, at: Token | None = None) -> Change:
        """`node` becomes `new`. `at`: the token in it that names the place, if not the first."""
        span = node.range if isinstance(node, Token) else node.sourceRange
        start, end = span.start.offset, span.end.offset
        return Change(start, end, new, at.location.offset if at else start)


def other(*pairs: str) -> Callable[[Source, SyntaxNode], Change]:
    """The operator between two expressions becomes that which is beside it in one of `pairs`."""
    swap = dict(chain.from_iterable((pair.split(), pair.split()[::-1]) for pair in pairs))
    return lambda source, node: source.replace(node.operatorToken, swap[node.operatorToken.rawText])._replace(whole=node)


def invert(source: Source, node: SyntaxNode) -> Change:
    return source.replace(node.predicate, f"!({source.text(node.predicate)})")


def plain(source: Source, node: SyntaxNode) -> Change:
    """No `!`, no `~`."""
    return source.replace(node, source.text(node.operand))


def hold(source: Source, node: SyntaxNode) -> Change:
    """A register that keeps its value."""
    return source.replace(node.right, source.text(node.left), node.operatorToken)


def arms(source: Source, node: SyntaxNode) -> Change:
    left, right = node.left.sourceRange, node.right.sourceRange
    between = source.data[left.end.offset : right.start.offset].decode()
    new = f"({source.text(node.right)}){between}({source.text(node.left)})"
    return Change(left.start.offset, right.end.offset, new, node.question.location.offset, node)


def bit(source: Source, node: SyntaxNode) -> Change | None:
    """0 becomes 1 and 1 becomes 0, of any width; '0 becomes '1."""
    literal = re.fullmatch(r"((?:\d*'[bdh]?)?0*)([01])", source.text(node))
    return source.replace(node, literal[1] + "10"[int(literal[2])]) if literal else None


def cut(source: Source, node: SyntaxNode) -> Change | None:
    """The highest bit of a slice is 0."""
    shapes = {
        KIND.SimpleRangeSelect: "({0})-1:{1}",
        KIND.AscendingRangeSelect: "{0} +: ({1})-1",
        KIND.DescendingRangeSelect: "({0})-1 -: ({1})-1",
    }
    whole, select = full_name(node.parent), node.selector
    if select.kind not in shapes or whole.sourceRange.end.offset != node.sourceRange.end.offset:
        return None
    name = source.data[whole.sourceRange.start.offset : node.sourceRange.start.offset].decode()
    part = shapes[select.kind].format(source.text(select.left), source.text(select.right))
    return source.replace(whole, f"{{1'b0, {name}[{part}]}}")


def neighbour(source: Source, node: SyntaxNode) -> Change | None:
    """An enum's constant becomes the one behind it, the last the first."""
    name = node.identifier.rawText
    return source.replace(node, source.behind[name])._replace(whole=full_name(node)) if name in source.behind else None


def full_name(node: SyntaxNode) -> SyntaxNode:
    """All of the name that ends with that: a.b[3:0], pkg::IDLE."""
    while node.parent.kind == KIND.ScopedName:
        node = node.parent
    return node


OPERATORS: tuple[tuple[str, tuple[SyntaxKind, ...], Callable[[Source, SyntaxNode], Change | None]], ...] = (
    ("equal", (KIND.EqualityExpression, KIND.InequalityExpression), other("== !=")),
    ("less", (KIND.LessThanExpression, KIND.LessThanEqualExpression), other("< <=")),
    ("more", (KIND.GreaterThanExpression, KIND.GreaterThanEqualExpression), other("> >=")),
    ("and", (KIND.LogicalAndExpression, KIND.LogicalOrExpression), other("&& ||")),
    ("mask", (KIND.BinaryAndExpression, KIND.BinaryOrExpression), other("& |")),
    ("add", (KIND.AddExpression, KIND.SubtractExpression), other("+ -")),
    ("not", (KIND.UnaryLogicalNotExpression, KIND.UnaryBitwiseNotExpression), plain),
    ("if", (KIND.ConditionalStatement,), invert),
    ("hold", (KIND.NonblockingAssignmentExpression,), hold),
    ("arms", (KIND.ConditionalExpression,), arms),
    ("bit", (KIND.IntegerLiteralExpression, KIND.IntegerVectorExpression, KIND.UnbasedUnsizedLiteralExpression), bit),
    ("cut", (KIND.ElementSelect,), cut),
    ("next", (KIND.IdentifierName,), neighbour),
)  # fmt: skip
"""Name, kinds of nodes it is for, and what it does to one."""

# ---- where to look ---------------------------------------------------------------------------------------------------
LEFT_ALONE = {
    KIND.PackageImportDeclaration, KIND.ParameterPortList, KIND.ParameterDeclarationStatement, KIND.TypedefDeclaration,
    KIND.AnsiPortList, KIND.DataDeclaration, KIND.FunctionPrototype, KIND.ParameterValueAssignment, KIND.ElabSystemTask,
    KIND.EventControlWithExpression, KIND.SimpleRangeSelect, KIND.AscendingRangeSelect, KIND.DescendingRangeSelect,
}  # fmt: skip
ONLY = {
    KIND.ForLoopStatement: ("statement",),
    KIND.LoopGenerate: ("block",),
    KIND.IfGenerate: ("block", "elseClause"),
    KIND.CastExpression: ("right",),
    KIND.AssignmentExpression: ("right",),
    KIND.NonblockingAssignmentExpression: ("right",),
    KIND.AssignmentPatternItem: ("expr",),
    KIND.MultipleConcatenationExpression: ("concatenation",),
    KIND.ScopedName: ("right",),
}
"""Of these, the parts that are behaviour."""


def behaviour(node: SyntaxNode, outputs: Container[str]) -> Iterator[SyntaxNode]:
    """All nodes that an operator may look at, in the order of the text."""
    if node.kind in LEFT_ALONE or is_unused(node) or is_written(node, outputs):
        return
    yield node
    parts = (getattr(node, name) for name in ONLY[node.kind]) if node.kind in ONLY else node
    for part in parts:
        if isinstance(part, SyntaxNode):
            yield from behaviour(part, outputs)


def is_unused(node: SyntaxNode) -> bool:
    """A net declared for the linters: `wire unused_… = …`."""
    return node.kind == KIND.NetDeclaration and all(
        d.name.rawText.startswith("unused") for d in node.declarators if isinstance(d, SyntaxNode)
    )


def is_written(node: SyntaxNode, outputs: Container[str]) -> bool:
    """What an instance's output drives: elsewhere than there it would have two drivers, which no tool takes."""
    if node.kind != KIND.NamedPortConnection:
        return False
    return f"{node.parent.parent.type.rawText}.{node.name.rawText}" in outputs


def outputs_of(text: str) -> Iterator[str]:
    """module.port of each output of the modules in a file."""
    found: list[str] = []

    def enter(header: SyntaxNode) -> None:
        ports = header.ports.ports if header.ports else ()
        found.extend(
            f"{header.name.rawText}.{port.declarator.name.rawText}"
            for port in ports
            if isinstance(port, SyntaxNode) and port.header.direction.rawText == "output"
        )

    Source(text, {}).root.visit(lookup_table={KIND.ModuleHeader: enter})
    return iter(found)


def enums(text: str) -> dict[str, str]:
    """The constant behind each of the enums that a file declares."""
    found: dict[str, str] = {}

    def enter(node: SyntaxNode) -> None:
        names = [member.name.rawText for member in node.members if isinstance(member, SyntaxNode)]
        found.update(zip(names, names[1:] + names[:1]))

    Source(text, {}).root.visit(lookup_table={KIND.EnumType: enter})
    return found


def in_text(file: str, text: str, behind: Mapping[str, str], outputs: Container[str] = ()) -> Iterator[Place]:
    """The places of one file, in the order of the text. `behind`: of the enums it sees. `outputs`: of the modules it uses."""
    source, lines, names = Source(text, behind), text.split("\n"), Counter[str]()
    for node in behaviour(source.root, outputs):
        for operator, kinds, change in OPERATORS:
            made = change(source, node) if node.kind in kinds else None
            if made is None:
                continue
            line = source.data[: made.at].count(b"\n")
            digits = hashlib.sha256(lines[line].strip().encode()).hexdigest()[:6]
            name = f"{Path(file).stem.removeprefix('kvcpu_')}.{digits}.{operator}"
            names[name] += 1
            old = source.data[made.start : made.end].decode()
            new = made.new + "\n" * (old.count("\n") - made.new.count("\n"))
            if new != old:
                number = str(names[name]) if names[name] > 1 else ""
                span = made.whole.sourceRange if made.whole else None
                first, last = (span.start.offset, span.end.offset) if span else (made.start, made.end)
                yield Place(name + number, file, line + 1, operator, made.start, made.end, old, new, first, last)


def places(rtl: Path) -> list[Place]:
    """All places of the RTL in the folder `rtl`, by module."""
    files = sorted(rtl.rglob("*.sv"))
    outputs = {port for path in files for port in outputs_of(path.read_text())}
    texts = {path.name: path.read_text() for path in files if path.parent.name != "gen"}
    declared = {name: enums(text) for name, text in texts.items()}
    shared = {k: v for name, found in declared.items() if name.endswith("_pkg.sv") for k, v in found.items()}
    return [place for name, text in sorted(texts.items()) for place in in_text(name, text, shared | declared[name], outputs)]


def sample(found: list[Place], count: int, seed: int) -> list[Place]:
    """`count` of them, from each module in turn."""

    def draw(place: Place) -> bytes:
        return hashlib.sha256(f"{seed} {place.name}".encode()).digest()

    files = sorted({place.file for place in found}, key=lambda file: hashlib.sha256(f"{seed} {file}".encode()).digest())
    queues = [sorted((place for place in found if place.file == file), key=draw) for file in files]
    return list(islice((place for turn in zip_longest(*queues) for place in turn if place), count))


# ---- many places in one design ---------------------------------------------------------------------------------------
CHOICE_TEXT = """\
package kvcpu_mutant_pkg;
    import "DPI-C" function int kvcpu_mutant();
    int chosen = kvcpu_mutant();
endpackage
"""


def with_choices(text: str, numbered: Mapping[int, Place]) -> str:
    """The text of a file with all these places of it, each of which counts where kvcpu_mutant_pkg::chosen is its number."""
    data = text.encode()
    within = sorted(numbered.items(), key=lambda item: (item[1].first, -item[1].last))

    def part(start: int, end: int, inside: list[tuple[int, Place]]) -> str:
        written = ""
        while inside:
            (number, place), *rest = inside
            inner = [item for item in rest if item[1].first < place.last]
            changed = (data[place.first : place.start] + place.new.encode() + data[place.end : place.last]).decode()
            choice = f"(kvcpu_mutant_pkg::chosen == {number} ? ({changed}) : ({part(place.first, place.last, inner)}))"
            written += data[start : place.first].decode() + choice
            start, inside = place.last, rest[len(inner) :]
        return written + data[start:end].decode()

    return part(0, len(data), within)


def design(texts: Mapping[str, str], chosen: list[Place]) -> dict[str, str]:
    """The files of a design that has all these places in it, numbered from 1, and the package that says which of them counts."""
    made = dict(texts) | {CHOICE: CHOICE_TEXT}
    for file in {place.file for place in chosen}:
        made[file] = with_choices(texts[file], {n: place for n, place in enumerate(chosen, 1) if place.file == file})
    return made


def fit(texts: Mapping[str, str], chosen: list[Place], top: str) -> list[Place]:
    """Those of the places that slang accepts in such a design. Others are wanted while it is built, or have no type there."""
    if not chosen or elaborates(design(texts, chosen), top):
        return chosen
    half = len(chosen) // 2
    return [*fit(texts, chosen[:half], top), *fit(texts, chosen[half:], top)] if half else []


def elaborates(texts: Mapping[str, str], top: str) -> bool:
    """Does slang take that design without an error?"""
    manager, options, parameters = SourceManager(), PreprocessorOptions(), CompilationOptions()
    options.predefines = ["SYNTHESIS=1"]
    parameters.topModules = {top}
    compilation = Compilation(Bag([options, parameters]))
    for name in sorted(texts, key=lambda name: (not name.endswith("_pkg.sv"), name)):
        compilation.addSyntaxTree(SyntaxTree.fromText(texts[name], manager, name, options=Bag([options])))
    return not any(diagnostic.isError() for diagnostic in compilation.getAllDiagnostics())
