#!/bin/sh
# symbols.sh DECLARED LIBRARY.a LIBRARY.so: the library needs nothing but five functions of <string.h> and what compilers
# call by themselves, defines only names that begin with egru_, exports those in the file DECLARED, which are sorted, and
# has no memory of its own that can be written. NM and SIZE: those of another machine's binutils.
set -eu
declared=$(cat "$1") archive=$2 shared=$3
NM=${NM:-nm} SIZE=${SIZE:-size}
status=0

complain() {
    echo "$1:" $2 >&2
    status=1
}

defined=$($NM --defined-only "$archive" | awk 'NF == 3 && $2 ~ /[A-Z]/ {print $3}' | sort -u)
others=$(echo "$defined" | grep -v '^egru_' || true)
[ -z "$others" ] || complain "the library defines names that could be another library's" "$others"

allowed='memcpy|memmove|memset|memcmp|strcmp|__cpu_model|__cpu_features2|__cpu_indicator_init|getauxval|__stack_chk_(fail|guard)|_GLOBAL_OFFSET_TABLE_|__aeabi_.*|__(u?div|u?mod|ashr|lshr|ashl|mul)[dt]i3|__x86\..*'
needed=$($NM -u "$archive" | awk '$1 == "U" {print $2}' | sort -u | grep -vE "^($allowed)$" || true)
for name in $needed; do
    echo "$defined" | grep -qx "$name" || complain "the library may not call" "$name"
done

exported=$($NM -D --defined-only "$shared" | awk 'NF == 3 {print $3}' | sort -u)
[ "$declared" = "$exported" ] ||
    complain "the shared library exports other functions than egru.h declares" \
        "$(printf '%s\n%s\n' "$declared" "$exported" | sort | uniq -u)"

written=$($SIZE -A "$archive" | awk '/^\.(data|bss|tdata|tbss)/ && $1 !~ /^\.data\.rel\.ro/ && $2 > 0 {print $1, $2}')
[ -z "$written" ] || complain "the library has data that can be written" "$written"
exit $status
