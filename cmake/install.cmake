# Installation and the Debian package: the program with the oneDNN it was built with, man page, completion, configurations
# and documents. Included last, when the target exists.
include(GNUInstallDirs)
if(TARGET dosegrid)
  set(manual ${CMAKE_BINARY_DIR}/manual)
  add_custom_command(OUTPUT ${manual}/dosegrid.1 ${manual}/dosegrid.bash
                     COMMAND bash ${CMAKE_SOURCE_DIR}/cmake/manual.sh $<TARGET_FILE:dosegrid> ${manual}
                     DEPENDS dosegrid ${CMAKE_SOURCE_DIR}/cmake/manual.sh VERBATIM)
  add_custom_target(manual ALL DEPENDS ${manual}/dosegrid.1 ${manual}/dosegrid.bash)
  install(FILES ${manual}/dosegrid.1 DESTINATION ${CMAKE_INSTALL_MANDIR}/man1)
  install(FILES ${manual}/dosegrid.bash DESTINATION ${CMAKE_INSTALL_DATADIR}/bash-completion/completions RENAME dosegrid)
endif()
if(DG_WITH_ONEDNN AND DNNL_LIBRARY MATCHES "^${CMAKE_SOURCE_DIR}")
  # Debian 12 has no oneDNN 3: ours goes beside the program, found by its relative path.
  get_filename_component(dnnl_real ${DNNL_LIBRARY} REALPATH)
  install(FILES ${dnnl_real} DESTINATION ${CMAKE_INSTALL_LIBDIR}/dosegrid RENAME libdnnl.so.3)
  set_target_properties(dosegrid PROPERTIES INSTALL_RPATH "$ORIGIN/../${CMAKE_INSTALL_LIBDIR}/dosegrid")
endif()
install(DIRECTORY jobs/configs/ DESTINATION ${CMAKE_INSTALL_DATADIR}/dosegrid/configs FILES_MATCHING PATTERN "*.yaml"
        PATTERN "*.json")
# The prefix is known when it is installed: cmake --install --prefix.
install(CODE "
  set(PROJECT_VERSION ${PROJECT_VERSION})
  set(CMAKE_INSTALL_BINDIR ${CMAKE_INSTALL_BINDIR})
  set(CMAKE_INSTALL_MANDIR ${CMAKE_INSTALL_MANDIR})
  set(CMAKE_INSTALL_DATADIR ${CMAKE_INSTALL_DATADIR})
  configure_file(${CMAKE_SOURCE_DIR}/cluster/recipes/modulefile.in ${CMAKE_BINARY_DIR}/modulefile @ONLY)")
install(FILES ${CMAKE_BINARY_DIR}/modulefile DESTINATION ${CMAKE_INSTALL_DATADIR}/dosegrid)
install(DIRECTORY doc/ DESTINATION ${CMAKE_INSTALL_DOCDIR} FILES_MATCHING PATTERN "*.md"
        PATTERN "*.png")
install(FILES README.md LICENSE CHANGELOG.md DESTINATION ${CMAKE_INSTALL_DOCDIR} OPTIONAL)

set(CPACK_GENERATOR DEB)
set(CPACK_PACKAGE_CONTACT "the dosegrid authors")
set(CPACK_PACKAGE_DESCRIPTION_SUMMARY "distributed radiotherapy dose prediction")
set(CPACK_PACKAGING_INSTALL_PREFIX /usr)
set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
set(CPACK_DEBIAN_PACKAGE_SECTION science)
set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS ON)
# dpkg-shlibdeps must find the oneDNN that comes with the package.
set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS_PRIVATE_DIRS ${DG_ONEDNN_ROOT}/lib)
set(CPACK_DEBIAN_PACKAGE_RECOMMENDS openmpi-bin)
set(CPACK_STRIP_FILES ON)
include(CPack)
