// kvcpu_engine - takes commands off the FIFO, one at a time and in order, checks them, and runs lookups and passes (R5, R10-R22).
//
// A STEP is on its way to the lanes two cycles after it appears at the FIFO's head. Every command ends with one result. A
// refused command changes nothing (R10). With `strict` a command starts only when both DMA channels are idle (R22); UNLOAD
// always waits for them, so that no block is freed while its bytes are on the way.
//
// A SCORE is a TOUCH and a job for the compute engine (kvcpu_nmce). While its keys stream, the engine takes the next SCORE: their
// results come in order, and every other command waits for the last of them. Two jobs at most are under way.
`default_nettype none
module kvcpu_engine
    import kvcpu_pkg::*;
    import kvcpu_map_pkg::*;
#(
    parameter int unsigned ENTRIES = 65536,
    parameter int unsigned LANES = 8,
    parameter int unsigned BLOCK_TOKENS = 32,
    parameter int unsigned BLOCK_BYTES = 16384,
    parameter int unsigned CLASSES = 256,
    parameter logic NMCE = 1'b1,
    localparam int unsigned IW = $clog2(ENTRIES)
) (
    input  wire logic          clk,
    input  wire logic          rst,
    input  wire logic          hold,          // tables are being cleared
    output logic               idle,

    input  wire logic          cmd_valid,
    input  wire command_t      cmd,
    output logic               cmd_take,
    input  wire logic          dma_idle,

    output logic               result_valid,  // pulse
    output result_t            result,
    output logic               accepted,      // pulse with result_valid: code OK
    output command_t           running,
    output logic [31:0]        t,             // current step
    output logic               clear_counters,
    output logic               lookup_counts, // pulse: a LOOKUP or TOUCH was answered
    output logic               lookup_hit,
    output logic [1:0]         lookup_tier,
    output logic [16:0]        valid_entries,

    // settings
    output logic               set_change,
    input  wire logic [7:0]    set_code,
    input  wire settings_t     set,

    // pass
    output logic               pass_start,
    output logic               pass_place,    // before pass_start: where the pass begins
    output logic [16:0]        pass_row,
    output logic               pass_one_row,  // with pass_start: only that row; or else up to pass_end_row
    output logic [16:0]        pass_end_row,
    output logic               pass_some,     // any row at all
    output pass_t              pass,
    input  wire logic          pass_done,
    input  wire logic [16:0]   pass_matched,
    input  wire logic          pass_found,
    input  wire logic [15:0]   pass_found_index,
    input  wire logic [1:0]    pass_found_tier,
    input  wire logic          pass_found_shared,
    input  wire logic [15:0]   pass_found_shared_index,
    input  wire logic [1:0]    pass_found_shared_tier,
    input  wire logic [16:0]   pass_freed,
    input  wire logic [16:0]   rows_used,
    input  wire logic [16:0]   t1_used,
    output logic               digest_start,  // of a pass that is hashed
    input  wire logic          digest_busy,
    input  wire logic [1:0]    touched_tier,  // where the last pass over one row found its entry, and the last token within its block
    input  wire logic          touched_inflight,
    input  wire logic [7:0]    touched_last,

    // compute engine
    output logic               job_valid,     // of the entry that was touched
    input  wire logic          job_ready,
    output logic [63:0]        job_addr,
    output logic [8:0]         job_rows,
    output logic [5:0]         job_slot,
    output logic               job_numerators,
    input  wire logic          job_done,      // pulse, in the order of the jobs
    input  wire logic          job_error,     // with it
    output logic               scored,        // pulse with result_valid: of a job
    output logic               score_failed,  // with it

    // ranked STEPs (R46): kvcpu_contest
    output logic               begin_step,    // in front of the first pass, of that which counts the low bytes, of those that choose
    output logic               begin_low,
    output logic               begin_choice,
    output logic               scan,
    input  wire logic          found_theta,
    input  wire logic [16:0]   pool_count,
    input  wire logic [16:0]   outside_count,
    output logic               searched,      // this STEP looked for θ

    // key index
    output logic               key_valid,
    input  wire logic          key_ready,
    output logic [1:0]         key_op,
    output logic [63:0]        key,
    output logic [IW-1:0]      key_index,
    input  wire logic          key_done,
    input  wire logic          key_hit,
    input  wire logic          key_shared,
    input  wire logic          key_unresolved,
    input  wire logic [IW-1:0] key_hit_index,
    input  wire logic [1:0]    key_tier,
    input  wire logic          free_valid,    // UNLOAD: keys that the pass frees
    input  wire entry_key_t    free_key,
    output logic               free_ready,

    // free map
    input  wire logic          map_ready,
    input  wire logic          map_any_free,
    input  wire logic [IW-1:0] map_free_index,
    output logic               map_take,
    output logic               map_rebuild_start,
    output logic               map_rebuild_end
);
    localparam int unsigned TOKEN_BITS = $clog2(BLOCK_TOKENS);
    localparam int unsigned LANE_BITS = $clog2(LANES);

    function automatic logic [16:0] row_of(input logic [15:0] entry);
        row_of = 17'(entry) >> LANE_BITS;
    endfunction

    typedef enum logic [3:0] {
        IDLE, CHECK, LOOK, LOOK_WAIT, FIND_WAIT, PLACE, START, PASS_WAIT, CHOOSE, SCAN, AGAIN, SETTLE, OFFER, RESULT
    } state_e;
    state_e state;

    command_t    c;
    logic        is_ranked;
    logic [4:0]  passed, following;  // in a ranked STEP: the pass that is done, the next
    logic        may_move, crowded;  // a block outside tier 1 asks for a place, or there are too few of them; the pool is larger than C
    logic        chosen;             // nothing is left to do
    logic [31:0] cycles;
    logic [7:0]  code;
    logic [16:0] matched;
    logic        has_index;
    logic [15:0] index;
    logic [1:0]  tier;
    logic        insert_pending;  // LOAD: the key index still has to take the key

    // SCOREs whose keys stream, the oldest first.
    typedef struct packed {
        logic [15:0] index;
        logic [31:0] began;
    } score_t;
    score_t      offered, oldest;
    logic        no_scores, two_scores;
    logic        resident;        // the block that was touched can be scored
    logic [15:0] shown_index;     // in the result
    logic [1:0]  shown_tier;
    logic [31:0] ticks;           // counts cycles while there is work
    logic [31:0] began;           // when the command was taken

    assign running = c;
    assign idle = (state == IDLE) && no_scores;

    // ---- what the operands mean ----------------------------------------------------------------------------------------
    // A STEP is checked at the FIFO's head, in the cycle in which it is taken, so that its pass starts in the next. All others
    // are looked at in the cycle behind, in CHECK, and stay there for one cycle more. What the checks read besides (t, rows in use)
    // does not change while no command runs.
    logic [64:0] range_end;
    logic [31:0] load_start, load_span;
    logic [16:0] end_row, digest_end;      // DIGEST: first row behind the range, or behind those in use
    logic [7:0]  step_check, late_check, operands;  // code of the checks that need nothing but the operands, t and settings
    logic        starts;                   // the command begins with a pass: it may as soon as `resources` are there
    logic        waits;                    // for those: it frees blocks
    logic        settled;                  // `operands` and `starts` are final
    logic        hint_refused;             // its class is none (R45), or bits are set that it does not have
    logic        too_far;                  // a range that ends behind 2^64
    logic        too_early;                // PREFETCH: for a step behind us
    logic        digest_some;              // DIGEST: any row in use is in the range
    logic        is_load, is_unload, is_lookup, is_score;  // what c.op is; a TOUCH and a SCORE are lookups too
    logic        touches;                  // TOUCH, SCORE

    always_comb begin
        step_check = CODE_OK;
        if (cmd.a[63:32] != '0) step_check = CODE_ERR_RANGE;
        else if (cmd.a[31:0] < t) step_check = CODE_ERR_STEP_ORDER;
    end

    assign hint_refused = c.hint.wide || (c.hint.labels && 32'(c.hint.label[7:0]) >= CLASSES);
    assign too_far = range_end > {1'b1, 64'd0};
    assign end_row = 17'((c.a[63:32] + (LANES - 1)) >> LANE_BITS);
    always_comb begin
        late_check = CODE_OK;
        case (c.op)
            OP_SET: late_check = set_code;
            // A token_end below an aligned token_start wraps to a span that is too long.
            OP_LOAD:
                if (load_start[TOKEN_BITS-1:0] != '0 || load_span >= BLOCK_TOKENS || c.c[63:34] != '0 || hint_refused) late_check = CODE_ERR_RANGE;
            OP_TOUCH: if (hint_refused) late_check = CODE_ERR_RANGE;
            OP_SCORE:
                if (!NMCE) late_check = CODE_ERR_UNSUPPORTED;
                else if (hint_refused || c.b[31:6] != '0 || c.b[63:33] != '0) late_check = CODE_ERR_RANGE;
            OP_UNLOAD_REQUEST: if (c.a[63:16] != '0) late_check = CODE_ERR_RANGE;
            OP_SHARE_INDEX, OP_RELEASE_INDEX:
                if (c.a >= 64'(ENTRIES) || row_of(c.a[15:0]) >= rows_used) late_check = CODE_ERR_NOT_FOUND;
            OP_DIGEST: if (c.a[31:0] > c.a[63:32] || c.a[63:32] > ENTRIES) late_check = CODE_ERR_RANGE;
            OP_HOT, OP_EVICT, OP_PREFETCH, OP_SHARE, OP_RELEASE, OP_UNLOAD, OP_CLASS:
                if (c.b == '0 || too_far) late_check = CODE_ERR_LEN;
                else if (c.op == OP_PREFETCH) begin
                    if (c.c[63:32] != '0) late_check = CODE_ERR_RANGE;
                    else if (too_early) late_check = CODE_ERR_STEP_ORDER;
                end else if (c.op == OP_CLASS) begin
                    if (c.c[31:0] >= CLASSES || c.c[47:40] != '0 || c.c[63:52] != '0) late_check = CODE_ERR_RANGE;
                end
            default: ;
        endcase
    end

    always_ff @(posedge clk) begin
        if (cmd_take) begin
            c <= cmd;
            operands <= step_check;
            starts <= (cmd.op == OP_STEP) && (step_check == CODE_OK);
            waits <= 1'b0;
            settled <= (cmd.op == OP_STEP);
            is_load <= (cmd.op == OP_LOAD);
            is_unload <= (cmd.op == OP_UNLOAD || cmd.op == OP_UNLOAD_REQUEST);
            is_lookup <= (cmd.op == OP_LOOKUP || cmd.op == OP_TOUCH || cmd.op == OP_SCORE);
            is_score <= NMCE && cmd.op == OP_SCORE;
            touches <= (cmd.op == OP_TOUCH || cmd.op == OP_SCORE);
            range_end <= {1'b0, cmd.a} + {1'b0, cmd.b};
            load_span <= cmd.b[63:32] - cmd.b[31:0];
            too_early <= (cmd.c[31:0] < t);
        end else if (!settled) begin
            starts <= (late_check == CODE_OK) && !is_load && !is_lookup && c.op != OP_SET && c.op != OP_NOP;
            waits <= is_unload;
            operands <= late_check;
            settled <= 1'b1;
            digest_end <= (end_row < rows_used) ? end_row : rows_used;
            digest_some <= 17'(c.a[31:0] >> LANE_BITS) < end_row && 17'(c.a[31:0] >> LANE_BITS) < rows_used;
        end
    end
    assign load_start = c.b[31:0];

    // ---- starting a pass -------------------------------------------------------------------------------------------------
    logic        start_now;      // from CHECK
    logic        resources;      // what this command must wait for before it may touch anything
    logic        narrow;           // START begins a pass over the row of `index`, or else over all, to look for a key
    logic [15:0] one_index, searched_index;
    assign searched_index = pass_found ? pass_found_index : pass_found_shared_index;

    assign resources = !waits || (dma_idle && map_ready);
    assign start_now = (state == CHECK) && starts && resources;

    always_comb begin
        pass_one_row = 1'b0;
        one_index = c.a[15:0];
        pass_start = start_now;
        if (state == CHECK) begin
            pass_one_row = (c.op == OP_SHARE_INDEX || c.op == OP_RELEASE_INDEX);
        end else if (state == START) begin
            pass_one_row = narrow;
            one_index = index;
            pass_start = 1'b1;
        end else if (state == AGAIN) begin
            pass_start = 1'b1;
        end
        pass_end_row = rows_used;
        pass_some = pass_one_row || rows_used != '0;
        if (state == CHECK && c.op == OP_DIGEST) begin
            pass_end_row = digest_end;
            pass_some = digest_some;
        end
    end

    // Where a pass begins is placed with what `index` becomes, so that the first row is read from a register.
    always_comb begin
        pass_place = 1'b1;
        pass_row = '0;
        case (state)
            IDLE: ;
            CHECK: begin
                pass_place = !settled;
                if (c.op == OP_SHARE_INDEX || c.op == OP_RELEASE_INDEX) pass_row = row_of(c.a[15:0]);
                if (c.op == OP_DIGEST) pass_row = 17'(c.a[31:0] >> LANE_BITS);
            end
            LOOK_WAIT: if (!key_unresolved) pass_row = row_of(16'(key_hit_index));
            FIND_WAIT: begin
                pass_place = pass_done;
                pass_row = row_of(searched_index);
            end
            PLACE: pass_row = row_of(16'(map_free_index));
            CHOOSE, SCAN: ;
            default: pass_place = 1'b0;
        endcase
    end

    assign digest_start = start_now && (c.op == OP_DIGEST || c.op == OP_STEP);
    assign map_rebuild_start = start_now && is_unload;
    assign map_rebuild_end = (state == PASS_WAIT) && pass_done && is_unload;
    assign map_take = (state == PLACE) && map_ready && map_any_free;
    assign set_change = (state == CHECK) && settled && c.op == OP_SET && operands == CODE_OK;
    always_ff @(posedge clk)  // with set_change
        clear_counters <= (state == CHECK) && !settled && c.op == OP_SET && c.b[4:0] == SET_CTRL && c.a[1];

    always_ff @(posedge clk) begin
        if (pass_start) begin
            pass.op <= (state == AGAIN) ? following : is_score ? OP_TOUCH : c.op;
            pass.t <= (c.op == OP_STEP) ? c.a[31:0] : t;
            pass.target <= c.c[31:0];
            pass.va_low <= (c.a >= 64'(BLOCK_BYTES)) ? c.a - 64'(BLOCK_BYTES) + 64'd1 : 64'd0;
            pass.va_end <= range_end;
            pass.request <= c.a[15:0];
            pass.key <= key;
            pass.lane <= 4'(one_index & 16'(LANES - 1));
            pass.first <= (c.op == OP_STEP) ? 32'd0 : c.a[31:0];
            pass.last <= (c.op == OP_STEP) ? ENTRIES : c.a[63:32];
            pass.load_key.id <= c.c[31:0];
            pass.load_key.span <= load_start | load_span;
            pass.load_va <= c.a;
            pass.load_tier <= (c.c[33:32] == 2'd1 && t1_used >= set.t1_capacity) ? set.evict_tier : c.c[33:32];
            pass.loads <= is_load && !(state == START && !narrow);
            pass.labels <= is_load || c.op == OP_CLASS || (touches && c.hint.labels);
            pass.label <= (c.op == OP_CLASS) ? {c.c[39:32], c.c[7:0]} : c.hint.labels ? c.hint.label : 16'd0;
            pass.shift <= c.c[51:48];
            pass.fresh_row <= (row_of(index) >= rows_used);
            case (c.op)
                OP_STEP: pass.match <= (state == AGAIN) ? MATCH_POOL : MATCH_ALL;
                OP_UNLOAD_REQUEST: pass.match <= MATCH_REQUEST;
                OP_DIGEST: pass.match <= MATCH_NONE;
                OP_LOAD, OP_LOOKUP, OP_TOUCH, OP_SCORE, OP_SHARE_INDEX, OP_RELEASE_INDEX: pass.match <= pass_one_row ? MATCH_LANE : MATCH_KEY;
                default: pass.match <= MATCH_VA;
            endcase
            if (state == START && !narrow) pass.op <= OP_NOP;  // the search changes nothing
        end
    end

    // ---- a ranked STEP (R46, R47): the passes behind its first ---------------------------------------------------------------
    assign is_ranked = (c.op == OP_STEP) && set.ranked;
    assign begin_step = start_now && is_ranked;
    assign begin_low = (state == AGAIN) && following == OP_COUNT;
    assign begin_choice = (state == AGAIN) && following != OP_COUNT;
    assign scan = (state == CHOOSE) && ((passed == OP_STEP && may_move && crowded) || passed == OP_COUNT);
    assign chosen = (passed == OP_ENTER) || (passed == OP_STEP && !may_move) || outside_count == '0;

    always_ff @(posedge clk) begin
        may_move <= (outside_count != '0) || t1_used > set.t1_capacity;  // nothing is counted in the cycle in front of CHOOSE
        crowded <= (pool_count > set.t1_capacity);
        if (state == CHECK) begin
            passed <= OP_STEP;
            searched <= 1'b0;
        end else if (state == AGAIN) begin
            passed <= following;
        end
        if (scan) searched <= 1'b1;
        if (state == CHOOSE) following <= (passed == OP_COUNT) ? OP_LEAVE : scan ? OP_COUNT : OP_ENTER;
    end

    // ---- key index: the engine's lookup, LOAD's insert, UNLOAD's removals -------------------------------------------------
    logic [31:0] position;
    assign position = is_load ? load_start : {c.a[63:32+TOKEN_BITS], TOKEN_BITS'(0)};

    always_comb begin
        key_valid = (state == LOOK) || insert_pending || free_valid;
        key_op = insert_pending ? 2'd1 : free_valid ? 2'd2 : 2'd0;
        key = {is_load ? c.c[31:0] : c.a[31:0], position};
        if (free_valid) key = {free_key.id, {free_key.span[31:TOKEN_BITS], TOKEN_BITS'(0)}};
        key_index = IW'(index);
    end
    assign free_ready = key_ready && !insert_pending;

    // ---- SCORE: from the touch to the compute engine, and back -------------------------------------------------------------
    assign job_valid = (state == OFFER) && resident && !two_scores;
    assign job_slot = c.b[5:0];
    assign job_numerators = c.b[32];
    assign offered = '{index: index, began: began};
    kvcpu_fifo #(.WIDTH($bits(score_t)), .DEPTH(2)) u_scores (
        .clk, .rst, .push(job_valid && job_ready), .wdata(offered), .pop(scored), .rdata(oldest),
        .empty(no_scores), .full(two_scores), .level()
    );
    always_ff @(posedge clk) begin
        ticks <= rst ? '0 : ticks + 32'd1;
        if (cmd_take) began <= ticks;
        if (state == PASS_WAIT) begin
            resident <= (touched_tier == 2'd1) && !touched_inflight;
            job_addr <= set.tier_base[1] + 64'(index) * 64'(BLOCK_BYTES);
            job_rows <= 9'(touched_last) + 9'd1;
        end
        scored <= !rst && job_done;
        score_failed <= job_error;
    end

    // ---- sequence ----------------------------------------------------------------------------------------------------------
    assign cmd_take = (state == IDLE) && cmd_valid && !hold && (dma_idle || !set.strict) && (no_scores || cmd.op == OP_SCORE);

    always_ff @(posedge clk) begin
        if (rst) begin
            state <= IDLE;
            t <= '0;
            valid_entries <= '0;
            insert_pending <= 1'b0;
            lookup_counts <= 1'b0;
        end else begin
            lookup_counts <= 1'b0;
            if (key_ready) insert_pending <= 1'b0;
            case (state)
                IDLE: if (cmd_take) state <= CHECK;
                CHECK: begin
                    if (!settled) state <= CHECK;
                    else if (operands != CODE_OK) state <= RESULT;
                    else if (is_load || is_lookup) state <= LOOK;
                    else if (c.op == OP_SET || c.op == OP_NOP) state <= RESULT;
                    else if (resources) begin
                        state <= PASS_WAIT;
                        if (c.op == OP_STEP) t <= c.a[31:0];
                    end
                end
                LOOK: if (key_ready) state <= LOOK_WAIT;
                LOOK_WAIT: if (key_done) begin
                    narrow <= !key_unresolved;
                    if (key_unresolved) state <= START;
                    else if (is_load) state <= (key_hit && !key_shared) ? RESULT : PLACE;
                    else begin
                        lookup_counts <= 1'b1;
                        state <= (touches && key_hit) ? START : RESULT;
                    end
                end
                FIND_WAIT: if (pass_done) begin
                    narrow <= 1'b1;
                    if (is_load) state <= pass_found ? RESULT : PLACE;
                    else begin
                        lookup_counts <= 1'b1;
                        state <= (touches && (pass_found || pass_found_shared)) ? START : RESULT;
                    end
                end
                PLACE: if (map_ready) begin
                    narrow <= 1'b1;
                    state <= map_any_free ? START : RESULT;
                    if (map_any_free) begin
                        insert_pending <= 1'b1;
                        valid_entries <= valid_entries + 17'd1;
                    end
                end
                START: state <= narrow ? PASS_WAIT : FIND_WAIT;
                PASS_WAIT: if (pass_done) begin
                    state <= is_ranked ? CHOOSE : is_score ? OFFER : SETTLE;
                    if (is_unload) valid_entries <= valid_entries - pass_freed;
                end
                CHOOSE: state <= scan ? SCAN : chosen ? SETTLE : AGAIN;
                SCAN: if (found_theta) state <= AGAIN;
                AGAIN: state <= PASS_WAIT;
                SETTLE: if (!insert_pending && !(c.op == OP_DIGEST && digest_busy)) state <= RESULT;
                OFFER:
                    if (!resident) state <= RESULT;
                    else if (job_valid && job_ready) state <= IDLE;
                default: if (no_scores) state <= IDLE;  // RESULT
            endcase
        end
    end

    always_ff @(posedge clk) begin
        if (state == IDLE) begin
            cycles <= 32'd1;
            code <= CODE_OK;
            matched <= '0;
            has_index <= 1'b0;
            index <= '0;
            tier <= '0;
        end else begin
            cycles <= cycles + 32'd1;
        end
        case (state)
            CHECK: code <= operands;
            LOOK_WAIT: if (key_done && !key_unresolved) begin
                if (is_load) begin
                    if (key_hit && !key_shared) code <= CODE_ERR_EXISTS;
                end else begin
                    matched <= 17'(key_hit);
                    has_index <= key_hit;
                    index <= 16'(key_hit_index);
                    tier <= key_tier;
                    if (is_score && !key_hit) code <= CODE_ERR_NOT_FOUND;
                end
            end
            FIND_WAIT: if (pass_done) begin
                if (is_load) begin
                    if (pass_found) code <= CODE_ERR_EXISTS;
                end else begin
                    matched <= 17'(pass_found || pass_found_shared);
                    has_index <= pass_found || pass_found_shared;
                    index <= searched_index;
                    tier <= pass_found ? pass_found_tier : pass_found_shared_tier;
                    if (is_score && !pass_found && !pass_found_shared) code <= CODE_ERR_NOT_FOUND;
                end
            end
            PLACE: if (map_ready) begin
                if (!map_any_free) code <= CODE_ERR_FULL;
                else begin
                    has_index <= 1'b1;
                    matched <= 17'd1;
                    index <= 16'(map_free_index);
                end
            end
            PASS_WAIT: if (pass_done) begin
                if (is_load) tier <= pass.load_tier;
                else if (is_score) tier <= touched_tier;  // beside a DMA it may have changed since the lookup
                else if (!is_lookup && c.op != OP_DIGEST && passed == OP_STEP) matched <= pass_matched;
                if ((c.op == OP_SHARE_INDEX || c.op == OP_RELEASE_INDEX) && !pass_matched[0]) code <= CODE_ERR_NOT_FOUND;
            end
            OFFER: if (!resident) code <= CODE_ERR_NOT_RESIDENT;
            default: ;
        endcase
    end

    assign lookup_hit = has_index;
    assign lookup_tier = tier;

    // Of the command, or of the oldest SCORE under way: then `c` is a SCORE, too.
    assign result_valid = scored || (state == RESULT && no_scores);
    assign accepted = result_valid && result.code == CODE_OK;
    assign shown_tier = scored ? 2'd1 : tier;
    assign shown_index = scored ? oldest.index : index;
    always_comb begin
        result.code = !scored ? code : score_failed ? CODE_ERR_MEMORY : CODE_OK;
        result.op = c.op;
        result.rung = c.rung;
        result.has_index = has_index || scored;
        result.tier = shown_tier;
        result.matched = scored ? 17'd1 : matched;
        result.index = shown_index;
        result.phys = set.tier_base[shown_tier] + 64'(shown_index) * 64'(BLOCK_BYTES);
        result.cycles = scored ? ticks - oldest.began : cycles;
    end

    // ---- promises, checked in simulation ------------------------------------------------------------------------------------
    kvcpu_handshake_check #(.WIDTH(80)) u_job_check (
        .clk, .rst, .valid(job_valid), .ready(job_ready), .data({job_addr, job_rows, job_slot, job_numerators})
    );
`ifndef SYNTHESIS
    always_ff @(posedge clk) begin
        if (!rst) begin
            scored_asked: assert (!(scored && (no_scores || c.op != OP_SCORE))) else $error("a job ends that was begun, and only SCOREs run beside one");
            entries_fit: assert (valid_entries <= 17'(ENTRIES)) else $error("no more entries are valid than there are");
            one_at_a_time: assert (!(cmd_take && (insert_pending || free_valid)))
                else $error("a command starts when the one before is done");
            strict_waits: assert (!(cmd_take && set.strict && !dma_idle))
                else $error("with strict a command starts while no block moves");
            unload_waits: assert (!(pass_start && is_unload && !dma_idle)) else $error("no block is freed while blocks move");
        end
    end
`endif
endmodule
`default_nettype wire
