// kvcpu_nmce_results - the two result buffers, and the window SCORES that shows one of them.
//
// A buffer has the scores of a block's rows in FP32 and in FP16, two of those in a word, and where they were asked for the numerators, the
// largest score m and their sum Z. The window is FP32 scores, numerators at 0x400, FP16 scores at 0x800, m at 0xC00 and Z at 0xC04; what
// nobody has written there, or all of it while no buffer is shown, reads as zero. Answers come in the next cycle.
`default_nettype none
module kvcpu_nmce_results
    import kvcpu_nmce_pkg::*;
#(
    parameter int unsigned BLOCK_TOKENS = 32,
    localparam int unsigned TW = $clog2(BLOCK_TOKENS)
) (
    input  wire logic          clk,

    input  wire logic          write,               // rows come in order
    input  wire logic          write_buffer,
    input  wire logic [TW-1:0] write_row,
    input  wire score_t        score,

    input  wire logic          numerator_write,
    input  wire logic          totals_write,
    input  wire logic          numerator_buffer,    // of both
    input  wire logic [TW-1:0] numerator_row,
    input  wire logic [31:0]   numerator,
    input  wire logic [31:0]   largest,
    input  wire logic [31:0]   total,

    input  wire logic          shown,
    input  wire logic          shown_buffer,
    input  wire logic          shown_numerators,
    input  wire logic          read,
    input  wire logic [11:2]   raddr,
    output logic [31:0]        rdata
);
    // ---- which word it is ------------------------------------------------------------------------------------------------------
    typedef enum logic [2:0] {NOTHING, SINGLES, NUMERATORS, HALVES, LARGEST, TOTAL} word_e;
    word_e word, word_read;
    logic  buffer_read;
    always_comb begin
        word = NOTHING;
        if (shown) case (raddr[11:10])
            2'd0: if (32'(raddr[9:2]) < BLOCK_TOKENS) word = SINGLES;
            2'd1: if (32'(raddr[9:2]) < BLOCK_TOKENS && shown_numerators) word = NUMERATORS;
            2'd2: if (32'(raddr[9:2]) < BLOCK_TOKENS / 2) word = HALVES;
            default: if (shown_numerators && raddr[9:3] == '0) word = raddr[2] ? TOTAL : LARGEST;
        endcase
    end
    always_ff @(posedge clk) if (read) begin
        word_read <= word;
        buffer_read <= shown_buffer;
    end

    // ---- memories --------------------------------------------------------------------------------------------------------------
    logic [31:0]   single_read, numerator_read, halves_read;
    logic [15:0]   half_before;      // of the row in front, which is an even one
    logic [TW:0]   read_row;
    logic [TW-1:0] read_pair;
    assign read_row = {shown_buffer, raddr[TW+1:2]};
    assign read_pair = (shown_buffer ? TW'(BLOCK_TOKENS / 2) : '0) + raddr[TW+1:2];
    always_ff @(posedge clk) if (write) half_before <= score.half;

    kvcpu_ram #(.WIDTH(32), .DEPTH(2 * BLOCK_TOKENS)) u_singles (
        .clk, .we(write), .waddr({write_buffer, write_row}), .wdata(score.single), .ren(read), .raddr(read_row), .rdata(single_read)
    );
    kvcpu_ram #(.WIDTH(32), .DEPTH(BLOCK_TOKENS)) u_halves (
        .clk, .we(write && write_row[0]), .waddr(TW'({write_buffer, write_row} >> 1)), .wdata({score.half, half_before}),
        .ren(read), .raddr(read_pair), .rdata(halves_read)
    );
    kvcpu_ram #(.WIDTH(32), .DEPTH(2 * BLOCK_TOKENS)) u_numerators (
        .clk, .we(numerator_write), .waddr({numerator_buffer, numerator_row}), .wdata(numerator),
        .ren(read), .raddr(read_row), .rdata(numerator_read)
    );
    logic [1:0][31:0] largest_of, total_of;
    always_ff @(posedge clk) if (totals_write) begin
        largest_of[numerator_buffer] <= largest;
        total_of[numerator_buffer] <= total;
    end

    always_comb begin
        case (word_read)
            SINGLES:    rdata = single_read;
            NUMERATORS: rdata = numerator_read;
            HALVES:     rdata = halves_read;
            LARGEST:    rdata = largest_of[buffer_read];
            TOTAL:      rdata = total_of[buffer_read];
            default:    rdata = '0;
        endcase
    end
endmodule
`default_nettype wire
