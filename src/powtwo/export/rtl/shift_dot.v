// The sum of one word of packed weights that are 0 or ±2^k times its inputs: shifts and adds, no
// multiplier. Combinational. The first code is in the lowest bits of the word, and meets the lowest
// input. Its highest bit is the sign, below it stand 0 for weight 0, and 1 + k for 2^k; without
// zeros k alone, and the code of all ones below no sign, which fills words up, is 0.
module shift_dot #(
    parameter CODE_BITS = 4,                // 2 or 4
    parameter NONZERO = 0,                  // 1: weights are ±2^k
    parameter LANES = 32 / CODE_BITS
) (
    input             [31:0]          word,
    input             [9*LANES-1:0]   inputs,  // signed, 9 bits each: a code less its zero point
    output reg signed [31:0]          sum
);
    integer lane;
    reg [CODE_BITS-2:0] exponent;
    reg signed [31:0] x, shifted;

    always @* begin
        sum = 0;
        for (lane = 0; lane < LANES; lane = lane + 1) begin
            exponent = word[lane * CODE_BITS +: CODE_BITS - 1];
            x = {{23{inputs[9 * lane + 8]}}, inputs[9 * lane +: 9]};
            shifted = exponent == 0 ? 0 : x <<< (exponent - 1'b1);
            if (NONZERO) shifted = x <<< exponent;
            if (NONZERO && &exponent && !word[lane * CODE_BITS + CODE_BITS - 1]) shifted = 0;
            sum = word[lane * CODE_BITS + CODE_BITS - 1] ? sum - shifted : sum + shifted;
        end
    end
endmodule
