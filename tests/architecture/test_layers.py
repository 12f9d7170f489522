"""The house's one rule: an import goes down, never up and never sideways between rims; and nothing goes in circles."""

import ast
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

from .source import dotted, imports_of, modules, name_of, room_of, tree_of

# From the ground up. A room may import those on lower lines; rooms on one line do not know each other.
FLOORS = [
    {"domain"},
    {"config", "errors", "clock"},
    {"db", "dumps", "extensions", "logs", "security", "failpoints", "i18n"},
    {"bulk", "prepared", "remembered"},
    {"queues", "providers", "models"},
    {"services"},
    {"api", "web", "workers"},
    {"cli"},
    {"factory"},
    {"bench"},
]
FLOOR = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}
# A command makes its application when it is called from a shell, where nobody has made one yet.
UPWARDS = {("cli", "factory")}

# The door: it starts processes and must be quick, so it stands outside and knows only what is named here.
APART = {
    "bootstrap": set(),
    "logtail": {"greeting"},
    "greeting": {"config"},
    "embedded": {"config"},
    "presence": set(),
    "readiness": {"config", "greeting", "serve"},
    "serve": {"config", "logs", "presence", "simulator", "factory"},
    "supervisor": {"config", "embedded", "greeting", "logtail", "presence", "readiness", "serve"},
    # The judge of every test: it must not share a single line with what it judges.
    "simulator": set(),
    # It measures the product from outside and from inside, and does what the product does not (the baselines).
    "bench": {"bulk",
        "clock", "config", "db", "domain", "embedded", "factory", "models", "providers", "queues", "security",
        "serve", "services",
    },
}
IMPURE = {
    "flask", "flask_sqlalchemy", "flask_login", "flask_wtf", "flask_babel", "flask_limiter", "sqlalchemy", "redis",
    "rq", "rq_scheduler", "requests", "aiohttp", "htmx_flask", "structlog", "os", "socket", "subprocess",
}  # fmt: skip
WIRES = {"requests", "aiohttp", "urllib3"}
KNOW_THE_WIRE = {"providers", "simulator", "services", "bench"}


@pytest.mark.parametrize("path", modules(), ids=name_of)
def test_imports_go_down(path: Path) -> None:
    room = room_of(path)
    for target in imports_of(path):
        if target[0] != "wa_dashboard":
            assert room != "domain" or target[0] not in IMPURE, f"domain is pure, and imports {target[0]}"
            assert target[0] not in WIRES or room in KNOW_THE_WIRE, f"{room} speaks to the wire: {target[0]}"
            continue
        other = target[1] if len(target) > 1 else room
        if other == room or other == "__version__":
            continue
        if room in APART:
            assert other in APART[room], f"{room} stands apart and imports {other}"
        else:
            assert other not in APART or (room, other) in MAY_CALL_THE_DOOR, f"{room} imports the door: {other}"
            below = other in APART or FLOOR[other] < FLOOR[room] or (room, other) in UPWARDS
            assert below, f"{room} imports {other}, which is not below it"


MAY_CALL_THE_DOOR = {
    ("cli", "serve"), ("cli", "embedded"), ("cli", "presence"), ("cli", "simulator"),
    ("bench", "serve"), ("bench", "embedded"),
}  # fmt: skip


def test_every_room_has_a_floor() -> None:
    rooms = {room_of(path) for path in modules()}

    assert rooms - set(FLOOR) - set(APART) == set()
    assert (set(FLOOR) | set(APART)) - rooms == set()


def test_nothing_imports_in_a_circle() -> None:
    """Module by module, what a function imports later included: it would only hide the circle."""
    known = {dotted(path): path for path in modules()}
    graph: dict[str, set[str]] = {}
    for path in modules():
        used = set()
        for target in imports_of(path, _without_typing(path)):
            for name in (target, target[:-1]):
                if name in known and known[name] != path and (room_of(path), room_of(known[name])) not in UPWARDS:
                    used.add(name_of(known[name]))
                    break
        graph[name_of(path)] = used - _its_own_package(path)
    try:
        list(TopologicalSorter(graph).static_order())
    except CycleError as circle:
        pytest.fail(" → ".join(circle.args[1]))


def _its_own_package(path: Path) -> set[str]:
    """A module of a package may use what the package's ``__init__`` keeps for its modules."""
    return (
        {name_of(path.parent / "__init__.py")}
        if path.name != "__init__.py" and path.parent.name != "wa_dashboard"
        else set()
    )


def _without_typing(path: Path) -> ast.Module:
    """The tree without ``if TYPE_CHECKING:`` blocks: they import nothing when the program runs."""

    class Drop(ast.NodeTransformer):
        def visit_If(self, node: ast.If) -> ast.AST | None:
            return None if isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING" else node

    return Drop().visit(ast.parse(ast.unparse(tree_of(path))))
