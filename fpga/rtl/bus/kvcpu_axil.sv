// kvcpu_axil - AXI4-Lite front end: turns bus accesses into accesses of the register block, the operands and the directory window.
//
// Every access is answered (R2). SLVERR, with no effect and a sticky error: unmapped, misaligned, against the access mode, a
// write without all four byte strobes, a doorbell while the command FIFO is full (R5) or while a soft reset drains. The page of doorbells
// reads as zero, and rings while there is `ring_room`.
// Reads are pipelined, one per cycle from the register block, answers in order; writes take four cycles each. A write has precedence over
// a read for the register block. A read of PASS_DIGEST waits while `settling`. What a word of BAR0 is (word_kind) is looked up in
// a cycle of its own, on both ways. `block` stops new accesses; `quiet` says that none is under way.
`default_nettype none
module kvcpu_axil
    import kvcpu_map_pkg::*;
#(
    parameter int unsigned CLASSES = 256,
    parameter int unsigned HEAD_DIM = 128,
    parameter logic NMCE = 1'b1,
    localparam int unsigned TABLE_BITS = $clog2(64 * CLASSES)
) (
    input  wire logic        clk,
    input  wire logic        rst,
    input  wire logic        block,
    output logic             quiet,
    input  wire logic        fifo_full,
    input  wire logic        ring_room,     // for a command by the page of doorbells
    input  wire logic        resetting,     // doorbells are refused
    input  wire logic        table_clearing, // PTABLE is being cleared: writes are refused, reads wait
    input  wire logic        settling,      // the last STEP is done, and its PASS_DIGEST will be in some cycles
    output logic             write_accepted, // pulse: W handshake, for the time stamp of a command

    input  wire logic [22:0] s_axil_awaddr,
    input  wire logic        s_axil_awvalid,
    output logic             s_axil_awready,
    input  wire logic [31:0] s_axil_wdata,
    input  wire logic [3:0]  s_axil_wstrb,
    input  wire logic        s_axil_wvalid,
    output logic             s_axil_wready,
    output logic [1:0]       s_axil_bresp,
    output logic             s_axil_bvalid,
    input  wire logic        s_axil_bready,
    input  wire logic [22:0] s_axil_araddr,
    input  wire logic        s_axil_arvalid,
    output logic             s_axil_arready,
    output logic [31:0]      s_axil_rdata,
    output logic [1:0]       s_axil_rresp,
    output logic             s_axil_rvalid,
    input  wire logic        s_axil_rready,

    // register block: answers in the next cycle
    output logic             reg_req,
    output logic             reg_is_write,
    output logic [15:0]      reg_addr,
    output logic [31:0]      reg_wdata,
    input  wire logic [31:0] reg_rdata,
    output logic             result_pop,    // pulses: the register read takes the oldest of its queue
    output logic             completion_pop,

    // kvcpu_telemetry: answers in the next cycle
    output logic             tele_select,
    output logic             tele_read,     // with tele_select
    output logic [8:2]       tele_addr,
    input  wire logic [31:0] tele_data,

    // kvcpu_operands
    output logic             op_turn,
    output logic             op_write,
    output logic [15:0]      op_waddr,
    output logic [31:0]      op_wdata,
    output word_t            op_wkind,
    output logic             op_read,
    output logic [15:0]      op_raddr,
    output word_t            op_rkind,
    input  wire logic        op_ack,
    input  wire logic [31:0] op_data,

    // window of PTABLE: answers in the next cycle
    output logic             table_select,
    output logic             table_write,   // with table_select, as the next
    output logic             table_read,
    output logic [TABLE_BITS-1:2] table_waddr,
    output logic [TABLE_BITS-1:2] table_raddr,
    input  wire logic [31:0] table_data,

    // windows of NMCE: answer in the next cycle, as zero where it was left out of the build
    output logic             nmce_select,
    output logic             query_write,   // with nmce_select, as the next two
    output logic             query_read,
    output logic             scores_read,
    output logic [14:2]      query_waddr,
    output logic [14:2]      nmce_raddr,
    input  wire logic [31:0] query_data,
    input  wire logic [31:0] scores_data,

    // directory window
    output logic             dir_req,
    output logic [22:0]      dir_addr,
    input  wire logic        dir_ack,
    input  wire logic        dir_err,
    input  wire logic [31:0] dir_data,

    output logic             error_valid,   // pulse
    output logic [3:0]       error_code,
    output logic [22:0]      error_offset
);
    localparam logic [1:0] OKAY = 2'b00;
    localparam logic [1:0] SLVERR = 2'b10;

    // PTABLE has 64 codes of every class that was built.
    function automatic logic in_table(input logic [22:6] addr);
        in_table = (addr[22:14] == PTABLE[22:14]) && 32'(addr[13:6]) < CLASSES;
    endfunction

    // The query buffer has 64 slots of HEAD_DIM values; all of its window reads as zero without NMCE (R36).
    localparam int unsigned QUERY_WORDS = NMCE ? 32 * HEAD_DIM : 8192;
    function automatic logic in_query(input logic [22:2] addr);
        in_query = (addr[22:15] == QUERY[22:15]) && 32'(addr[14:2]) < QUERY_WORDS;
    endfunction

    // ---- writes: take address and data together, look the word up, issue, answer -----------------------------------------
    typedef enum logic [1:0] {W_IDLE, W_DECODE, W_ISSUE, W_ANSWER} write_e;
    write_e      wstate;
    logic [22:0] waddr;
    logic [31:0] wdata;
    logic        whole;     // all byte strobes
    logic        wtable;    // PTABLE
    logic        wquery;    // query buffer
    logic        wfull;     // no room for the command
    logic        wrings;    // by the page of doorbells
    logic [3:0]  wcode;
    logic        wissue;
    logic        wrefused;
    word_t       wkind;
    logic        wresets;   // a soft reset
    logic        wqueues;   // this write would queue a command; a soft reset never waits for room
    logic [3:0]  wfault;    // what is wrong with the write whatever the device does

    assign s_axil_awready = (wstate == W_IDLE) && s_axil_awvalid && s_axil_wvalid && !block;
    assign s_axil_wready = s_axil_awready;
    assign write_accepted = s_axil_awready;
    assign wissue = (wstate == W_ISSUE);
    assign wkind = word_kind(waddr[15:2]);
    assign wqueues = op_wkind.rings && !wresets;
    assign wfull = fifo_full || (wrings && !ring_room);

    always_comb begin
        wcode = wfault;
        if (wfault == BUSERR_NONE && wtable && table_clearing) begin
            wcode = BUSERR_RESETTING;
        end else if (wfault == BUSERR_NONE && wqueues) begin
            if (resetting) wcode = BUSERR_RESETTING;
            else if (wfull) wcode = BUSERR_FIFO_FULL;
        end
    end
    assign wrefused = (wfault != BUSERR_NONE) || (wqueues && (resetting || wfull));

    always_ff @(posedge clk) begin
        if (rst) begin
            wstate <= W_IDLE;
            s_axil_bvalid <= 1'b0;
        end else begin
            case (wstate)
                W_IDLE: if (s_axil_awready) wstate <= W_DECODE;
                W_DECODE: wstate <= W_ISSUE;
                W_ISSUE: begin
                    wstate <= W_ANSWER;
                    s_axil_bvalid <= 1'b1;
                end
                default: if (s_axil_bready) begin
                    wstate <= W_IDLE;
                    s_axil_bvalid <= 1'b0;
                end
            endcase
        end
        if (s_axil_awready) begin
            waddr <= s_axil_awaddr;
            wdata <= s_axil_wdata;
            whole <= (s_axil_wstrb == 4'hF);
        end
        if (wstate == W_DECODE) begin
            op_wkind <= (NMCE && in_query(waddr[22:2])) ? '0 : wkind;
            wrings <= (waddr[15:12] == DOORBELLS[15:12]);
            wresets <= (waddr[15:0] == CTRL_OFFSET) && wdata[0];
            wtable <= in_table(waddr[22:6]);
            wquery <= NMCE && in_query(waddr[22:2]);
            if (waddr[1:0] != 2'b00) wfault <= BUSERR_MISALIGNED;
            else if (!in_table(waddr[22:6]) && !(NMCE && in_query(waddr[22:2])) && (waddr[22:16] != '0 || !wkind.writable)) wfault <= BUSERR_UNMAPPED;
            else if (!whole) wfault <= BUSERR_STROBE;
            else wfault <= BUSERR_NONE;
        end
        if (wissue) s_axil_bresp <= (wcode == BUSERR_NONE) ? OKAY : SLVERR;
    end

    // ---- reads: one is looked up, one waits at the register block or the directory, answers queue up ----------------------
    logic        rtaken, rmove;   // looked up; and goes on to wait
    logic        rwaiting;
    logic [22:0] raddr_taken, raddr;
    logic [3:0]  rcode, rfault;
    logic        taken_bar0, taken_bar2;              // of the one that is looked up
    word_t       taken_kind;
    logic        misaligned, in_bar0, in_bar2;        // in_bar0, in_bar2: and aligned
    logic        at_once;                             // it waits neither for the operands nor for the directory
    logic        in_operands, in_registers;           // whose turn it is beside in_bar2; nobody's: the answer is an error
    logic        rfree;                               // it has room for its answer, and no write goes before it
    logic        rissue, rdone;
    logic        takes_result, takes_completion, of_telemetry;
    logic        of_digest;       // PASS_DIGEST
    logic        of_table, of_query, of_scores, of_page;  // PTABLE, QUERY, SCORES, DOORBELLS, and aligned
    logic        queue_empty, queue_full, answering;
    logic [3:0]  queue_level;
    logic        answer_refused, from_block, from_telemetry, from_table, from_query, from_scores;
    logic [31:0] other_data;
    logic [33:0] queue_head;

    assign rmove = rtaken && (!rwaiting || rdone);
    assign s_axil_arready = (!rtaken || rmove) && !block;

    // One error is recorded a cycle: a read that fails beside a write waits for the next, or asks again.
    assign in_operands = in_bar0 && op_rkind.operand;
    assign in_registers = in_bar0 && !op_rkind.operand;
    assign rfree = rwaiting && !queue_full && !wissue;
    assign rissue = rfree && at_once && !(of_digest && settling) && !(of_table && table_clearing);
    assign rdone = rissue || (in_operands && op_ack) || (in_bar2 && dir_ack && !(dir_err && wissue));  // asked while there was room
    always_comb begin
        if (misaligned) rfault = BUSERR_MISALIGNED;
        else rfault = (in_bar2 || of_table || of_query || of_scores || of_page || (in_bar0 && op_rkind.readable)) ? BUSERR_NONE : BUSERR_UNMAPPED;
    end
    assign rcode = (in_bar2 && dir_err) ? BUSERR_UNMAPPED : rfault;
    assign dir_req = rwaiting && !queue_full && in_bar2 && !dir_ack;
    assign dir_addr = raddr;
    assign op_read = rwaiting && !queue_full && in_operands;
    assign op_raddr = raddr[15:0];

    assign taken_bar0 = (raddr_taken[22:16] == '0) && raddr_taken[1:0] == 2'b00;
    assign taken_bar2 = (raddr_taken >= BAR2_ENTRIES) && raddr_taken[1:0] == 2'b00;
    assign taken_kind = raddr_taken[15] ? '0 : word_kind(raddr_taken[15:2]);  // nothing is read there by its kind
    always_ff @(posedge clk) begin
        if (s_axil_arready) begin
            rtaken <= s_axil_arvalid;
            raddr_taken <= s_axil_araddr;
        end else if (rmove) begin
            rtaken <= 1'b0;
        end
        if (rmove) begin
            rwaiting <= 1'b1;
            raddr <= raddr_taken;
            op_rkind <= taken_kind;
            takes_result <= taken_bar0 && taken_kind.takes_result;
            takes_completion <= taken_bar0 && taken_kind.takes_completion;
            of_telemetry <= taken_bar0 && taken_kind.telemetry;
            of_digest <= (raddr_taken[15:3] == PASS_DIGEST_OFFSET[15:3]);
            of_table <= in_table(raddr_taken[22:6]) && raddr_taken[1:0] == 2'b00;
            of_query <= in_query(raddr_taken[22:2]) && raddr_taken[1:0] == 2'b00;
            of_scores <= (raddr_taken[22:12] == SCORES[22:12]) && raddr_taken[1:0] == 2'b00;
            of_page <= (raddr_taken[22:12] == DOORBELLS[22:12]) && raddr_taken[1:0] == 2'b00;
            misaligned <= raddr_taken[1:0] != 2'b00;
            in_bar0 <= taken_bar0;
            in_bar2 <= taken_bar2;
            at_once <= !(taken_bar0 && taken_kind.operand) && !taken_bar2;
        end else if (rdone) begin
            rwaiting <= 1'b0;
        end
        if (rst) begin
            rtaken <= 1'b0;
            rwaiting <= 1'b0;
        end
    end

    // An answer rests in a register on its way into the queue, which keeps places for it, for one that is being made, and for one
    // that came while the level was looked at.
    always_ff @(posedge clk) begin
        queue_full <= (queue_level >= 4'd5);
        answering <= !rst && rdone;
        answer_refused <= (rcode != BUSERR_NONE);
        from_block <= in_registers && !of_telemetry && !of_table && !of_query && !of_scores && !of_page;
        from_telemetry <= of_telemetry;
        from_table <= of_table;
        from_query <= of_query;
        from_scores <= of_scores;
        other_data <= of_page ? '0 : in_operands ? op_data : dir_data;
    end
    kvcpu_fifo #(.WIDTH(34), .DEPTH(8)) u_answers (
        .clk, .rst, .push(answering), .pop(s_axil_rvalid && s_axil_rready),
        .wdata(answer_refused ? {SLVERR, 32'd0} : {OKAY, from_table ? table_data : from_query ? query_data : from_scores ? scores_data
                                                         : from_telemetry ? tele_data : from_block ? reg_rdata : other_data}),
        .rdata(queue_head), .empty(queue_empty), .full(), .level(queue_level)
    );
    assign s_axil_rvalid = !queue_empty;
    assign {s_axil_rresp, s_axil_rdata} = queue_head;

    // ---- register block ------------------------------------------------------------------------------------------------------
    // Only addresses that its registers have reach it, so it need not look at all bits of one.
    assign reg_req = (wissue && wfault == BUSERR_NONE && !op_wkind.operand && !wtable && !wquery)
                     || (rissue && in_registers && op_rkind.readable && !of_telemetry);
    // What one kind of word begins asks only for what that kind waits for: the rest of rissue comes too late to the queues.
    assign result_pop = rfree && takes_result;
    assign completion_pop = rfree && takes_completion;
    assign tele_select = rwaiting && of_telemetry;
    assign tele_read = rfree && of_telemetry;
    assign tele_addr = raddr[8:2];
    assign table_write = wissue && wtable && wcode == BUSERR_NONE;
    assign table_read = rfree && of_table && !table_clearing;
    assign table_select = (wstate == W_ISSUE && wtable) || (rwaiting && of_table);
    assign table_waddr = waddr[TABLE_BITS-1:2];
    assign table_raddr = raddr[TABLE_BITS-1:2];
    assign nmce_select = (wstate == W_ISSUE && wquery) || (rwaiting && (of_query || of_scores));
    assign query_write = wissue && wquery && wfault == BUSERR_NONE;  // it rings no doorbell
    assign query_read = rfree && of_query;
    assign scores_read = rfree && of_scores;
    assign query_waddr = waddr[14:2];
    assign nmce_raddr = raddr[14:2];
    assign reg_is_write = wissue;
    assign reg_wdata = wdata;
    assign op_turn = wissue;
    assign op_write = wissue && !wrefused && op_wkind.operand;
    assign op_waddr = waddr[15:0];
    assign op_wdata = wdata;
    // Chosen a cycle ahead, as decoding the address is the longest way here: W_ISSUE follows W_DECODE at once.
    always_ff @(posedge clk) begin
        if (wstate == W_DECODE) reg_addr <= waddr[15:0] & BLOCK_BITS;
        else if (rmove) reg_addr <= raddr_taken[15:0] & BLOCK_BITS;
        else reg_addr <= raddr[15:0] & BLOCK_BITS;
    end

    // A cycle behind the access, with the answer that tells of it.
    always_ff @(posedge clk) begin
        error_valid <= !rst && (wissue ? (wcode != BUSERR_NONE) : (rdone && rcode != BUSERR_NONE));
        error_code <= wissue ? wcode : rcode;
        error_offset <= wissue ? waddr : raddr;
    end

    kvcpu_handshake_check #(.WIDTH(2)) u_b_check (
        .clk, .rst, .valid(s_axil_bvalid), .ready(s_axil_bready), .data(s_axil_bresp)
    );
    kvcpu_handshake_check #(.WIDTH(34)) u_r_check (
        .clk, .rst, .valid(s_axil_rvalid), .ready(s_axil_rready), .data(queue_head)
    );

    assign quiet = (wstate == W_IDLE) && !rtaken && !rwaiting && !answering && queue_empty;

    // ---- promises, checked in simulation ------------------------------------------------------------------------------------
`ifndef SYNTHESIS
    logic [5:0] begun;
    assign begun = {result_pop, completion_pop, tele_read, table_read, query_read, scores_read};
    always_ff @(posedge clk) begin
        if (!rst) begin
            begun_with_an_answer: assert ($onehot0(begun) && (rissue || begun == '0))
                else $error("what a read begins, one thing at most, begins in the cycle of its answer");
        end
    end
`endif
endmodule
`default_nettype wire
