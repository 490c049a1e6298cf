/* Profiles applied. Promises that every value is checked for the form of its place, that none comes
 * from anywhere but the authorised row and the profile, and that a column the approver saw in the
 * subject is not dropped in silence. */
#include "hsm/profile/profile_apply.h"
#include <string.h>
#include <time.h>
#include "base/err.h"
#include "base/row.h"
#include "base/text.h"
#include "hsm/x509/cert_extensions.h"
#include "hsm/profile/profile.h"
#include "hsm/profile/profile_words.h"
#include "hsm/profile/template.h"

#define DAY_S 86400

/* ---- values */

struct filling {
    const struct template_source *source;
    struct template_text out;
    const char *what; /* for messages: "serialNumber" */
    enum value_form form;
    size_t max;
};

/* 1: *ret is a value of the form; 0: nothing, the item is left out; -1. */
static int fill(
        struct filling *f, const struct profile_value *v, struct cert_bytes *ret, struct err *e)
{
    for (size_t i = 0; i < v->count; i++) {
        struct template_text before = f->out;
        const char *text, *fault;
        size_t len;
        int r = template_fill(v->templates[i], f->source, &f->out, &text, &len, e);

        if (r < 0)
            return -1;
        if (r == 0)
            continue;
        fault = value_check(f->form, text, len, f->max);
        if (!fault) {
            *ret = (struct cert_bytes){(const uint8_t *)text, len};
            return 1;
        }
        if (!template_may_misfit(v->templates[i]))
            return err_set(e, ERR_PROFILE, "%s from \"%.60s\": %s (at most %zu characters)",
                    f->what, v->templates[i], fault, f->max);
        f->out = before;
    }
    return 0;
}

/* ---- the subject */

static bool is_used(const struct profile *p, const struct row_field *f)
{
    for (size_t i = 0; i < p->subject_count; i++)
        for (size_t t = 0; t < p->subject[i].value.count; t++)
            if (template_has(p->subject[i].value.templates[t], f->key, f->key_len))
                return true;
    for (size_t i = 0; i < p->alt_name_count; i++)
        for (size_t t = 0; t < p->alt_names[i].value.count; t++)
            if (template_has(p->alt_names[i].value.templates[t], f->key, f->key_len))
                return true;
    return false;
}

/* A subject column that went into no certificate would be a promise to the approver that was not
 * kept. */
static int refuse_unused(const struct profile *p, const struct row *row, struct err *e)
{
    static const char prefix[] = "subject.";

    for (size_t i = 0; i < row->count; i++) {
        const struct row_field *f = &row->fields[i];

        if (f->key_len >= sizeof prefix - 1 && memcmp(f->key, prefix, sizeof prefix - 1) == 0 &&
                !is_used(p, f))
            return err_set(e, ERR_PROFILE, "column %.*s: profile %s has no place for it",
                    (int)(f->key_len < 64 ? f->key_len : 64), f->key, p->name);
    }
    return 0;
}

static int apply_subject(const struct profile *p, struct filling *f, struct buf *out, struct err *e)
{
    struct cert_attr attrs[PROFILE_ITEMS_MAX];
    size_t count = 0;

    for (size_t i = 0; i < p->subject_count; i++) {
        const struct profile_attribute *a = &p->subject[i];
        struct cert_bytes value;
        int r;

        f->what = a->name;
        f->form = a->form;
        f->max = a->max;
        r = fill(f, &a->value, &value, e);
        if (r < 0)
            return -1;
        if (r > 0)
            attrs[count++] = (struct cert_attr){
                    a->type, a->string_tag, (const char *)value.bytes, value.len};
    }
    return cert_name(attrs, count, out, e);
}

/* ---- other names */

static void put_alt_name(
        struct der *d, const struct profile_alt_name *n, const struct cert_bytes *value)
{
    const char *text = (const char *)value->bytes;
    struct der_oid oid;
    uint8_t address[16];

    switch (n->kind) {
    case PROFILE_NAME_DNS:
        cert_general_name(d, CERT_NAME_DNS, text, value->len);
        break;
    case PROFILE_NAME_EMAIL:
        cert_general_name(d, CERT_NAME_EMAIL, text, value->len);
        break;
    case PROFILE_NAME_URI:
        cert_general_name(d, CERT_NAME_URI, text, value->len);
        break;
    case PROFILE_NAME_IP:
        cert_general_name(d, CERT_NAME_IP, address, value_address(text, value->len, address));
        break;
    case PROFILE_NAME_REGISTERED_ID:
        if (der_oid_parse(text, value->len, &oid) == 0) /* it had the form of one */
            cert_registered_id(d, &oid);
        break;
    case PROFILE_NAME_HARDWARE:
        cert_hardware_module_name(d, &n->hw_type, text, value->len);
        break;
    }
}

static int apply_alt_names(
        const struct profile *p, struct filling *f, struct buf *out, struct err *e)
{
    uint8_t space[CERT_BYTES_MAX];
    const uint8_t *bytes;
    size_t len;
    struct der d;

    der_init(&d, space, sizeof space);
    for (size_t i = p->alt_name_count; i-- > 0;) { /* DER is written from its end */
        const struct profile_alt_name *n = &p->alt_names[i];
        struct cert_bytes value;
        int r;

        f->what = word_alt_name_type(n->kind);
        f->form = word_alt_name_form(n->kind);
        f->max = PROFILE_ALT_NAME_MAX;
        r = fill(f, &n->value, &value, e);
        if (r < 0)
            return -1;
        if (r > 0)
            put_alt_name(&d, n, &value);
    }
    return der_done(&d, &bytes, &len, e) < 0 ? -1 : buf_append(out, bytes, len, e);
}

/* ---- addresses, times */

static int apply_urls(
        const struct profile_urls *u, struct filling *f, struct cert_urls *ret, struct err *e)
{
    ret->count = u->count;
    for (size_t i = 0; i < u->count; i++) {
        const struct profile_value v = {{u->templates[i]}, 1};

        f->what = "an address";
        f->form = VALUE_URI;
        f->max = PROFILE_ALT_NAME_MAX;
        if (fill(f, &v, &ret->urls[i], e) < 0)
            return -1;
    }
    return 0;
}

/* Both ends belong to the validity (RFC 5280, 4.1.2.5), so the last second is one before. */
static int64_t end_of(const struct profile *p, int64_t now_s)
{
    time_t when = (time_t)now_s;
    struct tm tm;

    if (p->days)
        return now_s + (int64_t)p->days * DAY_S - 1;
    if (!p->years || !gmtime_r(&when, &tm))
        return CERT_NEVER;
    tm.tm_year += p->years; /* 29 February becomes 1 March */
    return timegm(&tm) - 1;
}

static void apply_validity(
        const struct profile *p, const struct profile_case *c, struct cert_fields *ret)
{
    ret->not_before = c->now_s - (int64_t)p->backdate_minutes * 60;
    if (ret->not_before < c->ca_not_before)
        ret->not_before = c->ca_not_before;
    ret->not_after = end_of(p, c->now_s);
    if (!p->beyond_ca && ret->not_after > c->ca_not_after)
        ret->not_after = c->ca_not_after;
}

/* ---- all */

int profile_apply(const struct profile *p, const struct profile_case *c,
        struct profile_space *space, struct cert_fields *ret, struct err *e)
{
    char ca_key_id[2 * 64 + 1] = "";
    const struct template_source device = {.row = c->row, .device_id = c->device_id},
                                 ca = {.ca_key_id = ca_key_id};
    struct filling f = {.source = &device, .out = {space->text, sizeof space->text}};

    if (c->ca_key_id.len <= 64)
        hex_format(c->ca_key_id.bytes, c->ca_key_id.len, ca_key_id);
    buf_reset(&space->subject);
    buf_reset(&space->alt_names);
    if (refuse_unused(p, c->row, e) < 0 || apply_subject(p, &f, &space->subject, e) < 0 ||
            apply_alt_names(p, &f, &space->alt_names, e) < 0)
        return -1;
    f.source = &ca;
    if (apply_urls(&p->crl_urls, &f, &ret->crl_urls, e) < 0 ||
            apply_urls(&p->ca_issuers_urls, &f, &ret->ca_issuers_urls, e) < 0 ||
            apply_urls(&p->ocsp_urls, &f, &ret->ocsp_urls, e) < 0)
        return -1;
    ret->subject = (struct cert_bytes){space->subject.data, space->subject.len};
    ret->alt_names = (struct cert_bytes){space->alt_names.data, space->alt_names.len};
    if (ret->subject.len == 2 && !ret->alt_names.len)
        return err_set(e, ERR_PROFILE, "the row gives profile %s no name for the device", p->name);
    apply_validity(p, c, ret);
    ret->key_usage = p->key_usage[c->key];
    ret->ext_key_usage = p->ext_key_usage;
    ret->ext_key_usage_count = p->ext_key_usage_count;
    ret->policies = p->policies;
    ret->policy_count = p->policy_count;
    ret->path_len = p->basic_constraints ? CERT_NO_CA : CERT_END_ENTITY;
    ret->critical = p->critical;
    return 0;
}

int profile_fits(
        const struct profile *p, const struct row *row, struct profile_space *space, struct err *e)
{
    static const uint8_t any_ca[CERT_KEY_ID_BYTES];
    const struct profile_case c = {.row = row,
            .device_id = PROFILE_ANY_DEVICE,
            .key = profile_first_key(p),
            .ca_key_id = {any_ca, sizeof any_ca},
            .ca_not_after = CERT_NEVER};
    struct cert_fields fields = {0};

    return profile_apply(p, &c, space, &fields, e);
}

void profile_space_done(struct profile_space *space)
{
    buf_done(&space->subject);
    buf_done(&space->alt_names);
}
