/* Just enough of D-Bus to put load on the signer's door: an Issue call written beforehand, its answer read. A load program
 * runs on the same cores as what it measures; with sd-bus it took a third of them. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/buf.h"

struct signer_issue;

#define RAW_ANSWER_MAX 16384

struct raw_peer {
    int fd;
    size_t len;
    uint8_t answer[RAW_ANSWER_MAX];
};
/* Connects and authenticates, or ends the program. */
void raw_connect(struct raw_peer *p, const char *path);
/* org.keyline.Signer1.Issue as bytes for the socket. */
void raw_issue_call(const struct signer_issue *q, struct buf *out);
void raw_send(struct raw_peer *p, const struct buf *call);
/* Reads what is there. True when an answer is whole; the next call begins the next. Ends the program unless it is a fresh
 * certificate. */
bool raw_receive(struct raw_peer *p);
