# Where a package's files go, by kind of package: a .deb into /usr, a tarball into its own folder.
if(CPACK_GENERATOR STREQUAL "DEB")
  set(CPACK_PACKAGING_INSTALL_PREFIX "/usr")
endif()
