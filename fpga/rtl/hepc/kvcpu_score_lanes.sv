// kvcpu_score_lanes - the lanes of the pass engine: take a row of LANES directory entries per cycle through match, score and decision.
//
// Five register stages behind the directory's read data (R14 to R21, R40 to R47):
//   1 match      2 t - access_step, R, F      3 products, is S 0, pinned      4 priority P      5 new state and decision
// In ranked mode P comes from kvcpu_rank_table, which looks its code up in stages 2 and 3, and kvcpu_contest says who `wins`.
// All stages move together when `advance` is high; `stage[k]` says that stage k+1 takes a row. `pass` is constant during a
// pass. Outputs belong to the row in stage 5, `candidates` to that in front of it. A lane decides what its entry itself allows; whether a prefetch candidate
// finds a free T1 place is decided in index order by kvcpu_pass.
//
// The lanes do the same at the same time, so a field of all lanes is one array, which is assigned whole, and a flag of all lanes is
// one vector: a simulator makes vector instructions of that. What is worked out for an entry that does not match goes nowhere:
// it is not in `write`.
`default_nettype none
module kvcpu_score_lanes
    import kvcpu_pkg::*;
    import kvcpu_map_pkg::*;
#(
    parameter int unsigned LANES = 8,
    parameter int unsigned TOKEN_BITS = 5,
    parameter int unsigned BLOCK_BYTES = 16384
) (
    input  wire logic         clk,
    input  wire logic         advance,
    input  wire logic [4:0]   stage,
    input  wire pass_t        pass,
    input  wire settings_t    set,
    input  wire logic         frees,   // UNLOAD: freed_key is wanted
    input  wire entry_key_t   key [LANES],
    input  wire entry_state_t state [LANES],
    input  wire entry_res_t   res [LANES],
    input  wire logic [63:0]  va [LANES],

    // ranked mode
    output logic [31:0]       from1 [LANES],   // of the row behind stage 1: where the distance to t is counted from
    output logic [LANES-1:0]  ahead1,          // t < from
    output logic [15:0]       label1 [LANES],  // {order, class}
    input  wire logic [7:0]   code [LANES],    // of that behind stage 3
    output logic [LANES-1:0]  pool1,           // behind stage 1
    output logic [15:0]       rank1 [LANES],   // P, and the highest of a guarded block in tier 1
    input  wire logic [LANES-1:0] wins,        // behind stage 4
    output logic [LANES-1:0]  pool,            // behind stage 5: of the pool, and those of it that are not in tier 1
    output logic [LANES-1:0]  outside,
    output logic [15:0]       rank [LANES],

    output logic              candidates,      // the row in stage 4, that stage 5 takes next, has some: of the three below
    output logic [LANES-1:0]  matched,
    output logic [LANES-1:0]  matched_shared,  // MATCH_KEY: the same key with request 0
    output entry_state_t      new_state [LANES],
    output entry_res_t        new_res [LANES],
    output logic [LANES-1:0]  write,
    output logic [LANES-1:0]  evict,           // trigger candidates
    output logic [LANES-1:0]  prefetch,
    output logic [LANES-1:0]  freed,           // UNLOAD
    output entry_key_t        freed_key [LANES],
    output logic [LANES-1:0]  guarded,
    output logic [LANES-1:0]  saturated,
    output logic [LANES-1:0]  release_refused
);
    typedef logic [LANES-1:0] flags_t;

    // The flags of a row's entries, as they go from stage to stage.
    typedef struct packed {
        flags_t valid, prefix, pinned, armed, tier_high, tier_low, dirty, inflight, pool;
    } row_t;

    flags_t wanted_lane;  // MATCH_LANE
    assign wanted_lane = flags_t'(1) << pass.lane;

    // ---- stage 1: comparisons, which the memories' data reach late -------------------------------------------------------
    // The memories' data arrive late in the cycle, so the comparisons are only put together in the next, and nothing comes between
    // them and their registers. Only those are made that `pass.match` asks for, as the others' results are not looked at.
    typedef struct packed {
        logic [1:0] less_low, less_high;    // by halves: va below va_low, va below va_end
        logic [7:0] other_low, other_high;  // their upper halves differ, by four bits
    } in_range_t;
    typedef struct packed {
        logic [11:0] block;                 // head, layer and position are those wanted, by four bits
        logic [3:0]  id, shared;            // the request is that wanted, is 0
    } in_key_t;

    // a < b, as the sign of a difference: it comes out of the last cell of the carry chain, with a register beside it.
    function automatic logic below(input logic [31:0] a, input logic [31:0] b);
        below = 1'(({1'b0, a} - {1'b0, b}) >> 32);
    endfunction

    in_range_t   range1 [LANES];
    in_key_t     wanted1 [LANES];
    logic [3:0]  request1 [LANES];  // the request is that wanted, by four bits

    always_ff @(posedge clk) begin
        if (advance && stage[0] && pass.match == MATCH_VA) begin
            in_range_t range0 [LANES];
            for (int l = 0; l < LANES; l++) begin
                for (int k = 0; k < 2; k++) begin
                    range0[l].less_low[k] = below(va[l][32*k +: 32], pass.va_low[32*k +: 32]);
                    range0[l].less_high[k] = below(va[l][32*k +: 32], pass.va_end[32*k +: 32]);
                end
                for (int k = 0; k < 8; k++) begin
                    range0[l].other_low[k] = (va[l][32 + 4*k +: 4] != pass.va_low[32 + 4*k +: 4]);
                    range0[l].other_high[k] = (va[l][32 + 4*k +: 4] != pass.va_end[32 + 4*k +: 4]);
                end
            end
            range1 <= range0;
        end
    end
    always_ff @(posedge clk) begin
        if (advance && stage[0] && pass.match == MATCH_REQUEST) begin
            logic [3:0] request0 [LANES];
            for (int l = 0; l < LANES; l++)
                for (int k = 0; k < 4; k++) request0[l][k] = (key[l].id[4*k +: 4] == pass.request[4*k +: 4]);
            request1 <= request0;
        end
    end
    always_ff @(posedge clk) begin
        if (advance && stage[0] && pass.match == MATCH_KEY) begin
            in_key_t     wanted0 [LANES];
            logic [31:0] position;  // token_start
            for (int l = 0; l < LANES; l++) begin
                position = {key[l].span[31:TOKEN_BITS], TOKEN_BITS'(0)};
                for (int k = 0; k < 8; k++)
                    wanted0[l].block[k] = (position[4*k +: 4] == pass.key[4*k +: 4]);
                for (int k = 0; k < 4; k++) begin
                    wanted0[l].block[8 + k] = (key[l].id[16 + 4*k +: 4] == pass.key[48 + 4*k +: 4]);
                    wanted0[l].id[k] = (key[l].id[4*k +: 4] == pass.key[32 + 4*k +: 4]);
                    wanted0[l].shared[k] = (key[l].id[4*k +: 4] == 4'd0);
                end
            end
            wanted1 <= wanted0;
        end
    end

    row_t        row0, row1;
    logic [7:0]  r0 [LANES], r1 [LANES], f0 [LANES], f1 [LANES], ref0 [LANES], ref1 [LANES];
    logic [15:0] prio0 [LANES], prio1 [LANES];
    logic [31:0] access0 [LANES], access1 [LANES];
    logic [31:0] from0 [LANES];              // where the distance is counted from: the access step that the command leaves
    logic [15:0] label0 [LANES];
    entry_key_t  key1 [LANES];

    always_comb begin
        for (int l = 0; l < LANES; l++) begin
            r0[l] = state[l].r;
            f0[l] = state[l].f;
            ref0[l] = state[l].ref_count;
            prio0[l] = state[l].prio;
            access0[l] = state[l].access_step;
        end
        for (int l = 0; l < LANES; l++) begin
            row0.valid[l] = state[l].valid;
            row0.prefix[l] = state[l].prefix;
            row0.pinned[l] = state[l].pinned;
            row0.armed[l] = state[l].armed;
            row0.pool[l] = state[l].pool;
            {row0.tier_high[l], row0.tier_low[l]} = res[l].tier;
            row0.dirty[l] = res[l].dirty;
            row0.inflight[l] = res[l].inflight;
        end
        if (pass.loads) begin
            row0.valid = (pass.fresh_row ? '0 : row0.valid) | wanted_lane;
            row0.prefix = (pass.load_key.id[15:0] == 16'd0) ? '1 : '0;
            {row0.pinned, row0.armed, row0.inflight, row0.pool} = '0;
            row0.dirty = '1;
            row0.tier_high = pass.load_tier[1] ? '1 : '0;
            row0.tier_low = pass.load_tier[0] ? '1 : '0;
        end
    end

    always_comb begin
        case (pass.op)
            OP_TOUCH, OP_HOT, OP_LOAD: for (int l = 0; l < LANES; l++) from0[l] = pass.t;
            OP_PREFETCH:               for (int l = 0; l < LANES; l++) from0[l] = pass.target;
            default:                   from0 = access0;
        endcase
        for (int l = 0; l < LANES; l++) label0[l] = pass.labels ? pass.label : state[l].label;
    end

    always_ff @(posedge clk) begin
        if (advance && stage[0]) begin
            row1 <= row0;
            r1 <= r0;
            f1 <= f0;
            ref1 <= ref0;
            prio1 <= prio0;
            access1 <= from0;  // of a command that does not count from it: the entry's own
            label1 <= label0;
            if (frees) key1 <= key;
        end
    end

    // ---- stage 2: match, distance in time, and the fields that feed the score ------------------------------------------
    flags_t      in_range1, of_request1, of_block1, of_id1, of_shared1;  // what the comparisons say together
    flags_t      match1, match2, shared2, write2;
    row_t        changed1, row2;
    logic [31:0] age1 [LANES];               // t - from, modulo 2^32
    logic [7:0]  aged1 [LANES], used1 [LANES], counted1 [LANES];  // R, F, ref_count as the command leaves them
    logic [7:0]  r2 [LANES], f2 [LANES], ref2 [LANES];
    logic [7:0]  left1 [LANES], left2 [LANES];  // window - |t - from|, modulo 2^8
    flags_t      short1, short2;                // that is below 0, where |t - from| is at most 2^8
    logic [7:0]  age2 [LANES];                  // the lowest bits of t - from
    flags_t      none1, none2, all1, all2;      // those above them are all 0, all 1
    flags_t      ahead2;
    logic [15:0] prio2 [LANES];
    logic [31:0] access2 [LANES];
    logic [15:0] label2 [LANES];
    entry_key_t  key2 [LANES];

    always_comb begin
        in_range1 = '0;
        of_request1 = '0;
        {of_block1, of_id1, of_shared1} = '0;
        case (pass.match)
            MATCH_VA: for (int l = 0; l < LANES; l++)  // ends behind the range's start, and begins before its end
                in_range1[l] = !(range1[l].less_low[1] || (range1[l].other_low == '0 && range1[l].less_low[0]))
                    && (pass.va_end[64] || range1[l].less_high[1] || (range1[l].other_high == '0 && range1[l].less_high[0]));
            MATCH_REQUEST: for (int l = 0; l < LANES; l++) of_request1[l] = (request1[l] == '1);
            MATCH_KEY: for (int l = 0; l < LANES; l++) begin
                of_block1[l] = (wanted1[l].block == '1);
                of_id1[l] = (wanted1[l].id == '1);
                of_shared1[l] = (wanted1[l].shared == '1);
            end
            default: ;
        endcase
    end
    always_comb begin
        match1 = row1.valid;
        case (pass.match)
            MATCH_ALL:     ;
            MATCH_POOL:    match1 &= row1.pool;
            MATCH_VA:      match1 &= in_range1;
            MATCH_REQUEST: match1 &= of_request1;
            MATCH_LANE:    match1 &= wanted_lane;
            MATCH_KEY:     match1 &= of_block1 & of_id1;
            default:       match1 = '0;
        endcase
    end

    assign from1 = access1;
    always_comb begin
        for (int l = 0; l < LANES; l++) age1[l] = pass.t - access1[l];
        for (int l = 0; l < LANES; l++) ahead1[l] = (pass.t < access1[l]);
    end
    always_comb begin
        // Of t - from and from - t only one is taken: to choose between the ends is shorter than to turn the sign first.
        for (int l = 0; l < LANES; l++)
            {short1[l], left1[l]} = ahead1[l] ? {1'b0, set.window} + {1'b1, age1[l][7:0]} : {1'b0, set.window} - {1'b0, age1[l][7:0]};
        for (int l = 0; l < LANES; l++) none1[l] = (age1[l][31:8] == '0);
        for (int l = 0; l < LANES; l++) all1[l] = (age1[l][31:8] == '1);
    end
    always_comb begin
        pool1 = row1.valid & row1.pool;
        rank1 = prio1;
        if (set.ranked) for (int l = 0; l < LANES; l++)
            rank1[l] |= {16{row1.prefix[l] && ref1[l] != 8'd0 && row1.tier_low[l] && !row1.tier_high[l]}};
    end

    always_comb begin
        changed1 = row1;
        aged1 = r1;
        used1 = f1;
        counted1 = ref1;
        case (pass.op)
            OP_STEP: for (int l = 0; l < LANES; l++) aged1[l] = r1[l] - 8'(r1[l] != 8'd0);
            OP_TOUCH: begin
                for (int l = 0; l < LANES; l++) aged1[l] = 8'hFF;
                for (int l = 0; l < LANES; l++) used1[l] = f1[l] + 8'(f1[l] != 8'hFF);
            end
            OP_LOAD: for (int l = 0; l < LANES; l++) begin
                aged1[l] = 8'hFF;
                used1[l] = 8'd1;
                counted1[l] = 8'd0;
            end
            OP_HOT: begin
                for (int l = 0; l < LANES; l++) aged1[l] = 8'hFF;
                changed1.pinned = '1;
            end
            OP_EVICT: changed1.pinned = '0;
            OP_PREFETCH: changed1.armed = '1;
            default: ;
        endcase
    end

    always_ff @(posedge clk) begin
        if (advance && stage[1]) begin
            match2 <= match1;
            shared2 <= (pass.match == MATCH_KEY) ? (row1.valid & of_shared1 & of_block1) : '0;
            write2 <= (pass.loads && pass.fresh_row) ? '1 : (pass.match == MATCH_KEY) ? '0 : match1;
            row2 <= changed1;
            r2 <= aged1;
            f2 <= used1;
            ref2 <= counted1;
            prio2 <= prio1;
            access2 <= access1;
            left2 <= left1;
            short2 <= short1;
            for (int l = 0; l < LANES; l++) age2[l] <= age1[l][7:0];
            none2 <= none1;
            all2 <= all1;
            ahead2 <= ahead1;
            label2 <= label1;
            if (frees) key2 <= key1;
        end
    end

    // ---- stage 3: products, what the distance says -----------------------------------------------------------------------
    flags_t      match3, shared3, write3;
    row_t        settled2, row3;
    logic [7:0]  r3 [LANES], f3 [LANES], ref3 [LANES];
    logic [15:0] prio3 [LANES];
    logic [31:0] access3 [LANES];
    entry_key_t  key3 [LANES];
    logic [15:0] by_r2 [LANES], by_f2 [LANES], by_left2 [LANES], by_r3 [LANES], by_f3 [LANES], by_left3 [LANES];
    logic [15:0] by_d;  // W_D * 255, where prefix
    flags_t      outside2, outside3;     // |t - from| is not within the window, so S is 0
    flags_t      near2, near3;           // S > 0
    flags_t      young2, young3;         // 0 <= t - from <= FILL_AGE
    logic [15:0] label3 [LANES];

    always_comb begin
        for (int l = 0; l < LANES; l++) by_r2[l] = set.w_r * r2[l];
        for (int l = 0; l < LANES; l++) by_f2[l] = set.w_f * f2[l];
        for (int l = 0; l < LANES; l++) by_left2[l] = set.w_s * left2[l];
    end
    always_comb begin
        for (int l = 0; l < LANES; l++) outside2[l] = short2[l] || (ahead2[l] ? !all2[l] : !none2[l]);
        for (int l = 0; l < LANES; l++) near2[l] = !outside2[l] && left2[l] != 8'd0;
        young2 = '0;
        if (set.ranked) for (int l = 0; l < LANES; l++) young2[l] = !ahead2[l] && none2[l] && age2[l] <= set.fill_age;
        settled2 = row2;
        if (pass.op == OP_STEP) settled2.pinned = row2.pinned & ~(outside2 & ~ahead2);
    end

    always_ff @(posedge clk) by_d <= {set.w_d, 8'd0} - 16'(set.w_d);
    always_ff @(posedge clk) begin
        if (advance && stage[2]) begin
            match3 <= match2;
            shared3 <= shared2;
            write3 <= write2;
            row3 <= settled2;
            r3 <= r2;
            f3 <= f2;
            ref3 <= ref2;
            prio3 <= prio2;
            access3 <= access2;
            by_r3 <= by_r2;
            by_f3 <= by_f2;
            by_left3 <= by_left2;
            outside3 <= outside2;
            near3 <= near2;
            label3 <= label2;
            young3 <= young2;
            if (frees) key3 <= key2;
        end
    end

    // ---- stage 4: priority (R14, modulo 2^16, or R44) ------------------------------------------------------------------
    flags_t      match4, shared4, write4;
    row_t        row4;
    logic [7:0]  r4 [LANES], f4 [LANES], ref4 [LANES];
    logic [15:0] scored3 [LANES], prio4 [LANES];
    logic [31:0] access4 [LANES];
    entry_key_t  key4 [LANES];
    flags_t      near4, young4;
    logic [15:0] label4 [LANES];

    always_comb begin
        if (set.ranked) for (int l = 0; l < LANES; l++) scored3[l] = {code[l], label3[l][15:8]};
        else for (int l = 0; l < LANES; l++)
            scored3[l] = (by_r3[l] + by_f3[l])
                             + ((outside3[l] ? 16'd0 : by_left3[l]) + (row3.prefix[l] ? by_d : 16'd0));
        for (int l = 0; l < LANES; l++) scored3[l] |= {16{row3.pinned[l]}};
        case (pass.op)
            OP_SHARE, OP_SHARE_INDEX, OP_RELEASE, OP_RELEASE_INDEX: scored3 = prio3;
            default: ;
        endcase
    end

    always_ff @(posedge clk) begin
        if (advance && stage[3]) begin
            match4 <= match3;
            shared4 <= shared3;
            write4 <= write3;
            row4 <= row3;
            r4 <= r3;
            f4 <= f3;
            ref4 <= ref3;
            prio4 <= scored3;
            access4 <= access3;
            near4 <= near3;
            label4 <= label3;
            young4 <= young3;
            if (frees) key4 <= key3;
        end
    end

    // ---- CLASS: orders by the distance from the range's start (R42), a part in each of stages 1 to 4 --------------------------
    localparam int unsigned BYTE_BITS = $clog2(BLOCK_BYTES);
    localparam int unsigned COUNT_BITS = 23;  // of a number of blocks: 2^8 of them, shifted by 15, are the most that count
    logic [32:0] low0 [LANES], low1 [LANES];    // va - addr: the low half, and what it borrows
    logic [31:0] high1 [LANES];                 // va: the high half
    logic [32:0] high2 [LANES], high_by1 [LANES];  // va - addr: the high half, and whether va is below addr
    logic [31:0] low2 [LANES];
    logic [63:0] blocks2 [LANES];               // blocks between
    logic [COUNT_BITS-1:0] shifted2 [LANES];
    flags_t      below3, beyond2, beyond3, over2, over3;  // va is below addr; blocks, and what is left of them, are too many
    logic [7:0]  passed3 [LANES], order_by3 [LANES], order_by4 [LANES];

    function automatic logic [7:0] order_behind(input logic over, input logic [7:0] passed, input logic [7:0] base);
        logic [8:0] sum;
        sum = 9'(passed) + 9'(base);
        order_behind = (over || sum[8]) ? 8'd0 : ~sum[7:0];
    endfunction

    always_comb begin
        low0 = '{default: '0};
        high_by1 = '{default: '0};
        blocks2 = '{default: '0};
        shifted2 = '{default: '0};
        order_by3 = '{default: '0};
        {beyond2, over2} = '0;
        if (pass.op == OP_CLASS) begin
            for (int l = 0; l < LANES; l++) low0[l] = {1'b0, va[l][31:0]} - {1'b0, pass.load_va[31:0]};
            for (int l = 0; l < LANES; l++)
                high_by1[l] = {1'b0, high1[l]} - {1'b0, pass.load_va[63:32]} - 33'(low1[l][32]);
            for (int l = 0; l < LANES; l++) begin
                blocks2[l] = {high2[l][31:0], low2[l]} >> BYTE_BITS;
                shifted2[l] = blocks2[l][COUNT_BITS-1:0] >> pass.shift;
                beyond2[l] = (blocks2[l][63:COUNT_BITS] != '0);
                over2[l] = (shifted2[l][COUNT_BITS-1:8] != '0);
            end
            for (int l = 0; l < LANES; l++)
                order_by3[l] = order_behind((over3[l] || beyond3[l]) && !below3[l], below3[l] ? '0 : passed3[l], pass.label[15:8]);
        end
    end
    always_ff @(posedge clk) begin
        if (advance && pass.op == OP_CLASS) begin
            if (stage[0]) begin
                low1 <= low0;
                for (int l = 0; l < LANES; l++) high1[l] <= va[l][63:32];
            end
            if (stage[1]) begin
                high2 <= high_by1;
                for (int l = 0; l < LANES; l++) low2[l] <= low1[l][31:0];
            end
            if (stage[2]) begin
                for (int l = 0; l < LANES; l++) passed3[l] <= shifted2[l][7:0];
                for (int l = 0; l < LANES; l++) below3[l] <= high2[l][32];
                beyond3 <= beyond2;
                over3 <= over2;
            end
            if (stage[3]) order_by4 <= order_by3;
        end
    end

    // ---- stage 5: reference count, decision ----------------------------------------------------------------------------
    row_t        changed4, row5;
    logic [7:0]  r5 [LANES], f5 [LANES], shared_by4 [LANES], ref5 [LANES];
    logic [15:0] decided4 [LANES], prio5 [LANES];
    logic [31:0] access5 [LANES];
    logic [15:0] placed4 [LANES], label5 [LANES];
    flags_t      unused4, full4, low4, high4;  // ref_count is 0, is 255; P asks for an eviction, for a prefetch
    flags_t      guard, in_t1, in_lower;       // of those that match; in_t1 and in_lower: and do not move
    flags_t      evicts, prefetches, guards, frees4;
    flags_t      in_pool;                    // R46
    logic [15:0] rank4 [LANES];

    always_comb begin
        for (int l = 0; l < LANES; l++) begin
            unused4[l] = (ref4[l] == 8'd0);
            full4[l] = (ref4[l] == 8'hFF);
            low4[l] = (prio4[l] < set.evict_thresh);
            high4[l] = (prio4[l] > set.prefetch_thresh);
        end
        guard = match4 & row4.prefix & ~unused4;
        in_t1 = match4 & ~row4.tier_high & row4.tier_low & ~row4.inflight;
        in_lower = match4 & row4.tier_high & ~row4.inflight;
        in_pool = in_t1 | (in_lower & (young4 | (row4.armed & near4)));
        rank4 = prio4;
        if (set.ranked) for (int l = 0; l < LANES; l++) rank4[l] |= {16{guard[l] && in_t1[l]}};
        evicts = '0;
        prefetches = '0;
        guards = '0;
        frees4 = '0;
        case (pass.op)
            OP_STEP: if (!set.ranked) begin
                evicts = in_t1 & low4 & ~guard;
                guards = in_t1 & low4 & guard;
                prefetches = in_lower & ((row4.armed & near4) | high4);
            end
            OP_TOUCH: prefetches = in_lower;
            OP_EVICT: begin
                evicts = in_t1 & ~guard;
                guards = guard;
            end
            OP_PREFETCH: prefetches = in_lower & near4;
            OP_LEAVE: begin
                evicts = in_t1 & ~wins & ~guard;
                guards = in_t1 & ~wins & guard;
            end
            OP_ENTER: prefetches = in_lower & wins;
            OP_UNLOAD, OP_UNLOAD_REQUEST: begin
                frees4 = match4 & ~guard;
                guards = guard;
            end
            default: ;
        endcase
    end

    assign candidates = ((evicts | prefetches | frees4) != '0);

    always_comb begin
        changed4 = row4;
        shared_by4 = ref4;
        decided4 = prio4;
        placed4 = label4;
        case (pass.op)
            OP_STEP: changed4.pool = set.ranked ? in_pool : '0;
            OP_CLASS: for (int l = 0; l < LANES; l++) begin
                placed4[l][15:8] = order_by4[l];
                if (set.ranked && !row4.pinned[l]) decided4[l][7:0] = order_by4[l];
            end
            OP_PREFETCH: changed4.armed = row4.armed & ~(~row4.tier_high & row4.tier_low);
            OP_SHARE, OP_SHARE_INDEX: begin
                changed4.prefix = '1;
                for (int l = 0; l < LANES; l++) shared_by4[l] = ref4[l] + 8'(!full4[l]);
            end
            OP_RELEASE, OP_RELEASE_INDEX: for (int l = 0; l < LANES; l++) shared_by4[l] = ref4[l] - 8'(!unused4[l]);
            OP_UNLOAD, OP_UNLOAD_REQUEST: changed4.valid = row4.valid & ~frees4;
            default: ;
        endcase
    end

    always_ff @(posedge clk) begin
        if (advance && stage[4]) begin
            matched <= match4;
            matched_shared <= shared4;
            write <= write4 & ~(frees ? guard : '0);
            evict <= evicts;
            prefetch <= prefetches;
            freed <= frees4;
            guarded <= guards;
            saturated <= (pass.op == OP_SHARE || pass.op == OP_SHARE_INDEX) ? match4 & full4 : '0;
            release_refused <= (pass.op == OP_RELEASE || pass.op == OP_RELEASE_INDEX) ? match4 & unused4 : '0;
            row5 <= changed4;
            r5 <= r4;
            f5 <= f4;
            ref5 <= shared_by4;
            prio5 <= decided4;
            label5 <= placed4;
            pool <= in_pool;
            outside <= in_pool & row4.tier_high;
            if (set.ranked) rank <= rank4;
            access5 <= access4;
            if (frees) freed_key <= key4;
        end
    end

    always_comb begin
        for (int l = 0; l < LANES; l++) begin
            new_state[l] = '{pool: row5.pool[l], label: label5[l], valid: row5.valid[l], prefix: row5.prefix[l], pinned: row5.pinned[l], armed: row5.armed[l],
                             ref_count: ref5[l], prio: prio5[l], r: r5[l], f: f5[l], access_step: access5[l]};
            new_res[l] = '{tier: {row5.tier_high[l], row5.tier_low[l]}, dirty: row5.dirty[l], inflight: row5.inflight[l]};
        end
    end
endmodule
`default_nettype wire
