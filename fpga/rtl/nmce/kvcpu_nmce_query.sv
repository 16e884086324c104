// kvcpu_nmce_query - the query buffer (R30): SLOTS vectors of HEAD_DIM FP16 values, as words for the host and as beats for the engine.
//
// A bank for each word of a beat, so that the engine reads a beat a cycle while the host reads or writes a word, never both in one cycle.
// Answers come in the next cycle. Resets leave the buffer as it is; what was never written is undefined, in simulation zero.
`default_nettype none
module kvcpu_nmce_query #(
    parameter int unsigned DATA_BITS = 512,
    parameter int unsigned HEAD_DIM = 128,
    parameter int unsigned SLOTS = 64,
    localparam int unsigned BEATS = SLOTS * HEAD_DIM * 16 / DATA_BITS,
    localparam int unsigned AW = $clog2(SLOTS * HEAD_DIM / 2),          // of a word
    localparam int unsigned BW = $clog2(BEATS)
) (
    input  wire logic                 clk,
    input  wire logic                 write,
    input  wire logic [AW-1:0]        waddr,
    input  wire logic [31:0]          wdata,
    input  wire logic                 read,
    input  wire logic [AW-1:0]        raddr,
    output logic [31:0]               rdata,

    input  wire logic                 beat_read,
    input  wire logic [BW-1:0]        beat_addr,
    output logic [DATA_BITS-1:0]      beat
);
    localparam int unsigned BANKS = DATA_BITS / 32;
    localparam int unsigned SW = (BANKS > 1) ? $clog2(BANKS) : 1;       // of a bank's number

    logic [AW-1:0]          addr;
    logic [SW-1:0]          bank, bank_read;
    logic [BANKS-1:0][31:0] found;
    assign addr = write ? waddr : raddr;
    assign bank = (BANKS > 1) ? addr[SW-1:0] : '0;
    always_ff @(posedge clk) if (read) bank_read <= bank;
    assign rdata = found[bank_read];

    for (genvar b = 0; b < BANKS; b++) begin : g_bank
        kvcpu_ram_2r #(.WIDTH(32), .DEPTH(BEATS), .BLANK(1'b1)) u_bank (
            .clk, .a_we(write && bank == SW'(b)), .a_en(read && bank == SW'(b)), .a_addr(addr[AW-1 -: BW]), .a_wdata(wdata), .a_rdata(found[b]),
            .b_en(beat_read), .b_addr(beat_addr), .b_rdata(beat[32*b +: 32])
        );
    end

    // ---- promises, checked in simulation ------------------------------------------------------------------------------------
`ifndef SYNTHESIS
    always_ff @(posedge clk) begin
        one_access: assert (!(read && write)) else $error("the host reads or writes the query buffer, never both in one cycle");
    end
`endif
endmodule
`default_nettype wire
