// kvcpu_uart_tx - serial transmitter: 8 data bits, no parity, 1 stop bit. valid/ready; a byte follows the one before without a gap
// of more than two clocks.
//
// `baud_step` is added to a 32-bit phase every clock, and a bit ends when it turns over; so the edges are those of the exact rate,
// each rounded to a clock.
`default_nettype none
module kvcpu_uart_tx (
    input  wire logic        clk,
    input  wire logic        rst,
    input  wire logic [31:0] baud_step,   // round(baud * 2^32 / clk_hz)
    input  wire logic        valid,
    input  wire logic [7:0]  data,
    output logic             ready,
    output logic             tx
);
    logic [3:0]  left;       // bits to go, the one on the line included
    logic [8:0]  following;
    logic [31:0] phase;
    logic        turn;

    assign ready = (left == 4'd0);

    always_ff @(posedge clk) begin
        if (ready) {turn, phase} <= {1'b0, baud_step} + {2'b00, baud_step[31:1]};  // half a step: rounds instead of cutting
        else {turn, phase} <= {1'b0, phase} + {1'b0, baud_step};
        if (rst) begin
            left <= 4'd0;
            tx <= 1'b1;
        end else if (ready) begin
            tx <= !valid;
            if (valid) left <= 4'd10;
        end else if (turn) begin
            tx <= following[0];
            left <= left - 4'd1;
        end
        if (ready) following <= {1'b1, data};
        else if (turn) following <= {1'b1, following[8:1]};
    end
endmodule
`default_nettype wire
