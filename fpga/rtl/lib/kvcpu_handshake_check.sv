// kvcpu_handshake_check - a promise, checked in simulation: what is valid stays so, with its data, until it is taken.
//
// That is AXI's rule, and the rule of every valid/ready handshake here. Nothing of it is left in hardware.
`default_nettype none
module kvcpu_handshake_check #(
    parameter int unsigned WIDTH = 1
) (
    input wire logic             clk,
    input wire logic             rst,
    input wire logic             valid,
    input wire logic             ready,
    input wire logic [WIDTH-1:0] data
);
`ifndef SYNTHESIS
    stays: assert property (@(posedge clk) disable iff (rst) valid && !ready |=> valid && $stable(data))
        else $error("what is valid stays so, with its data, until it is taken");
`endif
endmodule
`default_nettype wire
