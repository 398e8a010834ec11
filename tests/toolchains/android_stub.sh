#!/bin/sh
# Configures the android-arm64 preset against a stand-in for the NDK that only looks like one: are its toolchain file
# found, our settings made before it, tests and host libraries left out, segments aligned to 16 KB? Not a build with an
# NDK. usage: android_stub.sh SOURCE_DIR; 77: no clang with ARM libraries here.
set -eu
source=$1
clang=$(command -v clang || command -v clang-14) || exit 77
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
printf 'int main(void) { return 0; }\n' > "$dir/probe.c"
"$clang" --target=aarch64-linux-gnu "$dir/probe.c" -o "$dir/probe" 2>/dev/null || { echo "clang cannot link for ARM"; exit 77; }

mkdir -p "$dir/ndk/build/cmake"
cat > "$dir/ndk/build/cmake/android.toolchain.cmake" <<EOF
set(CMAKE_SYSTEM_NAME Linux)
set(CMAKE_SYSTEM_PROCESSOR aarch64)
set(CMAKE_C_COMPILER $clang)
set(CMAKE_C_COMPILER_TARGET aarch64-linux-gnu)
set(ANDROID TRUE)
message(STATUS "NDK sees \${ANDROID_ABI} \${ANDROID_PLATFORM} \${ANDROID_STL} \${ANDROID_SUPPORT_FLEXIBLE_PAGE_SIZES}")
EOF

configure() {
  (cd "$source" && env ANDROID_NDK="$1" cmake --preset android-arm64 -B "$dir/build") > "$dir/log" 2>&1
}
if configure "$dir/nowhere"; then echo "a missing NDK went unnoticed"; exit 1; fi
grep -q 'android.toolchain.cmake in that folder' "$dir/log" || { cat "$dir/log"; exit 1; }
rm -rf "$dir/build"
configure "$dir/ndk" || { cat "$dir/log"; exit 1; }
grep -q 'NDK sees arm64-v8a android-24 none ON' "$dir/log" || { cat "$dir/log"; exit 1; }
grep -q 'max-page-size=16384' "$dir/build/build.ninja" || { echo "no alignment for 16 KB pages"; exit 1; }
if grep -q 'cmocka' "$dir/build/build.ninja"; then echo "tests are built for Android"; exit 1; fi
if grep -Eq 'TB_HAVE_(SLEEF|PCRE2)' "$dir/build/build.ninja"; then echo "the host's libraries are used"; exit 1; fi

# The sample app, as externalNativeBuild does it: with the NDK's own file. Only the library and the bridge are built.
sample=$source/toolchains/android/app/src/main/cpp
cmake -S "$sample" -B "$dir/sample" -G Ninja -DCMAKE_TOOLCHAIN_FILE="$dir/ndk/build/cmake/android.toolchain.cmake" \
  -DCMAKE_BUILD_TYPE=Release > "$dir/log" 2>&1 || { cat "$dir/log"; exit 1; }
grep -q 'libthimble_jni.so' "$dir/sample/build.ninja" || { echo "the sample has no bridge"; exit 1; }
grep -q 'max-page-size=16384' "$dir/sample/build.ninja" || { echo "the bridge is not aligned for 16 KB pages"; exit 1; }
if grep -Eq 'cmocka|cmd_chat|TB_HAVE_(SLEEF|PCRE2)' "$dir/sample/build.ninja"; then echo "the sample builds too much"; exit 1; fi
echo "configured"
