// kvcpu_uart_rx - serial receiver: 8 data bits, no parity, 1 stop bit, at any rate from 8 clocks a bit up.
//
// `baud_step` is added to a 32-bit phase every clock; the phase turns over once a bit. A bit is the majority of three samples,
// taken as the phase enters the 4th, 5th and 6th eighth of it. A start bit that is not low there was a glitch and is forgotten. A
// byte ends in the middle of its stop bit, so a sender may be a few percent faster.
//   valid   pulse: `data` is a byte             error   pulse: the stop bit was low; nothing more is received until the line is high
//   busy    within a byte, or the line is low
`default_nettype none
module kvcpu_uart_rx (
    input  wire logic        clk,
    input  wire logic        rst,
    input  wire logic        rx,          // asynchronous
    input  wire logic [31:0] baud_step,   // round(baud * 2^32 / clk_hz), at most 2^29
    output logic             valid,
    output logic             error,
    output logic [7:0]       data,
    output logic             busy
);
    logic [1:0] line;    // synchroniser
    always_ff @(posedge clk) line <= rst ? 2'b11 : {line[0], rx};

    typedef enum logic [1:0] {AWAIT_HIGH, IDLE, BITS} state_e;
    state_e      state;
    logic [31:0] phase;
    logic [2:0]  eighth, eighth_before;
    logic [1:0]  votes;
    logic        decide, value;
    logic [3:0]  number;     // of the bit: 0 start, 1 to 8 data, 9 stop

    assign eighth = phase[31:29];
    assign decide = (state == BITS) && (eighth == 3'd5) && (eighth_before != 3'd5);
    assign value = (votes == 2'b11) || (votes != 2'b00 && line[1]);
    assign busy = (state == BITS) || (line != 2'b11);

    always_ff @(posedge clk) begin
        // A start bit is seen half a clock late on average, and a sample is taken as much behind its place: one step together.
        phase <= (state == BITS) ? phase + baud_step : {baud_step[30:0], 1'b0};
        eighth_before <= eighth;
        if (eighth == 3'd3 && eighth_before != 3'd3) votes[0] <= line[1];
        if (eighth == 3'd4 && eighth_before != 3'd4) votes[1] <= line[1];

        valid <= 1'b0;
        error <= 1'b0;
        case (state)
            AWAIT_HIGH: if (line[1]) state <= IDLE;
            IDLE: begin
                number <= 4'd0;
                if (!line[1]) state <= BITS;
            end
            default: if (decide) begin
                number <= number + 4'd1;
                if (number == 4'd0) begin
                    if (value) state <= IDLE;
                end else if (number != 4'd9) begin
                    data <= {value, data[7:1]};
                end else begin
                    valid <= value;
                    error <= !value;
                    state <= value ? IDLE : AWAIT_HIGH;
                end
            end
        endcase
        if (rst) begin
            state <= AWAIT_HIGH;
            valid <= 1'b0;
            error <= 1'b0;
        end
    end
endmodule
`default_nettype wire
