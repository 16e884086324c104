// kvcpu_csr - the generated register block with the KV-CPU behind it: identity, status, errors, interrupt, results, completions.
// Operands and settings are in kvcpu_operands, the counters in kvcpu_telemetry.
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
    parameter int unsigned CLASSES = 256,
    parameter logic NMCE = 1'b1,
    parameter logic [63:0] BUILD_ID = 64'd0
) (
    input  wire logic        clk,
    input  wire logic        rst,
    input  wire logic        reg_req,
    input  wire logic        reg_is_write,
    input  wire logic [15:0] reg_addr,
    input  wire logic [31:0] reg_wdata,
    output logic [31:0]      reg_rdata,      // a cycle later

    input  wire logic        error_valid,
    input  wire logic [3:0]  error_code,
    input  wire logic [22:0] error_offset,
    input  wire logic        dma_error,       // pulse
    output logic             irq,

    input  wire logic        busy,
    input  wire logic        dma_busy,
    input  wire logic        resetting,
    input  wire logic [4:0]  fifo_level,
    input  wire logic [63:0] hit_total,
    input  wire logic [63:0] misses,
    input  wire logic [63:0] digest,
    input  wire logic [63:0] pass_digest,

    input  wire logic        result_valid,
    input  wire result_t     result,
    input  wire logic        completion_valid,
    input  wire completion_t completion,
    input  wire logic [31:0] completion_level
);
    kvcpu_regs_pkg::BAR0__in_t  hw;
    kvcpu_regs_pkg::BAR0__out_t sw;
    logic stall_wr, stall_rd, rd_ack, wr_ack, rd_err, wr_err;
    logic [31:0] block_data;

    kvcpu_regs u_regs (
        .clk, .rst,
        .s_cpuif_req(reg_req), .s_cpuif_req_is_wr(reg_is_write), .s_cpuif_addr(reg_addr),
        .s_cpuif_wr_data(reg_wdata), .s_cpuif_wr_biten('1),
        .s_cpuif_req_stall_wr(stall_wr), .s_cpuif_req_stall_rd(stall_rd),
        .s_cpuif_rd_ack(rd_ack), .s_cpuif_rd_err(rd_err), .s_cpuif_rd_data(block_data),
        .s_cpuif_wr_ack(wr_ack), .s_cpuif_wr_err(wr_err),
        .hwif_in(hw), .hwif_out(sw)
    );
    wire unused_handshake = &{1'b0, stall_wr, stall_rd, rd_ack, wr_ack, rd_err, wr_err, 1'b0};  // it answers at once: see below
    always_ff @(posedge clk) reg_rdata <= block_data;

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

    // ---- what registers show -----------------------------------------------------------------------------------------------
    always_comb begin
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
        hw.CAP_ENTRIES.value.next = ENTRIES;
        hw.CAP_LANES.value.next = LANES;
        hw.CAP_BLOCK_TOKENS.value.next = BLOCK_TOKENS;
        hw.CAP_HEAD_DIM.value.next = HEAD_DIM;
        hw.CAP_BLOCK_BYTES.value.next = BLOCK_BYTES;
        hw.CAP_DATA_BITS.value.next = DATA_BITS;
        hw.CAP_LOOKUP_PORTS.value.next = LOOKUP_PORTS;
        hw.CAP_FIFO_DEPTH.value.next = FIFO_DEPTH;
        hw.CAP_CLASSES.value.next = CLASSES;
        hw.CAP_NMCE.value.next = 32'(NMCE);
        hw.CAP_DOORBELLS.value.next = (!NMCE || 128 * HEAD_DIM <= 32'(DOORBELLS) - 32'(QUERY)) ? 32'(DOORBELLS) : '0;  // 64 slots of FP16
        hw.RESULT_STATUS.code.next = result.code;
        hw.RESULT_STATUS.opcode.next = result.op;
        hw.RESULT_STATUS.has_index.next = result.has_index;
        hw.RESULT_STATUS.tier.next = result.tier;
        hw.RESULT_STATUS.rung.next = result.rung;
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
        hw.PASS_DIGEST.value.next = pass_digest;
        hw.RTBD_HIT_COUNT.value.next = hit_total;
        hw.RTBD_MISS_COUNT.value.next = misses;
    end

    // ---- promises, checked in simulation ------------------------------------------------------------------------------------
`ifndef SYNTHESIS
    always_ff @(posedge clk) begin
        if (!rst) begin
            never_stalls: assert (!stall_wr && !stall_rd) else $error("the register block never stalls");
            answers_at_once: assert ({wr_ack, rd_ack} == {reg_req && reg_is_write, reg_req && !reg_is_write})
                else $error("the register block answers every request in its cycle");
            only_known_registers: assert (!rd_err && !wr_err)
                else $error("the register block sees no address that it does not know");
        end
    end
`endif
endmodule
`default_nettype wire
