// kvcpu_dma_channel - one DMA channel: moves whole blocks in the order of its trigger queue (R16).
//
// Three stages work on different blocks at once, so that a run of blocks keeps both AXI data channels full:
//   read    one INCR burst after another, as long as the buffer has room reserved for the whole burst
//   write   a burst is announced when all its data are in the buffer, so W never waits for R
//   finish  a block is complete when all its write responses are in
// A block without bytes to move (clean eviction) takes the same way without bursts and so keeps its place in the order. An
// error response on either side is reported with the completion; the burst still runs to its end.
// With `drain` the channel takes no further trigger and finishes what it has begun. Reset only while idle.
`default_nettype none
module kvcpu_dma_channel
    import kvcpu_pkg::*;
#(
    parameter logic        CHANNEL = 1'b0,
    parameter int unsigned DATA_BITS = 512,
    parameter int unsigned BLOCK_BYTES = 16384,
    parameter int unsigned BURST = 64          // beats
) (
    input  wire logic                 clk,
    input  wire logic                 rst,
    input  wire logic                 flush,     // empty the queue
    input  wire logic                 drain,
    input  wire logic [3:0][63:0]     tier_base,
    input  wire logic [1:0]           evict_tier,
    output logic                      idle,

    input  wire logic                 trigger_valid,
    output logic                      trigger_ready,
    input  wire trigger_t             trigger,

    // requests to the shared master; addresses of whole bursts
    output logic                      ar_valid,
    output logic [63:0]               ar_addr,
    input  wire logic                 ar_ready,
    input  wire logic                 r_valid,   // always taken: room was reserved
    input  wire logic [DATA_BITS-1:0] r_data,
    input  wire logic                 r_error,
    output logic                      aw_valid,
    output logic [63:0]               aw_addr,
    input  wire logic                 aw_ready,
    output logic                      w_valid,
    output logic [DATA_BITS-1:0]      w_data,
    input  wire logic                 w_ready,
    input  wire logic                 b_valid,
    input  wire logic                 b_error,

    output logic                      completion_valid,
    output completion_t               completion,
    input  wire logic                 completion_ready
);
    localparam int unsigned BEAT_BYTES = DATA_BITS / 8;
    localparam int unsigned BEATS = BLOCK_BYTES / BEAT_BYTES;
    localparam int unsigned BURSTS = BEATS / BURST;
    localparam int unsigned BURST_BYTES = BURST * BEAT_BYTES;
    localparam int unsigned BUFFER = 4 * BURST;
    localparam int unsigned CW = $clog2(BUFFER) + 2;
    localparam int unsigned NW = $clog2(BURSTS + 1);
    localparam int unsigned TW = $bits(trigger_t);

    function automatic logic [63:0] address(input logic [3:0][63:0] base, input logic [1:0] tier, input logic [15:0] index);
        address = base[tier] + 64'(index) * 64'(BLOCK_BYTES);
    endfunction

    // ---- trigger queue ---------------------------------------------------------------------------------------------------
    logic     queue_empty, queue_full, queue_pop;
    trigger_t next;
    kvcpu_fifo #(.WIDTH(TW), .DEPTH(16)) u_queue (
        .clk, .rst(rst || flush), .push(trigger_valid), .wdata(trigger), .pop(queue_pop), .rdata(next),
        .empty(queue_empty), .full(queue_full), .level()
    );
    assign trigger_ready = !queue_full;

    // ---- read ------------------------------------------------------------------------------------------------------------
    logic          reading;
    logic [63:0]   read_addr;
    logic [NW-1:0] reads_left;
    logic [CW-1:0] reserved;     // beats of buffer promised to bursts or holding data
    logic          room, granted;  // for a burst, a cycle ago; and the last cycle took some
    logic          write_full, write_empty, write_pop;
    trigger_t      writing_next;

    assign queue_pop = !queue_empty && !reading && !write_full && !drain;
    assign ar_valid = reading && room && !granted;
    assign ar_addr = read_addr;

    always_ff @(posedge clk) begin
        if (rst) begin
            reading <= 1'b0;
            reserved <= '0;
            room <= 1'b0;
            granted <= 1'b0;
        end else begin
            room <= (reserved <= CW'(BUFFER - BURST));
            granted <= ar_valid && ar_ready;
            if (queue_pop) begin
                reading <= next.copy;
                reads_left <= NW'(BURSTS);
                read_addr <= address(tier_base, next.from, next.index);
            end else if (ar_valid && ar_ready) begin
                read_addr <= read_addr + 64'(BURST_BYTES);
                reads_left <= reads_left - 1'b1;
                if (reads_left == NW'(1)) reading <= 1'b0;
            end
            reserved <= reserved + ((ar_valid && ar_ready) ? CW'(BURST) : '0) - CW'(w_valid && w_ready);
        end
    end

    // ---- buffer ----------------------------------------------------------------------------------------------------------
    logic w_error, buffer_full;
    kvcpu_ram_fifo #(.WIDTH(DATA_BITS + 1), .DEPTH(BUFFER)) u_buffer (
        .clk, .rst, .push(r_valid), .wdata({r_error, r_data}), .full(buffer_full), .pop(w_valid && w_ready),
        .rdata({w_error, w_data}), .valid(w_valid), .level()
    );
    wire unused_buffer = &{1'b0, buffer_full, 1'b0};  // cannot fill: room is reserved before a burst is asked for

    // ---- write -----------------------------------------------------------------------------------------------------------
    // Blocks handed on by the reader wait here for their turn to be announced.
    kvcpu_fifo #(.WIDTH(TW), .DEPTH(4)) u_write_queue (
        .clk, .rst, .push(queue_pop), .wdata(next), .pop(write_pop), .rdata(writing_next),
        .empty(write_empty), .full(write_full), .level()
    );

    logic          announcing;
    logic [63:0]   write_addr;
    logic [NW-1:0] writes_left;
    logic [CW-1:0] unannounced;  // beats in the buffer that no write burst covers yet
    logic          finish_full, finish_empty, finish_pop;
    trigger_t      finishing;

    assign write_pop = !write_empty && !announcing && !finish_full;
    assign aw_valid = announcing && (unannounced >= CW'(BURST));
    assign aw_addr = write_addr;

    always_ff @(posedge clk) begin
        if (rst) begin
            announcing <= 1'b0;
            unannounced <= '0;
        end else begin
            if (write_pop) begin
                announcing <= writing_next.copy;
                writes_left <= NW'(BURSTS);
                write_addr <= address(tier_base, writing_next.to, writing_next.index);
            end else if (aw_valid && aw_ready) begin
                write_addr <= write_addr + 64'(BURST_BYTES);
                writes_left <= writes_left - 1'b1;
                if (writes_left == NW'(1)) announcing <= 1'b0;
            end
            unannounced <= unannounced + CW'(r_valid) - ((aw_valid && aw_ready) ? CW'(BURST) : '0);
        end
    end

    // ---- finish ----------------------------------------------------------------------------------------------------------
    kvcpu_fifo #(.WIDTH(TW), .DEPTH(4)) u_finish_queue (
        .clk, .rst, .push(write_pop), .wdata(writing_next), .pop(finish_pop), .rdata(finishing),
        .empty(finish_empty), .full(finish_full), .level()
    );

    logic          failed;         // something of the oldest block answered with an error
    logic [$clog2(BEATS):0] beats_out;
    logic          read_failed;    // of the block whose data are on W
    logic          failures_empty, failures_full, read_failure, read_failure_last;

    // Read errors travel with the data; one bit a block, in order, when its last beat leaves.
    assign read_failure_last = w_valid && w_ready && beats_out == ($clog2(BEATS)+1)'(BEATS - 1);
    kvcpu_fifo #(.WIDTH(1), .DEPTH(8)) u_failures (
        .clk, .rst, .push(read_failure_last), .wdata(read_failed || w_error), .pop(finish_pop && finishing.copy),
        .rdata(read_failure), .empty(failures_empty), .full(failures_full), .level()
    );
    wire unused_failures = &{1'b0, failures_full, 1'b0};  // at most 4 blocks finish and 1 writes

    always_ff @(posedge clk) begin
        if (rst) begin
            beats_out <= '0;
            read_failed <= 1'b0;
        end else if (w_valid && w_ready) begin
            beats_out <= read_failure_last ? '0 : beats_out + 1'b1;
            read_failed <= !read_failure_last && (read_failed || w_error);
        end
    end

    // Write responses of one id come in order, so every BURSTS of them are a block's; one bit a block here too. They may come
    // faster than blocks complete, as completions wait for the other channel's.
    logic [NW-1:0] responses;      // of the block that they have come to
    logic          write_failed, write_failure, written_empty, written_full, last_response;
    assign last_response = b_valid && responses == NW'(BURSTS - 1);
    kvcpu_fifo #(.WIDTH(1), .DEPTH(4)) u_written (
        .clk, .rst, .push(last_response), .wdata(write_failed || b_error), .pop(finish_pop && finishing.copy),
        .rdata(write_failure), .empty(written_empty), .full(written_full), .level()
    );
    wire unused_written = &{1'b0, written_full, 1'b0};  // at most 4 blocks finish
    always_ff @(posedge clk) begin
        if (rst) begin
            responses <= '0;
            write_failed <= 1'b0;
        end else if (b_valid) begin
            responses <= last_response ? '0 : responses + 1'b1;
            write_failed <= !last_response && (write_failed || b_error);
        end
    end

    assign failed = finishing.copy && (read_failure || write_failure);
    assign finish_pop = !finish_empty && (!finishing.copy || (!written_empty && !failures_empty))
                        && (!completion_valid || completion_ready);
    always_ff @(posedge clk) begin
        if (rst) completion_valid <= 1'b0;
        else if (finish_pop) completion_valid <= 1'b1;
        else if (completion_ready) completion_valid <= 1'b0;
        if (finish_pop) begin
            completion.index <= finishing.index;
            completion.channel <= CHANNEL;
            completion.from <= finishing.from;
            completion.to <= finishing.to;
            // After a prefetch the copy below is as good as before only if evictions go there (R16).
            completion.dirty <= failed ? finishing.dirty : CHANNEL ? (finishing.from != evict_tier) : 1'b0;
            completion.copy <= finishing.copy;
            completion.error <= failed;
            completion.step <= finishing.step;
        end
    end

    assign idle = queue_empty && !reading && write_empty && !announcing && finish_empty;

    // ---- promises, checked in simulation ------------------------------------------------------------------------------------
    kvcpu_handshake_check #(.WIDTH(64)) u_ar_check (.clk, .rst, .valid(ar_valid), .ready(ar_ready), .data(ar_addr));
    kvcpu_handshake_check #(.WIDTH(64)) u_aw_check (.clk, .rst, .valid(aw_valid), .ready(aw_ready), .data(aw_addr));
    kvcpu_handshake_check #(.WIDTH($bits(completion_t))) u_done_check (
        .clk, .rst, .valid(completion_valid), .ready(completion_ready), .data(completion)
    );
`ifndef SYNTHESIS
    logic [15:0] reads_open, writes_open;  // beats on their way from the memory, bursts without their response
    always_ff @(posedge clk) begin
        if (rst) begin
            reads_open <= '0;
            writes_open <= '0;
        end else begin
            reads_open <= reads_open + ((ar_valid && ar_ready) ? 16'(BURST) : 16'd0) - 16'(r_valid);
            writes_open <= writes_open + 16'(aw_valid && aw_ready) - 16'(b_valid);
        end
    end
    always_ff @(posedge clk) begin
        if (!rst) begin
            buffer_room: assert (reserved <= CW'(BUFFER)) else $error("no more is asked for than the buffer has room for");
            data_expected: assert (!(r_valid && reads_open == '0)) else $error("data come only for a burst that was asked for");
            response_expected: assert (!(b_valid && writes_open == '0))
                else $error("a write response comes only for a burst that was sent");
            idle_is_true: assert (!(idle && (reads_open != '0 || writes_open != '0)))
                else $error("an idle channel waits for nothing");
        end
    end
`endif
endmodule
`default_nettype wire
