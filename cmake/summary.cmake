message(STATUS "dosegrid ${PROJECT_VERSION}: ${CMAKE_BUILD_TYPE}, oneDNN ${DG_WITH_ONEDNN}, MPI ${DG_WITH_MPI}, "
               "CUDA ${DG_WITH_CUDA}, sanitizers ${DG_SANITIZE}")
