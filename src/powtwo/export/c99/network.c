#include "network.h"

enum kind { CONV2D, LINEAR, ADD, MAXPOOL2D, AVGPOOL2D };

struct layer {
    int32_t index; /* in the integer file; flattening moves nothing, and is not in the table */
    enum kind kind;
    int32_t channels, height, width;             /* of the input */
    int32_t out_channels, out_height, out_width; /* of the output */
    int32_t kernel_height, kernel_width, stride_down, stride_right, top, left; /* padding */
    int32_t groups;                              /* an output sees the channels of its own */
    const int8_t *weight;                        /* OIHW or OI${"; null: they are packed" if packings} */
    const int32_t *bias;                         /* ${"2^(shift-1) is in it already" if folded else "one for each output channel"} */
    const uint8_t *shift;                        /* null: the outputs are the logits, int32 */
    int32_t shift_step;                          /* 1: a shift for each channel; 0: one for all */
    int32_t input_zero_point, output_zero_point, output_max, relu;
    int32_t input, output;                       /* offsets in the arena; input -1: the image */
    int32_t gain, other, other_zero_point, other_gain; /* of an addition's two inputs */
/*% if packings %*/
    const uint32_t *packed;       /* codes of code_bits; each output channel begins a word */
    const int8_t *values;         /* the weight that each code is */
    int32_t code_bits, row_words; /* words of an output channel */
/*% endif %*/
/*% if narrow %*/
    int32_t narrow;                  /* 1: its sums, or those of its tiles, fit 16 bits */
    const ${tile_type} *tile_ends; /* the first tap after each tile; null: one sum */
    int32_t tiles;                   /* in a row of tile_ends; an output channel may have fewer */
/*% endif %*/
};

enum { LAYERS = ${layers | length} }; /* the tables stand below the code that reads them */

static uint8_t arena[${PREFIX}_ARENA_BYTES];
static int16_t patch[${PREFIX}_PATCH_BYTES / 2];

/* Returns a / 2^n, rounded down. What a >> n does to a negative a, C99 leaves to the compiler. ~a
 * is not negative, and ~(~a >> n) is the floor on every one. Those that have an arithmetic shift
 * make this one instruction. */
static int32_t floor_shift(int32_t a, int32_t n)
{
    return a < 0 ? ~(~a >> n) : a >> n;
}

/*% if rounding == "half_up" %*/
/* Rounds to nearest, halves up: the biases already hold the 2^(n-1) that this takes. */
/*% elif rounding == "half_even" %*/
/* Rounds to nearest, halves to even: just under half is added to an even result, half to an odd
 * one. No sum of this network leaves 32 bits by it. */
/*% elif rounding != "floor" %*/
#error "no C rounds ${rounding}"
/*% endif %*/
static int32_t rounding_shift(int32_t a, int32_t n)
{
/*% if rounding == "half_even" %*/
    if (n > 0) {
        a += ((int32_t)1 << (n - 1)) - 1 + (floor_shift(a, n) & 1);
    }
/*% endif %*/
    return floor_shift(a, n);
}

/* Returns the code of an accumulator of output channel o. */
static uint8_t requantize(const struct layer *l, int32_t o, int32_t a)
{
    /* Clamped before the zero point is added: a sum of 2^31 - 1 with no shift has no room. */
    const int32_t low = l->relu ? 0 : -l->output_zero_point;
    const int32_t high = l->output_max - l->output_zero_point;
    a = rounding_shift(a, l->shift[o * l->shift_step]);
    if (a < low) {
        a = low;
    }
    if (a > high) {
        a = high;
    }
    return (uint8_t)(a + l->output_zero_point);
}

/* Returns the code at a place of channel c, less the zero point; 0 where it is padded. */
static int32_t centered(const struct layer *l, const uint8_t *x, int32_t c, int32_t i, int32_t j)
{
    if (i < 0 || i >= l->height || j < 0 || j >= l->width) {
        return 0;
    }
    return x[(c * l->height + i) * l->width + j] - l->input_zero_point;
}

/* Copies what one output pixel sees of some channels, in the order of the weights. */
static void gather(const struct layer *l, const uint8_t *x, int32_t first, int32_t channels,
                   int32_t p)
{
    const int32_t top = p / l->out_width * l->stride_down - l->top;
    const int32_t left = p % l->out_width * l->stride_right - l->left;
    int32_t k = 0;
    for (int32_t c = first; c < first + channels; c++) {
        for (int32_t i = top; i < top + l->kernel_height; i++) {
            for (int32_t j = left; j < left + l->kernel_width; j++) {
                patch[k++] = (int16_t)centered(l, x, c, i, j);
            }
        }
    }
}

/*% if packings %*/
/* Returns the products of the packed weights of output channel o with the patch. The first code of
 * a word is in its lowest bits; codes of 0 fill the last word of a channel. */
static int32_t packed_sum(const struct layer *l, int32_t o)
{
    const uint32_t *word = l->packed + o * l->row_words;
    const int16_t *input = patch;
    int32_t a = 0;
    for (int32_t w = 0; w < l->row_words; w++) {
        for (int32_t bit = 0; bit < 32; bit += ${code_bits}) {
            const uint32_t code = word[w] >> bit & (((uint32_t)1 << ${code_bits}) - 1);
            a += (int32_t)l->values[code] * *input++;
        }
    }
    return a;
}

/*% endif %*/
/*% if narrow %*/
/* Returns weight k of output channel o. */
static int32_t weight_at(const struct layer *l, int32_t o, int32_t count, int32_t k)
{
/*% if packings %*/
    if (!l->weight) {
        const int32_t bit = k * ${code_bits};
        const uint32_t word = l->packed[o * l->row_words + bit / 32];
        return l->values[word >> bit % 32 & (((uint32_t)1 << ${code_bits}) - 1)];
    }
/*% endif %*/
    return l->weight[o * count + k];
}

/* Returns what accumulate does, added in 16 bits: no partial sum of a tile needs more, for any
 * input. Each tile is then added to 32 bits; where there are none, the bias is in the one sum. */
static int32_t narrow_sum(const struct layer *l, int32_t o, int32_t count)
{
    const ${tile_type} *end = l->tile_ends ? l->tile_ends + o * l->tiles : 0;
    int32_t sum = end ? l->bias[o] : 0;
    int16_t a = (int16_t)(end ? 0 : l->bias[o]);
    int32_t k = 0;
    while (k < count) {
        const int32_t stop = end ? (int32_t)*end++ : count;
        for (; k < stop; k++) {
            a = (int16_t)(a + weight_at(l, o, count, k) * patch[k]);
        }
        sum += a;
        a = 0;
    }
    return sum;
}

/*% endif %*/
/* Returns the bias of output channel o plus the products of its weights with the patch. */
static int32_t accumulate(const struct layer *l, int32_t o, int32_t count)
{
/*% if narrow %*/
    if (l->narrow) {
        return narrow_sum(l, o, count);
    }
/*% endif %*/
/*% if packings %*/
    if (!l->weight) {
        return packed_sum(l, o) + l->bias[o];
    }
/*% endif %*/
    const int8_t *w = l->weight + o * count;
    int32_t a = 0;
    for (int32_t k = 0; k < count; k++) {
        a += (int32_t)w[k] * patch[k];
    }
    return a + l->bias[o];
}

/* Gives what accumulator a of output channel o becomes, at place i of the output. */
static void give(const struct layer *l, int32_t o, int32_t a, int32_t i, uint8_t *y,
                 int32_t *logits)
{
    if (l->shift) {
        y[i] = requantize(l, o, a);
    } else {
        logits[i] = l->relu && a < 0 ? 0 : a;
    }
}

static void conv2d(const struct layer *l, const uint8_t *x, uint8_t *y, int32_t *logits)
{
    const int32_t channels = l->channels / l->groups, group = l->out_channels / l->groups;
    const int32_t count = channels * l->kernel_height * l->kernel_width;
    const int32_t outputs = l->out_height * l->out_width;
    for (int32_t p = 0; p < outputs; p++) {
        for (int32_t g = 0; g < l->groups; g++) {
            gather(l, x, g * channels, channels, p);
            for (int32_t o = g * group; o < (g + 1) * group; o++) {
                give(l, o, accumulate(l, o, count), o * outputs + p, y, logits);
            }
        }
    }
}

/*% if "avgpool2d" in kinds %*/
static void avgpool2d(const struct layer *l, const uint8_t *x, uint8_t *y, int32_t *logits)
{
    const int32_t outputs = l->out_height * l->out_width;
    for (int32_t i = 0; i < l->out_channels * outputs; i++) {
        const int32_t top = i % outputs / l->out_width * l->stride_down - l->top;
        const int32_t left = i % outputs % l->out_width * l->stride_right - l->left;
        int32_t a = l->bias[0];
        for (int32_t k = 0; k < l->kernel_height * l->kernel_width; k++) {
            a += centered(l, x, i / outputs, top + k / l->kernel_width, left + k % l->kernel_width);
        }
        give(l, 0, a, i, y, logits);
    }
}

/*% endif %*/
/*% if "add" in kinds %*/
static void add(const struct layer *l, const uint8_t *x, const uint8_t *other, uint8_t *y,
                int32_t *logits)
{
    for (int32_t i = 0; i < l->channels * l->height * l->width; i++) {
        const int32_t a = (x[i] - l->input_zero_point) * l->gain
            + (other[i] - l->other_zero_point) * l->other_gain + l->bias[0];
        give(l, 0, a, i, y, logits);
    }
}

/*% endif %*/
/* A padded position is never the largest: it is left out. */
static void maxpool2d(const struct layer *l, const uint8_t *x, uint8_t *y)
{
    for (int32_t c = 0; c < l->channels; c++) {
        for (int32_t row = 0; row < l->out_height; row++) {
            for (int32_t column = 0; column < l->out_width; column++) {
                uint8_t largest = 0;
                for (int32_t k = 0; k < l->kernel_height * l->kernel_width; k++) {
                    const int32_t i = row * l->stride_down - l->top + k / l->kernel_width;
                    const int32_t j = column * l->stride_right - l->left + k % l->kernel_width;
                    if (i >= 0 && i < l->height && j >= 0 && j < l->width) {
                        const uint8_t code = x[(c * l->height + i) * l->width + j];
                        largest = code > largest ? code : largest;
                    }
                }
                *y++ = largest;
            }
        }
    }
}

/* Runs the layers on the codes of an image. */
static void run(const struct layer *layers, const uint8_t *image, int32_t *logits)
{
    for (int32_t i = 0; i < LAYERS; i++) {
        const struct layer *l = &layers[i];
        const uint8_t *x = l->input < 0 ? image : arena + l->input;
        uint8_t *y = arena + l->output;
        switch (l->kind) {
        case CONV2D:
        case LINEAR: /* a convolution of one pixel: its features are channels, its kernel is 1 */
            conv2d(l, x, y, logits);
            break;
        case ADD:
/*% if "add" in kinds %*/
            add(l, x, l->other < 0 ? image : arena + l->other, y, logits);
/*% endif %*/
            break;
        case MAXPOOL2D:
            maxpool2d(l, x, y);
            break;
        case AVGPOOL2D:
/*% if "avgpool2d" in kinds %*/
            avgpool2d(l, x, y, logits);
/*% endif %*/
            break;
        }
#ifdef ${PREFIX}_TRACE
        if (l->shift || l->kind == MAXPOOL2D) {
            ${prefix}_trace(l->index, y, l->out_channels * l->out_height * l->out_width);
        }
#endif
    }
/*% if ends_in_codes %*/
    for (int32_t i = 0; i < ${PREFIX}_LOGITS; i++) {
        logits[i] = arena[layers[LAYERS - 1].output + i];
    }
/*% endif %*/
}

/*% if table is not none %*/
enum { INPUT_CHANNELS = ${table | length} };
static const uint8_t input_table[INPUT_CHANNELS][256] = { /* the code of each pixel */
/*% for row in table %*/
    {
${numbers(row, 8)}
    },
/*% endfor %*/
};

/* Replaces each pixel by its code, and returns the codes. */
static const uint8_t *encode(const uint8_t *pixels)
{
    uint8_t *codes = arena + ${raw};
    const int32_t area = ${PREFIX}_PIXELS / INPUT_CHANNELS;
    for (int32_t i = 0; i < ${PREFIX}_PIXELS; i++) {
        codes[i] = input_table[i / area][pixels[i]];
    }
    return codes;
}

/*% endif %*/
/*% for type, name, values in arrays %*/
static const ${type} ${name}[${values.size}] = {
${numbers(values, 4)}
};

/*% endfor %*/
static const struct layer layers[LAYERS] = {
/*% for step in layers %*/
/*% set layer, output, i = step.layer, step.layer.output, step.index %*/
/*% set packing = packings.get(i) %*/
    {
        ${i}, ${layer.kind | upper},
        ${chw(step.input_shape) | join(", ")}, /* channels, height, width */
        ${chw(step.output_shape) | join(", ")}, /* out_channels, out_height, out_width */
        ${pair(layer.kernel or 1) | join(", ")}, /* kernel_height, kernel_width */
        ${pair(layer.stride) | join(", ")}, ${four(layer.padding)[:2] | join(", ")}, /* strides, top, left */
        ${layer.groups}, /* groups */
/*% if layer.accumulates %*/
        ${"weight_%d" % i if layer.has_weights and not packing else 0}, bias_${i}, ${"shift_%d" % i if output else 0},
        ${(step.shifts | length > 1) | int}, /* shift_step */
        ${layer.input.zero_point}, /* input_zero_point */
        ${output.zero_point if output else 0}, /* output_zero_point */
        ${layer.largest_code if output else 0}, /* output_max */
        ${layer.relu | int}, /* relu */
/*% else %*/
        0, 0, 0, 0, 0, 0, 0, 0, /* pooling has none of these */
/*% endif %*/
        ${place(step.sources[0])}, ${offsets[i]}, /* input, output */
/*% if layer.second %*/
        ${layer.gains[0]}, ${place(step.sources[1])}, ${layer.second.zero_point}, ${layer.gains[1]}, /* gain, other, other_zero_point, other_gain */
/*% else %*/
        0, 0, 0, 0, /* no addition */
/*% endif %*/
/*% if packing %*/
        weight_${i}, ${values_of(packing)}, /* packed, values */
        ${packing.code_bits}, ${packing.row_words}, /* code_bits, row_words */
/*% elif packings %*/
        0, 0, 0, 0, /* its weights are not packed */
/*% endif %*/
/*% if narrow %*/
/*% set ends = narrow.get(i) %*/
        ${(i in narrow) | int}, ${"tile_ends_%d" % i if ends is not none and i in narrow else 0}, ${ends.shape[1] if ends is not none and i in narrow else 0}, /* narrow, tile_ends, tiles */
/*% endif %*/
    },
/*% endfor %*/
};

void ${prefix}_run(
    const uint8_t pixels[${PREFIX}_PIXELS], int32_t logits[${PREFIX}_LOGITS])
{
    run(layers, ${"pixels" if table is none else "encode(pixels)"}, logits);
}

int32_t ${prefix}_class(const int32_t logits[${PREFIX}_LOGITS])
{
    int32_t best = 0;
    for (int32_t i = 1; i < ${PREFIX}_LOGITS; i++) {
        best = logits[i] > logits[best] ? i : best;
    }
    return best;
}

const char *const ${prefix}_class_names[${PREFIX}_CLASSES] = {
/*% for name in class_names %*/
    ${name},
/*% endfor %*/
};
