/* Feeds the file `inputs` of the host, record by record, and writes the file `outputs`; then the file `stack`, the most
 * bytes of stack that a record took. FEED_REPEAT: how often each record is fed, to count the instructions of one more. */
#include "feed.h"

#include "board.h"

#ifndef FEED_REPEAT
#define FEED_REPEAT 1
#endif

static uint32_t in[(FEED_IN + 3) / 4], out[(FEED_OUT + 3) / 4];

int main(void) {
    int from = board_open("inputs", 0), to = board_open("outputs", 1), stack = board_open("stack", 1);
    uint32_t most = 0;
    if (from < 0 || to < 0 || stack < 0)
        return 2;
    feed_begin();
    while (board_read(from, in, FEED_IN) == FEED_IN) {
        uint32_t used;
        board_paint_stack();
        for (int i = 0; i < FEED_REPEAT; i++)
            feed(in, out);
        used = board_stack_used();
        most = used > most ? used : most;
        board_write(to, out, FEED_OUT);
    }
    board_write(stack, &most, sizeof most);
    return 0;
}
