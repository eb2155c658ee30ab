/* feed.c for a computer with an operating system. */
#include "feed.h"

#include <stdint.h>
#include <stdio.h>

int main(void) {
    static uint32_t in[(FEED_IN + 3) / 4], out[(FEED_OUT + 3) / 4];
    FILE *from = fopen("inputs", "rb"), *to = fopen("outputs", "wb");
    if (!from || !to)
        return 2;
    feed_begin();
    while (fread(in, FEED_IN, 1, from) == 1) {
        feed(in, out);
        if (fwrite(out, FEED_OUT, 1, to) != 1)
            return 3;
    }
    return fclose(to) ? 3 : 0;
}
