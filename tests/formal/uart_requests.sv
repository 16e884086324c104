// formal_uart_requests - kvcpu_uart_control executes the program of a RUN frame once, in sequence, and no other.
//
// Promises: a program starts exactly where the frame that is decided is a RUN of the session that the last good HELLO opened, next in its
// sequence; never twice for a sequence number, never without a frame, never beside another program.
// Assumes: no frame comes while `hold` is high, and what it is stays while it is (uart-frames: such a frame is dropped, and leaves the
// registers alone); a program ends only behind its start. Proved by induction, from any sequence number.
`default_nettype none
module formal_uart_requests (
    input wire logic clk, input wire logic rst, input wire logic frame, input wire logic dropped, input wire logic damaged,
    input wire logic [7:0] kind, input wire logic [15:0] session, input wire logic [7:0] sequence_number,
    input wire logic [31:0] first_word, input wire logic [11:0] body_bytes, input wire logic run_done, input wire logic send_done
);
    localparam logic [2:0] IDLE = 3'd0, COMPARE = 3'd1, DECIDE = 3'd2, EXECUTE = 3'd3;
    logic        busy, hold, run_start, send_start;
    logic [9:0]  send_words;
    logic [31:0] send_word;
    logic [8:0]  reply_raddr;
    kvcpu_uart_control dut (
        .*, .clk_hz('0), .stop_error(1'b0), .run_status('0), .run_word('0), .run_position('0), .run_used('0), .send_index('0),
        .reply_rdata('0)
    );

    logic        started = 1'b0;
    logic        waiting, running, decided, held;
    logic [15:0] open;        // session
    logic [7:0]  programs;    // started in it
    logic        runs, greets, must_run;
    logic [75:0] what, what_before;
    assign what = {kind, session, sequence_number, first_word, body_bytes};
    assign decided = (dut.state == DECIDE);
    assign runs = decided && kind == 8'h02 && session == open && open != '0 && sequence_number == programs;
    assign greets = decided && kind == 8'h01 && first_word == "BUVK" && session != '0 && body_bytes >= 12'd5;
    always_ff @(posedge clk) begin
        started <= 1'b1;
        held <= !rst && hold;
        what_before <= what;
        if (frame) waiting <= 1'b1;
        else if (decided) waiting <= 1'b0;
        if (runs) running <= 1'b1;
        else if (run_done) running <= 1'b0;
        if (greets && session != open) {open, programs} <= {session, 8'd0};
        else if (runs) programs <= programs + 8'd1;
        must_run <= !rst && runs;
        if (rst) {waiting, running, open, programs} <= '0;
    end
    always_comb begin
        if (!started) assume (rst);
        if (started && hold) assume (!frame);
        if (started && hold && held) assume (what == what_before);
        if (!(running && !run_start)) assume (!run_done);
    end

    always_comb if (started) begin
        assert (run_start == must_run);
        if (runs) assert (waiting && !running);
        // For the induction: where the frame is, and what was executed.
        assert (waiting == (dut.pending || dut.state == COMPARE || decided));
        assert (!(dut.pending && (dut.state == COMPARE || decided || dut.state == EXECUTE)));
        assert (running == (dut.state == EXECUTE));
        assert (dut.current == open && programs == dut.next_sequence + 8'(running));
    end
endmodule
`default_nettype wire
