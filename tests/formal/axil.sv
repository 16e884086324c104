// formal_axil - kvcpu_axil answers every access once, in order, and a refused one does nothing but say so.
//
// Promises: a write reaches register block or operands once, unchanged, two cycles behind its handshake, and is answered in the third;
// reads are dealt with one at a time, in order, at the place that holds their word, and answered in order with what that said; a refused
// access reaches nothing, takes nothing, is answered with SLVERR and said once, with its code and address, and no other is; an answer
// always has a place; whatever waits, waits for something outside; `block` stops new accesses; `quiet` is true.
// Assumes: what kvcpu_map_pkg says of a word; operands and directory answer only what they are asked, operands in the next cycle at the
// earliest and not twice in a row; no access begins in a reset. Whole size; by induction over one cycle.
`default_nettype none
module formal_axil import kvcpu_map_pkg::*; (
    input wire logic clk, input wire logic rst, input wire logic block, input wire logic fifo_full, input wire logic ring_room, input wire logic resetting,
    input wire logic settling, input wire logic table_clearing, input wire logic [31:0] table_data, input wire logic [31:0] query_data,
    input wire logic [31:0] scores_data, input wire logic [22:0] s_axil_awaddr, input wire logic s_axil_awvalid,
    input wire logic [31:0] s_axil_wdata, input wire logic [3:0] s_axil_wstrb, input wire logic s_axil_wvalid,
    input wire logic s_axil_bready, input wire logic [22:0] s_axil_araddr, input wire logic s_axil_arvalid,
    input wire logic s_axil_rready, input wire logic [31:0] reg_rdata, input wire logic [31:0] tele_data, input wire logic op_ack,
    input wire logic [31:0] op_data, input wire logic dir_ack, input wire logic dir_err, input wire logic [31:0] dir_data,
    input wire logic mark
);
    localparam logic [1:0] OKAY = 2'b00, SLVERR = 2'b10;
    logic        quiet, write_accepted, s_axil_awready, s_axil_wready, s_axil_bvalid, s_axil_arready, s_axil_rvalid;
    logic [1:0]  s_axil_bresp, s_axil_rresp;
    logic [31:0] s_axil_rdata, reg_wdata, op_wdata;
    logic        reg_req, reg_is_write, result_pop, completion_pop, tele_select, tele_read, op_turn, op_write, op_read, dir_req;
    logic [15:0] reg_addr, op_waddr, op_raddr;
    logic [8:2]  tele_addr;
    word_t       op_wkind, op_rkind;
    logic [22:0] dir_addr, error_offset;
    logic        table_select, table_write, table_read;
    logic [13:2] table_waddr, table_raddr;
    logic        nmce_select, query_write, query_read, scores_read;
    logic [14:2] query_waddr, nmce_raddr;
    logic        error_valid;
    logic [3:0]  error_code;
    kvcpu_axil dut (.*);

    logic started = 1'b0;

    // ---- writes ----------------------------------------------------------------------------------------------------------
    logic [1:0]  age;          // of the write under way, in cycles behind its handshake; 0: none, 3: until it is answered
    logic [22:0] waddr;
    logic [31:0] wdata;
    logic        whole, wtaken, issued, wtable, wquery, wrings;
    word_t       wkind;
    logic [3:0]  wfault, wcode;
    logic [1:0]  answer;
    assign wtaken = s_axil_awvalid && s_axil_awready;
    assign issued = (age == 2'd2);
    assign wkind = word_kind(waddr[15:2]);
    assign wtable = (waddr[22:14] == PTABLE[22:14]);   // of the whole table: CLASSES = 256
    assign wquery = (waddr[22:14] == QUERY[22:14]);    // of 64 slots of HEAD_DIM = 128
    assign wrings = (waddr[22:12] == DOORBELLS[22:12]);
    always_comb begin
        if (waddr[1:0] != 2'b00) wfault = BUSERR_MISALIGNED;
        else if (!wtable && !wquery && (waddr[22:16] != '0 || !wkind.writable)) wfault = BUSERR_UNMAPPED;
        else if (!whole) wfault = BUSERR_STROBE;
        else wfault = BUSERR_NONE;
        wcode = wfault;
        if (wfault == BUSERR_NONE && wkind.rings && !(waddr[15:0] == CTRL_OFFSET && wdata[0]))
            wcode = resetting ? BUSERR_RESETTING : (fifo_full || (wrings && !ring_room)) ? BUSERR_FIFO_FULL : BUSERR_NONE;
        if (wfault == BUSERR_NONE && wtable && table_clearing) wcode = BUSERR_RESETTING;
    end

    // ---- reads -----------------------------------------------------------------------------------------------------------
    logic [1:0]  undealt;      // taken and not dealt with: at most two
    logic [22:0] first, second;
    logic        rtaken, dealt;
    word_t       rkind;
    logic [3:0]  rfault, rcode;
    logic        of_directory, of_table, of_query, of_scores, of_page, of_operands, of_telemetry, of_block;    // where the first is looked up; none of them: refused
    assign rtaken = s_axil_arvalid && s_axil_arready;
    assign dealt = dut.rdone;
    assign rkind = first[15] ? '0 : word_kind(first[15:2]);
    always_comb begin
        {of_directory, of_table, of_query, of_scores, of_page, of_operands, of_telemetry, of_block} = '0;
        rfault = BUSERR_NONE;
        if (first[1:0] != 2'b00) rfault = BUSERR_MISALIGNED;
        else if (first >= BAR2_ENTRIES) of_directory = 1'b1;
        else if (first[22:14] == PTABLE[22:14]) of_table = 1'b1;
        else if (first[22:14] == QUERY[22:14]) of_query = 1'b1;
        else if (first[22:12] == SCORES[22:12]) of_scores = 1'b1;
        else if (first[22:12] == DOORBELLS[22:12]) of_page = 1'b1;
        else if (first[22:16] != '0 || !rkind.readable) rfault = BUSERR_UNMAPPED;
        else if (rkind.operand) of_operands = 1'b1;
        else if (rkind.telemetry) of_telemetry = 1'b1;
        else of_block = 1'b1;
        rcode = (of_directory && dir_err) ? BUSERR_UNMAPPED : rfault;
    end
    logic        answering, from_table, from_query, from_scores, from_block, from_telemetry, refused;    // behind `dealt`: its answer is made
    logic [31:0] data;
    logic [33:0] made, marked;
    logic        tracking;
    logic [3:0]  held, ahead;
    assign made = refused ? {SLVERR, 32'd0} : {OKAY, from_table ? table_data : from_query ? query_data : from_scores ? scores_data
                                                    : from_telemetry ? tele_data : from_block ? reg_rdata : data};
    marked_word #(.W(34), .CW(4)) u_answers (
        .clk, .rst, .put(answering), .take(s_axil_rvalid && s_axil_rready), .mark, .wdata(made), .held, .tracking, .ahead, .marked
    );

    // ---- errors, and the outside -----------------------------------------------------------------------------------------
    logic        said;
    logic [3:0]  code;
    logic [22:0] offset;
    logic        op_asked, op_acked, dir_asked;
    always_ff @(posedge clk) begin
        started <= 1'b1;
        age <= wtaken ? 2'd1 : (age == 2'd3) ? {2{!s_axil_bready}} : (age == '0) ? 2'd0 : age + 2'd1;
        if (wtaken) {waddr, wdata, whole} <= {s_axil_awaddr, s_axil_wdata, s_axil_wstrb == '1};
        if (issued) answer <= (wcode == BUSERR_NONE) ? OKAY : SLVERR;
        undealt <= undealt + 2'(rtaken) - 2'(dealt);
        if (dealt) first <= second;
        if (rtaken) begin
            if (undealt == 2'(dealt)) first <= s_axil_araddr;
            else second <= s_axil_araddr;
        end
        answering <= dealt;
        {from_table, from_query, from_scores, from_block, from_telemetry, refused} <= {of_table, of_query, of_scores, of_block, of_telemetry, rcode != BUSERR_NONE};
        data <= of_page ? '0 : of_operands ? op_data : dir_data;
        said <= (issued && wcode != BUSERR_NONE) || (dealt && rcode != BUSERR_NONE);
        code <= issued ? wcode : rcode;
        offset <= issued ? waddr : first;
        op_asked <= op_read;
        op_acked <= op_ack;
        dir_asked <= (dir_asked && !dir_ack) || dir_req;
        if (rst) {age, undealt, answering, said, op_asked, op_acked, dir_asked} <= '0;
    end
    always_comb begin
        if (!started) assume (rst);
        if (rst) assume (!s_axil_awvalid && !s_axil_arvalid);
        if (!op_asked || op_acked || rst) assume (!op_ack);
        if (!dir_asked || rst) assume (!dir_ack);
    end

    always_comb if (started && !rst) begin
        // Writes.
        assert (s_axil_bvalid == (age == 2'd3) && s_axil_wready == s_axil_awready && write_accepted == s_axil_awready);
        assert (s_axil_awready == (age == '0 && s_axil_awvalid && s_axil_wvalid && !block));
        if (s_axil_bvalid) assert (s_axil_bresp == answer);
        assert ((reg_req && reg_is_write) == (issued && wfault == BUSERR_NONE && !wkind.operand && !wtable && !wquery));
        assert (table_write == (issued && wcode == BUSERR_NONE && wtable) && (!table_write || (table_select && table_waddr == waddr[13:2])));
        assert (query_write == (issued && wcode == BUSERR_NONE && wquery) && (!query_write || (nmce_select && query_waddr == waddr[14:2])));
        assert (op_write == (issued && wcode == BUSERR_NONE && wkind.operand));
        if (reg_req && reg_is_write) assert (reg_addr == (waddr[15:0] & BLOCK_BITS) && reg_wdata == wdata);
        if (op_write) assert (op_waddr == waddr[15:0] && op_wdata == wdata && op_wkind == wkind);
        // Reads: one at a time, where it belongs, with its effect if it is not refused.
        assert (undealt <= 2'd2 && !(dealt && undealt == '0) && s_axil_arready == ((undealt != 2'd2 || dealt || !dut.rwaiting) && !block));
        assert ((reg_req && !reg_is_write) == (dealt && of_block) && tele_read == (dealt && of_telemetry));
        assert (result_pop == (dealt && of_block && rkind.takes_result));
        assert (completion_pop == (dealt && of_block && rkind.takes_completion));
        if (reg_req && !reg_is_write) assert (reg_addr == (first[15:0] & BLOCK_BITS));
        if (tele_read) assert (tele_addr == first[8:2]);
        assert (table_read == (dealt && of_table) && (!table_read || (table_select && table_raddr == first[13:2] && !table_clearing)));
        assert (query_read == (dealt && of_query) && scores_read == (dealt && of_scores));
        if (query_read || scores_read) assert (nmce_select && nmce_raddr == first[14:2]);
        if (op_read) assert (undealt != '0 && of_operands && op_raddr == first[15:0] && op_rkind == rkind);
        if (dir_req) assert (undealt != '0 && of_directory && dir_addr == first);
        if (dealt) assert ((!of_operands || op_ack) && (!of_directory || dir_ack));
        if (op_ack) assert (dealt);
        if (dealt && of_block && first[15:3] == PASS_DIGEST_OFFSET[15:3]) assert (!settling);
        if (dealt && rcode != BUSERR_NONE) assert (!(issued && wcode != BUSERR_NONE));
        if (s_axil_rvalid && tracking && ahead == '0) assert ({s_axil_rresp, s_axil_rdata} == marked);
        // Each refusal is said once; what waits, waits for something outside.
        assert (error_valid == said && (!said || (error_code == code && error_offset == offset)));
        if (undealt != '0 && dut.rwaiting && !dealt)
            assert (issued || (settling && dut.of_digest) || (table_clearing && of_table) || op_read || dir_req || dir_asked || (dut.queue_full && s_axil_rvalid));
        assert (s_axil_rvalid == (held != '0));
        assert (!(block && (s_axil_awready || s_axil_arready)));
        assert (quiet == (age == '0 && undealt == '0 && !answering && held == '0));
        // For the induction: where the accesses are, and that an answer has a place.
        assert (dut.wstate == age && (age == '0 || (dut.waddr == waddr && dut.wdata == wdata && dut.whole == whole)));
        if (issued) assert (op_wkind == wkind && dut.wfault == wfault && reg_addr == (waddr[15:0] & BLOCK_BITS)
                            && dut.wresets == (waddr[15:0] == CTRL_OFFSET && wdata[0]) && dut.wtable == wtable && dut.wquery == wquery);
        assert (undealt == 2'(dut.rtaken) + 2'(dut.rwaiting));
        if (dut.rwaiting) assert (dut.raddr == first && op_rkind == rkind && dut.misaligned == (first[1:0] != '0)
            && dut.in_bar0 == (first[22:16] == '0 && first[1:0] == '0) && dut.in_bar2 == (first >= BAR2_ENTRIES && first[1:0] == '0)
            && dut.at_once == !(of_operands || of_directory)
            && dut.of_table == (first[22:14] == PTABLE[22:14] && first[1:0] == '0)
            && dut.of_query == (first[22:14] == QUERY[22:14] && first[1:0] == '0)
            && dut.of_scores == (first[22:12] == SCORES[22:12] && first[1:0] == '0)
            && dut.of_page == (first[22:12] == DOORBELLS[22:12] && first[1:0] == '0)
            && dut.takes_result == (of_block && rkind.takes_result) && dut.takes_completion == (of_block && rkind.takes_completion)
            && dut.of_telemetry == of_telemetry
            && dut.of_digest == (first[15:3] == PASS_DIGEST_OFFSET[15:3]));
        if (dut.rwaiting && !issued) assert (reg_addr == (first[15:0] & BLOCK_BITS));
        if (dut.rtaken) assert (dut.raddr_taken == (dut.rwaiting ? second : first));
        if (op_asked && !op_acked) assert (dut.rwaiting && of_operands);
        if (dir_asked) assert (dut.rwaiting && of_directory);
        assert (dut.answering == answering && held == dut.queue_level && 5'(held) + 5'(answering) <= 5'd7);
        if (answering) assert (dut.answer_refused == refused && (refused || (dut.from_block == from_block
            && dut.from_table == from_table && dut.from_query == from_query && dut.from_scores == from_scores
            && dut.from_telemetry == from_telemetry && (from_table || from_query || from_scores || from_block || from_telemetry || dut.other_data == data))));
        if (!dut.queue_full) assert (held <= 4'd5);
        if (dut.queue_full && undealt != '0) assert (held >= 4'd4);   // it stays high for a cycle behind a reset
        if ((op_asked && !op_acked) || dir_asked) assert (5'(held) + 5'(answering) <= 5'd6);
        if (tracking) assert (ahead < held && dut.u_answers.mem[ahead] == marked);
    end
endmodule
`default_nettype wire
