/* What job watch shows, as text: the picture for a terminal, the lines for a log. Draws what it is given. */
#pragma once
#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include "station/cli/screen.h"

struct watch_view {
    const json_t *job, *slots; /* of JobShow and SlotList; kept while the appliance is away */
    double per_hour;           /* < 0: not known yet */
    int64_t left_ms;           /* < 0: not known */
    bool over;                 /* the last picture: nothing to be waited for */
    const char *notice;        /* NULL: none; else what is wrong */
};
/* At most s->height - 1 lines, none wider than s->width. */
void watch_view_draw(const struct screen *s, const struct watch_view *v);
/* One line: time, progress, rate. */
void watch_view_line(const struct screen *s, const struct watch_view *v);
/* One line for a slot whose device has failed. */
void watch_view_failure(const struct screen *s, const json_t *slot);
