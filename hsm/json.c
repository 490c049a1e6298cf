/* JSON as text. Promises that an object that could not be built ends as an error, not as less. */
#include "hsm/json.h"
#include <stdlib.h>
#include <string.h>
#include "base/buf.h"
#include "base/err.h"

int json_append(json_t *o, struct buf *out, struct err *e)
{
    char *text = o ? json_dumps(o, JSON_COMPACT) : NULL;
    int r = text ? buf_append(out, text, strlen(text), e)
                 : err_set(e, ERR_NOMEM, "no memory for a JSON text");

    free(text);
    json_decref(o);
    return r;
}
