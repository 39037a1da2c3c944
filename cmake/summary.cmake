if(DG_HAVE_CUDA)
  list(JOIN CMAKE_CUDA_ARCHITECTURES " " cuda_state)
  set(cuda_state "ON (${CMAKE_CUDA_COMPILER_VERSION}, cuDNN ${DG_CUDNN_VERSION}, NCCL ${DG_NCCL_VERSION}; ${cuda_state})")
else()
  set(cuda_state "OFF (${DG_CUDA_REASON})")
endif()
message(STATUS "dosegrid ${PROJECT_VERSION}: ${CMAKE_BUILD_TYPE}, oneDNN ${DG_WITH_ONEDNN}, MPI ${DG_WITH_MPI}, "
               "CUDA ${cuda_state}, sanitizers ${DG_SANITIZE}")
