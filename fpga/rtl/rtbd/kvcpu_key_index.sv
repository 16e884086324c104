// kvcpu_key_index - finds the entry of a key: a hashed index beside the directory (R11, R12).
//
// Four ways of ENTRIES/4 buckets, two slots each: twice as many slots as entries. Each way has its own XOR hash (H3: every
// hash bit is the parity of a fixed half of the key), a new key goes to the way with the most room, and a slot holds the whole
// key, so a hit is exact. A key that finds all its eight slots taken is an overflow: it lives in the directory only, its bucket of
// way 0 is marked, and a lookup that misses on a marked bucket answers `unresolved`: the engine then searches by a pass.
// Correctness never depends on the hash; only keys that share a marked bucket pay.
//
// Requests are taken one per cycle when `ready`; every answer comes LATENCY = 5 cycles behind the handshake, in order, with the
// tag of its request. A lookup searches the key and, in the same cycle, the same key of request 0 (the shared prefix): both
// RAM ports read. INSERT and REMOVE write three cycles behind their read, which costs that cycle's place for a new request; a
// request that reads in between does not see them yet.
// After reset the index clears itself (ENTRIES/4 cycles, `clearing`).
`default_nettype none
module kvcpu_key_index #(
    parameter int unsigned ENTRIES = 65536,
    parameter int unsigned TOKEN_BITS = 5,
    parameter int unsigned TAG = 2,
    localparam int unsigned IW = $clog2(ENTRIES)
) (
    input  wire logic           clk,
    input  wire logic           rst,
    output logic                clearing,

    input  wire logic           valid,
    output logic                ready,
    input  wire logic [1:0]     op,           // 0 lookup, 1 insert, 2 remove
    input  wire logic [63:0]    key,          // {id, token_start}; id[15:0] is the request
    input  wire logic [IW-1:0]  index,        // insert
    input  wire logic [TAG-1:0] tag,

    output logic                done,
    output logic [1:0]          done_op,
    output logic [TAG-1:0]      done_tag,
    output logic                hit,
    output logic                hit_shared,   // it was the key of request 0
    output logic [IW-1:0]       hit_index,
    output logic                unresolved,   // lookup: only a pass can tell
    output logic                overflowed    // insert: no slot was free
);
    localparam int unsigned WAYS = 4;
    localparam int unsigned SLOTS = 2;
    localparam int unsigned BUCKETS = ENTRIES / WAYS;
    localparam int unsigned BW = $clog2(BUCKETS);
    localparam int unsigned KW = 64 - TOKEN_BITS;
    localparam int unsigned SW = 1 + KW + IW;

    typedef struct packed {
        logic          used;
        logic [KW-1:0] key;
        logic [IW-1:0] index;
    } slot_t;

    // Rows of the H3 matrices: fixed pseudo-random words (the finaliser of splitmix64 over a counter).
    function automatic logic [WAYS*BW*64-1:0] h3_matrix();
        logic [63:0] z;
        for (int unsigned i = 0; i < WAYS * BW; i++) begin
            z = (64'(i) + 64'd1) * 64'h9E3779B97F4A7C15;
            z = (z ^ (z >> 30)) * 64'hBF58476D1CE4E5B9;
            z = (z ^ (z >> 27)) * 64'h94D049BB133111EB;
            h3_matrix[64*i +: 64] = z ^ (z >> 31);
        end
    endfunction
    localparam logic [WAYS*BW*64-1:0] MATRIX = h3_matrix();

    function automatic logic [BW-1:0] bucket_of(input int unsigned way, input logic [KW-1:0] k);
        for (int unsigned b = 0; b < BW; b++) bucket_of[b] = ^(k & KW'(MATRIX[64*(way*BW + b) +: 64]));
    endfunction

    // ---- clearing ------------------------------------------------------------------------------------------------------
    logic [BW:0] clear_count;
    assign clearing = !clear_count[BW];
    always_ff @(posedge clk) begin
        if (rst) clear_count <= '0;
        else if (clearing) clear_count <= clear_count + 1'b1;
    end

    // ---- stages: 1 hash, 2 read, 3 compare, 4 select, 5 answer ------------------------------------------------------------
    typedef struct packed {
        logic           valid;
        logic [1:0]     op;
        logic [KW-1:0]  key;
        logic [IW-1:0]  index;
        logic [TAG-1:0] tag;
    } request_t;

    request_t s1, s2, s3, s4;
    logic [WAYS-1:0][BW-1:0] bucket2, shared2, bucket3, bucket4, write_bucket;
    logic write_now;  // what stage 4 chose: port A writes

    // A request taken now reads in two cycles; the write of one taken three cycles ago falls on that same cycle.
    assign ready = !clearing && !(s3.valid && s3.op != 2'd0);

    function automatic logic [KW-1:0] as_shared(input logic [KW-1:0] k);
        as_shared = k;
        as_shared[32-TOKEN_BITS +: 16] = '0;
    endfunction

    always_ff @(posedge clk) begin
        if (rst) begin
            s1 <= '0;
            s2 <= '0;
            s3 <= '0;
            s4 <= '0;
        end else begin
            s1.valid <= valid && ready;
            if (valid && ready) begin
                s1.op <= op;
                s1.key <= key[63:TOKEN_BITS];
                s1.index <= index;
                s1.tag <= tag;
            end
            s2.valid <= s1.valid;
            if (s1.valid) begin
                s2 <= s1;
                for (int unsigned w = 0; w < WAYS; w++) begin
                    bucket2[w] <= bucket_of(w, s1.key);
                    shared2[w] <= bucket_of(w, as_shared(s1.key));
                end
            end
            s3.valid <= s2.valid;
            if (s2.valid) begin
                s3 <= s2;
                bucket3 <= bucket2;
            end
            s4.valid <= s3.valid;
            if (s3.valid) begin
                s4 <= s3;
                bucket4 <= bucket3;
            end
        end
    end

    // ---- tables ----------------------------------------------------------------------------------------------------------
    slot_t [WAYS-1:0][SLOTS-1:0] a_q, b_q;
    logic  [WAYS-1:0][SLOTS-1:0] slot_we, write_slot;
    slot_t                       slot_wdata, write_data;
    logic                        mark_we, write_mark, mark_a, mark_b;

    for (genvar w = 0; w < WAYS; w++) begin : g_way
        for (genvar s = 0; s < SLOTS; s++) begin : g_slot
            kvcpu_ram_2r #(.WIDTH(SW), .DEPTH(BUCKETS)) u_slot (
                .clk,
                .a_we(clearing || write_slot[w][s]),
                .a_en(s2.valid),
                .a_addr(clearing ? clear_count[BW-1:0] : write_now ? write_bucket[w] : bucket2[w]),
                .a_wdata(clearing ? '0 : write_data),
                .a_rdata(a_q[w][s]),
                .b_en(s2.valid),
                .b_addr(shared2[w]),
                .b_rdata(b_q[w][s])
            );
        end
    end

    kvcpu_ram_2r #(.WIDTH(1), .DEPTH(BUCKETS)) u_mark (
        .clk,
        .a_we(clearing || write_mark),
        .a_en(s2.valid),
        .a_addr(clearing ? clear_count[BW-1:0] : write_now ? write_bucket[0] : bucket2[0]),
        .a_wdata(!clearing),
        .a_rdata(mark_a),
        .b_en(s2.valid),
        .b_addr(shared2[0]),
        .b_rdata(mark_b)
    );

    // ---- stage 3: compare all slots, four bits of the key at a time: the memories' data arrive late in the cycle ----------------
    localparam int unsigned PARTS = (KW + 3) / 4;
    logic [WAYS-1:0][SLOTS-1:0][PARTS-1:0] differ4, shared_differ4;
    logic [WAYS-1:0][SLOTS-1:0]            used4, shared_used4;
    logic [WAYS-1:0][SLOTS-1:0][IW-1:0]    indices4, shared_indices4;
    logic                                  mark_a4, mark_b4;

    function automatic logic [PARTS-1:0] parts_of(input logic [KW-1:0] difference);
        for (int unsigned p = 0; p < PARTS; p++) parts_of[p] = |(difference >> (4 * p) & KW'(4'hF));
    endfunction

    always_ff @(posedge clk) begin
        if (s3.valid) begin : compare
            for (int w = 0; w < WAYS; w++) begin
                for (int s = 0; s < SLOTS; s++) begin
                    differ4[w][s] <= parts_of(a_q[w][s].key ^ s3.key);
                    shared_differ4[w][s] <= parts_of(b_q[w][s].key ^ as_shared(s3.key));
                    used4[w][s] <= a_q[w][s].used;
                    shared_used4[w][s] <= b_q[w][s].used;
                    indices4[w][s] <= a_q[w][s].index;
                    shared_indices4[w][s] <= b_q[w][s].index;
                end
            end
            mark_a4 <= mark_a;
            mark_b4 <= mark_b;
        end
    end

    // Keys are unique, so at most one slot matches and OR is a multiplexer.
    logic [WAYS-1:0][SLOTS-1:0] match4, shared4;
    logic [IW-1:0]              index4, shared_index4;
    always_comb begin
        index4 = '0;
        shared_index4 = '0;
        for (int w = 0; w < WAYS; w++) begin
            for (int s = 0; s < SLOTS; s++) begin
                match4[w][s] = used4[w][s] && differ4[w][s] == '0;
                shared4[w][s] = shared_used4[w][s] && shared_differ4[w][s] == '0;
                index4 = index4 | (match4[w][s] ? indices4[w][s] : '0);
                shared_index4 = shared_index4 | (shared4[w][s] ? shared_indices4[w][s] : '0);
            end
        end
    end

    // ---- stage 4: choose a slot, to be written in stage 5 ----------------------------------------------------------------------
    logic [16:0] overflows;  // keys that live in the directory only
    logic        no_room;
    logic [1:0]  best_way;

    always_comb begin
        no_room = (used4 == '1);
        best_way = '0;
        for (int w = WAYS - 1; w >= 0; w--) if (used4[w] != '1) best_way = 2'(w);
        for (int w = WAYS - 1; w >= 0; w--) if (used4[w] == '0) best_way = 2'(w);
        slot_we = '0;
        if (s4.valid && s4.op == 2'd1 && !no_room) begin
            if (!used4[best_way][0]) slot_we[best_way][0] = 1'b1;
            else slot_we[best_way][1] = 1'b1;
        end
        if (s4.valid && s4.op == 2'd2) slot_we = match4;
        mark_we = s4.valid && s4.op == 2'd1 && no_room;
        slot_wdata = (s4.op == 2'd1) ? '{used: 1'b1, key: s4.key, index: s4.index} : '0;
    end

    always_ff @(posedge clk) begin
        if (rst) begin
            overflows <= '0;
            done <= 1'b0;
        end else begin
            done <= s4.valid;
            if (mark_we) overflows <= overflows + 17'd1;
            else if (s4.valid && s4.op == 2'd2 && match4 == '0) overflows <= overflows - 17'd1;
        end
        write_now <= !rst && s4.valid && s4.op != 2'd0;
        write_slot <= rst ? '0 : slot_we;
        write_mark <= !rst && mark_we;
        write_data <= slot_wdata;
        write_bucket <= bucket4;
        if (s4.valid) begin : answer
            automatic logic direct, shared;
            direct = (match4 != '0);
            shared = !direct && (shared4 != '0);
            done_op <= s4.op;
            done_tag <= s4.tag;
            hit <= direct || shared;
            hit_shared <= shared;
            hit_index <= direct ? index4 : shared_index4;
            // A marked bucket may hide the key itself; failing that, a marked bucket of request 0 may hide the shared one.
            unresolved <= (overflows != '0) && !direct && (mark_a4 || (!shared && mark_b4));
            overflowed <= mark_we;
        end
    end

    // ---- promises, checked in simulation ------------------------------------------------------------------------------------
`ifndef SYNTHESIS
    always_ff @(posedge clk) begin
        if (!rst) begin
            key_unique: assert (!(s4.valid && !($onehot0(match4) && $onehot0(shared4))))
                else $error("a key is in one slot at most");
            insert_new: assert (!(s4.valid && s4.op == 2'd1 && match4 != '0)) else $error("a key is inserted that is not there");
            remove_known: assert (!(s4.valid && s4.op == 2'd2 && match4 == '0 && overflows == '0))
                else $error("a key is removed that is there");
            one_slot: assert ($onehot0(slot_we)) else $error("one slot is written");
        end
    end
`endif
endmodule
`default_nettype wire
