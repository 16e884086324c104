// kvcpu_operands - the registers that commands are made of (R3), and the doorbells that make them (R5).
//
// Operands and settings are needed one command at a time, so they live in block RAM, in rows of 8 bytes: two 32-bit registers or
// one of 64 bits. Beside a row are the low word that waits for its high word, and the high word that was latched when the low
// one was read (R1). A setting reads back what is in force and not what was written.
//
// Write in cycle n (`write`; the other w* stay for two cycles more, the next write comes in cycle n+4 at the earliest):
//   n    read the row
//   n+1  complete the value; read the row before, for a command that has two operands
//   n+2  write the value; push a command of one operand; read the row before that
//   n+3  push a command of two              n+4  push a command of three
// Reads wait for a cycle in which the memory is free, are answered in
// the next, and keep `read` high until then. Behind the low word of 64 bits the next one waits a cycle more. After reset the memory clears itself in 2^ROW_BITS cycles: no access meanwhile.
`default_nettype none
module kvcpu_operands
    import kvcpu_pkg::*;
    import kvcpu_map_pkg::*;
(
    input  wire logic        clk,
    input  wire logic        rst,
    output logic             clearing,

    input  wire logic        turn,       // with `write`, but also with one that is refused: no read begins
    input  wire logic        write,
    input  wire logic [15:0] waddr,
    input  wire logic [31:0] wdata,
    input  wire word_t       wkind,
    input  wire logic [31:0] wstamp,     // cycle of the write's handshake
    input  wire logic        read,
    input  wire logic [15:0] raddr,
    input  wire word_t       rkind,
    output logic             read_ack,
    output logic [31:0]      read_data,

    output logic [4:0]       setting,    // asks for the value in force
    input  wire logic [63:0] in_force,   // the answer, in the next cycle

    output logic             cmd_push,
    output command_t         cmd,
    output logic             pending,    // written to, or `forming`
    output logic             forming,    // a command is being put together or pushed
    output logic             soft_reset  // pulse
);
    // How many rows before its own a doorbell's command needs.
    function automatic logic [1:0] rows_before(input logic [4:0] command);
        case (command)
            OP_HOT, OP_EVICT, OP_SHARE, OP_RELEASE, OP_UNLOAD, OP_TOUCH, OP_SCORE: rows_before = 2'd1;
            OP_PREFETCH, OP_LOAD, OP_CLASS: rows_before = 2'd2;
            default: rows_before = 2'd0;
        endcase
    endfunction

    // ---- memory ----------------------------------------------------------------------------------------------------------
    logic [ROW_BITS:0]   cleared;
    logic [ROW_BITS-1:0] wrow, rrow, row, store_row, latch_row, latch_at;
    logic [31:0]         low, high, latched, latch_in, waiting_word;
    logic [63:0]         stored;      // what a write makes of its row
    logic                has_waiting, fetch, put_low, put_high, put_waiting, put_latch;
    logic [4:1]          stage;       // cycles n+1 to n+4 of a write
    logic                shows_setting, shows_wide;
    logic [63:0]         shown;

    assign clearing = !cleared[ROW_BITS];
    always_ff @(posedge clk) begin
        if (rst) cleared <= '0;
        else if (clearing) cleared <= cleared + 1'b1;
    end
    assign wrow = operand_row(waddr);
    assign rrow = operand_row(raddr);
    assign store_row = clearing ? cleared[ROW_BITS-1:0] : wrow;
    assign latch_row = clearing ? cleared[ROW_BITS-1:0] : latch_at;

    kvcpu_ram #(.WIDTH(32), .DEPTH(2**ROW_BITS)) u_low (
        .clk, .we(put_low || clearing), .waddr(store_row), .wdata(clearing ? '0 : stored[31:0]), .ren(1'b1), .raddr(row), .rdata(low)
    );
    kvcpu_ram #(.WIDTH(32), .DEPTH(2**ROW_BITS)) u_high (
        .clk, .we(put_high || clearing), .waddr(store_row), .wdata(clearing ? '0 : stored[63:32]), .ren(1'b1), .raddr(row), .rdata(high)
    );
    kvcpu_ram #(.WIDTH(33), .DEPTH(2**ROW_BITS)) u_waiting (
        .clk, .we(put_waiting || clearing), .waddr(store_row), .wdata(clearing ? '0 : {!waddr[2], wdata}),
        .ren(1'b1), .raddr(row), .rdata({has_waiting, waiting_word})
    );
    kvcpu_ram #(.WIDTH(32), .DEPTH(2**ROW_BITS)) u_latched (
        .clk, .we(put_latch || clearing), .waddr(latch_row), .wdata(clearing ? '0 : latch_in),
        .ren(1'b1), .raddr(row), .rdata(latched)
    );

    logic third;  // the row before the row before the doorbell's is read
    assign third = stage[2] && wkind.rings && rows_before(wkind.op) == 2'd2;
    assign fetch = read && !read_ack && !put_latch && !turn && !stage[1] && !stage[2];
    always_comb begin
        row = rrow;
        if (turn) row = wrow;
        else if (stage[1]) row = wrow - ROW_BITS'(1);
        else if (third) row = wrow - ROW_BITS'(2);
    end
    assign setting = turn ? wkind.setting : rkind.setting;
    always_ff @(posedge clk) begin
        shows_setting <= (turn ? wkind.op : rkind.op) == OP_SET;
        shows_wide <= turn ? wkind.wide : rkind.wide;
    end
    assign shown = !shows_setting ? {high, low} : shows_wide ? in_force : {2{in_force[31:0]}};

    // ---- reads -----------------------------------------------------------------------------------------------------------
    // The high word is latched out of a register, as memories are too slow to feed one another: the next read waits for that.
    always_ff @(posedge clk) begin
        read_ack <= fetch && !rst;
        put_latch <= read_ack && rkind.wide && !raddr[2] && !rst;
        latch_in <= shown[63:32];
        latch_at <= rrow;
    end
    assign read_data = !raddr[2] ? shown[31:0] : rkind.wide ? latched : shown[63:32];

    // ---- writes: the value, n+1 and n+2 ------------------------------------------------------------------------------------------
    logic [63:0] value;
    logic        resets;
    // Only rows of a 64-bit register have a low word that waits.
    always_comb begin
        value[63:32] = waddr[2] ? wdata : shown[63:32];
        value[31:0] = (!wkind.wide && !waddr[2]) ? wdata : has_waiting ? waiting_word : shown[31:0];
    end
    always_ff @(posedge clk) if (stage[1]) stored <= value;
    assign put_low = stage[2] && (wkind.wide ? waddr[2] : !waddr[2]);
    assign put_high = stage[2] && waddr[2];
    assign put_waiting = stage[2] && wkind.wide;
    assign resets = (waddr == CTRL_OFFSET) && wdata[0];

    // ---- doorbells: the command, n+2 to n+4 ------------------------------------------------------------------------------
    // How the operands lie in the rows: a layout of their own have LOAD, TOUCH and settings, the others 64 bits a row.
    typedef enum logic [2:0] {ONE_ROW, TWO_ROWS, THREE_ROWS, AS_LOAD, AS_TOUCH, AS_SET} layout_e;
    function automatic layout_e layout_of(input logic [4:0] command);
        case (command)
            OP_HOT, OP_EVICT, OP_SHARE, OP_RELEASE, OP_UNLOAD, OP_SCORE: layout_of = TWO_ROWS;
            OP_PREFETCH, OP_CLASS: layout_of = THREE_ROWS;
            OP_LOAD: layout_of = AS_LOAD;
            OP_TOUCH: layout_of = AS_TOUCH;
            OP_SET: layout_of = AS_SET;
            default: layout_of = ONE_ROW;
        endcase
    endfunction

    logic [63:0] own, one_before, two_before;
    logic [4:0]  op;
    layout_e     layout;
    logic        hinted;       // the command takes `hint` along
    logic        rung;
    hint_t       hint;         // TOUCH_HINT
    logic [4:0]  sets;
    logic [31:0] stamp;
    logic        whole_row;    // two 32-bit registers make the last operand

    assign whole_row = wkind.wide || wkind.op == OP_LOAD || wkind.op == OP_LOOKUP || wkind.op == OP_DIGEST || wkind.op == OP_CLASS
                       || wkind.op == OP_SCORE;
    always_ff @(posedge clk) begin
        stage <= {stage[3:1], write};
        soft_reset <= write && wkind.rings && resets;
        if (stage[1]) begin
            own <= whole_row ? value : 64'(wdata);
            op <= wkind.op;
            layout <= layout_of(wkind.op);
            hinted <= (wkind.op == OP_LOAD || wkind.op == OP_TOUCH || wkind.op == OP_SCORE);
            rung <= (waddr[15:12] == DOORBELLS[15:12]);
            sets <= wkind.setting;
            stamp <= wstamp;
        end
        if (stage[2] && waddr == TOUCH_HINT_OFFSET) hint <= '{wide: stored[31:17] != '0, labels: stored[16], label: stored[15:0]};
        if (stage[2]) one_before <= {high, low};
        if (stage[3]) two_before <= {high, low};
        if (stage[1] && wkind.rings && !resets) forming <= 1'b1;
        else if (cmd_push) forming <= 1'b0;
        if (rst) begin
            stage <= '0;
            forming <= 1'b0;
            soft_reset <= 1'b0;
            hint <= '0;
        end
    end
    assign cmd_push = forming && stage[3'd2 + 3'(rows_before(op))];
    assign pending = write || stage[1] || forming;

    always_comb begin
        cmd = '0;
        cmd.op = op;
        cmd.stamp = stamp;
        cmd.rung = rung;
        cmd.a = own;
        case (layout)
            TWO_ROWS: {cmd.a, cmd.b} = {one_before, own};
            THREE_ROWS: {cmd.a, cmd.b, cmd.c} = {two_before, one_before, own};
            AS_LOAD: begin
                cmd.a = one_before;
                cmd.b = {own[31:0], two_before[63:32]};
                cmd.c = {own[63:32], two_before[31:0]};
            end
            AS_TOUCH: cmd.a = {own[31:0], one_before[31:0]};
            AS_SET: cmd.b = 64'(sets);
            default: ;
        endcase
        if (hinted) cmd.hint = hint;
    end

    // ---- promises, checked in simulation ------------------------------------------------------------------------------------
`ifndef SYNTHESIS
    always_ff @(posedge clk) begin
        if (!rst) begin
            writes_apart: assert (!(write && stage[3:1] != '0))
                else $error("a write comes four cycles behind the one before, or later");
            one_command: assert (!(stage[1] && wkind.rings && !resets && forming && !cmd_push))
                else $error("a command is pushed before the next is put together");
        end
    end
`endif
endmodule
`default_nettype wire
