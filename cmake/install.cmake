# What cmake --install and cpack put where. A static and a shared build may be installed in one prefix: find_package() then takes
# the shared library, or the one that it is asked for (COMPONENTS static).
include(GNUInstallDirs)
include(CMakePackageConfigHelpers)

if(BUILD_SHARED_LIBS)
  set(kind shared)
else()
  set(kind static)
endif()
set(package_dir ${CMAKE_INSTALL_LIBDIR}/cmake/bertgen)

install(TARGETS bertgen EXPORT bertgen-${kind}-targets
        LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR}
        ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR})
install(DIRECTORY include/bertgen TYPE INCLUDE)
install(EXPORT bertgen-${kind}-targets NAMESPACE bertgen:: DESTINATION ${package_dir})
configure_package_config_file(cmake/bertgen-config.cmake.in bertgen-config.cmake INSTALL_DESTINATION ${package_dir})
write_basic_package_version_file(bertgen-config-version.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${CMAKE_CURRENT_BINARY_DIR}/bertgen-config.cmake ${CMAKE_CURRENT_BINARY_DIR}/bertgen-config-version.cmake
        DESTINATION ${package_dir})

# Who links the static library links what it is made with; the shared one brings that along.
set(pc_requires eigen3)
set(pc_libs -lbertgen)
set(deb_depends libeigen3-dev)
if(NOT BUILD_SHARED_LIBS)
  string(APPEND pc_requires " libutf8proc libhwy")
  string(APPEND deb_depends ", libutf8proc-dev, libhwy-dev, pkg-config")
  if(BERTGEN_WITH_ONEDNN)
    string(APPEND pc_libs " -ldnnl")
    string(APPEND deb_depends ", libdnnl-dev, ocl-icd-opencl-dev")
  endif()
  string(APPEND pc_libs " ${OpenMP_CXX_FLAGS} -lstdc++ -lm")
endif()
file(RELATIVE_PATH pc_prefix /prefix/${CMAKE_INSTALL_LIBDIR}/pkgconfig /prefix)
configure_file(cmake/bertgen.pc.in bertgen.pc @ONLY)
install(FILES ${CMAKE_CURRENT_BINARY_DIR}/bertgen.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)

if(BERTGEN_BUILD_CLI)
  file(RELATIVE_PATH lib_from_bin /prefix/${CMAKE_INSTALL_BINDIR} /prefix/${CMAKE_INSTALL_LIBDIR})
  set_target_properties(bertgen_cli PROPERTIES INSTALL_RPATH "$ORIGIN/${lib_from_bin}")
  install(TARGETS bertgen_cli)
  install(FILES docs/bertgen.1 DESTINATION ${CMAKE_INSTALL_MANDIR}/man1)
  install(DIRECTORY examples/fuse-en DESTINATION ${CMAKE_INSTALL_DATADIR}/bertgen)
endif()
install(FILES LICENSE NOTICE TYPE DOC)

if(NOT PROJECT_IS_TOP_LEVEL)
  return()
endif()
set(CPACK_GENERATOR DEB)
set(CPACK_PACKAGE_VENDOR "The bertgen authors")
set(CPACK_PACKAGE_CONTACT "The bertgen authors")
set(CPACK_PACKAGE_DESCRIPTION_SUMMARY "Hugging Face BERT-family encoder-decoders from C++")
set(CPACK_RESOURCE_FILE_LICENSE ${PROJECT_SOURCE_DIR}/LICENSE)
set(CPACK_PACKAGING_INSTALL_PREFIX /usr)
set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
set(CPACK_DEBIAN_PACKAGE_SECTION libs)
# Libraries that the binaries are linked with are found by dpkg-shlibdeps; the headers need Eigen.
set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS ON)
set(CPACK_DEBIAN_PACKAGE_DEPENDS "${deb_depends}")
include(CPack)
