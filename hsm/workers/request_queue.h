/* Requests that no worker has yet, the oldest first. Owns them until they are popped. */
#pragma once
#include <stddef.h>

struct err;
struct worker_request;

struct request_queue {
    struct worker_request *head, **tail;
    size_t waiting;
};

void request_queue_init(struct request_queue *q);
void request_queue_push(struct request_queue *q, struct worker_request *r);
/* Before all others: it was their turn once. */
void request_queue_push_back(struct request_queue *q, struct worker_request *r);
/* There must be one. */
struct worker_request *request_queue_pop(struct request_queue *q);
/* Tells who asked, and frees it; it is in no queue. */
void request_refuse(struct worker_request *r, const struct err *why);
