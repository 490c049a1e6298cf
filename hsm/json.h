/* What the signer says and signs as JSON, beside jansson. */
#pragma once
#include <jansson.h>

struct buf;
struct err;

/* Appends the compact text, members in their order. Takes o, which is NULL when there was no memory for it. */
int json_append(json_t *o, struct buf *out, struct err *e);
