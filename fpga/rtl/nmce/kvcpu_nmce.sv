// kvcpu_nmce - near-memory compute engine: scores the rows of a block against a query, as the keys come from the memory (R30 to R34).
//
// A job is a block whose keys are read, a slot of the query buffer, and how many of its rows are tokens. Jobs are taken in order, while
// a result buffer is free for each, and end in order, with a pulse of `done_valid`; the next one's keys are asked for while those of the
// one before stream. `take` gives the oldest buffer back. Where the memory answers with an error (`done_error`) no buffer is kept.
//   kvcpu_nmce_fetch, _query   beats of keys, and the query's beside them
//   kvcpu_nmce_dot, _scale, _round   exact sum of a row, times C, rounded once; 128 beats of 512 bits are 32 scores
//   kvcpu_nmce_numerators      the largest score, exponentials, their sum, once a block's scores are complete
//   kvcpu_nmce_results         what the host sees
// Beats are always taken: their scores have a place. Reset only while nothing is on the bus: it forgets jobs and results, and
// leaves the query buffer. With `flush` nothing new is asked for, and `idle` says that nothing is on the bus any more.
// With a clock that rests, work is everything from outside, and !idle; the rest ends within a few cycles.
`default_nettype none
module kvcpu_nmce
    import kvcpu_nmce_pkg::*;
#(
    parameter int unsigned DATA_BITS = 512,
    parameter int unsigned BLOCK_TOKENS = 32,
    parameter int unsigned HEAD_DIM = 128,
    parameter int unsigned BLOCK_BYTES = 16384,
    localparam int unsigned QUERY_BITS = $clog2(128 * HEAD_DIM)   // of an address in the query buffer
) (
    input  wire logic                  clk,
    input  wire logic                  rst,
    input  wire logic                  flush,
    output logic                       idle,             // no job, nothing on the bus; a job of this cycle is work in the next

    input  wire logic                  job_valid,
    output logic                       job_ready,
    input  wire logic [63:0]           job_addr,         // first byte of the keys
    input  wire logic [8:0]            job_rows,         // up to token_end: 1 to BLOCK_TOKENS
    input  wire logic [5:0]            job_slot,
    input  wire logic                  job_numerators,
    output logic                       done_valid,       // pulse; the buffer is the last of those that wait
    output logic                       done_error,       // with it: the memory answered with an error
    input  wire logic                  take,             // pulse: the oldest buffer that waits is free again

    // kvcpu_dma
    output logic                       ar_valid,
    output logic [63:0]                ar_addr,
    output logic [7:0]                 ar_len,
    input  wire logic                  ar_ready,
    input  wire logic                  r_valid,
    input  wire logic [DATA_BITS-1:0]  r_data,
    input  wire logic                  r_error,

    // the host's windows: answers in the next cycle; never a read and a write of the query buffer in one
    input  wire logic                  query_write,
    input  wire logic [QUERY_BITS-1:2] query_waddr,
    input  wire logic [31:0]           query_wdata,
    input  wire logic                  query_read,
    input  wire logic [QUERY_BITS-1:2] query_raddr,
    output logic [31:0]                query_rdata,
    input  wire logic                  scores_read,
    input  wire logic [11:2]           scores_raddr,
    output logic [31:0]                scores_rdata
);
    localparam int unsigned ROW_BEATS = HEAD_DIM * 16 / DATA_BITS;
    localparam int unsigned BW = (ROW_BEATS > 1) ? $clog2(ROW_BEATS) : 1;
    localparam int unsigned TW = $clog2(BLOCK_TOKENS);

    if (DATA_BITS < 32 || DATA_BITS > 1024 || (DATA_BITS & (DATA_BITS - 1)) != 0) begin : g_check
        $error("%m: DATA_BITS must be a power of two from 32 to 1024");
    end
    if (BLOCK_TOKENS < 2 || BLOCK_TOKENS > 256 || (BLOCK_TOKENS & (BLOCK_TOKENS - 1)) != 0) begin : g_check2
        $error("%m: BLOCK_TOKENS must be a power of two from 2 to 256");
    end
    if (HEAD_DIM < 4 || HEAD_DIM > 256 || (HEAD_DIM & (HEAD_DIM - 1)) != 0) begin : g_check3
        $error("%m: HEAD_DIM must be a power of two from 4 to 256");
    end
    if (HEAD_DIM * 16 < DATA_BITS) begin : g_check4
        $error("%m: a row of keys (2 * HEAD_DIM bytes) must be a beat of DATA_BITS at least");
    end
    if (BLOCK_BYTES != 4 * BLOCK_TOKENS * HEAD_DIM) begin : g_check5
        $error("%m: BLOCK_BYTES must be 4 * BLOCK_TOKENS * HEAD_DIM");
    end

    // ---- jobs and buffers ----------------------------------------------------------------------------------------------------
    logic [1:0] used;          // buffers that a job or the host has
    logic       accept, fetch_ready, bus_quiet, buffer;
    logic [1:0] under_way;     // jobs
    job_t       scoring;       // whose rows come out of the stream
    logic       scored;        // pulse, with its last row
    logic       shown_empty, shown_buffer, shown_numerators, finish, finish_error, finish_buffer, finish_numerators;

    assign job_ready = fetch_ready && used != 2'b11;
    assign accept = job_valid && job_ready;
    assign buffer = used[0];
    always_ff @(posedge clk) begin
        if (accept) used[buffer] <= 1'b1;
        if (finish && finish_error) used[finish_buffer] <= 1'b0;
        if (take) used[shown_buffer] <= 1'b0;
        under_way <= under_way + 2'(accept) - 2'(finish);
        idle <= rst || (!job_valid && bus_quiet && (flush || under_way == '0));
        done_valid <= finish && !rst;
        done_error <= finish_error;
        if (rst) begin
            used <= '0;
            under_way <= '0;
        end
    end
    kvcpu_fifo #(.WIDTH($bits(job_t)), .DEPTH(2)) u_scoring (
        .clk, .rst, .push(accept), .wdata({buffer, job_rows, job_numerators}), .pop(scored), .rdata(scoring),
        .empty(), .full(), .level()
    );
    kvcpu_fifo #(.WIDTH(2), .DEPTH(2)) u_shown (
        .clk, .rst, .push(finish && !finish_error), .wdata({finish_buffer, finish_numerators}), .pop(take),
        .rdata({shown_buffer, shown_numerators}), .empty(shown_empty), .full(), .level()
    );

    // ---- keys, and the query beside them -------------------------------------------------------------------------------------
    logic [5:0]           slot;
    logic [BW-1:0]        number;
    logic                 beat, beat_last, beat_failed;
    logic [DATA_BITS-1:0] keys, query;
    kvcpu_nmce_fetch #(.DATA_BITS(DATA_BITS), .HEAD_DIM(HEAD_DIM), .KEY_BYTES(BLOCK_BYTES / 2)) u_fetch (
        .clk, .rst, .flush, .ready(fetch_ready), .quiet(bus_quiet), .take(accept), .addr(job_addr), .slot(job_slot),
        .ar_valid, .ar_addr, .ar_len, .ar_ready, .r_valid, .r_error,
        .beat_slot(slot), .beat_number(number), .beat_last, .beat_failed
    );
    kvcpu_nmce_query #(.DATA_BITS(DATA_BITS), .HEAD_DIM(HEAD_DIM)) u_query (
        .clk, .write(query_write), .waddr(query_waddr), .wdata(query_wdata), .read(query_read), .raddr(query_raddr), .rdata(query_rdata),
        .beat_read(r_valid), .beat_addr(($clog2(64 * ROW_BEATS))'(32'(slot) * ROW_BEATS + 32'(number))), .beat(query)
    );
    always_ff @(posedge clk) begin
        beat <= !rst && r_valid;
        if (r_valid) keys <= r_data;
    end

    // ---- a row's score -------------------------------------------------------------------------------------------------------
    localparam int unsigned SUM = 81 + $clog2(HEAD_DIM);
    localparam logic [31:0] C = scale_of(HEAD_DIM);
    localparam int unsigned ZEROS = zeros_behind(C);
    localparam int unsigned SCALED = SUM - 1 + $clog2((C >> ZEROS) + 32'd1);
    logic                  row, row_failed, scaled, negative, scaled_failed, rounded, score_failed;
    logic signed [SUM-1:0] sum;
    kinds_t                kinds, scaled_kinds;
    logic [SCALED-1:0]     exact;
    score_t                in_block, score;
    kvcpu_nmce_dot #(.DATA_BITS(DATA_BITS), .HEAD_DIM(HEAD_DIM)) u_dot (
        .clk, .rst, .beat, .keys, .query, .last(beat_last), .failed(beat_failed), .row, .sum, .kinds, .row_failed
    );
    kvcpu_nmce_scale #(.HEAD_DIM(HEAD_DIM)) u_scale (
        .clk, .rst, .row, .sum, .kinds, .failed(row_failed),
        .scaled, .number(exact), .negative, .scaled_kinds, .scaled_failed
    );
    kvcpu_nmce_round #(.WIDTH(SCALED), .UNIT(int'(ZEROS) - 80)) u_round (
        .clk, .rst, .row(scaled), .number(exact), .negative, .kinds(scaled_kinds), .failed(scaled_failed),
        .rounded, .score(in_block), .rounded_failed(score_failed)
    );

    // ---- rows of a block -------------------------------------------------------------------------------------------------------
    logic [TW-1:0] score_row;
    logic          is_token;
    assign is_token = 9'(score_row) < scoring.rows;
    assign score = is_token ? in_block : BEYOND;
    assign scored = rounded && score_row == TW'(BLOCK_TOKENS - 1);
    always_ff @(posedge clk) begin
        if (rst) score_row <= '0;
        else if (rounded) score_row <= score_row + 1'b1;
    end

    logic          numerator_write, totals_write;
    logic [TW-1:0] numerator_row;
    logic [31:0]   numerator, largest, total;
    kvcpu_nmce_numerators #(.BLOCK_TOKENS(BLOCK_TOKENS)) u_numerators (
        .clk, .rst, .row(rounded), .row_number(score_row), .is_token, .score(in_block.single), .scored, .job(scoring), .job_failed(score_failed),
        .finish, .finish_error, .finish_buffer, .finish_numerators,
        .write(numerator_write), .write_row(numerator_row), .numerator, .totals_write, .largest, .total
    );
    kvcpu_nmce_results #(.BLOCK_TOKENS(BLOCK_TOKENS)) u_results (
        .clk, .write(rounded), .write_buffer(scoring.buffer), .write_row(score_row), .score,
        .numerator_write, .totals_write, .numerator_buffer(finish_buffer), .numerator_row, .numerator, .largest, .total,
        .shown(!shown_empty), .shown_buffer, .shown_numerators, .read(scores_read), .raddr(scores_raddr), .rdata(scores_rdata)
    );

    // ---- promises, checked in simulation ------------------------------------------------------------------------------------
`ifndef SYNTHESIS
    always_ff @(posedge clk) begin
        if (!rst) begin
            rows_in_block: assert (!(job_valid && (job_rows == '0 || 32'(job_rows) > BLOCK_TOKENS)))
                else $error("a job has 1 to BLOCK_TOKENS rows");
            taken_when_shown: assert (!(take && shown_empty)) else $error("a buffer is taken only while one waits");
            jobs_have_buffers: assert (under_way <= 2'(used[0]) + 2'(used[1])) else $error("every job has a buffer");
            end_of_a_job: assert (!(finish && under_way == '0)) else $error("a job ends once");
        end
    end
`endif
endmodule
`default_nettype wire
