/* What is fed: records of FEED_IN bytes become records of FEED_OUT bytes, both aligned to 4. */
#ifndef FEED_H
#define FEED_H

void feed_begin(void);
void feed(const void *in, void *out);
#endif
