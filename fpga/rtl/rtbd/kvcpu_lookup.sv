// kvcpu_lookup - shares the key index between the command engine and the hardware lookup ports.
//
// One request per cycle goes in, by CONTEND_POLICY (R35): in turn, so that nobody waits for more than one request of each of the
// others, or the engine's (which are the host's), then port 0's, then port 1's. A port's answer (hit, index, tier) comes seven
// cycles after its handshake, in order, without back-pressure. Ports only read; hits and misses are counted (R12). A port
// whose answer is `unresolved` (the key index overflowed there) asks again through the LOOKUP command.
// A reset, a soft one too, drops what is under way: a port without its answer seven cycles behind the handshake asks again.
`default_nettype none
module kvcpu_lookup #(
    parameter int unsigned ENTRIES = 65536,
    parameter int unsigned TOKEN_BITS = 5,
    parameter int unsigned PORTS = 2,
    localparam int unsigned IW = $clog2(ENTRIES)
) (
    input  wire logic                   clk,
    input  wire logic                   rst,
    output logic                        clearing,
    input  wire logic                   contend_fixed,
    output logic [PORTS:0]              waits,       // a cycle behind: who asked and was not taken; [0] is the engine, as below

    // engine
    input  wire logic                   eng_valid,
    output logic                        eng_ready,
    input  wire logic [1:0]             eng_op,
    input  wire logic [63:0]            eng_key,     // {id, token position}
    input  wire logic [IW-1:0]          eng_index,
    output logic                        eng_done,    // with the tier, for lookups; also for insert and remove
    output logic                        eng_hit,
    output logic                        eng_shared,
    output logic                        eng_unresolved,
    output logic [IW-1:0]               eng_hit_index,
    output logic [1:0]                  eng_tier,
    output logic                        overflow,    // pulse: an insert found no slot

    // ports; a key is {token position, id}
    input  wire logic [PORTS-1:0]       port_valid,
    output logic [PORTS-1:0]            port_ready,
    input  wire logic [PORTS-1:0][63:0] port_key,
    output logic [PORTS-1:0]            port_done,
    output logic [PORTS-1:0]            port_hit,
    output logic [PORTS-1:0]            port_unresolved,
    output logic [PORTS-1:0][15:0]      port_index,
    output logic [PORTS-1:0][1:0]       port_tier,
    output logic                        port_counts, // pulse: one port lookup resolved, `port_hit_any` and its tier
    output logic                        port_hit_any,
    output logic [1:0]                  port_hit_tier,

    // tier memory of the directory
    output logic [IW-1:0]               tier_index,
    input  wire logic [1:0]             tier
);
    localparam int unsigned TAG = $clog2(PORTS + 1);
    localparam int unsigned PW = (PORTS > 1) ? $clog2(PORTS) : 1;

    logic           index_ready;
    logic [1:0]     op;
    logic [63:0]    key;
    logic [TAG-1:0] tag;
    logic [PORTS:0] asks, first, pick;
    logic [PORTS:0] behind;  // those whose turn comes before it is again that of the one taken last

    assign asks = {port_valid, eng_valid};
    assign first = contend_fixed ? '0 : asks & behind;
    always_comb begin
        pick = (first != '0) ? first & (~first + 1'b1) : asks & (~asks + 1'b1);
        op = pick[0] ? eng_op : 2'd0;
        key = pick[0] ? eng_key : '0;
        tag = '0;
        for (int unsigned p = 0; p < PORTS; p++) begin
            if (pick[p + 1]) begin
                key = {port_key[p][31:0], port_key[p][63:32]};
                tag = TAG'(p + 1);
            end
        end
    end
    assign eng_ready = pick[0] && index_ready;
    assign port_ready = index_ready ? pick[PORTS:1] : '0;

    always_ff @(posedge clk) begin
        if (rst) behind <= '0;
        else if (asks != '0 && index_ready) behind <= ~(pick | (pick - 1'b1));
        waits <= rst ? '0 : asks & ~(index_ready ? pick : '0);
    end

    logic           done, hit, hit_shared, unresolved, overflowed;
    logic [1:0]     done_op;
    logic [TAG-1:0] done_tag;
    logic [IW-1:0]  hit_index;

    kvcpu_key_index #(.ENTRIES(ENTRIES), .TOKEN_BITS(TOKEN_BITS), .TAG(TAG)) u_index (
        .clk, .rst, .clearing,
        .valid(asks != '0), .ready(index_ready), .op, .key, .index(eng_index), .tag,
        .done, .done_op, .done_tag, .hit, .hit_shared, .hit_index, .unresolved, .overflowed
    );

    assign tier_index = hit_index;
    assign overflow = done && done_op == 2'd1 && overflowed;

    // The tier is read in this cycle and there in the next.
    logic [TAG-1:0] answer_tag;
    logic           answer, answer_hit, answer_unresolved;
    logic [IW-1:0]  answer_index;

    always_ff @(posedge clk) begin
        if (rst) begin
            answer <= 1'b0;
            port_done <= '0;
            port_counts <= 1'b0;
        end else begin
            answer <= done;
            port_done <= '0;
            port_counts <= 1'b0;
            if (answer && answer_tag != '0) begin
                port_done[PW'(answer_tag - 1'b1)] <= 1'b1;
                port_counts <= !answer_unresolved;
            end
        end
        if (done) begin
            answer_tag <= done_tag;
            answer_hit <= hit;
            answer_unresolved <= unresolved;
            answer_index <= hit_index;
            eng_shared <= hit_shared;
        end
        if (answer) begin
            for (int unsigned p = 0; p < PORTS; p++) begin
                port_hit[p] <= answer_hit && !answer_unresolved;
                port_unresolved[p] <= answer_unresolved;
                port_index[p] <= 16'(answer_index);
                port_tier[p] <= tier;
            end
            port_hit_any <= answer_hit;
            port_hit_tier <= tier;
        end
    end

    assign eng_done = answer && answer_tag == '0;
    assign eng_hit = answer_hit;
    assign eng_unresolved = answer_unresolved;
    assign eng_hit_index = answer_index;
    assign eng_tier = tier;

    // ---- promises, checked in simulation ------------------------------------------------------------------------------------
`ifndef SYNTHESIS
    always_ff @(posedge clk) begin
        if (!rst) begin
            one_grant: assert ($onehot0({eng_valid && eng_ready, port_valid & port_ready}))
                else $error("one request a cycle is taken");
            one_answer: assert ($onehot0(port_done)) else $error("one port a cycle is answered");
        end
    end
`endif
endmodule
`default_nettype wire
