/* What is fed: records of FEED_IN bytes become records of FEED_OUT bytes, both of 32-bit words. */
#ifndef FEED_H
#define FEED_H

void feed_begin(void);
void feed(const void *in, void *out);
#endif
