#!/usr/bin/env bash
# Installs the built tree into a scratch prefix and builds a program outside the tree against it: find_package and pkg-config,
# shared and static, and only the C API visible.
set -euo pipefail
build=$1 source=$2
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

cmake --install "$build" --prefix "$scratch/prefix" >/dev/null
libdir=$(dirname "$(find "$scratch/prefix" -name libtutti.so)")

cmake -S "$source/tests/project/consumer" -B "$scratch/consumer" -G Ninja -DCMAKE_PREFIX_PATH="$scratch/prefix" >/dev/null
cmake --build "$scratch/consumer" >/dev/null
"$scratch/consumer/with_shared"
"$scratch/consumer/with_static"

# The .pc file finds its own prefix.
read -ra flags < <(PKG_CONFIG_PATH="$libdir/pkgconfig" pkg-config --cflags --libs tutti)
cc -std=c99 -Wall -Werror "$source/tests/project/consumer/consumer.c" "${flags[@]}" -o "$scratch/with_pc"
LD_LIBRARY_PATH="$libdir" "$scratch/with_pc"

# Without the shared library, in another place.
cp -r "$scratch/prefix" "$scratch/static"
static=${libdir/"$scratch/prefix"/"$scratch/static"}
rm "$static"/libtutti.so*
read -ra flags < <(PKG_CONFIG_PATH="$static/pkgconfig" pkg-config --static --cflags --libs tutti)
cc -std=c99 -Wall -Werror "$source/tests/project/consumer/consumer.c" "${flags[@]}" -o "$scratch/with_static_pc"
"$scratch/with_static_pc"

foreign=$(nm -D --defined-only "$libdir/libtutti.so" | awk '$2 ~ /[TWBDVR]/ {print $3}' | grep -v '^tutti[A-Z]' | grep -v '^TUTTI_0' || true)
[[ -z "$foreign" ]] || { echo "libtutti.so exports more than the C API:"; echo "$foreign"; exit 1; }
nm -D --defined-only "$libdir/libtutti.so" | grep -q 'tuttiAllReduce@@TUTTI_0.1' || { echo "symbols are not versioned"; exit 1; }

# NCCL's place is where pkg-config says, and nowhere that a loader looks by itself.
nccl=$(PKG_CONFIG_PATH="$libdir/pkgconfig" pkg-config --variable=nccl_libdir tutti)
[[ -e "$nccl/libnccl.so.2" && ! -e "$libdir/libnccl.so.2" ]] || { echo "libnccl.so.2 is not in $nccl alone"; exit 1; }
found=$(cd / && env -u TUTTI_LOG LD_LIBRARY_PATH="$nccl" python3 -c '
import ctypes
version = ctypes.c_int()
ctypes.CDLL("libnccl.so.2").ncclGetVersion(ctypes.byref(version))
print(version.value)')
[[ "$found" == 22809 ]] || { echo "libnccl.so.2 says it is version $found"; exit 1; }
