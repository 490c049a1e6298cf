/* The payload of a ticket without the JWS around it: what a fuzzer must reach and a product must never take for a ticket,
 * because it says nothing about who wrote it. Included by tests/fuzz alone. */
#pragma once

struct err;
struct ticket;

/* JSON text as ticket_format() writes it. ERR_TICKET. */
int ticket_payload_parse(const char *json, struct ticket *ret, struct err *e);
