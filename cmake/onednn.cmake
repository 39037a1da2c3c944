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
# The backend's own loops are built once for each instruction set and chosen at run time (src/backend/onednn/kernels).
function(dg_onednn_kernels target)
  set(folder ${CMAKE_SOURCE_DIR}/src/backend/onednn)
  set(dg_isa_base "")
  set(dg_isa_avx2 -mavx2 -mfma -mf16c)
  set(dg_isa_avx512 -march=skylake-avx512 -mavx512bf16 -mprefer-vector-width=512)
  foreach(isa base avx2 avx512)
    set(object ${target}_kernels_${isa})
    add_library(${object} OBJECT ${folder}/kernels/kernels.c)
    target_include_directories(${object} PRIVATE ${folder}/kernels ${CMAKE_SOURCE_DIR}/src/backend)
    target_link_libraries(${object} PRIVATE dg_flags dg_base dg_math)
    target_compile_options(${object} PRIVATE -Wno-psabi ${dg_isa_${isa}})
    target_compile_definitions(${object} PRIVATE DG_KERNELS=dg_kernels_${isa} DG_ISA_TEXT="${isa}")
    target_sources(${target} PRIVATE $<TARGET_OBJECTS:${object}>)
  endforeach()
  # Properties of a source come after dg_flags, which turns contraction off. Under the undefined-behaviour sanitizer these
  # loops take minutes to compile; AddressSanitizer stays.
  set(dg_kernel_flags -ffp-contract=fast -fno-trapping-math) # nobody reads exception flags: branches become selections
  if(DG_SANITIZE)
    list(APPEND dg_kernel_flags -O1 -fno-sanitize=undefined)
  else()
    list(APPEND dg_kernel_flags -O3)
  endif()
  set_source_files_properties(${folder}/kernels/kernels.c PROPERTIES COMPILE_OPTIONS "${dg_kernel_flags}")
  set_source_files_properties(${folder}/wgrad_amx.c ${folder}/conv_amx.c ${folder}/conv_deep_amx.c
    ${folder}/product_amx.c TARGET_DIRECTORY ${target} PROPERTIES COMPILE_OPTIONS
    "-march=skylake-avx512;-mavx512bf16;-mamx-tile;-mamx-bf16;-mprefer-vector-width=512;-Wno-psabi")
endfunction()
