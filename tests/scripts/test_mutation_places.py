"""Places that the mutation test finds by itself (scripts/mutation/places.py): operators, names, sample, and why some survive."""

from __future__ import annotations

from collections import Counter

import pytest
from rich.console import Console

from kvfpga.transport.sim import build as verilator_build
from scripts.mutation import judges, mutate, survivors
from scripts.mutation.places import OPERATORS, design, enums, fit, in_text, outputs_of, places, sample
from scripts.mutation.survivors import SURVIVORS

RTL = verilator_build.rtl_root() / "rtl"
TESTS = RTL.parents[1] / "tests"

MODULE = """\
// a == b, and θ, in a comment
module small #(parameter int N = 1, localparam int M = N + 1) (input logic clk, input logic [3:0] a, output logic q);
    typedef enum logic [1:0] {IDLE, BUSY, DONE} state_e;
    state_e state;
    logic [M-1:0] count = 1;
    if (N > 1 && M == 2) begin : g_check
        $error("no");
    end
    wire unused_a = &{1'b0, a[3], 1'b0};
    always_ff @(posedge clk) begin
        if (on) count <= count + M'(3);
        for (int l = 0; l < N; l++) kept[l] <= {2{!a}};
        case (state)
            IDLE: q <= a[3:1] ? go : s.b[l +: 2];
        endcase
    end
    assign both = (x <= y) | (x > y);
    other #(.DEPTH(1)) u_other (.clk, .push(a && b), .mode(2'b10));
`ifndef SYNTHESIS
    always_ff @(posedge clk) told: assert (a == 1);
`endif
endmodule
"""
CHANGES = [
    (11, "if", "on", "!(on)"), (11, "hold", "count + M'(3)", "count"), (11, "add", "+", "-"),
    (12, "hold", "{2{!a}}", "kept[l]"), (12, "not", "!a", "a"),
    (14, "next", "IDLE", "BUSY"), (14, "hold", "a[3:1] ? go : s.b[l +: 2]", "q"),
    (14, "arms", "go : s.b[l +: 2]", "(s.b[l +: 2]) : (go)"),
    (14, "cut", "a[3:1]", "{1'b0, a[(3)-1:1]}"), (14, "cut", "s.b[l +: 2]", "{1'b0, s.b[l +: (2)-1]}"),
    (17, "mask", "|", "&"), (17, "less", "<=", "<"), (17, "more", ">", ">="),
    (18, "and", "&&", "||"),
]  # fmt: skip


@pytest.fixture(scope="module")
def found():
    return places(RTL)


def test_operators_change_behaviour_and_nothing_else():
    made = [(place.line, place.operator, place.old, place.new) for place in in_text("small.sv", MODULE, enums(MODULE))]
    assert made == CHANGES


@pytest.mark.parametrize(
    "old, new", [("1'b0", "1'b1"), ("'1", "'0"), ("0", "1"), ("16'h0001", "16'h0000"), ("4'd0", "4'd1"), ("2'b01", "2'b00")]
)
def test_a_constant_of_one_bit_becomes_the_other(old, new):
    assert [(p.operator, p.new) for p in in_text("m.sv", f"module m; assign q = {old}; endmodule", {})] == [("bit", new)]


def test_what_an_output_drives_stays():
    """There it would have two drivers."""
    text = "module m; other u_o (.q(w[1]), .a(w[1])); foreign u_f (.q(w[1])); endmodule"
    other = "module other (input wire logic a, output logic q); endmodule"
    outputs = {*outputs_of(other)}
    assert outputs == {"other.q"}
    assert [text.encode()[: p.start].count(b"w[") for p in in_text("m.sv", text, {}, outputs)] == [2, 3]


@pytest.mark.parametrize("constant", ["2'b10", "10", "8'd2", "'x", "16'h10", "2'b1x"])
def test_other_constants_stay(constant):
    assert list(in_text("m.sv", f"module m; assign q = {constant}; endmodule", {})) == []


def test_a_change_applies_where_its_place_is_and_keeps_the_lines():
    text = "module m; // θ\nassign q = a ?\n  b :\n  c;\nalways_ff @(posedge k) r <= b\n  + c;\nendmodule\n"
    arms, hold, add = in_text("m.sv", text, {})
    assert arms.applied(text) == text.replace("b :\n  c;", "(c) :\n  (b);")
    assert hold.applied(text) == text.replace("b\n  + c;", "r\n;") and add.applied(text) == text.replace("+", "-")


def test_a_name_stays_where_its_line_does():
    text = "module m;\n    assign q = a && b && c;\nendmodule\n"
    names = [place.name for place in in_text("kvcpu_m.sv", text, {})]
    moved = [place.name for place in in_text("kvcpu_m.sv", text.replace("    assign", "assign r = '0;\n  assign"), {})]
    other = [place.name for place in in_text("kvcpu_m.sv", text.replace("q", "r"), {})]
    assert names == [f"m.{names[0].split('.')[1]}.and", f"{names[0]}2"]
    assert moved[1:] == names and not set(other) & set(names)


def test_places_are_in_every_module_and_have_names_of_their_own(found):
    empty = {"kvcpu_handshake_check.sv"}  # an assertion
    files = {path.name for path in RTL.rglob("*.sv") if path.parent.name != "gen"}
    assert {place.file for place in found} == files - empty
    assert len({place.name for place in found}) == len(found)
    assert {place.operator for place in found} == {name for name, *_ in OPERATORS}


def test_every_place_is_where_it_says(found):
    texts = {path.name: path.read_bytes() for path in RTL.rglob("*.sv")}
    for place in found:
        data = texts[place.file]
        assert data[place.start : place.end].decode() == place.old != place.new
        assert place.applied(data.decode()).count("\n") == data.decode().count("\n")


def test_a_sample_is_spread_over_the_modules_and_the_same_every_time(found):
    files = {place.file for place in found}
    drawn = sample(found, 2 * len(files), seed=7)
    assert set(Counter(place.file for place in drawn).values()) == {2}
    assert sample(found, 40, seed=7) == drawn[:40] and sample(found, 40, seed=8) != drawn[:40]


def test_a_place_that_goes_moves_no_other(found):
    drawn = sample(found, 80, seed=3)
    rest = sample([place for place in found if place != drawn[5]], 80, seed=3)
    assert len(set(drawn) - set(rest)) == 1


def test_every_survivor_is_a_place_and_has_a_reason():
    for name, survivor in SURVIVORS.items():
        assert name in mutate.found_places(), f"survivors.py explains {name}, which is gone: take the row out"
        assert survivor.kind in (survivors.EQUIVALENT, survivors.TIME, survivors.PORTS, survivors.BUILDS) and survivor.why
        assert bool(survivor.test) == (survivor.kind == survivors.PORTS)
        assert not survivor.test or (TESTS / survivor.test).is_file()


def test_fates():
    result = {"name": "fifo.000000.and", "caught": False}
    assert mutate.fate(result) == "SURVIVED" and mutate.fate(result | {"caught": True}) == "caught"
    assert mutate.fate(result | {"equivalent": True}) == "equivalent"
    assert mutate.fate(result | {"stillborn": "why"}) == "stillborn"
    for name in SURVIVORS:
        assert mutate.fate(result | {"name": name}) == "explained"


def test_the_table_has_a_row_a_module_and_says_what_survived(found):
    one, two = sample(found, 2, seed=1)
    results = [{"name": one.name, "fate": "caught"}, {"name": two.name, "fate": "SURVIVED"}]
    console = Console(width=120)
    with console.capture() as shown:
        console.print(mutate.table_of_found(results))
    lines = shown.get().splitlines()
    module = two.file.removeprefix("kvcpu_").removesuffix(".sv")
    assert any(line.split("│")[1].strip() == module and line.split("│")[4].strip() == "1" for line in lines if "│" in line)
    assert any(line.startswith(two.name) and f"{two.file}:{two.line}" in line for line in lines)
    assert "not explained in survivors.py" in lines[-1] and one.name not in shown.get()


def test_the_command_lists_the_sample_and_a_place(monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["mutate", "--found", "5", "--seed", "9", "--list"])
    assert mutate.main() == 0
    names = [line.split()[0] for line in capsys.readouterr().out.splitlines()]
    assert names == [place.name for place in mutate.chosen_places(5, 9)]
    monkeypatch.setattr("sys.argv", ["mutate", "--only", names[0], "--list"])
    assert mutate.main() == 0 and capsys.readouterr().out.startswith(names[0])


def test_a_name_that_is_neither_is_refused():
    with pytest.raises(mutate.Unfit, match="there is no mutation fifo.000000.and"):
        mutate.by_name("fifo.000000.and")


def test_a_proof_about_its_module_catches_what_passes_the_lockstep(found):
    full = next(place for place in found if place.file == "kvcpu_fifo.sv" and place.operator == "add" and place.old == "-")
    caught = judges.proofs(full)
    assert caught["caught"] and caught["scenario"] == "proof fifo" and caught["device"].startswith("fifo.sv:")


# ---- many places in one design ---------------------------------------------------------------------------------------
NESTED = """\
module top(input logic clk, a, b, output logic [3:0] q);
    assign q = a && !b ? 4'd0 : 4'd5;
endmodule
"""


def test_a_design_has_many_places_and_one_is_chosen():
    swap, both, no, zero = in_text("top.sv", NESTED, {})
    made = design({"top.sv": NESTED}, [swap, no, both])
    assert "chosen = kvcpu_mutant()" in made["kvcpu_mutant_pkg.sv"]
    line = made["top.sv"].splitlines()[1].replace("kvcpu_mutant_pkg::chosen", "n")
    assert line == (
        "    assign q = (n == 1 ? (a && !b ? (4'd5) : (4'd0))"
        " : ((n == 3 ? (a || !b) : (a && (n == 2 ? (b) : (!b)))) ? 4'd0 : 4'd5));"
    )
    assert fit({"top.sv": NESTED}, [swap, both, no, zero], "top") == [swap, both, no, zero]


def test_what_is_wanted_when_the_design_is_built_is_tried_alone():
    text = """\
module top(output logic [3:0] q);
    function automatic int one(input int n); one = n + 1; endfunction
    localparam int WIDTH = one(1);
    assign q = WIDTH == 2 ? 4'd1 : 4'd5;
endmodule
"""
    add, *others = found = [place for place in in_text("top.sv", text, {}) if place.old != "1"]
    assert add.operator == "add" and len(others) == 3 and fit({"top.sv": text}, found, "top") == others


def test_the_whole_rtl_with_a_place_of_every_module_is_a_design(found):
    texts = {path.name: path.read_text() for path in verilator_build.rtl_sources()}
    drawn = sample([place for place in found if place.file in texts], 100, seed=1)
    # The constants of the compute engine are worked out when the design is built, and so tried alone.
    assert fit(texts, drawn, verilator_build.TOP) == [place for place in drawn if place.file != "kvcpu_nmce_pkg.sv"]
