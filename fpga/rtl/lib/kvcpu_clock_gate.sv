// kvcpu_clock_gate - a clock that runs while there is work, and for LINGER cycles behind it; then it rests, low.
//
// A simulator spends its time on what is clocked, so what has nothing to do gets no clock there (GATED 1). On a board the gate is a
// wire (GATED 0): one clock net, and no enable that a clock would have to wait for. Both behave alike, cycle by cycle, if this holds:
//
//   what is clocked by `gated` and has seen no `work` for LINGER cycles does not change any more.
//
// So `work` names what can begin something from outside and what can last longer than LINGER cycles; what ends by itself within
// LINGER cycles needs no term. `work` may depend on inputs of this cycle: the latch takes it while `clk` is low and holds it while
// `clk` is high, so the first cycle with work has its edge already and every pulse is a whole one.
`default_nettype none
module kvcpu_clock_gate #(
    parameter logic        GATED = 1'b0,
    parameter int unsigned LINGER = 15
) (
    input  wire logic clk,
    input  wire logic rst,
    input  wire logic work,
    output logic      gated
);
    if (LINGER < 1) begin : g_check
        $error("%m: LINGER must be 1 or more");
    end

    if (GATED) begin : g_gate
        localparam int unsigned W = $clog2(LINGER + 1);
        logic [W-1:0] left;  // cycles to linger
        logic         open;

        always_ff @(posedge gated) begin  // a clock that rests has none left
            if (rst || work) left <= W'(LINGER);
            else if (left != '0) left <= left - 1'b1;
        end
        always_latch if (!clk) open = rst || work || left != '0;
        assign gated = clk && open;
    end else begin : g_wire
        assign gated = clk;
        wire unused = &{1'b0, rst, work, 1'b0};
    end
endmodule
`default_nettype wire
