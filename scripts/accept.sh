#!/usr/bin/env bash
# Runs one issue's whole acceptance, part by part, and keeps each part's result.
#   scripts/accept.sh LETTER            all parts, from the start
#   scripts/accept.sh LETTER --resume   only parts that have not passed yet
#   scripts/accept.sh LETTER --part N   only part N
# Each part takes at most 60 minutes. Results: acceptance/LETTER/N.log, and N.ok when it passed.
set -uo pipefail
cd "$(dirname "$0")/.."

usage() { sed -n '2,6p' "$0" | sed 's/^# \{0,1\}//'; exit 2; }
letter=${1:-}; [[ "$letter" =~ ^[A-Z]$ ]] || usage
script=scripts/acceptance/$letter.sh
[[ -f "$script" ]] || { echo "accept: there is no $script" >&2; exit 2; }
resume=false only=
case "${2:-}" in
  "") ;;
  --resume) resume=true ;;
  --part) only=${3:?--part needs a number} ;;
  *) usage ;;
esac

# shellcheck disable=SC1090
source "$script"  # defines parts=(names...) and one function part_NAME per part
results=acceptance/$letter
mkdir -p "$results"

failed=0 number=0
for part in "${parts[@]}"; do
  number=$((number + 1))
  [[ -z "$only" || "$only" == "$number" ]] || continue
  if $resume && [[ -f "$results/$number.ok" ]]; then
    echo "$letter.$number $part: passed before"
    continue
  fi
  rm -f "$results/$number.ok"
  echo "$letter.$number $part ..."
  start=$SECONDS
  export -f "part_$part"
  if timeout --kill-after=10 3600 bash -euo pipefail -c "part_$part" >"$results/$number.log" 2>&1; then
    touch "$results/$number.ok"
    echo "$letter.$number $part: passed in $((SECONDS - start)) s"
  else
    failed=1
    echo "$letter.$number $part: FAILED after $((SECONDS - start)) s; the end of $results/$number.log:"
    tail -n 15 "$results/$number.log" | sed 's/^/    /'
  fi
done
exit $failed
