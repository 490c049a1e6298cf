/* keyline ca show: the chain that devices are certified under, read from its file. */
#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/pem.h>

#include "base/file.h"
#include "base/limits.h"
#include "station/cli/certificate.h"
#include "station/cli/cli.h"
#include "station/cli/pem.h"
#include "station/cli/verbs.h"

static int print_json(STACK_OF(X509) * chain, struct err *e)
{
    json_t *list = json_array();
    for (int i = 0; i < sk_X509_num(chain); i++)
        if (json_array_append_new(list, certificate_json(sk_X509_value(chain, i)))) {
            json_decref(list);
            return err_set(e, ERR_PROTOCOL, "certificate %d holds text that is not UTF-8", i + 1);
        }
    return cli_print_json(json_pack("{s:o}", "chain", list), e);
}

static void print_people(struct cli *c, STACK_OF(X509) * chain)
{
    int n = sk_X509_num(chain);
    for (int i = 0; i < n; i++) {
        screen_style(&c->out, STYLE_BOLD);
        screen_printf(&c->out, "%s%s\n", i ? "\n" : "",
                i == 0       ? "Issuing CA"
                : i == n - 1 ? "Root CA"
                             : "Intermediate CA");
        screen_style(&c->out, STYLE_PLAIN);
        certificate_show(&c->out, sk_X509_value(chain, i));
    }
}

int ca_show(struct cli *c, struct err *e)
{
    STACK_OF(X509) *chain = NULL;
    char path[PATH_MAX];
    paths_get(&c->paths, PATH_CA_CHAIN, path);
    if (pem_read_chain(path, &chain, e)) {
        if (e->id == ERR_NOT_FOUND)
            err_context(e, "there is no CA yet, 'keyline init' makes one");
        return -1;
    }
    int r = 0;
    if (c->json)
        r = print_json(chain, e);
    else if (!cli_has(c, "pem"))
        print_people(c, chain);
    else
        for (int i = 0; i < sk_X509_num(chain); i++)
            PEM_write_X509(stdout, sk_X509_value(chain, i));
    sk_X509_pop_free(chain, X509_free);
    return r;
}
