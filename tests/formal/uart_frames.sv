// formal_uart_frames - kvcpu_uart_deframer says `frame` for intact frames only, once each, and of no other writes into a held buffer.
//
// Promises: at each flag the verdict (frame, dropped, damaged, none) is that of a shadow which takes the stuffing out of the line's bytes
// and works out the CRC bytewise; kind, session, sequence and length are the frame's; a marked body byte is written once, at its place; a
// frame that began while `hold` was high writes nothing.
// Assumes: events of the line are 10 clocks apart, a byte with a wrong stop bit is an error and no byte. Whole size; by induction, at any
// length and after any frames before.
`default_nettype none
module formal_uart_frames #(parameter int unsigned BUFFER = 2048, localparam int unsigned AW = $clog2(BUFFER)) (
    input wire logic clk, input wire logic rst, input wire logic byte_valid, input wire logic byte_error,
    input wire logic [7:0] byte_data, input wire logic hold
);
    logic          busy, frame, dropped, damaged, we;
    logic [7:0]    kind, sequence_number, wdata;
    logic [15:0]   session;
    logic [31:0]   first_word;
    logic [AW:0]   body_bytes;
    logic [AW-1:0] waddr;
    kvcpu_uart_deframer #(.BUFFER(BUFFER)) dut (.*);

    function automatic logic [31:0] crc_steps(input logic [31:0] from, input logic [3:0] steps);
        crc_steps = from;
        for (int unsigned i = 0; i < 8; i++) if (4'(i) < steps) crc_steps = (crc_steps >> 1) ^ (crc_steps[0] ? 32'hEDB8_8320 : 32'd0);
    endfunction

    logic       started = 1'b0;
    logic [3:0] quiet;       // clocks since the last event of the line
    always_ff @(posedge clk) begin
        started <= 1'b1;
        if (rst) quiet <= 4'd0;
        else if (byte_valid || byte_error) quiet <= 4'd1;
        else if (quiet != 4'd0) quiet <= (quiet == 4'd10) ? 4'd0 : quiet + 4'd1;
    end
    always_comb begin
        if (!started) assume (rst);
        assume (!(byte_valid && byte_error));
        if (quiet != 4'd0 && quiet < 4'd10) assume (!byte_valid && !byte_error);
    end

    // ---- the frame on the line, a clock behind it ------------------------------------------------------------------------
    logic          now, wrong;
    logic [7:0]    data, value;
    logic          open, escaped, bad, unwanted;
    logic [AW+1:0] length;
    logic [31:0]   crc;
    logic [31:0]   header;
    assign value = data ^ {2'b00, escaped, 5'd0};
    always_ff @(posedge clk) begin
        now <= !rst && byte_valid;
        wrong <= !rst && byte_error;
        data <= byte_data;
        if (now) begin
            escaped <= (data == 8'h7D);
            if (data == 8'h7E) begin
                {open, bad, unwanted} <= 3'b100;
                length <= '0;
                crc <= '1;
            end else if (data == 8'h7D) begin
                bad <= bad || escaped;
            end else begin
                if (escaped && value != 8'h7E && value != 8'h7D) bad <= 1'b1;
                if (length == '0) unwanted <= hold;
                if (length < (AW+2)'(4) && !(length == '0 ? hold : unwanted)) header[8*length[1:0] +: 8] <= value;
                if (length == (AW+2)'(BUFFER + 8)) bad <= 1'b1;
                else length <= length + 1'b1;
                crc <= crc_steps(crc ^ {24'd0, value}, 4'd8);
            end
        end
        if (wrong) bad <= 1'b1;
        if (rst) begin
            {open, escaped, bad, unwanted} <= '0;
            length <= '0;
            crc <= '1;
        end
    end

    // ---- the verdict at a flag, and what is written for a byte ---------------------------------------------------------------
    logic [1:0] at_flag, whole, intact, late;   // of the flag one and two clocks ago
    logic       wrote;
    logic [7:0] was_value;
    logic [AW-1:0] place;
    always_ff @(posedge clk) begin
        at_flag <= rst ? '0 : {at_flag[0], now && data == 8'h7E && open && (length != '0 || escaped || bad)};
        intact <= {intact[0], !bad && !escaped && length >= (AW+2)'(8) && crc == 32'hDEBB_20E3};
        late <= {late[0], unwanted};
        wrote <= !rst && now && data != 8'h7E && data != 8'h7D && !(length == '0 ? hold : unwanted) && length >= (AW+2)'(4)
                 && length < (AW+2)'(BUFFER + 4);
        was_value <= value;
        place <= AW'(length - (AW+2)'(4));
    end
    logic [AW+1:0] ended_length;
    logic [31:0]   ended_header;
    always_ff @(posedge clk) if (now && data == 8'h7E) {ended_length, ended_header} <= {length, header};

    always_comb if (started) begin
        assert (frame == (at_flag[1] && intact[1] && !late[1]));
        assert (dropped == (at_flag[1] && intact[1] && late[1]));
        assert (damaged == (at_flag[1] && !intact[1]));
        if (frame) assert ({sequence_number, session, kind} == ended_header && (AW+2)'(body_bytes) == ended_length - (AW+2)'(8));
        assert (we == wrote);
        if (we) assert (waddr == place && wdata == was_value);
        // For the induction: the same frame inside.
        assert (dut.count == length && length <= (AW+2)'(BUFFER + 8));
        assert (dut.hunting == !open && dut.escaped == escaped && dut.spoiled == bad && dut.unwanted == unwanted);
        assert (dut.is_flag == (now && data == 8'h7E) && dut.is_escape == (now && data == 8'h7D) && dut.wrong_stop == wrong);
        assert (dut.take == (now && data != 8'h7E && data != 8'h7D));
        if (dut.take) assert (dut.value == value && dut.bad_escape == (escaped && value != 8'h7E && value != 8'h7D));
        assert (crc == crc_steps(dut.u_crc.crc, dut.u_crc.left));
        if (now || wrong) assert (quiet == 4'd1);
        if (dut.u_crc.left != 4'd0) assert (quiet >= 4'd2 && dut.u_crc.left == 4'd10 - quiet);
        assert (quiet <= 4'd10);
        if (length == '0) assert (!unwanted);
        if (at_flag[0]) assert (quiet == 4'd2);
        if (at_flag[1]) assert (quiet == 4'd3);
        if (!unwanted) begin
            if (length > (AW+2)'(0)) assert (header[7:0] == dut.kind);
            if (length > (AW+2)'(1)) assert (header[15:8] == dut.session[7:0]);
            if (length > (AW+2)'(2)) assert (header[23:16] == dut.session[15:8]);
            if (length > (AW+2)'(3)) assert (header[31:24] == dut.sequence_number);
        end
    end
endmodule
`default_nettype wire
