#!/bin/sh
# Builds ATF: the libraries and headers that tests are cross-built with (sysroot/), and what
# runs them in the guest (root/). See ../README.md for the variables a build script is given.
set -eu

echo '== step: configure'
mkdir -p "$WORK/obj"
cd "$WORK/obj"
# The shell is the guest's own. configure cannot run programs of another machine, so what it
# would find out that way is stated; all three hold for the GNU C library and compiler.
"$SRC/configure" --quiet --host="$HOST" --build="$BUILD" --prefix=/usr --sysconfdir=/etc \
  --libdir="/usr/lib/$MULTIARCH" --disable-static --enable-shared --disable-dependency-tracking --disable-silent-rules \
  CC="${CROSS_COMPILE}gcc" CXX="${CROSS_COMPILE}g++" \
  CFLAGS="-O2 $CFLAGS" CXXFLAGS="-O2 $CXXFLAGS" LDFLAGS="$LDFLAGS" \
  ATF_SHELL=/bin/sh ATF_BUILD_CC=cc ATF_BUILD_CXX=c++ ATF_BUILD_CPP=cpp \
  kyua_cv_getopt_plus=yes kyua_cv_attribute_noreturn=yes kyua_cv_getcwd_works=yes

echo '== step: compile'
# What a guest runs and what a test is linked with. ATF's own tests are a suite, built elsewhere.
make -j "$JOBS" libatf-c.la libatf-c++.la atf-c/defs.h atf-sh/atf-sh \
  atf-sh/libatf-sh.subr atf-c/atf-c.pc atf-c++/atf-c++.pc atf-sh/atf-sh.pc
# A compiler of 14 or later calls a function that the sysroot's C++ runtime, of 12, does not have.
# What it does is little; where the runtime has it after all, this weak one gives way.
cat >terminate.cc <<'END'
#include <exception>
extern "C" __attribute__((weak)) void __cxa_call_terminate(void *) { std::terminate(); }
END
# shellcheck disable=SC2086 # the flags are words
"${CROSS_COMPILE}g++" -O2 $CXXFLAGS -c terminate.cc
make -j "$JOBS" atf-sh/atf-check LIBS="$PWD/terminate.o"

echo '== step: install'
make -s DESTDIR="$OUT/sysroot" install-libLTLIBRARIES install-includeHEADERS install-atf_cHEADERS \
  install-nodist_atf_cHEADERS install-atf_c__HEADERS install-atf_cpkgconfigDATA \
  install-atf_c__dirpkgconfigDATA install-atf_shpkgconfigDATA
# They name paths of an installed system and mislead libtool about a sysroot.
rm -f "$OUT/sysroot/usr/lib/$MULTIARCH"/*.la

make -s DESTDIR="$WORK/programs" install-libLTLIBRARIES install-binPROGRAMS install-libexecPROGRAMS install-atf_shDATA
mkdir -p "$OUT/root/usr/bin" "$OUT/root/usr/libexec" "$OUT/root/usr/lib/$MULTIARCH" "$OUT/root/usr/share"
cp "$WORK/programs/usr/bin/atf-sh" "$OUT/root/usr/bin/"
cp "$WORK/programs/usr/libexec/atf-check" "$OUT/root/usr/libexec/"
ln -s ../libexec/atf-check "$OUT/root/usr/bin/atf-check"
cp -R "$WORK/programs/usr/share/atf" "$OUT/root/usr/share/"
cp -P "$WORK/programs/usr/lib/$MULTIARCH"/*.so.* "$OUT/root/usr/lib/$MULTIARCH/"
find "$OUT/root" -type f \( -path '*/bin/*' -o -path '*/libexec/*' -o -name '*.so.*' \) -exec "${CROSS_COMPILE}strip" --strip-unneeded {} +
