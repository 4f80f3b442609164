// From an accumulator to a code: ReLU, arithmetic right shift, zero point, clamp.
// Combinational. For half_up the bias image already holds the half unit, so HALF_EVEN = 0.
module requantize #(
    parameter RELU = 1,
    parameter HALF_EVEN = 0,            // 0: floor; 1: to nearest, ties to even
    parameter OUTPUT_ZERO_POINT = 128,
    parameter OUTPUT_MAX = 255          // 2^bits - 1
) (
    input  signed [31:0] accumulator,
    input         [4:0]  shift,
    output        [7:0]  code
);
    localparam signed [31:0] LOW = -OUTPUT_ZERO_POINT;
    localparam signed [31:0] HIGH = OUTPUT_MAX - OUTPUT_ZERO_POINT;

    wire signed [31:0] rectified = (RELU && accumulator[31]) ? 32'sd0 : accumulator;
    wire signed [31:0] dropped = rectified >>> shift;
    // Just under half is added to an even result and half to an odd one.
    wire signed [31:0] half = (32'sd1 <<< shift) >>> 1;
    wire signed [31:0] odd = {31'd0, dropped[0]};
    wire signed [31:0] added = (HALF_EVEN && shift != 0) ? half - 32'sd1 + odd : 32'sd0;
    wire signed [31:0] summed = rectified + added;
    wire signed [31:0] shifted = summed >>> shift;
    wire signed [31:0] clamped = shifted < LOW ? LOW : shifted > HIGH ? HIGH : shifted;
    wire signed [31:0] moved = clamped + OUTPUT_ZERO_POINT;

    assign code = moved[7:0];
endmodule
