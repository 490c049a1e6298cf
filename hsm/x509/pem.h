/* The textual form of what stands beside: certificates, requests, CRLs (RFC 7468). */
#pragma once
#include <stddef.h>
#include <stdint.h>
#include <openssl/pem.h>

struct buf;
struct err;

/* Appends der under this label, one of OpenSSL's PEM_STRING_...; the bytes are taken as they are. */
int pem_format(const char *label, const uint8_t *der, size_t len, struct buf *out, struct err *e);
