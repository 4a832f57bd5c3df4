# shellcheck shell=bash
# Acceptance of issue A, Foundation. Sourced by scripts/accept.sh.

parts=(fresh_clone conformance conformance_full_0 conformance_full_1 conformance_full_2 conformance_full_3 bandwidth_2 bandwidth_3
       bandwidth_4 bandwidth_8 plans oversubscription sanitizers)

# 1. A fresh clone: quickstart, then the tests, with nothing else done by hand.
part_fresh_clone() {
  local scratch
  scratch=$(mktemp -d)
  git clone -q . "$scratch/tutti"
  (cd "$scratch/tutti" && scripts/quickstart.sh && scripts/test.sh)
  rm -rf "$scratch"
}

# 2. At least 5,000 distinct cases that were carried as requested; then the full product.
part_conformance() {
  scripts/install-deps.sh
  cmake --preset release >/dev/null && cmake --build --preset release
  build/release/tests/conformance/conformance --budget 9000 --minimum 5000
}
part_conformance_full_0() { build/release/tests/conformance/conformance --full --part 0 --parts 4; }
part_conformance_full_1() { build/release/tests/conformance/conformance --full --part 1 --parts 4; }
part_conformance_full_2() { build/release/tests/conformance/conformance --full --part 2 --parts 4; }
part_conformance_full_3() { build/release/tests/conformance/conformance --full --part 3 --parts 4; }

# 3. Every bandwidth binary over 2, 3, 4 and 8 processes, every datatype and operation, every result checked.
run_binaries() {
  local n=$1 bin=build/release/bin name end
  for name in all_reduce all_gather reduce_scatter broadcast reduce alltoall alltoallv gather scatter sendrecv hypercube; do
    [[ $name == hypercube && $n == 3 ]] && continue
    echo "== $n ranks, ${name}_perf"
    end=$("$bin/tutti" run -n "$n" "${name}_perf" -b 8 -e 64M -f 4 -d all -o all -c 1 -n 2 -w 1 | tail -n 4)
    echo "$end"
    grep -q 'Out of bounds values : 0 OK' <<<"$end"
  done
}
export -f run_binaries
part_bandwidth_2() { run_binaries 2; }
part_bandwidth_3() { run_binaries 3; }
part_bandwidth_4() { run_binaries 4; }
part_bandwidth_8() { run_binaries 8; }

# 4. Every plan that the library makes is accepted, every hand-broken one rejected.
part_plans() { build/release/bin/tutti plan verify --self-test; }

# 5. 8 ranks on 2 cores: 100 runs of the small-message tests in a row, and the median of an 8-byte AllReduce.
part_oversubscription() {
  local run
  for ((run = 1; run <= 100; ++run)); do
    timeout 120 ctest --preset release -L small --output-on-failure >/tmp/small.$$ || { cat /tmp/small.$$; return 1; }
  done
  rm -f /tmp/small.$$
  echo "100 runs without a hang"
  build/release/bin/tutti run -n 8 all_reduce_perf -b 8 -e 8 -n 5000 -w 100 -I 1 | tee -a /dev/stderr |
    awk '/median/ { for (i = 1; i < NF; ++i) if ($i == "median") { print "median of 8-byte AllReduce:", $(i + 1), "us"; bad = $(i + 1) >= 100 } } END { exit bad }'
}

# 6. Address, undefined-behaviour and thread sanitizers.
part_sanitizers() {
  scripts/sanitize.sh asan
  scripts/sanitize.sh tsan
}
