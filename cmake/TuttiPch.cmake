# Precompiled headers: the headers of the standard library and of packages that most files read, compiled once per set and used by
# every target of the set. A file still includes what it needs itself: clang, clang-tidy and the check that each header compiles
# alone build without.
#
# With a precompiled header g++ 12 drops -ffp-contract=off at the first `#pragma GCC target`, so kernels and the tests that compare
# their bits go without, and it reports std::string code that is right (-Wstringop-overread, -Wstringop-overflow, -Warray-bounds).
option(TUTTI_PCH "Precompile the headers that most files read (g++ only)" ON)
if(NOT CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
  set(TUTTI_PCH OFF)
endif()

set(TUTTI_PCH_STANDARD <algorithm> <array> <atomic> <bit> <cerrno> <charconv> <cstddef> <cstdint> <cstring> <deque> <functional>
    <map> <memory> <mutex> <optional> <set> <span> <string> <string_view> <utility> <vector>)

# tutti_add_pch(SET HEADERS <a> ... [DEPS ...] [OPTIONS ...] [PIC]): makes a set with the standard headers and HEADERS.
function(tutti_add_pch set)
  cmake_parse_arguments(ARG "PIC" "" "HEADERS;DEPS;OPTIONS" ${ARGN})
  if(NOT TUTTI_PCH)
    return()
  endif()
  file(CONFIGURE OUTPUT pch_${set}.cc CONTENT "" @ONLY)
  add_library(pch_${set} OBJECT ${CMAKE_CURRENT_BINARY_DIR}/pch_${set}.cc)
  target_link_libraries(pch_${set} PRIVATE tutti_options ${ARG_DEPS})
  target_compile_options(pch_${set} PRIVATE ${ARG_OPTIONS})
  if(ARG_PIC)
    set_target_properties(pch_${set} PROPERTIES POSITION_INDEPENDENT_CODE ON)
  endif()
  target_precompile_headers(pch_${set} PRIVATE ${TUTTI_PCH_STANDARD} ${ARG_HEADERS})
endfunction()

# tutti_use_pch(TARGET SET): compiles TARGET with SET, whose optimisation, sanitizers and position independence it must share.
function(tutti_use_pch target set)
  if(NOT TARGET pch_${set})
    return()
  endif()
  target_precompile_headers(${target} REUSE_FROM pch_${set})
  target_compile_options(${target} PRIVATE
    $<$<COMPILE_LANGUAGE:CXX>:-Wno-stringop-overread -Wno-stringop-overflow -Wno-array-bounds>)
endfunction()
