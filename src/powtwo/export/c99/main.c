/* For the desk, not for the device: reads images of NETWORK_PIXELS bytes from standard input and
 * prints a line of logits for each. With -DNETWORK_TRACE also a line "index: codes" a layer. */
#include <inttypes.h>
#include <stdio.h>

#include "network.h"

#ifdef NETWORK_TRACE
void network_trace(int32_t layer, const uint8_t *codes, int32_t count)
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
    static uint8_t pixels[NETWORK_PIXELS];
    static int32_t logits[NETWORK_LOGITS];
    size_t size;
    while ((size = fread(pixels, 1, sizeof pixels, stdin)) == sizeof pixels) {
        network_run(pixels, logits);
        for (int32_t i = 0; i < NETWORK_LOGITS; i++) {
            printf("%" PRId32 "%c", logits[i], i + 1 < NETWORK_LOGITS ? ' ' : '\n');
        }
    }
    if (size > 0) {
        fprintf(stderr, "the last image is cut off: %d bytes are needed\n", NETWORK_PIXELS);
    }
    return size > 0;
}
