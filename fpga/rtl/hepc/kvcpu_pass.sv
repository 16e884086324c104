// kvcpu_pass - the pass engine: streams rows of the directory through the lanes, LANES entries per cycle, in index order.
//
// `place` sets the row where the next pass begins; `start` begins it, up to end_row or over that row only. The first row is read
// in the same cycle and is decided six cycles later. A row without trigger candidates costs one cycle. Candidates are served one per cycle in index order
// (R16): an eviction gives back its T1 place before a later candidate asks for one, a prefetch is granted while
// t1_used < t1_capacity and otherwise denied and counted; where nothing can free a place any more, the row's remaining
// prefetches are denied together. While a queue is full or a candidate waits, the whole pipeline stands still.
// UNLOAD hands each freed key to the key index in the same way.
//
// t1_used and the number of used rows live here, because the pass is what changes them.
`default_nettype none
module kvcpu_pass
    import kvcpu_pkg::*;
    import kvcpu_map_pkg::*;
#(
    parameter int unsigned ENTRIES = 65536,
    parameter int unsigned LANES = 8,
    parameter int unsigned TOKEN_BITS = 5,
    parameter int unsigned BLOCK_BYTES = 16384,
    parameter int unsigned CLASSES = 256,
    localparam int unsigned TW = $clog2(16 * CLASSES),
    localparam int unsigned ROWS = ENTRIES / LANES,
    localparam int unsigned RW = $clog2(ROWS),
    localparam int unsigned IW = $clog2(ENTRIES)
) (
    input  wire logic                     clk,
    input  wire logic                     clk_lanes, // runs while lanes_work
    input  wire logic                     clk_rank,  // runs while a STEP may be ranked, and for the host's window
    input  wire logic                     rst,
    output logic                          lanes_work,
    input  wire logic                     place,     // before `start`
    input  wire logic [16:0]              place_row,
    input  wire logic                     start,
    input  wire logic                     one_row,   // with `start`, as the two below
    input  wire logic [16:0]              end_row,
    input  wire logic                     start_some, // there is a row
    input  wire pass_t                    pass,      // from the cycle behind `start` to `done`
    input  wire settings_t                set,
    output logic                          done,      // pulse: everything written, nothing pending

    // what the pass found
    output logic [16:0]                   matched,
    output logic                          found,        // MATCH_KEY
    output logic [15:0]                   found_index,
    output logic [1:0]                    found_tier,
    output logic                          found_shared,
    output logic [15:0]                   found_shared_index,
    output logic [1:0]                    found_shared_tier,
    output logic [16:0]                   freed,        // UNLOAD
    output logic [16:0]                   rows_used,
    output logic [16:0]                   t1_used,
    output pass_events_t                  events,

    // ranked mode: kvcpu_rank_table and kvcpu_contest
    output logic                          rank_clearing,
    input  wire logic                     commit,
    output logic                          bank,
    input  wire logic                     table_write,
    input  wire logic [TW-1:0]            table_waddr,
    input  wire logic [31:0]              table_wdata,
    input  wire logic                     table_read,
    input  wire logic [TW-1:0]            table_raddr,
    output logic [31:0]                   table_rdata,
    input  wire logic                     begin_step,
    input  wire logic                     begin_low,
    input  wire logic                     begin_choice,
    input  wire logic                     scan,
    output logic                          found_theta,
    output logic [15:0]                   theta,
    output logic [16:0]                   pool_count,
    output logic [16:0]                   outside_count,

    // directory
    output logic                          row_read,
    output logic [RW-1:0]                 row,
    input  wire entry_key_t               q_key [LANES],
    input  wire entry_state_t             q_state [LANES],
    input  wire entry_res_t               q_res [LANES],
    input  wire logic [63:0]              q_va [LANES],
    input  wire logic                     steal,
    output logic [RW-1:0]                 write_row,
    output logic [LANES-1:0]              write_state,
    output entry_state_t                  state_wdata [LANES],
    output logic [LANES-1:0]              write_static,
    output logic                          write_res,
    output logic [IW-1:0]                 res_index,
    output entry_res_t                    res_wdata,

    // the row that enters the lanes, for the digest
    output logic                          row_valid,
    output logic [RW-1:0]                 row_index,

    // DMA
    output logic                          trigger_valid,
    output logic                          trigger_channel,
    output trigger_t                      trigger,
    input  wire logic [1:0]               trigger_ready,
    input  wire logic                     completion_valid,  // always taken: the residency port is its own this cycle
    input  wire completion_t              completion,

    // key index and free map
    output logic                          free_valid,
    output entry_key_t                    free_key,
    input  wire logic                     free_ready,
    output logic                          map_valid,     // UNLOAD: validity of a whole row, in order
    output logic [RW-1:0]                 map_row,
    output logic [LANES-1:0]              map_used
);
    localparam int unsigned LW = (LANES > 1) ? $clog2(LANES) : 1;

    // ---- row issue and stage bookkeeping -------------------------------------------------------------------------------
    logic        advance, active, finished;
    logic        single, first;          // a pass over one row; which is still to be read
    logic [16:0] next_row, stop_row;
    logic        fetched;                // a row was read; it is one of the pass if there was `more`
    logic        entering;               // its data are there: it goes into the lanes
    logic [5:1]  stage;                  // a row is in stage k of the lanes; stage[5]: decided, at the tail
    logic [5:0][RW-1:0] stage_row;
    logic        issue;
    logic        more;                   // as rows were read: whether that was one before stop_row

    // Rows are read on behind the last, as whether there was one more is known a cycle later. Nobody looks at those.
    assign issue = (start || active) && advance;
    assign row_read = issue;
    assign row = RW'(next_row);
    assign row_valid = entering && advance;
    assign row_index = stage_row[0];

    always_ff @(posedge clk) begin
        if (start) more <= start_some;
        else if (advance) more <= single ? first : (next_row < stop_row);
        if (start || advance) first <= start && !advance;  // a read of the directory's window may have been before it
        if (place) next_row <= place_row;
        else if (issue) next_row <= next_row + 17'd1;
        if (start) begin
            single <= one_row;
            stop_row <= end_row;
        end
        if (rst) begin
            active <= 1'b0;
        end else if (start) begin
            active <= 1'b1;
        end else if (finished) begin
            active <= 1'b0;
        end
    end

    // ---- lanes ---------------------------------------------------------------------------------------------------------
    logic [LANES-1:0] l_matched, l_shared, l_write, l_evict, l_prefetch, l_freed, l_guarded, l_saturated, l_refused;
    entry_state_t     l_state [LANES];
    entry_res_t       l_res [LANES];
    entry_key_t       l_key [LANES];
    logic             deciding;  // the lanes are asked: not in a DIGEST, in which they stand still while the rows go by
    logic             unloading, l_candidates;
    assign deciding = (pass.match != MATCH_NONE);
    assign lanes_work = deciding && (entering || stage != '0);
    assign unloading = (pass.op == OP_UNLOAD || pass.op == OP_UNLOAD_REQUEST);

    logic [31:0]      from1 [LANES];
    logic [15:0]      label1 [LANES];
    logic [7:0]       code [LANES];
    logic [LANES-1:0] ahead1, pool1, wins, l_pool, l_outside;
    logic [15:0]      rank1 [LANES], l_rank [LANES];
    logic             first_cycle;  // of the row at the tail: count its events once

    kvcpu_score_lanes #(.LANES(LANES), .TOKEN_BITS(TOKEN_BITS), .BLOCK_BYTES(BLOCK_BYTES)) u_lanes (
        .clk(clk_lanes), .advance(advance && deciding), .stage({stage[4:1], entering}), .pass, .set, .frees(unloading),
        .key(q_key), .state(q_state), .res(q_res), .va(q_va),
        .matched(l_matched), .matched_shared(l_shared), .new_state(l_state), .new_res(l_res), .write(l_write),
        .from1, .ahead1, .label1, .code, .pool1, .rank1, .wins, .pool(l_pool), .outside(l_outside), .rank(l_rank), .candidates(l_candidates),
        .evict(l_evict), .prefetch(l_prefetch), .freed(l_freed), .freed_key(l_key),
        .guarded(l_guarded), .saturated(l_saturated), .release_refused(l_refused)
    );

    logic table_clears, contest_clears;
    assign rank_clearing = table_clears || contest_clears;
    kvcpu_rank_table #(.LANES(LANES), .CLASSES(CLASSES)) u_table (
        .clk(clk_rank), .rst, .clearing(table_clears), .commit, .bank,
        .host_write(table_write), .host_waddr(table_waddr), .host_wdata(table_wdata),
        .host_read(table_read), .host_raddr(table_raddr), .host_rdata(table_rdata),
        .wanted(set.ranked), .advance(advance && deciding), .stage(stage[2:1]), .t(pass.t), .from1, .ahead1, .label1, .code
    );
    kvcpu_contest #(.ENTRIES(ENTRIES), .LANES(LANES)) u_contest (
        .clk(clk_rank), .rst, .clearing(contest_clears), .capacity(set.t1_capacity),
        .begin_step, .begin_low, .take(first_cycle && (pass.op == OP_STEP || pass.op == OP_COUNT)),
        .pool(l_pool), .outside(l_outside), .rank(l_rank), .pool_count, .outside_count,
        .scan, .found(found_theta), .theta,
        .choosing(pass.op == OP_LEAVE || pass.op == OP_ENTER), .begin_choice, .advance(advance && deciding), .stage(stage[3:1]), .pool1, .rank1, .wins
    );

    // ---- tail: candidates in index order, then the row is written --------------------------------------------------------
    logic [LANES-1:0] served;    // candidates of this row already dealt with
    logic [LANES-1:0] granted;   // prefetches granted: armed clears (R16)
    logic [LANES-1:0] waiting;
    logic             decided;      // by the lanes: the row at the tail
    logic             any_waiting;  // waiting != 0, and a register: it holds all that is behind, so it has to be known early
    logic             last_waiting, served_all, served_one, tail_free, retire;
    logic [LW-1:0]    pick;
    logic             t1_free, res_port, deny_all, deny_one;
    logic [15:0]      pick_index;

    assign waiting = (l_evict | l_prefetch | l_freed) & ~served;
    assign last_waiting = ((waiting & (waiting - 1'b1)) == '0);
    assign res_port = !completion_valid;
    assign tail_free = !any_waiting && !(stage[5] && pass.loads && !res_port);
    assign retire = stage[5] && tail_free;
    assign advance = !any_waiting && !steal;  // behind the row of a LOAD, which may wait for the port, comes no other

    always_comb begin
        pick = '0;
        for (int l = LANES - 1; l >= 0; l--) if (waiting[l]) pick = LW'(l);
    end

    assign pick_index = 16'(stage_row[5]) * 16'(LANES) + 16'(pick);
    assign deny_all = any_waiting && (l_prefetch & waiting) == waiting && !t1_free;
    assign deny_one = any_waiting && l_prefetch[pick] && !t1_free;

    assign trigger_channel = l_prefetch[pick];
    assign trigger_valid = any_waiting && !l_freed[pick] && res_port && !deny_one && trigger_ready[trigger_channel];
    always_comb begin
        trigger.index = pick_index;
        trigger.from = l_res[pick].tier;
        trigger.to = trigger_channel ? 2'd1 : set.evict_tier;
        trigger.dirty = l_res[pick].dirty;
        trigger.copy = trigger_channel || l_res[pick].dirty;
        trigger.step = pass.t;
    end
    assign free_valid = any_waiting && l_freed[pick];
    assign free_key = l_key[pick];

    assign served_all = deny_all || (served_one && last_waiting);
    assign served_one = trigger_valid || deny_one || (free_valid && free_ready);
    always_ff @(posedge clk) begin
        if (rst) any_waiting <= 1'b0;
        else if (advance) any_waiting <= stage[4] && deciding && l_candidates;
        else if (served_all) any_waiting <= 1'b0;
        if (rst || advance) begin
            served <= '0;
            granted <= '0;
        end else if (deny_all) begin
            served <= served | waiting;
        end else if (served_one) begin
            served[pick] <= 1'b1;
            granted[pick] <= trigger_valid && trigger_channel;
        end
        if (rst) first_cycle <= 1'b0;
        else first_cycle <= advance && stage[4] && deciding;
    end

    assign entering = fetched && more;
    always_ff @(posedge clk) begin
        if (start || advance) fetched <= issue;
        if (advance) begin
            stage[4:1] <= {stage[3:1], entering};
            stage_row[0] <= row;
            for (int k = 1; k < 5; k++) stage_row[k] <= stage_row[k-1];
        end
        if (retire || !stage[5]) begin  // also while a host read holds the rows behind it
            stage[5] <= advance && stage[4];
            decided <= advance && stage[4] && deciding;
            stage_row[5] <= stage_row[4];
        end
        if (rst) begin
            fetched <= 1'b0;
            stage <= '0;
            decided <= 1'b0;
        end
    end

    assign finished = active && !more && stage == '0;
    always_ff @(posedge clk) done <= !rst && finished;

    // ---- writes --------------------------------------------------------------------------------------------------------
    assign write_row = stage_row[5];
    assign write_state = (decided && tail_free) ? l_write : '0;
    assign write_static = (retire && pass.loads) ? l_matched : '0;
    always_comb begin
        state_wdata = l_state;
        for (int l = 0; l < LANES; l++) if (granted[l]) state_wdata[l].armed = 1'b0;
    end
    always_comb begin
        write_res = completion_valid || trigger_valid || (retire && pass.loads);
        if (completion_valid) begin
            res_index = IW'(completion.index);
            res_wdata = '{tier: completion.to, dirty: completion.dirty, inflight: 1'b0};
            if (completion.error) res_wdata.tier = completion.from;
        end else if (trigger_valid) begin
            res_index = IW'(pick_index);
            res_wdata = '{tier: trigger.from, dirty: trigger.dirty, inflight: 1'b1};
        end else begin
            res_index = IW'(32'(stage_row[5]) * LANES + 32'(pass.lane));
            res_wdata = '{tier: pass.load_tier, dirty: 1'b1, inflight: 1'b0};
        end
    end

    // ---- counts --------------------------------------------------------------------------------------------------------
    logic [LANES-1:0] freed_t1;
    logic signed [6:0] t1_more, t1_change;  // T1 places taken other than by a trigger, less those given back: in this cycle, in the last
    logic [16:0] t1_base, t1_next;

    always_comb begin
        for (int l = 0; l < LANES; l++) freed_t1[l] = l_freed[l] && l_res[l].tier == 2'd1;
        t1_more = 7'd0;
        if (first_cycle) t1_more = t1_more - 7'($countones(freed_t1));
        if (first_cycle && pass.loads && pass.load_tier == 2'd1) t1_more = t1_more + 7'd1;
        if (completion_valid && completion.error) t1_more = completion.channel ? t1_more - 7'd1 : t1_more + 7'd1;
    end

    // Whether the next candidate finds a place is worked out for all that may happen in this cycle, as the trigger is known last. Beside a
    // move that fails goes no trigger; of the other changes none is followed by a trigger of the same command. What t1_used must be
    // below is known a cycle ahead, the change of the last cycle included; the capacity stays for many cycles before a pass.
    logic [16:0] t1_after [3];  // without a trigger, with an eviction's or a failed prefetch, with a prefetch's or a failed eviction
    logic signed [18:0] t1_places [3], t1_limit [3];
    logic [2:0]  t1_room;
    logic        t1_kept;       // of these, the one without a trigger
    always_ff @(posedge clk) begin
        t1_change <= rst ? '0 : t1_more;
        t1_places[0] <= $signed({2'b00, set.t1_capacity});
        t1_places[1] <= $signed({2'b00, set.t1_capacity}) + 19'sd1;
        t1_places[2] <= $signed({2'b00, set.t1_capacity}) - 19'sd1;
        for (int k = 0; k < 3; k++) t1_limit[k] <= t1_places[k] - (rst ? '0 : 19'(t1_more));
    end
    assign t1_base = t1_used + 17'(t1_change);
    assign t1_after = '{t1_base, t1_base - 17'd1, t1_base + 17'd1};
    always_comb for (int k = 0; k < 3; k++) t1_room[k] = ($signed({2'b00, t1_used}) < t1_limit[k]);
    assign t1_next = !trigger_valid ? t1_after[0] : !trigger_channel ? t1_after[1] : t1_after[2];

    always_comb begin
        events = '0;
        if (first_cycle) begin
            events.guards = 5'($countones(l_guarded));
            events.saturations = 5'($countones(l_saturated));
            events.release_refusals = 5'($countones(l_refused));
        end
        if (deny_all) events.denials = 5'($countones(waiting));
        else if (deny_one) events.denials = 5'd1;
        events.evict_trigger = trigger_valid && !trigger_channel;
        events.prefetch_trigger = trigger_valid && trigger_channel;
    end

    logic [LW-1:0] match_lane, shared_lane;
    logic [LANES-1:0] still_used;
    always_comb begin
        match_lane = '0;
        shared_lane = '0;
        for (int l = LANES - 1; l >= 0; l--) begin
            if (l_matched[l]) match_lane = LW'(l);
            if (l_shared[l]) shared_lane = LW'(l);
            still_used[l] = l_state[l].valid;
        end
    end

    logic [16:0] last_used;  // UNLOAD: rows up to the last one that keeps an entry
    assign map_valid = first_cycle && unloading;
    assign map_row = stage_row[5];
    assign map_used = still_used;

    assign t1_kept = !(completion_valid && completion.error) ? t1_room[0] : completion.channel ? t1_room[1] : t1_room[2];
    always_ff @(posedge clk) t1_free <= !trigger_valid ? t1_kept : !trigger_channel ? t1_room[1] : t1_room[2];
    always_ff @(posedge clk) begin
        if (rst) begin
            t1_used <= '0;
            rows_used <= '0;
        end else begin
            t1_used <= t1_next;
            if (first_cycle && pass.loads && 17'(stage_row[5]) >= rows_used) rows_used <= 17'(stage_row[5]) + 17'd1;
            if (done && unloading) rows_used <= last_used;
        end
        if (start) begin
            matched <= '0;
            found <= 1'b0;
            found_shared <= 1'b0;
            freed <= '0;
            last_used <= '0;
        end else if (first_cycle) begin
            matched <= matched + 17'($countones(l_matched));
            freed <= freed + 17'($countones(l_freed));
            if (still_used != '0) last_used <= 17'(stage_row[5]) + 17'd1;
            if (!found && l_matched != '0) begin
                found <= 1'b1;
                found_index <= 16'(stage_row[5]) * 16'(LANES) + 16'(match_lane);
                found_tier <= l_res[match_lane].tier;
            end
            if (!found_shared && l_shared != '0) begin
                found_shared <= 1'b1;
                found_shared_index <= 16'(stage_row[5]) * 16'(LANES) + 16'(shared_lane);
                found_shared_tier <= l_res[shared_lane].tier;
            end
        end
    end

    // ---- promises, checked in simulation ------------------------------------------------------------------------------------
    kvcpu_handshake_check #(.WIDTH($bits(entry_key_t))) u_free_check (
        .clk, .rst, .valid(free_valid), .ready(free_ready), .data(free_key)
    );
`ifndef SYNTHESIS
    always_ff @(posedge clk) begin
        if (!rst) begin
            waiting_known: assert (any_waiting == (decided && waiting != '0)) else $error("whether a candidate waits is known in time");
            load_alone: assert (!(stage[5] && pass.loads && (stage[4:1] != '0 || entering))) else $error("a LOAD has one row");
            one_pass: assert (!(start && active)) else $error("a pass starts when the one before is done");
            one_writer: assert ($onehot0({completion_valid, trigger_valid, retire && pass.loads}))
                else $error("one writer at a time changes where a block is");
            place_granted: assert (!(trigger_valid && trigger_channel && t1_base >= set.t1_capacity))
                else $error("a prefetch is granted while T1 has a place");
            places_in_range: assert (t1_base <= 17'(ENTRIES)) else $error("between no and all entries hold a place in T1");
            rows_in_range: assert (rows_used <= 17'(ROWS)) else $error("no more rows are used than there are");
            one_decision: assert (!(decided && ((l_evict & l_prefetch) | (l_freed & (l_evict | l_prefetch))) != '0))
                else $error("an entry is evicted, prefetched or freed, or none of these");
            trigger_fits: assert (!(trigger_valid && (trigger_channel ? !trigger.from[1] : trigger.from != 2'd1)))
                else $error("evictions leave tier 1, prefetches tier 2 or 3");
            not_twice: assert (!(trigger_valid && l_res[pick].inflight)) else $error("a block that moves is not sent again");
            trigger_taken: assert (!(trigger_valid && !trigger_ready[trigger_channel])) else $error("no trigger is dropped");
            for (int l = 0; l < LANES; l++) begin
                pinned_first: assert (!(decided && l_write[l] && l_state[l].valid && l_state[l].pinned && l_state[l].prio != '1))
                    else $error("a pinned block has the highest priority");
                guard_keeps: assert (!(decided && l_guarded[l] && (l_evict[l] || l_freed[l])))
                    else $error("a guarded block is neither evicted nor freed");
            end
            load_one: assert (!(retire && pass.loads && !$onehot(l_matched))) else $error("LOAD writes one entry");
        end
    end
`endif
endmodule
`default_nettype wire
