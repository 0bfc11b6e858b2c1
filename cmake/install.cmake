# What `cmake --install` puts where, and the package files that find it again: octavo::octavo for CMake's
# find_package(octavo), octavo.pc for pkg-config. Both are found from their own place, so a prefix may be moved.
option(OCTAVO_INSTALL "Write install rules" ${PROJECT_IS_TOP_LEVEL})
if(NOT OCTAVO_INSTALL)
  return()
endif()
include(CMakePackageConfigHelpers)

# A C program that links the static library needs the C++ runtime, too; it does not come with a C compiler's link.
set(cxx_runtime ${CMAKE_CXX_IMPLICIT_LINK_LIBRARIES})
list(FILTER cxx_runtime INCLUDE REGEX "^((stdc|c)[+][+]|m$)")
list(REMOVE_DUPLICATES cxx_runtime)
get_target_property(octavo_type octavo TYPE)
if(octavo_type STREQUAL STATIC_LIBRARY)
  target_link_libraries(octavo INTERFACE "$<INSTALL_INTERFACE:${cxx_runtime}>")
endif()
list(TRANSFORM cxx_runtime PREPEND -l)
list(JOIN cxx_runtime " " cxx_runtime)

install(TARGETS octavo EXPORT octavo_targets
        ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR}
        LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR})
install(DIRECTORY ${PROJECT_SOURCE_DIR}/include/octavo DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
install(FILES ${PROJECT_SOURCE_DIR}/LICENSE DESTINATION ${CMAKE_INSTALL_DOCDIR})

set(package_dir ${CMAKE_INSTALL_LIBDIR}/cmake/octavo)
install(EXPORT octavo_targets NAMESPACE octavo:: DESTINATION ${package_dir})
configure_package_config_file(${PROJECT_SOURCE_DIR}/cmake/octavo-config.cmake.in
                              ${PROJECT_BINARY_DIR}/octavo-config.cmake INSTALL_DESTINATION ${package_dir})
# Before 1.0 a minor version may change the C++ interface.
write_basic_package_version_file(${PROJECT_BINARY_DIR}/octavo-config-version.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_BINARY_DIR}/octavo-config.cmake ${PROJECT_BINARY_DIR}/octavo-config-version.cmake
        DESTINATION ${package_dir})

set(pkgconfig_dir ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
file(RELATIVE_PATH prefix_from_pkgconfig ${CMAKE_INSTALL_PREFIX}/${pkgconfig_dir} ${CMAKE_INSTALL_PREFIX})
configure_file(${PROJECT_SOURCE_DIR}/cmake/octavo.pc.in ${PROJECT_BINARY_DIR}/octavo.pc @ONLY)
install(FILES ${PROJECT_BINARY_DIR}/octavo.pc DESTINATION ${pkgconfig_dir})
