/* --help, made from the table of verbs. Knows no verb by name. */
#include "station/cli/help.h"

#include <string.h>

#define INDENT 2u

static unsigned option_width(const struct verb_option *o)
{
    return (unsigned)(strlen(o->name) + 2 + (o->kind == VALUE_NONE ? 0 : strlen(o->value) + 1));
}

static void option_list(const struct screen *s, const char *title, const struct verb_option *o)
{
    unsigned widest = 0;
    for (const struct verb_option *i = o; i && i->name; i++)
        widest = option_width(i) > widest ? option_width(i) : widest;
    if (widest == 0)
        return;
    screen_printf(s, "\n");
    screen_style(s, STYLE_BOLD);
    screen_printf(s, "%s", title);
    screen_style(s, STYLE_PLAIN);
    screen_printf(s, "\n");
    for (; o->name; o++)
        screen_printf(s, "  --%s%s%s%*s  %s\n", o->name, o->kind == VALUE_NONE ? "" : " ",
                o->kind == VALUE_NONE ? "" : o->value, (int)(widest - option_width(o)), "",
                o->help);
}

void help_verb(const struct screen *s, const struct verb *v)
{
    bool options = v->options && v->options[0].name;
    screen_style(s, STYLE_BOLD);
    screen_printf(s, "keyline %s%s%s%s", v->name, *v->args ? " " : "", v->args,
            options ? " [OPTIONS]" : "");
    screen_style(s, STYLE_PLAIN);
    screen_printf(s, "\n  %s.\n", v->help);
    option_list(s, "Options", v->options);
    option_list(s, "For every command", verb_globals);
    screen_printf(s, "\n");
    screen_style(s, STYLE_BOLD);
    screen_printf(s, "Examples");
    screen_style(s, STYLE_PLAIN);
    screen_printf(s, "\n");
    for (const char *const *x = v->examples; *x; x++)
        screen_printf(s, "  %s\n", *x);
    screen_printf(s, "\nMore in keyline(1).\n");
}

void help_overview(const struct screen *s, const char *noun)
{
    size_t len = noun ? strlen(noun) : 0;
    unsigned widest = 0;
    for (size_t i = 0; i < verb_count; i++) {
        unsigned width = (unsigned)(strlen(verb_table[i].name) + strlen(verb_table[i].args));
        widest = width > widest ? width : widest;
    }
    if (!noun)
        screen_printf(s, "Keyline gives every device on a production line its identity.\n\n");
    screen_style(s, STYLE_BOLD);
    screen_printf(s, "usage: keyline %s%sVERB [OPTIONS]", noun ? noun : "", noun ? " " : "");
    screen_style(s, STYLE_PLAIN);
    screen_printf(s, "\n\n");
    for (size_t i = 0; i < verb_count; i++) {
        const struct verb *v = &verb_table[i];
        if (noun && (strncmp(v->name, noun, len) != 0 || v->name[len] != ' '))
            continue;
        int fill = (int)(widest - strlen(v->name) - strlen(v->args));
        screen_printf(s, "  %s %s%*s  %s\n", v->name, v->args, fill, "", v->help);
    }
    option_list(s, "For every command", verb_globals);
    screen_printf(s, "\n'keyline VERB --help' shows a command's options and examples; 'man "
                     "keyline' tells it all.\n");
}
