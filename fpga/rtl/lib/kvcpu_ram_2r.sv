// kvcpu_ram_2r - true dual-port memory, one clock: port A writes or reads, port B reads.
//
// Reads take one cycle. Port A's output keeps its value in a cycle that writes. Contents after reset are undefined; BLANK: in
// simulation they begin as zero, as the memory behind the tiers does.
`default_nettype none
module kvcpu_ram_2r #(
    parameter int unsigned WIDTH = 32,
    parameter int unsigned DEPTH = 256,
    parameter bit BLANK = 1'b0,
    localparam int unsigned AW = (DEPTH > 1) ? $clog2(DEPTH) : 1
) (
    input  wire logic             clk,
    input  wire logic             a_we,
    input  wire logic             a_en,
    input  wire logic [AW-1:0]    a_addr,
    input  wire logic [WIDTH-1:0] a_wdata,
    output logic      [WIDTH-1:0] a_rdata,
    input  wire logic             b_en,
    input  wire logic [AW-1:0]    b_addr,
    output logic      [WIDTH-1:0] b_rdata
);
    logic [WIDTH-1:0] mem [DEPTH];
`ifndef SYNTHESIS
    if (BLANK) begin : g_blank
        initial for (int unsigned i = 0; i < DEPTH; i++) mem[i] = '0;
    end
`endif

    always @(posedge clk) begin  // no always_ff: it would allow no other process to write `mem`, and there is `initial`
        if (a_we) mem[a_addr] <= a_wdata;
        else if (a_en) a_rdata <= mem[a_addr];
    end
    always_ff @(posedge clk) begin
        if (b_en) b_rdata <= mem[b_addr];
    end
endmodule
`default_nettype wire
