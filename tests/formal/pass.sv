// formal_pass - kvcpu_pass serves the candidates of each row in index order, one at a time, and drops none.
//
// Promises: whatever the lanes decide, an entry that they want moved is sent or, a prefetch, denied, once each; triggers of a pass come in
// index order, and to a queue that has room; the row is not left before all its entries are dealt with; a prefetch is sent only while T1
// has a place and denied only while it has none, also where moves of earlier passes fail meanwhile; a freed key is handed on once.
// Assumes: of the lanes that an entry is evicted, prefetched or freed, or none of these; that what leaves T1 had a place there; a pass starts
// when the one before is done.
// LANES = 2; by induction, over any directory of ROWS rows.
`default_nettype none
module formal_pass import kvcpu_pkg::*; import kvcpu_map_pkg::*; #(parameter int unsigned ROWS = 4, localparam int unsigned LANES = 2) (
    input wire logic clk, input wire logic rst, input wire logic place, input wire logic start, input wire logic one_row,
    input wire logic start_some, input wire logic [1:0] place_row, input wire logic [2:0] end_row, input wire logic hashes,
    input wire logic steal, input wire logic [1:0] trigger_ready, input wire logic completion_valid, input wire logic fails,
    input wire logic prefetched, input wire logic free_ready, input wire logic [1:0] capacity,
    input wire logic [LANES-1:0] wants_evict, input wire logic [LANES-1:0] wants_prefetch, input wire logic [LANES-1:0] wants_free
);
    localparam int unsigned RW = $clog2(ROWS), IW = RW + 1;
    logic               rank_clearing, bank, found_theta;    // of ranked mode, which the lanes here do not know
    logic [31:0]        table_rdata;
    logic [15:0]        theta;
    logic [16:0]        pool_count, outside_count;
    logic               lanes_work, done, found, found_shared, row_read, write_res, row_valid, free_valid, map_valid;
    logic               trigger_valid, trigger_channel;
    logic [16:0]        matched, freed, rows_used, t1_used;
    logic [15:0]        found_index, found_shared_index;
    logic [1:0]         found_tier, found_shared_tier;
    pass_events_t       events;
    logic [RW-1:0]      row, write_row, row_index, map_row;
    entry_key_t         free_key;
    entry_key_t         q_key [LANES];
    entry_state_t       q_state [LANES], state_wdata [LANES];
    entry_res_t         q_res [LANES], res_wdata;
    logic [63:0]        q_va [LANES];
    logic [LANES-1:0]   write_state, write_static, map_used;
    logic [IW-1:0]      res_index;
    trigger_t           trigger;
    completion_t        completion;
    pass_t              pass;
    settings_t          set;
    logic               free_pass;    // an UNLOAD
    logic [1:0]         kept_capacity;
    always_comb begin
        q_key = '{default: '0};
        q_state = '{default: '0};
        q_res = '{default: '0};
        q_va = '{default: '0};
        completion = '0;
        completion.error = fails;
        completion.channel = prefetched;
        set = '0;
        set.evict_tier = 2'd2;
        set.t1_capacity = 17'(kept_capacity);
        set.tier_base[0] = 64'({wants_evict, wants_prefetch, wants_free});
        pass = '0;
        pass.match = hashes ? MATCH_NONE : MATCH_ALL;
        pass.op = free_pass ? OP_UNLOAD : OP_STEP;
    end
    kvcpu_pass #(.ENTRIES(ROWS * LANES), .LANES(LANES)) dut (
        .*, .clk_lanes(clk), .clk_rank(clk), .place_row(17'(place_row)), .end_row(17'(end_row)), .commit(1'b0), .table_write(1'b0),
        .table_waddr('0), .table_wdata('0), .table_read(1'b0), .table_raddr('0), .begin_step(1'b0), .begin_low(1'b0),
        .begin_choice(1'b0), .scan(1'b0)
    );

    // ---- what the lanes decided of the row at the tail, and what has come of it ----------------------------------------------
    logic             started = 1'b0, going = 1'b0, begun = 1'b0;  // the reset lasts until what depends on the capacity, two cycles old, is there
    logic             active, placed, settled;
    logic [LANES-1:0] evict, prefetch, free, wanted, came, comes;   // came: dealt with before, comes: in this cycle
    logic [16:0]      last_index;    // of the last trigger of this pass, and one more: 0 is none
    logic [16:0]      places;        // of T1 that blocks have or are promised
    assign {evict, prefetch, free} = {dut.l_evict, dut.l_prefetch, dut.l_freed};
    assign wanted = dut.decided ? evict | prefetch | free : '0;
    always_comb begin
        comes = '0;
        if (trigger_valid) comes[trigger.index[0]] = 1'b1;
        if (free_valid && free_ready) comes[dut.pick] = 1'b1;
        if (events.denials != '0) comes = comes | (events.denials == 5'd1 ? LANES'(1) << dut.pick : wanted & ~came);
    end
    always_ff @(posedge clk) begin
        started <= 1'b1;
        {begun, going} <= {going && started, started};
        settled <= started && !rst;
        if (!started) kept_capacity <= capacity;
        places <= rst ? '0 : places + 17'((trigger_valid && trigger_channel) || (completion_valid && fails && !prefetched))
                             - 17'((trigger_valid && !trigger_channel) || (completion_valid && fails && prefetched));
        came <= (rst || dut.advance) ? '0 : came | comes;
        if (rst || start) last_index <= '0;
        else if (trigger_valid) last_index <= 17'(trigger.index) + 17'd1;
        if (rst || done) active <= 1'b0;
        else if (start) active <= 1'b1;
        if (start) free_pass <= wants_free[0];
        placed <= !rst && !start && (placed || place);
    end
    always_comb begin
        if (!begun) assume (rst);
        assume ((wants_evict & wants_prefetch) == '0 && (wants_free & (wants_evict | wants_prefetch)) == '0);
        if (active || rst) assume (!start && !place);
        if (start) assume (!place);
        if (start) assume (placed && start_some == (one_row || dut.next_row < 17'(end_row)));
        assume (32'(end_row) <= ROWS);
        if (trigger_valid && !trigger_channel) assume (places != '0);
        if (completion_valid && fails) assume (prefetched ? places != '0 : places < 17'd65536);
    end

    always_comb if (started) begin
        if (trigger_valid) begin
            assert (trigger_ready[trigger_channel] && !completion_valid);
            assert (dut.decided && 32'(trigger.index) == 32'(dut.stage_row[5]) * LANES + 32'(trigger.index[0]));
            assert ((trigger_channel ? prefetch : evict) >> trigger.index[0] & 1'b1);
            assert (17'(trigger.index) >= last_index);
            if (trigger_channel) assert (places < set.t1_capacity);
        end
        assert ((comes & (came | ~wanted)) == '0);
        if (events.denials != '0) assert (places >= set.t1_capacity && (comes & ~prefetch) == '0);
        if (dut.advance || dut.retire) assert ((wanted & ~(came | comes)) == '0);
        // For the induction: where the pass is.
        assert (dut.any_waiting == (dut.decided && dut.waiting != '0));
        if (dut.decided) assert ((evict & prefetch) == '0 && (free & (evict | prefetch)) == '0);
        assert (19'(places) == 19'(dut.t1_used) + 19'(dut.t1_change) && places <= 17'd65536);
        if (going) for (int k = 0; k < 3; k++)
            assert (dut.t1_places[k] == $signed({2'b00, set.t1_capacity}) + (k == 1 ? 19'sd1 : k == 2 ? -19'sd1 : 19'sd0));
        if (begun) for (int k = 0; k < 3; k++) assert (dut.t1_limit[k] == dut.t1_places[k] - 19'(dut.t1_change));
        assert (dut.served == came);
        if (came[1]) assert (came[0] || !wanted[0]);
        if (settled) assert (dut.t1_free == (places < set.t1_capacity));
        if (dut.decided) assert (dut.stage[5] &&
                                 (last_index == '0 || last_index <= 17'(write_row) * 17'd2 + (came[1] ? 17'd2 : 17'(came[0]))));
        if (dut.active) begin
            assert (active && dut.next_row <= 17'd10 && dut.stop_row <= 17'(ROWS));
            assert (last_index <= 17'(ROWS * LANES));
            assert (last_index == '0 || last_index + 17'd10 <= 17'd2 * dut.next_row);
            for (int k = 1; k < 6; k++) if (dut.stage[k]) assert (17'(dut.stage_row[k]) + 17'(k + 1) == dut.next_row);
            if (dut.more) assert (dut.next_row <= 17'(ROWS - 32'(dut.single && dut.first)));
            if (dut.more && dut.fetched) assert (17'(dut.stage_row[0]) + 17'd1 == dut.next_row);
            if (dut.more && !dut.fetched) assert (dut.stage == '0 && last_index == '0);
            if (dut.first) assert (!dut.fetched);
            if (!dut.more) assert (dut.single ? !dut.first : dut.next_row >= dut.stop_row);
        end else begin
            assert (dut.stage == '0 && !dut.decided && !(dut.more && dut.fetched));
        end
        if (placed) assert (!active && dut.next_row < 17'(ROWS));
    end
endmodule

// In place of the lanes: they decide anything, which comes to them by a setting that nobody else looks at.
module kvcpu_score_lanes import kvcpu_pkg::*; #(
    parameter int unsigned LANES = 8, parameter int unsigned TOKEN_BITS = 5, parameter int unsigned BLOCK_BYTES = 16384
) (
    input wire logic clk, input wire logic advance, input wire logic [4:0] stage, input wire pass_t pass, input wire settings_t set,
    input wire logic frees, input wire entry_key_t key [LANES], input wire entry_state_t state [LANES],
    input wire entry_res_t res [LANES], input wire logic [63:0] va [LANES], output logic candidates,
    output logic [31:0] from1 [LANES], output logic [LANES-1:0] ahead1, output logic [15:0] label1 [LANES],
    input wire logic [7:0] code [LANES], output logic [LANES-1:0] pool1, output logic [15:0] rank1 [LANES],
    input wire logic [LANES-1:0] wins, output logic [LANES-1:0] pool, output logic [LANES-1:0] outside, output logic [15:0] rank [LANES],
    output logic [LANES-1:0] matched, output logic [LANES-1:0] matched_shared, output entry_state_t new_state [LANES],
    output entry_res_t new_res [LANES], output logic [LANES-1:0] write, output logic [LANES-1:0] evict,
    output logic [LANES-1:0] prefetch, output logic [LANES-1:0] freed, output entry_key_t freed_key [LANES],
    output logic [LANES-1:0] guarded, output logic [LANES-1:0] saturated, output logic [LANES-1:0] release_refused
);
    logic [LANES-1:0] evicts, prefetches, frees4;
    assign {evicts, prefetches} = set.tier_base[0][3*LANES-1:LANES];
    assign frees4 = frees ? set.tier_base[0][LANES-1:0] : '0;
    assign candidates = ((evicts | prefetches | frees4) != '0);
    always_ff @(posedge clk) if (advance && stage[4]) {evict, prefetch, freed} <= {evicts, prefetches, frees4};
    assign {matched, matched_shared, write, guarded, saturated, release_refused, ahead1, pool1, pool, outside} = '0;
    always_comb begin
        from1 = '{default: '0};
        label1 = '{default: '0};
        rank1 = '{default: '0};
        rank = '{default: '0};
        new_state = '{default: '0};
        new_res = '{default: '0};
        freed_key = '{default: '0};
    end
endmodule

// Nobody here asks these two.
module kvcpu_rank_table #(
    parameter int unsigned LANES = 8, parameter int unsigned CLASSES = 256, localparam int unsigned AW = $clog2(CLASSES) + 4
) (
    input wire logic clk, input wire logic rst, output logic clearing, input wire logic commit, output logic bank,
    input wire logic host_write, input wire logic [AW-1:0] host_waddr, input wire logic [31:0] host_wdata,
    input wire logic host_read, input wire logic [AW-1:0] host_raddr, output logic [31:0] host_rdata,
    input wire logic wanted, input wire logic advance, input wire logic [2:1] stage, input wire logic [31:0] t, input wire logic [31:0] from1 [LANES],
    input wire logic [LANES-1:0] ahead1, input wire logic [15:0] label1 [LANES], output logic [7:0] code [LANES]
);
    assign {clearing, bank, host_rdata} = '0;
    always_comb code = '{default: '0};
endmodule
module kvcpu_contest #(parameter int unsigned ENTRIES = 65536, parameter int unsigned LANES = 8) (
    input wire logic clk, input wire logic rst, output logic clearing, input wire logic [16:0] capacity,
    input wire logic begin_step, input wire logic begin_low, input wire logic take, input wire logic [LANES-1:0] pool,
    input wire logic [LANES-1:0] outside, input wire logic [15:0] rank [LANES], output logic [16:0] pool_count,
    output logic [16:0] outside_count, input wire logic scan, output logic found, output logic [15:0] theta,
    input wire logic choosing, input wire logic begin_choice, input wire logic advance, input wire logic [3:1] stage,
    input wire logic [LANES-1:0] pool1, input wire logic [15:0] rank1 [LANES], output logic [LANES-1:0] wins
);
    assign {clearing, pool_count, outside_count, found, theta, wins} = '0;
endmodule
`default_nettype wire
