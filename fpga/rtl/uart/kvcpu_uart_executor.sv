// kvcpu_uart_executor - runs the program of a RUN request: fetches its bytes, checks each operation, makes its accesses one at a
// time, and puts what they read into the reply buffer (docs/uart-bridge.md, "RUN").
//
// `start` with `program_bytes` begins; `done` is a pulse. status, word, position and used (words in the reply buffer) stay until the
// next start. Always comes to an end: accesses have a watchdog, WAIT_IDLE has a limit, DRAIN ends with the buffer.
// Request buffer: the byte at `raddr` is on `rdata` two clocks later. Reply buffer: words of 32 bits.
`default_nettype none
module kvcpu_uart_executor #(
    parameter int unsigned BUFFER = 2048,       // bytes of each buffer
    localparam int unsigned AW = $clog2(BUFFER),
    localparam int unsigned WW = AW - 2
) (
    input  wire logic          clk,
    input  wire logic          rst,
    input  wire logic          device_idle,
    input  wire logic          start,
    input  wire logic [AW:0]   program_bytes,
    output logic               done,
    output logic [2:0]         status,
    output logic [7:0]         word,
    output logic [15:0]        position,
    output logic [WW:0]        used,

    output logic [AW-1:0]      raddr,
    input  wire logic [7:0]    rdata,
    output logic               we,
    output logic [WW-1:0]      waddr,
    output logic [31:0]        wdata,

    output logic               reg_start,
    output logic               mem_start,
    output logic               is_write,
    output logic [23:0]        reg_addr,
    output logic [63:0]        mem_addr,
    output logic [63:0]        operand,         // write data: of registers the upper half
    output logic [7:0]         mem_wstrb,
    input  wire logic          reg_done,
    input  wire logic [2:0]    reg_status,
    input  wire logic [31:0]   reg_rdata,
    input  wire logic          mem_done,
    input  wire logic [2:0]    mem_status,
    input  wire logic [63:0]   mem_rdata
);
    localparam logic [2:0] OK = 3'd0;
    localparam logic [2:0] MORE = 3'd1;
    localparam logic [2:0] BAD_PROGRAM = 3'd5;
    localparam logic [7:0] READ = 8'd1;
    localparam logic [7:0] WRITE = 8'd2;
    localparam logic [7:0] WAIT_IDLE = 8'd3;
    localparam logic [7:0] DRAIN = 8'd4;
    localparam logic [7:0] MEM_READ = 8'd5;
    localparam logic [7:0] MEM_WRITE = 8'd6;
    localparam int unsigned HEADER = 5;
    localparam int unsigned WORDS = BUFFER / 4;

    if (BUFFER < 2048 || (BUFFER & (BUFFER - 1)) != 0) begin : g_check
        $error("%m: BUFFER must be a power of two that holds the longest operation, 2048 or more");
    end

    typedef enum logic [3:0] {
        IDLE, NEXT, ADDRESS, PAUSE, BYTE, DECODE, CHECK, ALIGN, ROOM, TURN, START, AWAIT, STORE, STORE_HIGH, ADVANCE, END
    } state_e;
    state_e      state, after;     // after: where to go with the operand fetched
    logic [AW:0] left;             // bytes of the program not yet fetched
    logic [3:0]  wanted;           // bytes still to fetch
    logic [7:0]  count;
    logic [23:0] offset;           // of the access; of WAIT_IDLE the units still to wait
    logic [9:0]  ticks;
    logic        idle;             // device_idle, a clock old
    logic        to_memory, drains, waits;  // what the operation is, beside is_write
    logic        answered;          // the access, a clock ago
    logic        second, ended, last;  // last: the access is the operation's last, a clock old as the operand takes longer
    logic [8:0]  word_after;
    logic [AW:0] operand_bytes;    // of the operation
    logic [9:0]  result_words;
    logic        bad;

    assign second = drains && word[0];                   // high word of a record
    assign ended = (word == count);
    assign word_after = {1'b0, word} + 9'd1;
    assign reg_addr = offset;
    assign we = (state == STORE) || (state == STORE_HIGH);
    assign waddr = used[WW-1:0];
    assign wdata = (state == STORE) ? operand[31:0] : operand[63:32];

    always_ff @(posedge clk) begin
        idle <= device_idle;
        answered <= to_memory ? mem_done : reg_done;
        done <= 1'b0;
        reg_start <= (state == START) && !to_memory;
        mem_start <= (state == START) && to_memory;
        last <= (word_after == {1'b0, count});
        mem_wstrb <= ((word == 8'd0) ? offset[7:0] : 8'hFF) & (last ? offset[15:8] : 8'hFF);
        case (state)
            IDLE: begin
                raddr <= '0;
                left <= program_bytes;
                if (start) begin
                    used <= '0;
                    position <= '0;
                    state <= NEXT;
                end
            end

            // ---- an operation: its header, checks, the address of memory
            NEXT: begin
                word <= '0;
                status <= (left == '0) ? OK : BAD_PROGRAM;
                wanted <= 4'(HEADER);
                after <= DECODE;
                state <= (left < (AW+1)'(HEADER)) ? END : ADDRESS;
            end
            DECODE: begin
                {offset, count} <= operand[63:32];
                to_memory <= (operand[31:24] == MEM_READ) || (operand[31:24] == MEM_WRITE);
                is_write <= (operand[31:24] == WRITE) || (operand[31:24] == MEM_WRITE);
                drains <= (operand[31:24] == DRAIN);
                waits <= (operand[31:24] == WAIT_IDLE);
                operand_bytes <= '0;
                result_words <= '0;
                bad <= (operand[39:32] == 8'd0);
                case (operand[31:24])
                    READ: result_words <= {2'b00, operand[39:32]};
                    WRITE: operand_bytes <= (AW+1)'({operand[39:32], 2'b00});
                    WAIT_IDLE: bad <= 1'b0;
                    DRAIN: bad <= (operand[39:37] != 3'd0);   // valid bit above 31
                    MEM_READ: begin
                        operand_bytes <= (AW+1)'(8);
                        result_words <= {1'b0, operand[39:32], 1'b0};
                    end
                    MEM_WRITE: operand_bytes <= (AW+1)'({operand[39:32], 3'b000}) + (AW+1)'(8);
                    default: bad <= 1'b1;
                endcase
                state <= CHECK;
            end
            CHECK: begin
                wanted <= 4'd8;
                after <= ALIGN;
                if (bad || operand_bytes > left) state <= END;
                else state <= to_memory ? ADDRESS : ROOM;
            end
            ALIGN: begin
                mem_addr <= operand;
                state <= (operand[2:0] != 3'd0) ? END : ROOM;
            end
            ROOM: begin
                status <= MORE;
                ticks <= '1;
                state <= (result_words + used > 10'(WORDS)) ? END : TURN;
            end

            // ---- fetch an operand: a byte in three clocks, the first one ends up lowest
            ADDRESS: state <= PAUSE;
            PAUSE: state <= BYTE;
            BYTE: begin
                operand <= {rdata, operand[63:8]};
                raddr <= raddr + 1'b1;
                left <= left - 1'b1;
                wanted <= wanted - 4'd1;
                state <= (wanted == 4'd1) ? after : ADDRESS;
            end

            // ---- the accesses of the operation, one at a time
            TURN: begin
                wanted <= to_memory ? 4'd8 : 4'd4;
                after <= START;
                if (waits) begin
                    ticks <= ticks - 10'd1;
                    if (ticks == 10'd0) offset <= offset - 24'd1;
                    if (idle) state <= ADVANCE;
                    else if (offset == 24'd0) state <= END;
                end else if (drains && !second && used > (WW+1)'(WORDS - 2)) begin
                    // Room for a whole record before its first word is read: reading may take it out of the device.
                    word <= '0;
                    state <= END;
                end else if (!drains && ended) begin
                    state <= ADVANCE;
                end else begin
                    state <= is_write ? ADDRESS : START;
                end
            end
            START: state <= AWAIT;
            AWAIT: if (answered) begin
                if (!is_write) operand <= to_memory ? mem_rdata : {32'd0, reg_rdata};
                mem_addr <= mem_addr + 64'd8;  // of the next access; behind an error there is none
                if (!to_memory) offset <= second ? offset - 24'd4 : offset + 24'd4;
                if ((to_memory ? mem_status : reg_status) != OK) begin
                    status <= to_memory ? mem_status : reg_status;
                    state <= END;
                end else begin
                    word <= word + 8'd1;
                    state <= is_write ? TURN : STORE;
                end
            end
            STORE: begin
                used <= used + 1'b1;
                // word[0] is set behind a low word. One without its valid bit is the last.
                if (to_memory) state <= STORE_HIGH;
                else if (second && !operand[{1'b0, count[4:0]}]) state <= ADVANCE;
                else state <= TURN;
            end
            STORE_HIGH: begin
                used <= used + 1'b1;
                state <= TURN;
            end
            ADVANCE: begin
                position <= position + 16'd1;
                state <= NEXT;
            end

            default: begin  // END
                done <= 1'b1;
                state <= IDLE;
            end
        endcase
        if (rst) begin
            state <= IDLE;
            done <= 1'b0;
            reg_start <= 1'b0;
            mem_start <= 1'b0;
        end
    end
endmodule
`default_nettype wire
