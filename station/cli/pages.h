/* Answers that come in pages, read to the end: a million devices are never in memory at once. */
#pragma once
#include <jansson.h>
#include <stdio.h>
#include "base/buf.h"
#include "base/err.h"

struct pages {
    const char *rows; /* the member with the array: "devices" */
    /* The page behind `next`, the member of that name in the page before; NULL: the first. */
    int (*fetch)(void *ctx, const json_t *next, struct buf *ret, struct err *e);
    void *ctx;
};
/* Gets each page whole. */
typedef int (*pages_fn)(void *ctx, const json_t *page, const json_t *rows, struct err *e);
int pages_each(struct pages *p, pages_fn each, void *ctx, struct err *e);
/* ctx: a struct table */
int pages_to_table(void *ctx, const json_t *page, const json_t *rows, struct err *e);
/* All pages as one object in one line: the first one's other members, every row, "next":null. */
int pages_print(struct pages *p, FILE *f, struct err *e);
