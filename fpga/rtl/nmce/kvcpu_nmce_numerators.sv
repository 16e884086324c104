// kvcpu_nmce_numerators - ends jobs in order, each once its scores are complete (stub: without numerators).
`default_nettype none
module kvcpu_nmce_numerators
    import kvcpu_nmce_pkg::*;
#(
    parameter int unsigned BLOCK_TOKENS = 32,
    localparam int unsigned TW = $clog2(BLOCK_TOKENS)
) (
    input  wire logic          clk,
    input  wire logic          rst,
    input  wire logic          row,
    input  wire logic [TW-1:0] row_number,
    input  wire logic          is_token,
    input  wire logic [31:0]   score,
    input  wire logic          scored,
    input  wire job_t          job,
    input  wire logic          job_failed,
    output logic               finish,
    output logic               finish_error,
    output logic               finish_buffer,
    output logic               finish_numerators,
    output logic               write,
    output logic [TW-1:0]      write_row,
    output logic [31:0]        numerator,
    output logic               totals_write,
    output logic [31:0]        largest,
    output logic [31:0]        total
);
    logic empty;
    job_t finishing;
    kvcpu_fifo #(.WIDTH($bits(job_t) + 1), .DEPTH(2)) u_jobs (
        .clk, .rst, .push(scored), .wdata({job, job_failed}), .pop(finish), .rdata({finishing, finish_error}),
        .empty, .full(), .level()
    );
    assign finish = !empty;
    assign finish_buffer = finishing.buffer;
    assign finish_numerators = finishing.numerators;
    assign write = 1'b0;
    assign write_row = '0;
    assign numerator = '0;
    assign totals_write = 1'b0;
    assign largest = '0;
    assign total = '0;
    wire unused = &{1'b0, row, row_number, is_token, score, finishing.rows, 1'b0};
endmodule
`default_nettype wire
