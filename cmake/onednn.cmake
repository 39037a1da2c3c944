# oneDNN >= 3: the distribution's package where it is new enough, else the wheels unpacked by setup.sh under build/deps.
set(DG_ONEDNN_ROOT "${CMAKE_SOURCE_DIR}/build/deps/onednn" CACHE PATH "where setup.sh unpacked the oneDNN wheels")
find_library(DNNL_LIBRARY NAMES dnnl libdnnl.so.3 PATHS ${DG_ONEDNN_ROOT}/lib NO_DEFAULT_PATH)
find_path(DNNL_INCLUDE_DIR oneapi/dnnl/dnnl.h PATHS ${DG_ONEDNN_ROOT}/include NO_DEFAULT_PATH)
if(NOT DNNL_LIBRARY OR NOT DNNL_INCLUDE_DIR)
  message(FATAL_ERROR "oneDNN 3 is not under ${DG_ONEDNN_ROOT}: run ./setup.sh build (it fetches the pinned wheels), or "
                      "configure with -DDG_WITH_ONEDNN=OFF for the slow reference backend alone")
endif()
add_library(DNNL::dnnl UNKNOWN IMPORTED)
set_target_properties(DNNL::dnnl PROPERTIES IMPORTED_LOCATION ${DNNL_LIBRARY}
                      INTERFACE_INCLUDE_DIRECTORIES ${DNNL_INCLUDE_DIR})
