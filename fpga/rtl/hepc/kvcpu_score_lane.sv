// kvcpu_score_lane - one lane of the pass engine: takes one directory entry per cycle through match, score and decision.
//
// Five register stages behind the directory's read data (R14 to R21):
//   1 match, and t - access_step      2 S, R, F, pinned      3 products      4 priority P      5 new state and decision
// All stages move together when `advance` is high; `stage[k]` says that stage k+1 takes a row. `pass` is constant during a
// pass. Outputs belong to the row in stage 5. The lane decides what the entry itself allows; whether a prefetch candidate
// finds a free T1 place is decided in index order by kvcpu_pass.
`default_nettype none
module kvcpu_score_lane
    import kvcpu_pkg::*;
    import kvcpu_map_pkg::*;
#(
    parameter int unsigned LANE = 0,
    parameter int unsigned TOKEN_BITS = 5
) (
    input  wire logic         clk,
    input  wire logic         advance,
    input  wire logic [4:0]   stage,
    input  wire pass_t        pass,
    input  wire settings_t    set,
    input  wire logic         frees,   // UNLOAD: freed_key is wanted
    input  wire entry_key_t   key,
    input  wire entry_state_t state,
    input  wire entry_res_t   res,
    input  wire logic [63:0]  va,

    output logic              matched,
    output logic              matched_shared,  // MATCH_KEY: the same key with request 0
    output entry_state_t      new_state,
    output entry_res_t        new_res,
    output logic              write,
    output logic              evict,           // trigger candidates
    output logic              prefetch,
    output logic              freed,           // UNLOAD
    output entry_key_t        freed_key,
    output logic              guarded,
    output logic              saturated,
    output logic              release_refused
);
    // What goes with a row from stage to stage, beside flagsN: stateN, resN, and for UNLOAD keyN.
    typedef struct packed {
        logic match;
        logic match_shared;
        logic write;
    } flags_t;

    // ---- stage 1: comparisons, distance to the access step --------------------------------------------------------------
    // The memories' data arrive late in the cycle, so the comparisons are only put together in the next. Only those are made that
    // `pass.match` asks for, as the others' results are not looked at.
    flags_t             flags1;  // match: if the comparisons say so; write: whatever they say
    entry_state_t       state1;
    entry_res_t         res1;
    entry_key_t         key1;
    logic signed [32:0] age1;  // t - access_step (of a PREFETCH: to its target; nobody asks where it does not match)
    logic [1:0]         less_low1, less_high1;  // by halves: va below va_low, va below va_end
    logic [7:0]         other_low1, other_high1;  // their upper halves differ, by four bits
    logic [3:0]         request1, id1, shared1;  // the request's field is that wanted, the key's, 0: by four bits
    logic [11:0]        block1;

    always_ff @(posedge clk) begin
        if (advance && stage[0]) begin : compare_stage
            automatic logic [31:0] position;
            position = {key.span[31:TOKEN_BITS], TOKEN_BITS'(0)};
            case (pass.match)
                MATCH_VA: begin
                    for (int k = 0; k < 2; k++) begin
                        less_low1[k] <= (va[32*k +: 32] < pass.va_low[32*k +: 32]);
                        less_high1[k] <= (va[32*k +: 32] < pass.va_end[32*k +: 32]);
                    end
                    for (int k = 0; k < 8; k++) begin
                        other_low1[k] <= (va[32 + 4*k +: 4] != pass.va_low[32 + 4*k +: 4]);
                        other_high1[k] <= (va[32 + 4*k +: 4] != pass.va_end[32 + 4*k +: 4]);
                    end
                end
                MATCH_REQUEST: for (int k = 0; k < 4; k++) request1[k] <= (key.id[4*k +: 4] == pass.request[4*k +: 4]);
                MATCH_KEY: begin
                    for (int k = 0; k < 8; k++) block1[k] <= (position[4*k +: 4] == pass.key[4*k +: 4]);
                    for (int k = 0; k < 4; k++) begin
                        block1[8 + k] <= (key.id[16 + 4*k +: 4] == pass.key[48 + 4*k +: 4]);
                        id1[k] <= (key.id[4*k +: 4] == pass.key[32 + 4*k +: 4]);
                        shared1[k] <= (key.id[4*k +: 4] == 4'd0);
                    end
                end
                default: ;
            endcase
        end
    end

    always_ff @(posedge clk) begin
        if (advance && stage[0]) begin : entry_stage
            automatic logic [31:0] accessed;
            accessed = (pass.op == OP_TOUCH || pass.op == OP_HOT || pass.op == OP_LOAD) ? pass.t
                     : (pass.op == OP_PREFETCH) ? pass.target : state.access_step;
            age1 <= $signed({1'b0, pass.t}) - $signed({1'b0, accessed});
            if (frees) key1 <= key;
            res1 <= res;
            state1 <= state;
            flags1 <= '{match: state.valid, match_shared: state.valid, write: 1'b0};
            if (pass.loads) begin
                flags1 <= '{match: 1'b1, match_shared: 1'b0, write: pass.fresh_row};
                if (pass.lane == 4'(LANE)) begin
                    res1 <= '{tier: pass.load_tier, dirty: 1'b1, inflight: 1'b0};
                    state1 <= '0;
                    state1.valid <= 1'b1;
                    state1.prefix <= (pass.load_key.id[15:0] == 16'd0);
                end else if (pass.fresh_row) begin
                    state1 <= '0;
                end
            end
        end
    end

    // ---- stage 2: match, S, and the fields that feed the score ---------------------------------------------------------
    flags_t       flags2;
    entry_state_t state2;
    entry_res_t   res2;
    entry_key_t   key2;
    logic [7:0]   s2;
    logic         match1, low1, high1;  // low1: the block ends behind the range's start; high1: it starts before its end

    assign low1 = !(less_low1[1] || (other_low1 == '0 && less_low1[0]));
    assign high1 = pass.va_end[64] || less_high1[1] || (other_high1 == '0 && less_high1[0]);
    always_comb begin
        case (pass.match)
            MATCH_ALL:     match1 = flags1.match;
            MATCH_VA:      match1 = flags1.match && low1 && high1;
            MATCH_REQUEST: match1 = flags1.match && request1 == '1;
            MATCH_LANE:    match1 = flags1.match && (pass.lane == 4'(LANE));
            MATCH_KEY:     match1 = flags1.match && block1 == '1 && id1 == '1;
            default:       match1 = 1'b0;
        endcase
    end

    always_ff @(posedge clk) begin
        if (advance && stage[1]) begin : distance_stage
            automatic logic [7:0] distance;  // |age1|, where it is below 256
            automatic logic       outside;
            distance = age1[32] ? -age1[7:0] : age1[7:0];
            outside = (age1[32] ? (age1[31:8] != '1 || age1[7:0] == '0) : (age1[31:8] != '0)) || (distance > set.window);
            s2 <= outside ? 8'd0 : set.window - distance;
            if (frees) key2 <= key1;
            res2 <= res1;
            state2 <= state1;
            flags2.match <= match1;
            flags2.match_shared <= flags1.match_shared && pass.match == MATCH_KEY && shared1 == '1 && block1 == '1;
            flags2.write <= flags1.write || (match1 && pass.match != MATCH_KEY);
            if (match1) begin
                case (pass.op)
                    OP_STEP: begin
                        if (state1.r != 8'd0) state2.r <= state1.r - 8'd1;
                        if (outside && !age1[32]) state2.pinned <= 1'b0;
                    end
                    OP_TOUCH: begin
                        state2.r <= 8'hFF;
                        if (state1.f != 8'hFF) state2.f <= state1.f + 8'd1;
                        state2.access_step <= pass.t;
                    end
                    OP_LOAD: begin
                        state2.r <= 8'hFF;
                        state2.f <= 8'd1;
                        state2.access_step <= pass.t;
                    end
                    OP_HOT: begin
                        state2.r <= 8'hFF;
                        state2.pinned <= 1'b1;
                        state2.access_step <= pass.t;
                    end
                    OP_EVICT: state2.pinned <= 1'b0;
                    OP_PREFETCH: begin
                        state2.access_step <= pass.target;
                        state2.armed <= 1'b1;
                    end
                    default: ;
                endcase
            end
        end
    end

    // ---- stage 3: products ---------------------------------------------------------------------------------------------
    flags_t       flags3;
    entry_state_t state3;
    entry_res_t   res3;
    entry_key_t   key3;
    logic [15:0] product_r, product_f, product_s, product_d;
    logic        near3;  // S > 0

    always_ff @(posedge clk) begin
        if (advance && stage[2]) begin
            flags3 <= flags2;
            if (frees) key3 <= key2;
            res3 <= res2;
            state3 <= state2;
            product_r <= set.w_r * state2.r;
            product_f <= set.w_f * state2.f;
            product_s <= set.w_s * s2;
            product_d <= state2.prefix ? {set.w_d, 8'd0} - 16'(set.w_d) : 16'd0;  // W_D * 255
            near3 <= (s2 != 8'd0);
        end
    end

    // ---- stage 4: priority (R14, modulo 2^16) --------------------------------------------------------------------------
    flags_t       flags4;
    entry_state_t state4;
    entry_res_t   res4;
    entry_key_t   key4;
    logic         near4;

    always_ff @(posedge clk) begin
        if (advance && stage[3]) begin
            flags4 <= flags3;
            if (frees) key4 <= key3;
            res4 <= res3;
            state4 <= state3;
            near4 <= near3;
            if (flags3.match && pass.op != OP_SHARE && pass.op != OP_SHARE_INDEX
                && pass.op != OP_RELEASE && pass.op != OP_RELEASE_INDEX)
                state4.prio <= state3.pinned ? 16'hFFFF : (product_r + product_f) + (product_s + product_d);
        end
    end

    // ---- stage 5: reference count, decision ----------------------------------------------------------------------------
    always_ff @(posedge clk) begin
        if (advance && stage[4]) begin : decide_stage
            automatic logic guard;
            automatic logic in_t1;
            automatic logic in_lower;
            guard = state4.prefix && (state4.ref_count != 8'd0);
            in_t1 = (res4.tier == 2'd1);
            in_lower = res4.tier[1];

            matched <= flags4.match;
            matched_shared <= flags4.match_shared;
            new_state <= state4;
            new_res <= res4;
            write <= flags4.write;
            if (frees) freed_key <= key4;
            evict <= 1'b0;
            prefetch <= 1'b0;
            freed <= 1'b0;
            guarded <= 1'b0;
            saturated <= 1'b0;
            release_refused <= 1'b0;
            if (flags4.match) begin
                case (pass.op)
                    OP_STEP: begin
                        if (in_t1 && !res4.inflight && state4.prio < set.evict_thresh) begin
                            guarded <= guard;
                            evict <= !guard;
                        end
                        prefetch <= in_lower && !res4.inflight
                                    && ((state4.armed && near4) || state4.prio > set.prefetch_thresh);
                    end
                    OP_TOUCH: prefetch <= in_lower && !res4.inflight;
                    OP_EVICT: begin
                        guarded <= guard;
                        evict <= in_t1 && !guard && !res4.inflight;
                    end
                    OP_PREFETCH: begin
                        if (in_t1) new_state.armed <= 1'b0;
                        prefetch <= in_lower && near4 && !res4.inflight;
                    end
                    OP_SHARE, OP_SHARE_INDEX: begin
                        new_state.prefix <= 1'b1;
                        saturated <= (state4.ref_count == 8'hFF);
                        if (state4.ref_count != 8'hFF) new_state.ref_count <= state4.ref_count + 8'd1;
                    end
                    OP_RELEASE, OP_RELEASE_INDEX: begin
                        release_refused <= (state4.ref_count == 8'd0);
                        if (state4.ref_count != 8'd0) new_state.ref_count <= state4.ref_count - 8'd1;
                    end
                    OP_UNLOAD, OP_UNLOAD_REQUEST: begin
                        guarded <= guard;
                        freed <= !guard;
                        write <= !guard;
                        if (!guard) new_state.valid <= 1'b0;
                    end
                    default: ;
                endcase
            end
        end
    end
endmodule
`default_nettype wire
