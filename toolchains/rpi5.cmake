# Raspberry Pi 5 (four Cortex-A76, ARMv8.2: the dot product kernels). As rpi4.cmake, tuned for the newer core.
set(CMAKE_C_FLAGS_INIT "-mtune=cortex-a76")
set(TB_QEMU_MODEL cortex-a76)
include(${CMAKE_CURRENT_LIST_DIR}/aarch64-linux-gnu.cmake)
