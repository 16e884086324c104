// In place of kvcpu_fifo, which has a property of its own, for those of its users: the same with its words in a row, the oldest in mem[0];
// a queue of more than 8 words has 2.
`default_nettype none
module kvcpu_fifo #(
    parameter int unsigned WIDTH = 32, parameter int unsigned DEPTH = 16, localparam int unsigned AW = $clog2(DEPTH),
    localparam int unsigned WORDS = (DEPTH > 8) ? 2 : DEPTH
) (
    input wire logic clk, input wire logic rst, input wire logic push, input wire logic [WIDTH-1:0] wdata, input wire logic pop,
    output logic [WIDTH-1:0] rdata, output logic empty, output logic full, output logic [AW:0] level
);
    logic [WORDS:0][WIDTH-1:0] mem;
    logic                      take, put;
    assign empty = (level == '0);
    assign full = (32'(level) == WORDS);
    assign rdata = mem[0];
    assign put = push && (!full || pop);
    assign take = pop && !empty;
    always_ff @(posedge clk) begin
        for (int i = 0; i < WORDS; i++) begin
            if (take) mem[i] <= mem[i+1];
            if (put && i == 32'(level) - 32'(take)) mem[i] <= wdata;
        end
        level <= rst ? '0 : level + (AW+1)'(put) - (AW+1)'(take);
    end
    always_comb assert (rst || 32'(level) <= WORDS);
endmodule
`default_nettype wire
