// kvcpu_result_queue - the results of the last 32 commands (R5), oldest first.
//
// A host that never reads results (the Linux driver of contract section 7) must not stop the device, so a full queue drops its
// oldest result and says so on `lost`; the counter of it is in the telemetry.
`default_nettype none
module kvcpu_result_queue
    import kvcpu_pkg::*;
(
    input  wire logic    clk,
    input  wire logic    rst,
    input  wire logic    push,
    input  wire result_t pushed,
    input  wire logic    pop,
    output logic         valid,
    output result_t      oldest,
    output logic         leaves,     // `oldest` is taken or dropped
    output logic         under_way,  // a result that `valid` does not show yet
    output logic         lost,
    output logic [5:0]   level
);
    logic    empty, full;
    logic    held_valid;
    result_t held;
    assign valid = !empty;
    assign under_way = push || held_valid;
    assign lost = held_valid && full && !pop;
    assign leaves = (pop && valid) || lost;

    // A result rests in `held` on its way, so that the cycle in which a command ends need not know whether there is room.
    kvcpu_fifo #(.WIDTH($bits(result_t)), .DEPTH(32)) u_fifo (
        .clk, .rst, .push(held_valid), .wdata(held), .pop(leaves), .rdata(oldest), .empty, .full, .level
    );
    always_ff @(posedge clk) begin
        held_valid <= push && !rst;
        held <= pushed;
    end
endmodule
`default_nettype wire
