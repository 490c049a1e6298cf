#!/usr/bin/env bash
# Docs against code: links lead somewhere, commands exist, no file speaks of what is not there.
set -euo pipefail
cd "$(dirname "$(readlink -f "$0")")/../.."
: "${KEYLINE_BIN:?}"
status=0
complain() { echo "$*" >&2; status=1; }

# 1. Relative links.
while IFS=: read -r file link; do
    target=${link#*](}
    target=${target%)}
    target=${target%%#*}
    [ -z "$target" ] && continue
    case $target in *://*) continue ;; esac
    [ -e "$(dirname "$file")/$target" ] || complain "$file: link to $target leads nowhere"
done < <(grep -noE '\]\([^)]+\)' README.md docs/*.md | sed 's/^\([^:]*\):[0-9]*:/\1:/')

# 2. Every `keyline VERB` in the README is a verb: its --help exists.
while read -r words; do
    # shellcheck disable=SC2086
    "$KEYLINE_BIN/keyline" $words --help >/dev/null 2>&1 || complain "README.md: there is no 'keyline $words'"
done < <(grep -oE '^ +keyline (init|run|[a-z]+ [a-z]+)' README.md | sed 's/^ *keyline //' | sort -u)

# 2b. What a person may start says what it is.
for program in keyline signerd jobd syncd slotd keyline-ceremony keyline-approver-key keyline-sim; do
    help=$("$KEYLINE_BIN/$program" --help 2>/dev/null </dev/null) || complain "$program --help fails"
    [ "$(wc -l <<<"$help")" -gt 1 ] || complain "$program --help says next to nothing"
done

# 3. Every ./dev verb in the README exists.
while read -r verb; do
    grep -q "^$verb()" dev || complain "README.md: there is no './dev $verb'"
done < <(grep -oE '\./dev [a-z]+' README.md | awk '{ print $2 }' | sort -u)

# 4. The lifecycle words of domain.md are those of the code.
for word in Enrolled Registered Provisioned Deleted; do
    grep -q "\"$word\"" jobs/states.c || complain "jobs/states.c lacks the state $word"
done

# 5. NEWS has an entry for the version being built.
version=$("$KEYLINE_BIN/keyline" version | awk '{ print $NF }')
grep -q "^## $version" NEWS.md || complain "NEWS.md has no entry for $version"
[ $status -eq 0 ] && echo "1 passed, 0 failed"
exit $status
