// kvcpu_uart_deframer - finds frames in the bytes from the line, takes the stuffing out, and checks length and CRC.
//
// Header bytes go into registers, the body into the request buffer, as they come. A frame whose first byte comes while `hold` is
// high leaves both alone. At the flag behind a frame comes one pulse:
//   frame    it is intact: kind, session, sequence, body_bytes and first_word (of the body) say what it is
//   dropped  it is intact, but came while `hold` was high
//   damaged  wrong CRC, shorter than 8 bytes, longer than the buffer, a bad escape sequence, or a byte with a wrong stop bit
// Bytes before the first flag after reset are no frame. Bytes must be 10 clocks apart or more.
`default_nettype none
module kvcpu_uart_deframer #(
    parameter int unsigned BUFFER = 2048,    // bytes of body: a power of two
    localparam int unsigned AW = $clog2(BUFFER)
) (
    input  wire logic          clk,
    input  wire logic          rst,
    input  wire logic          byte_valid,
    input  wire logic          byte_error,
    input  wire logic [7:0]    byte_data,
    input  wire logic          hold,

    output logic               busy,       // a byte is being looked at
    output logic               frame,
    output logic               dropped,
    output logic               damaged,
    output logic [7:0]         kind,
    output logic [15:0]        session,
    output logic [7:0]         sequence_number,
    output logic [31:0]        first_word,
    output logic [AW:0]        body_bytes,

    output logic               we,
    output logic [AW-1:0]      waddr,
    output logic [7:0]         wdata
);
    localparam logic [7:0] FLAG = 8'h7E;
    localparam logic [7:0] ESCAPE = 8'h7D;
    localparam logic [31:0] RESIDUE = 32'hDEBB_20E3;
    localparam int unsigned HEADER = 4;
    localparam int unsigned OVERHEAD = HEADER + 4;   // header and CRC

    // ---- flags and escapes ---------------------------------------------------------------------------------------------
    logic       hunting;     // no flag since reset
    logic       escaped, spoiled, unwanted;
    logic       is_flag, is_escape, bad_escape, take, wrong_stop;
    logic [7:0] value;

    always_ff @(posedge clk) begin
        is_flag <= !rst && byte_valid && byte_data == FLAG;
        is_escape <= !rst && byte_valid && byte_data == ESCAPE;
        take <= !rst && byte_valid && byte_data != FLAG && byte_data != ESCAPE;
        bad_escape <= escaped && byte_data != (FLAG ^ 8'h20) && byte_data != (ESCAPE ^ 8'h20);
        wrong_stop <= !rst && byte_error;
        value <= byte_data ^ {2'b00, escaped, 5'b00000};
    end

    logic [2:0] recent;
    assign busy = byte_valid || recent != '0;
    always_ff @(posedge clk) recent <= rst ? '0 : {recent[1:0], byte_valid};

    // ---- the bytes of a frame ------------------------------------------------------------------------------------------
    logic [AW+1:0] count;
    logic          too_long, ours, crc_busy;
    logic [31:0]   crc;

    assign too_long = (count == (AW+2)'(BUFFER + OVERHEAD));
    assign ours = take && !unwanted && !(hold && count == '0);

    kvcpu_uart_crc u_crc (
        .clk, .rst, .clear(is_flag), .valid(take), .data(value), .busy(crc_busy), .crc
    );
    wire unused_busy = &{1'b0, crc_busy, 1'b0};  // done before the next byte

    always_ff @(posedge clk) begin
        if (rst || is_flag) begin
            count <= '0;
            escaped <= 1'b0;
            spoiled <= 1'b0;
            unwanted <= 1'b0;
        end else begin
            if (is_escape) escaped <= 1'b1;
            else if (take) escaped <= 1'b0;
            if (take && !too_long) count <= count + 1'b1;
            if ((take && (bad_escape || too_long)) || (is_escape && escaped) || wrong_stop) spoiled <= 1'b1;
            if (take && hold && count == '0) unwanted <= 1'b1;
        end

        if (ours) begin
            case (count)
                (AW+2)'(0): kind <= value;
                (AW+2)'(1): session[7:0] <= value;
                (AW+2)'(2): session[15:8] <= value;
                (AW+2)'(3): sequence_number <= value;
                (AW+2)'(4): first_word[7:0] <= value;
                (AW+2)'(5): first_word[15:8] <= value;
                (AW+2)'(6): first_word[23:16] <= value;
                (AW+2)'(7): first_word[31:24] <= value;
                default: ;
            endcase
        end
        we <= !rst && ours && count >= (AW+2)'(HEADER) && count < (AW+2)'(BUFFER + HEADER);
        waddr <= count[AW-1:0] - AW'(HEADER);
        wdata <= value;
    end

    // ---- the end of a frame --------------------------------------------------------------------------------------------
    // One clock for each question, so that none is on the way of the other.
    logic ended, whole, crc_good, was_unwanted;
    always_ff @(posedge clk) begin
        ended <= is_flag && !hunting && (count != '0 || escaped || spoiled);
        whole <= !spoiled && !escaped && count >= (AW+2)'(OVERHEAD);
        crc_good <= (crc == RESIDUE);
        was_unwanted <= unwanted;
        frame <= ended && whole && crc_good && !was_unwanted;
        dropped <= ended && whole && crc_good && was_unwanted;
        damaged <= ended && !(whole && crc_good);
        if (is_flag && !unwanted && count != '0) body_bytes <= count[AW:0] - (AW+1)'(OVERHEAD);
        if (is_flag) hunting <= 1'b0;
        if (rst) begin
            hunting <= 1'b1;
            ended <= 1'b0;
            frame <= 1'b0;
            dropped <= 1'b0;
            damaged <= 1'b0;
        end
    end
endmodule
`default_nettype wire
