// formal_uart_master - kvcpu_uart_master makes one access on the bus for each that it is asked for, and none else.
//
// Promises: a start brings one handshake on each channel of its direction, with its address and data; outside the address space, and once
// a slave is dead, none; what is valid stays so, with its data; an access is answered once, by the bus or by the watchdog.
// Assumes: an access starts when the one before is done; the bus answers what it took, once. By induction, with 8 address bits.
`default_nettype none
module formal_uart_master (
    input wire logic clk, input wire logic rst, input wire logic start, input wire logic is_write, input wire logic outside,
    input wire logic [7:0] addr, input wire logic [31:0] wdata, input wire logic [3:0] wstrb,
    input wire logic m_awready, input wire logic m_wready, input wire logic [1:0] m_bresp, input wire logic m_bvalid,
    input wire logic m_arready, input wire logic [31:0] m_rdata, input wire logic [1:0] m_rresp, input wire logic m_rvalid
);
    logic        done, m_awvalid, m_wvalid, m_bready, m_arvalid, m_rready;
    logic [2:0]  status;
    logic [31:0] rdata, m_wdata;
    logic [7:0]  m_addr;
    logic [3:0]  m_wstrb;
    kvcpu_uart_master #(.ADDR_BITS(8), .DATA_BITS(32)) dut (.*);

    logic        started = 1'b0;
    logic        asked;                     // not yet done
    logic        owes_aw, owes_w, owes_ar;  // handshakes that the last start is to bring
    logic        open;                      // begun on the bus, its answer still to come
    logic        writing, was_done, was_start;
    logic [43:0] what;
    logic        begins, answer;
    assign begins = start && !outside && !dut.dead;
    assign answer = writing ? m_bvalid : m_rvalid;
    always_ff @(posedge clk) begin
        started <= 1'b1;
        was_start <= !rst && start;
        if (start) asked <= 1'b1;
        else if (done) asked <= 1'b0;
        if (m_awready) owes_aw <= 1'b0;
        if (m_wready) owes_w <= 1'b0;
        if (m_arready) owes_ar <= 1'b0;
        if (begins) begin
            {owes_aw, owes_w, owes_ar} <= {is_write, is_write, !is_write};
            {open, writing, what} <= {1'b1, is_write, addr, wdata, wstrb};
        end else if (answer) begin
            open <= 1'b0;
        end
        if (rst) {asked, owes_aw, owes_w, owes_ar, open} <= '0;
    end
    always_comb begin
        if (!started) assume (rst);
        if (asked) assume (!start);
        if (!(open && writing && !owes_aw && !owes_w)) assume (!m_bvalid);
        if (!(open && !writing && !owes_ar)) assume (!m_rvalid);
    end

    always_comb if (started) begin
        assert (m_awvalid == owes_aw && m_wvalid == owes_w && m_arvalid == owes_ar);
        if (m_awvalid || m_wvalid || m_arvalid) assert (m_addr == what[43:36]);
        if (m_wvalid) assert ({m_wdata, m_wstrb} == what[35:0]);
        if (done) assert (asked);
        if (done && status == 3'd0) assert (!open);
        if (asked && !done && !dut.dead) assert (open);
        if (asked && dut.dead && !was_start) assert (done);
        // For the induction: what is under way.
        assert (dut.waiting == open);
        if (open) assert (dut.writing == writing);
        if (owes_aw || owes_w) assert (open && writing);
        if (owes_ar) assert (open && !writing);
        if (open && !dut.dead) assert (asked && !done);
        if (was_start && dut.dead) assert (done);
    end
endmodule
`default_nettype wire
