#!/bin/sh
# Builds busybox from its defconfig plus fragments, with a link for each applet.
# See ../README.md for the variables a build script is given.
set -eu

export KCONFIG_NOTIMESTAMP=1
bmake() {
  make -C "$SRC" O="$WORK/obj" CROSS_COMPILE="$CROSS_COMPILE" SKIP_STRIP=n \
    EXTRA_CFLAGS="$CFLAGS" EXTRA_LDFLAGS="$LDFLAGS" "$@"
}
mkdir -p "$WORK/obj"

echo '== step: configure'
bmake -s defconfig >/dev/null
for fragment in $FRAGMENTS; do
  while IFS= read -r line; do
    case $line in CONFIG_*=*) ;; *) continue ;; esac
    name=${line%%=*}
    sed -i -e "/^$name=/d" -e "/^# $name is not set\$/d" "$WORK/obj/.config"
    case $line in
      *=n) echo "# $name is not set" ;;
      *) echo "$line" ;;
    esac >>"$WORK/obj/.config"
  done <"$RECIPE/$fragment"
done
# Answers the questions that the fragments open with their defaults.
yes '' | bmake -s oldconfig >/dev/null

echo '== step: compile'
bmake -j "$JOBS" busybox

echo '== step: install'
mkdir -p "$OUT/root"
bmake -s CONFIG_PREFIX="$OUT/root" install >/dev/null
# An initramfs is started by /init; this link would only be in the way.
rm -f "$OUT/root/linuxrc"
