#!/usr/bin/env bash
# Deliberate bugs: a suite that lets one of them pass does not test what it seems to.
#
#   test_broker/mutants.sh [NAME…]   tries all mutants, or those named
#   test_broker/mutants.sh --list    names them
#   test_broker/mutants.sh --check   sees that each still applies to the tree, and tries none
#
# Each test_broker/mutants/NAME.patch breaks one thing. It is applied to a copy of the tree under target/mutants, never
# to the tree itself, and the tests are run there until one fails. The patch's head says what is broken and where to
# look first:
#
#   # breaks: durable acknowledgements are answered when written
#   # caught-by: --lib replica::
#
# The second line holds arguments of `cargo test`, and may be given several times; then come the unit tests, then the
# crash matrix. Success means that the copy without a mutant passes all of these and that every mutant is caught. One
# that does not apply or does not compile is an error, not a catch; a test that never ends is a catch.
set -euo pipefail

top=$(cd "$(dirname "$0")/.." && pwd)
patches=$top/test_broker/mutants
work=$top/target/mutants
tree=$work/tree
suite=("--lib" "--test crash_matrix")
seconds_max=240

# The command lines and their dependencies play no part but where `caught-by` names a test of the real binaries: without
# them a mutant is built sooner.
features=(--no-default-features --features server)
export CARGO_TARGET_DIR=$work/build CARGO_PROFILE_DEV_DEBUG=0 CARGO_TERM_COLOR=never RUST_BACKTRACE=0
# The copy lies inside another repository, which git is not to take for the one to patch.
export GIT_CEILING_DIRECTORIES=$work

names() { for patch in "$patches"/*.patch; do basename "$patch" .patch; done; }
head_of() { sed -n "s/^# $2: //p" "$patches/$1.patch"; }

# Runs `cargo test` with these arguments; returns 0 where all pass, 1 where one fails, 2 where nothing was built.
run_tests() {
    local status=0
    cargo test -q "${features[@]}" --no-run "$@" >"$work/build.log" 2>&1 || return 2
    timeout "$seconds_max" cargo test "${features[@]}" "$@" >"$work/test.log" 2>&1 || status=$?
    [ "$status" -ne 0 ] || return 0
    # 124 is the timeout's: the tests that failed before it tell more.
    local failed none="(aborted)"
    [ "$status" -ne 124 ] || none="(never ends)"
    failed=$(sed -n 's/^test \(.*\) \.\.\. FAILED$/\1/p' "$work/test.log")
    echo "${failed:-$none}" | awk 'NR == 1 { first = $0 } END { print first (NR > 1 ? " +" NR - 1 : "") }' >"$work/caught"
    return 1
}

# Prints a row of the table.
row() { printf '%-44s %-10s %5ss  %-64s %s\n' "$1" "$2" "$3" "$4" "$5"; }

copy_tree() {
    rm -rf "$tree"
    mkdir -p "$tree"
    # Without the old times: what a mutant was built from must not pass for up to date.
    (cd "$top" && git ls-files -z --cached --others --exclude-standard | while IFS= read -r -d '' file; do
        if [ -f "$file" ]; then printf '%s\0' "$file"; fi
    done | tar --create --null --files-from=-) | tar --extract --touch --directory "$tree"
}

try_baseline() {
    local arguments begun=$SECONDS others
    # What lies within the suite passes with it.
    mapfile -t others < <(for name in "${chosen[@]}"; do head_of "$name" caught-by; done | grep -v '^--lib' | sort -u)
    for arguments in "${suite[@]}" "${others[@]}"; do
        # shellcheck disable=SC2086
        if ! (cd "$tree" && run_tests $arguments); then
            row "(no mutant)" "FAILS" "$((SECONDS - begun))" "$(cat "$work/caught" 2>/dev/null || true)" "$arguments"
            tail -n 40 "$work/build.log" "$work/test.log" >&2
            return 1
        fi
    done
    row "(no mutant)" "passes" "$((SECONDS - begun))" "" ""
}

# Tries one mutant; fails unless it is caught.
try_mutant() {
    local name=$1 begun=$SECONDS verdict="SURVIVED" arguments status breaks
    breaks=$(head_of "$name" breaks)
    rm -f "$work/caught"
    if ! (cd "$tree" && git apply "$patches/$name.patch") 2>"$work/apply.log"; then
        row "$name" "NO APPLY" 0 "$(head -n 1 "$work/apply.log")" "$breaks"
        return 1
    fi
    while IFS= read -r arguments; do
        status=0
        # shellcheck disable=SC2086
        (cd "$tree" && run_tests $arguments) </dev/null || status=$?
        case $status in
            1) verdict="caught" && break ;;
            2) verdict="NO BUILD" && break ;;
        esac
    done < <(head_of "$name" caught-by && printf '%s\n' "${suite[@]}")
    (cd "$tree" && git apply --reverse "$patches/$name.patch")
    row "$name" "$verdict" "$((SECONDS - begun))" "$(cat "$work/caught" 2>/dev/null || true)" "$breaks"
    [ "$verdict" = caught ]
}

if [ "${1:-}" = --list ]; then
    for name in $(names); do printf '%-44s %s\n' "$name" "$(head_of "$name" breaks)"; done
    exit
fi
if [ "${1:-}" = --check ]; then
    status=0
    for name in $(names); do (cd "$top" && git apply --check "$patches/$name.patch") || status=1; done
    exit "$status"
fi
[ $# -gt 0 ] || mapfile -t chosen < <(names)
[ $# -eq 0 ] || chosen=("$@")
for name in "${chosen[@]}"; do
    [ -f "$patches/$name.patch" ] || { echo "no mutant is called $name: see --list" >&2; exit 2; }
done

mkdir -p "$work"
exec 9>"$work/lock"
flock -n 9 || { echo "another run uses $work" >&2; exit 2; }
trap 'rm -rf "$tree"' EXIT
copy_tree
try_baseline || exit 1
bad=0
for name in "${chosen[@]}"; do try_mutant "$name" || bad=$((bad + 1)); done
echo "${#chosen[@]} mutants, $((${#chosen[@]} - bad)) caught"
[ "$bad" -eq 0 ]
