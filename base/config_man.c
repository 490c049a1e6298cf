/* Writes keyline.conf(5) from config_list.h at build time, so that the page cannot tell of other
 * keys than the program reads. Runs on the build machine only. */
#include <stdio.h>
#include <string.h>

#include "base/limits.h"

enum kind { KIND_STR, KIND_NUM };

/* A dot or quote at the start of a line, and backslashes, mean something to roff. */
static void put_text(const char *text)
{
    if (text[0] == '.' || text[0] == '\'')
        fputs("\\&", stdout);
    for (; *text != '\0'; text++) {
        if (*text == '\\')
            fputs("\\e", stdout);
        else if (*text == '-')
            fputs("\\-", stdout);
        else
            putchar(*text);
    }
}

static void put_default(const char *fallback)
{
    if (fallback[0] == '\0')
        return;
    fputs("Default:\n.B ", stdout);
    put_text(fallback);
    putchar('\n');
}

static void put_key(const char *name, enum kind kind, const char *fallback, long long min,
        long long max, const char *meaning)
{
    printf(".TP\n.B %s\n", name);
    put_text(meaning);
    putchar('\n');
    if (kind == KIND_NUM)
        printf("A number from %lld to %lld.\n", min, max);
    put_default(fallback);
}

static void put_choice(
        const char *name, const char *choices, const char *fallback, const char *meaning)
{
    printf(".TP\n.B %s\n", name);
    put_text(meaning);
    fputs("\nOne of\n.BR ", stdout);
    for (; *choices != '\0'; choices++)
        if (*choices == '|')
            fputs(" ,\n.BR ", stdout);
        else
            putchar(*choices);
    puts(" .");
    put_default(fallback);
}

/* Keys of one section stand together in the table. */
static void put_section_once(const char *section, const char **last)
{
    if (strcmp(section, *last) != 0)
        printf(".SS [%s]\n", section);
    *last = section;
}

int main(void)
{
    const char *last = "";
    puts(".TH KEYLINE.CONF 5 \"\" \"keyline " KEYLINE_VERSION "\" \"Keyline\"\n"
         ".SH NAME\nkeyline.conf \\- configuration of a Keyline station\n"
         ".SH SYNOPSIS\n.I /etc/keyline/keyline.conf\n.br\n.I $KEYLINE_ROOT/etc/keyline.conf\n"
         ".SH DESCRIPTION\n"
         "One file configures every program of the station. It holds sections,\n"
         ".BR [name] ,\nand in them lines of the form\n.BR \"key = value\" .\n"
         "Lines that begin with # or ; are comments, and so is the rest of a line after a ; that\n"
         "follows a space. A missing file or key gives the default. An unknown section or key, a\n"
         "key that is set twice and a number out of range are errors, told with their line.");
    printf("Names of sections have at most %u characters, lines at most 197.\n", CONF_NAME_MAX - 1);
    puts(".SH SECTIONS");
#define KEY(section, key, kind, fallback, min, max, meaning)                                       \
    put_section_once(section, &last);                                                              \
    put_key(key, KIND_##kind, fallback, min, max, meaning);
#define CHOICE_KEY(section, key, choices, fallback, meaning)                                       \
    put_section_once(section, &last);                                                              \
    put_choice(key, choices, fallback, meaning);
#include "base/config_list.h"
    puts(".SS [token NAME]\nOne section for each further token that holds the CA's key, with the "
         "keys of\n"
         ".BR [token] :\nwhat is left out has its default, not what\n.B [token]\nsays, and\n"
         ".B label\nmust be given.");
    puts(".SS [slot NAME]\nOne section for each slot of the station.");
#define SLOT_KEY(key, kind, fallback, min, max, meaning)                                           \
    put_key(key, KIND_##kind, fallback, min, max, meaning);
#include "base/config_list.h"
    puts(".SH EXAMPLE\n.EX\n[station]\nname = line\\-1\n\n[token]\nlabel = keyline\n\n"
         "[slot 01]\nport = /dev/keyline/slot\\-01\n.EE\n"
         ".SH SEE ALSO\n.BR keyline (1)");
    return fflush(stdout) == 0 && !ferror(stdout) ? 0 : 1;
}
