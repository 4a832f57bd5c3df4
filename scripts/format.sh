#!/usr/bin/env bash
# Fails when a file is not formatted as .clang-format says.
set -euo pipefail
cd "$(dirname "$0")/.."

mapfile -t sources < <(git ls-files -- '*.cc' '*.h' '*.hpp')
clang-format --dry-run --Werror "${sources[@]}"
