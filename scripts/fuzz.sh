#!/usr/bin/env bash
# Fuzzes everything that parses (tests/fuzz), two targets at a time, under the address and undefined-behaviour sanitizers.
#   scripts/fuzz.sh [--seconds N] [TARGET...]    each target, or each named one, for N seconds (10)
# What an input may take is limited: 20 s, 2 GiB of memory (1 GiB at once), 8 KiB of length. Fails on a finding. Inputs that were found
# to reach new code are kept in build/fuzz/run/TARGET/corpus and used again the next time.
set -euo pipefail
cd "$(dirname "$0")/.."

seconds=10
if [[ "${1:-}" == --seconds ]]; then seconds=${2:?--seconds needs a number}; shift 2; fi
mapfile -t all < <(find tests/fuzz -name '*_fuzz.cc' -printf '%f\n' | sed 's/_fuzz\.cc$//' | sort)
targets=("$@")
((${#targets[@]})) || targets=("${all[@]}")
for target in "${targets[@]}"; do
  [[ " ${all[*]} " == *" $target "* ]] || { echo "fuzz: there is no target $target; known are: ${all[*]}" >&2; exit 2; }
done

cmake --preset fuzz >/dev/null
cmake --build --preset fuzz --target "${targets[@]/#/fuzz_}" >build/fuzz/build.log 2>&1 || { tail -n 40 build/fuzz/build.log; exit 1; }

# shellcheck disable=SC2015,SC2317
fuzz_one() {
  local target=$1 seconds=$2 run=build/fuzz/run/$1 program=build/fuzz/fuzzers/$1
  mkdir -p "$run/findings" "$run/earlier-findings" "$run/corpus" "tests/fuzz/corpus/$target"
  find "$run/findings" -type f -exec mv -t "$run/earlier-findings" {} +
  rm -rf "$run/seeds" "$run/failed"
  local options=("-max_total_time=$seconds" -timeout=20 -rss_limit_mb=2048 -malloc_limit_mb=1024 -max_len=8192 -print_final_stats=1
                 -report_slow_units=1000000 "-artifact_prefix=$run/findings/")
  [[ ! -f tests/fuzz/dict/$target.dict ]] || options+=("-dict=tests/fuzz/dict/$target.dict")
  "$program" --write-seeds "$run/seeds" >"$run/log" 2>&1 &&
    timeout --kill-after=10 $((seconds + 300)) "$program" "${options[@]}" \
      "$run/corpus" "$run/seeds" "tests/fuzz/corpus/$target" >>"$run/log" 2>&1 || touch "$run/failed"
}
export -f fuzz_one
printf '%s\0' "${targets[@]}" | xargs -0 -P 2 -I {} bash -c 'fuzz_one "$@"' _ {} "$seconds"

failed=0
printf '%-20s %12s %10s %9s\n' target executions coverage findings
for target in "${targets[@]}"; do
  run=build/fuzz/run/$target
  mapfile -t findings < <(find "$run/findings" -type f)
  executions=$(awk '/^stat::number_of_executed_units:/ { print $2 }' "$run/log")
  coverage=$(grep -ao 'cov: [0-9]*' "$run/log" | tail -n 1 | cut -d ' ' -f 2 || true)
  printf '%-20s %12s %10s %9s\n' "$target" "${executions:--}" "${coverage:--}" "${#findings[@]}"
  [[ -f "$run/failed" ]] || ((${#findings[@]})) || continue
  failed=1
  grep -aE '^property broken|runtime error|ERROR: ' "$run/log" | head -n 3 | sed 's/^/    /' || true
  for finding in "${findings[@]}"; do
    echo "    replay: build/fuzz/fuzzers/$target $finding"
  done
  ((${#findings[@]})) || tail -n 5 "$run/log" | sed 's/^/    /'
done
exit $failed
