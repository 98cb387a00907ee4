#!/usr/bin/env bash
# Runs the named steps of a plan, goes on after a failed one, and ends with `N passed, N failed`.
#
#   run-checks.sh check    formatting, lints, types
#   run-checks.sh suites   what runs on every pair of OTP and Python
#   run-checks.sh test     all of that, the model checks, and the oldest and the newest pair
set -euo pipefail
# shellcheck source=common.sh
source "$(dirname "$0")/common.sh"

cd "$root"
PYTHON=$(scripts/find-python.sh)
export PYTHON PYO3_PYTHON=$PYTHON
target=${CARGO_TARGET_DIR:-$root/target}
logs=$root/_build/checks
step_limit=2700
mkdir -p "$logs"
passed=0 failed=0 failures=() skips=() unsteady=()
# So many failed cases may be looked at again; the least is what one case gives that has two modes.
looked_at_again=4
# The steps that run, by name. timeout puts each into a process group of its own, which Ctrl-C does not reach.
declare -A running=() started=()
trap 'kill "${running[@]}" 2>/dev/null || true; exit 130' INT TERM

# What a step's log says about itself, as "PASSED FAILED".
count_one()   { echo "1 0"; }
count_cargo() { awk '/^test result:/ { p += $4; f += $6 } END { print p + 0, f + 0 }' "$1"; }
count_ct() {
    # A test that was skipped because its set-up failed counts as failed.
    sed 's/\x1b\[[0-9;]*m//g' "$1" | grep -E 'tests( passed)?\. ?$|tests\. ' | tail -n 1 |
        awk '{ line = $0; p = number("All ") + number("Passed "); f = number("Failed ")
               if (match(line, /Skipped [0-9]+ \([0-9]+, [0-9]+\)/)) {
                   split(substr(line, RSTART, RLENGTH), part, /[ ,()]+/); f += part[4] }
               print p, f }
             function number(word) { return match(line, word "[0-9]+ tests") ? \
                 substr(line, RSTART + length(word)) + 0 : 0 }'
}
count_pair()  { sed -n 's/^matrix [^ ]*: \([0-9]*\) passed, \([0-9]*\) failed$/\1 \2/p' "$1"; }

# The failed cases that a step's log, or what it left, tells of.
cases_one()   { :; }
cases_cargo() { sed -n 's/^test \(.*\) \.\.\. FAILED$/\1/p' "$1"; }
cases_ct()    { "$PYTHON" -E -S scripts/failed-cases.py _build/test/logs; }
cases_pair()  { sed -n 's/^.*erlang_python: failed case: //p' "$1"; }
# Those of them that passed when they ran again.
unsteady_pair() { sed -n 's/^.*erlang_python: unsteady, failed and then passed: //p' "$1"; }

# step NAME COUNTER COMMAND...
step() {
    local name=$1 counter=$2
    shift 2
    begin "$name" "$@"
    finish "$name" "$counter"
}

log_of() { echo "$logs/${1// /-}.log"; }

# begin NAME COMMAND...: it runs beside what has begun already.
begin() {
    local name=$1
    shift
    printf '==> %s\n' "$name"
    timeout --kill-after=10 "$step_limit" "$@" >"$(log_of "$name")" 2>&1 </dev/null &
    running[$name]=$! started[$name]=$SECONDS
}

# finish NAME COUNTER [LABEL]: waits for it, and tells what became of it, behind a label.
finish() {
    local name=$1 counter=$2 label=${3:-} log status=0 p=0 f=0 cases=()
    log=$(log_of "$name")
    wait "${running[$name]}" || status=$?
    unset "running[$name]"
    if [ "$status" = 77 ]; then
        skips+=("$name: $(tail -n 1 "$log")")
        printf '    %sskipped: %s\n' "$label" "$(tail -n 1 "$log")"
        return
    fi
    [ "$status" != 124 ] || echo "stopped after $step_limit s" >>"$log"
    if [ "$status" = 0 ] || [ "$counter" != one ]; then
        read -r p f < <("count_$counter" "$log") || true
    fi
    p=${p:-0} f=${f:-0}
    if [ "$status" != 0 ] && [ "$f" = 0 ]; then f=1; fi
    passed=$((passed + p)) failed=$((failed + f))
    if [ "$counter" = pair ]; then
        while IFS= read -r line; do unsteady+=("$line"); done < <(unsteady_pair "$log")
    fi
    printf '    %s%s passed, %s failed, %s s\n' "$label" "$p" "$f" "$((SECONDS - started[$name]))"
    if [ "$f" != 0 ]; then
        failures+=("failed: $name ($log)")
        mapfile -t cases < <("cases_$counter" "$log")
        if [ ${#cases[@]} = 0 ]; then tail -n 50 "$log" | sed 's/^/    | /'; fi
        failures+=("${cases[@]/#/failed case: }")
    fi
}

plan_check() {
    step "Rust format" one cargo fmt --all --check
    step "Rust lints" one cargo clippy --workspace --all-targets --locked -- -D warnings
    step "xref" one rebar3 as check xref
    step "dialyzer" one rebar3 as check dialyzer
    step "Python lints and types" one scripts/check-python.sh
    step "receive optimisation" one scripts/check-receive.escript
}

# The Erlang suites; those with failed cases once more, alone. What passes then is unsteady, and the end of the run
# names it: a fault to be mended, but no reason to refuse a change that has nothing to do with it. More than a few
# failures, or the end of the node, are no accident.
erlang_suites() {
    local failed_before=$failed failures_before=("${failures[@]}") failed_first passed_first cases=() suites=()
    step "Erlang suites" ct rebar3 ct
    failed_first=$failed passed_first=$passed
    [ "$failed_first" != "$failed_before" ] || return 0
    mapfile -t cases < <(cases_ct)
    mapfile -t suites < <(printf '%s\n' "${cases[@]}" | sed -n 's|^\([a-z0-9_]*_SUITE\):.*|test/\1|p' | sort -u)
    if [ ${#suites[@]} = 0 ] || [ ${#cases[@]} -gt "$looked_at_again" ] ||
        printf '%s\n' "${cases[@]}" | grep -q ': has not ended'; then
        return 0
    fi
    step "Erlang suites that failed, again" ct rebar3 ct --suite "$(IFS=,; echo "${suites[*]}")"
    if [ "$failed" = "$failed_first" ]; then
        failed=$failed_before failures=("${failures_before[@]}")
        passed=$((passed_first + ${#cases[@]}))
        unsteady+=("${cases[@]}")
    fi
}

plan_suites() {
    scripts/test-venv.sh
    step "Rust tests" cargo cargo test --workspace --locked
    erlang_suites
}

plan_test() {
    plan_check
    plan_suites
    step "model checks" cargo env RUSTFLAGS="--cfg loom" CARGO_TARGET_DIR="$target/loom" \
        cargo test --release --package py_core --test 'loom*' --locked
    # Side by side: most of the time of each goes by in waiting.
    begin "oldest pair" scripts/matrix.sh 25-3.12
    begin "newest pair" scripts/matrix.sh 29-3.15
    finish "oldest pair" pair "oldest: "
    finish "newest pair" pair "newest: "
}

"plan_$1"

for skip in "${skips[@]}"; do say "skipped $skip"; done
for case in "${unsteady[@]}"; do say "unsteady, failed and then passed: $case"; done
for failure in "${failures[@]}"; do say "$failure"; done
printf '%s passed, %s failed\n' "$passed" "$failed"
[ "$failed" = 0 ]
