#!/bin/sh
# Lays out Debian's cross packages of the C and C++ runtime as a system: SRC holds them unpacked,
# everything under usr/<triplet>/. Nothing is compiled. See ../README.md for the variables.
#
# Leaves root/ (shared libraries, for the guest) and sysroot/ (those, headers and link files).
set -eu

from="$SRC/usr/$HOST"
echo '== step: install'

for tree in root sysroot; do
  libs="$OUT/$tree/usr/lib/$MULTIARCH"
  mkdir -p "$libs"
  cp -P "$from"/lib/*.so.[0-9]* "$libs/"
  # Where programs look for their loader (/lib64/… on most 64-bit ports) is kept.
  for dir in lib64 lib32; do
    if [ -d "$from/$dir" ]; then mkdir -p "$OUT/$tree/$dir"; cp -P "$from/$dir"/ld*.so* "$OUT/$tree/$dir/"; fi
  done
done
# Profilers and the debugger's thread library: of no use to a test.
rm -f "$OUT/root/usr/lib/$MULTIARCH"/libthread_db.so.* "$OUT/root/usr/lib/$MULTIARCH"/libmemusage.so* \
  "$OUT/root/usr/lib/$MULTIARCH"/libpcprofile.so*

libs="$OUT/sysroot/usr/lib/$MULTIARCH"
cp -R "$from/include" "$OUT/sysroot/usr/include"
cp -P "$from"/lib/*.o "$from"/lib/*.a "$libs/"
for link in "$from"/lib/*.so; do
  [ -L "$link" ] && cp -P "$link" "$libs/"
done
# The compiler's own package links the C++ library where no sysroot is looked into.
ln -sf libstdc++.so.6 "$libs/libstdc++.so"
# Linker scripts name absolute paths of the cross packages; without a path the linker searches
# the sysroot.
for script in "$from"/lib/*.so; do
  [ -L "$script" ] || sed -e "s,/usr/$HOST/lib/,,g" -e "s,/usr/$HOST/\(lib[0-9]*\)/,/\1/,g" "$script" >"$libs/${script##*/}"
done
