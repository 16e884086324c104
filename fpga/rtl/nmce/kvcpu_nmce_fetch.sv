// kvcpu_nmce_fetch - asks the memory for the keys of one block after another, and says of each beat that comes what it belongs to.
//
// Bursts are INCR, whole and in order, as kvcpu_dma_channel has them, and never longer than a block's keys. A job is taken as soon as all
// bursts of the one before have been granted, so that its keys follow without a gap. `flush` (a soft reset drains): what is on the
// address channel is still granted, nothing new is asked for, and what was asked for is taken in.
`default_nettype none
module kvcpu_nmce_fetch #(
    parameter int unsigned DATA_BITS = 512,
    parameter int unsigned HEAD_DIM = 128,
    parameter int unsigned KEY_BYTES = 8192,     // of a block
    localparam int unsigned ROW_BEATS = HEAD_DIM * 16 / DATA_BITS,
    localparam int unsigned BW = (ROW_BEATS > 1) ? $clog2(ROW_BEATS) : 1
) (
    input  wire logic          clk,
    input  wire logic          rst,
    input  wire logic          flush,
    output logic               ready,       // for a job
    output logic               quiet,       // nothing is asked for, or on its way

    input  wire logic          take,        // pulse, with `ready`
    input  wire logic [63:0]   addr,
    input  wire logic [5:0]    slot,

    output logic               ar_valid,
    output logic [63:0]        ar_addr,
    output logic [7:0]         ar_len,
    input  wire logic          ar_ready,
    input  wire logic          r_valid,     // always taken
    input  wire logic          r_error,

    output logic [5:0]         beat_slot,   // of the beat that comes next
    output logic [BW-1:0]      beat_number, // in its row
    output logic               beat_last,   // a cycle later: it was the last of its row
    output logic               beat_failed  // with it: the beat, or one of its job before it, was an error
);
    localparam int unsigned BEAT_BYTES = DATA_BITS / 8;
    localparam int unsigned BEATS = KEY_BYTES / BEAT_BYTES;
    localparam int unsigned BURST_4K = (4096 / BEAT_BYTES > 256) ? 256 : 4096 / BEAT_BYTES;
    localparam int unsigned BURST = (BURST_4K > BEATS) ? BEATS : BURST_4K;
    localparam int unsigned BURSTS = BEATS / BURST;
    localparam int unsigned NW = $clog2(BURSTS + 1);
    localparam int unsigned OW = $clog2(2 * BEATS + 1);
    localparam int unsigned KW = (BEATS > 1) ? $clog2(BEATS) : 1;

    // ---- addresses -----------------------------------------------------------------------------------------------------------
    logic [NW-1:0] left;    // bursts, the one on the channel among them
    logic [OW-1:0] open;    // beats on their way
    assign ready = !ar_valid && !flush;
    assign quiet = !ar_valid && open == '0;
    assign ar_len = 8'(BURST - 1);
    always_ff @(posedge clk) begin
        open <= open + (ar_valid && ar_ready ? OW'(BURST) : '0) - OW'(r_valid);
        if (take) begin
            ar_valid <= 1'b1;
            ar_addr <= addr;
            left <= NW'(BURSTS);
        end else if (ar_valid && ar_ready) begin
            ar_valid <= (left != NW'(1)) && !flush;
            ar_addr <= ar_addr + 64'(BURST * BEAT_BYTES);
            left <= left - 1'b1;
        end
        if (rst) begin
            ar_valid <= 1'b0;
            open <= '0;
        end
    end

    // ---- beats -----------------------------------------------------------------------------------------------------------------
    logic [KW-1:0] beat;    // of its job
    logic          job_last;
    logic [5:0]    slots [2];
    logic          oldest, newest;   // whose keys come, and where the next job goes: there are two at most
    assign beat_slot = slots[oldest];
    assign job_last = (beat == KW'(BEATS - 1));
    assign beat_number = (ROW_BEATS > 1) ? BW'(beat % KW'(ROW_BEATS)) : '0;
    always_ff @(posedge clk) begin
        if (take) begin
            slots[newest] <= slot;
            newest <= !newest;
        end
        if (r_valid) begin
            beat <= job_last ? '0 : beat + 1'b1;
            if (job_last) oldest <= !oldest;
            beat_last <= (ROW_BEATS == 1) || beat_number == BW'(ROW_BEATS - 1);
            beat_failed <= r_error || (beat_failed && beat != '0);
        end
        if (rst) {beat, oldest, newest} <= '0;
    end

    // ---- promises, checked in simulation ------------------------------------------------------------------------------------
    kvcpu_handshake_check #(.WIDTH(64)) u_ar_check (.clk, .rst, .valid(ar_valid), .ready(ar_ready), .data(ar_addr));
`ifndef SYNTHESIS
    always_ff @(posedge clk) begin
        if (!rst) begin
            taken_when_ready: assert (!(take && !ready)) else $error("a job is taken only while the bursts of the last are granted");
            beats_expected: assert (!(r_valid && open == '0)) else $error("keys come only for a burst that was asked for");
            aligned: assert (!ar_valid || ar_addr[$clog2(BURST * BEAT_BYTES)-1:0] == '0)
                else $error("a burst is aligned to its size, so that it crosses no 4 KiB boundary");
        end
    end
`endif
endmodule
`default_nettype wire
