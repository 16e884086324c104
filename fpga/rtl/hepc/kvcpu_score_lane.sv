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
    input  wire logic [31:0]  index,   // of the entry on the inputs
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
    typedef struct packed {
        entry_state_t state;
        entry_res_t   res;
        entry_key_t   key;
        logic         match;
        logic         match_shared;
        logic         write;
    } entry_t;

    // ---- stage 1: comparisons, distance to the access step --------------------------------------------------------------
    // The memories' data arrive late in the cycle, so the comparisons are only put together in the next.
    entry_t             e1;    // match: if the comparisons say so; write: whatever they say
    logic signed [32:0] age1;  // t - access_step (of a PREFETCH: to its target; nobody asks where it does not match)
    logic               index1;
    logic [1:0]         less_low1, less_high1;  // by halves: va below va_low, va below va_end
    logic [7:0]         other_low1, other_high1;  // their upper halves differ, by four bits
    logic               past_end1;              // va_end is 2^64
    logic [3:0]         request1, id1, shared1;  // the request's field is that wanted, the key's, 0: by four bits
    logic [11:0]        block1;

    always_ff @(posedge clk) begin
        if (advance && stage[0]) begin : compare_stage
            automatic logic [31:0] accessed, position;
            position = {key.span[31:TOKEN_BITS], TOKEN_BITS'(0)};
            for (int k = 0; k < 2; k++) begin
                less_low1[k] <= (va[32*k +: 32] < pass.va_low[32*k +: 32]);
                less_high1[k] <= (va[32*k +: 32] < pass.va_end[32*k +: 32]);
            end
            for (int k = 0; k < 8; k++) begin
                other_low1[k] <= (va[32 + 4*k +: 4] != pass.va_low[32 + 4*k +: 4]);
                other_high1[k] <= (va[32 + 4*k +: 4] != pass.va_end[32 + 4*k +: 4]);
                block1[k] <= (position[4*k +: 4] == pass.key[4*k +: 4]);
            end
            past_end1 <= pass.va_end[64];
            for (int k = 0; k < 4; k++) begin
                request1[k] <= (key.id[4*k +: 4] == pass.request[4*k +: 4]);
                shared1[k] <= (key.id[4*k +: 4] == 4'd0);
                id1[k] <= (key.id[4*k +: 4] == pass.key[32 + 4*k +: 4]);
                block1[8 + k] <= (key.id[16 + 4*k +: 4] == pass.key[48 + 4*k +: 4]);
            end
            index1 <= (index >= pass.first) && (index < pass.last);
            accessed = (pass.op == OP_TOUCH || pass.op == OP_HOT || pass.op == OP_LOAD) ? pass.t
                     : (pass.op == OP_PREFETCH) ? pass.target : state.access_step;
            age1 <= $signed({1'b0, pass.t}) - $signed({1'b0, accessed});
            e1.key <= key;
            e1.res <= res;
            e1.state <= state;
            e1.match <= state.valid;
            e1.match_shared <= state.valid;
            e1.write <= 1'b0;
            if (pass.loads) begin
                e1.match <= 1'b1;
                e1.match_shared <= 1'b0;
                e1.write <= pass.fresh_row;
                if (pass.lane == 4'(LANE)) begin
                    e1.key <= pass.load_key;
                    e1.res <= '{tier: pass.load_tier, dirty: 1'b1, inflight: 1'b0};
                    e1.state <= '0;
                    e1.state.valid <= 1'b1;
                    e1.state.prefix <= (pass.load_key.id[15:0] == 16'd0);
                end else if (pass.fresh_row) begin
                    e1.state <= '0;
                end
            end
        end
    end

    // ---- stage 2: match, S, and the fields that feed the score ---------------------------------------------------------
    entry_t     e2;
    logic [7:0] s2;
    logic       match1, low1, high1;  // low1: the block ends behind the range's start; high1: it starts before its end

    assign low1 = !(less_low1[1] || (other_low1 == '0 && less_low1[0]));
    assign high1 = past_end1 || less_high1[1] || (other_high1 == '0 && less_high1[0]);
    always_comb begin
        case (pass.match)
            MATCH_ALL:     match1 = e1.match;
            MATCH_VA:      match1 = e1.match && low1 && high1;
            MATCH_REQUEST: match1 = e1.match && request1 == '1;
            MATCH_LANE:    match1 = e1.match && (pass.lane == 4'(LANE));
            MATCH_KEY:     match1 = e1.match && block1 == '1 && id1 == '1;
            MATCH_INDEX:   match1 = e1.match && index1;
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
            e2 <= e1;
            e2.match <= match1;
            e2.match_shared <= e1.match_shared && shared1 == '1 && block1 == '1;
            e2.write <= e1.write || (match1 && pass.op != OP_DIGEST && pass.match != MATCH_KEY);
            if (match1) begin
                case (pass.op)
                    OP_STEP: begin
                        if (e1.state.r != 8'd0) e2.state.r <= e1.state.r - 8'd1;
                        if (outside && !age1[32]) e2.state.pinned <= 1'b0;
                    end
                    OP_TOUCH: begin
                        e2.state.r <= 8'hFF;
                        if (e1.state.f != 8'hFF) e2.state.f <= e1.state.f + 8'd1;
                        e2.state.access_step <= pass.t;
                    end
                    OP_LOAD: begin
                        e2.state.r <= 8'hFF;
                        e2.state.f <= 8'd1;
                        e2.state.access_step <= pass.t;
                    end
                    OP_HOT: begin
                        e2.state.r <= 8'hFF;
                        e2.state.pinned <= 1'b1;
                        e2.state.access_step <= pass.t;
                    end
                    OP_EVICT: e2.state.pinned <= 1'b0;
                    OP_PREFETCH: begin
                        e2.state.access_step <= pass.target;
                        e2.state.armed <= 1'b1;
                    end
                    default: ;
                endcase
            end
        end
    end

    // ---- stage 3: products ---------------------------------------------------------------------------------------------
    entry_t      e3;
    logic [15:0] product_r, product_f, product_s, product_d;
    logic        near3;  // S > 0

    always_ff @(posedge clk) begin
        if (advance && stage[2]) begin
            e3 <= e2;
            product_r <= set.w_r * e2.state.r;
            product_f <= set.w_f * e2.state.f;
            product_s <= set.w_s * s2;
            product_d <= e2.state.prefix ? {set.w_d, 8'd0} - 16'(set.w_d) : 16'd0;  // W_D * 255
            near3 <= (s2 != 8'd0);
        end
    end

    // ---- stage 4: priority (R14, modulo 2^16) --------------------------------------------------------------------------
    entry_t      e4;
    logic        near4;

    always_ff @(posedge clk) begin
        if (advance && stage[3]) begin
            e4 <= e3;
            near4 <= near3;
            if (e3.match && pass.op != OP_SHARE && pass.op != OP_SHARE_INDEX
                && pass.op != OP_RELEASE && pass.op != OP_RELEASE_INDEX)
                e4.state.prio <= e3.state.pinned ? 16'hFFFF : (product_r + product_f) + (product_s + product_d);
        end
    end

    // ---- stage 5: reference count, decision ----------------------------------------------------------------------------
    always_ff @(posedge clk) begin
        if (advance && stage[4]) begin : decide_stage
            automatic logic guard;
            automatic logic in_t1;
            automatic logic in_lower;
            guard = e4.state.prefix && (e4.state.ref_count != 8'd0);
            in_t1 = (e4.res.tier == 2'd1);
            in_lower = e4.res.tier[1];

            matched <= e4.match;
            matched_shared <= e4.match_shared;
            new_state <= e4.state;
            new_res <= e4.res;
            write <= e4.write;
            freed_key <= e4.key;
            evict <= 1'b0;
            prefetch <= 1'b0;
            freed <= 1'b0;
            guarded <= 1'b0;
            saturated <= 1'b0;
            release_refused <= 1'b0;
            if (e4.match) begin
                case (pass.op)
                    OP_STEP: begin
                        if (in_t1 && !e4.res.inflight && e4.state.prio < set.evict_thresh) begin
                            guarded <= guard;
                            evict <= !guard;
                        end
                        prefetch <= in_lower && !e4.res.inflight
                                    && ((e4.state.armed && near4) || e4.state.prio > set.prefetch_thresh);
                    end
                    OP_TOUCH: prefetch <= in_lower && !e4.res.inflight;
                    OP_EVICT: begin
                        guarded <= guard;
                        evict <= in_t1 && !guard && !e4.res.inflight;
                    end
                    OP_PREFETCH: begin
                        if (in_t1) new_state.armed <= 1'b0;
                        prefetch <= in_lower && near4 && !e4.res.inflight;
                    end
                    OP_SHARE, OP_SHARE_INDEX: begin
                        new_state.prefix <= 1'b1;
                        saturated <= (e4.state.ref_count == 8'hFF);
                        if (e4.state.ref_count != 8'hFF) new_state.ref_count <= e4.state.ref_count + 8'd1;
                    end
                    OP_RELEASE, OP_RELEASE_INDEX: begin
                        release_refused <= (e4.state.ref_count == 8'd0);
                        if (e4.state.ref_count != 8'd0) new_state.ref_count <= e4.state.ref_count - 8'd1;
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
