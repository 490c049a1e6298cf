/* How a profile's JSON is taken apart: each function reads one kind of member, complains of what is wrong with it, and goes on,
 * so that a person learns all faults at once. Paths are as in "subject[2].value". */
#pragma once
#include <jansson.h>
#include <stdbool.h>
#include "base/buf.h"
#include "hsm/profile/template.h"
#include "hsm/profile/value.h"

struct profile;

#define READER_PATH_MAX 64

struct reader {
    struct profile *p; /* what is read */
    struct buf faults; /* a line each */
    unsigned count;
};

void reader_complain(struct reader *r, const char *where, const char *fmt, ...)
        __attribute__((format(printf, 3, 4)));
/* "subject[2]", "value" -> "subject[2].value" */
void reader_path(char out[READER_PATH_MAX], const char *where, const char *name);
/* Unknown and missing members of an object. kind: where in profile_members.h, "subject[]"; where: this very one, "subject[2]".
 * False when it is no object. */
bool reader_members(struct reader *r, json_t *o, const char *kind, const char *where);
/* NULL when it is absent, which reader_members() judges, or no text, which is complained of. */
const char *reader_text(struct reader *r, json_t *o, const char *where, const char *name);
bool reader_flag(struct reader *r, json_t *o, const char *where, const char *name);
/* 0 when it is absent. */
int reader_number(
        struct reader *r, json_t *o, const char *where, const char *name, int min, int max);
/* The number of its entries; 0 when it is absent or no such list, which is complained of. */
size_t reader_list(struct reader *r, json_t *list, const char *where, size_t min, size_t max);
/* A text that stands there once; "" after a complaint. */
const char *reader_entry(struct reader *r, json_t *list, const char *where, size_t i);
/* A template; one without columns must have the form already. "" was complained of before. */
void reader_template(struct reader *r, const char *where, const char *text,
        enum template_scope scope, enum value_form form, size_t max);
