// kvcpu_ram - simple dual-port memory, one clock: one write port, one read port.
//
// Reads take one cycle and hold their value while `ren` is low. A read of the word being written in the same cycle
// returns the old or the new word: callers must not depend on it. Contents after reset are undefined. Infers block RAM.
`default_nettype none
module kvcpu_ram #(
    parameter int unsigned WIDTH = 32,
    parameter int unsigned DEPTH = 256,
    localparam int unsigned AW = (DEPTH > 1) ? $clog2(DEPTH) : 1
) (
    input  wire logic             clk,
    input  wire logic             we,
    input  wire logic [AW-1:0]    waddr,
    input  wire logic [WIDTH-1:0] wdata,
    input  wire logic             ren,
    input  wire logic [AW-1:0]    raddr,
    output logic      [WIDTH-1:0] rdata
);
    logic [WIDTH-1:0] mem [DEPTH];

    always_ff @(posedge clk) begin
        if (we) mem[waddr] <= wdata;
    end
    always_ff @(posedge clk) begin
        if (ren) rdata <= mem[raddr];
    end
endmodule
`default_nettype wire
