/* Completion scripts, made from the table of verbs. Names of jobs, groups and devices are asked of
 * the appliance at the moment of the key press; they are compared as text and quoted, never
 * expanded: a job may be called $(reboot). */
#include "station/cli/help.h"

#include <string.h>

/* What a placeholder stands for, and the command that lists it. */
static const struct {
    const char *word, *command;
} sources[] = {
        {"JOB", "job list --columns name"},
        {"GROUP", "group list --columns name"},
        {"DEVICE", "device list --columns name"},
};

static const char *source_of(const char *placeholder)
{
    size_t len = strcspn(placeholder, "] ");
    if (*placeholder == '[')
        return source_of(placeholder + 1);
    for (size_t i = 0; i < sizeof sources / sizeof *sources; i++)
        if (strlen(sources[i].word) == len && memcmp(sources[i].word, placeholder, len) == 0)
            return sources[i].command;
    return NULL;
}

#define NOUN_MAX 32u

/* The next noun of the verbs of two words ("job" of "job import") from *at on, other than the one
 * in noun. False: there is none. */
static bool next_noun(size_t *at, char noun[NOUN_MAX])
{
    while (*at < verb_count) {
        const char *name = verb_table[(*at)++].name;
        size_t len = strcspn(name, " ");
        if (name[len] == '\0' || (strlen(noun) == len && strncmp(noun, name, len) == 0))
            continue;
        snprintf(noun, NOUN_MAX, "%.*s", (int)len, name);
        return true;
    }
    return false;
}

/* The nouns and one-word verbs (position 0), or a noun's verbs (1), each with a quote around it or
 * not. */
static void each_word_at(FILE *f, size_t position, const char *noun, const char *quote)
{
    const char *last = "";
    for (size_t i = 0; i < verb_count; i++) {
        const char *name = verb_table[i].name;
        size_t first = strcspn(name, " ");
        const char *word = position == 0 ? name : name[first] ? name + first + 1 : "";
        size_t len = position == 0 ? first : strlen(word);
        if (len == 0 || (noun && (strlen(noun) != first || memcmp(noun, name, first) != 0)) ||
                (strlen(last) >= len && memcmp(last, word, len) == 0))
            continue;
        fprintf(f, "%s%.*s%s ", quote, (int)len, word, quote);
        last = word;
    }
}

static void option_words(FILE *f, const struct verb_option *o)
{
    for (; o && o->name; o++)
        fprintf(f, " --%s", o->name);
}

/* ---- bash */

static void bash_values(FILE *f, const char *verb, const struct verb_option *o)
{
    for (; o && o->name; o++) {
        const char *source = source_of(o->value);
        if (o->kind == VALUE_NONE)
            continue;
        fprintf(f, "    \"%s --%s\") ", verb, o->name);
        if (o->kind == VALUE_FILE)
            fprintf(f, "compopt -o filenames; mapfile -t COMPREPLY < <(compgen -f -- \"$cur\")");
        else if (o->kind == VALUE_DIR)
            fprintf(f, "compopt -o filenames; mapfile -t COMPREPLY < <(compgen -d -- \"$cur\")");
        else if (source)
            fprintf(f, "_keyline_names %s", source);
        else
            fprintf(f, ":");
        fprintf(f, "; return ;;\n");
    }
}

static void bash_verb(FILE *f, const struct verb *v)
{
    const char *source = source_of(v->args);
    fprintf(f, "    \"%s\") options=\"", v->name);
    option_words(f, v->options);
    option_words(f, verb_globals);
    fprintf(f, "\"");
    if (strcmp(v->args, "FILE") == 0)
        fprintf(f, "; [[ $cur == -* ]] || { compopt -o filenames; mapfile -t COMPREPLY < <(compgen "
                   "-f -- \"$cur\"); return; }");
    else if (strcmp(v->args, "SHELL") == 0)
        fprintf(f, "; options=\"bash zsh fish\"");
    else if (source)
        fprintf(f, "; [[ $cur == -* ]] || { _keyline_names %s; return; }", source);
    fprintf(f, " ;;\n");
}

static void print_bash(FILE *f)
{
    fputs("# bash completion for keyline, made by 'keyline completion bash'\n"
          "_keyline_names() { # COMMAND...: names as the appliance has them, compared as text, "
          "quoted\n"
          "    local name\n"
          "    while IFS= read -r name; do\n"
          "        [[ $name == \"$cur\"* ]] && COMPREPLY+=(\"$(printf %q \"$name\")\")\n"
          "    done < <(keyline \"$@\" 2>/dev/null)\n"
          "}\n"
          "_keyline() {\n"
          "    local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]} verb='' "
          "options='' i\n"
          "    local words=()\n"
          "    COMPREPLY=()\n"
          "    for ((i = 1; i < COMP_CWORD; i++)); do\n"
          "        case ${COMP_WORDS[i]} in --wait) ((i++)) ;; -*) ;; *) "
          "words+=(\"${COMP_WORDS[i]}\") ;; esac\n"
          "    done\n"
          "    case \"${words[0]-} ${words[1]-}\" in\n",
            f);
    for (size_t i = 0; i < verb_count; i++)
        fprintf(f,
                strchr(verb_table[i].name, ' ') ? "    \"%s\") verb=\"%s\" ;;\n"
                                                : "    \"%s \"*) verb=\"%s\" ;;\n",
                verb_table[i].name, verb_table[i].name);
    fputs("    esac\n    case \"$verb $prev\" in\n", f);
    for (size_t i = 0; i < verb_count; i++)
        bash_values(f, verb_table[i].name, verb_table[i].options);
    fputs("    esac\n    case $verb in\n", f);
    for (size_t i = 0; i < verb_count; i++)
        bash_verb(f, &verb_table[i]);
    fputs("    *) case ${words[0]-} in\n", f);
    char noun[NOUN_MAX] = "";
    for (size_t at = 0; next_noun(&at, noun);) {
        fprintf(f, "        %s) options=\"", noun);
        each_word_at(f, 1, noun, "");
        fprintf(f, "\" ;;\n");
    }
    fputs("        *) options=\"", f);
    each_word_at(f, 0, NULL, "");
    option_words(f, verb_globals);
    fputs("\" ;;\n        esac ;;\n    esac\n"
          "    mapfile -t COMPREPLY < <(compgen -W \"$options\" -- \"$cur\")\n"
          "}\n"
          "complete -F _keyline keyline\n",
            f);
}

/* ---- zsh */

/* Inside single quotes, where _arguments and _describe give : [ ] a meaning of their own. */
static void zsh_text(FILE *f, const char *text)
{
    for (; *text; text++)
        if (*text == '\'')
            fputs("'\\''", f);
        else if (strchr(":[]\\", *text))
            fprintf(f, "\\%c", *text);
        else
            fputc(*text, f);
}

static void zsh_action(FILE *f, enum value_kind kind, const char *placeholder)
{
    const char *source = source_of(placeholder);
    if (kind == VALUE_FILE || strcmp(placeholder, "FILE") == 0)
        fputs("_files", f);
    else if (kind == VALUE_DIR)
        fputs("_files -/", f);
    else if (source)
        fprintf(f, "_keyline_names %s", source);
}

static void zsh_options(FILE *f, const struct verb_option *o)
{
    for (; o && o->name; o++) {
        fprintf(f, " \\\n            '--%s[", o->name);
        zsh_text(f, o->help);
        fprintf(f, "]");
        if (o->kind != VALUE_NONE) {
            fprintf(f, ":");
            zsh_text(f, o->value);
            fprintf(f, ":");
            zsh_action(f, o->kind, o->value);
        }
        fprintf(f, "'");
    }
}

static void print_zsh(FILE *f)
{
    fputs("#compdef keyline\n# made by 'keyline completion zsh'\n"
          "_keyline_names() {\n"
          "    local -a names\n"
          "    names=(\"${(@f)$(keyline \"$@\" 2>/dev/null)}\")\n"
          "    compadd -a names\n"
          "}\n"
          "_keyline() {\n"
          "    local -a verbs\n"
          "    if ((CURRENT == 2)); then\n        verbs=(",
            f);
    each_word_at(f, 0, NULL, "'");
    fputs(")\n        compadd -a verbs\n        return\n    fi\n    case \"$words[2] $words[3]\" "
          "in\n",
            f);
    for (size_t i = 0; i < verb_count; i++) {
        const struct verb *v = &verb_table[i];
        bool two = strchr(v->name, ' ') != NULL;
        fprintf(f, "    '%s%s) shift %d words; ((CURRENT -= %d)); _arguments", v->name,
                two ? "'" : " '*", two ? 2 : 1, two ? 2 : 1);
        zsh_options(f, v->options);
        zsh_options(f, verb_globals);
        if (v->args_max > 0) {
            fputs(" \\\n            '*:", f);
            zsh_text(f, v->args);
            fputs(":", f);
            zsh_action(f, VALUE_TEXT, v->args);
            fputs("'", f);
        }
        fputs(" ;;\n", f);
    }
    fputs("    *) case $words[2] in\n", f);
    char noun[NOUN_MAX] = "";
    for (size_t at = 0; next_noun(&at, noun);) {
        fprintf(f, "        %s) verbs=(", noun);
        each_word_at(f, 1, noun, "'");
        fputs(") ;;\n", f);
    }
    fputs("        esac\n        compadd -a verbs ;;\n    esac\n}\n_keyline \"$@\"\n", f);
}

/* ---- fish */

static void fish_text(FILE *f, const char *text)
{
    for (; *text; text++) {
        if (strchr("'\\", *text))
            fputc('\\', f);
        fputc(*text, f);
    }
}

static void fish_options(FILE *f, const char *condition, const struct verb_option *o)
{
    for (; o && o->name; o++) {
        fprintf(f, "complete -c keyline%s -l %s", condition, o->name);
        const char *source = source_of(o->value);
        if (o->kind == VALUE_FILE || o->kind == VALUE_DIR)
            fputs(" -r -F", f);
        else if (source)
            fprintf(f, " -x -a '(keyline %s 2>/dev/null)'", source);
        else if (o->kind != VALUE_NONE)
            fputs(" -x", f);
        fputs(" -d '", f);
        fish_text(f, o->help);
        fputs("'\n", f);
    }
}

static void print_fish(FILE *f)
{
    fputs("# fish completion for keyline, made by 'keyline completion fish'\ncomplete -c keyline "
          "-f\n",
            f);
    fish_options(f, "", verb_globals);
    for (size_t i = 0; i < verb_count; i++) {
        const struct verb *v = &verb_table[i];
        size_t first = strcspn(v->name, " ");
        const char *second = v->name[first] ? v->name + first + 1 : NULL,
                   *source = source_of(v->args);
        char condition[160];
        if (second) {
            fprintf(f, "complete -c keyline -n __fish_use_subcommand -a %.*s\n", (int)first,
                    v->name);
            fprintf(f,
                    "complete -c keyline -n '__fish_seen_subcommand_from %.*s; and test (count "
                    "(commandline -opc)) -eq 2' -a %s -d '",
                    (int)first, v->name, second);
            snprintf(condition, sizeof condition,
                    " -n '__fish_seen_subcommand_from %.*s; and __fish_seen_subcommand_from %s'",
                    (int)first, v->name, second);
        } else {
            fprintf(f, "complete -c keyline -n __fish_use_subcommand -a %s -d '", v->name);
            snprintf(condition, sizeof condition, " -n '__fish_seen_subcommand_from %s'", v->name);
        }
        fish_text(f, v->help);
        fputs("'\n", f);
        fish_options(f, condition, v->options);
        if (strcmp(v->args, "FILE") == 0)
            fprintf(f, "complete -c keyline%s -F\n", condition);
        else if (source)
            fprintf(f, "complete -c keyline%s -a '(keyline %s 2>/dev/null)'\n", condition, source);
    }
    fputs("complete -c keyline -n '__fish_seen_subcommand_from completion' -a 'bash zsh fish'\n",
            f);
}

int completion_print(FILE *f, const char *shell)
{
    static const struct {
        const char *shell;
        void (*print)(FILE *f);
    } printers[] = {{"bash", print_bash}, {"zsh", print_zsh}, {"fish", print_fish}};
    for (size_t i = 0; i < sizeof printers / sizeof *printers; i++)
        if (strcmp(printers[i].shell, shell) == 0) {
            printers[i].print(f);
            return 0;
        }
    return -1;
}
