// formal_uart_program - kvcpu_uart_executor makes the accesses of its program, each once, and no other.
//
// Promises: an access begins only while a program runs and none is under way; a write only in a WRITE or MEM_WRITE, with the bytes of the
// program that come next; such an operation that is passed over has made as many writes as it says; those to registers go to one word
// behind another. A byte is read two clocks behind its address.
// Assumes: a program starts when the one before is done (uart-requests); an access is answered once. Whole size; by induction, for any
// program.
`default_nettype none
module formal_uart_program (
    input wire logic clk, input wire logic rst, input wire logic device_idle, input wire logic start,
    input wire logic [11:0] program_bytes, input wire logic [7:0] rdata, input wire logic reg_done, input wire logic [2:0] reg_status,
    input wire logic mem_done, input wire logic [2:0] mem_status
);
    localparam logic [3:0] IDLE = 0, NEXT = 1, ADDRESS = 2, PAUSE = 3, BYTE = 4, DECODE = 5,
                           CHECK = 6, TURN = 9, START = 10, AWAIT = 11, ADVANCE = 14;
    logic        done, we, reg_start, mem_start, is_write;
    logic [2:0]  status;
    logic [7:0]  word, mem_wstrb;
    logic [15:0] position;
    logic [9:0]  used;
    logic [10:0] raddr;
    logic [8:0]  waddr;
    logic [31:0] wdata;
    logic [23:0] reg_addr;
    logic [63:0] mem_addr, operand;
    kvcpu_uart_executor dut (.*, .reg_rdata('0), .mem_rdata('0));

    // ---- the program as it was read ------------------------------------------------------------------------------------------
    logic        started = 1'b0;
    logic        running, under_way, fetching, decoded, writes;
    logic [63:0] bytes;          // the last eight, the oldest lowest
    logic [3:0]  fetched;        // of them, for what is being fetched
    logic [7:0]  kind, count, made;   // of the operation; writes that it has begun
    logic [23:0] base;
    logic [10:0] raddr_1, raddr_2;
    logic        access;
    assign access = reg_start || mem_start;
    assign writes = (kind == 8'd2) || (kind == 8'd6);
    assign fetching = dut.state == ADDRESS || dut.state == PAUSE || dut.state == BYTE;
    assign decoded = dut.state > DECODE && dut.state != 4'd15 || (fetching && dut.after != DECODE);
    always_ff @(posedge clk) begin
        started <= 1'b1;
        {raddr_1, raddr_2} <= {raddr, raddr_1};
        if (start) running <= 1'b1;
        else if (done) running <= 1'b0;
        if (access) under_way <= 1'b1;
        else if (reg_done || mem_done) under_way <= 1'b0;
        if (dut.state == BYTE) bytes <= {rdata, bytes[63:8]};
        if (!fetching) fetched <= '0;
        else if (dut.state == BYTE) fetched <= fetched + 4'd1;
        if (dut.state == DECODE) begin
            {base, count, kind} <= bytes[63:24];
            made <= '0;
        end else if (access) begin
            made <= made + 8'd1;
        end
        if (rst) {running, under_way} <= '0;
    end
    always_comb begin
        if (!started) assume (rst);
        if (running) assume (!start);
        if (!under_way) assume (!reg_done && !mem_done);
        assume (!(dut.to_memory ? reg_done : mem_done));
    end

    always_comb if (started) begin
        if (access) assert (running && !under_way && !(reg_start && mem_start));
        if (access && is_write) begin
            assert (kind == (mem_start ? 8'd6 : 8'd2) && made < count);
            assert (mem_start ? operand == bytes : operand[63:32] == bytes[63:32]);
            if (reg_start) assert (reg_addr == base + {14'd0, made, 2'b00});
        end
        if (access && !is_write) assert (kind != 8'd2 && kind != 8'd6);
        if (dut.state == ADVANCE && writes) assert (made == count);
        if (dut.state == BYTE) assert (raddr == raddr_1 && raddr == raddr_2);
        // For the induction: how far the program has come.
        assert (running == (dut.state != IDLE || done));
        if (done) assert (dut.state == IDLE);
        if (under_way || access) assert (dut.state == AWAIT || !dut.answered);
        if (access) assert (dut.state == AWAIT && !dut.answered && !under_way);
        if (under_way) assert (dut.state == AWAIT && !dut.answered);
        if (dut.state == AWAIT && !access && !under_way) assert (dut.answered);
        if (dut.state != AWAIT) assert (!under_way);
        if (fetching) begin
            assert (dut.after == DECODE || dut.after == START || (dut.after == 4'd7 && dut.to_memory));
            assert (fetched + dut.wanted == (dut.after == DECODE ? 4'd5 : (dut.after == START && !dut.to_memory) ? 4'd4 : 4'd8));
            assert (dut.wanted != '0 && dut.wanted <= 4'd8);
            assert (((operand ^ bytes) & ~(64'hFFFF_FFFF_FFFF_FFFF >> {fetched, 3'b000})) == '0);
        end
        if (dut.state == DECODE) assert (operand[63:24] == bytes[63:24]);
        if (dut.state == DECODE || (fetching && dut.after == DECODE)) assert (word == '0);
        if (decoded) begin
            assert (dut.count == count && dut.to_memory == (kind == 8'd5 || kind == 8'd6) && is_write == writes);
            if (dut.state != CHECK || !dut.bad) assert (kind >= 8'd1 && kind <= 8'd6);
            if (fetching && dut.after == START) assert (writes);
            if (writes) begin
                assert (word <= count && made == word + 8'(dut.state == AWAIT && !access));
                if (!dut.to_memory) assert (reg_addr == base + {14'd0, word, 2'b00});
                if ((fetching && dut.after == START) || dut.state == START || dut.state == AWAIT) assert (word < count);
                if (dut.state == START || (dut.state == AWAIT && access))
                    assert (kind == 8'd6 ? operand == bytes : operand[63:32] == bytes[63:32]);
                assert (!dut.drains && dut.state != 4'd12 && dut.state != 4'd13);
            end
            assert (dut.drains == (kind == 8'd4) && dut.waits == (kind == 8'd3));
        end
    end
endmodule
`default_nettype wire
