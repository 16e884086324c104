// formal_nmce_fetch - kvcpu_nmce_fetch asks for each job's keys once, in order, for nothing else, and knows what each beat belongs to.
//
// Promises: every burst on the address channel is the next of the keys of the job taken last; a beat has its job's slot, its number in its
// row, and an error from the first one of its job on; a job is taken only while every burst of the one before is granted; under `flush`
// nothing new is asked for; it is quiet exactly while nothing is asked for or on its way.
// Assumes: a memory that answers in order, what was asked and when it likes; at most two jobs whose beats have not all come; `flush` ends
// with a reset, and a reset comes while nothing is on the bus; at most one beat in 2048 is an error. Keys of two bursts of 256 beats, rows
// of two; by induction over one cycle, for any number of jobs.
`default_nettype none
module formal_nmce_fetch (
    input wire logic clk, input wire logic rst, input wire logic flush, input wire logic wants, input wire logic ar_ready,
    input wire logic r_valid, input wire logic [10:0] any_beat
);
    localparam int BEATS = 512, BURST = 256;
    typedef logic [1:0]  job_t;     // number of a job, modulo 4
    typedef logic [10:0] count_t;   // of beats, likewise
    logic        ready, quiet, take, ar_valid, beat_last, beat_failed;
    logic [63:0] ar_addr;
    logic [7:0]  ar_len;
    logic [5:0]  beat_slot;
    logic [0:0]  beat_number;
    job_t        taken, now;        // jobs taken; whose beat comes next
    count_t      asked, got, bad;   // beats asked for, come; which one is an error: any, but the same for ever
    logic        flushed;           // a burst was given up
    logic        came;              // a beat, in the last cycle: number `past`
    count_t      past;
    logic        started = 1'b0;
    function automatic logic [63:0] address(input job_t job);
        address = {50'h1_2345_6789, job, 12'd0};
    endfunction
    function automatic logic [5:0] slot_of(input job_t job);
        slot_of = {job, 4'd9};
    endfunction
    assign take = wants && ready && !rst && job_t'(taken - now) < 2'd2;
    assign now = got[10:9];
    assign past = got - count_t'(1);
    kvcpu_nmce_fetch #(.DATA_BITS(32), .HEAD_DIM(4), .KEY_BYTES(4 * BEATS)) dut (
        .*, .addr(address(taken)), .slot(slot_of(taken)), .r_error(got == bad)
    );

    logic was_flush, was_valid;
    always_ff @(posedge clk) begin
        started <= 1'b1;
        was_flush <= flush && !rst;
        was_valid <= ar_valid && !ar_ready && !rst;
        if (!started) bad <= any_beat;
        taken <= taken + job_t'(take);
        asked <= asked + ((ar_valid && ar_ready) ? count_t'(BURST) : '0);
        got <= got + count_t'(r_valid);
        came <= r_valid;
        flushed <= flushed || (flush && ar_valid && ar_ready && dut.left != 2'd1);
        if (rst) {taken, asked, got, flushed} <= '0;
    end
    always_comb begin
        if (!started) assume (rst);
        if (started && (ar_valid || asked != got)) assume (!rst);
        if (rst || asked == got) assume (!r_valid);
        if (was_flush && !rst) assume (flush);
    end

    job_t last;
    assign last = taken - 2'd1;
    always_comb if (started) begin
        if (ar_valid) begin
            assert (dut.left == 2'd1 || dut.left == 2'd2);
            assert (ar_len == 8'(BURST - 1) && ar_addr == address(last) + ((dut.left == 2'd1) ? 64'(4 * BURST) : 64'd0));
            assert (!was_flush || was_valid);
        end
        if (was_valid) assert (ar_valid);
        assert (quiet == (!ar_valid && asked == got));
        if (flush || ar_valid) assert (!ready);
        if (r_valid) assert (beat_slot == slot_of(now) && beat_number == got[0]);
        if (came) assert (beat_last == past[0] && beat_failed == (past[10:9] == bad[10:9] && past[8:0] >= bad[8:0]));
        // For the induction: how far it is.
        assert (count_t'(dut.open) == count_t'(asked - got) && 32'(dut.open) <= 2 * BEATS);
        assert (dut.beat == got[8:0]);
        if (dut.beat != '0) assert (beat_failed == (got[10:9] == bad[10:9] && got[8:0] > bad[8:0]));
        if (!flushed) assert (count_t'({taken, 9'd0}) == count_t'(asked + (ar_valid ? count_t'(32'(dut.left) * BURST) : '0)));
        if (flushed) assert (was_flush && !ar_valid && asked == count_t'({last, 9'd0}) + count_t'(BURST));
        assert (job_t'(taken - now) <= 2'd2 && {dut.newest, dut.oldest} == {taken[0], now[0]});
        for (int i = 0; i < 2; i++) if (i < 32'(job_t'(taken - now))) assert (dut.slots[now[0] ^ 1'(i)] == slot_of(now + job_t'(i)));
    end
endmodule
`default_nettype wire
