#!/usr/bin/env bash
# What a reviewer should not have to say: size of files, leftovers, names of
# places that only exist on one machine.
set -u
cd "$(dirname "$0")/.."
status=0
complain() { printf '%s\n%s\n' "$1" "$2"; status=1; }

long=$(git ls-files '*.cpp' '*.h' '*.td' '*.py' | xargs wc -l | awk '$2 != "total" && $1 > 600')
[ -z "$long" ] || complain 'over 600 lines:' "$long"

left=$(git grep -nE 'TODO|FIXME|\bXXX\b' -- '*.cpp' '*.h' '*.td' '*.py' '*.sh' dev ':!scripts/lint.sh')
[ -z "$left" ] || complain 'leftovers:' "$left"

bare=$(git ls-files '*.cpp' '*.h' '*.td' | xargs grep -L 'SPDX-License-Identifier')
[ -z "$bare" ] || complain 'no license line:' "$bare"

exit $status
