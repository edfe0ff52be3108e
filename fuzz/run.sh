#!/usr/bin/env bash
# Runs every fuzz target for a number of seconds: fuzz/run.sh SECONDS [TARGET…]
#
# Fails when a target crashes, hangs or eats memory; the input is then in fuzz/artifacts and goes to the target's binary
# as its argument. What is found on the way goes to target/fuzz-corpus, so that the seeds in fuzz/corpus stay what was
# put there. Two targets run at a time (JOBS=…). With SEED=N every run on a fresh clone tries the same inputs in the same order.
# Fuzzing needs compiler flags that a stable toolchain hides behind RUSTC_BOOTSTRAP.
set -euo pipefail
cd "$(dirname "$0")/.."

seconds=${1:?"usage: fuzz/run.sh SECONDS [TARGET…]"}
shift
CARGO_FUZZ=${CARGO_FUZZ:-cargo-fuzz}
export RUSTC_BOOTSTRAP=1 seconds

"$CARGO_FUZZ" build --sanitizer none --strip-dead-code
if (($# == 0)); then
  mapfile -t targets < <("$CARGO_FUZZ" list)
  set -- "${targets[@]}"
fi

# Stores and hubs under test sync to disk; in memory that costs nothing.
scratch=$(mktemp -d -p "$([[ -w /dev/shm ]] && echo /dev/shm || echo "${TMPDIR:-/tmp}")" muster-fuzz.XXXXXX)
trap 'rm -rf "$scratch"' EXIT
export TMPDIR=$scratch
mkdir -p target/fuzz-log
export binaries=fuzz/target/$(rustc -vV | sed -n 's/^host: //p')/release

run_one() {
  local target=$1 log=target/fuzz-log/$1.log
  mkdir -p "target/fuzz-corpus/$target" "fuzz/artifacts/$target"
  if "$binaries/$target" "target/fuzz-corpus/$target" "fuzz/corpus/$target" -max_total_time="$seconds" -seed="${SEED:-0}" -timeout=10 \
    -rss_limit_mb=2048 -max_len=16384 -artifact_prefix="fuzz/artifacts/$target/" >"$log" 2>&1; then
    local runs inputs
    runs=$(sed -nE 's/^Done ([0-9]+) runs in ([0-9]+) second.*/\1 runs in \2 s/p' "$log")
    inputs=$(sed -nE 's/.*cov: ([0-9]+).*corp: ([0-9]+).*/\1 edges, \2 inputs/p' "$log" | tail -1)
    printf 'fuzz %-18s ok      %s, %s\n' "$target" "$runs" "$inputs"
  else
    printf 'fuzz %-18s FAILED  %s\n' "$target" "see $log"
    grep -m 1 -A 3 'panicked at' "$log" || true
    grep -E '^SUMMARY|^Base64|Test unit written' "$log" || tail -n 20 "$log"
    return 1
  fi
}
export -f run_one

printf '%s\0' "$@" | xargs -0 -n 1 -P "${JOBS:-2}" bash -c 'run_one "$1"' run_one
