/* keyline ca show: the CA in force, those before it, and the request that waits, read from their
 * files. */
#include <dirent.h>
#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/limits.h"
#include "station/cli/ca_files.h"
#include "station/cli/certificate.h"
#include "station/cli/cli.h"
#include "station/cli/pem.h"
#include "station/cli/verbs.h"

static json_t *list_json(STACK_OF(X509) * certs)
{
    json_t *list = json_array();
    for (int i = 0; i < sk_X509_num(certs); i++)
        if (json_array_append_new(list, certificate_json(sk_X509_value(certs, i)))) {
            json_decref(list);
            return NULL;
        }
    return list;
}

static int print_json(const struct ca_files *f, struct err *e)
{
    json_t *chain = list_json(f->chain), *retired = list_json(f->retired);
    if (!chain || !retired) {
        json_decref(chain);
        json_decref(retired);
        return err_set(e, ERR_PROTOCOL, "a CA's certificate holds text that is not UTF-8");
    }
    return cli_print_json(json_pack("{s:o,s:o,s:b}", "chain", chain, "retired", retired,
                                  "request_waits", f->request_waits),
            e);
}

static void print_heading(struct cli *c, const char *text, bool first)
{
    screen_style(&c->out, STYLE_BOLD);
    screen_printf(&c->out, "%s%s\n", first ? "" : "\n", text);
    screen_style(&c->out, STYLE_PLAIN);
}

static void print_people(struct cli *c, const struct ca_files *f)
{
    int n = sk_X509_num(f->chain);
    for (int i = 0; i < n; i++) {
        print_heading(c,
                i == 0       ? "Issuing CA"
                : i == n - 1 ? "Root CA"
                             : "Intermediate CA",
                i == 0);
        certificate_show(&c->out, sk_X509_value(f->chain, i));
    }
    for (int i = 0; i < sk_X509_num(f->retired); i++) {
        print_heading(c, "Retired CA: what it issued stays valid", false);
        certificate_show(&c->out, sk_X509_value(f->retired, i));
    }
    if (f->request_waits)
        screen_printf(&c->out,
                "\nA request waits for the root's answer: 'keyline ca request' shows it again, "
                "'keyline ca import' ends it.\n");
}

int ca_show(struct cli *c, struct err *e)
{
    struct ca_files f;
    if (ca_files_read(&c->paths, &f, e))
        return -1;
    int r = 0;
    if (c->json)
        r = print_json(&f, e);
    else if (!cli_has(c, "pem"))
        print_people(c, &f);
    else
        for (int i = 0; i < sk_X509_num(f.chain); i++)
            PEM_write_X509(stdout, sk_X509_value(f.chain, i));
    ca_files_done(&f);
    return r;
}
