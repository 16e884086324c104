// kvcpu_dma - two independent DMA channels (0 evict, 1 prefetch) on one AXI4 master, and the way to it for a third who reads (2, NMCE).
//
// They contend burst by burst for the address channels: round-robin, or in that order (CONTEND_POLICY). Write data
// follow the order of the granted write addresses, as AXI4 demands. AXI id = channel, so each channel's answers come in
// order and find their way by id. Who reads beside the channels takes each beat when it comes. Bursts are INCR, aligned to their own size, never longer than 4 KiB or 256 beats.
// Completions of both channels come out one a cycle.
`default_nettype none
module kvcpu_dma
    import kvcpu_pkg::*;
#(
    parameter int unsigned DATA_BITS = 512,
    parameter int unsigned BLOCK_BYTES = 16384
) (
    input  wire logic                   clk,
    input  wire logic                   rst,
    input  wire logic                   flush,
    input  wire logic                   drain,
    input  wire logic [3:0][63:0]       tier_base,
    input  wire logic [1:0]             evict_tier,
    input  wire logic                   contend_fixed,
    output logic                        idle,

    input  wire logic                   trigger_valid,
    input  wire logic                   trigger_channel,
    input  wire trigger_t               trigger,
    output logic [1:0]                  trigger_ready,

    output logic                        completion_valid,  // pulse
    output completion_t                 completion,

    input  wire logic                   reader_ar_valid,
    input  wire logic [63:0]            reader_ar_addr,
    input  wire logic [7:0]             reader_ar_len,
    output logic                        reader_ar_ready,
    output logic                        reader_r_valid,    // with m_axi_rdata

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
    output logic                        m_axi_rready
);
    localparam int unsigned BEAT_BYTES = DATA_BITS / 8;
    localparam int unsigned BURST_4K = 4096 / BEAT_BYTES;
    localparam int unsigned BURST_256 = (BURST_4K > 256) ? 256 : BURST_4K;
    localparam int unsigned BURST = (BURST_256 * BEAT_BYTES > BLOCK_BYTES) ? BLOCK_BYTES / BEAT_BYTES : BURST_256;

    if ((DATA_BITS & (DATA_BITS - 1)) != 0 || DATA_BITS < 32 || DATA_BITS > 1024) begin : g_check
        $error("%m: DATA_BITS must be a power of two from 32 to 1024");
    end

    logic [2:0]                ar_valid, ar_ready;
    logic [1:0]                ch_idle, aw_valid, aw_ready, w_valid, w_ready, done_valid, done_ready;
    logic [2:0][63:0]          ar_addr;
    logic [1:0][63:0]          aw_addr;
    logic [1:0][DATA_BITS-1:0] w_data;
    completion_t [1:0]         done;

    for (genvar ch = 0; ch < 2; ch++) begin : g_channel
        kvcpu_dma_channel #(
            .CHANNEL(1'(ch)), .DATA_BITS(DATA_BITS), .BLOCK_BYTES(BLOCK_BYTES), .BURST(BURST)
        ) u_channel (
            .clk, .rst, .flush, .drain, .tier_base, .evict_tier, .idle(ch_idle[ch]),
            .trigger_valid(trigger_valid && trigger_channel == 1'(ch)), .trigger_ready(trigger_ready[ch]), .trigger,
            .ar_valid(ar_valid[ch]), .ar_addr(ar_addr[ch]), .ar_ready(ar_ready[ch]),
            .r_valid(m_axi_rvalid && m_axi_rid == 2'(ch)), .r_data(m_axi_rdata), .r_error(m_axi_rresp[1]),
            .aw_valid(aw_valid[ch]), .aw_addr(aw_addr[ch]), .aw_ready(aw_ready[ch]),
            .w_valid(w_valid[ch]), .w_data(w_data[ch]), .w_ready(w_ready[ch]),
            .b_valid(m_axi_bvalid && m_axi_bid == 2'(ch)), .b_error(m_axi_bresp[1]),
            .completion_valid(done_valid[ch]), .completion(done[ch]), .completion_ready(done_ready[ch])
        );
    end
    // Registered, as commands wait for it. A trigger or a completion of this cycle is work in the next.
    always_ff @(posedge clk) idle <= rst || ((ch_idle == '1) && !trigger_valid && done_valid == '0);
    wire unused_rlast = &{1'b0, m_axi_rlast, m_axi_rresp[0], m_axi_bresp[0], 1'b0};  // bursts are counted by their beats

    // ---- read addresses ----------------------------------------------------------------------------------------------------
    assign ar_valid[2] = reader_ar_valid;
    assign ar_addr[2] = reader_ar_addr;
    assign reader_ar_ready = ar_ready[2];
    assign reader_r_valid = m_axi_rvalid && m_axi_rid == 2'd2;

    // The first that asks behind the one granted last.
    function automatic logic [1:0] next_of(input logic [2:0] asks, input logic [1:0] granted);
        case (granted)
            2'd0: next_of = asks[1] ? 2'd1 : asks[2] ? 2'd2 : 2'd0;
            2'd1: next_of = asks[2] ? 2'd2 : asks[0] ? 2'd0 : 2'd1;
            default: next_of = asks[0] ? 2'd0 : asks[1] ? 2'd1 : 2'd2;
        endcase
    endfunction

    logic [1:0] ar_last, ar_pick;   // who was granted last; who is to be granted
    logic [2:0] ar_wins;            // a bit of that one, while it asks
    logic       ar_free;            // the memory takes an address now; what it says comes last, as a simulation looks at it in every cycle
    assign ar_pick = next_of(ar_valid, contend_fixed ? 2'd2 : ar_last);
    assign ar_wins = ar_valid & (3'd1 << ar_pick);
    assign ar_free = !m_axi_arvalid || m_axi_arready;
    assign ar_ready = ar_wins & {3{ar_free}};
    always_ff @(posedge clk) begin
        if (ar_free) m_axi_arvalid <= ar_wins != '0;
        if (rst) begin
            m_axi_arvalid <= 1'b0;
            ar_last <= 2'd2;
        end else if (ar_ready != '0) begin
            ar_last <= ar_pick;
        end
        if (ar_ready != '0) begin
            m_axi_arid <= ar_pick;
            m_axi_araddr <= ar_addr[ar_pick];
            m_axi_arlen <= (ar_pick == 2'd2) ? reader_ar_len : 8'(BURST - 1);
        end
    end

    // ---- write addresses, and the order in which their data must follow ------------------------------------------------------
    logic       aw_last, aw_pick, aw_free, order_empty, order_full, order_channel, order_pop;
    logic [1:0] aw_wins;
    assign aw_pick = (aw_valid == 2'b11) ? (contend_fixed ? 1'b0 : !aw_last) : aw_valid[1];
    assign aw_wins = order_full ? '0 : aw_valid & (2'd1 << aw_pick);
    assign aw_free = !m_axi_awvalid || m_axi_awready;
    assign aw_ready = aw_wins & {2{aw_free}};
    always_ff @(posedge clk) begin
        if (aw_free) m_axi_awvalid <= aw_wins != '0;
        if (rst) begin
            m_axi_awvalid <= 1'b0;
            aw_last <= 1'b1;
        end else if (aw_ready != '0) begin
            aw_last <= aw_pick;
        end
        if (aw_ready != '0) begin
            m_axi_awid <= {1'b0, aw_pick};
            m_axi_awaddr <= aw_addr[aw_pick];
        end
    end
    kvcpu_fifo #(.WIDTH(1), .DEPTH(4)) u_order (
        .clk, .rst, .push(aw_ready != '0), .wdata(aw_pick), .pop(order_pop), .rdata(order_channel),
        .empty(order_empty), .full(order_full), .level()
    );

    // ---- write data: choosing the channel takes long, so two beats wait for the slave ----------------------------------------------
    logic [8:0] beat;
    logic       take;     // a beat goes there
    logic       last, w_empty, w_full;
    assign last = (beat == 9'(BURST - 1));
    assign take = !order_empty && w_valid[order_channel] && !w_full;
    always_comb begin
        w_ready = '0;
        w_ready[order_channel] = !order_empty && !w_full;
    end
    assign order_pop = take && last;
    always_ff @(posedge clk) begin
        if (rst) beat <= '0;
        else if (take) beat <= last ? '0 : beat + 9'd1;
    end
    kvcpu_fifo #(.WIDTH(DATA_BITS + 1), .DEPTH(2)) u_beats (
        .clk, .rst, .push(take), .wdata({last, w_data[order_channel]}), .pop(m_axi_wvalid && m_axi_wready),
        .rdata({m_axi_wlast, m_axi_wdata}), .empty(w_empty), .full(w_full), .level()
    );
    assign m_axi_wvalid = !w_empty;

    assign m_axi_wstrb = '1;
    assign m_axi_awlen = 8'(BURST - 1);
    assign m_axi_awsize = 3'($clog2(BEAT_BYTES));
    assign m_axi_arsize = 3'($clog2(BEAT_BYTES));
    assign m_axi_awburst = 2'b01;
    assign m_axi_arburst = 2'b01;
    assign m_axi_awcache = 4'b0011;  // normal, bufferable, not cached
    assign m_axi_arcache = 4'b0011;
    assign m_axi_awprot = 3'b000;
    assign m_axi_arprot = 3'b000;
    assign m_axi_rready = 1'b1;      // room was reserved before the burst was asked for
    assign m_axi_bready = 1'b1;

    // ---- completions -------------------------------------------------------------------------------------------------------------
    logic done_last, done_pick;
    assign done_pick = (done_valid == 2'b11) ? !done_last : done_valid[1];
    always_comb begin
        done_ready = '0;
        done_ready[done_pick] = done_valid[done_pick];
    end
    always_ff @(posedge clk) begin
        if (rst) begin
            done_last <= 1'b1;
            completion_valid <= 1'b0;
        end else begin
            completion_valid <= (done_valid != '0);
            if (done_valid != '0) done_last <= done_pick;
        end
        if (done_valid != '0) completion <= done[done_pick];
    end

    // ---- promises, checked in simulation ------------------------------------------------------------------------------------
    kvcpu_handshake_check #(.WIDTH(74)) u_ar_check (
        .clk, .rst, .valid(m_axi_arvalid), .ready(m_axi_arready), .data({m_axi_arid, m_axi_arlen, m_axi_araddr})
    );
    kvcpu_handshake_check #(.WIDTH(66)) u_aw_check (
        .clk, .rst, .valid(m_axi_awvalid), .ready(m_axi_awready), .data({m_axi_awid, m_axi_awaddr})
    );
    kvcpu_handshake_check #(.WIDTH(DATA_BITS + 1)) u_w_check (
        .clk, .rst, .valid(m_axi_wvalid), .ready(m_axi_wready), .data({m_axi_wlast, m_axi_wdata})
    );
`ifndef SYNTHESIS
    localparam int unsigned ALIGNED = $clog2(BURST * BEAT_BYTES);
    logic [8:0] beats_sent;  // of the burst on W
    always_ff @(posedge clk) begin
        if (rst) beats_sent <= '0;
        else if (m_axi_wvalid && m_axi_wready) beats_sent <= m_axi_wlast ? '0 : beats_sent + 9'd1;
    end
    always_ff @(posedge clk) begin
        if (!rst) begin
            one_read_grant: assert ($onehot0(ar_ready)) else $error("one channel a cycle gets the read address");
            one_write_grant: assert ($onehot0(aw_ready)) else $error("one channel a cycle gets the write address");
            reads_aligned: assert (!m_axi_arvalid || m_axi_arid == 2'd2 || m_axi_araddr[ALIGNED-1:0] == '0)
                else $error("a burst is aligned to its size, so that it crosses no 4 KiB boundary");
            reads_in_page: assert (!m_axi_arvalid || 32'(m_axi_araddr[11:0]) + (32'(m_axi_arlen) + 32'd1) * BEAT_BYTES <= 32'd4096)
                else $error("no burst crosses a 4 KiB boundary");
            reads_known: assert (!(m_axi_rvalid && m_axi_rid == 2'd3)) else $error("data come only for an id that asked");
            writes_aligned: assert (!m_axi_awvalid || m_axi_awaddr[ALIGNED-1:0] == '0)
                else $error("a burst is aligned to its size, so that it crosses no 4 KiB boundary");
            last_beat: assert (!(m_axi_wvalid && m_axi_wlast != (beats_sent == 9'(BURST - 1))))
                else $error("WLAST is on the last beat of a burst");
        end
    end
`endif
endmodule
`default_nettype wire
