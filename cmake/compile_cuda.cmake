# Compiles one module with nvcc, keeping the PTX and what ptxas says: cmake -DNVCC= -DFLAGS= -DSOURCE= -DDIR= -P compile_cuda.cmake
execute_process(COMMAND ${NVCC} ${FLAGS} -fatbin --keep --keep-dir ${DIR} -MD -MF ${DIR}/module.d -MT ${DIR}/module.fatbin
    -o ${DIR}/module.fatbin ${SOURCE}
  RESULT_VARIABLE result OUTPUT_VARIABLE said ERROR_VARIABLE said)
file(WRITE ${DIR}/nvcc.txt "${said}")
if(result)
  message(FATAL_ERROR "nvcc failed on ${SOURCE}:\n${said}")
endif()
# Of what it keeps only the PTX is wanted.
file(GLOB kept ${DIR}/*)
list(FILTER kept EXCLUDE REGEX "\\.ptx$|/module\\.|/nvcc\\.txt$")
file(REMOVE ${kept})
