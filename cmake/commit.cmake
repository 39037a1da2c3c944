# Run at build time: writes the commit of the source into OUT, and touches it only when the commit changed.
cmake_minimum_required(VERSION 3.25)
execute_process(COMMAND git -C ${SOURCE} describe --always --dirty --abbrev=12 OUTPUT_VARIABLE commit
                OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET RESULT_VARIABLE failed)
if(failed OR commit STREQUAL "")
  set(commit "unknown") # a source archive
elseif(NOT commit MATCHES "-dirty$")
  # Sources that git does not know are built too.
  execute_process(COMMAND git -C ${SOURCE} ls-files --others --exclude-standard -- *.c *.h *.cc *.cu *.cmake *CMakeLists.txt
                  OUTPUT_VARIABLE new ERROR_QUIET)
  if(new)
    string(APPEND commit "-dirty")
  endif()
endif()
file(CONFIGURE OUTPUT ${OUT} CONTENT "#define DG_COMMIT \"@commit@\"\n" @ONLY)
