/* The queue before the workers. Looks at nothing in a request but its place. */
#include "hsm/workers/request_queue.h"
#include <stdlib.h>
#include "hsm/workers/worker.h"

void request_queue_init(struct request_queue *q)
{
    *q = (struct request_queue){.tail = &q->head};
}

void request_queue_push(struct request_queue *q, struct worker_request *r)
{
    *q->tail = r;
    q->tail = &r->next;
    q->waiting++;
}

void request_queue_push_back(struct request_queue *q, struct worker_request *r)
{
    r->next = q->head;
    q->head = r;
    if (!r->next)
        q->tail = &r->next;
    q->waiting++;
}

struct worker_request *request_queue_pop(struct request_queue *q)
{
    struct worker_request *r = q->head;

    q->head = r->next;
    if (!q->head)
        q->tail = &q->head;
    r->next = NULL;
    q->waiting--;
    return r;
}

void request_refuse(struct worker_request *r, const struct err *why)
{
    r->done(r->ctx, NULL, 0, why);
    free(r);
}
