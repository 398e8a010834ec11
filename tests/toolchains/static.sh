#!/bin/sh
# Builds the aarch64-musl preset, the program that phones and boards run without installing anything, and holds it to what
# the documentation promises:
#   at most 2 MiB, stripped; statically linked; segments aligned to 16 KB
#   the same answer, and no illegal instruction, on every CPU that qemu plays, and with 16 and 64 KB pages
#   the same token ids as a program with PCRE2, utf8proc and SLEEF
#   nothing that Android's C library lacks at API 24; the bridge of the Android sample links, aligned as well
# usage: static.sh SOURCE_DIR BUILD_DIR REFERENCE_PROGRAM     77: the cross compiler, qemu or musl's package is not here
set -eu
source=$1 build=$2 reference=$3
cross=aarch64-linux-gnu
for tool in $cross-gcc qemu-aarch64-static cmake ninja apt-get; do
  command -v "$tool" >/dev/null || { echo "no $tool"; exit 77; }
done
mkdir -p "$build"
fail() { echo "$*"; exit 1; }
logged() { "$@" > "$build/log" 2>&1 || { tail -n 30 "$build/log"; fail "that failed: $*"; }; }

if [ ! -f "$build/sysroot/musl-gcc.specs" ]; then
  sh "$source/toolchains/musl-sysroot.sh" "$build/sysroot" > "$build/log" 2>&1 || { echo "musl's package cannot be had"; exit 77; }
fi
TB_MUSL_SYSROOT=$build/sysroot
export TB_MUSL_SYSROOT
logged cmake -S "$source" -B "$build/tree" -G Ninja -DCMAKE_BUILD_TYPE=Release -DTB_WERROR=ON \
  -DCMAKE_TOOLCHAIN_FILE="$source/toolchains/aarch64-musl.cmake"
logged cmake --build "$build/tree" --target thimble
program=$build/thimble
$cross-strip -o "$program" "$build/tree/thimble"

bytes=$(wc -c < "$program")
[ "$bytes" -le 2097152 ] || fail "the program has $bytes bytes"
aligned() { # FILE: every segment that is loaded, to 16 KB
  $cross-readelf -lW "$1" | awk '$1 == "LOAD" { n++; if ($NF != "0x4000") bad = 1 } END { exit n == 0 || bad }' ||
    { $cross-readelf -lW "$1"; fail "$1 is not aligned to 16 KB"; }
}
aligned "$program"
if $cross-readelf -lW "$program" | grep -q INTERP; then fail "the program asks for a dynamic linker"; fi

model=$source/models/tiny/tiny-chat.gguf
answer() { # CPU PAGE
  QEMU_CPU=$1 qemu-aarch64-static -p "$2" "$program" run -q -m "$model" --temp 0 -p 'What is the capital of France?'
}
for cpu in cortex-a53 cortex-a72 cortex-a76 neoverse-n1 a64fx max,sve=off max,sve128=on,sve256=off max; do
  said=$(answer $cpu 4096) || fail "$cpu: it ends with status $?"
  [ "$said" = 'The capital of France is Paris.' ] || fail "$cpu: it said: $said"
done
for page in 16384 65536; do
  said=$(answer cortex-a76 $page) || fail "pages of $page bytes: it ends with status $?"
  [ "$said" = 'The capital of France is Paris.' ] || fail "pages of $page bytes: it said: $said"
done

printf "He'll pay 12345 €\n\n  for na\303\257ve caf\303\251s,   e\314\201t\303\251 \346\274\242\345\255\227 \360\237\246\212!\r\n\tx\302\240y" > "$build/text"
"$reference" tokenize --ids -m "$model" < "$build/text" > "$build/ids"
qemu-aarch64-static "$program" tokenize --ids -m "$model" < "$build/text" | cmp - "$build/ids" || fail "other token ids"

# Undefined names of everything that is ours, less what is defined there; musl calls the address of errno differently.
allowed=$build/allowed
sed '/^#/d' "$source/toolchains/android/api24.txt" | tr ' ' '\n' | sed '/^$/d' | sort > "$allowed"
beyond_api24() { # OBJECT...
  $cross-nm --defined-only "$@" 2>/dev/null | awk 'NF == 3 { print $3 }' | sort -u > "$build/defined"
  $cross-nm -u "$@" 2>/dev/null | awk '$1 == "U" { print $2 }' | sort -u | grep -vx __errno_location |
    comm -23 - "$build/defined" | comm -23 - "$allowed"
}
find "$build/tree/src/cli" "$build/tree/bench" -name '*.o' > "$build/objects"
grep -q kernels_calls "$build/objects" || fail "the objects of bench/ are elsewhere"
# shellcheck disable=SC2046 # a list of files without blanks
missing=$(beyond_api24 "$build/tree/libthimble.a" $(cat "$build/objects"))
[ -z "$missing" ] || fail "not on Android at API 24: $missing"
echo 'void *aligned_alloc(unsigned long, unsigned long); void *later(void) { return aligned_alloc(64, 64); }' |
  $cross-gcc -x c -c - -o "$build/later.o"
[ "$(beyond_api24 "$build/later.o")" = aligned_alloc ] || fail "a function of API 28 goes unnoticed"

# The bridge, with the few declarations that it uses of jni.h.
mkdir -p "$build/jni"
cat > "$build/jni/jni.h" <<'C'
#include <stdint.h>
#define JNIEXPORT __attribute__((visibility("default")))
#define JNICALL
#define JNI_ABORT 2
typedef int32_t jint; typedef int64_t jlong; typedef int8_t jbyte; typedef unsigned char jboolean; typedef jint jsize;
typedef void *jobject, *jclass, *jstring, *jbyteArray;
typedef const struct JNINativeInterface *JNIEnv;
struct JNINativeInterface {
  jclass (*FindClass)(JNIEnv *, const char *);
  jint (*ThrowNew)(JNIEnv *, jclass, const char *);
  const char *(*GetStringUTFChars)(JNIEnv *, jstring, jboolean *);
  void (*ReleaseStringUTFChars)(JNIEnv *, jstring, const char *);
  jsize (*GetArrayLength)(JNIEnv *, jbyteArray);
  jbyte *(*GetByteArrayElements)(JNIEnv *, jbyteArray, jboolean *);
  void (*ReleaseByteArrayElements)(JNIEnv *, jbyteArray, jbyte *, jint);
  jbyteArray (*NewByteArray)(JNIEnv *, jsize);
  void (*SetByteArrayRegion)(JNIEnv *, jbyteArray, jsize, jsize, const jbyte *);
};
C
bridge=$source/toolchains/android/app/src/main
logged $cross-gcc -specs="$TB_MUSL_SYSROOT/musl-gcc.specs" -mno-outline-atomics -std=c11 -O2 -Wall -Wextra -Werror -fPIC -shared \
  -nostdlib -Wl,-z,max-page-size=16384 -I"$build/jni" -I"$source/src/include" "$bridge/cpp/thimble_jni.c" \
  "$build/tree/libthimble.a" -o "$build/libthimble_jni.so"
aligned "$build/libthimble_jni.so"
missing=$(beyond_api24 "$build/libthimble_jni.so")
[ -z "$missing" ] || fail "the bridge needs what Android lacks at API 24: $missing"
sed -n 's/.*external fun \([a-z]*\).*/Java_thimble_Engine_\1/p' "$bridge/kotlin/thimble/Engine.kt" | sort > "$build/natives"
$cross-nm -D --defined-only "$build/libthimble_jni.so" | awk '/Java_/ { print $3 }' | sort | cmp - "$build/natives" ||
  fail "the bridge and Engine.kt have other functions"
echo "$bytes bytes, aligned, 8 CPUs, 3 page sizes, same ids, API 24"
