// kvcpu_fifo - small first-in first-out queue with the oldest word always on `rdata` (show-ahead), in LUT RAM or registers.
//
// Latency: a word pushed into an empty queue can be read in the next cycle. All outputs are registers. A full queue takes a word
// in the cycle in which its oldest leaves. Any other push into a full queue, or a pop of an empty one, is the caller's mistake: it
// changes nothing, and an assertion fails. For deep or wide queues use kvcpu_ram_fifo.
`default_nettype none
module kvcpu_fifo #(
    parameter int unsigned WIDTH = 32,
    parameter int unsigned DEPTH = 16,
    localparam int unsigned AW = $clog2(DEPTH)
) (
    input  wire logic             clk,
    input  wire logic             rst,
    input  wire logic             push,
    input  wire logic [WIDTH-1:0] wdata,
    input  wire logic             pop,
    output logic      [WIDTH-1:0] rdata,
    output logic                  empty,
    output logic                  full,
    output logic      [AW:0]      level
);
    if (DEPTH < 2 || (DEPTH & (DEPTH - 1)) != 0) begin : g_check
        $error("%m: DEPTH must be a power of two, 2 or more");
    end

    logic [WIDTH-1:0] mem [DEPTH];
    logic [AW-1:0] second, tail;  // where the word behind the oldest is, and where the next goes
    logic          put, take;

    assign put   = push && (!full || pop);
    assign take  = pop && !empty;

    always_ff @(posedge clk) begin
        if (push) mem[tail] <= wdata;  // in a full queue that is the place of the oldest word, which is on `rdata`
        if (take || empty) rdata <= (level[AW:1] != '0) ? mem[second] : wdata;  // what it is while empty does not matter
    end
    always_ff @(posedge clk) begin
        if (rst) begin
            second <= AW'(1);
            tail <= '0;
            level <= '0;
            empty <= 1'b1;
            full <= 1'b0;
        end else begin
            if (put) tail <= tail + 1'b1;
            if (take) second <= second + 1'b1;
            if (put && !take) begin
                level <= level + 1'b1;
                empty <= 1'b0;
                full <= (level == (AW+1)'(DEPTH - 1));
            end else if (take && !put) begin
                level <= level - 1'b1;
                empty <= (level == (AW+1)'(1));
                full <= 1'b0;
            end
        end
    end

    // ---- promises, checked in simulation ------------------------------------------------------------------------------------
`ifndef SYNTHESIS
    always_ff @(posedge clk) begin
        if (!rst) begin
            no_overflow: assert (!(push && full && !pop)) else $error("nothing is pushed into a full queue");
            no_underflow: assert (!(pop && empty)) else $error("nothing is taken from an empty queue");
            level_holds: assert (level <= (AW+1)'(DEPTH) && empty == (level == '0) && full == (level == (AW+1)'(DEPTH)))
                else $error("level, empty and full agree");
        end
    end
`endif
endmodule
`default_nettype wire
