// formal_telemetry - kvcpu_telemetry counts STEPs in 64 bits, and a low word read keeps its high word.
//
// Promises: step_count is one more behind each STEP that was accepted, over all 64 bits, from any value; the high word of any counter,
// read later, is the one of the moment in which its low word was taken, whatever it has counted since.
// Assumes: plain clocks (CLOCK_GATES 0). The base starts from a reset, the induction from any state: so from any count.
`default_nettype none
module formal_telemetry import kvcpu_pkg::*; import kvcpu_map_pkg::*; (
    input wire logic clk, input wire logic rst, input wire logic clear, input wire logic accepted, input wire command_t command,
    input wire logic [31:0] current_step, input wire logic select, input wire logic read, input wire logic [8:2] read_addr,
    input wire logic [8:3] any_counter
);
    logic        events_work;
    logic [63:0] hit_total, misses;
    logic [31:0] read_data;
    kvcpu_telemetry dut (
        .clk, .clk_events(clk), .rst, .events_work, .clear, .now('0), .accepted, .ended(1'b0), .command_cycles('0), .command,
        .busy(1'b0), .events('0), .completion_valid(1'b0), .completion('0), .lookup_counts(1'b0), .lookup_hit(1'b0),
        .lookup_tier('0), .port_counts(1'b0), .port_hit(1'b0), .port_tier('0), .waits('0), .query_written(1'b0),
        .scores_read(1'b0), .streamed(1'b0), .index_overflow(1'b0), .result_lost(1'b0),
        .completion_lost(1'b0), .current_step, .t1_used('0), .valid_entries('0), .hit_total, .misses,
        .select, .read, .read_addr, .read_data
    );

    logic started = 1'b0;
    always_ff @(posedge clk) started <= 1'b1;
    always_comb begin
        if (!started) assume (rst);
        if (read) assume (select);
    end

    // ---- step_count, a shadow of 64 bits --------------------------------------------------------------------------------
    logic        counting;
    logic [63:0] steps;
    always_ff @(posedge clk) begin
        counting <= !rst && !clear && accepted;
        if (rst || clear) steps <= '0;
        else if (counting && command.op == OP_STEP) steps <= steps + 64'd1;
    end

    // ---- the high word of one counter, whichever --------------------------------------------------------------------------
    logic [8:3]  counter;
    logic        taken, asked, has;
    logic [31:0] high;       // of `counter`, when its low word was taken
    always_ff @(posedge clk) begin
        if (!started) counter <= any_counter;
        taken <= started && !rst && read && read_addr == {counter, 1'b0};
        asked <= started && select && read_addr == {counter, 1'b1} && (taken || has);
        if (!started) has <= 1'b0;
        else if (taken) begin
            has <= 1'b1;
            high <= dut.value[63:32];
        end
    end

    always_comb if (started) begin
        assert (dut.counting == counting && dut.step_count == steps);
        if (asked) assert (read_data == high);
        // For the induction: where the word is.
        if (taken) assert (dut.latching && dut.addr == {counter, 1'b0});
        if (dut.latching && dut.addr[8:3] == counter) assert (taken);
        if (has) assert (dut.latched[counter] == high);
    end
endmodule
`default_nettype wire
