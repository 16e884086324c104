"""What scripts/coverage makes of the points that Verilator writes."""

from __future__ import annotations

from scripts.coverage import points


def point(count: int, **fields: object) -> str:
    return "C '" + "".join(f"\x01{name}\x02{value}" for name, value in fields.items()) + f"' {count}\n"


TEXT = "# SystemC::Coverage-3\n" + "".join([
    point(3, f="rtl/a.sv", l=7, n=5, page="v_line/a", o="block", h="TOP.u_a"),
    point(0, f="rtl/a.sv", l=9, n=5, page="v_branch/a", o="if", h="TOP.u_a"),
    point(0, f="rtl/a.sv", l=9, n=6, page="v_branch/a", o="else", h="TOP.u_a"),
    point(2, f="rtl/a.sv", l=9, n=6, page="v_branch/a", o="else", h="TOP.u_b"),
    point(0, f="rtl/b.sv", l=1, n=1, page="v_line/b", o="case", h="TOP.u_c"),
])  # fmt: skip


def test_instances_of_a_module_are_one():
    found = points.read(TEXT)
    assert found[points.Point("a.sv", 9, 6, "branch", "else")] == 2 and len(found) == 4
    assert points.by_module(found) == {
        "a.sv": {"line": (1, 1), "branch": (1, 2)},
        "b.sv": {"line": (0, 1), "branch": (0, 0)},
    }


def test_what_is_never_reached_is_named():
    assert points.unreached(points.read(TEXT)) == ["a.sv:9: branch if", "b.sv:1: line case"]
    assert points.unreached(points.read(TEXT) + points.read(TEXT.replace("' 0", "' 1"))) == []
