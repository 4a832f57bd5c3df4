# Device code: compiled by nvcc when there is one, embedded in the library as fatbins (src/kernels/cuda/images.h).
#
# TUTTI_CUDA: AUTO builds device code where nvcc is found, ON fails without it, OFF leaves it out.
# TUTTI_CUDA_ARCHS: what machine code is made for. The PTX that is embedded beside it serves every later GPU.
set(TUTTI_CUDA AUTO CACHE STRING "Compile the CUDA kernels: AUTO, ON or OFF")
set_property(CACHE TUTTI_CUDA PROPERTY STRINGS AUTO ON OFF)
set(TUTTI_CUDA_ARCHS "80;90;100" CACHE STRING "Compute capabilities to make machine code for")
set(TUTTI_CUDA_DTYPES kInt8 kUint8 kInt32 kUint32 kInt64 kUint64 kFloat16 kFloat32 kFloat64 kBfloat16 kFloat8e4m3 kFloat8e5m2)
# Those that a switch reduces; multimem_reduces() in src/kernels/cuda/primitives.h.
set(TUTTI_NVLS_DTYPES kInt32 kUint32 kInt64 kUint64 kFloat16 kFloat32 kFloat64 kBfloat16)

set(TUTTI_CUDA_WHY "the library was configured with TUTTI_CUDA=OFF")
if(NOT TUTTI_CUDA STREQUAL "OFF")
  find_program(TUTTI_NVCC nvcc HINTS ENV CUDA_HOME ENV CUDA_PATH PATH_SUFFIXES bin PATHS /usr/local/cuda/bin)
  if(TUTTI_NVCC)
    execute_process(COMMAND ${TUTTI_NVCC} --version OUTPUT_VARIABLE version)
    string(REGEX MATCH "release ([0-9]+\\.[0-9]+)" version "${version}")
    set(TUTTI_NVCC_VERSION ${CMAKE_MATCH_1})
  elseif(TUTTI_CUDA STREQUAL "ON")
    message(FATAL_ERROR "TUTTI_CUDA=ON, but no nvcc was found: set CUDA_HOME or TUTTI_NVCC, or use TUTTI_CUDA=AUTO")
  else()
    set(TUTTI_CUDA_WHY "no nvcc was found when the library was built")
  endif()
endif()

# What nvcc makes of one module lies in a folder: module.fatbin, *.ptx, and nvcc.txt with what ptxas says of each kernel.
set(TUTTI_CUDA_DIR ${PROJECT_BINARY_DIR}/cuda)

# tutti_add_cuda_module(NAME SOURCE x.cu [DTYPE kFloat32] [PER_ARCH] [FROM 90]): one more fatbin.
# PTX of the oldest architecture serves all of them, so it is made once; PER_ARCH: the source has instructions of its own for
# newer ones. FROM: no older architecture.
function(tutti_add_cuda_module name)
  cmake_parse_arguments(ARG "PER_ARCH" "SOURCE;DTYPE;FROM" "" ${ARGN})
  set(archs ${TUTTI_CUDA_ARCHS})
  if(ARG_FROM)
    list(FILTER archs EXCLUDE REGEX "^[1-8]?[0-9]$")
  endif()
  set(code)
  list(GET archs 0 oldest)
  foreach(arch IN LISTS archs)
    if(ARG_PER_ARCH)
      list(APPEND code -gencode=arch=compute_${arch},code=[sm_${arch},compute_${arch}])
    else()
      list(APPEND real sm_${arch})
    endif()
  endforeach()
  if(NOT ARG_PER_ARCH)
    string(JOIN "," real ${real} compute_${oldest})
    set(code -gencode=arch=compute_${oldest},code=[${real}])
  endif()
  set(dir ${TUTTI_CUDA_DIR}/${name})
  file(MAKE_DIRECTORY ${dir})
  set(flags -std=c++20 --expt-relaxed-constexpr -fmad=false -O3 -I${PROJECT_SOURCE_DIR} -Xptxas=-v -Xfatbin=-compress-all ${code})
  if(ARG_DTYPE)
    list(APPEND flags -DTUTTI_KERNEL_DTYPE=${ARG_DTYPE})
  endif()
  add_custom_command(OUTPUT ${dir}/module.fatbin
    COMMAND ${CMAKE_COMMAND} -DNVCC=${TUTTI_NVCC} "-DFLAGS=${flags}" -DSOURCE=${ARG_SOURCE} -DDIR=${dir}
      -P ${PROJECT_SOURCE_DIR}/cmake/compile_cuda.cmake
    DEPENDS ${ARG_SOURCE} ${PROJECT_SOURCE_DIR}/cmake/compile_cuda.cmake
    DEPFILE ${dir}/module.d
    COMMENT "nvcc ${name}" VERBATIM)
  set_property(GLOBAL APPEND PROPERTY TUTTI_CUDA_MODULES ${name})
endfunction()

# tutti_embed_cuda_modules(TARGET): adds images() to TARGET.
function(tutti_embed_cuda_modules target)
  get_property(modules GLOBAL PROPERTY TUTTI_CUDA_MODULES)
  set(table ${PROJECT_BINARY_DIR}/cuda/image_table.cc)
  set(symbols)
  set(rows)
  set(fatbins)
  set(text "${TUTTI_CUDA_WHY}")
  foreach(module IN LISTS modules)
    set(fatbin ${TUTTI_CUDA_DIR}/${module}/module.fatbin)
    list(APPEND fatbins ${fatbin})
    string(APPEND symbols "TUTTI_IMAGE(${module}, \"${fatbin}\")\n")
    string(APPEND rows "      {\"${module}\", tutti_image_${module}, static_cast<size_t>(tutti_image_end_${module} - tutti_image_${module})},\n")
  endforeach()
  if(modules)
    list(TRANSFORM TUTTI_CUDA_ARCHS PREPEND sm_ OUTPUT_VARIABLE archs)
    list(JOIN archs " " archs)
    set(text "${archs}, by nvcc ${TUTTI_NVCC_VERSION}")
  endif()
  configure_file(${PROJECT_SOURCE_DIR}/cmake/image_table.cc.in ${table} @ONLY)
  target_sources(${target} PRIVATE ${table})
  set_source_files_properties(${table} TARGET_DIRECTORY ${target} PROPERTIES OBJECT_DEPENDS "${fatbins}" SKIP_PRECOMPILE_HEADERS ON)
  add_custom_target(tutti_cuda_modules DEPENDS ${fatbins})
  add_dependencies(${target} tutti_cuda_modules)
endfunction()
