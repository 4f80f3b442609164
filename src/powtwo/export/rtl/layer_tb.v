// One layer of an export, from its memory images to its golden output.
//
// Sizes and zero points are parameters, files are plusargs: manifest.json has both. A linear layer
// is a convolution of one pixel: CHANNELS its inputs, KERNEL = HEIGHT = WIDTH = 1, PADDING = 0.
// The last line says "equal" or "differ".
module layer_tb #(
    parameter IMAGES = 1,               // in the files
    parameter SIMULATED = 1,            // of them, from the first
    parameter CHANNELS = 3, parameter HEIGHT = 32, parameter WIDTH = 32,
    parameter OUT_CHANNELS = 32, parameter OUT_HEIGHT = 32, parameter OUT_WIDTH = 32,
    parameter KERNEL = 3, parameter STRIDE = 1, parameter PADDING = 1,
    parameter INPUT_ZERO_POINT = 128, parameter OUTPUT_ZERO_POINT = 128,
    parameter OUTPUT_MAX = 255, parameter RELU = 1, parameter HALF_EVEN = 0,
    parameter CODE_BITS = 8,            // of a weight: 8, one a word; 2 or 4, packed in 32 bits
    parameter POWERS = 0,               // 1: packed weights are 0 or +-2^k; 2: +-2^k alone
    parameter ACC_BITS = 32,            // of a sum, or of a tile's
    parameter TILES = 0,                // in a row of +tiles=FILE; 0: each output is one sum
    parameter SHIFT = 0,                // of every channel, unless +shift=FILE is given
    parameter INT32 = 0                 // 1: the output is the accumulator after ReLU
);
    localparam FAN_IN = CHANNELS * KERNEL * KERNEL;
    localparam LANES = CODE_BITS == 8 ? 1 : 32 / CODE_BITS;
    localparam ROW = (FAN_IN + LANES - 1) / LANES;  // words of an output channel
    localparam INPUTS = CHANNELS * HEIGHT * WIDTH;
    localparam OUTPUTS = OUT_CHANNELS * OUT_HEIGHT * OUT_WIDTH;

    reg [CODE_BITS * LANES - 1:0] weight [0:OUT_CHANNELS * ROW - 1];  // OIHW
    reg signed [31:0] bias   [0:OUT_CHANNELS - 1];
    reg        [7:0]  shift  [0:OUT_CHANNELS - 1];
    reg        [7:0]  codes  [0:IMAGES * INPUTS - 1];        // image by image, CHW
    reg        [31:0] golden [0:IMAGES * OUTPUTS - 1];       // likewise
    reg        [31:0] tile_end [0:OUT_CHANNELS * (TILES ? TILES : 1) - 1];

    reg  signed [31:0] accumulator;
    reg  signed [ACC_BITS - 1:0] partial;    // no wider than the layer says
    reg         [4:0]  amount;
    wire        [7:0]  code;
    requantize #(
        .RELU(RELU), .HALF_EVEN(HALF_EVEN),
        .OUTPUT_ZERO_POINT(OUTPUT_ZERO_POINT), .OUTPUT_MAX(OUTPUT_MAX)
    ) unit (.accumulator(accumulator), .shift(amount), .code(code));

    reg  [CODE_BITS * LANES - 1:0] word;
    reg  [9 * LANES - 1:0] inputs;           // of one word, signed
    wire signed [31:0] sum;
    generate
        if (CODE_BITS == 8) assign sum = $signed(word) * $signed(inputs);
        else if (POWERS) shift_dot #(.CODE_BITS(CODE_BITS), .NONZERO(POWERS == 2))
            dot (word, inputs, sum);
        else packed_dot #(.CODE_BITS(CODE_BITS)) dot (word, inputs, sum);
    endgenerate

    reg [8 * 256 - 1:0] file;
    integer n, o, row, column, c, i, j, y, x, k, t, position, wrong;
    reg [8:0] centered;
    reg ends;                                // whether a tile ends here
    reg        [31:0] result;

    task load;
        begin
            inputs = 0;  // those that meet a word's filling stay
            if (!$value$plusargs("weight=%s", file)) $display("+weight=FILE is missing");
            $readmemh(file, weight);
            if (!$value$plusargs("bias=%s", file)) $display("+bias=FILE is missing");
            $readmemh(file, bias);
            if (!$value$plusargs("input=%s", file)) $display("+input=FILE is missing");
            $readmemh(file, codes);
            if (!$value$plusargs("golden=%s", file)) $display("+golden=FILE is missing");
            $readmemh(file, golden);
            for (o = 0; o < OUT_CHANNELS; o = o + 1) shift[o] = SHIFT;
            if ($value$plusargs("shift=%s", file)) $readmemh(file, shift);
            if ($value$plusargs("tiles=%s", file)) $readmemh(file, tile_end);
        end
    endtask

    // Multiply and accumulate all that output (o, row, column) of image n sees.
    task accumulate;
        begin
            accumulator = TILES ? bias[o] : 0;
            partial = TILES ? 0 : bias[o];
            k = 0;
            t = 0;
            for (c = 0; c < CHANNELS; c = c + 1)
                for (i = 0; i < KERNEL; i = i + 1)
                    for (j = 0; j < KERNEL; j = j + 1) begin
                        y = row * STRIDE + i - PADDING;
                        x = column * STRIDE + j - PADDING;
                        centered = INPUT_ZERO_POINT;  // what a padded position holds
                        if (y >= 0 && y < HEIGHT && x >= 0 && x < WIDTH)
                            centered = {1'b0, codes[n * INPUTS + (c * HEIGHT + y) * WIDTH + x]};
                        inputs[9 * (k % LANES) +: 9] = centered - INPUT_ZERO_POINT;
                        k = k + 1;
                        ends = k == FAN_IN || (TILES && k == tile_end[o * TILES + t]);
                        if (k % LANES == 0 || ends) begin
                            word = weight[o * ROW + (k - 1) / LANES];
                            #1;  // let the combinational unit settle
                            partial = partial + sum;
                            if (TILES) inputs = 0;  // codes of a word may be of two tiles
                        end
                        if (ends) begin
                            accumulator = accumulator + partial;
                            partial = 0;
                            t = t + 1;
                        end
                    end
        end
    endtask

    initial begin
        load;
        wrong = 0;
        position = 0;
        for (n = 0; n < SIMULATED; n = n + 1)
            for (o = 0; o < OUT_CHANNELS; o = o + 1)
                for (row = 0; row < OUT_HEIGHT; row = row + 1)
                    for (column = 0; column < OUT_WIDTH; column = column + 1) begin
                        accumulate;
                        amount = shift[o][4:0];
                        #1;  // let the combinational unit settle
                        result = {24'd0, code};
                        if (INT32) result = (RELU && accumulator[31]) ? 32'd0 : accumulator;
                        if (result !== golden[position]) wrong = wrong + 1;
                        position = position + 1;
                    end
        if (wrong == 0) $display("%0d words equal", position);
        else $display("%0d of %0d words differ", wrong, position);
        $finish;
    end
endmodule
