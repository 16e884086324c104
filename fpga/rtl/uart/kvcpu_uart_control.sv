// kvcpu_uart_control - decides what becomes of each frame: session, sequence, the stored reply (docs/uart-bridge.md).
//
// A frame waits here until the frame before is answered. A RUN that is next in sequence is executed and its result, which stays in the
// executor and the reply buffer, is the stored reply; the same sequence again sends it again. `hold` keeps the
// deframer from the request buffer: from the end of a frame until it is executed or needs no execution.
// NAK is sent for a damaged frame unless something else is on its way to the host: a program's reply, or that of a later frame.
// Counters of STATS count here.
`default_nettype none
module kvcpu_uart_control #(
    parameter int unsigned BUFFER = 2048,       // bytes of request and reply buffer
    localparam int unsigned AW = $clog2(BUFFER),
    localparam int unsigned WW = AW - 2
) (
    input  wire logic          clk,
    input  wire logic          rst,
    input  wire logic [31:0]   clk_hz,
    output logic               busy,

    input  wire logic          frame,
    input  wire logic          dropped,
    input  wire logic          damaged,
    input  wire logic          stop_error,
    input  wire logic [7:0]    kind,
    input  wire logic [15:0]   session,
    input  wire logic [7:0]    sequence_number,
    input  wire logic [31:0]   first_word,
    input  wire logic [AW:0]   body_bytes,
    output logic               hold,

    output logic               run_start,
    input  wire logic          run_done,
    input  wire logic [2:0]    run_status,
    input  wire logic [7:0]    run_word,
    input  wire logic [15:0]   run_position,
    input  wire logic [WW:0]   run_used,

    output logic               send_start,
    output logic [9:0]         send_words,
    input  wire logic          send_done,
    input  wire logic [9:0]    send_index,
    output logic [31:0]        send_word,
    output logic [WW-1:0]      reply_raddr,
    input  wire logic [31:0]   reply_rdata
);
    localparam logic [7:0] HELLO = 8'h01;
    localparam logic [7:0] RUN = 8'h02;
    localparam logic [7:0] STATS = 8'h03;
    localparam logic [7:0] NAK = 8'h9F;
    localparam logic [7:0] REPLY = 8'h80;
    localparam logic [7:0] VERSION = 8'd1;
    localparam logic [31:0] MAGIC = "BUVK";                // "KVUB", first byte lowest
    localparam logic [2:0] NO_SESSION = 3'd6;
    localparam logic [2:0] BAD_SEQUENCE = 3'd7;

    typedef enum logic [2:0] {IDLE, COMPARE, DECIDE, EXECUTE, SEND, SENDING} state_e;
    state_e      state;
    logic        pending;        // a frame waits
    logic        nak;            // one is to be sent

    // ---- the session, and what was executed in it ------------------------------------------------------------------------
    logic [15:0] current;        // session; 0: none
    logic [7:0]  next_sequence;
    logic        executed;       // anything in this session: there is a stored reply, that of next_sequence - 1

    // ---- the frame taken -------------------------------------------------------------------------------------------------
    logic        is_hello, is_run, is_stats, is_greeting, same_session, is_next, is_repeat;
    logic        reply_refuses;  // the reply of a RUN has the status `refusal` and no data
    logic [2:0]  refusal;
    logic [31:0] header;         // of the reply
    logic [7:0]  reply_kind;

    assign reply_kind = header[7:0];
    assign hold = pending || state == COMPARE || state == DECIDE || state == EXECUTE;
    assign busy = pending || nak || state != IDLE;

    always_ff @(posedge clk) begin
        run_start <= 1'b0;
        send_start <= 1'b0;
        if (frame) pending <= 1'b1;
        if (damaged && (state == IDLE || reply_kind == NAK)) nak <= 1'b1;

        // One clock for the comparisons, one for what follows from them.
        is_hello <= (kind == HELLO);
        is_run <= (kind == RUN);
        is_stats <= (kind == STATS);
        is_greeting <= (first_word == MAGIC) && (body_bytes >= (AW+1)'(5)) && (session != '0);
        same_session <= (session == current) && (current != '0);
        is_next <= (sequence_number == next_sequence);
        is_repeat <= executed && (sequence_number == next_sequence - 8'd1);

        case (state)
            IDLE: begin
                if (pending) begin
                    pending <= 1'b0;
                    nak <= 1'b0;
                    header <= {sequence_number, session, kind | REPLY};
                    state <= COMPARE;
                end else if (nak) begin
                    nak <= 1'b0;
                    header <= {executed ? next_sequence - 8'd1 : 8'd0, current, NAK};
                    send_words <= 10'd1;
                    state <= SEND;
                end
            end
            COMPARE: state <= DECIDE;
            DECIDE: begin
                state <= SEND;
                reply_refuses <= 1'b0;
                if (is_hello && is_greeting) begin
                    send_words <= 10'd5;
                    current <= session;
                    if (!same_session) begin
                        next_sequence <= '0;
                        executed <= 1'b0;
                    end
                end else if (is_run) begin
                    send_words <= 10'd2 + run_used;
                    if (!same_session) begin
                        reply_refuses <= 1'b1;
                        refusal <= NO_SESSION;
                        send_words <= 10'd2;
                    end else if (is_next) begin
                        run_start <= 1'b1;
                        state <= EXECUTE;
                    end else if (!is_repeat) begin
                        reply_refuses <= 1'b1;
                        refusal <= BAD_SEQUENCE;
                        send_words <= 10'd2;
                    end
                end else if (is_stats) begin
                    send_words <= 10'd9;
                end else begin
                    state <= IDLE;  // nobody we know
                end
            end
            EXECUTE: if (run_done) begin
                send_words <= 10'd2 + run_used;
                next_sequence <= next_sequence + 8'd1;
                executed <= 1'b1;
                state <= SEND;
            end
            SEND: begin
                send_start <= 1'b1;
                state <= SENDING;
            end
            default: if (send_done) state <= IDLE;
        endcase
        if (rst) begin
            state <= IDLE;
            pending <= 1'b0;
            nak <= 1'b0;
            current <= '0;
            next_sequence <= '0;
            executed <= 1'b0;
            run_start <= 1'b0;
            send_start <= 1'b0;
            header <= '0;
        end
    end

    // ---- counters --------------------------------------------------------------------------------------------------------
    localparam int unsigned COUNTERS = 7;
    logic [COUNTERS-1:0][31:0] counter;
    logic [COUNTERS-1:0]       event_now;
    logic                      deciding_run;
    assign deciding_run = (state == DECIDE) && is_run;
    assign event_now = {
        deciding_run && (!same_session || (!is_next && !is_repeat)),
        dropped,
        deciding_run && same_session && !is_next && is_repeat,
        run_start,
        stop_error,
        damaged,
        frame
    };
    always_ff @(posedge clk) begin
        for (int i = 0; i < COUNTERS; i++) begin
            if (rst) counter[i] <= '0;
            else if (event_now[i]) counter[i] <= counter[i] + 32'd1;
        end
    end

    // ---- the words of a reply: index 0 the header, then what belongs to its kind, of a RUN the data from index 2 on -----------
    logic [31:0] greeting, verdict, statistic;
    assign reply_raddr = WW'(send_index - 10'd2);
    always_comb begin
        case (send_index[1:0])
            2'd1:    greeting = MAGIC;
            2'd2:    greeting = {16'(BUFFER), 8'd0, VERSION};
            2'd3:    greeting = {16'd0, 16'(BUFFER)};
            default: greeting = clk_hz;
        endcase
        statistic = '0;
        for (int i = 0; i < COUNTERS; i++) if (send_index[3:0] == 4'(i + 1)) statistic = counter[i];
        verdict = reply_refuses ? {29'd0, refusal} : {run_position, run_word, 5'd0, run_status};
    end
    always_ff @(posedge clk) begin
        if (send_index == '0) send_word <= header;
        else if (reply_kind == (HELLO | REPLY)) send_word <= greeting;
        else if (reply_kind == (STATS | REPLY)) send_word <= statistic;
        else if (send_index == 10'd1) send_word <= verdict;
        else send_word <= reply_rdata;
    end
endmodule
`default_nettype wire
