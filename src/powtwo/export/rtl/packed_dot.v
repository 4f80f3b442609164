// The sum of one word of packed two's-complement weights times its inputs. Combinational. The first
// weight is in the lowest bits of the word, and meets the lowest input.
module packed_dot #(
    parameter CODE_BITS = 4,                // 2 or 4
    parameter LANES = 32 / CODE_BITS
) (
    input             [31:0]          word,
    input             [9*LANES-1:0]   inputs,  // signed, 9 bits each: a code less its zero point
    output reg signed [31:0]          sum
);
    integer lane;
    reg signed [CODE_BITS-1:0] weight;
    reg signed [8:0] x;

    always @* begin
        sum = 0;
        for (lane = 0; lane < LANES; lane = lane + 1) begin
            weight = word[lane * CODE_BITS +: CODE_BITS];
            x = inputs[9 * lane +: 9];
            sum = sum + weight * x;
        end
    end
endmodule
