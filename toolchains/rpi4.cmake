# Raspberry Pi 4 (four Cortex-A72, ARMv8.0: the plain NEON kernels), 64-bit system. Only the tuning differs from
# aarch64-linux-gnu.cmake: the program runs on every 64-bit ARM and still chooses its kernels when it starts.
set(CMAKE_C_FLAGS_INIT "-mtune=cortex-a72")
set(TB_QEMU_MODEL cortex-a72)
include(${CMAKE_CURRENT_LIST_DIR}/aarch64-linux-gnu.cmake)
