/* gemv of every format for one x86 tier: TIER is defined and a simd/vec/lanes_*.h included before. */
#include "simd/kernels.h"
#include "simd/vec/unpack.h"

#define FMT q4_0
#include "simd/gemv/gemv_lanes.h"
#define FMT q4_1
#include "simd/gemv/gemv_lanes.h"
#define FMT q5_0
#include "simd/gemv/gemv_lanes.h"
#define FMT q5_1
#include "simd/gemv/gemv_lanes.h"
#define FMT q8_0
#include "simd/gemv/gemv_lanes.h"
#define FMT iq4_nl
#include "simd/gemv/gemv_lanes.h"
#define FMT q2_k
#include "simd/gemv/gemv_lanes.h"
#define FMT q3_k
#include "simd/gemv/gemv_lanes.h"
#define FMT q4_k
#include "simd/gemv/gemv_lanes.h"
#define FMT q5_k
#include "simd/gemv/gemv_lanes.h"
#define FMT q6_k
#include "simd/gemv/gemv_lanes.h"
#define FMT iq4_xs
#include "simd/gemv/gemv_lanes.h"

#define FMT f32
#define FMT_BYTES 4
#include "simd/gemv/gemv_floats.h"
#define FMT f16
#define FMT_BYTES 2
#include "simd/gemv/gemv_floats.h"
#define FMT bf16
#define FMT_BYTES 2
#include "simd/gemv/gemv_floats.h"
