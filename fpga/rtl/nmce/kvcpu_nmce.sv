// kvcpu_nmce - PLACEHOLDER of the compute engine: it streams the keys of each job, in order, and shows no scores.
//
// To be replaced by the engine itself; its ports and its handshakes are final.
`default_nettype none
module kvcpu_nmce #(
    parameter int unsigned DATA_BITS = 512,
    parameter int unsigned BLOCK_TOKENS = 32,
    parameter int unsigned HEAD_DIM = 128,
    parameter int unsigned BLOCK_BYTES = 16384,
    localparam int unsigned QW = $clog2(128 * HEAD_DIM)
) (
    input  wire logic                 clk,
    input  wire logic                 rst,
    input  wire logic                 flush,
    output logic                      idle,
    input  wire logic                 job_valid,
    output logic                      job_ready,
    input  wire logic [63:0]          job_addr,
    input  wire logic [8:0]           job_rows,
    input  wire logic [5:0]           job_slot,
    input  wire logic                 job_numerators,
    output logic                      done_valid,
    output logic                      done_error,
    input  wire logic                 take,
    output logic                      ar_valid,
    output logic [63:0]               ar_addr,
    output logic [7:0]                ar_len,
    input  wire logic                 ar_ready,
    input  wire logic                 r_valid,
    input  wire logic [DATA_BITS-1:0] r_data,
    input  wire logic                 r_error,
    input  wire logic                 query_write,
    input  wire logic [QW-1:2]        query_waddr,
    input  wire logic [31:0]          query_wdata,
    input  wire logic                 query_read,
    input  wire logic [QW-1:2]        query_raddr,
    output logic [31:0]               query_rdata,
    input  wire logic                 scores_read,
    input  wire logic [11:2]          scores_raddr,
    output logic [31:0]               scores_rdata
);
    localparam int unsigned BEAT_BYTES = DATA_BITS / 8;
    localparam int unsigned KEY_BEATS = 2 * BLOCK_TOKENS * HEAD_DIM / BEAT_BYTES;
    localparam int unsigned BURST_4K = (4096 / BEAT_BYTES > 256) ? 256 : 4096 / BEAT_BYTES;
    localparam int unsigned BURST = (BURST_4K > KEY_BEATS) ? KEY_BEATS : BURST_4K;

    logic [1:0]  held;               // buffers: of jobs under way, and not taken
    logic [63:0] next;
    logic [15:0] to_ask, to_come;    // beats
    logic        failed;
    wire unused = &{1'b0, BLOCK_BYTES[0], job_rows, job_slot, job_numerators, r_data, scores_read, scores_raddr, 1'b0};

    assign job_ready = (to_come == '0) && held < 2'd2 && !flush;
    assign ar_valid = (to_ask != '0) && !flush;
    assign ar_addr = next;
    assign ar_len = 8'(BURST - 1);
    assign idle = (to_come == '0);
    assign scores_rdata = '0;

    always_ff @(posedge clk) begin
        done_valid <= 1'b0;
        if (job_valid && job_ready) begin
            next <= job_addr;
            to_ask <= 16'(KEY_BEATS);
            to_come <= 16'(KEY_BEATS);
            failed <= 1'b0;
        end
        if (ar_valid && ar_ready) begin
            next <= next + 64'(BURST * BEAT_BYTES);
            to_ask <= to_ask - 16'(BURST);
        end
        if (flush) begin
            to_ask <= '0;
            to_come <= to_come - to_ask - 16'(r_valid);
        end else if (r_valid) begin
            to_come <= to_come - 16'd1;
            failed <= failed || r_error;
            done_valid <= (to_come == 16'd1);
            done_error <= failed || r_error;
        end
        held <= held + 2'(job_valid && job_ready) - 2'(take) - 2'(r_valid && to_come == 16'd1 && (failed || r_error));
        if (rst) begin
            held <= '0;
            to_ask <= '0;
            to_come <= '0;
            done_valid <= 1'b0;
        end
    end

    kvcpu_ram #(.WIDTH(32), .DEPTH(32 * HEAD_DIM)) u_query (
        .clk, .we(query_write), .waddr(query_waddr), .wdata(query_wdata), .ren(query_read), .raddr(query_raddr), .rdata(query_rdata)
    );
endmodule
`default_nettype wire
