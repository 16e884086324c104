// formal_dma_bus - the two channels of kvcpu_dma, and who reads beside them, share one AXI4 master by turns, and it keeps the rules.
//
// Promises: while one wants the bus under the round-robin policy, each of the others is granted at most once; under the fixed
// one, evictions come first, then prefetches; what is valid on AW, AR and W stays so, with its address, id and data; W carries whole bursts, WLAST
// on their last beat, in the order of the addresses, and no data ahead of a granted address; a grant is of a channel that asks.
// Assumes: the channels' requests stay until they are granted (their own assertions say so). Bursts of two beats of 32 bits; by induction.
`default_nettype none
module formal_dma_bus import kvcpu_pkg::*; (
    input wire logic clk, input wire logic rst, input wire logic fixed, input wire logic m_axi_awready, input wire logic m_axi_wready,
    input wire logic m_axi_arready, input wire logic [2:0] wants_read, input wire logic [1:0] wants_write,
    input wire logic [1:0] has_data, input wire logic [1:0][3:0] any_data, input wire logic [2:0][3:0] any_addr
);
    logic            idle, completion_valid;
    logic [1:0]      trigger_ready;
    completion_t     completion;
    logic [1:0]      m_axi_awid, m_axi_arid;
    logic [63:0]     m_axi_awaddr, m_axi_araddr;
    logic [7:0]      m_axi_awlen, m_axi_arlen;
    logic [2:0]      m_axi_awsize, m_axi_arsize, m_axi_awprot, m_axi_arprot;
    logic [1:0]      m_axi_awburst, m_axi_arburst;
    logic [3:0]      m_axi_awcache, m_axi_arcache, m_axi_wstrb;
    logic            m_axi_awvalid, m_axi_wvalid, m_axi_wlast, m_axi_bready, m_axi_arvalid, m_axi_rready;
    logic [31:0]     m_axi_wdata;
    logic            policy, reader_ar_ready, reader_r_valid;
    logic [3:0][63:0] asks;
    assign asks = {128'd0, ask(1), ask(0)};
    function automatic logic [63:0] ask(input int c);
        ask = 64'({wants_read[c], wants_write[c], has_data[c], any_data[c], any_addr[c]});
    endfunction
    kvcpu_dma #(.DATA_BITS(32), .BLOCK_BYTES(8)) dut (
        .*, .flush(1'b0), .drain(1'b0), .tier_base(asks), .evict_tier(2'd2), .contend_fixed(policy), .trigger_valid(1'b0),
        .trigger_channel(1'b0), .trigger('0), .reader_ar_valid(wants_read[2]), .reader_ar_addr(64'(any_addr[2])), .reader_ar_len(8'd0), .m_axi_bid('0), .m_axi_bresp('0), .m_axi_bvalid(1'b0), .m_axi_rid('0), .m_axi_rdata('0),
        .m_axi_rresp('0), .m_axi_rlast(1'b0), .m_axi_rvalid(1'b0)
    );

    logic            started = 1'b0;
    logic [1:0]      write_waits;                // of a channel that asks: the other was granted meanwhile
    logic [2:0][2:0] read_waits;                 // the same of all that read: which of them
    logic [2:0]      kept_read;
    logic [1:0]      kept_write, kept_data;
    logic            kept_ar, kept_aw, kept_w;
    logic [5:0]      was_ar, was_aw;
    logic [4:0]      was_w;
    logic            beat;                       // the next on W is the second of its burst
    logic [3:0]      granted;                    // write bursts whose data have not all gone out on W
    logic [3:0][0:0] owner;                      // their channels, the oldest lowest
    logic [2:0]      read_taken;                 // in this cycle
    logic [1:0]      write_taken;
    logic [1:0][3:0] was_data;
    logic [2:0][3:0] was_addr;
    assign read_taken = dut.ar_ready & dut.ar_valid;
    assign write_taken = dut.aw_ready & dut.aw_valid;
    always_ff @(posedge clk) begin
        started <= 1'b1;
        if (!started) policy <= fixed;
        for (int c = 0; c < 2; c++) begin
            write_waits[c] <= !rst && dut.aw_valid[c] && !write_taken[c] && (write_waits[c] || write_taken[1-c]);
        end
        for (int c = 0; c < 3; c++) read_waits[c] <= (rst || !dut.ar_valid[c] || read_taken[c]) ? '0 : read_waits[c] | read_taken;
        kept_read <= rst ? '0 : dut.ar_valid & ~dut.ar_ready;
        kept_write <= rst ? '0 : dut.aw_valid & ~dut.aw_ready;
        kept_data <= rst ? '0 : dut.w_valid & ~dut.w_ready;
        {was_data, was_addr} <= {any_data, any_addr};
        kept_ar <= !rst && m_axi_arvalid && !m_axi_arready;
        kept_aw <= !rst && m_axi_awvalid && !m_axi_awready;
        kept_w <= !rst && m_axi_wvalid && !m_axi_wready;
        was_ar <= {m_axi_arid, m_axi_araddr[3:0]};
        was_aw <= {m_axi_awid, m_axi_awaddr[3:0]};
        was_w <= {m_axi_wlast, m_axi_wdata[3:0]};
        if (rst) beat <= 1'b0;
        else if (m_axi_wvalid && m_axi_wready) beat <= !beat;
        granted <= rst ? '0 : granted + 4'(write_taken != '0) - 4'(m_axi_wvalid && m_axi_wready && beat);
    end
    always_comb begin
        if (!started) assume (rst);
        for (int c = 0; c < 2; c++) begin
            if (kept_write[c]) assume (wants_write[c]);
            if (kept_data[c]) assume (has_data[c]);
            if (kept_data[c]) assume (any_data[c] == was_data[c]);
            if (kept_read[c] || kept_write[c]) assume (any_addr[c] == was_addr[c]);
        end
        if (kept_read[2]) assume (any_addr[2] == was_addr[2]);
        for (int c = 0; c < 3; c++) if (kept_read[c]) assume (wants_read[c]);
    end

    always_comb if (started) begin
        for (int c = 0; c < 2; c++) begin
            if (!policy) assert (!(write_waits[c] && write_taken[1-c]));
            // For the induction: whose turn it is then.
            if (write_waits[c]) assert (dut.aw_last == 1'(1 - c));
        end
        for (int c = 0; c < 3; c++) begin
            if (!policy) assert ((read_waits[c] & read_taken) == '0);
            // For the induction: the one granted last is among them, and those behind it up to the one that waits are not.
            if (!policy && read_waits[c] != '0) assert (read_waits[c][dut.ar_last] && !read_waits[c][c] && dut.ar_last != 2'(c));
            if (!policy && read_waits[c] != '0 && dut.ar_last != 2'((c + 2) % 3)) assert (!read_waits[c][(c + 2) % 3]);
        end
        assert (dut.ar_last <= 2'd2);
        if (policy && wants_read[0]) assert (read_taken[2:1] == '0);
        if (policy && wants_read[1]) assert (!read_taken[2]);
        if (policy && wants_write[0]) assert (!write_taken[1]);
        assert ($onehot0(read_taken) && $onehot0(write_taken));
        if (kept_ar) assert (m_axi_arvalid && {m_axi_arid, m_axi_araddr[3:0]} == was_ar);
        if (kept_aw) assert (m_axi_awvalid && {m_axi_awid, m_axi_awaddr[3:0]} == was_aw);
        if (kept_w) assert (m_axi_wvalid && {m_axi_wlast, m_axi_wdata[3:0]} == was_w);
        if (m_axi_wvalid) assert (m_axi_wlast == beat && granted != '0);
        if (dut.take) assert (dut.w_valid[dut.order_channel] && dut.w_ready == 2'b01 << dut.order_channel);
        // For the induction: bursts granted are in the order or among the beats behind it.
        assert (!dut.u_beats.empty == (dut.u_beats.level != '0) && dut.u_beats.full == (dut.u_beats.level == 2'd2));
        assert (dut.u_order.empty == (dut.u_order.level == '0) && dut.u_order.full == (dut.u_order.level == 3'd4));
        assert (dut.u_beats.level <= 2'd2 && dut.u_order.level <= 3'd4 && dut.beat <= 9'd1);
        assert (dut.u_beats.second == 1'(dut.u_beats.tail - 1'(dut.u_beats.level) + 1'b1));
        assert (1'(dut.beat) == beat ^ dut.u_beats.level[0]);
        assert (6'({granted, 1'b0}) - 6'(beat) + 6'(dut.beat) == 6'({dut.u_order.level, 1'b0}) + 6'(dut.u_beats.level));
        if (m_axi_wvalid) assert (m_axi_wlast == beat);
        if (dut.u_beats.level == 2'd2) assert (dut.u_beats.mem[dut.u_beats.second][32] == !beat);
        if (dut.beat != '0) assert (dut.u_order.level != '0);
    end
endmodule

// In place of a channel: it asks for anything, which comes to it by the base of its tier.
module kvcpu_dma_channel import kvcpu_pkg::*; #(
    parameter logic CHANNEL = 1'b0, parameter int unsigned DATA_BITS = 512, parameter int unsigned BLOCK_BYTES = 16384,
    parameter int unsigned BURST = 64
) (
    input wire logic clk, input wire logic rst, input wire logic flush, input wire logic drain, input wire logic [3:0][63:0] tier_base,
    input wire logic [1:0] evict_tier, output logic idle, input wire logic trigger_valid, output logic trigger_ready,
    input wire trigger_t trigger, output logic ar_valid, output logic [63:0] ar_addr, input wire logic ar_ready,
    input wire logic r_valid, input wire logic [DATA_BITS-1:0] r_data, input wire logic r_error, output logic aw_valid,
    output logic [63:0] aw_addr, input wire logic aw_ready, output logic w_valid, output logic [DATA_BITS-1:0] w_data,
    input wire logic w_ready, input wire logic b_valid, input wire logic b_error, output logic completion_valid,
    output completion_t completion, input wire logic completion_ready
);
    logic [10:0] asks;
    assign asks = tier_base[CHANNEL][10:0];
    assign {ar_valid, aw_valid, w_valid} = asks[10:8];
    assign w_data = DATA_BITS'(asks[7:4]);
    assign ar_addr = 64'(asks[3:0]);
    assign aw_addr = 64'(asks[3:0]);
    assign {idle, trigger_ready, completion_valid} = '0;
    assign completion = '0;
endmodule
`default_nettype wire
