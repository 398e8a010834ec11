#include "simd/vec/inline.h"

#define TB_FN(name) tb_##name##_dotprod

#include "simd/cluster/cluster_arm.h"
#include "simd/cluster/cluster_lanes.h"
