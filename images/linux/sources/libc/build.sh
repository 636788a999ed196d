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
# What the guest does not take: profilers, the debugger's thread library, name services of other
# hosts, and empty libraries that only programs of older days were linked to. On ports with large
# pages each is a MiB of zeros that every boot unpacks.
for name in BrokenLocale anl c_malloc_debug memusage nsl nss_compat nss_dns nss_files nss_hesiod \
  pcprofile thread_db util; do
  rm -f "$OUT/root/usr/lib/$MULTIARCH/lib$name".so*
done

libs="$OUT/sysroot/usr/lib/$MULTIARCH"
cp -R "$from/include" "$OUT/sysroot/usr/include"
cp -P "$from"/lib/*.o "$from"/lib/*.a "$libs/"
for link in "$from"/lib/*.so; do
  [ -L "$link" ] && cp -P "$link" "$libs/"
done
# The compiler's own package links the C++ library where no sysroot is looked into.
ln -sf libstdc++.so.6 "$libs/libstdc++.so"
# What is put into C++ programs is the runtime of these headers and this C library, whatever newer one
# the host's compiler brings.
for dir in "$SRC/usr/lib/gcc-cross/$HOST"/[0-9]*; do
  runtime="$OUT/sysroot/usr/lib/gcc/$HOST/${dir##*/}"
  mkdir -p "$runtime"
  cp "$dir/libstdc++.a" "$runtime/"
done
# Linker scripts name absolute paths of the cross packages; without a path the linker searches
# the sysroot.
for script in "$from"/lib/*.so; do
  [ -L "$script" ] || sed -e "s,/usr/$HOST/lib/,,g" -e "s,/usr/$HOST/\(lib[0-9]*\)/,/\1/,g" "$script" >"$libs/${script##*/}"
done
