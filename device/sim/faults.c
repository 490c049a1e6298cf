/* Parses fault specifications and decides who has which. It holds no state: the same question gets
 * the same answer. */
#include "faults.h"

#include <stdlib.h>
#include <string.h>

static const struct {
    const char *name;
    unsigned plugs;
    const char *help;
} faults[] = {
#define FAULT(id, name, plugs, help) {name, plugs, help},
        FAULT_LIST(FAULT)
#undef FAULT
};
static const struct {
    const char *name;
    uint8_t op;
} points[] = {
#define POINT(name, op) {name, op},
        POINT_LIST(POINT)
#undef POINT
};
#define POINT_COUNT (sizeof points / sizeof *points)
/* The last point is met only by devices that cannot make keys: the seed does not choose it. */
#define POINTS_CHOSEN (POINT_COUNT - 1)

static int find_fault(const char *name, size_t len, enum fault_id *ret)
{
    for (unsigned i = 0; i < FAULT_COUNT; i++)
        if (strlen(faults[i].name) == len && memcmp(faults[i].name, name, len) == 0) {
            *ret = (enum fault_id)i;
            return 0;
        }
    return -1;
}

static int find_point(const char *name, size_t len, uint8_t *ret)
{
    for (size_t i = 0; i < POINT_COUNT; i++)
        if (strlen(points[i].name) == len && memcmp(points[i].name, name, len) == 0) {
            *ret = points[i].op;
            return 0;
        }
    return -1;
}

/* NAME[@POINT]:SHARE%[*PLUGS]; *at is moved behind it. */
static int parse_item(const char **at, struct fault_item *ret)
{
    const char *s = *at;
    size_t len = strcspn(s, "@:");
    char *end;

    *ret = (struct fault_item){0};
    if (find_fault(s, len, &ret->id) < 0)
        return -1;
    s += len;
    if (*s == '@') {
        len = strcspn(++s, ":");
        if (find_point(s, len, &ret->op) < 0)
            return -1;
        s += len;
    }
    ret->plugs = faults[ret->id].plugs;
    if (*s++ != ':')
        return -1;
    ret->share = strtod(s, &end) / 100;
    if (end == s || *end != '%' || !(ret->share >= 0 && ret->share <= 1))
        return -1;
    s = end + 1;
    if (*s == '*') {
        unsigned long plugs = strtoul(s + 1, &end, 10);
        if (end == s + 1 || plugs > 1000)
            return -1;
        ret->plugs = (unsigned)plugs;
        s = end;
    }
    if (*s && *s != ',')
        return -1;
    *at = *s ? s + 1 : s;
    return 0;
}

int fault_parse(const char *text, struct fault_spec *ret, char *ret_error, size_t cap)
{
    ret->count = 0;
    while (*text) {
        if (ret->count == FAULT_ITEMS_MAX || parse_item(&text, &ret->items[ret->count]) < 0) {
            snprintf(ret_error, cap,
                    "not understood from '%s' on; write NAME[@POINT]:SHARE%%[*PLUGINS],...", text);
            return -1;
        }
        ret->count++;
    }
    return 0;
}

uint64_t fault_hash(uint64_t seed, const char *text)
{
    uint64_t h = seed ^ UINT64_C(0xcbf29ce484222325);

    for (; *text; text++)
        h = (h ^ (uint8_t)*text) * UINT64_C(0x100000001b3); /* FNV-1a */
    h ^= h >> 30; /* SplitMix64's finish: FNV's high bits alone are weak */
    h *= UINT64_C(0xbf58476d1ce4e5b9);
    h ^= h >> 27;
    h *= UINT64_C(0x94d049bb133111eb);
    return h ^ h >> 31;
}

void fault_plan(
        const struct fault_spec *spec, const char *hwid, unsigned plug, struct fault_plan *ret)
{
    *ret = (struct fault_plan){0};
    for (size_t i = 0; i < spec->count; i++) {
        const struct fault_item *item = &spec->items[i];
        uint64_t h = fault_hash(spec->seed + (i + 1) * UINT64_C(0x9e3779b97f4a7c15), hwid);
        if ((double)(h >> 11) * 0x1p-53 >= item->share || (item->plugs && plug > item->plugs))
            continue;
        bool chosen = item->op == 0 && item->id != FAULT_GARBAGE;
        ret->on[item->id] = true;
        ret->op[item->id] = chosen ? points[h % POINTS_CHOSEN].op : item->op;
    }
}

void fault_help(FILE *out)
{
    fputs("Faults: NAME[@POINT]:SHARE%[*PLUGINS], separated by commas. SHARE of the devices have "
          "it, for their first\n"
          "PLUGINS times in a port (0: always; default in brackets).\n",
            out);
    for (unsigned i = 0; i < FAULT_COUNT; i++)
        fprintf(out, "  %-10s [%u] %s\n", faults[i].name, faults[i].plugs, faults[i].help);
    fputs("Points:", out);
    for (size_t i = 0; i < POINT_COUNT; i++)
        fprintf(out, " %s", points[i].name);
    fputs("\nExample: --faults "
          "'garbage:2%,midframe@install:1%,wrongkey:1%,noise:10%,pull@certified:5%*2'\n",
            out);
}
