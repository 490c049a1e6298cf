/* Names for IDs. An ID without a name is no error: ledgers outlive registries. */
#include "station/cli/names.h"

#include "base/buf.h"
#include "base/err.h"
#include "jobs/jobs_client.h"
#include "station/cli/cli.h"

/* method's answer is {"what": {"name"}}. */
static const char *find(
        struct names *n, struct cli *c, const char *method, const char *what, const char *id)
{
    const char *name = json_string_value(json_object_get(n->known, id));
    struct buf answer = BUF_INIT;
    struct err ignored = {0};
    json_t *o = NULL;
    if (name || !*id)
        return name ? name : "";
    if (jobs_call(c->bus, method, &id, 1, &answer, &ignored) == 0)
        (void)cli_parse(&answer, &o, &ignored);
    name = json_text(json_object_get(o, what), "name");
    if (!n->known)
        n->known = json_object();
    (void)json_object_set_new(n->known, id, json_string(*name ? name : id));
    json_decref(o);
    buf_done(&answer);
    return json_text(n->known, id);
}

const char *names_device(struct names *n, struct cli *c, const char *id)
{
    return find(n, c, "DeviceShow", "device", id);
}

const char *names_job(struct names *n, struct cli *c, const char *id)
{
    return find(n, c, "JobShow", "job", id);
}

void names_done(struct names *n)
{
    json_decref(n->known);
    n->known = NULL;
}
