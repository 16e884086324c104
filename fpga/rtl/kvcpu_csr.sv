// kvcpu_csr - the register block with the KV-CPU behind it: doorbells become commands, live state becomes readable.
//
// A doorbell's write strobe comes in the cycle of the write (one later for 64-bit registers, which commit with their high
// word, R1); the operands are stable in the next, and then the command is formed. Settings are commands too; their registers
// read back what is in force, because the hardware writes that value into them in every cycle that software does not.
`default_nettype none
module kvcpu_csr
    import kvcpu_pkg::*;
    import kvcpu_map_pkg::*;
#(
    parameter int unsigned ENTRIES = 65536,
    parameter int unsigned LANES = 8,
    parameter int unsigned BLOCK_TOKENS = 32,
    parameter int unsigned HEAD_DIM = 128,
    parameter int unsigned BLOCK_BYTES = 16384,
    parameter int unsigned DATA_BITS = 512,
    parameter int unsigned LOOKUP_PORTS = 3,
    parameter int unsigned FIFO_DEPTH = 16,
    parameter logic [63:0] BUILD_ID = 64'd0
) (
    input  wire logic        clk,
    input  wire logic        rst,
    input  wire logic [31:0] now,
    input  wire logic        write_accepted,

    input  wire logic        reg_req,
    input  wire logic        reg_is_write,
    input  wire logic [15:0] reg_addr,
    input  wire logic [31:0] reg_wdata,
    output logic [31:0]      reg_rdata,
    output logic             reg_rerr,
    output logic             reg_werr,

    output logic             cmd_push,
    output command_t         cmd,
    output logic             cmd_pending,     // a doorbell has been rung whose command is not in the FIFO yet
    output logic             soft_reset,      // pulse

    input  wire logic        error_valid,
    input  wire logic [3:0]  error_code,
    input  wire logic [22:0] error_offset,
    input  wire logic        dma_error,       // pulse
    output logic             irq,

    input  wire logic        busy,
    input  wire logic        dma_busy,
    input  wire logic        resetting,
    input  wire logic [4:0]  fifo_level,
    input  wire settings_t   set,
    input  wire logic [63:0] hit_total,
    input  wire logic [63:0] misses,
    output logic             telemetry_read,
    output logic [8:2]       telemetry_addr,
    input  wire logic [31:0] telemetry_data,
    input  wire logic [63:0] digest,

    input  wire logic        result_valid,
    input  wire result_t     result,
    output logic             result_pop,
    input  wire logic        completion_valid,
    input  wire completion_t completion,
    input  wire logic [31:0] completion_level,
    output logic             completion_pop
);
    kvcpu_regs_pkg::BAR0__in_t  hw;
    kvcpu_regs_pkg::BAR0__out_t sw;
    logic stall_wr, stall_rd, rd_ack, wr_ack, rd_err, wr_err;

    kvcpu_regs u_regs (
        .clk, .rst,
        .s_cpuif_req(reg_req), .s_cpuif_req_is_wr(reg_is_write), .s_cpuif_addr(reg_addr),
        .s_cpuif_wr_data(reg_wdata), .s_cpuif_wr_biten('1),
        .s_cpuif_req_stall_wr(stall_wr), .s_cpuif_req_stall_rd(stall_rd),
        .s_cpuif_rd_ack(rd_ack), .s_cpuif_rd_err(rd_err), .s_cpuif_rd_data(reg_rdata),
        .s_cpuif_wr_ack(wr_ack), .s_cpuif_wr_err(wr_err),
        .hwif_in(hw), .hwif_out(sw)
    );
    assign reg_rerr = rd_err;
    assign reg_werr = wr_err || (sw.TELEMETRY.req && sw.TELEMETRY.req_is_wr);  // counters are read-only (R2)
    assign telemetry_read = sw.TELEMETRY.req && !sw.TELEMETRY.req_is_wr;
    assign telemetry_addr = sw.TELEMETRY.addr[8:2];
    wire unused_handshake = &{1'b0, stall_wr, stall_rd, rd_ack, wr_ack, 1'b0};  // the block answers at once, always

    // ---- doorbells -------------------------------------------------------------------------------------------------------
    // Which one rang, for one cycle; then its operands are read from the registers.
    typedef struct packed {
        logic step_fast;
        logic step;
        logic hot;
        logic evict;
        logic prefetch;
        logic share;
        logic release_range;
        logic unload;
        logic unload_id;
        logic load;
        logic lookup;
        logic touch;
        logic share_index;
        logic release_index;
        logic digest;
        logic ctrl;
        logic set_window;
        logic set_contend_policy;
        logic set_weight_r;
        logic set_weight_f;
        logic set_weight_s;
        logic set_weight_d;
        logic set_evict_thresh;
        logic set_prefetch_thresh;
        logic set_t1_capacity;
        logic set_evict_tier;
        logic set_tier_base0;
        logic set_tier_base1;
        logic set_tier_base2;
        logic set_tier_base3;
    } doorbell_t;
    doorbell_t ring, rang;

    always_comb begin
        ring.step_fast = sw.STEP_FAST.value.swmod;
        ring.step = sw.STEP_ADVANCE.value.swmod;
        ring.hot = sw.BOOST_LEN.value.swmod;
        ring.evict = sw.IMEVICT_LEN.value.swmod;
        ring.prefetch = sw.PREFETCH_STEP.value.swmod;
        ring.share = sw.SHARE_LEN.value.swmod;
        ring.release_range = sw.RELEASE_LEN.value.swmod;
        ring.unload = sw.UNLOAD_LEN.value.swmod;
        ring.unload_id = sw.UNLOAD_ID.value.swmod;
        ring.load = sw.LOAD_TIER.value.swmod;
        ring.lookup = sw.LOOKUP_POS.value.swmod;
        ring.touch = sw.TOUCH_POS.value.swmod;
        ring.share_index = sw.RTBD_SHARE.value.swmod;
        ring.release_index = sw.RTBD_RELEASE.value.swmod;
        ring.digest = sw.DIGEST_END.value.swmod;
        ring.ctrl = sw.CTRL.strict.swmod;
        ring.set_window = sw.WINDOW.value.swmod;
        ring.set_contend_policy = sw.CONTEND_POLICY.value.swmod;
        ring.set_weight_r = sw.WEIGHT_R.value.swmod;
        ring.set_weight_f = sw.WEIGHT_F.value.swmod;
        ring.set_weight_s = sw.WEIGHT_S.value.swmod;
        ring.set_weight_d = sw.WEIGHT_D.value.swmod;
        ring.set_evict_thresh = sw.EVICT_THRESH.value.swmod;
        ring.set_prefetch_thresh = sw.PREFETCH_THRESH.value.swmod;
        ring.set_t1_capacity = sw.T1_CAPACITY.value.swmod;
        ring.set_evict_tier = sw.EVICT_TIER.value.swmod;
        ring.set_tier_base0 = sw.TIER_BASE0.value.swmod;
        ring.set_tier_base1 = sw.TIER_BASE1.value.swmod;
        ring.set_tier_base2 = sw.TIER_BASE2.value.swmod;
        ring.set_tier_base3 = sw.TIER_BASE3.value.swmod;
    end

    logic [31:0] stamp;
    logic        soft_reset_written;
    always_ff @(posedge clk) begin
        if (rst) rang <= '0;
        else rang <= ring;
        if (write_accepted) stamp <= now;
    end

    // CTRL bits as written, kept for the cycle in which the hardware already shows the values in force again.
    logic sw_soft_reset, sw_clear, sw_strict;
    always_ff @(posedge clk) begin
        if (ring.ctrl) {sw_strict, sw_clear, sw_soft_reset} <= reg_wdata[2:0];
    end
    assign soft_reset_written = rang.ctrl && sw_soft_reset;

    logic [31:0] load_id, lookup_id;
    assign load_id = {sw.LOAD_ID.layer.value, sw.LOAD_ID.head.value, sw.LOAD_ID.request_id.value};
    assign lookup_id = {sw.LOOKUP_ID.layer.value, sw.LOOKUP_ID.head.value, sw.LOOKUP_ID.request_id.value};

    // One doorbell rings at a time (a write takes three cycles), so OR is a multiplexer.
    function automatic command_t ringing(
        input logic rung, input logic [3:0] op, input logic [63:0] a, input logic [63:0] b, input logic [63:0] c
    );
        ringing = '0;
        if (rung) begin
            ringing.op = op;
            ringing.a = a;
            ringing.b = b;
            ringing.c = c;
        end
    endfunction

    always_comb begin
        cmd = ringing(rang.step_fast, OP_STEP, 64'(sw.STEP_FAST.value.value), '0, '0)
            | ringing(rang.step, OP_STEP, sw.STEP_ADVANCE.value.value, '0, '0)
            | ringing(rang.hot, OP_HOT, sw.BOOST_ADDR.value.value, sw.BOOST_LEN.value.value, '0)
            | ringing(rang.evict, OP_EVICT, sw.IMEVICT_ADDR.value.value, sw.IMEVICT_LEN.value.value, '0)
            | ringing(rang.share, OP_SHARE, sw.SHARE_ADDR.value.value, sw.SHARE_LEN.value.value, '0)
            | ringing(rang.release_range, OP_RELEASE, sw.RELEASE_ADDR.value.value, sw.RELEASE_LEN.value.value, '0)
            | ringing(rang.unload, OP_UNLOAD, sw.UNLOAD_ADDR.value.value, sw.UNLOAD_LEN.value.value, '0)
            | ringing(rang.prefetch, OP_PREFETCH, sw.PREFETCH_ADDR.value.value, sw.PREFETCH_LEN.value.value,
                      sw.PREFETCH_STEP.value.value)
            | ringing(rang.load, OP_LOAD, sw.LOAD_VA.value.value, {sw.LOAD_TOKEN_END.value.value, sw.LOAD_TOKEN_START.value.value},
                      {sw.LOAD_TIER.value.value, load_id})
            | ringing(rang.lookup, OP_LOOKUP, {sw.LOOKUP_POS.value.value, lookup_id}, '0, '0)
            | ringing(rang.touch, OP_TOUCH, {sw.TOUCH_POS.value.value, lookup_id}, '0, '0)
            | ringing(rang.digest, OP_DIGEST, {sw.DIGEST_END.value.value, sw.DIGEST_FIRST.value.value}, '0, '0)
            | ringing(rang.unload_id, OP_UNLOAD_REQUEST, 64'(sw.UNLOAD_ID.value.value), '0, '0)
            | ringing(rang.share_index, OP_SHARE_INDEX, 64'(sw.RTBD_SHARE.value.value), '0, '0)
            | ringing(rang.release_index, OP_RELEASE_INDEX, 64'(sw.RTBD_RELEASE.value.value), '0, '0)
            | ringing(rang.ctrl, OP_SET, {61'd0, sw_strict, sw_clear, 1'b0}, 64'(SET_CTRL), '0)
            | ringing(rang.set_window, OP_SET, 64'(sw.WINDOW.value.value), 64'(SET_WINDOW), '0)
            | ringing(rang.set_contend_policy, OP_SET, 64'(sw.CONTEND_POLICY.value.value), 64'(SET_CONTEND_POLICY), '0)
            | ringing(rang.set_weight_r, OP_SET, sw.WEIGHT_R.value.value, 64'(SET_WEIGHT_R), '0)
            | ringing(rang.set_weight_f, OP_SET, sw.WEIGHT_F.value.value, 64'(SET_WEIGHT_F), '0)
            | ringing(rang.set_weight_s, OP_SET, sw.WEIGHT_S.value.value, 64'(SET_WEIGHT_S), '0)
            | ringing(rang.set_weight_d, OP_SET, sw.WEIGHT_D.value.value, 64'(SET_WEIGHT_D), '0)
            | ringing(rang.set_evict_thresh, OP_SET, sw.EVICT_THRESH.value.value, 64'(SET_EVICT_THRESH), '0)
            | ringing(rang.set_prefetch_thresh, OP_SET, sw.PREFETCH_THRESH.value.value, 64'(SET_PREFETCH_THRESH), '0)
            | ringing(rang.set_t1_capacity, OP_SET, 64'(sw.T1_CAPACITY.value.value), 64'(SET_T1_CAPACITY), '0)
            | ringing(rang.set_evict_tier, OP_SET, 64'(sw.EVICT_TIER.value.value), 64'(SET_EVICT_TIER), '0)
            | ringing(rang.set_tier_base0, OP_SET, sw.TIER_BASE0.value.value, 64'(SET_TIER_BASE0), '0)
            | ringing(rang.set_tier_base1, OP_SET, sw.TIER_BASE1.value.value, 64'(SET_TIER_BASE1), '0)
            | ringing(rang.set_tier_base2, OP_SET, sw.TIER_BASE2.value.value, 64'(SET_TIER_BASE2), '0)
            | ringing(rang.set_tier_base3, OP_SET, sw.TIER_BASE3.value.value, 64'(SET_TIER_BASE3), '0);
        cmd.stamp = stamp;
    end
    assign cmd_push = (rang != '0) && !soft_reset_written;
    assign soft_reset = soft_reset_written;

    // A 64-bit doorbell commits one cycle behind its write, so "pending" reaches back three cycles from the push.
    logic [2:0] recent;
    always_ff @(posedge clk) begin
        if (rst) recent <= '0;
        else recent <= {recent[1:0], reg_req && reg_is_write};
    end
    assign cmd_pending = recent != '0 || (reg_req && reg_is_write) || rang != '0;


    // ---- identity, status, errors, interrupt --------------------------------------------------------------------------------
    logic       any_error;
    logic [3:0] first_code;
    logic [31:0] first_offset;
    assign any_error = sw.ERROR.bus.value || sw.ERROR.dma.value;

    always_ff @(posedge clk) begin
        if (rst) begin
            first_code <= BUSERR_NONE;
            first_offset <= '0;
        end else if (!any_error) begin
            first_code <= error_valid ? error_code : dma_error ? BUSERR_DMA : BUSERR_NONE;
            first_offset <= error_valid ? 32'(error_offset) : '0;
        end
    end

    assign irq = (sw.IRQ_ENABLE.result.value && result_valid) || (sw.IRQ_ENABLE.completion.value && completion_valid)
                 || (sw.IRQ_ENABLE.error.value && any_error);


    // ---- results, completions -----------------------------------------------------------------------------------------------
    assign result_pop = sw.RESULT_CYCLES.value.swacc;
    assign completion_pop = sw.COMPLETION.index.swacc;

    // ---- what registers show -----------------------------------------------------------------------------------------------
    // Settings are written by hardware in every cycle; a software write has precedence for one, long enough to take it.
    always_comb begin
        hw.WINDOW.value.next = 32'(set.window);
        hw.WINDOW.value.we = 1'b1;
        hw.CONTEND_POLICY.value.next = 32'(set.contend_fixed);
        hw.CONTEND_POLICY.value.we = 1'b1;
        hw.WEIGHT_R.value.next = 64'(set.w_r);
        hw.WEIGHT_R.value.we = 1'b1;
        hw.WEIGHT_F.value.next = 64'(set.w_f);
        hw.WEIGHT_F.value.we = 1'b1;
        hw.WEIGHT_S.value.next = 64'(set.w_s);
        hw.WEIGHT_S.value.we = 1'b1;
        hw.WEIGHT_D.value.next = 64'(set.w_d);
        hw.WEIGHT_D.value.we = 1'b1;
        hw.EVICT_THRESH.value.next = 64'(set.evict_thresh);
        hw.EVICT_THRESH.value.we = 1'b1;
        hw.PREFETCH_THRESH.value.next = 64'(set.prefetch_thresh);
        hw.PREFETCH_THRESH.value.we = 1'b1;
        hw.T1_CAPACITY.value.next = 32'(set.t1_capacity);
        hw.T1_CAPACITY.value.we = 1'b1;
        hw.EVICT_TIER.value.next = 32'(set.evict_tier);
        hw.EVICT_TIER.value.we = 1'b1;
        hw.TIER_BASE0.value.next = set.tier_base[0];
        hw.TIER_BASE0.value.we = 1'b1;
        hw.TIER_BASE1.value.next = set.tier_base[1];
        hw.TIER_BASE1.value.we = 1'b1;
        hw.TIER_BASE2.value.next = set.tier_base[2];
        hw.TIER_BASE2.value.we = 1'b1;
        hw.TIER_BASE3.value.next = set.tier_base[3];
        hw.TIER_BASE3.value.we = 1'b1;
        hw.CTRL.soft_reset.next = 1'b0;
        hw.CTRL.soft_reset.we = 1'b1;
        hw.CTRL.clear_counters.next = 1'b0;
        hw.CTRL.clear_counters.we = 1'b1;
        hw.CTRL.strict.next = set.strict;
        hw.CTRL.strict.we = 1'b1;
        hw.TELEMETRY.rd_ack = telemetry_read;
        hw.TELEMETRY.rd_data = telemetry_data;
        hw.TELEMETRY.wr_ack = sw.TELEMETRY.req && sw.TELEMETRY.req_is_wr;
        hw.BUILD_ID.value.next = BUILD_ID;
        hw.REGMAP_HASH.value.next = REGMAP_HASH;
        hw.STATUS.busy.next = busy;
        hw.STATUS.dma_busy.next = dma_busy;
        hw.STATUS.resetting.next = resetting;
        hw.STATUS.error.next = any_error;
        hw.STATUS.irq.next = irq;
        hw.STATUS.result_ready.next = result_valid;
        hw.STATUS.completion_ready.next = completion_valid;
        hw.STATUS.fifo_level.next = fifo_level;
        hw.ERROR.bus.hwset = error_valid;
        hw.ERROR.dma.hwset = dma_error;
        hw.ERROR.code.next = first_code;
        hw.ERROR_OFFSET.value.next = first_offset;
        hw.CAP_ENTRIES.value.next = 32'(ENTRIES);
        hw.CAP_LANES.value.next = 32'(LANES);
        hw.CAP_BLOCK_TOKENS.value.next = 32'(BLOCK_TOKENS);
        hw.CAP_HEAD_DIM.value.next = 32'(HEAD_DIM);
        hw.CAP_BLOCK_BYTES.value.next = 32'(BLOCK_BYTES);
        hw.CAP_DATA_BITS.value.next = 32'(DATA_BITS);
        hw.CAP_LOOKUP_PORTS.value.next = 32'(LOOKUP_PORTS);
        hw.CAP_FIFO_DEPTH.value.next = 32'(FIFO_DEPTH);
        hw.RESULT_STATUS.code.next = result.code;
        hw.RESULT_STATUS.opcode.next = result.op;
        hw.RESULT_STATUS.has_index.next = result.has_index;
        hw.RESULT_STATUS.tier.next = result.tier;
        hw.RESULT_STATUS.valid.next = result_valid;
        hw.RESULT_MATCHED.value.next = 32'(result.matched);
        hw.RESULT_PHYS.value.next = result.phys;
        hw.RESULT_INDEX.value.next = 32'(result.index);
        hw.RESULT_CYCLES.value.next = result.cycles;
        hw.COMPLETION.index.next = completion.index;
        hw.COMPLETION.channel.next = completion.channel;
        hw.COMPLETION.from_tier.next = completion.from;
        hw.COMPLETION.to_tier.next = completion.to;
        hw.COMPLETION.error.next = completion.error;
        hw.COMPLETION.valid.next = completion_valid;
        hw.COMPLETION.step.next = completion.step;
        hw.COMPLETION_LEVEL.value.next = completion_level;
        hw.DIGEST.value.next = digest;
        hw.RTBD_HIT_COUNT.value.next = hit_total;
        hw.RTBD_MISS_COUNT.value.next = misses;
    end
endmodule
`default_nettype wire
