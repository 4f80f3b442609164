/* For the desk, not for the device: reads images of ${PREFIX}_PIXELS bytes from standard input and
 * prints a line of logits for each. With -D${PREFIX}_TRACE also a line "index: codes" a layer. */
#include <inttypes.h>
#include <stdio.h>

#include "network.h"

#ifdef ${PREFIX}_TRACE
void ${prefix}_trace(int32_t layer, const uint8_t *codes, int32_t count)
{
    printf("%" PRId32 ":", layer);
    for (int32_t i = 0; i < count; i++) {
        printf(" %" PRIu8, codes[i]);
    }
    printf("\n");
}
#endif

int main(void)
{
    static uint8_t pixels[${PREFIX}_PIXELS];
    static int32_t logits[${PREFIX}_LOGITS];
    size_t size;
    while ((size = fread(pixels, 1, sizeof pixels, stdin)) == sizeof pixels) {
        ${prefix}_run(pixels, logits);
        for (int32_t i = 0; i < ${PREFIX}_LOGITS; i++) {
            printf("%" PRId32 "%c", logits[i], i + 1 < ${PREFIX}_LOGITS ? ' ' : '\n');
        }
    }
    if (size > 0) {
        fprintf(stderr, "the last image is cut off: %d bytes are needed\n", ${PREFIX}_PIXELS);
    }
    return size > 0;
}
