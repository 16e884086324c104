// kvcpu_fifo - small first-in first-out queue with the oldest word always on `rdata` (show-ahead), in registers or LUT RAM.
//
// Latency: a word pushed into an empty queue can be read in the next cycle. A push into a full queue or a pop of an
// empty one is ignored; callers check `full` and `empty`. For deep or wide queues use kvcpu_ram_fifo.
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
    logic [AW-1:0] head, tail;

    assign empty = (level == '0);
    assign full  = level[AW];
    assign rdata = mem[head];

    always_ff @(posedge clk) begin
        if (push && !full) mem[tail] <= wdata;
    end
    always_ff @(posedge clk) begin
        if (rst) begin
            head <= '0;
            tail <= '0;
            level <= '0;
        end else begin
            if (push && !full) tail <= tail + 1'b1;
            if (pop && !empty) head <= head + 1'b1;
            if ((push && !full) != (pop && !empty)) level <= (push && !full) ? level + 1'b1 : level - 1'b1;
        end
    end
endmodule
`default_nettype wire
