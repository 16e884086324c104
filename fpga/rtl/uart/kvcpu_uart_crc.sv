// kvcpu_uart_crc - CRC-32 as in Ethernet and zlib, a byte in nine clocks.
//
// `clear` begins a new one; `valid` takes a byte, not before `busy` is low. `crc` is the register without the final inversion:
// behind a message and its own CRC (low byte first) it is 0xDEBB20E3.
`default_nettype none
module kvcpu_uart_crc (
    input  wire logic       clk,
    input  wire logic       rst,
    input  wire logic       clear,
    input  wire logic       valid,
    input  wire logic [7:0] data,
    output logic            busy,
    output logic [31:0]     crc
);
    localparam logic [31:0] POLYNOMIAL = 32'hEDB8_8320;  // reflected

    logic [3:0] left;
    assign busy = (left != 4'd0);

    always_ff @(posedge clk) begin
        if (rst || clear) begin
            left <= 4'd0;
            crc <= '1;
        end else if (valid) begin
            left <= 4'd8;
            crc[7:0] <= crc[7:0] ^ data;
        end else if (busy) begin
            left <= left - 4'd1;
            crc <= {1'b0, crc[31:1]} ^ (crc[0] ? POLYNOMIAL : 32'd0);
        end
    end

    // ---- promises, checked in simulation ------------------------------------------------------------------------------------
`ifndef SYNTHESIS
    always_ff @(posedge clk) begin
        if (!rst) begin
            byte_done: assert (!(valid && busy && !clear)) else $error("a byte comes when the one before is done");
        end
    end
`endif
endmodule
`default_nettype wire
