/* The payload of an order without the JWS around it: what a fuzzer must reach and a product must never take for an order,
 * because it says nothing about who wrote it. Included by tests/fuzz alone. */
#pragma once

struct buf;
struct err;
struct order;

/* JSON text. ERR_ORDER, ERR_TICKET (a member's form). */
int order_payload_parse(const char *json, struct order *ret, struct err *e);
/* Appended. */
int order_payload_format(const struct order *o, struct buf *out, struct err *e);
