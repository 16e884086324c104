// kvcpu - KV-CPU: directory of KV-cache blocks, eviction and prefetch controller, DMA. Top level, vendor-neutral.
//
//   s_axil_*   AXI4-Lite slave: BAR0 at 0x000000, BAR2 at 0x400000 (docs/registers.html)
//   m_axi_*    AXI4 master to the tiers' memory: ids 0 evict, 1 prefetch, 2 NMCE (reads only); INCR bursts
//   lookup_*   hardware lookup ports beside the host's (CAP_LOOKUP_PORTS counts that one too): valid/ready, one request a cycle in all,
//              answer eight cycles behind the handshake at the latest, no back-pressure; tie lookup_valid low where unused
//   irq        level: enabled by IRQ_ENABLE          idle   nothing is queued, running, in flight or unanswered
// One clock, synchronous reset, active high. After reset the key index clears itself; commands wait for it.
`default_nettype none
module kvcpu
    import kvcpu_pkg::*;
    import kvcpu_map_pkg::word_t;
#(
    parameter int unsigned ENTRIES = 65536,      // directory entries: a power of two, 256 to 65,536
    parameter int unsigned LANES = 8,            // entries per cycle of a pass: a power of two, 1 to 16
    parameter int unsigned DATA_BITS = 512,      // width of m_axi data
    parameter int unsigned BLOCK_TOKENS = 32,
    parameter int unsigned HEAD_DIM = 128,
    parameter int unsigned CLASSES = 256,        // that PTABLE has: a power of two, 16 to 256
    parameter logic NMCE = 1'b1,                 // compute engine (R36); a row of keys must fill a beat of m_axi at least
    parameter logic [63:0] BUILD_ID = 64'd0,     // hash of sources and parameters, set by the build
    parameter logic CLOCK_GATES = 1'b0,          // 1 in simulations: what has nothing to do gets no clock (kvcpu_clock_gate)
    localparam int unsigned PORTS = 2            // hardware lookup ports
) (
    input  wire logic                   clk,
    input  wire logic                   rst,

    input  wire logic [22:0]            s_axil_awaddr,
    input  wire logic [2:0]             s_axil_awprot,
    input  wire logic                   s_axil_awvalid,
    output logic                        s_axil_awready,
    input  wire logic [31:0]            s_axil_wdata,
    input  wire logic [3:0]             s_axil_wstrb,
    input  wire logic                   s_axil_wvalid,
    output logic                        s_axil_wready,
    output logic [1:0]                  s_axil_bresp,
    output logic                        s_axil_bvalid,
    input  wire logic                   s_axil_bready,
    input  wire logic [22:0]            s_axil_araddr,
    input  wire logic [2:0]             s_axil_arprot,
    input  wire logic                   s_axil_arvalid,
    output logic                        s_axil_arready,
    output logic [31:0]                 s_axil_rdata,
    output logic [1:0]                  s_axil_rresp,
    output logic                        s_axil_rvalid,
    input  wire logic                   s_axil_rready,

    output logic [1:0]                  m_axi_awid,
    output logic [63:0]                 m_axi_awaddr,
    output logic [7:0]                  m_axi_awlen,
    output logic [2:0]                  m_axi_awsize,
    output logic [1:0]                  m_axi_awburst,
    output logic [3:0]                  m_axi_awcache,
    output logic [2:0]                  m_axi_awprot,
    output logic                        m_axi_awvalid,
    input  wire logic                   m_axi_awready,
    output logic [DATA_BITS-1:0]        m_axi_wdata,
    output logic [DATA_BITS/8-1:0]      m_axi_wstrb,
    output logic                        m_axi_wlast,
    output logic                        m_axi_wvalid,
    input  wire logic                   m_axi_wready,
    input  wire logic [1:0]             m_axi_bid,
    input  wire logic [1:0]             m_axi_bresp,
    input  wire logic                   m_axi_bvalid,
    output logic                        m_axi_bready,
    output logic [1:0]                  m_axi_arid,
    output logic [63:0]                 m_axi_araddr,
    output logic [7:0]                  m_axi_arlen,
    output logic [2:0]                  m_axi_arsize,
    output logic [1:0]                  m_axi_arburst,
    output logic [3:0]                  m_axi_arcache,
    output logic [2:0]                  m_axi_arprot,
    output logic                        m_axi_arvalid,
    input  wire logic                   m_axi_arready,
    input  wire logic [1:0]             m_axi_rid,
    input  wire logic [DATA_BITS-1:0]   m_axi_rdata,
    input  wire logic [1:0]             m_axi_rresp,
    input  wire logic                   m_axi_rlast,
    input  wire logic                   m_axi_rvalid,
    output logic                        m_axi_rready,

    input  wire logic [PORTS-1:0]       lookup_valid,
    output logic [PORTS-1:0]            lookup_ready,
    input  wire logic [PORTS-1:0][63:0] lookup_key,         // {token position, layer, head, request}
    output logic [PORTS-1:0]            lookup_done,
    output logic [PORTS-1:0]            lookup_hit,
    output logic [PORTS-1:0]            lookup_unresolved,  // ask again by a LOOKUP command
    output logic [PORTS-1:0][15:0]      lookup_index,
    output logic [PORTS-1:0][1:0]       lookup_tier,

    output logic                        irq,
    output logic                        idle
);
    localparam int unsigned BLOCK_BYTES = 2 * BLOCK_TOKENS * HEAD_DIM * 2;
    localparam int unsigned TOKEN_BITS = $clog2(BLOCK_TOKENS);
    localparam int unsigned FIFO_DEPTH = 16;
    localparam int unsigned RW = $clog2(ENTRIES / LANES);
    localparam int unsigned IW = $clog2(ENTRIES);

    if (ENTRIES < 256 || ENTRIES > 65536 || (ENTRIES & (ENTRIES - 1)) != 0) begin : g_check
        $error("%m: ENTRIES must be a power of two from 256 to 65536");
    end
    if (LANES < 1 || LANES > 16 || (LANES & (LANES - 1)) != 0) begin : g_check2
        $error("%m: LANES must be a power of two from 1 to 16");
    end
    if (BLOCK_TOKENS < 2 || (BLOCK_TOKENS & (BLOCK_TOKENS - 1)) != 0 || (HEAD_DIM & (HEAD_DIM - 1)) != 0) begin : g_check3
        $error("%m: BLOCK_TOKENS and HEAD_DIM must be powers of two");
    end
    if (BLOCK_BYTES < 256 || BLOCK_BYTES > 65536) begin : g_check4
        $error("%m: a block (4 * BLOCK_TOKENS * HEAD_DIM bytes) must hold 256 bytes to 64 KiB");
    end

    if (CLASSES < 16 || CLASSES > 256 || (CLASSES & (CLASSES - 1)) != 0) begin : g_check5
        $error("%m: CLASSES must be a power of two from 16 to 256");
    end
    if (NMCE && (BLOCK_TOKENS > 256 || HEAD_DIM < 4 || HEAD_DIM > 256 || HEAD_DIM * 16 < DATA_BITS)) begin : g_check6
        $error("%m: NMCE needs BLOCK_TOKENS up to 256, HEAD_DIM from 4 to 256, and a beat of memory in a row of HEAD_DIM values");
    end

    wire unused_prot = &{1'b0, s_axil_awprot, s_axil_arprot, 1'b0};  // no protection domains

    // Clocks that rest while there is nothing to do; what they run for is said beside the modules that they drive.
    logic clk_bus, clk_operands, clk_core, clk_lanes, clk_rank, clk_digest, clk_free, clk_lookup, clk_dma, clk_nmce, clk_queues, clk_events;

    // ---- reset -----------------------------------------------------------------------------------------------------------
    logic soft_reset, draining, stop_core, block, reset_all, rst_regs, rst_core, rst_dma;
    logic dma_idle, nmce_idle, bus_quiet, clearing, key_clearing, rank_clearing;
    assign clearing = key_clearing || rank_clearing;
    kvcpu_reset u_reset (
        .clk(clk_bus), .rst, .request(soft_reset), .dma_idle(dma_idle && nmce_idle), .bus_quiet, .draining, .stop_core, .block, .reset_all
    );
    assign rst_regs = rst || reset_all;
    assign rst_core = rst || stop_core;
    assign rst_dma = rst || reset_all;

    logic        write_accepted;
    logic [31:0] now, stamp;  // stamp: of the last write's handshake
    always_ff @(posedge clk) begin
        now <= rst ? 32'd0 : now + 32'd1;
        if (write_accepted) stamp <= now;
    end

    // ---- bus and registers -------------------------------------------------------------------------------------------------
    logic        fifo_empty, cmd_forming, reg_req, reg_is_write;
    logic [15:0] reg_addr;
    logic [31:0] reg_wdata, reg_rdata, dir_data;
    logic        dir_req, dir_ack, dir_err, error_valid;
    logic [22:0] dir_addr, error_offset;
    logic [3:0]  error_code;
    logic [4:0]  fifo_level;
    logic        result_pop, completion_pop, tele_select, tele_read;
    logic [8:2]  tele_addr;
    logic [31:0] tele_data;
    logic        op_turn, op_write, op_read, op_ack, op_clearing;
    logic [15:0] op_waddr, op_raddr;
    logic [31:0] op_wdata, op_data;
    word_t       op_wkind, op_rkind;
    logic        settling;
    logic        table_select, table_write, table_read, commit, bank;
    logic [$clog2(64 * CLASSES)-1:2] table_waddr, table_raddr;
    logic [31:0] table_data;

    logic        nmce_select, query_write, query_read, scores_read;
    logic [14:2] query_waddr, nmce_raddr;
    logic [31:0] query_data, scores_data;

    // A STEP of user space never takes a place that the host's driver counts on (D35): of commands out and of results not taken, eight
    // are the driver's, in queues of 16 and 32.
    logic        ring_room, no_room;
    logic [5:0]  results_waiting;
    logic [4:0]  commands_out;  // a cycle ago, as the sum takes long: a write comes four cycles behind the one before

    // A command on its way to the queue counts as being there.
    always_ff @(posedge clk_bus) commands_out <= fifo_level + 5'(cmd_forming);
    assign no_room = (commands_out == 5'(FIFO_DEPTH));
    assign ring_room = commands_out < 5'(FIFO_DEPTH / 2) && results_waiting < 6'd8;

    kvcpu_axil #(.CLASSES(CLASSES), .HEAD_DIM(HEAD_DIM), .NMCE(NMCE)) u_axil (
        .clk(clk_bus), .rst, .block(block || op_clearing), .quiet(bus_quiet),
        .fifo_full(no_room), .ring_room, .resetting(draining), .table_clearing(rank_clearing), .settling, .write_accepted,
        .s_axil_awaddr, .s_axil_awvalid, .s_axil_awready, .s_axil_wdata, .s_axil_wstrb, .s_axil_wvalid, .s_axil_wready,
        .s_axil_bresp, .s_axil_bvalid, .s_axil_bready, .s_axil_araddr, .s_axil_arvalid, .s_axil_arready,
        .s_axil_rdata, .s_axil_rresp, .s_axil_rvalid, .s_axil_rready,
        .reg_req, .reg_is_write, .reg_addr, .reg_wdata, .reg_rdata, .result_pop, .completion_pop,
        .tele_select, .tele_read, .tele_addr, .tele_data,
        .table_select, .table_write, .table_read, .table_waddr, .table_raddr, .table_data,
        .nmce_select, .query_write, .query_read, .scores_read, .query_waddr, .nmce_raddr, .query_data, .scores_data,
        .op_turn, .op_write, .op_waddr, .op_wdata, .op_wkind, .op_read, .op_raddr, .op_rkind, .op_ack, .op_data,
        .dir_req, .dir_addr, .dir_ack, .dir_err, .dir_data, .error_valid, .error_code, .error_offset
    );

    logic        cmd_push, cmd_pending, cmd_take, busy, any_busy, engine_idle;
    command_t    cmd_in, cmd_out, running;
    settings_t   set;
    logic [4:0]  shown_setting;
    logic [63:0] in_force;
    logic [63:0] hit_total, misses;
    logic [31:0] t;
    logic [16:0] t1_used, valid_entries, rows_used;
    logic [63:0] digest, pass_digest;
    logic        digest_busy;
    logic        oldest_valid, stored_valid;
    logic        result_under_way;
    result_t     oldest;
    completion_t stored, completion;
    logic [IW+1:0] stored_level;
    logic        completion_valid, scored, score_failed;
    logic        memory_failed;  // it answered a move or a SCORE with an error
    assign memory_failed = (completion_valid && completion.error) || (scored && score_failed);

    // The clock of the bus and the register block. An error of the DMA is remembered there.
    kvcpu_clock_gate #(.GATED(CLOCK_GATES)) u_bus_clock (
        .clk, .rst, .gated(clk_bus),
        .work(s_axil_awvalid || s_axil_arvalid || !bus_quiet || draining || completion_valid || scored)
    );
    kvcpu_csr #(
        .ENTRIES(ENTRIES), .LANES(LANES), .BLOCK_TOKENS(BLOCK_TOKENS), .HEAD_DIM(HEAD_DIM), .BLOCK_BYTES(BLOCK_BYTES),
        .DATA_BITS(DATA_BITS), .LOOKUP_PORTS(PORTS + 1), .FIFO_DEPTH(FIFO_DEPTH), .CLASSES(CLASSES), .NMCE(NMCE), .BUILD_ID(BUILD_ID)
    ) u_csr (
        .clk(clk_bus), .rst(rst_regs),
        .reg_req, .reg_is_write, .reg_addr, .reg_wdata, .reg_rdata,
        .error_valid, .error_code, .error_offset, .dma_error(memory_failed), .irq,
        .busy(any_busy), .dma_busy(!dma_idle), .resetting(draining || clearing || op_clearing),
        .fifo_level(commands_out),
        .hit_total, .misses, .digest, .pass_digest,
        .result_valid(oldest_valid), .result(oldest),
        .completion_valid(stored_valid), .completion(stored), .completion_level(32'(stored_level))
    );

    kvcpu_clock_gate #(.GATED(CLOCK_GATES)) u_operands_clock (
        .clk, .rst, .work(draining || op_clearing || op_turn || op_read), .gated(clk_operands)
    );
    kvcpu_operands u_operands (
        .clk(clk_operands), .rst(rst_regs), .clearing(op_clearing),
        .turn(op_turn), .write(op_write), .waddr(op_waddr), .wdata(op_wdata), .wkind(op_wkind), .wstamp(stamp),
        .read(op_read), .raddr(op_raddr), .rkind(op_rkind), .read_ack(op_ack), .read_data(op_data),
        .setting(shown_setting), .in_force, .cmd_push, .cmd(cmd_in), .pending(cmd_pending), .forming(cmd_forming), .soft_reset
    );

    kvcpu_fifo #(.WIDTH($bits(command_t)), .DEPTH(FIFO_DEPTH)) u_commands (
        .clk(clk_core), .rst(rst_core), .push(cmd_push), .wdata(cmd_in), .pop(cmd_take), .rdata(cmd_out),
        .empty(fifo_empty), .full(), .level(fifo_level)
    );
    assign busy = !fifo_empty || !engine_idle;
    always_ff @(posedge clk_digest) settling <= digest_busy && !busy;  // nobody can know a cycle earlier that the STEP is done
    assign any_busy = cmd_pending || busy || result_under_way;  // from a doorbell to its result

    // ---- engine ------------------------------------------------------------------------------------------------------------
    // The clock of all that commands and lookups go through: queue of commands, engine, settings, directory, pass. Writing operands,
    // reading registers and emptying the queues of results do not wake it. What nothing says any more is a lookup under way, which
    // takes 8 cycles at most.
    kvcpu_clock_gate #(.GATED(CLOCK_GATES), .LINGER(8)) u_core_clock (
        .clk, .rst, .gated(clk_core),
        .work(cmd_push || busy || result_under_way || !dma_idle || draining || clearing || lookup_valid != '0 || op_clearing || dir_req)
    );

    logic         result_valid, accepted, clear_counters, lookup_counts, lookup_hit_1, set_change;
    result_t      result;
    logic [1:0]   lookup_tier_1;
    logic [7:0]   set_code;
    logic         pass_place, pass_start, pass_one_row, pass_some, pass_done, found, found_shared, digest_start;
    logic [16:0]  place_row, end_row, matched, freed;
    logic [15:0]  found_index, found_shared_index;
    logic [1:0]   found_tier, found_shared_tier;
    pass_t        pass;
    logic         key_valid, key_ready, key_done, key_hit, key_shared, key_unresolved, index_overflow;
    logic [1:0]   key_op, key_tier;
    logic [63:0]  key;
    logic [IW-1:0] key_index, key_hit_index;
    logic         free_valid, free_ready, map_ready, any_free, map_take, rebuild_start, rebuild_end;
    entry_key_t   free_key;
    logic [IW-1:0] free_index;
    logic         job_valid, job_ready, job_numerators, job_done, job_error;
    logic [63:0]  job_addr;
    logic [8:0]   job_rows;
    logic [5:0]   job_slot;
    logic [1:0]   touched_tier;
    logic         touched_inflight;
    logic [7:0]   touched_last;
    logic         begin_step, begin_low, begin_choice, scan, found_theta, searched;
    logic [15:0]  theta;
    logic [16:0]  pool_count, outside_count;

    kvcpu_engine #(
        .ENTRIES(ENTRIES), .LANES(LANES), .BLOCK_TOKENS(BLOCK_TOKENS), .BLOCK_BYTES(BLOCK_BYTES), .CLASSES(CLASSES), .NMCE(NMCE)
    ) u_engine (
        .clk(clk_core), .rst(rst_core), .hold(clearing), .idle(engine_idle),
        .cmd_valid(!fifo_empty), .cmd(cmd_out), .cmd_take, .dma_idle,
        .result_valid, .result, .accepted, .running, .t, .clear_counters,
        .lookup_counts, .lookup_hit(lookup_hit_1), .lookup_tier(lookup_tier_1), .valid_entries,
        .set_change, .set_code, .set,
        .pass_place, .pass_row(place_row), .pass_start, .pass_one_row, .pass_end_row(end_row), .pass_some, .pass, .pass_done,
        .pass_matched(matched),
        .pass_found(found), .pass_found_index(found_index), .pass_found_tier(found_tier),
        .pass_found_shared(found_shared), .pass_found_shared_index(found_shared_index), .pass_found_shared_tier(found_shared_tier),
        .pass_freed(freed), .rows_used, .t1_used, .digest_start, .digest_busy, .touched_tier, .touched_inflight, .touched_last,
        .job_valid, .job_ready, .job_addr, .job_rows, .job_slot, .job_numerators, .job_done, .job_error, .scored, .score_failed,
        .begin_step, .begin_low, .begin_choice, .scan, .found_theta, .pool_count, .outside_count, .searched,
        .key_valid, .key_ready, .key_op, .key, .key_index, .key_done, .key_hit, .key_shared, .key_unresolved,
        .key_hit_index, .key_tier, .free_valid, .free_key, .free_ready,
        .map_ready, .map_any_free(any_free), .map_free_index(free_index), .map_take,
        .map_rebuild_start(rebuild_start), .map_rebuild_end(rebuild_end)
    );

    kvcpu_settings #(.ENTRIES(ENTRIES), .BLOCK_BYTES(BLOCK_BYTES)) u_settings (
        .clk(clk_core), .clk_shown(clk_operands), .rst(rst_regs), .change(set_change), .setting(running.b[4:0]), .value(running.a),
        .empty(valid_entries == '0), .bank, .commit, .code(set_code), .set, .shown(shown_setting), .in_force
    );

    // ---- directory and pass ------------------------------------------------------------------------------------------------
    logic                     row_read, steal, write_res, row_valid;
    logic [RW-1:0]            row, write_row, row_index, map_row;
    entry_key_t               q_key [LANES];
    entry_state_t             q_state [LANES], state_wdata [LANES];
    entry_res_t               q_res [LANES];
    logic [63:0]              q_va [LANES];
    logic [LANES-1:0]         write_state, write_static, map_used;
    logic [IW-1:0]            res_index, tier_index;
    entry_res_t               res_wdata;
    logic [1:0]               tier;
    pass_events_t             events;
    logic                     trigger_valid, trigger_channel, map_valid;
    logic [1:0]               trigger_ready;
    trigger_t                 trigger;

    kvcpu_directory #(
        .ENTRIES(ENTRIES), .LANES(LANES), .TOKEN_BITS(TOKEN_BITS), .BLOCK_BYTES(BLOCK_BYTES)
    ) u_directory (
        .clk(clk_core), .rst, .tier_base(set.tier_base), .rows_used,
        .row_read, .row, .q_key, .q_state, .q_res, .q_va, .steal,
        .write_row, .write_state, .state_wdata, .write_static, .key_wdata(pass.load_key), .va_wdata(pass.load_va),
        .write_res, .res_index, .res_wdata, .tier_index, .tier,
        .host_req(dir_req), .host_addr(dir_addr), .host_ack(dir_ack), .host_err(dir_err), .host_data(dir_data)
    );

    logic lanes_work;
    kvcpu_clock_gate #(.GATED(CLOCK_GATES)) u_lanes_clock (.clk, .rst, .work(lanes_work), .gated(clk_lanes));
    // The clock of the rank table and the contest: where a STEP may be ranked, and for the host's window.
    kvcpu_clock_gate #(.GATED(CLOCK_GATES)) u_rank_clock (
        .clk, .rst, .work(stop_core || rank_clearing || table_select || commit || (set.ranked && busy)), .gated(clk_rank)
    );
    kvcpu_pass #(
        .ENTRIES(ENTRIES), .LANES(LANES), .TOKEN_BITS(TOKEN_BITS), .BLOCK_BYTES(BLOCK_BYTES), .CLASSES(CLASSES)
    ) u_pass (
        .clk(clk_core), .clk_lanes, .clk_rank, .rst(rst_core), .lanes_work, .place(pass_place), .place_row, .start(pass_start), .one_row(pass_one_row), .end_row,
        .start_some(pass_some), .pass, .set, .done(pass_done),
        .matched, .found, .found_index, .found_tier, .found_shared, .found_shared_index, .found_shared_tier, .freed,
        .rows_used, .t1_used, .events,
        .rank_clearing, .commit, .bank, .table_write, .table_waddr, .table_wdata(op_wdata), .table_read, .table_raddr, .table_rdata(table_data),
        .begin_step, .begin_low, .begin_choice, .scan, .found_theta, .theta, .pool_count, .outside_count,
        .row_read, .row, .q_key, .q_state, .q_res, .q_va, .steal,
        .write_row, .write_state, .state_wdata, .write_static, .write_res, .res_index, .res_wdata,
        .row_valid, .row_index,
        .trigger_valid, .trigger_channel, .trigger, .trigger_ready, .completion_valid, .completion,
        .free_valid, .free_key, .free_ready, .map_valid, .map_row, .map_used
    );

    // What a SCORE must know of the entry that it touches, as the row enters the lanes: before a trigger of the touch.
    localparam int unsigned LW = (LANES > 1) ? $clog2(LANES) : 1;
    logic [LW-1:0] touched_lane;
    assign touched_lane = (LANES > 1) ? pass.lane[LW-1:0] : '0;
    always_ff @(posedge clk_core) begin
        if (NMCE && row_valid && pass.match == MATCH_LANE) begin
            touched_tier <= q_res[touched_lane].tier;
            touched_inflight <= q_res[touched_lane].inflight;
            touched_last <= 8'(q_key[touched_lane].span[TOKEN_BITS-1:0]);
        end
    end

    logic digest_take, of_step;
    assign of_step = (running.op == kvcpu_map_pkg::OP_STEP);
    assign digest_take = row_valid && (pass.op == kvcpu_map_pkg::OP_STEP || pass.op == kvcpu_map_pkg::OP_DIGEST);
    kvcpu_clock_gate #(.GATED(CLOCK_GATES)) u_digest_clock (
        .clk, .rst, .work(stop_core || digest_start || digest_take || digest_busy), .gated(clk_digest)
    );
    kvcpu_digest #(.LANES(LANES), .TOKEN_BITS(TOKEN_BITS), .BLOCK_BYTES(BLOCK_BYTES)) u_digest (
        .clk(clk_digest), .rst(rst_core), .start(digest_start), .start_step(of_step), .take(digest_take),
        .base_index(32'(row_index) * LANES), .first(pass.first), .last(pass.last), .tier_base(set.tier_base),
        .key(q_key), .state(q_state), .res(q_res), .va(q_va), .busy(digest_busy), .digest, .pass_digest
    );

    kvcpu_clock_gate #(.GATED(CLOCK_GATES)) u_free_clock (
        .clk, .rst, .work(stop_core || map_take || rebuild_start || !map_ready), .gated(clk_free)
    );
    kvcpu_free_map #(.ENTRIES(ENTRIES), .LANES(LANES)) u_free_map (
        .clk(clk_free), .rst(rst_core), .ready(map_ready), .any_free, .free_index, .take(map_take),
        .rebuild_start, .rebuild_valid(map_valid), .rebuild_row(map_row), .rebuild_used(map_used), .rebuild_end
    );

    // ---- lookups -----------------------------------------------------------------------------------------------------------
    logic       port_counts, port_hit;
    logic [PORTS:0] waits;
    logic [1:0] port_tier;
    kvcpu_clock_gate #(.GATED(CLOCK_GATES)) u_lookup_clock (
        .clk, .rst, .work(stop_core || clearing || key_valid || lookup_valid != '0), .gated(clk_lookup)
    );
    kvcpu_lookup #(.ENTRIES(ENTRIES), .TOKEN_BITS(TOKEN_BITS), .PORTS(PORTS)) u_lookup (
        .clk(clk_lookup), .rst(rst_core), .clearing(key_clearing), .contend_fixed(set.contend_fixed), .waits,
        .eng_valid(key_valid), .eng_ready(key_ready), .eng_op(key_op), .eng_key(key), .eng_index(key_index),
        .eng_done(key_done), .eng_hit(key_hit), .eng_shared(key_shared), .eng_unresolved(key_unresolved),
        .eng_hit_index(key_hit_index), .eng_tier(key_tier), .overflow(index_overflow),
        .port_valid(lookup_valid), .port_ready(lookup_ready), .port_key(lookup_key), .port_done(lookup_done),
        .port_hit(lookup_hit), .port_unresolved(lookup_unresolved), .port_index(lookup_index), .port_tier(lookup_tier),
        .port_counts, .port_hit_any(port_hit), .port_hit_tier(port_tier), .tier_index, .tier
    );

    // ---- DMA, results, telemetry --------------------------------------------------------------------------------------------
    logic        dma_completion, nmce_ar_valid, nmce_ar_ready, nmce_r_valid;
    logic [63:0] nmce_ar_addr;
    logic [7:0]  nmce_ar_len;
    kvcpu_clock_gate #(.GATED(CLOCK_GATES)) u_dma_clock (
        .clk, .rst, .work(stop_core || trigger_valid || !dma_idle || !nmce_idle), .gated(clk_dma)
    );
    kvcpu_dma #(.DATA_BITS(DATA_BITS), .BLOCK_BYTES(BLOCK_BYTES)) u_dma (
        .clk(clk_dma), .rst(rst_dma), .flush(stop_core), .drain(stop_core), .tier_base(set.tier_base), .evict_tier(set.evict_tier),
        .contend_fixed(set.contend_fixed), .idle(dma_idle),
        .trigger_valid, .trigger_channel, .trigger, .trigger_ready, .completion_valid(dma_completion), .completion,
        .reader_ar_valid(nmce_ar_valid), .reader_ar_addr(nmce_ar_addr), .reader_ar_len(nmce_ar_len), .reader_ar_ready(nmce_ar_ready),
        .reader_r_valid(nmce_r_valid),
        .m_axi_awid, .m_axi_awaddr, .m_axi_awlen, .m_axi_awsize, .m_axi_awburst, .m_axi_awcache, .m_axi_awprot,
        .m_axi_awvalid, .m_axi_awready, .m_axi_wdata, .m_axi_wstrb, .m_axi_wlast, .m_axi_wvalid, .m_axi_wready,
        .m_axi_bid, .m_axi_bresp, .m_axi_bvalid, .m_axi_bready,
        .m_axi_arid, .m_axi_araddr, .m_axi_arlen, .m_axi_arsize, .m_axi_arburst, .m_axi_arcache, .m_axi_arprot,
        .m_axi_arvalid, .m_axi_arready, .m_axi_rid, .m_axi_rdata, .m_axi_rresp, .m_axi_rlast, .m_axi_rvalid, .m_axi_rready
    );
    assign completion_valid = dma_completion && !stop_core;

    // ---- compute engine ------------------------------------------------------------------------------------------------------
    logic result_leaves, scores_taken;
    assign scores_taken = result_leaves && oldest.op == kvcpu_map_pkg::OP_SCORE && oldest.code == kvcpu_map_pkg::CODE_OK;
    if (NMCE) begin : g_nmce
        localparam int unsigned QW = $clog2(128 * HEAD_DIM);
        wire unused = &{1'b0, query_waddr, nmce_raddr, 1'b0};  // windows as large as they can be
        kvcpu_clock_gate #(.GATED(CLOCK_GATES)) u_clock (
            .clk, .rst, .work(stop_core || job_valid || !nmce_idle || nmce_select || scores_taken), .gated(clk_nmce)
        );
        kvcpu_nmce #(.DATA_BITS(DATA_BITS), .BLOCK_TOKENS(BLOCK_TOKENS), .HEAD_DIM(HEAD_DIM), .BLOCK_BYTES(BLOCK_BYTES)) u_nmce (
            .clk(clk_nmce), .rst(rst_dma), .flush(stop_core), .idle(nmce_idle),
            .job_valid, .job_ready, .job_addr, .job_rows, .job_slot, .job_numerators, .done_valid(job_done), .done_error(job_error),
            .take(scores_taken),
            .ar_valid(nmce_ar_valid), .ar_addr(nmce_ar_addr), .ar_len(nmce_ar_len), .ar_ready(nmce_ar_ready),
            .r_valid(nmce_r_valid), .r_data(m_axi_rdata), .r_error(m_axi_rresp[1]),
            .query_write, .query_waddr(query_waddr[QW-1:2]), .query_wdata(op_wdata),
            .query_read, .query_raddr(nmce_raddr[QW-1:2]), .query_rdata(query_data),
            .scores_read, .scores_raddr(nmce_raddr[11:2]), .scores_rdata(scores_data)
        );
    end else begin : g_no_nmce
        assign clk_nmce = 1'b0;
        assign nmce_idle = 1'b1;
        assign {job_ready, job_done, job_error, nmce_ar_valid} = '0;
        assign nmce_ar_addr = '0;
        assign nmce_ar_len = '0;
        assign query_data = '0;
        assign scores_data = '0;
        wire unused = &{1'b0, clk_nmce, nmce_select, query_read, query_waddr, nmce_raddr, scores_taken, job_valid, job_addr, job_rows, job_slot,
                        job_numerators, nmce_ar_ready, nmce_r_valid, 1'b0};
    end

    // The clock of the two queues that the host empties: results and completions.
    kvcpu_clock_gate #(.GATED(CLOCK_GATES)) u_queues_clock (
        .clk, .rst, .work(stop_core || result_valid || completion_valid || result_pop || completion_pop), .gated(clk_queues)
    );
    logic result_lost, stored_full;
    kvcpu_result_queue u_results (
        .clk(clk_queues), .rst(rst_core), .push(result_valid), .pushed(result), .pop(result_pop), .valid(oldest_valid), .oldest,
        .leaves(result_leaves), .under_way(result_under_way), .lost(result_lost), .level(results_waiting)
    );
    // Room for one record of every entry: a host that empties it after each command loses none (R16). Two of them wait in front of
    // the RAM, which is too slow for the register block.
    completion_t oldest_stored;
    logic        oldest_stored_valid, front_push, front_empty, front_full;
    logic [1:0]  front_level;
    logic [IW+1:0] ram_level;
    kvcpu_ram_fifo #(.WIDTH($bits(completion_t)), .DEPTH(ENTRIES)) u_completions (
        .clk(clk_queues), .rst(rst_core), .push(completion_valid && !stored_full), .wdata(completion), .full(stored_full), .pop(front_push),
        .rdata(oldest_stored), .valid(oldest_stored_valid), .level(ram_level)
    );
    kvcpu_fifo #(.WIDTH($bits(completion_t)), .DEPTH(2)) u_front (
        .clk(clk_queues), .rst(rst_core), .push(front_push), .wdata(oldest_stored), .pop(completion_pop && stored_valid), .rdata(stored),
        .empty(front_empty), .full(front_full), .level(front_level)
    );
    assign front_push = oldest_stored_valid && !front_full;
    assign stored_valid = !front_empty;
    assign stored_level = ram_level + (IW+2)'(front_level);

    logic events_work;
    kvcpu_clock_gate #(.GATED(CLOCK_GATES)) u_events_clock (.clk, .rst, .work(stop_core || events_work), .gated(clk_events));
    kvcpu_telemetry #(.BLOCK_BYTES(BLOCK_BYTES)) u_telemetry (
        .clk(clk_core), .clk_events, .rst(rst_core), .events_work, .clear(clear_counters), .now, .accepted, .ended(result_valid), .command_cycles(result.cycles),
        .command(running), .busy, .events, .completion_valid, .completion,
        .lookup_counts, .lookup_hit(lookup_hit_1), .lookup_tier(lookup_tier_1), .port_counts, .port_hit, .port_tier, .waits,
        .query_written(query_write), .scores_read(NMCE && scores_read), .streamed(scored),
        .ranked(set.ranked), .searched, .step_theta(theta), .step_pool(pool_count), .step_outside(outside_count),
        .index_overflow, .result_lost, .completion_lost(completion_valid && stored_full),
        .current_step(t), .t1_used, .valid_entries, .hit_total, .misses,
        .select(tele_select), .read(tele_read), .read_addr(tele_addr), .read_data(tele_data)
    );

    // All but the bus is a cycle old: what a write begins is seen before the bus is quiet again.
    logic at_rest;
    always_ff @(posedge clk) at_rest <= !rst && !any_busy && dma_idle && nmce_idle && !draining && !clearing && !op_clearing;
    assign idle = bus_quiet && at_rest;

`ifndef SYNTHESIS
    always_ff @(posedge clk) begin
        if (!rst) begin
            idle_is_true: assert (!(idle && (any_busy || !dma_idle || !nmce_idle || !fifo_empty)))
                else $error("while `idle` is high nothing is queued, running or in flight");
        end
    end
`endif
endmodule
`default_nettype wire
