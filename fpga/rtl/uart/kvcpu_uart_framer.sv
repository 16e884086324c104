// kvcpu_uart_framer - sends a frame of 32-bit words: flag, the words and their CRC with stuffing, flag.
//
// `start` sends `words` words (1 or more, the header is the first); `word` must be the one that `index` asks for, three clocks later
// at the latest. `done` is a pulse when the last byte has been handed to the transmitter; `start` only while not `busy`.
// All frames of the protocol are whole words, low byte first.
`default_nettype none
module kvcpu_uart_framer (
    input  wire logic        clk,
    input  wire logic        rst,
    input  wire logic        start,
    input  wire logic [9:0]  words,
    output logic             busy,
    output logic             done,
    output logic [9:0]       index,
    input  wire logic [31:0] word,

    output logic             tx_valid,
    output logic [7:0]       tx_data,
    input  wire logic        tx_ready
);
    localparam logic [7:0] FLAG = 8'h7E;
    localparam logic [7:0] ESCAPE = 8'h7D;

    typedef enum logic [2:0] {IDLE, OPEN, FETCH, LOOK, STUFF, SEND, CLOSE} state_e;
    state_e      state;
    logic [1:0]  pause;      // until `word` is there
    logic [31:0] shift;      // the word being sent, the next byte lowest
    logic [1:0]  number;     // of that byte
    logic        in_crc;     // the word is the CRC
    logic        special, crc_take, crc_busy;
    logic [31:0] crc;

    assign busy = (state != IDLE);
    assign special = (shift[7:0] == FLAG) || (shift[7:0] == ESCAPE);
    assign crc_take = (state == LOOK) && !in_crc && !crc_busy;

    kvcpu_uart_crc u_crc (
        .clk, .rst, .clear(start), .valid(crc_take), .data(shift[7:0]), .busy(crc_busy), .crc
    );

    always_ff @(posedge clk) begin
        done <= 1'b0;
        if (tx_ready) tx_valid <= 1'b0;
        case (state)
            IDLE: begin
                index <= '0;
                in_crc <= 1'b0;
                if (start) state <= OPEN;
            end
            OPEN: begin
                tx_valid <= 1'b1;
                tx_data <= FLAG;
                pause <= 2'd3;
                state <= FETCH;
            end
            // ---- a word: from outside, or the CRC once the last byte is in it
            FETCH: begin
                if (pause != 2'd0) pause <= pause - 2'd1;
                shift <= in_crc ? ~crc : word;
                number <= 2'd0;
                if (pause == 2'd0 && !crc_busy) state <= LOOK;
            end
            // ---- a byte of it
            LOOK: if (!crc_busy) state <= special ? STUFF : SEND;
            STUFF: if (!tx_valid) begin
                tx_valid <= 1'b1;
                tx_data <= ESCAPE;
                shift[5] <= !shift[5];
                state <= SEND;
            end
            SEND: if (!tx_valid) begin
                tx_valid <= 1'b1;
                tx_data <= shift[7:0];
                shift <= {8'd0, shift[31:8]};
                number <= number + 2'd1;
                state <= LOOK;
                if (number == 2'd3) begin
                    pause <= 2'd3;
                    index <= index + 10'd1;
                    in_crc <= (index + 10'd1 == words);
                    state <= in_crc ? CLOSE : FETCH;
                end
            end
            default: if (!tx_valid) begin  // CLOSE
                tx_valid <= 1'b1;
                tx_data <= FLAG;
                done <= 1'b1;
                state <= IDLE;
            end
        endcase
        if (rst) begin
            state <= IDLE;
            tx_valid <= 1'b0;
            done <= 1'b0;
        end
    end

    // ---- promises, checked in simulation ------------------------------------------------------------------------------------
`ifndef SYNTHESIS
    always_ff @(posedge clk) begin
        if (!rst) begin
            one_frame: assert (!(start && busy)) else $error("a frame starts when the one before is sent");
        end
    end
`endif
endmodule
`default_nettype wire
