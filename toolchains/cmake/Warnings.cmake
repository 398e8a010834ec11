# Warnings of the whole project; errors only where TB_WERROR asks for it (dev and CI presets).
set(TB_WARNINGS -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wpointer-arith -Wcast-qual -Wvla)
if(TB_WERROR)
  list(APPEND TB_WARNINGS -Werror)
endif()
