#!/usr/bin/env bash
# Passes all tests on this machine, installing what is missing first: the one command that a person and CI run.
#
#   bash tests/run.sh              everything
#   bash tests/run.sh blackbox     only the steps named: fmt clippy test doctest doc blackbox
#
# Every step runs even when one before it failed. The last line says `N passed, N failed`, with the numbers that the test
# runners gave; a check without tests of its own (fmt, clippy, doc, build) counts as one. Ends with 1 if anything failed.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
readonly ROOT=$PWD
readonly LOGS=$ROOT/target/test-logs
readonly VENV=$ROOT/target/blackbox-venv
readonly NODE_DIR=$ROOT/tests/blackbox/node
readonly WANTED=" ${*:-fmt clippy test doctest doc blackbox} "

passed=0
failed=0
failures=()
started_at=$SECONDS

main() {
    mkdir -p "$LOGS"
    export CARGO_TERM_COLOR=never NO_COLOR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PYTHONDONTWRITEBYTECODE=1
    # Files that a build with warnings as errors makes would not be used by a build without, and the other way round.
    unset RUSTFLAGS RUSTDOCFLAGS
    # What is tried at random is the same in every run; without this a developer's run tries other things each time.
    export PROPTEST_RNG_SEED=${PROPTEST_RNG_SEED:-7}

    header "install what is missing"
    install_packages || counted_as_failure "installing packages"
    if wants test || wants clippy || wants blackbox; then
        retry cargo fetch --locked --quiet || counted_as_failure "cargo fetch"
    fi

    wants fmt && check "cargo fmt" cargo fmt --check
    wants clippy && check "cargo clippy" cargo clippy --locked --all-targets -- -D warnings
    wants test && run_tests
    wants doctest && cargo_test "doc tests" cargo test --locked --doc
    wants doc && RUSTDOCFLAGS=-Dwarnings check "cargo doc" cargo doc --locked --no-deps --document-private-items
    wants blackbox && run_blackbox

    header "result after $((SECONDS - started_at)) s"
    for failure in ${failures[@]+"${failures[@]}"}; do
        echo "FAILED: $failure"
    done
    echo "$passed passed, $failed failed"
    [ "$failed" -eq 0 ]
}

wants() {
    [[ $WANTED == *" $1 "* ]]
}

header() {
    printf '\n==== %s ====\n' "$1"
}

counted_as_failure() {
    failed=$((failed + 1))
    failures+=("$1")
    echo "failed: $1"
}

# Runs a command that either is right or is not.
check() {
    local name=$1
    shift
    header "$name"
    if "$@" </dev/null; then
        passed=$((passed + 1))
        echo "ok after $((SECONDS - started_at)) s"
    else
        counted_as_failure "$name"
    fi
}

# Three tries: a registry can be slow for a moment.
retry() {
    local try
    for try in 1 2 3; do
        "$@" </dev/null && return 0
        echo "try $try failed: $*"
    done
    return 1
}

run_tests() {
    if cargo nextest --version >/dev/null 2>&1; then
        nextest
    else
        cargo_test "cargo test" cargo test --locked --lib --bins --tests --no-fail-fast
    fi
}

nextest() {
    header "cargo nextest"
    local log=$LOGS/nextest.log status=0
    cargo nextest run --locked --no-fail-fast --no-tests=pass --status-level fail --final-status-level fail \
        </dev/null 2>&1 | tee "$log" || status=$?
    # "Summary [   1.2s] 12 tests run: 11 passed (1 slow), 1 failed, 0 skipped"
    local summary
    summary=$(grep -E '^ *Summary .* tests? run:' "$log" | tail -1 || true)
    add_counts "cargo nextest" "$status" \
        "$(number_before 'passed' "$summary")" \
        "$(($(number_before 'failed' "$summary") + $(number_before 'timed out' "$summary") + $(number_before 'exec failed' "$summary")))"
}

# cargo's own runner, which gives one summary for each test binary.
cargo_test() {
    local name=$1
    shift
    header "$name"
    local log status=0
    log=$LOGS/$(echo "$name" | tr ' ' '-').log
    "$@" </dev/null 2>&1 | tee "$log" || status=$?
    # "test result: ok. 11 passed; 1 failed; 0 ignored; …"
    add_counts "$name" "$status" \
        "$(grep -E '^test result:' "$log" | sum_before 'passed')" \
        "$(grep -E '^test result:' "$log" | sum_before 'failed')"
}

run_blackbox() {
    header "install for the black-box tests"
    if ! { install_python && install_node; }; then
        counted_as_failure "installing for the black-box tests"
        return
    fi
    echo "ok after $((SECONDS - started_at)) s"

    local binary=${REHEARSAL_BIN:-}
    if [ -z "$binary" ]; then
        header "cargo build"
        if ! cargo build --locked --bin rehearsal </dev/null; then
            counted_as_failure "cargo build, and with it all black-box tests"
            return
        fi
        passed=$((passed + 1))
        echo "ok after $((SECONDS - started_at)) s"
        binary=$(target_dir)/debug/rehearsal
    fi

    header "black-box tests"
    local log=$LOGS/blackbox.log status=0
    REHEARSAL_BIN=$binary "$VENV/bin/python" -m pytest tests/blackbox -c tests/blackbox/pytest.ini --rootdir tests/blackbox \
        --basetemp "$ROOT/target/blackbox-tmp" --color=no -q --durations=10 </dev/null 2>&1 | tee "$log" || status=$?
    # "1 failed, 11 passed, 2 errors in 3.21s"
    local summary
    summary=$(grep -E '^(=+ )?([0-9]+ [a-z]+, )*[0-9]+ [a-z]+ in [0-9.]+s' "$log" | tail -1 || true)
    add_counts "black-box tests" "$status" \
        "$(number_before 'passed' "$summary")" \
        "$(($(number_before 'failed' "$summary") + $(number_before 'errors?' "$summary")))"
}

# Adds a runner's numbers; one that failed without a failed test (it did not compile, say) counts as one failure.
add_counts() {
    local name=$1 status=$2 ok=$3 bad=$4
    if [ "$status" -ne 0 ] && [ "$bad" -eq 0 ]; then
        bad=1
    fi
    passed=$((passed + ok))
    failed=$((failed + bad))
    if [ "$bad" -gt 0 ]; then
        failures+=("$name: $bad")
    fi
    echo "$name: $ok ok, $bad not, after $((SECONDS - started_at)) s"
}

# The number before a word in a summary; 0 where the word is not there.
number_before() {
    echo "$2" | sed -nE "s/.*[^0-9]([0-9]+) $1([^a-z].*)?$/\1/p; s/^([0-9]+) $1([^a-z].*)?$/\1/p" | head -1 | grep . || echo 0
}

# The sum of the numbers before a word in all lines read.
sum_before() {
    sed -nE "s/.*[^0-9]([0-9]+) $1.*/\1/p" | awk '{ sum += $1 } END { print sum + 0 }'
}

target_dir() {
    cargo metadata --locked --no-deps --format-version 1 | sed -nE 's/.*"target_directory":"([^"]*)".*/\1/p'
}

as_root() {
    if [ "$(id -u)" -eq 0 ]; then "$@"; else sudo -n "$@"; fi
}

# Debian's packages, by the command that each brings. cmake, make and a C compiler build zlib-ng, which pingora needs, and jemalloc.
install_packages() {
    local missing=()
    need cmake cmake
    need cc gcc
    need make make
    need curl curl
    need node nodejs
    need npm npm
    need mount mount
    need openssl openssl
    need nghttp nghttp2-client
    need h2load nghttp2-client
    # Debian puts it where only root looks.
    [ -x /usr/sbin/nginx ] || need nginx nginx-light
    # Debian's python comes without what makes a virtual environment.
    if ! command -v python3 >/dev/null || ! python3 -c 'import venv, ensurepip' 2>/dev/null; then
        missing+=(python3 python3-venv)
    fi
    if [ ${#missing[@]} -eq 0 ]; then
        echo "nothing is missing"
        return 0
    fi
    echo "installing ${missing[*]}"
    retry as_root env DEBIAN_FRONTEND=noninteractive apt-get update -qq &&
        retry as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}"
}

need() {
    command -v "$1" >/dev/null || missing+=("$2")
}

# A virtual environment under target/, made anew when the list of packages or the interpreter changes.
install_python() {
    local list=tests/blackbox/requirements.txt stamp
    stamp=$(python3 -V; cat "$list")
    if [ -x "$VENV/bin/python" ] && [ "$(cat "$VENV/stamp" 2>/dev/null)" = "$stamp" ]; then
        echo "the Python packages are there"
        return 0
    fi
    rm -rf "$VENV"
    python3 -m venv "$VENV" &&
        retry "$VENV/bin/python" -m pip install --quiet --no-compile --only-binary :all: --requirement "$list" &&
        echo "$stamp" >"$VENV/stamp"
}

install_node() {
    local stamp
    stamp=$(node --version; cat "$NODE_DIR/package-lock.json")
    if [ "$(cat "$NODE_DIR/node_modules/.stamp" 2>/dev/null)" = "$stamp" ]; then
        echo "the npm packages are there"
        return 0
    fi
    (cd "$NODE_DIR" && retry npm ci --ignore-scripts --no-audit --no-fund --loglevel=error) &&
        echo "$stamp" >"$NODE_DIR/node_modules/.stamp"
}

main
