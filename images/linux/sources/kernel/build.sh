#!/bin/sh
# Configures and builds one kernel from fragments. See ../README.md for the variables a
# build script is given; this one also takes KERNEL_ARCH (make's ARCH) and KERNEL_IMAGE (the
# file to boot, as a path in the build tree), facts of the port.
#
# Leaves in OUT: boot/kernel, boot/config, boot/System.map, boot/release.
set -eu

# The same source gives the same kernel: no clock, user, host or directory name in it.
# The local version carries the key, so that a booted guest can be asked which build it runs.
export KBUILD_BUILD_TIMESTAMP="Debian $SOURCE_VERSION" KBUILD_BUILD_VERSION=1
export KBUILD_BUILD_USER=fallout KBUILD_BUILD_HOST=fallout
# Those are for programs; a kernel has flags of its own.
unset CFLAGS CXXFLAGS LDFLAGS
kmake() {
  make -C "$SRC" O="$WORK/obj" ARCH="$KERNEL_ARCH" CROSS_COMPILE="$CROSS_COMPILE" LOCALVERSION="-fallout-$KEY_SHORT" "$@"
}
mkdir -p "$WORK/obj"

echo '== step: configure'
# Of two fragments that name one option the later wins: a port may lack what others have.
for fragment in $FRAGMENTS; do cat "$RECIPE/$fragment"; done |
  awk -F= '/^CONFIG_/ { if (!($1 in value)) order[++n] = $1; value[$1] = $0 }
    END { for (i = 1; i <= n; i++) print value[order[i]] }' >"$WORK/wanted.config"
kmake -s KCONFIG_ALLCONFIG="$WORK/wanted.config" allnoconfig

# Kconfig drops in silence what it does not know or what depends on something absent. An option
# that did not arrive would be found much later, in a guest that does not boot.
missing=0
while IFS= read -r line; do
  name=${line%%=*} value=${line#*=}
  if [ "$value" = n ]; then
    if grep -q "^$name=" "$WORK/obj/.config"; then echo "$name was to be off and is on"; missing=1; fi
  elif ! grep -qxF "$line" "$WORK/obj/.config"; then
    echo "$line did not arrive in .config (renamed, or a dependency is off)"; missing=1
  fi
done <"$WORK/wanted.config"
[ "$missing" = 0 ] || exit 1

echo '== step: compile'
kmake -j "$JOBS" "${KERNEL_IMAGE##*/}"

echo '== step: install'
mkdir -p "$OUT/boot"
cp "$WORK/obj/$KERNEL_IMAGE" "$OUT/boot/kernel"
cp "$WORK/obj/.config" "$OUT/boot/config"
cp "$WORK/obj/System.map" "$OUT/boot/System.map"
# What `uname -r` is to say in a guest that runs this very build.
cp "$WORK/obj/include/config/kernel.release" "$OUT/boot/release"
