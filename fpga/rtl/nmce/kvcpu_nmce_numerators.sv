// kvcpu_nmce_numerators - ends jobs in order, each once its scores are complete and, where they are asked for, its numerators (R32).
//
// While the rows of a job come, it keeps their scores and finds the largest. A job whose scores are complete waits here until those before
// it have ended. For numerators its rows then go past, one in two cycles, as that is how long the sum takes: how far is the score below
// the largest (kvcpu_nmce_distance), the exponential of that (kvcpu_nmce_exp), their sum (kvcpu_nmce_sum). `finish` is a pulse; where the
// memory answered with an error (`finish_error`) there are no numerators.
`default_nettype none
module kvcpu_nmce_numerators
    import kvcpu_nmce_pkg::*;
#(
    parameter int unsigned BLOCK_TOKENS = 32,
    localparam int unsigned TW = $clog2(BLOCK_TOKENS)
) (
    input  wire logic          clk,
    input  wire logic          rst,

    // rows of `job`, in order
    input  wire logic          row,
    input  wire logic [TW-1:0] row_number,
    input  wire logic          is_token,
    input  wire logic [31:0]   score,             // where it is a token
    input  wire logic          scored,            // with its last row
    input  wire job_t          job,
    input  wire logic          job_failed,        // with `scored`

    output logic               finish,
    output logic               finish_error,
    output logic               finish_buffer,     // from here on of the job that ends next
    output logic               finish_numerators,
    output logic               write,             // a numerator
    output logic [TW-1:0]      write_row,
    output logic [31:0]        numerator,
    output logic               totals_write,
    output logic [31:0]        largest,
    output logic [31:0]        total
);
    localparam logic [TW-1:0] LAST = TW'(BLOCK_TOKENS - 1);

    // ---- the largest of a job's scores: NaN as long as there is no other -------------------------------------------------------
    function automatic logic above(input logic [31:0] a, input logic [31:0] b);   // of numbers without -0
        above = (a[31] == b[31]) ? (a[31] ? a[30:0] < b[30:0] : a[30:0] > b[30:0]) : b[31];
    endfunction
    logic [31:0] best, so_far;       // this row
    logic        is_larger;
    assign is_larger = is_token && score != NOT_A_NUMBER.single && (best == NOT_A_NUMBER.single || above(score, best));
    assign so_far = is_larger ? score : best;
    always_ff @(posedge clk) begin
        if (rst || scored) best <= NOT_A_NUMBER.single;
        else if (row) best <= so_far;
    end

    // ---- jobs whose scores are complete ----------------------------------------------------------------------------------------
    job_t        next;
    logic        empty, wanted, running;
    assign wanted = !empty && next.numerators && !finish_error;
    assign finish = !empty && (totals_write || !wanted);
    assign finish_buffer = next.buffer;
    assign finish_numerators = next.numerators;
    kvcpu_fifo #(.WIDTH($bits(job_t) + 33), .DEPTH(2)) u_jobs (
        .clk, .rst, .push(scored), .wdata({job, job_failed, so_far}), .pop(finish), .rdata({next, finish_error, largest}),
        .empty, .full(), .level()
    );

    // ---- their rows once more ----------------------------------------------------------------------------------------------------
    logic          start, asking, turn, ask, asked, asked_token;
    logic [TW-1:0] ask_row;
    logic [31:0]   kept;
    assign start = wanted && !running;
    assign ask = asking && turn;
    kvcpu_ram #(.WIDTH(32), .DEPTH(2 * BLOCK_TOKENS)) u_kept (
        .clk, .we(row), .waddr({job.buffer, row_number}), .wdata(score), .ren(ask), .raddr({next.buffer, ask_row}), .rdata(kept)
    );
    always_ff @(posedge clk) begin
        asked <= !rst && ask;
        asked_token <= 9'(ask_row) < next.rows;
        if (asking) turn <= !turn;
        if (start) begin
            running <= 1'b1;
            asking <= 1'b1;
            turn <= 1'b1;
            ask_row <= '0;
        end else if (ask) begin
            ask_row <= ask_row + 1'b1;
            asking <= ask_row != LAST;
        end
        if (rst || totals_write) running <= 1'b0;
        if (rst) asking <= 1'b0;
    end

    // ---- numerators, and their sum -------------------------------------------------------------------------------------------------
    logic        has_distance, added;
    numerator_e  kind;
    logic [24:0] t;
    kvcpu_nmce_distance u_distance (
        .clk, .rst, .row(asked), .is_token(asked_token), .score(kept), .largest, .valid(has_distance), .kind, .t
    );
    kvcpu_nmce_exp u_exp (.clk, .rst, .row(has_distance), .kind, .t, .valid(write), .numerator);
    kvcpu_nmce_sum u_sum (.clk, .rst, .clear(start), .add(write), .number(numerator), .total);
    always_ff @(posedge clk) begin
        if (start) write_row <= '0;
        else if (write) write_row <= write_row + 1'b1;
        added <= !rst && write && write_row == LAST;
        totals_write <= !rst && added;
    end

    // ---- promises, checked in simulation ------------------------------------------------------------------------------------
`ifndef SYNTHESIS
    always_ff @(posedge clk) begin
        if (!rst) begin
            jobs_fit: assert (!(write && !running)) else $error("numerators come for a job that wants them");
        end
    end
`endif
endmodule
`default_nettype wire
